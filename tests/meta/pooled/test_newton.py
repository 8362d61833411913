"""What the pooled reward is fitted on and how: rank, scales, weights of users; held against scikit-learn."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.linear_model import LogisticRegression

from skmrm import MetaRewardModel, episodes_from_arrays
from skmrm.baselines import PooledBradleyTerry
from skmrm.meta.basis import init_standardisation, standardise
from skmrm.meta.pooled.newton import Curvature, fit_pooled, item_pull, pooled_hessian, row_space
from skmrm.meta.tensors.pairs import MEDIANS, Pairs, most_pairs
from skmrm.metrics import user_level_accuracy

seeds = st.integers(0, 2**32 - 1)


@given(
    n=st.integers(1, 60), d=st.integers(1, 40), rank=st.integers(0, 40), seed=seeds,
    dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
def test__row_space__any_rank__keeps_all_products_and_has_that_rank(n, d, rank, seed, dtype):
    rng = np.random.default_rng(seed)
    true = min(n, d, rank)
    left, right = (np.linalg.qr(rng.normal(size=(size, true)))[0] for size in (n, d))
    table = torch.tensor(left * rng.uniform(1, 5, true) @ right.T, dtype=dtype)
    coordinates, span = row_space(table)
    assert coordinates.shape == (n, span.shape[1])
    assert span.shape[1] == max(1, true)
    torch.testing.assert_close(coordinates @ span.T, table, rtol=0, atol=1e-5)
    if true:
        torch.testing.assert_close(span.T @ span, torch.eye(true, dtype=dtype), rtol=0, atol=1e-5)


def test__row_space__rank_that_a_sample_of_rows_does_not_show__is_seen():
    table = torch.zeros(1000, 3)
    table[:, :2] = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    table[501, 2] = 1.0
    coordinates, span = row_space(table)
    assert torch.equal(coordinates, table)
    assert torch.equal(span, torch.eye(3))


@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]), power=st.integers(-100, 100))
def test__standardisation__what_varies_beside_what_does_not__is_told_apart(seed, dtype, power):
    rng = np.random.default_rng(seed)
    varies = rng.normal(size=20)
    columns = {
        "plain": varies,
        "scaled": 2.0**power * varies,
        "shifted": 1e4 + varies,
        "zero": np.zeros(20),
        "constant": np.full(20, rng.normal()),
        "rounding": 1e4 * (1 + np.finfo(dtype).eps * rng.integers(-2, 3, 20)),
        "tiny": np.finfo(dtype).tiny * rng.random(20),
    }
    X = torch.tensor(np.stack(list(columns.values()), 1).astype(dtype))
    params = init_standardisation(X)
    told = dict(zip(columns, torch.isfinite(params["scale"]).tolist(), strict=True))
    assert told == {name: name in ("plain", "scaled", "shifted") for name in columns}
    z = standardise(params, X)
    torch.testing.assert_close(z[:, 1], z[:, 0])
    torch.testing.assert_close(z[:, 2], z[:, 0], rtol=0, atol=2e-3)
    assert not z[:, 3:].any()
    assert not standardise(params, 7 * X + 1)[:, 3:].any()  # nor elsewhere


@pytest.mark.parametrize("size", [1e-200, 1e155, 1e300])
def test__standardisation__squares_beyond_double_precision__is_that_of_the_same_numbers_near_one(size):
    X = torch.tensor(np.random.default_rng(0).normal(size=(30, 2)))
    torch.testing.assert_close(
        standardise(init_standardisation(X * size), X * size), standardise(init_standardisation(X), X)
    )


def test__standardisation__more_than_the_precision_holds__says_which_column():
    X = torch.ones(4, 3)
    X[:, 1] = torch.tensor([3e38, -3e38, 3e38, -3e38])
    with pytest.raises(ValueError, match=r"not so in 1 columns, the first is column 1"):
        init_standardisation(X)


def choices(seed=0, n_pairs=60, n_features=6, n_items=40):
    """Choices by Bradley-Terry between random items, all of one user."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n_items, n_features))
    first = rng.integers(n_items, size=n_pairs)
    second = (first + rng.integers(1, n_items, n_pairs)) % n_items
    gaps = (table[first] - table[second]).sum(1)
    wins = gaps + rng.logistic(size=n_pairs) > 0
    return torch.tensor(table), pairs_of(np.where(wins, first, second), np.where(wins, second, first))


def pairs_of(chosen, rejected):
    return Pairs(torch.as_tensor(chosen), torch.as_tensor(rejected), torch.tensor([0, len(chosen)]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 2e-3)])
