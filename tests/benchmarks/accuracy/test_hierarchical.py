"""The hierarchical logit against a plain loop over users, and where its prior is known."""

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.accuracy.crowds import Crowd, draw_crowd
from benchmarks.accuracy.hierarchical import HierarchicalLogit


def whitened_gaps(model, episodes):
    """Gaps of all pairs in the model's components, from its own standardisation."""
    table = (episodes.features - model._centre) / model._spread @ model._directions
    return table[episodes.chosen] - table[episodes.rejected]


def laplace(gaps, mean, covariance):
    """Mode under N(mean, covariance) by scipy, and the inverse Hessian there."""
    precision = np.linalg.inv(covariance)

    def objective(weights):
        away = weights - mean
        return np.logaddexp(0, -gaps @ weights).sum() + 0.5 * away @ precision @ away

    mode = minimize(objective, mean, method="BFGS", options={"gtol": 1e-9}).x
    chance = 1 / (1 + np.exp(-gaps @ mode))
    return mode, np.linalg.inv(gaps.T @ ((chance * (1 - chance))[:, None] * gaps) + precision)


@pytest.fixture
def few():
    """Eight users of nine choices on seven items of three columns, one of which is constant."""
    episodes, _ = draw_crowd(Crowd(7, n_columns=3, n_factors=2, strength=1.5, common=0.5, n_pairs=(4, 5)), 8, seed=0)
    return episodes.with_features(np.c_[episodes.features.astype(float), np.full(7, 5.0)])


@pytest.mark.filterwarnings("ignore:Desired error not necessarily achieved")
def test__fit__three_sweeps__are_those_of_a_loop_over_users(few):
    model = HierarchicalLogit(sweeps=3, tolerance=0.0).fit(few)
    gaps = whitened_gaps(model, few)
    assert gaps.shape == (72, 3)
    covariance = np.eye(3)
    mean, _ = laplace(gaps, np.zeros(3), covariance)
    for _ in range(3):
        found = [laplace(gaps[few.user == user], mean, covariance) for user in range(8)]
        modes = np.array([mode for mode, _ in found])
        mean = modes.mean(0)
        covariance = np.mean([each for _, each in found], 0) + (modes - mean).T @ (modes - mean) / 8
    np.testing.assert_allclose(model.mean_, mean, atol=1e-5)
    np.testing.assert_allclose(model.factor_ @ model.factor_.T, covariance, atol=1e-5)
    modes = np.array([laplace(gaps[few.user == user], mean, covariance)[0] for user in range(8)])
    margins = (gaps * modes[few.user]).sum(1)
    np.testing.assert_allclose(model.adapt_many(few).decision_function(few), margins, atol=1e-4)


def test__fit__settled__stops_and_leaves_directions_that_nobody_differs_in(few):
    once = HierarchicalLogit(sweeps=1, tolerance=0.0).fit(few)
    np.testing.assert_array_equal(HierarchicalLogit(tolerance=np.inf).fit(few).factor_, once.factor_)
    assert HierarchicalLogit(n_directions=2).fit(few).mean_.shape == (2,)


def test__adapt_many__no_choices__gives_the_mean(few):
    model = HierarchicalLogit().fit(few)
    margins = model.adapt_many(few.take_pairs(np.zeros(72, bool))).decision_function(few)
    np.testing.assert_allclose(margins, whitened_gaps(model, few) @ model.mean_.numpy(), atol=1e-9)


def test__fit__many_users__finds_how_they_differ():
    crowd = Crowd(60, n_columns=4, n_factors=2, strength=1.5, common=1.0, n_pairs=(30, 30))
    episodes, rewards = draw_crowd(crowd, 300, seed=0)
    model = HierarchicalLogit().fit(episodes)
    table = (episodes.features - model._centre) / model._spread @ model._directions
    np.testing.assert_allclose(table @ model.mean_.numpy(), rewards.mean(0) - rewards.mean(), atol=0.35)
    found = ((table @ model.factor_.numpy()) ** 2).sum()
    true = (rewards - rewards.mean(0) - rewards.mean(1, keepdims=True)).var(0).sum()
    assert found == pytest.approx(true, rel=0.25)
    values = np.linalg.eigvalsh(model.factor_.numpy() @ model.factor_.numpy().T)
    assert values[1] < 0.1 * values[2]  # two factors
