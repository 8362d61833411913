"""A pooled reward that bends: what its features are, that nothing gets lost on the way, and that they are earned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from skmrm import MetaRewardModel, episodes_from_arrays
from skmrm.baselines import PooledBradleyTerry
from skmrm.datasets import make_user_preferences
from skmrm.meta.basis import base_rewards, gaussian_kernel
from skmrm.meta.folds import CrossFit, group_folds, user_folds
from skmrm.meta.pooled import choice
from skmrm.meta.pooled.choice import choose_nystroem, kernel_helps
from skmrm.meta.pooled.features import PooledFeatures
from skmrm.meta.pooled.newton import fit_pooled
from skmrm.meta.pooled.nystroem import SHARE, spread_landmarks
from skmrm.meta.tensors.pairs import Pairs


def items(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def judged_by_distance(n_users=60, n_pairs=20, d=3, n_groups=200, seed=0, shape="peak"):
    """Users who all want the same point (peak) or direction (slope); each group's two items are compared."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(2 * n_groups, d))
    reward = 3 * np.exp(-(table**2).sum(1) / 2) * d if shape == "peak" else 2 * table[:, 0]
    group = rng.integers(n_groups, size=n_users * n_pairs)
    wins = reward[2 * group] - reward[2 * group + 1] + rng.logistic(size=len(group)) > 0
    chosen, rejected = 2 * group + ~wins, 2 * group + wins
    return table, chosen, rejected, np.repeat(np.arange(n_users), n_pairs), group


def data_of(table, pairs, folds, new_groups):
    everyone = torch.ones(pairs.n_users, dtype=torch.bool)
    return CrossFit({}, table, pairs, [], everyone, folds, new_groups)


def as_pairs(chosen, rejected, user, group):
    offsets = np.concatenate([[0], np.bincount(user).cumsum()])
    return Pairs(*(torch.tensor(column) for column in (chosen, rejected, offsets, group)))


@given(n=st.integers(2, 40), d=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=30)
def test__gaussian_kernel__any_items__are_the_gaussian_kernel(n, d, seed):
    points, landmarks = items(n, d, seed), items(5, d, seed + 1)
    found = gaussian_kernel(points, landmarks, torch.tensor(0.7, dtype=torch.float64))
    np.testing.assert_allclose(found, rbf_kernel(points, landmarks, gamma=0.7), atol=1e-12)


def test__landmarks__all_items__inner_products_are_the_kernel():
    table = items(60, 4)
    landmarks = spread_landmarks(table)
    psi = landmarks.features(table)
    size = float((table**2).sum(1).mean())
    expected = SHARE * size * rbf_kernel(table, gamma=1 / size)
    np.testing.assert_allclose(psi @ psi.T, expected, atol=0.01 * size)  # but for the eigenvalues left out


def test__landmarks__repeated_items__are_no_trouble():
    table = items(4, 2).repeat(30, 1)
    psi = spread_landmarks(table).features(table)
    assert psi.shape[1] <= 4
    assert psi.isfinite().all()


