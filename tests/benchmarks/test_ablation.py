"""The benchmark that leaves out parts of the default."""

from pathlib import Path

import pytest

from benchmarks._support.datasets import Dataset
from benchmarks.ablation import __main__ as ablation
from benchmarks.ablation.variants import VARIANTS
from benchmarks.accuracy.gains import Table
from benchmarks.accuracy.text_features import HashedFeatures
from skmrm.datasets import load_style_preferences


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in ("default", "pooled")])
def test__variant__fits__and_is_not_the_default(name, few_episodes):
    model, default = VARIANTS[name](0), VARIANTS["default"](0)
    assert (model._options(), model.get_params()) != (default._options(), default.get_params())
    model.set_params(max_epochs=min(1, model._options().outer.max_epochs))
    assert 0.3 < model.fit(few_episodes).score(few_episodes) < 1
    assert default._options() == VARIANTS["default"](0)._options()


def test__main__one_set_and_two_variants__prints_changes_against_the_default(capsys, tmp_path):
    file = tmp_path / "found.json"
    wanted = ["--only", "100 users of 5 to 12 pairs", "--variants", "pooled", "no kinds"]
    assert ablation.main([*wanted, "--seeds", "1", "--judged", "20", "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "pooled Bradley-Terry" in printed
    assert "no kinds" in printed
    assert file.exists()


def test__main__real_judgements_that_are_not_there__are_skipped_with_the_reason(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SKMRM_SHARED_DATA", str(tmp_path))
    assert ablation.main(["--only", "polis", "--variants", "pooled", "--seeds", "1"]) == 0
    assert f"skipped: the judgements are not at {tmp_path / 'polis' / 'pairs.parquet'}" in capsys.readouterr().out


def test__main__real_judgements__prints_changes_without_the_paper(monkeypatch, capsys):
    monkeypatch.setattr(ablation, "SentenceFeatures", lambda folder: HashedFeatures())
    monkeypatch.setattr(ablation, "sentence_encoder_folder", lambda: Path())
    monkeypatch.setattr(Dataset, "missing", "")
    monkeypatch.setattr(Dataset, "read", lambda self: load_style_preferences(n_users=24, n_pairs=8).episodes)
    assert ablation.main(["--only", "polis", "--variants", "pooled", "--seeds", "1"]) == 0
    assert "pooled Bradley-Terry" in capsys.readouterr().out


def test__text__models_that_are_no_variants__are_left_out():
    gain = {"pooled": [(0.02, 0.01, 0.03)], "oracle": [(-0.01, -0.02, 0.0)]}
    seconds = {"default": 1.0, "pooled": 0.1}
    text = ablation._text(Table([10], [5], {"default": [0.7]}, {"default": [0.5]}, {}, gain, {}, {}, seconds))
    assert "-2.00 [-3.00, -1.00]" in text  # the variant less the default
    assert "oracle" not in text
