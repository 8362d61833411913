"""Ratings as outcomes against the user's own bar."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from skmrm.metrics import outcome_losses, outcome_probabilities
from skmrm.metrics.ratings import level_probabilities, middle_of, rated_margins, rated_outcomes, rated_thresholds

scales = st.tuples(st.floats(-3, 3), st.lists(st.floats(0.01, 3), max_size=5)).map(lambda s: np.cumsum([s[0], *s[1]]))


@given(margin=st.floats(-8, 8), cuts=scales)
def test__level_probabilities__any_scale__are_the_cumulative_model_and_sum_to_one(margin, cuts):
    found = level_probabilities([margin], cuts)[0]
    below = np.concatenate([[0.0], expit(cuts - margin), [1.0]])
    np.testing.assert_allclose(found, np.diff(below), atol=1e-12)
    assert found.sum() == pytest.approx(1)


@given(margin=st.floats(-8, 8), cuts=scales, held=st.none() | st.lists(st.floats(0.1, 2), min_size=1, max_size=4))
def test__rated__as_outcomes_of_a_comparison__cost_what_their_levels_do(margin, cuts, held):
    rating = np.arange(1, len(cuts) + 2)
    margins = rated_margins(np.full(len(rating), margin), rating, cuts)
    thresholds = None if held is None else np.cumsum(held)
    rows = rated_thresholds(rating, thresholds, cuts)
    outcome = rated_outcomes(rating, None, len(rating))
    losses = outcome_losses(margins, outcome, rows)
    np.testing.assert_allclose(np.exp(-losses), level_probabilities([margin], cuts)[0], atol=1e-9)
    chances = outcome_probabilities(margins, rows)
    np.testing.assert_allclose(chances.sum(1), 1)
    levels = level_probabilities([margin], cuts)[0]
    above = levels[(2 * rating > len(rating) + 1)].sum()
    np.testing.assert_allclose(chances[-1, 0], above, atol=1e-9)


def test__rated__choices_among_them__are_as_they_were():
    rating, cuts, held = np.array([0, 3, 0]), [-1.0, 1.0], np.array([0.5, 1.5])
    np.testing.assert_array_equal(rated_margins(np.array([1.0, 2.0, -3.0]), rating, cuts), [1.0, 2.0, -3.0])
    np.testing.assert_array_equal(rated_outcomes(rating, np.array([2, 1, 0]), 3), [2, 1, 0])
    np.testing.assert_array_equal(rated_thresholds(rating, held, cuts), [held, [1.0, np.inf], held])


@given(cuts=scales)
def test__middle_of__above_and_below__are_as_likely(cuts):
    levels = level_probabilities([middle_of(cuts)], cuts)[0]
    n = len(levels) // 2
    low, high = expit(cuts[n - 1] - middle_of(cuts)), expit(middle_of(cuts) - cuts[len(levels) - n - 1])
    assert low == pytest.approx(high)
    assert levels[:n].sum() == pytest.approx(levels[len(levels) - n :].sum())