@pytest.mark.parametrize(("n", "d"), [(50, 3), (20, 40)])
def test__features__pooled_reward__is_the_same_in_all_its_forms(n, d):
    table = items(n, d)
    features = PooledFeatures(table, spread_landmarks(table))
    solution = torch.randn(features.table.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pooled = features.reward(solution)
    expected = features.table @ solution
    torch.testing.assert_close(pooled.table @ pooled.coefficients, expected)
    wide = pooled.span @ pooled.coefficients
    torch.testing.assert_close(pooled.columns(table) @ wide, expected)
    # as a model carries it: two base functions, the reward and twice the reward without its bend
    bases = torch.stack([wide, 2 * torch.cat([wide[:-1], wide.new_zeros(1)])])
    found = base_rewards(pooled.parameters(bases), table)
    torch.testing.assert_close(found[:, 0], expected)
    torch.testing.assert_close(found[:, 1], 2 * table @ wide[:-1])
    landmarks = pooled.kernel.nystroem
    kernel = torch.cat([table, gaussian_kernel(table, landmarks.points, landmarks.precision)], 1)
    torch.testing.assert_close(kernel @ pooled.solution, expected)


def test__fit_pooled__with_nystroem_features_of_all_items__is_kernel_logistic_regression():
    """The ridge on (b, c) is a Gaussian process prior with the kernel x . z + s^2 k(x, z): solved in item space."""
    table, *columns = judged_by_distance(20, 10, n_groups=15)
    table, pairs = torch.tensor(table), as_pairs(*columns)
    landmarks = spread_landmarks(table)
    lifted = PooledFeatures(table, landmarks).table
    found = lifted @ fit_pooled(lifted, pairs, 0.05, tolerance=1e-9)
    psi = landmarks.features(table)
    gram = table @ table.T + psi @ psi.T
    weights = torch.zeros(len(table), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        reward = gram @ weights
        value = torch.nn.functional.softplus(reward[pairs.rejected] - reward[pairs.chosen]).mean()
        value = value + 0.025 * weights @ reward
        value.backward()
        return value

    optimizer.step(loss)
    expected = (gram @ weights).detach()
    torch.testing.assert_close(found - found.mean(), expected - expected.mean(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", ["peak", "slope"])
@pytest.mark.parametrize("shared", [True, False])
def test__kernel_helps__rewards_with_a_peak__and_not_where_they_are_linear(shape, shared, monkeypatch):
    table, *columns = judged_by_distance(shape=shape)
    table, pairs = torch.tensor(table), as_pairs(*columns)
    generator = torch.Generator().manual_seed(0)
    folds = user_folds(torch.ones(60, dtype=torch.bool), 0.2, generator)
    new_groups = group_folds(pairs, len(folds), generator) if shared else []
    data, nobody = data_of(table, pairs, folds, new_groups), data_of(table, pairs, [], [])
    assert kernel_helps(data, spread_landmarks(table), 0.01, 0.01) == (shape == "peak")
    found = choose_nystroem(data, 0.01, 0.01, "auto")
    assert (found is not None) == (shape == "peak")
    assert choose_nystroem(nobody, 0.01, 0.01, "auto") is None  # nobody to validate on
    assert choose_nystroem(nobody, 0.01, 0.01, "rbf") is not None
    assert choose_nystroem(data, 0.01, 0.01, None) is None
    monkeypatch.setattr(choice, "MAX_CELLS", 400 * (3 + 512) - 1)  # too large to try, not to be told
    assert choose_nystroem(data, 0.01, 0.01, "auto") is None
    assert choose_nystroem(data, 0.01, 0.01, "rbf") is not None


@pytest.fixture(scope="module")
def peaked():
    table, chosen, rejected, user, group = judged_by_distance(120, 20)
    return episodes_from_arrays(table, chosen, rejected, user, groups=group)


def test__meta_reward_model__everybody_wants_the_same_point__bends_and_is_better(peaked):
    train, test = peaked[:90], peaked[90:]
    models = {
        kernel: MetaRewardModel(kernel=kernel, random_state=0, max_epochs=2).fit(train)
        for kernel in ("auto", "rbf", None)
    }
    assert [model.kernel_ for model in models.values()] == ["rbf", "rbf", None]
    scores = [model.score(test) for model in models.values()]
    assert scores[0] == scores[1] > scores[2] + 0.05


def test__meta_reward_model__linear_rewards__stay_linear():
    data = make_user_preferences(n_users=60, n_pairs=20, n_features=5, n_bases=2, random_state=0)
    auto, plain = (MetaRewardModel(kernel=kernel, random_state=1).fit(data.episodes) for kernel in ("auto", None))
    assert auto.kernel_ is None
    X = np.asarray(data.episodes.features)
    np.testing.assert_array_equal(auto.transform(X), plain.transform(X))


def test__meta_reward_model__far_from_all_items__is_linear(peaked):
    model = MetaRewardModel(random_state=0, max_epochs=0).fit(peaked)
    params = model.base_rewards_.params
    line = 1e3 * np.arange(1, 4)[:, None] * np.ones(3)
    slope = np.diff(model.predict(line))
    assert slope[0] == pytest.approx(slope[1], rel=1e-6)
    direction = params["bases"].T @ model.start_weights_ / params["scale"]
    assert slope[0] == pytest.approx(1e3 * direction.sum(), rel=1e-6)


def test__pooled_model__of_a_model_that_bends__is_the_model_before_adaptation(peaked, tmp_path):
    model = MetaRewardModel(random_state=0, max_epochs=0).fit(peaked[:90])
    X = np.asarray(peaked.features)
    pooled = model.pooled_model_
    assert pooled.kernel_ == "rbf"
    np.testing.assert_allclose(pooled.predict(X), model.predict(X), rtol=1e-9, atol=1e-9)
    assert pooled.get_params()["kernel"] == "rbf"
    with pytest.raises(AttributeError, match=r"coef_ exists only for a linear reward.*kernel=None"):
        pooled.coef_  # noqa: B018
    model.save(tmp_path / "model")
    again = MetaRewardModel.load(tmp_path / "model")
    assert again.kernel_ == "rbf"
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    np.testing.assert_array_equal(again.pooled_model_.predict(X), pooled.predict(X))


def test__pooled_bradley_terry__kernel__is_off_by_default_and_found_of_use_where_it_is(peaked):
    train, test = peaked[:90], peaked[90:]
    plain, auto = (PooledBradleyTerry(random_state=0, **given).fit(train) for given in ({}, {"kernel": "auto"}))
    assert plain.kernel_ is None
    assert auto.kernel_ == "rbf"
    assert auto.ridge_ == plain.ridge_
    assert auto.score(test) > plain.score(test) + 0.05


def test__kernel_rbf__where_it_cannot_be__is_an_error(peaked):
    random_start = {"spectral_init": False}
    with pytest.raises(ValueError, match="kernel='rbf' needs a spectral start, got a random start: pass kernel=None"):
        MetaRewardModel(kernel="rbf", **random_start).fit(peaked)
    assert MetaRewardModel(max_epochs=1, random_state=0, **random_start).fit(peaked[:20]).kernel_ is None
