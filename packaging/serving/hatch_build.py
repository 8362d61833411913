"""Which files skmrm-serving has: `skmrm.serving`, `skmrm.service`, `skmrm.show_versions`, and whatever these import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # where tests look at what would be built
    BuildHookInterface = object

WHOLE = ("skmrm/serving", "skmrm/service")  # also what is no code in them
ALSO = ("skmrm/_support/versions.py", "skmrm/py.typed")
_UNBUILT = ("__pycache__",)


class Closure(NamedTuple):
    """Files, and the first parts of the names of modules that they need from elsewhere.

    Attributes
    ----------
    files : set of str
        Relative to the source.
    needed : dict of str to set of str
        From other packages to the files that import them.
    """

    files: set[str]
    needed: dict[str, set[str]]


def closure(source: Path, roots: tuple[str, ...] = (*WHOLE, *ALSO)) -> Closure:
    """Follow imports from the files of some roots, those inside functions too; a name that loads lazily is none."""
    found, waiting = Closure(set(), {}), [path for root in roots for path in _files(source / root)]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(source).as_posix()
        if name in found.files:
            continue
        found.files.add(name)
        for module in _imports(path) if path.suffix == ".py" else ():
            parts = module.split(".")
            if parts[0] != "skmrm":
                found.needed.setdefault(parts[0], set()).add(name)
            for depth in range(1, len(parts) + 1):
                waiting.extend(_files_of(source.joinpath(*parts[:depth])))
    for module in sys.stdlib_module_names & set(found.needed):
        del found.needed[module]
    return found


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    below = [path for path in place.rglob("*") if path.is_file()]
    return [path for path in below if not any(part in _UNBUILT for part in path.parts)]


def _files_of(module: Path) -> Iterator[Path]:
    """The file of a module; none if it is a name in one, or of another package."""
    for path in (module.with_suffix(".py"), module / "__init__.py"):
        if path.is_file():
            yield path


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, and names in them, which may be modules; not those of type checkers."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


class ClosureHook(BuildHookInterface):
    """Puts the files into what hatchling builds, of a checkout or of an unpacked sdist."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict) -> None:
        """Add the files."""
        root = Path(self.root)
        source = root if (root / "skmrm").is_dir() else root.parents[1]
        build_data["force_include"] |= {str(source / name): name for name in closure(source).files}
