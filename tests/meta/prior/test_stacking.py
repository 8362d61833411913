"""Priors weighed on users left out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.meta.prior.stacking import stacking_weights


@given(
    seed=st.integers(0, 10**6),
    n_candidates=st.integers(1, 7),
    n_pairs=st.integers(2, 60),
    size=st.sampled_from([0.1, 1.0, 20.0]),
)
@settings(max_examples=40)
def test__stacking_weights__any_margins__are_where_a_general_optimiser_finds_the_least_loss(
    seed, n_candidates, n_pairs, size
):
    rng = np.random.default_rng(seed)
    margins, share = size * (rng.normal(size=(n_candidates, n_pairs)) + 0.3), rng.dirichlet(np.ones(n_pairs))

    def loss(weights):
        return share @ np.logaddexp(0, -(weights @ margins))

    def slope(weights):
        return -margins @ (share * expit(-(weights @ margins)))

    found = stacking_weights(torch.tensor(margins), torch.tensor(7 * share)).numpy()
    assert found.min() > 0
    assert found.sum() == pytest.approx(1)
    one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(n_candidates)}
    start = np.full(n_candidates, 1 / n_candidates)
    best = minimize(loss, start, jac=slope, method="SLSQP", bounds=[(0, 1)] * n_candidates, constraints=[one])
    assert loss(found) <= best.fun + 5e-5  # what the last barrier costs, a few times over


def test__stacking_weights__the_truth_and_noise__believe_the_truth():
    rng = np.random.default_rng(0)
    truth = 1.5 * rng.normal(size=4000)
    won = np.where(rng.random(4000) < expit(truth), 1, -1)
    margins = won * np.array([np.zeros(4000), truth, 3 * truth, rng.normal(size=4000)])
    found = stacking_weights(torch.tensor(margins), torch.ones(4000, dtype=torch.float64)).numpy()
    scale = found[1] + 3 * found[2]
    assert scale == pytest.approx(1, abs=0.1)  # the truth, or a mean that has its size
    assert found[3] < 0.03


def test__stacking_weights__two_halves_of_the_truth__believe_both():
    """Each candidate knows one part of the reward: their sum, twice their mean, is the truth."""
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(2, 6000))
    won = np.where(rng.random(6000) < expit(parts.sum(0)), 1, -1)
    found = stacking_weights(torch.tensor(won * 2 * parts), torch.ones(6000, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(found, 0.5, atol=0.05)


def weights_of(data, **parameters):
    model = MetaRewardModel(random_state=0, device="cpu", kernel=None, **parameters).fit(data.episodes)
    chosen = [record["setting"] for record in model.selection_ if record["chosen"]]
    return model, {record["setting"]: record["weight"] for record in model.selection_[:-1]}, chosen


def test__fit__users_alike__believe_in_no_prior():
    model, weights, chosen = weights_of(
        make_user_preferences(n_users=80, n_pairs=20, personal_strength=0.0, random_state=1)
    )
    assert chosen == ["none"]
    assert weights.pop("none") == 1
    assert not any(weights.values())
    assert not model.prior_scale_.any()


def test__fit__users_who_differ__believe_in_several_priors():
    model, weights, chosen = weights_of(make_user_preferences(n_users=120, n_pairs=20, random_state=0))
    assert chosen == ["weighted mean"]
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["none"] < 0.5
    assert sum(weight > 0 for weight in weights.values()) > 1
    assert model.prior_scale_.any()
    losses = {record["setting"]: record["validation_loss"] for record in model.selection_}
    assert min(losses, key=losses.get) != "none"