@given(
    seed=seeds,
    ridge=st.sampled_from([10.0, 1.0, 0.1, 0.01, 0.001]),
    n_pairs=st.sampled_from([1, 3, 60]),
    n_features=st.sampled_from([1, 6, 12]),
)
@settings(max_examples=25)
def test__fit_pooled__any_ridge_and_repeated_pairs__equals_logistic_regression(
    dtype, tolerance, seed, ridge, n_pairs, n_features
):
    """A pair that was judged c times has weight c; few pairs are separable, and fewer than features."""
    table, pairs = choices(seed, n_pairs, n_features)
    times = torch.tensor(np.random.default_rng([seed, 1]).integers(1, 5, n_pairs))
    gaps, weight = pairs.gaps(table).numpy(), times.numpy() / 2
    plain = LogisticRegression(
        C=1 / (ridge * int(times.sum())), fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000
    )
    # each pair from both sides, since a classifier needs both classes
    plain.fit(np.vstack([gaps, -gaps]), np.repeat([1, 0], n_pairs), np.concatenate([weight, weight]))
    repeated = pairs_of(pairs.chosen.repeat_interleave(times), pairs.rejected.repeat_interleave(times))
    for same in (repeated, replace(pairs, weight=times.double())):
        found = fit_pooled(table.to(dtype), same, ridge, tolerance=1e-3 * tolerance)
        np.testing.assert_allclose(found, plain.coef_[0], rtol=tolerance, atol=tolerance)


def strengths(chosen, rejected, n_items, ridge):
    """Penalised maximum likelihood of the strengths of items, written out: Newton's method, steps halved if need be."""
    incidence = np.zeros((len(chosen), n_items))
    incidence[np.arange(len(chosen)), chosen] += 1
    incidence[np.arange(len(chosen)), rejected] -= 1

    def objective(strength):
        return np.logaddexp(0, -incidence @ strength).mean() + ridge / 2 * strength @ strength

    strength = np.zeros(n_items)
    for _ in range(100):
        wrong = 1 / (1 + np.exp(incidence @ strength))
        gradient = ridge * strength - incidence.T @ wrong / len(chosen)
        curvature = incidence.T @ ((wrong * (1 - wrong))[:, None] * incidence) / len(chosen)
        step = np.linalg.solve(curvature + ridge * np.eye(n_items), gradient)
        while objective(strength - step) > objective(strength) and np.abs(step).max() > 1e-12:
            step = step / 2
        strength = strength - step
    return strength


def leagues(chosen, rejected, n_items):
    """Items that comparisons connect, as sets."""
    league = list(range(n_items))
    for a, b in zip(chosen, rejected, strict=True):
        league = [league[a] if one == league[b] else one for one in league]
    return [np.flatnonzero(np.array(league) == one) for one in sorted(set(league))]


GAMES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda game: game[0] != game[1]), min_size=1)


@given(games=GAMES, ridge=st.sampled_from([1.0, 0.01, 1e-4]))
@settings(max_examples=60)
def test__fit_pooled__items_undefeated_or_never_compared__have_the_penalised_strengths(games, ridge):
    """Without the ridge an undefeated item has no strength, and leagues that never met no common scale."""
    chosen, rejected = np.array(games).T
    found = fit_pooled(torch.eye(7, dtype=torch.float64), pairs_of(chosen, rejected), ridge, tolerance=1e-10).numpy()
    np.testing.assert_allclose(found, strengths(chosen, rejected, 7, ridge), rtol=1e-5, atol=1e-6)
    for members in leagues(chosen, rejected, 7):
        assert abs(found[members].sum()) < 1e-6  # nothing is said of one league against another
    assert (found[list(set(chosen) - set(rejected))] > 0).all()
    assert (found[list(set(range(7)) - {*chosen, *rejected})] == 0).all()


