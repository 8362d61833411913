"""What an import costs, and which way dependencies point."""

import ast
import graphlib
import importlib
import operator
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import skmrm

PACKAGE = Path(skmrm.__file__).parent
HEAVY = {"torch", "sklearn", "transformers", "scipy", "pandas", "polars", "pyarrow", "datasets", "onnx", "onnxruntime"}


def loaded_by(code):
    """Top-level modules that a fresh interpreter has loaded after running some code."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def imports_of(path):
    """(level, module) of every import statement of a file, inside functions too; level 0 is absolute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


@pytest.mark.parametrize(
    "module",
    [
        "skmrm",
        "skmrm.episodes",
        "skmrm.splits",
        "skmrm.exceptions",
        "skmrm.metrics",
        "skmrm.model_selection",
        "skmrm.datasets",
        "skmrm.serving",
        "skmrm.service",
        "skmrm.service.command",
        "skmrm.explanation.explain",
        "skmrm.cli",
    ],
)
def test__import__of_package_and_numpy_only_modules__loads_nothing_heavy(module):
    assert loaded_by(f"import {module}") & HEAVY == set()


def test__import__of_the_estimator__loads_no_library_for_texts_files_or_export():
    loaded = loaded_by("from skmrm import MetaRewardModel")
    assert {"torch", "sklearn"} <= loaded  # scikit-learn loads pandas by itself where it is installed
    assert loaded & {"transformers", "tokenizers", "polars", "datasets", "onnx", "onnxruntime"} == set()


def test__public_names__all__resolve_and_are_listed():
    assert {"MetaRewardModel", "Episode", "EpisodeSet", "UserRewardModel", "UserModels"} <= set(skmrm.__all__)
    for name in skmrm.__all__:
        assert getattr(skmrm, name) is not None
    assert set(skmrm.__all__) <= set(dir(skmrm))


def test__public_names__unknown__is_an_attribute_error():
    with pytest.raises(AttributeError, match="MetaRewardModle"):
        skmrm.MetaRewardModle  # noqa: B018


def test__public_modules__named_on_the_api_pages__are_attributes_of_the_package():
    folder = Path(__file__).parents[1] / "docs" / "api"
    pages = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    text = "\n".join(page for name, page in pages.items() if name != "core")
    named = set(re.findall(r"^\.\. (?:currentmodule|module):: skmrm\.([\w.]+)$", text, flags=re.MULTILINE))
    named |= set(re.findall(r"^   ([a-z_]+)\.\w+$", text, flags=re.MULTILINE))
    assert {"embeddings", "integrations.trl", "base_rewards", "splits", "report"} <= named
    for name in sorted(named):
        if name == "integrations.ray":
            pytest.importorskip("ray", reason="needs ray: pip install 'skmrm[ray]'")
        module = operator.attrgetter(name)(skmrm)
        assert isinstance(module, ModuleType), name
        for public in getattr(module, "__all__", []):
            assert getattr(module, public) is not None, f"{name}.{public}"


# A file imports what lies on lower floors, and other files of its own room.
FLOORS = (
    ("exceptions", "_support", "display", "meta"),
    ("callbacks", "episodes", "metrics"),
    ("encoders", "splits", "base_rewards"),
    ("embeddings", "datasets", "explanation", "model_selection"),
    ("serving",),
    ("export", "plotting", "service"),
    ("estimators", "report"),
    ("baselines", "integrations"),
    ("model",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS, 1) for room in rooms}
FILES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


def arrows():
    """(module, what it imports) within the package, those of type checkers too."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} imports by a relative name"
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in MODULES else node.module for name in inside]
            else:
                continue
            yield from ((module, target) for target in targets if target in MODULES and target != module)


def test__rooms__all__have_a_floor():
    rooms = {name.split(".")[1] for name in MODULES if "." in name}
    assert rooms == set(FLOOR)


def test__imports__from_room_to_room__go_down():
    up = set()
    for module, target in arrows():
        own, other = module.split(".")[1:2], target.split(".")[1:2]  # empty for the package itself, which is lazy
        if own and other and own != other and FLOOR[own[0]] <= FLOOR[other[0]]:
            up.add(f"{module} -> {target}")
    assert up == set()


def test__imports__from_file_to_file__make_no_circle():
    graph = {module: set() for module in MODULES}
    for module, target in arrows():
        graph[module].add(target)
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the circle


def test__meta__imports__torch_numpy_and_itself_only():
    """The core knows nothing of scikit-learn, text, files, or of the rest of this package."""
    files = sorted((PACKAGE / "meta").rglob("*.py"))
    assert len(files) > 20
    for path in files:
        for _, module in imports_of(path):
            top = "skmrm.meta" if module.startswith("skmrm.meta.") else module.partition(".")[0]
            assert top in {"torch", "numpy", "skmrm.meta"} | sys.stdlib_module_names, f"{path.name} imports {module}"


def test__root__of_the_package__has_no_private_module():
    assert [path.name for path in PACKAGE.glob("_*.py") if not path.stem.endswith("__")] == []


@pytest.mark.parametrize(("old", "places"), sorted(skmrm.meta._MOVED.items()))
def test__meta__module_by_its_old_name__has_its_names_and_warns(old, places):
    with pytest.warns(FutureWarning, match=f"skmrm.meta.{old} is now skmrm.meta.{places[0]}"):
        module = getattr(skmrm.meta, old)
    for place in places:
        new = importlib.import_module(f"skmrm.meta.{place}")
        assert new.__all__
        assert all(getattr(module, name) is getattr(new, name) for name in new.__all__)


def test__meta__module_that_is_a_package_now__hands_its_names_on():
    assert skmrm.meta.pooled.fit_pooled is importlib.import_module("skmrm.meta.pooled.newton").fit_pooled
    assert skmrm.meta.prior.fit_prior is importlib.import_module("skmrm.meta.prior.em").fit_prior


def test__meta__unknown_name__is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fiting'"):
        skmrm.meta.fiting  # noqa: B018
