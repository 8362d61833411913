"""Metrics per user: known answers, laws, and intervals that cover what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from scipy.stats import bootstrap
from sklearn import metrics as sk_metrics
from sklearn.calibration import calibration_curve

from skmrm.metrics import (
    Interval,
    bootstrap_interval,
    expected_calibration_error,
    log_loss,
    reliability,
    share_helped,
    simultaneous_intervals,
    user_accuracies,
    user_level_accuracy,
    user_log_losses,
    worst_decile,
    worst_decile_accuracy,
)

N_USERS = 4


@st.composite
def judged_pairs(draw):
    """Margins and their users, every user with a pair; small integers, so that ties and equal margins come up."""
    n = draw(st.integers(N_USERS, 25))
    margins = draw(arrays(float, n, elements=st.integers(-4, 4).map(float)))
    user = draw(arrays(int, n, elements=st.integers(0, N_USERS - 1)))
    user[:N_USERS] = np.arange(N_USERS)
    return margins, user


# -- known answers ---------------------------------------------------------------------------------------------------


def test__user_accuracies__hand_made__are_shares_with_ties_one_half():
    found = user_accuracies([2.0, -1.0, 0.0, 0.5, 1e-9, np.inf], [0, 0, 0, 2, 2, 2])
    assert_array_equal(found, [0.5, np.nan, 1.0])


def test__user_accuracies__n_users_given__pads_with_nan():
    assert_array_equal(user_accuracies([1.0], [0], n_users=3), [1.0, np.nan, np.nan])
    assert_array_equal(user_log_losses([], [], n_users=2), [np.nan, np.nan])


def test__user_log_losses__hand_made__are_mean_negative_log_likelihoods():
    margins = np.array([0.0, 2.0, -2.0, 1.0])
    chance = 1 / (1 + np.exp(-margins))
    expected = [-np.log(chance[:2]).mean(), -np.log(chance[2:]).mean()]
    assert_allclose(user_log_losses(margins, [0, 0, 1, 1]), expected, rtol=1e-12)


def test__user_log_losses__huge_margins__do_not_overflow():
    assert_allclose(user_log_losses([1e6, -1e6], [0, 1]), [0.0, 1e6], atol=1e-12)


def test__user_level_accuracy__unequal_users__counts_every_user_alike():
    # Pooled over pairs it would be 10 / 11.
    assert user_level_accuracy([1.0] * 10 + [-1.0], [0] * 10 + [1]) == 0.5


def test__log_loss__user_without_pairs__is_left_out():
    assert log_loss([0.0, 0.0], [0, 2]) == pytest.approx(np.log(2))


@pytest.mark.parametrize(("n_users", "expected"), [(1, 0.0), (9, 0.0), (20, 0.25), (30, 0.5)])
def test__worst_decile_accuracy__known_users__is_mean_of_the_lowest_tenth(n_users, expected):
    """User i has accuracy 0, 1/2, 1, 1, 1, ... from two pairs each."""
    margins = np.ones((n_users, 2))
    margins[0] = -1
    margins[1:2, 0] = -1
    user = np.repeat(np.arange(n_users), 2)
    assert worst_decile_accuracy(margins.ravel(), user) == pytest.approx(expected)


# -- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(judged_pairs(), st.randoms(use_true_random=False))
def test__metrics__order_of_pairs__does_not_matter(pairs, random):
    margins, user = pairs
    order = list(range(len(user)))
    random.shuffle(order)
    assert_allclose(user_accuracies(margins[order], user[order]), user_accuracies(margins, user), rtol=1e-12)
    assert_allclose(user_log_losses(margins[order], user[order]), user_log_losses(margins, user), rtol=1e-12)


@settings(max_examples=50)
@given(judged_pairs(), st.floats(0.01, 100))
def test__user_accuracies__scaled_and_swapped__stay_and_complement(pairs, scale):
    margins, user = pairs
    accuracies = user_accuracies(margins, user)
    assert_array_equal(user_accuracies(scale * margins, user), accuracies)
    assert_allclose(user_accuracies(-margins, user), 1 - accuracies, rtol=1e-12, atol=1e-12)


@settings(max_examples=50)
@given(judged_pairs())
def test__user_log_losses__swapped__differ_by_the_mean_margin(pairs):
    """log(1 + e^x) - log(1 + e^-x) = x: what swapping every pair of a user costs."""
    margins, user = pairs
    mean_margin = np.bincount(user, margins) / np.bincount(user)
    swapped = user_log_losses(-margins, user)
    assert_allclose(swapped - user_log_losses(margins, user), mean_margin, rtol=1e-9, atol=1e-9)


@settings(max_examples=50)
@given(judged_pairs())
def test__summaries__any_pairs__agree_with_the_users_they_summarise(pairs):
    margins, user = pairs
    accuracies = user_accuracies(margins, user)
    assert user_level_accuracy(margins, user) == pytest.approx(accuracies.mean())
    assert worst_decile_accuracy(margins, user) == pytest.approx(accuracies.min())  # a tenth of 4 users is one user
    assert log_loss(margins, user) == pytest.approx(user_log_losses(margins, user).mean())


# -- the same by scikit-learn ----------------------------------------------------------------------------------------


@st.composite
def judged_both_ways(draw):
    """Pairs of which either response may be the chosen one: probability of the first, label, margin of the chosen."""
    n = draw(st.integers(3, 60))
    gap = np.random.default_rng(draw(st.integers(0, 10**6))).normal(
        scale=draw(st.sampled_from([0.1, 1.0, 5.0])), size=n
    )
    label = draw(arrays(int, n, elements=st.integers(0, 1)))
    label[:2] = 0, 1
    return expit(gap), label, np.where(label == 1, gap, -gap)


@given(judged_both_ways(), st.integers(0, 10**6))
def test__user_metrics__several_users__are_those_of_scikit_learn_on_each(pairs, seed):
    chance, label, margins = pairs
    user = np.random.default_rng(seed).integers(0, 3, len(margins))
    accuracies, losses = user_accuracies(margins, user, 3), user_log_losses(margins, user, 3)
    for one in np.unique(user):
        own = user == one
        assert_allclose(accuracies[one], sk_metrics.accuracy_score(label[own], chance[own] > 0.5), rtol=1e-12)
        assert_allclose(losses[one], sk_metrics.log_loss(label[own], chance[own], labels=[0, 1]), rtol=1e-6)


@given(judged_both_ways(), st.integers(1, 12))
def test__reliability__any_pairs__is_the_calibration_curve_of_scikit_learn(pairs, n_bins):
    """Of pairs from both sides that curve is symmetric, and its upper half ours."""
    chance, label, margins = pairs
    found = reliability(margins, n_bins=n_bins)
    filled = found.weight > 0
    both, right = np.concatenate([chance, 1 - chance]), np.concatenate([label, 1 - label])
    confident = both > 0.5
    accuracy, confidence = calibration_curve(right[confident], both[confident], n_bins=2 * n_bins)
    assert_allclose(found.accuracy[filled], accuracy, rtol=1e-9, atol=1e-12)
    assert_allclose(found.confidence[filled], confidence, rtol=1e-9)
    counts = np.histogram(both[confident], 2 * n_bins, (0, 1))[0][n_bins:]
    assert_allclose(found.weight, counts / len(margins), rtol=1e-12)
    distance = np.abs(accuracy - confidence) @ counts[counts > 0] / len(margins)
    assert_allclose(expected_calibration_error(margins, n_bins=n_bins), distance, rtol=1e-9, atol=1e-12)


# -- bootstrap -------------------------------------------------------------------------------------------------------


def test__bootstrap_interval__many_samples_of_users__covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    n_samples, covered = 300, 0
    for sample in range(n_samples):
        found = bootstrap_interval(
            rng.beta(4, 2, size=60), level=0.9, n_resamples=200, random_state=np.random.default_rng(sample)
        )
        covered += found.low <= 4 / 6 <= found.high
    # Three standard errors around 0.9, and a little room below: percentile intervals of 60 users are a bit narrow.
    assert 0.84 <= covered / n_samples <= 0.95


def test__bootstrap_interval__paired__is_narrower_than_the_spread_of_users():
    """Users differ far more from each other than two models do on the same user."""
    rng = np.random.default_rng(0)
    one = rng.uniform(0.4, 0.9, size=100)
    other = one + rng.normal(0.02, 0.01, size=100)
    paired = bootstrap_interval(other, one)
    alone = bootstrap_interval(other)
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 5
    assert paired.estimate == pytest.approx(other.mean() - one.mean())


def test__bootstrap_interval__swapped_models__is_mirrored():
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 30))
    forth, back = bootstrap_interval(one, other), bootstrap_interval(other, one)
    assert_allclose([back.low, back.estimate, back.high], [-forth.high, -forth.estimate, -forth.low], atol=1e-12)


def test__bootstrap_interval__same_seed__same_interval_and_another_seed_another():
    values = np.random.default_rng(2).random(30)
    assert bootstrap_interval(values, random_state=3) == bootstrap_interval(values, random_state=3)
    assert bootstrap_interval(values, random_state=3) != bootstrap_interval(values, random_state=4)


def test__bootstrap_interval__higher_level__is_wider():
    values = np.random.default_rng(2).random(30)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high
    assert (narrow.level, wide.level) == (0.5, 0.99)


def test__bootstrap_interval__users_without_a_value__are_left_out():
    values = np.random.default_rng(2).random(30)
    gappy = np.insert(values, [0, 7, 30], np.nan)
    assert bootstrap_interval(gappy) == bootstrap_interval(values)
    # Paired: a user who has no value under one of the models says nothing about their difference.
    known = bootstrap_interval([0.5, 2.0])
    assert bootstrap_interval([1.0, np.nan, 3.0, 3.0], [0.5, 1.0, np.nan, 1.0]) == known


def test__interval__str__reads_as_a_signed_estimate():
    assert str(Interval(0.0123, -0.001, 0.0256)) == "+0.0123 [-0.0010, +0.0256]"


def test__bootstrap_interval__mean__equals_a_plain_loop_over_resamples():
    rng = np.random.default_rng(4)
    one, other = rng.random((2, 30))
    draws = np.random.default_rng(7).integers(0, 30, (500, 30))
    low, high = np.quantile([(one - other)[drawn].mean() for drawn in draws], [0.025, 0.975])
    found = bootstrap_interval(one, other, n_resamples=500, random_state=7)
    assert_allclose([found.low, found.high], [low, high], rtol=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("statistic", [np.mean, np.median, worst_decile], ids=lambda statistic: statistic.__name__)
def test__bootstrap_interval__any_statistic__is_that_of_scipy(statistic, level):
    """The same resamples of users, so the same percentiles; of a difference between models, users are paired."""
    one, other = np.random.default_rng(4).random((2, 30))
    options = {"confidence_level": level, "n_resamples": 400, "method": "percentile", "vectorized": False}
    plain = bootstrap((one,), statistic, **options, random_state=np.random.default_rng(7)).confidence_interval
    found = bootstrap_interval(one, statistic=statistic, level=level, n_resamples=400, random_state=7)
    assert_allclose([found.low, found.high], plain, rtol=1e-9)

    def difference(a, b):
        return statistic(a) - statistic(b)

    plain = bootstrap(
        (one, other), difference, paired=True, **options, random_state=np.random.default_rng(7)
    ).confidence_interval
    found = bootstrap_interval(one, other, statistic=statistic, level=level, n_resamples=400, random_state=7)
    assert_allclose([found.low, found.high], plain, rtol=1e-9, atol=1e-12)


def test__bootstrap_interval__worst_decile__equals_a_plain_loop_over_resamples():
    rng = np.random.default_rng(4)
    one, other = rng.random((2, 30))
    draws = np.random.default_rng(7).integers(0, 30, (200, 30))
    plain = [np.sort(one[drawn])[:3].mean() - np.sort(other[drawn])[:3].mean() for drawn in draws]
    found = bootstrap_interval(one, other, statistic=worst_decile, n_resamples=200, random_state=7)
    assert_allclose([found.low, found.high], np.quantile(plain, [0.025, 0.975]), rtol=1e-12)
    assert found.estimate == pytest.approx(worst_decile(one) - worst_decile(other))
    assert found != bootstrap_interval(one, other, n_resamples=200, random_state=7)


def test__bootstrap_interval__more_resamples_than_fit_a_chunk__equals_one_chunk(monkeypatch):
    values = np.random.default_rng(2).random(50)
    whole = bootstrap_interval(values, n_resamples=300)
    monkeypatch.setattr("skmrm.metrics.bootstrap._ENTRIES_PER_CHUNK", 50 * 7)
    assert bootstrap_interval(values, n_resamples=300) == whole


# -- simultaneous intervals ------------------------------------------------------------------------------------------


def test__simultaneous_intervals__no_effect_anywhere__all_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    n_samples, together, alone = 200, 0, 0
    for _ in range(n_samples):
        values = rng.normal(size=(5, 60)) + 0.5 * rng.normal(size=60)  # what a user has in common at all sizes
        options = {"level": 0.9, "n_resamples": 300, "random_state": rng}
        together += all(found.low <= 0 <= found.high for found in simultaneous_intervals(values, **options))
        one_by_one = [bootstrap_interval(row, **options) for row in values]
        alone += all(found.low <= 0 <= found.high for found in one_by_one)
    assert 0.83 <= together / n_samples <= 0.96
    assert alone / n_samples < 0.8


def test__simultaneous_intervals__one_quantity_many_times__cost_nothing():
    values = np.random.default_rng(1).random(40)
    (one,) = simultaneous_intervals(values[None])
    assert simultaneous_intervals(np.tile(values, (6, 1)))[5] == one
    percentile = bootstrap_interval(values)
    assert_allclose([one.low, one.high], [percentile.low, percentile.high], atol=0.01)


def test__simultaneous_intervals__estimates__are_those_of_each_row():
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 3, 40))
    other[1, :10] = np.nan
    one[2] = np.nan
    found = simultaneous_intervals(one, other, n_resamples=100)
    assert found[0].estimate == pytest.approx((one[0] - other[0]).mean())
    assert found[1].estimate == pytest.approx((one[1] - other[1])[10:].mean())
    assert np.isnan([found[2].estimate, found[2].low, found[2].high]).all()
    worst = simultaneous_intervals(one, other, statistic=worst_decile, n_resamples=100)
    assert worst[1].estimate == pytest.approx(worst_decile(one[1, 10:]) - worst_decile(other[1, 10:]))
    assert worst[0].low < worst[0].estimate < worst[0].high


def test__simultaneous_intervals__mean_written_out__equals_the_fast_mean():
    rng = np.random.default_rng(3)
    one, other = rng.random((2, 4, 25))
    one[2, :5] = np.nan
    fast = simultaneous_intervals(one, other, n_resamples=200)
    plain = simultaneous_intervals(one, other, statistic=lambda values: values.sum() / len(values), n_resamples=200)
    for quick, slow in zip(fast, plain, strict=True):
        assert_allclose([quick.low, quick.estimate, quick.high], [slow.low, slow.estimate, slow.high], rtol=1e-9)


# -- who gains -------------------------------------------------------------------------------------------------------


def test__share_helped__known_users__counts_rises_and_falls():
    helped, hurt = share_helped([0.5, 0.6, 0.7, 0.1, np.nan], [0.5, 0.5, 0.5, 0.2, 0.0])
    assert (helped, hurt) == (0.5, 0.25)


def test__share_helped__round_off__is_no_change():
    assert share_helped([0.1 + 0.2], [0.3]) == (0.0, 0.0)


@settings(max_examples=30)
@given(arrays(float, (2, 8), elements=st.integers(0, 3).map(lambda n: n / 3)))
def test__share_helped__swapped_models__swaps_the_shares(values):
    assert share_helped(*values) == share_helped(*values[::-1])[::-1]


# -- calibration -----------------------------------------------------------------------------------------------------


def calibrated_margins(n=40_000, seed=0):
    """Margins of choices that were made with the probabilities that they say."""
    rng = np.random.default_rng(seed)
    reward_gap = rng.normal(scale=2.0, size=n)
    return np.where(rng.logistic(size=n) < reward_gap, reward_gap, -reward_gap)


def test__expected_calibration_error__calibrated_margins__is_near_zero_and_scaled_ones_are_not():
    margins = calibrated_margins()
    right = expected_calibration_error(margins)
    assert right < 0.01
    assert expected_calibration_error(2 * margins) > 0.05  # too sure of itself
    assert expected_calibration_error(margins / 2) > 0.05  # too modest


def test__reliability__hand_made__means_of_bins():
    sigmoid = 1 / (1 + np.exp(-np.array([0.1, 3.0, 4.0])))
    found = reliability([0.1, -3.0, 4.0, 0.0], n_bins=2)
    assert_allclose(found.confidence, [(sigmoid[0] + 0.5) / 2, sigmoid[1:].mean()])
    assert_allclose(found.accuracy, [0.75, 0.5])
    assert_allclose(found.weight, [0.5, 0.5])
    expected = 0.5 * abs(0.75 - found.confidence[0]) + 0.5 * abs(0.5 - found.confidence[1])
    assert found.calibration_error == pytest.approx(expected)


def test__reliability__users__count_alike_however_many_pairs_they_have():
    found = reliability([5.0] * 9 + [0.0], [0] * 9 + [1], n_bins=2)
    assert_allclose(found.weight, [0.5, 0.5])
    assert_allclose(reliability([5.0] * 9 + [0.0], n_bins=2).weight, [0.1, 0.9])


@settings(max_examples=50)
@given(judged_pairs(), st.integers(1, 12))
def test__reliability__any_pairs__averages_to_the_mean_accuracy_and_confidence(pairs, n_bins):
    margins, user = pairs
    found = reliability(margins, user, n_bins)
    filled = found.weight > 0
    assert found.weight.sum() == pytest.approx(1)
    assert np.isnan(found.accuracy[~filled]).all()
    assert np.isnan(found.confidence[~filled]).all()
    assert found.weight[filled] @ found.accuracy[filled] == pytest.approx(user_level_accuracy(margins, user))
    assert np.all((found.confidence[filled] >= 0.5) & (found.confidence[filled] <= 1))
    one_bin = abs(user_level_accuracy(margins, user) - found.weight[filled] @ found.confidence[filled])
    assert found.calibration_error >= one_bin - 1e-12


def test__reliability__infinite_margins__fall_into_the_last_bin():
    assert_array_equal(reliability([np.inf, -np.inf], n_bins=4).weight, [0, 0, 0, 1])


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [user_accuracies, user_log_losses])
@pytest.mark.parametrize(
    ("margins", "user", "message"),
    [
        ([1.0, np.nan], [0, 0], "1 of 2 are NaN"),
        ([1.0, 2.0], [0], r"shapes \(2,\) and \(1,\)"),
        ([[1.0], [2.0]], [0, 0], r"shapes \(2, 1\) and \(2,\)"),
        ([1.0, 2.0], [0, -1], "from 0"),
        ([1.0, 2.0], [0.0, 1.0], "float64"),
        ([1.0, 2.0], ["a", "b"], "one row number of a user.*<U1"),
        ([1.0, 2.0], [5_000_000_000, 7_000_000_000], "one row number of a user.* got 7000000000 among 2 pairs"),
        ([1.0, 2.0], np.array([0, 2**64 - 1], np.uint64), "got 18446744073709551615 among 2 pairs"),
        (np.ma.masked_equal([1.0, 2.0], 2.0), [0, 0], "1 of 2 are NaN"),
    ],
)
def test__metrics__unusable_input__is_a_clear_error(metric, margins, user, message):
    with pytest.raises(ValueError, match=message):
        metric(margins, user)


def test__user_accuracies__user_beyond_n_users__is_a_clear_error():
    with pytest.raises(ValueError, match=r"n_users=2.*largest is 3"):
        user_accuracies([1.0, 1.0], [0, 3], n_users=2)


@pytest.mark.parametrize("summary", [user_level_accuracy, worst_decile_accuracy, log_loss])
def test__summaries__no_pairs__are_a_clear_error(summary):
    with pytest.raises(ValueError, match="at least one pair"):
        summary([], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [0.5, 0.6], "other": [0.5]}, r"shapes \(2,\) and \(1,\)"),
        ({"values": [0.5], "level": 1.0}, "level"),
        ({"values": [0.5], "level": 0}, "level"),
        ({"values": []}, "no user"),
        ({"values": [np.nan, np.nan]}, "no user"),
        ({"values": [0.5, np.nan], "other": [np.nan, 0.5]}, "no user"),
        ({"values": [0.5, 0.6], "level": "95 %"}, "level must lie strictly between 0 and 1, got '95 %'"),
        ({"values": [0.5, 0.6], "n_resamples": 0}, "n_resamples must be a positive integer, got 0"),
        ({"values": [0.5, 0.6], "n_resamples": 1e3, "level": 2}, r"level .*, got 2; n_resamples .*, got 1000\.0"),
        ({"values": [0.5, np.inf]}, "must be finite.* 1 of 2 are infinite"),
        ({"values": [0.5, 0.6], "other": [-np.inf, np.nan]}, "must be finite.* 1 of 4 are infinite"),
    ],
)
def test__bootstrap_interval__unusable_input__is_a_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one pair"),
        (([[1.0]],), r"shape \(1, 1\)"),
        (([np.nan],), "1 of 1 are NaN"),
        (([1.0], [0, 1]), r"shapes \(1,\) and \(2,\)"),
        (([1.0], None, 0), "n_bins must be a positive integer, got 0"),
        (([1.0], None, 2.0), r"n_bins must be a positive integer, got 2\.0"),
    ],
)
def test__reliability__unusable_input__is_a_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        reliability(*arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simultaneous_intervals([0.5]), r"shape \(n_quantities, n_users\), got \(1,\)"),
        (lambda: simultaneous_intervals([[0.5]], [[0.5, 0.5]]), r"shapes \(1, 1\) and \(1, 2\)"),
        (lambda: simultaneous_intervals([[0.5]], level=2), "level"),
        (lambda: bootstrap_interval([[0.5]]), r"shape \(n_users,\), got \(1, 1\)"),
        (lambda: share_helped([0.5], [0.5, 0.5]), r"shapes \(1,\) and \(2,\)"),
        (lambda: share_helped([0.5, np.nan], [np.nan, 0.5]), "no user has a value under both models"),
        (lambda: share_helped([0.5, np.inf], [0.1, np.inf]), "2 of 4 are infinite"),
        (lambda: user_accuracies([1.0], [0], n_users=1.5), r"n_users must be a number of users, or None, got 1\.5"),
        (lambda: user_level_accuracy([1.0, 1.0], ["a", None]), "got None: leave these pairs out"),
        (lambda: log_loss([1.0, 1.0], [["a"], ["b"]]), "unhashable"),
        (lambda: reliability([1.0, 1.0], ["a"]), r"shapes \(2,\) and \(1,\)"),
    ],
)
def test__comparisons_of_users__unusable_input__is_a_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- users by any name, and users without numbers --------------------------------------------------------------------


@given(
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    ids=st.sampled_from(
        [
            [5 * 10**9, 7 * 10**18, 0, 3, 1],
            ["001", "1", "b", "", "1.0"],
            [("a", 1), ("a", 2), ("b", 1), (), ("b",)],
            [-3, 2, -(2**62), 5, 0],
        ]
    ),
    seed=st.integers(0, 99),
)
def test__summaries__users_by_any_name__are_those_of_their_rows(rows, ids, seed):
    margins = np.random.default_rng(seed).normal(size=len(rows))
    named = [ids[row] for row in rows]
    for summary in (user_level_accuracy, worst_decile_accuracy, log_loss, expected_calibration_error):
        assert_allclose(summary(margins, named), summary(margins, rows), rtol=1e-12, atol=1e-12)
        if isinstance(ids[0], int):
            assert_allclose(summary(margins, np.array(named)), summary(margins, rows), rtol=1e-12, atol=1e-12)


def test__user_accuracies__large_rows_of_a_known_number_of_users__are_kept():
    found = user_accuracies([1.0, -1.0], [0, 2_000_000], n_users=2_000_001)
    assert (len(found), found[0], found[-1], np.isnan(found[1:-1]).all()) == (2_000_001, 1.0, 0.0, True)


def test__bootstrap__one_user__has_no_bounds():
    for values in ([0.5], [np.nan, 0.5, np.nan]):
        for statistic in (np.mean, worst_decile):
            found = bootstrap_interval(values, statistic=statistic)
            assert found.estimate == 0.5
            assert np.isnan([found.low, found.high]).all()
    one, two, nobody = simultaneous_intervals([[0.5, np.nan, np.nan], [0.1, 0.2, np.nan], [np.nan] * 3])
    assert one.estimate == 0.5
    assert np.isnan([one.low, one.high, nobody.estimate, nobody.low, nobody.high]).all()
    assert two.low < two.estimate < two.high


def test__metrics__masked_and_missing_values__are_users_without_a_value():
    import pandas as pd

    known = bootstrap_interval([0.1, 0.2, 0.4])
    assert bootstrap_interval(np.ma.masked_equal([0.1, -9, 0.2, 0.4], -9)) == known
    for dtype in ("float64", "Float64", "double[pyarrow]", object):
        assert bootstrap_interval(pd.Series([0.1, None, 0.2, 0.4], dtype=dtype)) == known
    assert bootstrap_interval([0.1, None, 0.2, 0.4]) == known
    assert worst_decile(np.ma.masked_less([0.1, 0.3], 0.2)) == 0.3


@pytest.mark.parametrize("seed", [np.int64(3), np.random.RandomState(3), np.random.default_rng(3)])
def test__bootstrap__numbers_of_numpy_and_every_source_of_randomness__are_taken(seed):
    found = bootstrap_interval([0.1, 0.2, 0.4], level=np.float32(0.9), n_resamples=np.int64(50), random_state=seed)
    assert found.low < found.estimate < found.high
