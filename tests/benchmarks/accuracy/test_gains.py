"""Averages over seeds: a user who is judged again is one person."""

import math

import numpy as np
import pytest

from benchmarks.accuracy.gains import by_user, make_table, times_drawn, worst_tenths
from benchmarks.accuracy.verdicts import never_below_pooled
from skmrm.metrics import bootstrap_interval, worst_decile
from skmrm.model_selection import AdaptationCurve


def curve_of(accuracy, sizes=(0,)):
    """A curve from {user: accuracy at each size}."""
    values = np.array(list(accuracy.values()), float).reshape(len(accuracy), len(sizes)).T
    return AdaptationCurve(
        users=np.array(list(accuracy), object),
        support_sizes=tuple(sizes),
        accuracy=values,
        log_loss=1 - values,
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


def test__worst_tenths__resamples__are_those_of_a_plain_bootstrap():
    values = np.random.default_rng(0).integers(0, 20, 43) / 20
    values[[3, 8]] = math.nan
    times = times_drawn(43, 50)
    assert set(times.sum(1)) == {43}
    plain = [worst_decile(np.repeat(values, drawn)) for drawn in times]
    np.testing.assert_allclose(worst_tenths(values, times), plain)
    np.testing.assert_allclose(worst_tenths(values, np.ones((1, 43), np.int32)), worst_decile(values))
    assert np.isnan(worst_tenths(np.full(43, math.nan), times)).all()
    nobody = np.zeros((1, 43), np.int32)
    nobody[0, 3] = 43
    assert np.isnan(worst_tenths(values, nobody)).all()


def two_models(seed, names):
    rng = np.random.default_rng(seed)
    pooled = rng.random(len(names))
    default = pooled + rng.normal(0.02, 0.1, len(names))
    return {
        "default": curve_of(dict(zip(names, default, strict=True))),
        "pooled": curve_of(dict(zip(names, pooled, strict=True))),
    }


def test__make_table__worst_tenth_and_log_loss__have_the_intervals_of_a_bootstrap_over_users():
    seed = two_models(0, range(200))
    table = make_table([seed], same_people=False, n_resamples=4000)
    default, pooled = seed["default"].accuracy[0], seed["pooled"].accuracy[0]
    plain = bootstrap_interval(default, pooled, statistic=worst_decile, n_resamples=4000)
    assert table.worst_gain["pooled"][0] == pytest.approx((plain.estimate, plain.low, plain.high), abs=0.005)
    assert plain.high - plain.low > 0.03
    assert table.log_loss["pooled"] == pytest.approx([1 - pooled.mean()])
    assert table.loss_gain["pooled"][0] == pytest.approx(bootstrap_tuple(default, pooled, 4000))


def bootstrap_tuple(one, two, n_resamples):
    found = bootstrap_interval(one, two, n_resamples=n_resamples)
    return (found.estimate, found.low, found.high)


def test__make_table__worst_tenth_of_people_judged_again__is_resampled_by_person():
    seeds = [two_models(0, range(60)), two_models(1, range(40, 100))]
    table = make_table(seeds, same_people=True, n_resamples=300)
    times = times_drawn(100, 300)
    plain = [
        np.mean(
            [
                worst_decile(np.repeat(seed["default"].accuracy[0], drawn[list(seed["default"].users)]))
                - worst_decile(np.repeat(seed["pooled"].accuracy[0], drawn[list(seed["default"].users)]))
                for seed in seeds
            ]
        )
        for drawn in times
    ]
    assert table.worst_gain["pooled"][0][1:] == pytest.approx(tuple(np.quantile(plain, (0.025, 0.975))))


def test__make_table__a_size_nobody_reaches__is_unknown():
    sizes = (0, 20)
    seed = {name: curve_of({"ann": (0.5, math.nan), "bo": (0.7, math.nan)}, sizes) for name in ("default", "pooled")}
    table = make_table([seed], [{"default": 1.0}], same_people=False)
    assert table.n_users == [2, 0]
    assert math.isnan(table.accuracy["default"][1])
    for gains in (table.gain, table.worst_gain, table.loss_gain):
        assert all(math.isnan(value) for value in gains["pooled"][1])
    assert never_below_pooled(table).passed
