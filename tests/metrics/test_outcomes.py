"""Metrics of outcomes with ties and strengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss as sklearn_log_loss

from skmrm.metrics import (
    log_loss,
    outcome_losses,
    outcome_probabilities,
    reliability,
    tie_calibration_error,
    user_accuracies,
    user_level_accuracy,
    user_log_losses,
    worst_decile_accuracy,
)

margins_lists = st.lists(st.floats(-8, 8), min_size=1, max_size=20)


@given(margins=margins_lists, half=st.floats(0, 4))
def test__outcome_probabilities__any_margins__are_the_model_and_sum_to_one(margins, half):
    margin = np.array(margins)
    found = outcome_probabilities(margin, [half])
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(found[:, 1], expit(half - margin) - expit(-half - margin), atol=1e-12)
    np.testing.assert_allclose(found[:, 0], outcome_probabilities(-margin, [half])[:, 2])
    np.testing.assert_allclose(outcome_probabilities(margin)[:, 0], expit(margin))


@given(margins=margins_lists, half=st.floats(0.01, 4), seed=st.integers(0, 99))
def test__outcome_losses__ties_and_choices__are_scikit_learns_log_loss(margins, half, seed):
    outcome = np.random.default_rng(seed).integers(0, 2, len(margins))
    chances = outcome_probabilities(margins, [half])
    expected = sklearn_log_loss(1 - outcome, chances, labels=[0, 1, 2], normalize=False)
    assert outcome_losses(margins, outcome, [half]).sum() == pytest.approx(expected, rel=1e-9)


@given(margin=st.floats(-8, 8), widths=st.lists(st.floats(0.01, 3), min_size=1, max_size=4))
def test__outcome_losses__all_strengths__exclude_each_other(margin, widths):
    held = np.cumsum(widths)
    grades = np.arange(len(held) + 1)
    won, lost = (np.exp(-outcome_losses(np.full(len(grades), side), grades, held)) for side in (margin, -margin))
    assert won.sum() + lost[1:].sum() == pytest.approx(1)
    assert outcome_losses([margin], [99], held) == outcome_losses([margin], [len(held)], held)


def test__accuracies__ties__count_half_whatever_is_predicted():
    margins, user, outcome = [2.0, -1.0, 3.0, -2.0], [0, 0, 1, 1], [1, 0, 0, 1]
    assert user_accuracies(margins, user, outcome=outcome).tolist() == [0.75, 0.25]
    assert user_level_accuracy(margins, user, outcome) == 0.5
    assert worst_decile_accuracy(margins, user, outcome) == 0.25
    assert user_accuracies(margins, user, outcome=[1, 2, 3, 1]).tolist() == user_accuracies(margins, user).tolist()


def test__log_losses__a_model_that_knows_no_ties__leaves_them_out():
    margins, user, outcome = [2.0, -1.0, 3.0], [0, 0, 1], [1, 0, 0]
    found = user_log_losses(margins, user, outcome=outcome)
    assert found[0] == pytest.approx(np.log1p(np.exp(-2.0)))
    assert np.isnan(found[1])
    known = user_log_losses(margins, user, outcome=outcome, thresholds=[0.5])
    each = outcome_losses(margins, outcome, [0.5])
    np.testing.assert_allclose(known, [each[:2].mean(), each[2]])
    assert log_loss(margins, user, outcome, [0.5]) == pytest.approx(known.mean())


def test__calibration__of_outcomes_drawn_from_the_model__is_small():
    rng = np.random.default_rng(0)
    margin = rng.normal(scale=2, size=40_000)
    latent = margin + rng.logistic(size=len(margin))
    outcome = (np.abs(latent) > 0.7).astype(int)
    margin = np.where((outcome == 1) & (latent < 0), -margin, margin)
    assert tie_calibration_error(margin, outcome, [0.7]) < 0.01
    assert tie_calibration_error(margin, outcome, [1.4]) > 0.1
    assert reliability(margin, outcome=outcome, thresholds=[0.7]).calibration_error < 0.01
    assert reliability(margin, outcome=outcome).weight.sum() == pytest.approx(1)


@pytest.mark.parametrize("outcome", [[0.5], [-2], [0, 1], ["tie"]])
def test__outcomes__that_are_none__are_an_error(outcome):
    with pytest.raises(ValueError, match="outcome must hold 0"):
        outcome_losses([1.0], outcome, [0.5])


@given(margin=st.floats(-8, 8), widths=st.lists(st.floats(0.01, 3), min_size=1, max_size=4))
def test__outcome_losses__a_strength_that_is_not_known__is_any_of_them(margin, widths):
    held = np.cumsum(widths)
    known = np.exp(-outcome_losses(np.full(len(held), margin), np.arange(1, len(held) + 1), held)).sum()
    assert np.exp(-outcome_losses([margin], [-1], held)[0]) == pytest.approx(known)
    assert user_accuracies([margin], [0], outcome=[-1]) == user_accuracies([margin], [0])
