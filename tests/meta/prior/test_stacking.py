"""Priors weighed on users left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from skmrm import MetaRewardModel, episodes_from_arrays
from skmrm.baselines import PooledBradleyTerry
from skmrm.datasets import make_user_preferences
from skmrm.meta.basis import one_scale
from skmrm.meta.folds import CrossFit
from skmrm.meta.prior.stacking import stacking_weights
from skmrm.meta.tensors.pairs import Pairs


@given(
    seed=st.integers(0, 10**6),
    n_candidates=st.integers(1, 7),
    n_pairs=st.integers(2, 60),
    size=st.sampled_from([0.1, 1.0, 20.0]),
    pull=st.sampled_from([0.0, 0.003, 0.1]),
)
@settings(max_examples=40)
def test__stacking_weights__any_margins__are_where_a_general_optimiser_finds_the_least_loss(
    seed, n_candidates, n_pairs, size, pull
):
    rng = np.random.default_rng(seed)
    margins, share = size * (rng.normal(size=(n_candidates, n_pairs)) + 0.3), rng.dirichlet(np.ones(n_pairs))

    def loss(weights):
        return share @ np.logaddexp(0, -(weights @ margins)) - pull * np.log(np.maximum(weights, 1e-9)).mean()

    def slope(weights):
        return -margins @ (share * expit(-(weights @ margins))) - pull / n_candidates / np.maximum(weights, 1e-9)

    found = stacking_weights(torch.tensor(margins), torch.tensor(7 * share), pull).numpy()
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


def test__fit__users_alike__believe_in_no_prior_mostly_and_hardly_move_otherwise():
    """What there is to find is chance, which may look like something to one crowd in four."""
    n_none = 0
    for seed in range(6):
        data = make_user_preferences(n_users=80, n_pairs=20, personal_strength=0.0, random_state=seed)
        model, weights, chosen = weights_of(data)
        if chosen == ["none"]:
            n_none += 1
            assert weights.pop("none") == 1
            assert not any(weights.values())
            assert not model.prior_scale_.any()
        else:
            assert model.selection_[-1]["movement"] < 0.3
    assert n_none >= 4


def test__fit__users_who_differ__believe_in_several_priors():
    model, weights, chosen = weights_of(make_user_preferences(n_users=120, n_pairs=20, random_state=0))
    assert chosen == ["weighted mean"]
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["none"] < 0.5
    assert sum(weight > 0 for weight in weights.values()) > 1
    assert model.prior_scale_.any()
    losses = {record["setting"]: record["validation_loss"] for record in model.selection_}
    assert min(losses, key=losses.get) != "none"


@pytest.mark.parametrize("in_raw_units", [True, False])
def test__fit__features_of_many_scales__scales_them_as_users_left_out_prefer(in_raw_units):
    """Coefficients are alike in columns as they are, or as standardised; users left out are known better so."""
    rng = np.random.default_rng(0)
    spread = 1.0 / np.arange(1, 41)
    X = rng.normal(size=(300, 40)) * spread
    common = rng.normal(size=40) * (1.0 if in_raw_units else 0.5 / spread)
    user = np.repeat(np.arange(120), 20)
    a, b = rng.integers(0, 300, (2, len(user)))
    b = np.where(a == b, (b + 1) % 300, b)
    win = rng.random(len(user)) < expit((X[a] - X[b]) @ common)
    episodes = episodes_from_arrays(X, np.where(win, a, b), np.where(win, b, a), user)
    scale = MetaRewardModel(random_state=0, device="cpu", kernel=None).fit(episodes).base_rewards_.params["scale"]
    own = X.std(0)
    np.testing.assert_allclose(scale, np.sqrt((own**2).mean()) if in_raw_units else own, rtol=1e-5)


def scales_of_own_rankings(seed):
    """Everybody ranks the same items by themselves: a reward for all is a coin, and which scale it has says nothing."""
    rng = np.random.default_rng(seed)
    X = np.hstack([np.eye(15), 3 * rng.normal(size=(15, 4))])
    user = np.repeat(np.arange(60), 15)
    a = rng.integers(0, 15, len(user))
    b = (a + rng.integers(1, 15, len(user))) % 15
    taste = 1.5 * rng.normal(size=(60, 15))
    win = rng.random(len(user)) < expit(taste[user, a] - taste[user, b])
    episodes = episodes_from_arrays(X, np.where(win, a, b), np.where(win, b, a), user)
    return PooledBradleyTerry(random_state=0, device="cpu").fit(episodes).base_rewards_.params["scale"], X.std(0)


def test__fit__nothing_shared__keeps_a_scale_for_each_column_but_seldom():
    found = [scales_of_own_rankings(seed) for seed in range(12)]
    kept = [np.allclose(scale, own, rtol=1e-5) for scale, own in found]
    assert sum(kept) >= 8  # chance exceeds a standard error once in six times


def test__one_scale__constants_statistics_and_columns_that_hardly_vary__are_not_blown_up():
    scale = torch.tensor([3.0, 4.0, 1e-6, torch.inf, 1e-9, 7.0])
    found = one_scale({"scale": scale}, 2)
    shared = float((25 + 1e-12) / 3) ** 0.5
    torch.testing.assert_close(found, torch.tensor([shared, shared, shared, torch.inf, 1e-9, 7.0]))
    torch.testing.assert_close(scale, torch.tensor([3.0, 4.0, 1e-6, torch.inf, 1e-9, 7.0]))  # not changed
    huge = one_scale({"scale": torch.tensor([1e300, 2e300], dtype=torch.float64)}, 0)
    torch.testing.assert_close(huge, torch.full_like(huge, 2.5**0.5 * 1e300))
    torch.testing.assert_close(one_scale({"scale": torch.full((2,), torch.inf)}, 0), torch.full((2,), torch.inf))


@pytest.mark.parametrize(("n_users", "wanted"), [(1, [1]), (2, [1]), (3, [2]), (4, [2]), (5, [1] * 3), (100, [1] * 5)])
def test__to_weigh__users__as_many_folds_as_hold_them_and_as_one_if_most_are_left(n_users, wanted):
    pairs = Pairs(torch.arange(10), torch.arange(10), torch.arange(11))
    folds = [torch.arange(10) % 5 == i for i in range(5)]
    data = CrossFit({}, torch.zeros(10, 1), pairs, [], torch.ones(10, dtype=torch.bool), folds, folds)
    found = data.to_weigh(n_users)
    assert [int(fold.sum()) for fold in found.folds] == [2 * size for size in wanted]
    assert bool((torch.stack(found.folds).any(0) == torch.stack(folds[: sum(wanted)]).any(0)).all())
    assert replace(data, folds=[], new_groups=[]).to_weigh(n_users).folds == []
