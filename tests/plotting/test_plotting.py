"""Displays carry the right numbers, say what they show, and refuse what they cannot show."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from skmrm import MetaRewardModel, episodes_from_arrays  # noqa: E402
from skmrm.datasets import load_style_preferences  # noqa: E402
from skmrm.encoders import TextStatistics  # noqa: E402
from skmrm.metrics import Interval, bootstrap_interval, reliability, simultaneous_intervals  # noqa: E402
from skmrm.model_selection import AdaptationCurve, adaptation_curve  # noqa: E402
from skmrm.plotting import (  # noqa: E402
    AdaptationCurveDisplay,
    BaseRewardDisplay,
    ReliabilityDisplay,
    TrainingHistoryDisplay,
    UserGainDisplay,
)
from skmrm.plotting._base_reward_facts import within_comparisons  # noqa: E402

SIZES = (0, 5, None)
N_USERS = 30


@pytest.fixture(autouse=True)
def _close_figures():
    plt.close("all")  # other files' tests, too, leave figures behind
    yield
    plt.close("all")


def make_curve(seed=0, sizes=SIZES, n_users=N_USERS, shift=0.0, missing=()):
    """A curve of made-up numbers; `missing` are (row, user) without a value."""
    rng = np.random.default_rng(seed)
    accuracy = np.round(rng.uniform(0.4, 0.8, (len(sizes), n_users)) + shift, 2)
    log_loss = rng.uniform(0.5, 0.8, (len(sizes), n_users))
    for row, user in missing:
        accuracy[row, user] = log_loss[row, user] = np.nan
    return AdaptationCurve(
        users=np.array([f"u{i}" for i in range(n_users)], object),
        support_sizes=sizes,
        accuracy=accuracy,
        log_loss=log_loss,
        reliability=tuple(reliability(rng.normal(1, 1, 200)) for _ in sizes),
        n_support=np.full(n_users, 12.0),
    )


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def band_of(area):
    """Low and high of a band at each place, from the outline of its polygon."""
    outline = np.concatenate([path.vertices for path in area.get_paths()])
    places = sorted(set(outline[:, 0]))
    return np.array([[outline[outline[:, 0] == x, 1].min(), outline[outline[:, 0] == x, 1].max()] for x in places]).T


# -- adaptation curve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test__adaptation_curve_display__two_curves__draws_means_and_bootstrap_bands(metric):
    curves = {"adapted": make_curve(0), "pooled": make_curve(1)}
    display = AdaptationCurveDisplay.from_curves(curves, metric=metric, level=0.8)
    for line, area, curve in zip(display.lines_, display.fill_between_, curves.values(), strict=True):
        values = getattr(curve, metric)
        assert_array_equal(line.get_xdata(), [0, 1, 2])
        assert_allclose(line.get_ydata(), values.mean(1))
        expected = [bootstrap_interval(row, level=0.8) for row in values]
        assert_allclose(band_of(area), [[i.low for i in expected], [i.high for i in expected]])
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == ["0", "5", "all"]
    assert legend_texts(display.ax_) == ["adapted", "pooled"]
    assert "80 %" in display.ax_.get_legend().get_title().get_text()
    assert "30 users" in display.ax_.get_xlabel()
    assert metric.replace("_", " ") in display.ax_.get_ylabel()
    assert display.zero_line_ is None


def test__adaptation_curve_display__relative_to__is_the_paired_difference_in_points():
    curves = {"adapted": make_curve(0, shift=0.1), "pooled": make_curve(0), "other": make_curve(2)}
    display = AdaptationCurveDisplay.from_curves(curves, relative_to="pooled")
    assert display.names == ["adapted", "other"]
    # Each user gains 10 points: only a paired interval has no width.
    assert_allclose(display.lines_[0].get_ydata(), 10)
    assert_allclose(band_of(display.fill_between_[0]), 10)
    expected = [
        bootstrap_interval(a, b) for a, b in zip(curves["other"].accuracy, curves["pooled"].accuracy, strict=True)
    ]
    assert_allclose(band_of(display.fill_between_[1])[0], [100 * interval.low for interval in expected])
    assert_array_equal(display.zero_line_.get_ydata(), [0, 0])
    assert display.ax_.get_ylabel() == "gain in accuracy over pooled (points)"


def test__adaptation_curve_display__simultaneous__bands_hold_at_all_sizes_at_once():
    curves = {"adapted": make_curve(0, missing=[(1, u) for u in range(N_USERS)]), "pooled": make_curve(1)}
    display = AdaptationCurveDisplay.from_curves(curves, relative_to="pooled", simultaneous=True)
    rows = [0, 2]  # nobody is judged at the size between
    expected = simultaneous_intervals(curves["adapted"].accuracy[rows], curves["pooled"].accuracy[rows])
    assert_allclose(display.low[0, rows], [100 * interval.low for interval in expected])
    assert_allclose(display.high[0, rows], [100 * interval.high for interval in expected])
    assert_array_equal(np.isnan(display.low[0]), [False, True, False])
    assert "at all sizes at once" in display.ax_.get_legend().get_title().get_text()


def test__adaptation_curve_display__relative_log_loss__is_in_nats():
    curves = {"adapted": make_curve(0), "pooled": make_curve(1)}
    display = AdaptationCurveDisplay.from_curves(curves, metric="log_loss", relative_to="pooled")
    expected = (curves["adapted"].log_loss - curves["pooled"].log_loss).mean(1)
    assert_allclose(display.lines_[0].get_ydata(), expected)
    assert "nats" in display.ax_.get_ylabel()


def test__adaptation_curve_display__users_differ_between_sizes__says_how_many_and_keeps_to_common_users():
    curves = {"one": make_curve(0, missing=[(1, 0), (1, 1)]), "two": make_curve(1, missing=[(1, 1), (1, 2)])}
    display = AdaptationCurveDisplay.from_curves(curves)
    assert_array_equal(display.n_users, [30, 27, 30])
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == ["0\n(30)", "5\n(27)", "all\n(30)"]
    assert_allclose(display.lines_[0].get_ydata()[1], curves["one"].accuracy[1, 3:].mean())


def test__adaptation_curve_display__a_size_that_nobody_reaches__is_not_drawn_but_named():
    curve = make_curve(missing=[(1, user) for user in range(N_USERS)])
    display = AdaptationCurveDisplay.from_curves({"adapted": curve})
    assert_array_equal(np.isnan(display.estimate[0]), [False, True, False])
    assert_allclose(display.lines_[0].get_xydata().T, [[0, 1], curve.accuracy[[0, 2]].mean(1)])
    assert_allclose(band_of(display.fill_between_[0]), [display.low[0, [0, 2]], display.high[0, [0, 2]]])
    assert [tick.get_text() for tick in display.ax_.get_xticklabels()] == ["0", "all"]
    assert display.ax_.get_xlabel() == "choices adapted on; 30 users; nobody has 5"
    everywhere = make_curve(missing=[(row, user) for row in range(3) for user in range(N_USERS)])
    with pytest.raises(ValueError, match="no user is judged at any of the sizes"):
        AdaptationCurveDisplay.from_curves({"adapted": everywhere})


def test__adaptation_curve_display__a_single_size__still_shows_its_interval():
    """A band over one place has no area; only its edge can be seen."""
    display = AdaptationCurveDisplay.from_curves({"adapted": make_curve(sizes=(None,))})
    (area,) = display.fill_between_
    assert area.get_linewidth()[0] > 0
    assert_allclose(band_of(area)[:, 0], [display.low[0, 0], display.high[0, 0]])


def test__adaptation_curve_display__plot_again__draws_the_same_into_given_axes_with_given_looks():
    display = AdaptationCurveDisplay.from_curves({"adapted": make_curve()})
    before = display.lines_[0].get_ydata()
    figure, ax = plt.subplots()
    again = display.plot(ax, line_kw={"c": "k", "lw": 3}, fill_between_kw={"alpha": 0.5})
    assert again is display
    assert display.ax_ is ax
    assert display.figure_ is figure
    (line,) = display.lines_
    assert_array_equal(line.get_ydata(), before)
    assert (line.get_color(), line.get_linewidth(), display.fill_between_[0].get_alpha()) == ("k", 3, 0.5)


@pytest.mark.parametrize(
    ("curves", "arguments", "words"),
    [
        ({}, {}, "at least one"),
        ([make_curve()], {}, "a dict from names to AdaptationCurve.*got a list"),
        ({"a": 3}, {}, "must be AdaptationCurve.*got an int for 'a'"),
        ({"a": make_curve(), "b": make_curve(sizes=(0, 3, None))}, {}, "same support_sizes"),
        ({"a": make_curve(), "b": make_curve(n_users=7)}, {}, "same users"),
        ({"a": make_curve()}, {"metric": "auc", "level": 2}, "metric must be .*'auc'.*; level must .*got 2"),
        ({"a": make_curve()}, {"relative_to": "pooled"}, r"one of the curves \(a\), got 'pooled'"),
        ({"a": make_curve()}, {"relative_to": "a"}, "needs another curve"),
    ],
)
def test__adaptation_curve_display__bad_arguments__are_refused_with_all_mistakes(curves, arguments, words):
    with pytest.raises(ValueError, match=words):
        AdaptationCurveDisplay.from_curves(curves, **arguments)
    assert plt.get_fignums() == []


def test__adaptation_curve_display__from_estimator__is_the_curve_computed_by_hand(model, episodes):
    keywords = {"n_splits": 2, "random_state": 3}
    display = AdaptationCurveDisplay.from_estimator(model, episodes, support_sizes=SIZES, curve_kw=keywords)
    assert display.names == ["adapted", "pooled"]
    for line, judged in zip(display.lines_, (model, model.pooled_model_), strict=True):
        curve = adaptation_curve(judged, episodes, support_sizes=SIZES, **keywords)
        assert_allclose(line.get_ydata(), curve.accuracy.mean(1))


def test__adaptation_curve_display__baseline_passed__is_named_so_and_can_be_the_reference(model, episodes):
    display = AdaptationCurveDisplay.from_estimator(
        model, episodes, baseline=model, support_sizes=SIZES, relative_to="baseline"
    )
    assert display.names == ["adapted"]
    assert_array_equal(display.lines_[0].get_ydata(), [0, 0, 0])


def test__adaptation_curve_display__no_pooled_model__draws_the_model_alone(gradient_model, few_episodes):
    display = AdaptationCurveDisplay.from_estimator(gradient_model, few_episodes, support_sizes=SIZES)
    assert display.names == ["adapted"]
    with pytest.raises(ValueError, match="relative_to must name one of the curves"):
        AdaptationCurveDisplay.from_estimator(gradient_model, few_episodes, relative_to="pooled")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"support_sizes": (1,)}, "leave out support_sizes"),
        ({"random_state": np.random.default_rng(0)}, r"\['random_state'\] must be an integer.*got a Generator"),
    ],
)
def test__from_estimator__curve_keywords_that_would_mislead__are_refused(keywords, words, model, episodes):
    with pytest.raises(ValueError, match=words):
        AdaptationCurveDisplay.from_estimator(model, episodes, curve_kw=keywords)


class CountingEncoder(TransformerMixin, BaseEstimator):
    """Statistics of style; counts how often items are encoded."""

    def fit(self, items, y=None):
        self.calls_ = 0
        return self

    def transform(self, items):
        self.calls_ += 1
        return TextStatistics().transform(items)


@pytest.fixture(scope="module")
def texts():
    return load_style_preferences(n_users=40, n_pairs=30, random_state=0).episodes


@pytest.fixture(scope="module")
def text_model(texts):
    fit = MetaRewardModel(
        CountingEncoder(), text_statistics=False, n_bases=3, max_epochs=0, random_state=0, device="cpu"
    ).fit
    return fit(texts)


def test__from_estimator__model_and_baseline_share_an_encoder__texts_are_encoded_once(text_model, texts, monkeypatch):
    passes = []
    transform = type(text_model.encoder_).transform
    monkeypatch.setattr(
        type(text_model.encoder_), "transform", lambda self, X: passes.append(len(X)) or transform(self, X)
    )
    AdaptationCurveDisplay.from_estimator(text_model, texts, support_sizes=SIZES)
    assert passes == [texts.compact().n_items]


# -- gain of users ---------------------------------------------------------------------------------------------------


def test__user_gain_display__from_curves__sorts_gains_and_counts_whom_it_helped():
    curve, baseline = make_curve(0), make_curve(1)
    display = UserGainDisplay.from_curves(curve, baseline, 5, level=0.9)
    gains = curve.accuracy[1] - baseline.accuracy[1]
    assert_array_equal(display.gains, np.sort(gains)[::-1])
    assert [gains[int(user[1:])] for user in display.users] == display.gains.tolist()
    assert display.helped == pytest.approx(np.mean(gains > 1e-9))
    assert display.hurt == pytest.approx(np.mean(gains < -1e-9))
    assert display.interval == bootstrap_interval(curve.accuracy[1], baseline.accuracy[1], level=0.9)


def test__user_gain_display__artists__carry_gains_in_points_and_shares_in_words():
    gains = [0.3, -0.1, 0.0, 0.2]
    display = UserGainDisplay(
        users=[("a", 1), ("b", 2), ("c", 3), ("d", 4)], gains=gains, interval=Interval(0.1, 0.05, 0.15), n_support=1
    ).plot()
    assert display.users.tolist() == [("a", 1), ("d", 4), ("c", 3), ("b", 2)]
    assert_allclose(display.areas_[0].get_data().values, [30, 20, 0, 0])
    assert_allclose(display.areas_[1].get_data().values, [0, 0, 0, -10])
    assert_allclose(display.mean_line_.get_ydata(), 10)
    assert_allclose([display.mean_band_.get_y(), display.mean_band_.get_height()], [5, 10])
    assert legend_texts(display.ax_) == [
        "helped: 50 %",
        "hurt: 25 % (as before: 25 %)",
        "mean: +10.0 points, 95 % [5.0, 15.0]",
    ]
    assert display.ax_.get_legend().get_title().get_text() == "adapted on 1 choice"
    assert "4 users" in display.ax_.get_xlabel()


def test__user_gain_display__users_without_a_value__are_left_out():
    curve, baseline = make_curve(0, missing=[(2, 4)]), make_curve(1, missing=[(2, 7)])
    display = UserGainDisplay.from_curves(curve, baseline)
    assert len(display.gains) == N_USERS - 2
    assert not {"u4", "u7"} & set(display.users)
    nobody = make_curve(missing=[(1, user) for user in range(N_USERS)])
    with pytest.raises(ValueError, match="no user can be judged adapted on 5 choices"):
        UserGainDisplay.from_curves(nobody, baseline, 5)


def test__user_gain_display__a_size_that_was_not_computed__is_refused_with_those_that_were():
    with pytest.raises(ValueError, match=r"support_sizes, \(0, 5, None\), got 7"):
        UserGainDisplay.from_curves(make_curve(0), make_curve(1), 7)
    with pytest.raises(ValueError, match="same users"):
        UserGainDisplay.from_curves(make_curve(0), make_curve(1, n_users=3))


def test__user_gain_display__from_estimator__compares_with_the_pooled_model(model, episodes):
    display = UserGainDisplay.from_estimator(model, episodes, 5, curve_kw={"n_splits": 1})
    curve, pooled = (
        adaptation_curve(judged, episodes, support_sizes=[5], n_splits=1) for judged in (model, model.pooled_model_)
    )
    assert_array_equal(display.gains, np.sort(curve.accuracy[0] - pooled.accuracy[0])[::-1])
    assert "the pooled model" in display.ax_.get_ylabel()


@pytest.mark.parametrize("n_support", [0, 5])
def test__user_gain_display__no_pooled_model__compares_with_the_model_before(n_support, gradient_model, few_episodes):
    display = UserGainDisplay.from_estimator(gradient_model, few_episodes, n_support)
    curve = adaptation_curve(gradient_model, few_episodes, support_sizes=(0, 5))
    expected = curve.accuracy[1] - curve.accuracy[0] if n_support else np.zeros(len(curve.users))
    assert_array_equal(display.gains, np.sort(expected)[::-1])
    assert "before adapting" in display.ax_.get_ylabel()


# -- reliability -----------------------------------------------------------------------------------------------------


def test__reliability_display__from_curve__draws_the_bins_that_hold_choices():
    curve = make_curve()
    display = ReliabilityDisplay.from_curve(curve, 5)
    found = curve.reliability[1]
    filled = found.weight > 0
    assert_array_equal(display.line_.get_xydata(), np.column_stack([found.confidence, found.accuracy])[filled])
    assert_array_equal(display.markers_.get_offsets(), display.line_.get_xydata())
    assert legend_texts(display.ax_) == [
        "perfectly calibrated",
        f"adapted on 5 choices (ECE {found.calibration_error:.3f})",
    ]
    assert_array_equal(display.diagonal_.get_xydata(), [[0.5, 0.5], [1, 1]])


def test__reliability_display__marker_areas__are_in_proportion_to_the_share_of_choices():
    margins = np.repeat([0.1, 1.0, 2.0], [10, 20, 30])
    display = ReliabilityDisplay(reliability(margins)).plot()
    areas = display.markers_.get_sizes()
    assert_allclose(areas / areas[0], [1, 2, 3])


def test__reliability_display__two_on_the_same_axes__share_one_diagonal():
    curve = make_curve()
    first = ReliabilityDisplay.from_curve(curve, 0)
    second = ReliabilityDisplay.from_curve(curve, None, name="all", ax=first.ax_, ref_line=False)
    assert second.ax_ is first.ax_
    assert second.diagonal_ is None
    assert len(first.ax_.lines) == 3
    assert first.line_.get_color() != second.line_.get_color()
    assert [text.split(" (")[0] for text in legend_texts(first.ax_)[1:]] == ["before adapting", "all"]


def test__reliability_display__from_estimator__is_that_of_the_curve(model, episodes):
    display = ReliabilityDisplay.from_estimator(model, episodes, 5, curve_kw={"random_state": 1})
    expected = adaptation_curve(model, episodes, support_sizes=[5], random_state=1).reliability[0]
    assert_array_equal(display.reliability.weight, expected.weight)


def test__reliability_display__nobody_judged_or_not_a_curve__is_refused(model, episodes):
    with pytest.raises(ValueError, match="no user is judged adapted on 500 choices"):
        ReliabilityDisplay.from_estimator(model, episodes, 500)
    with pytest.raises(ValueError, match="must be AdaptationCurve"):
        ReliabilityDisplay.from_curve("curve")


# -- base rewards ----------------------------------------------------------------------------------------------------


def centred(values, group):
    """Deviations from group means, in a plain loop."""
    found = np.array(values, float)
    for name in set(group):
        rows = np.flatnonzero(np.asarray(group) == name)
        found[rows] -= found[rows].mean(0)
    return found


def test__within_comparisons__chains_of_pairs__are_centred_together():
    # 0-1-2 hang together by two pairs of different users; 3-4 are by themselves.
    compared = episodes_from_arrays(np.eye(5), [0, 2, 3], [1, 1, 4], ["a", "b", "b"])
    values = np.arange(10.0).reshape(5, 2) ** 2
    assert_allclose(within_comparisons(values, compared), centred(values, [0, 0, 0, 1, 1]))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test__within_comparisons__what_differs_between_prompts_only__does_not_count(seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, 12)
    chosen = rng.integers(0, 12, 30)
    rejected = np.array([rng.choice(np.flatnonzero(group == group[row])) for row in chosen])
    compared = episodes_from_arrays(np.eye(12), chosen, rejected, np.zeros(30, int))
    values = rng.normal(size=(12, 3))
    assert_allclose(
        within_comparisons(values + 10 * group[:, None], compared), within_comparisons(values, compared), atol=1e-12
    )


def test__base_reward_display__texts__heat_map_is_the_correlation_within_prompts(text_model, texts):
    display = BaseRewardDisplay.from_estimator(text_model, texts, n_statistics=5)
    used = texts.compact()
    prompts = [prompt for prompt, _ in used.items]  # 1,200 pairs tie together the six answers to each of 60
    rewards = centred(text_model.transform(used), prompts)
    statistics = centred(TextStatistics().transform(used.items), prompts)
    for row, name in enumerate(display.statistics):
        for column in range(rewards.shape[1]):
            if statistics[:, row].std() > 1e-6:
                expected = np.corrcoef(statistics[:, row], rewards[:, column])[0, 1]
                assert display.correlations[row, column] == pytest.approx(expected, abs=1e-4), name
    strongest = np.abs(display.correlations).max(1)
    assert strongest[display.shown_].tolist() == sorted(strongest, reverse=True)[:5]
    assert_array_equal(display.image_.get_array(), display.correlations[display.shown_])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [display.statistics[row] for row in display.shown_]


def test__base_reward_display__texts__examples_are_the_extremes(text_model, texts):
    display = BaseRewardDisplay.from_estimator(text_model, texts, n_examples=1)
    used = texts.compact()
    rewards = centred(text_model.transform(used), [prompt for prompt, _ in used.items])
    for column, (best, worst) in enumerate(zip(display.examples[::2], display.examples[1::2], strict=True)):
        assert (best.side, worst.side) == ("highest", "lowest")
        assert best.score == pytest.approx(rewards[:, column].max(), abs=1e-5)
        assert worst.score == pytest.approx(rewards[:, column].min(), abs=1e-5)
        assert texts.items[best.item] == (best.prompt, best.response)
    shown = display.text_.get_text().splitlines()
    assert shown[0] == "base_reward0, highest and lowest:"
    assert best.response.split()[0] in display.text_.get_text()
    assert max(map(len, shown)) < 90


def test__base_reward_display__frames__hold_all_statistics_and_full_texts(text_model, texts):
    pytest.importorskip("pandas")
    display = BaseRewardDisplay.from_estimator(text_model, texts, n_examples=2, n_statistics=1)
    table, examples = display.to_frame(), display.examples_to_frame()
    assert table.index.tolist() == TextStatistics().get_feature_names_out().tolist()
    assert table.columns.tolist() == ["base_reward0", "base_reward1", "base_reward2"]
    assert_array_equal(table.to_numpy(), display.correlations)
    assert len(examples) == 3 * 4
    assert examples["response"][0] == texts.items[examples["item"][0]][1]


def test__base_reward_display__arrays__names_features_and_rows_of_the_set_that_was_passed(model, episodes):
    few = episodes[[3]]  # over all items, most of which no pair of this user refers to
    display = BaseRewardDisplay.from_estimator(model, few, n_examples=1, feature_names=list("abcd"))
    assert display.statistics == list("abcd")
    used = set(few.chosen.tolist()) | set(few.rejected.tolist())
    assert {example.item for example in display.examples} <= used
    best = max(used, key=lambda row: within_of(model, few)[row, 0])
    assert display.examples[0].item == best
    assert f"item {best}" in display.text_.get_text()
    assert BaseRewardDisplay.from_estimator(model, episodes).statistics[0] == "feature 0"


def within_of(model, episodes):
    return within_comparisons(model.transform(np.asarray(episodes.features)), episodes)


def test__base_reward_display__a_feature_that_never_varies_within_comparisons__correlates_with_nothing(episodes):
    features = np.column_stack([episodes.features, np.full(episodes.n_items, 0.1)])
    extended = episodes.with_features(features)
    fitted = MetaRewardModel(n_bases=2, max_epochs=0, random_state=0, device="cpu").fit(extended)
    display = BaseRewardDisplay.from_estimator(fitted, extended)
    assert_array_equal(display.correlations[-1], 0)
    assert np.abs(display.correlations[:-1]).max() > 0.3


class PartlySilent(BaseEstimator):
    """A fitted model with other weights."""

    def __init__(self, model, start, scale):
        self.base_rewards_, self.encoder_, self.transform = model.base_rewards_, None, model.transform
        self.get_feature_names_out = model.get_feature_names_out
        self.start_weights_, self.prior_scale_ = np.array(start), np.array(scale)

    def fit(self, episodes):
        raise NotImplementedError


def test__base_reward_display__base_rewards_without_a_say__are_left_out(model, episodes):
    silent = PartlySilent(model, start=[1.0, 0.0, 0.0], scale=[0.0, 0.0, 0.5])
    assert BaseRewardDisplay.from_estimator(silent, episodes).base_rewards == ["base_reward0", "base_reward2"]
    rewards = within_comparisons(model.transform(episodes), episodes.compact())
    strongest = np.argmax(np.sqrt((rewards**2).mean(0)) * [1, 0, 0.5])
    assert BaseRewardDisplay.from_estimator(silent, episodes, n_bases=1).base_rewards == [f"base_reward{strongest}"]
    with pytest.raises(ValueError, match="no base reward function has any effect"):
        BaseRewardDisplay.from_estimator(PartlySilent(model, np.zeros(3), np.zeros(3)), episodes)


def test__base_reward_display__by_default__shows_the_few_that_matter_and_says_what_colours_mean(model, episodes):
    several = PartlySilent(model, start=[1.0, 1e-4, 0.0], scale=[0.0, 0.0, 0.5])
    display = BaseRewardDisplay.from_estimator(several, episodes)
    assert display.base_rewards == ["base_reward0", "base_reward2"]
    assert display.colorbar_.mappable is display.image_
    every = BaseRewardDisplay.from_estimator(several, episodes, n_bases=None, colorbar=False)
    assert every.base_rewards == ["base_reward0", "base_reward1", "base_reward2"]
    assert every.colorbar_ is None
    labels = [label.get_text() for label in every.ax_.get_xticklabels()]
    assert not any("(0.00)" in label or "(0)" in label for label in labels)


def test__base_reward_display__axes_given__draws_the_map_there_and_examples_only_where_asked(text_model, texts):
    figure, (left, right) = plt.subplots(1, 2)
    display = BaseRewardDisplay.from_estimator(text_model, texts, ax=left)
    assert display.ax_ is left
    assert display.figure_ is figure
    assert display.text_ is None
    assert not right.texts
    display.plot(left, examples_ax=right)
    assert display.text_.axes is right
    assert plt.get_fignums() == [figure.number]


def test__base_reward_display__dollars_in_a_response__do_not_begin_a_formula():
    display = BaseRewardDisplay(
        correlations=[[0.5]],
        statistics=["length"],
        base_rewards=["base_reward0"],
        effects=[1.0],
        examples=[SimpleNamespace(base_reward="base_reward0", score=1.0, response="Pay $5_a or $6^b.", item=0)],
    ).plot()
    display.figure_.canvas.draw()
    assert r"Pay \$5_a or \$6^b." in display.text_.get_text()


def test__base_reward_display__bad_arguments__are_refused_with_all_mistakes(model, text_model, texts, episodes):
    with pytest.raises(ValueError, match=r"n_examples must .*got -1; n_statistics .*got 0; n_bases .*got True"):
        BaseRewardDisplay.from_estimator(model, episodes, n_examples=-1, n_statistics=0, n_bases=True)
    with pytest.raises(ValueError, match="each of the 4 features, got 1 names"):
        BaseRewardDisplay.from_estimator(model, episodes, feature_names=["a"])
    with pytest.raises(ValueError, match="feature_names are for models fitted on arrays"):
        BaseRewardDisplay.from_estimator(text_model, texts, feature_names=["a"])
    with pytest.raises(NotFittedError):
        BaseRewardDisplay.from_estimator(MetaRewardModel(), episodes)


# -- training history ------------------------------------------------------------------------------------------------


def record(epoch, training, validation):
    return {"epoch": epoch, "training_loss": training, "validation_loss": validation, "learning_rate": 0.1}


def test__training_history_display__from_history__draws_losses_and_marks_the_kept_epoch():
    history = [record(0, None, 0.7), record(1, 0.65, 0.6), record(2, 0.6, 0.6), record(3, 0.5, 0.65)]
    display = TrainingHistoryDisplay.from_history(history)
    training, validation = display.lines_
    assert_array_equal(training.get_ydata(), [np.nan, 0.65, 0.6, 0.5])
    assert_array_equal(validation.get_ydata(), [0.7, 0.6, 0.6, 0.65])
    assert display.kept_epoch == 1  # the earlier of equals, as in training
    assert_array_equal(display.kept_line_.get_xdata(), [1, 1])
    assert legend_texts(display.ax_) == ["training", "validation", "epoch 1: lowest validation loss"]


def test__training_history_display__no_validation_users__keeps_the_last_epoch():
    display = TrainingHistoryDisplay.from_history([record(0, None, None), record(1, 0.6, None)])
    assert display.kept_epoch == 1
    assert len(display.lines_) == 1
    assert "no validation users" in legend_texts(display.ax_)[-1]


def test__training_history_display__from_estimator__is_its_history(gradient_model):
    _, ax = plt.subplots()
    display = TrainingHistoryDisplay.from_estimator(gradient_model, ax=ax)
    assert display.ax_ is ax
    assert display.validation_loss.tolist() == [epoch["validation_loss"] for epoch in gradient_model.history_]


def test__training_history_display__outer_loop_did_not_run__says_why(text_model):
    with pytest.raises(ValueError, match="outer loop did not run, because max_epochs=0"):
        TrainingHistoryDisplay.from_estimator(text_model)
    with pytest.raises(ValueError, match="a baseline that has no epochs"):
        TrainingHistoryDisplay.from_estimator(text_model.pooled_model_)
    with pytest.raises(NotFittedError):
        TrainingHistoryDisplay.from_estimator(MetaRewardModel())


# -- without matplotlib ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        lambda: AdaptationCurveDisplay.from_estimator(None, None),
        lambda: AdaptationCurveDisplay.from_curves({"adapted": make_curve()}),
        lambda: UserGainDisplay.from_estimator(None, None),
        lambda: UserGainDisplay.from_curves(make_curve(0), make_curve(1)),
        lambda: ReliabilityDisplay.from_estimator(None, None),
        lambda: ReliabilityDisplay(make_curve().reliability[0]).plot(),
        lambda: BaseRewardDisplay.from_estimator(None, None),
        lambda: TrainingHistoryDisplay.from_estimator(None),
    ],
)
def test__displays__matplotlib_missing__say_how_to_get_it_before_any_work(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Display.* draws with matplotlib.*pip install 'skmrm\[plot\]'"):
        draw()


def test__import__of_the_module_and_of_a_display__loads_no_matplotlib():
    code = (
        "import sys; from skmrm.plotting import AdaptationCurveDisplay; "
        "print({'matplotlib', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
