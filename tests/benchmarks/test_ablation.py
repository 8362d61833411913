"""The benchmark that leaves out parts of the default: what it changes, it puts back."""

import importlib
from pathlib import Path

import pytest

from benchmarks._support.datasets import Dataset
from benchmarks.ablation import __main__ as ablation
from benchmarks.ablation.variants import VARIANTS, Variant
from benchmarks.accuracy.gains import Table
from benchmarks.accuracy.text_features import HashedFeatures
from skmrm.datasets import load_style_preferences
from skmrm.meta.prior import em


def test__variants__name_what_exists_in_the_core():
    for variant in VARIANTS.values():
        for path in variant.core:
            module, _, name = path.rpartition(".")
            assert hasattr(importlib.import_module(f"skmrm.meta.{module}"), name), path


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in ("default", "pooled")])
def test__variant__fits__and_puts_the_core_back(name, few_episodes):
    before = {path: _value(path) for variant in VARIANTS.values() for path in variant.core}
    model = VARIANTS[name](0)
    model.estimator.set_params(max_epochs=min(1, model.estimator.max_epochs))
    assert 0.3 < model.fit(few_episodes).score(few_episodes) < 1
    assert {path: _value(path) for path in before} == before


def test__variant__that_fails__puts_the_core_back(few_episodes):
    sweeps = em.GAUSSIAN_SWEEPS
    with pytest.raises(ValueError, match="n_bases"):
        Variant("wrong", {"n_bases": 0}, {"prior.em.GAUSSIAN_SWEEPS": 0})(0).fit(few_episodes)
    assert sweeps == em.GAUSSIAN_SWEEPS


def test__main__one_set_and_two_variants__prints_changes_against_the_default(capsys, tmp_path):
    file = tmp_path / "found.json"
    wanted = ["--only", "100 users of 5 to 12 pairs", "--variants", "pooled", "no outer loop"]
    assert ablation.main([*wanted, "--seeds", "1", "--judged", "20", "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "pooled Bradley-Terry" in printed
    assert "no outer loop" in printed
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
    text = ablation._text(Table([10], [5], {"default": [0.7]}, {"default": [0.5]}, gain, seconds))
    assert "-2.00 [-3.00, -1.00]" in text  # the variant less the default
    assert "oracle" not in text


def _value(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"skmrm.meta.{module}"), name)
