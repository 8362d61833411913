"""Claims about a table: what passes and what fails, and what is said of it."""

import numpy as np
import pytest

from benchmarks.accuracy.contenders import ALTERNATIVES, BASELINES
from benchmarks.accuracy.gains import Table
from benchmarks.accuracy.rpo import mean_over_seeds
from benchmarks.accuracy.verdicts import (
    above_every_baseline,
    above_paper,
    fast_enough,
    near_oracle,
    never_below_any,
    never_below_pooled,
)


def table_of(worst=None, loss=None, **gains):
    """A table from the default's gains in points, {model: [(estimate, low, high), one for each of 0, 3, 20, all]}."""
    gain, worst_gain, loss_gain = (
        {name: [tuple(value / 100 for value in cell) for cell in rows] for name, rows in (each or {}).items()}
        for each in (gains, worst, loss)
    )
    return Table(
        sizes=[0, 3, 20, None],
        n_users=[9] * 4,
        accuracy={},
        worst_decile={},
        log_loss={},
        gain=gain,
        worst_gain=worst_gain,
        loss_gain=loss_gain,
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


WORSE = (-0.5, -0.9, -0.1)


def test__verdicts__alternatives__fail_by_any_interval_below_zero():
    every = {name: [FLAT, DOWN, UP, FLAT] for name in ALTERNATIVES}
    verdicts = never_below_any(table_of(every, every, **every, oracle=[WORSE] * 4))
    assert [verdict.passed for verdict in verdicts] == [True] * 3
    assert [verdict.found for verdict in verdicts] == [
        "0 of 28 intervals lie below zero",
        "0 of 21 intervals lie below zero",
        "0 of 28 intervals lie below zero",
    ]
    lower = every | {"lore": [UP, UP, UP, WORSE], "hierarchical": [WORSE, UP, UP, UP]}
    mean, worst, loss = never_below_any(table_of(lower, lower, **lower))
    assert str(mean).startswith("FAIL  below no alternative by more than its interval, in the mean: 2 of 28 intervals")
    assert mean.found.endswith(": LoRe at all -0.50 [-0.90, -0.10]; hierarchical at 0 -0.50 [-0.90, -0.10]")
    assert worst.found == "1 of 21 intervals lie below zero: LoRe at all -0.50 [-0.90, -0.10]"
    assert loss.found.endswith("; hierarchical at 0 -0.0050 [-0.0090, -0.0010]")
    assert [verdict.passed for verdict in (mean, worst, loss)] == [False] * 3


def test__verdicts__alternatives__each_measure_by_itself_and_rounding_is_nothing():
    flat = {"pooled": [FLAT] * 4}
    nearly = {"pooled": [(-1e-5, -1e-5, -1e-5)] * 4}  # points
    assert all(verdict.passed for verdict in never_below_any(table_of(nearly, nearly, **nearly)))
    worse = {"pooled": [FLAT, FLAT, WORSE, FLAT]}
    assert [verdict.passed for verdict in never_below_any(table_of(worse, flat, **flat))] == [True, False, True]
    assert [verdict.passed for verdict in never_below_any(table_of(flat, worse, **flat))] == [True, True, False]
    unknown = {"pooled": [FLAT, FLAT, (np.nan,) * 3, FLAT]}
    assert never_below_any(table_of(unknown, unknown, **unknown))[0].found == "0 of 3 intervals lie below zero"


def test__verdicts__oracle_paper_and_time__fail_beyond_their_limits():
    assert near_oracle(table_of(oracle=[DOWN, DOWN, (-0.99, -2, 0), DOWN])).passed
    assert not near_oracle(table_of(oracle=[UP, UP, (-1.01, -2, 0), UP])).passed
    assert near_oracle(table_of(oracle=[UP, UP, (-3.9, -5, -2), UP]), gap=4.0).passed
    verdict = near_oracle(table_of(oracle=[UP, UP, (-4.1, -5, -2), UP]), gap=4.0)
    assert str(verdict).startswith("FAIL  within 4 points of the Bayes oracle at 20")
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
