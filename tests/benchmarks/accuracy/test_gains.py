"""Averages over seeds: a user who is judged again is one person."""

import math

import numpy as np
import pytest

from benchmarks.accuracy.gains import by_user, make_table
from benchmarks.accuracy.verdicts import never_below_pooled
from skmrm.model_selection import AdaptationCurve


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
