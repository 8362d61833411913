"""What an import costs, and which way dependencies point."""

import ast
import subprocess
import sys
from pathlib import Path

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


def test__public_modules__names_in_all__exist():
    for path in sorted([*PACKAGE.glob("*.py"), *(folder.parent for folder in PACKAGE.glob("*/__init__.py"))]):
        if path.stem.startswith("_") or path.stem in {"meta", "estimators"}:
            continue
        module = getattr(skmrm, path.stem, None) or __import__(f"skmrm.{path.stem}", fromlist=["__all__"])
        assert module.__all__, path.stem
        for name in module.__all__:
            assert getattr(module, name) is not None, f"{path.stem}.{name}"


def test__meta__imports__torch_numpy_and_the_standard_library_only():
    """The core knows nothing of scikit-learn, text, files, or of the rest of this package."""
    files = sorted((PACKAGE / "meta").rglob("*.py"))
    assert len(files) > 5
    for path in files:
        for level, module in imports_of(path):
            top = "skmrm.meta" if module.startswith("skmrm.meta.") else module.partition(".")[0]
            assert level == 0, f"{path.name} imports {'.' * level}{module}"
            assert top in {"torch", "numpy", "skmrm.meta"} | sys.stdlib_module_names, f"{path.name} imports {module}"


def test__package__imports__no_cycle_from_the_bottom_up():
    """What everything rests on must not import what rests on it."""
    upper = {"model", "estimators", "base_rewards", "meta", "encoders"}
    rooms = ("exceptions.py", "_support", "episodes/arrays.py", "episodes/messages.py", "splits", "metrics")
    for room in rooms:
        place = PACKAGE / room
        for path in [place] if place.is_file() else [path for path in place.rglob("*.py") if path.stem != "tensors"]:
            for _, module in imports_of(path):
                assert not set(module.split(".")[1:2]) & upper, f"{path} imports {module}"