def test__fit_pooled__warm_start_and_shared_curvature__change_nothing():
    table, pairs = choices(1)
    cold = fit_pooled(table, pairs, 0.01, tolerance=1e-9)
    warm = fit_pooled(
        table, pairs, 0.01, curvature=Curvature(table, pairs), start=fit_pooled(table, pairs, 1.0), tolerance=1e-9
    )
    torch.testing.assert_close(cold, warm, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test__fit_pooled__separable_or_collinear__is_finite_and_optimal(dtype):
    table = torch.zeros(4, 3, dtype=dtype)
    table[:2] = 100.0  # chosen items; all features equal, perfectly separable
    pairs = pairs_of([0, 1], [2, 3])
    found = fit_pooled(table, pairs, 1e-3)
    margin = table @ found
    pull = torch.sigmoid(margin[pairs.rejected] - margin[pairs.chosen]) / 2
    gradient = 1e-3 * found - table.T @ item_pull(pairs, pull, 4)
    assert torch.isfinite(found).all()
    assert gradient.abs().max() < 1e-2
    torch.testing.assert_close(found, found[:1].expand(3), rtol=1e-2, atol=0)


def test__pooled_hessian__laplacian_form__equals_the_sum_over_gaps():
    table, pairs = choices(2, n_pairs=480, n_items=9)  # few items: many judgements of the same pair
    weight = torch.rand(pairs.chosen.numel(), dtype=table.dtype, generator=torch.Generator().manual_seed(0))
    gaps = pairs.gaps(table)
    expected = torch.einsum("p,pi,pj->ij", weight, gaps, gaps) / len(gaps)
    torch.testing.assert_close(pooled_hessian(table, pairs, weight), expected)


def drawn(rng, counts, d=4):
    """Items, and pairs of users with so many each."""
    n = int(sum(counts))
    chosen = rng.integers(0, 30, n)
    rejected = (chosen + rng.integers(1, 30, n)) % 30
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return torch.tensor(rng.normal(size=(30, d))), Pairs(*(torch.tensor(c) for c in (chosen, rejected, offsets)))


@pytest.mark.parametrize("ridge", [1.0, 0.01])
def test__fit_pooled__bounded_users__equals_weighted_logistic_regression(ridge):
    counts = np.array([3, 5, 4, 200])
    table, pairs = drawn(np.random.default_rng(0), counts)
    most = most_pairs(pairs.counts)
    assert most == MEDIANS * 4
    found = fit_pooled(table, pairs.bounded(most), ridge, tolerance=1e-9)
    weight = np.minimum(1, most / counts)[pairs.user]
    gaps = pairs.gaps(table).numpy()
    plain = LogisticRegression(C=1 / (2 * ridge * weight.sum()), fit_intercept=False, tol=1e-12, max_iter=1000)
    plain.fit(np.vstack([gaps, -gaps]), np.repeat([1, 0], len(gaps)), np.tile(weight, 2))
    np.testing.assert_allclose(found, plain.coef_[0], rtol=1e-5)
    again = fit_pooled(table, pairs.bounded(1e9), ridge)  # nobody beyond the bound: the very same
    assert torch.equal(again, fit_pooled(table, pairs, ridge))


def power_user(n_others=60, n_pairs=20, n_own=1500):
    """Users who agree but for little, and one with very many pairs who wants the opposite."""
    rng = np.random.default_rng(0)
    X, shared = rng.normal(size=(500, 6)), rng.normal(size=6)
    weights = np.vstack([-shared, shared + 0.3 * rng.normal(size=(n_others, 6))])
    user = np.repeat(np.arange(n_others + 1), [n_own, *[n_pairs] * n_others])
    a = rng.integers(0, 500, len(user))
    b = (a + rng.integers(1, 500, len(user))) % 500
    wins = rng.random(len(user)) < 1 / (1 + np.exp(-((X[a] - X[b]) * weights[user]).sum(1)))
    return episodes_from_arrays(X, np.where(wins, a, b), np.where(wins, b, a), [f"u{i}" for i in user])


@pytest.mark.parametrize("model", [MetaRewardModel(max_epochs=0, random_state=0), PooledBradleyTerry(random_state=0)])
def test__fit__one_user_of_half_the_pairs__is_named_and_does_not_decide_for_others(model):
    episodes = power_user()
    with pytest.warns(UserWarning, match=r"more than a tenth of the 2100 pairs are of one user: 'u0' \(71%\)"):
        model.fit(episodes[:31])  # half of the others
    others = episodes[31:]
    with_them = user_level_accuracy(model.decision_function(others), others.user)
    without = user_level_accuracy(model.fit(episodes[1:31]).decision_function(others), others.user)
    assert without > 0.75
    assert with_them > without - 0.02


def test__pooled__tastes_that_cancel_out__no_shared_reward_is_chosen():
    rng = np.random.default_rng(0)
    X, taste = rng.normal(size=(200, 5)), rng.normal(size=5)
    a = rng.integers(0, 200, 600)
    b = (a + rng.integers(1, 200, 600)) % 200
    wins = (X[a] - X[b]) @ taste > 0
    better, worse = np.where(wins, a, b), np.where(wins, b, a)
    user = np.repeat(np.arange(30), 20)
    twins = np.concatenate([better, worse]), np.concatenate([worse, better]), np.concatenate([user, 30 + user])
    episodes = episodes_from_arrays(X, *twins)
    pooled = PooledBradleyTerry(random_state=0).fit(episodes)
    assert pooled.ridge_ == np.inf
    assert not pooled.coef_.any()
    assert [record["setting"] for record in pooled.selection_ if record["chosen"]] == ["no shared reward"]
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes)
    assert model.score(episodes) > 0.9  # each by their own taste all the same


@pytest.mark.parametrize(("n_users", "n_first"), [(20, 10), (20, 9), (21, 10), (20, 5), (9, 1), (20, 20)])
def test__fit__two_items_and_opposite_users__each_follows_their_own(n_users, n_first):
    X = np.random.default_rng(n_first).normal(size=(2, 7))
    user = np.repeat(np.arange(n_users), 12)
    first = user < n_first
    episodes = episodes_from_arrays(X, np.where(first, 0, 1), np.where(first, 1, 0), user)
    model = MetaRewardModel(random_state=0).fit(episodes)
    assert model.score(episodes) == 1
    gaps = [float(np.subtract(*model.adapt(episodes[user]).predict(X))) for user in range(n_users)]
    assert (np.array(gaps) > 1).sum() == n_first
    assert (np.array(gaps) < -1).sum() == n_users - n_first
