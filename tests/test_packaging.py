"""Two distributions of one source: skmrm, and skmrm-serving with what serving imports."""

import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")

ROOT = Path(__file__).parents[1]
SERVING = ROOT / "packaging" / "serving"
# What code of the closure imports where it is there, or for who asks for it: tensors, pictures, data frames, Parquet.
OPTIONAL = {"matplotlib", "ml_dtypes", "pandas", "pyarrow", "threadpoolctl", "torch"}
PART_OF = {"starlette": "fastapi", "pydantic_core": "pydantic"}  # modules of others that come with one
EXTRAS = {"hub": {"huggingface_hub"}, "serve": {"fastapi", "pydantic", "uvicorn"}}


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]


def name_of(requirement):
    return re.split(r"[\[>=<]", requirement, maxsplit=1)[0]


@pytest.fixture(scope="module")
def closure():
    spec = spec_from_file_location("hatch_build", SERVING / "hatch_build.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.closure(ROOT)


@pytest.mark.parametrize("readme", ["README.md", "packaging/serving/README.md"])
def test__readme__its_links__work_on_the_package_index(readme):
    targets = re.findall(r"\]\(([^)]*)\)", (ROOT / readme).read_text("utf-8"))
    assert [target for target in targets if not target.startswith("https://")] == []
    ours = "https://(?:raw.githubusercontent.com/skmrm/skmrm|github.com/skmrm/skmrm/blob)/main/(.*)"
    files = [found[1] for target in targets if (found := re.match(ours, target))]
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test__citation__is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {project(ROOT)['version']}\n" in citation
    for url in (project(ROOT)["urls"]["Homepage"], project(ROOT)["urls"]["Documentation"]):
        assert url in citation


def test__serving__its_requirements__are_what_its_files_import(closure):
    found = project(SERVING)
    needed = {PART_OF.get(name, name) for name in closure.needed} - OPTIONAL
    extras = {name: set(map(name_of, listed)) for name, listed in found["optional-dependencies"].items()}
    assert extras == EXTRAS
    assert {name_of(one) for one in found["dependencies"]} == needed - set().union(*EXTRAS.values())
    assert set().union(*EXTRAS.values()) <= needed


def test__serving__its_requirements_and_version__are_those_of_skmrm():
    whole, part = project(ROOT), project(SERVING)
    every = {*whole["dependencies"], *(one for extra in whole["optional-dependencies"].values() for one in extra)}
    asked = [*part["dependencies"], *(one for listed in part["optional-dependencies"].values() for one in listed)]
    assert [one for one in asked if one not in every] == []
    for name in ("version", "requires-python", "license", "authors"):
        assert part[name] == whole[name]
    assert (SERVING / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")


def test__serving__its_files__score_adapt_and_explain_without_the_others(closure, model, episodes, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'skmrm[onnx]'")
    for name in closure.files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    model.export_onnx(tmp_path / "bundle")
    script = """
import sys

for name in ("torch", "sklearn", "joblib", "pandas", "matplotlib", "threadpoolctl", "onnx", "transformers"):
    sys.modules[name] = None
sys.path[:] = ["."] + [place for place in sys.path if place not in ("", sys.argv[1])]
import numpy as np
import skmrm
from skmrm.episodes import Episode
from skmrm.serving import OnnxScorer

assert skmrm.__file__.startswith(sys.argv[2]), skmrm.__file__
assert [name for name in sys.modules if name.startswith("skmrm") and sys.modules[name] is None] == []
scorer, draw = OnnxScorer("bundle"), np.random.default_rng(0)
pairs = Episode("ann", *draw.normal(size=(2, 6, scorer.n_features)))
print(*scorer.adapt(pairs))
scorer.explain(pairs)
try:
    skmrm.MetaRewardModel
except ImportError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", script, str(ROOT), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin", "ORT_DISABLE_TELEMETRY": "1"},
    )
    assert run.returncode == 0, run.stderr
    weights, remedy = run.stdout.strip().split("\n")
    assert len(weights.split()) == model.base_rewards_.n_bases
    assert remedy == "skmrm.MetaRewardModel is not in skmrm-serving, which serves and does not fit: pip install skmrm"
