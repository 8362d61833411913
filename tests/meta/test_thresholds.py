"""Ties and strengths: outcomes as sides, and the thresholds that they are held against."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, log_expit

from skmrm.episodes.outcomes import sides_of
from skmrm.estimators.core_data import Choices
from skmrm.meta.adaptation import MapAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.basis import with_bar
from skmrm.meta.pooled.newton import fit_pooled, fit_with_thresholds
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.thresholds import first_thresholds, sides_loss, with_thresholds

CPU = torch.device("cpu")
widths = st.lists(st.floats(0.01, 3), min_size=1, max_size=5)


def log_chance(outcome, margin, thresholds):
    """Of an outcome in either direction, written as the difference of two logistic functions: log P(outcome)."""
    edges = np.concatenate([thresholds, [np.inf]])
    low = np.where(outcome == 0, -edges[0], edges[np.maximum(outcome - 1, 0)])
    high = edges[np.minimum(outcome, len(thresholds))]
    return np.log(np.maximum(expit(high - margin) - expit(low - margin), 1e-300))  # or a line search goes too far


def outcomes(thresholds, n_users=6, n_pairs=8, n_items=20, d=3, seed=0, scale=1.0, weighted=False):
    """Users of the cumulative logistic model, over random items: features, users' weights, and their choices."""
    rng = np.random.default_rng(seed)
    features, weights = rng.normal(size=(n_items, d)), scale * rng.normal(size=(n_users, d))
    user = np.repeat(np.arange(n_users), n_pairs)
    one = rng.integers(n_items, size=len(user))
    other = (one + rng.integers(1, n_items, size=len(user))) % n_items
    latent = ((features[one] - features[other]) * weights[user]).sum(1) + rng.logistic(size=len(user))
    outcome = np.searchsorted(thresholds, np.abs(latent))
    ends = np.where(latent > 0, [one, other], [other, one])
    weight = rng.uniform(0.2, 3, len(user)) if weighted else None
    return features, weights, Choices(*ends, user, n_users, outcome, weight)


def sides(choices, thresholds):
    pairs, _ = choices.pairs(len(thresholds), CPU)
    return pairs.held_against(torch.tensor(thresholds, dtype=torch.float64))


@given(margin=st.floats(-20, 20), widths=widths)
def test__sides_loss__all_outcomes__are_the_cumulative_model_and_exclude_each_other(margin, widths):
    thresholds = np.cumsum(widths)
    total = 0.0
    for direction in (1, -1):
        for outcome in range(len(thresholds) + 1):
            if (direction, outcome) == (-1, 0):
                continue
            pairs = sides(Choices(*np.array([[0], [1], [0]]), 1, np.array([outcome])), thresholds)
            rewards = torch.tensor([direction * margin, 0.0], dtype=torch.float64)
            loss = float(sides_loss(pairs, pairs.margins(rewards)).sum())
            total += np.exp(-loss)
            if abs(margin) < 10:  # beyond, a difference of two numbers near one has lost its digits
                assert -loss == pytest.approx(float(log_chance(outcome, direction * margin, thresholds)), rel=1e-5)
    assert total == pytest.approx(1, abs=1e-9)


@given(outcome=st.lists(st.integers(0, 6), max_size=20), n_grades=st.integers(1, 4))
def test__sides_of__any_outcomes__one_side_of_the_largest_and_two_of_all_others(outcome, n_grades):
    pair, turned, side = sides_of(np.array(outcome, np.int64), n_grades)
    assert sorted(set(pair.tolist())) == list(range(len(outcome)))
    for place, grade in enumerate(min(one, n_grades) for one in outcome):
        own = pair == place
        expected = [(False, n_grades if grade == 0 else grade - 1)] + [(True, n_grades + grade)] * (grade < n_grades)
        assert list(zip(turned[own], side[own], strict=True)) == expected


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("thresholds", [[0.7], [0.3, 1.2], [0.0, 0.8, 2.0]])
def test__with_thresholds__known_margins__are_those_of_scipy_on_the_written_likelihood(thresholds, weighted):
    features, weights, choices = outcomes(thresholds, 20, 30, weighted=weighted)
    margin = ((features[choices.chosen] - features[choices.rejected]) * weights[choices.user]).sum(1)
    weight = np.ones(len(margin)) if choices.weight is None else choices.weight
    has_ties = thresholds[0] > 0

    def cost(steps):
        held = np.cumsum(np.exp(steps)) if has_ties else np.concatenate([[0.0], np.cumsum(np.exp(steps))])
        width = np.diff(held, prepend=-held[0])
        pseudo = np.log(-np.expm1(-width[width > 0])).sum() / 2  # half a choice more of each
        return -(weight * log_chance(choices.outcome, margin, held)).sum() - pseudo

    best = minimize(cost, np.zeros(len(thresholds) - (not has_ties)), tol=1e-12).x
    expected = np.cumsum(np.exp(best)) if has_ties else np.concatenate([[0.0], np.cumsum(np.exp(best))])
    pairs = first_thresholds(choices.pairs(len(thresholds), CPU)[0], len(thresholds))
    gaps = (pairs.gaps(torch.tensor(features)) * torch.tensor(weights)[pairs.user]).sum(1)
    found = with_thresholds(pairs, gaps).thresholds
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert float(found[0]) == 0 or has_ties


def test__with_thresholds__more_and_more_data__come_to_the_truth():
    errors = []
    for n_users in (20, 200, 2000):
        features, weights, choices = outcomes([0.5, 1.5], n_users, 20)
        pairs = first_thresholds(choices.pairs(2, CPU)[0], 2)
        gaps = (pairs.gaps(torch.tensor(features)) * torch.tensor(weights)[pairs.user]).sum(1)
        errors.append(float((with_thresholds(pairs, gaps).thresholds - torch.tensor([0.5, 1.5])).abs().max()))
    assert errors[2] < 0.02
    assert errors[2] < errors[0]


def test__with_thresholds__an_outcome_that_nobody_chose__keeps_a_place():
    features, _, choices = outcomes([0.5, 1.5, 2.5], 20, 10)
    choices = replace(choices, outcome=np.where(choices.outcome == 2, 3, choices.outcome))
    pairs = first_thresholds(choices.pairs(3, CPU)[0], 3)
    found = with_thresholds(pairs, pairs.gaps(torch.tensor(features)[:, 0])).thresholds
    assert bool((found.diff() > 0).all())
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("weighted", [False, True])
def test__fit_with_thresholds__one_reward_for_all__is_scipy_on_the_written_likelihood(weighted):
    thresholds, ridge = [0.4, 1.3], 0.02
    features, _, choices = outcomes(thresholds, 20, 15, scale=0.0, weighted=weighted)
    weight = np.ones(len(choices.user)) if choices.weight is None else choices.weight
    gaps = features[choices.chosen] - features[choices.rejected]
    pairs = first_thresholds(choices.pairs(2, CPU)[0], 2)
    n_sides = float(pairs.totals.sum())

    def cost(params):
        held = np.cumsum(np.exp(params[:2]))
        pseudo = np.log(-np.expm1(-np.array([2 * held[0], held[1] - held[0]]))).sum() / 2
        loss = -(weight * log_chance(choices.outcome, gaps @ params[2:], held)).sum() - pseudo
        return loss + n_sides * ridge / 2 * params[2:] @ params[2:]

    best = minimize(cost, np.zeros(5), tol=1e-14).x
    solution, found = fit_with_thresholds(torch.tensor(features), pairs, ridge)
    np.testing.assert_allclose(found.thresholds, np.cumsum(np.exp(best[:2])), atol=3e-3)
    np.testing.assert_allclose(solution, best[2:], atol=3e-3)


@pytest.mark.parametrize("thresholds", [[0.7], [0.3, 1.2], [0.0, 0.8, 2.0]])
def test__map__ties_strengths_and_weights__is_scipy_on_the_written_likelihood(thresholds):
    features, _, choices = outcomes(thresholds, weighted=True)
    start, scale = np.array([0.5, -0.2, 0.1]), np.array([0.8, 1.5, 0.0])
    params = {"start": torch.tensor(start), "rule.prior_scale": torch.tensor(scale)}
    pairs = sides(choices, thresholds)
    found, covariance = adapt_users(params, MapAdaptation(), torch.tensor(features), pairs, with_covariance=True)
    for user in range(choices.n_users):
        own = choices.user == user
        gaps = (features[choices.chosen] - features[choices.rejected])[own]
        outcome, weight = choices.outcome[own], choices.weight[own]

        def cost(a, gaps=gaps, outcome=outcome, weight=weight):
            margin = gaps @ (start + scale * a)
            return -(weight * log_chance(outcome, margin, np.array(thresholds))).sum() + a @ a / 2

        best = minimize(cost, np.zeros(3), tol=1e-14).x
        np.testing.assert_allclose(found[user], start + scale * best, atol=1e-6)

        def gradient(a, cost=cost):
            return approx_fprime(a, cost, 1e-6)

        hessian = np.array([(gradient(best + 1e-3 * e) - gradient(best - 1e-3 * e)) / 2e-3 for e in np.eye(3)])
        np.testing.assert_allclose(covariance[user], scale[:, None] * np.linalg.inv(hessian) * scale, atol=2e-3)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test__pairs__plain_choices_held_against_zero__are_plain_choices(seed):
    features, _, choices = outcomes([0.0], seed=seed)
    table = torch.tensor(features)
    plain, _ = replace(choices, outcome=None).pairs(0, CPU)
    held, _ = choices.pairs(1, CPU)
    held = held.held_against(torch.zeros(1, dtype=torch.float64))
    assert held.side is not None
    params = {"start": torch.ones(3, dtype=torch.float64), "rule.prior_scale": torch.ones(3, dtype=torch.float64)}
    for one, other in (
        (fit_pooled(table, plain, 0.1), fit_pooled(table, held, 0.1)),
        (adapt_users(params, MapAdaptation(), table, plain)[0], adapt_users(params, MapAdaptation(), table, held)[0]),
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("outcome", [None, np.array([-1])])
def test__choices__of_unknown_strength_among_users_who_tell_it__are_beyond_the_first_threshold(outcome):
    choices = Choices(*np.array([[0], [1], [0]]), 1, outcome)
    pairs = sides(choices, [0.5, 1.5])
    rewards = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert float(sides_loss(pairs, pairs.margins(rewards)).sum()) == pytest.approx(-log_expit(0.5))


def test__pairs__where_and_joined__keep_sides_and_weights():
    _, _, choices = outcomes([0.5, 1.5], weighted=True)
    pairs = sides(choices, [0.5, 1.5])
    kept = pairs.where(pairs.side % 2 == 0)
    assert torch.equal(kept.threshold, pairs.threshold[pairs.side % 2 == 0])
    assert torch.equal(kept.totals, torch.zeros(6).double().index_add_(0, kept.user, kept.weight))
    assert isinstance(kept, Pairs)


# -- ratings ---------------------------------------------------------------------------------------------------------


def rate(cuts, n_users=6, n_pairs=12, n_items=20, d=3, seed=0, thresholds=None, weighted=False):
    """As `outcomes`, of users who rate half of the time against a bar of their own: and their bars, (n_users,)."""
    features, weights, choices = outcomes(
        [0.0] if thresholds is None else thresholds, n_users, n_pairs, n_items, d, seed
    )
    rng = np.random.default_rng(seed + 1)
    bar = rng.normal(size=n_users)
    is_rated = rng.random(len(choices.user)) < 0.5
    item = rng.integers(n_items, size=len(choices.user))
    latent = (features[item] * weights[choices.user]).sum(1) - bar[choices.user] + rng.logistic(size=len(item))
    rating = np.where(is_rated, 1 + np.searchsorted(cuts, latent), 0)
    chosen, rejected = np.where(is_rated, item, choices.chosen), np.where(is_rated, item, choices.rejected)
    outcome = None if thresholds is None else np.where(is_rated, 1, choices.outcome)
    weight = rng.uniform(0.2, 3, len(item)) if weighted else None
    known = Choices(chosen, rejected, choices.user, n_users, outcome, weight, rating=rating, bar=n_items)
    return features, weights, bar, known


def log_level(rating, margin, cuts):
    """Log probability of a level, written as the difference of two logistic functions."""
    edges = np.concatenate([[-np.inf], cuts, [np.inf]])
    return np.log(np.maximum(expit(edges[rating] - margin) - expit(edges[rating - 1] - margin), 1e-300))


@given(margin=st.floats(-9, 9), first=st.floats(-3, 3), widths=st.lists(st.floats(0.01, 3), max_size=5))
def test__sides_loss__all_levels__are_the_cumulative_model_and_exclude_each_other(margin, first, widths):
    cuts = np.cumsum([first, *widths])
    total = 0.0
    for rating in range(1, len(cuts) + 2):
        choices = Choices(*np.array([[0], [0], [0]]), 1, None, rating=np.array([rating]), bar=1)
        pairs, pair = choices.pairs(1, CPU, len(cuts))
        pairs = pairs.held_against(torch.tensor([0.0, *cuts]))
        loss = float(sides_loss(pairs, pairs.margins(torch.tensor([margin, 0.0], dtype=torch.float64))).sum())
        assert len(pair) == 1 + (1 < rating <= len(cuts))
        assert -loss == pytest.approx(float(log_level(rating, margin, cuts)), abs=1e-5)
        total += np.exp(-loss)
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("cuts", [[0.4], [-1.0, 0.7], [-2.0, -0.5, 0.1, 3.0]])
@pytest.mark.parametrize("thresholds", [None, [0.3, 1.2]])
def test__with_thresholds__ratings_beside_choices__are_those_of_scipy_on_the_written_likelihood(cuts, thresholds):
    features, weights, bar, choices = rate(cuts, 20, 30, thresholds=thresholds)
    n_grades = 1 if thresholds is None else 2
    pairs = first_thresholds(choices.pairs(n_grades, CPU, len(cuts))[0], n_grades)
    table = torch.tensor(np.vstack([np.hstack([features, np.zeros((20, 1))]), np.eye(4)[3]]))
    held = torch.tensor(np.hstack([weights, bar[:, None]]))
    found = with_thresholds(pairs, (pairs.gaps(table) * held[pairs.user]).sum(1)).thresholds.numpy()
    rated = choices.rating > 0
    margin = (features[choices.chosen] * weights[choices.user]).sum(1)[rated] - bar[choices.user[rated]]
    counts = np.bincount(choices.rating[rated], minlength=len(cuts) + 2)[1:]
    assert counts.min() > 0

    def cost(steps):
        at = np.cumsum([steps[0], *np.exp(steps[1:])])
        pseudo = np.log(-np.expm1(-np.diff(at))).sum() + log_expit(at[0]) + log_expit(-at[-1])
        return -log_level(choices.rating[rated], margin, at).sum() - pseudo / 2

    best = minimize(cost, np.zeros(len(cuts)), tol=1e-12).x
    np.testing.assert_allclose(found[n_grades:], np.cumsum([best[0], *np.exp(best[1:])]), atol=2e-3)
    if thresholds is not None:  # of the choices alone
        alone = replace(choices, rating=None)
        alone = Choices(*(c[~rated] for c in (alone.chosen, alone.rejected, alone.user)), 20, alone.outcome[~rated])
        apart = first_thresholds(alone.pairs(2, CPU)[0], 2)
        apart = with_thresholds(apart, (apart.gaps(table) * held[apart.user]).sum(1))
        np.testing.assert_allclose(found[:2], apart.thresholds, atol=1e-6)


@pytest.mark.parametrize("thresholds", [None, [0.3, 1.2]])
@pytest.mark.parametrize("cuts", [[0.4], [-2.0, -0.5, 0.1, 3.0]])
def test__map__ratings_and_choices__is_scipy_on_the_written_likelihood(cuts, thresholds):
    features, _, _, choices = rate(cuts, thresholds=thresholds, weighted=True)
    start, scale = np.array([0.5, -0.2, 0.1, 0.3]), np.array([0.8, 1.5, 0.0, 1.2])
    table = np.vstack([np.hstack([features, np.zeros((20, 1))]), np.eye(4)[3]])
    params = {"start": torch.tensor(start), "rule.prior_scale": torch.tensor(scale)}
    own_thresholds = [0.0] if thresholds is None else thresholds
    pairs, _ = choices.pairs(len(own_thresholds), CPU, len(cuts))
    pairs = pairs.held_against(torch.tensor([*own_thresholds, *cuts], dtype=torch.float64))
    found, covariance = adapt_users(params, MapAdaptation(), torch.tensor(table), pairs, with_covariance=True)
    for user in range(choices.n_users):
        own = choices.user == user
        rating, weight = choices.rating[own], choices.weight[own]
        other = np.where(rating > 0, 20, choices.rejected[own])
        gaps = table[choices.chosen[own]] - table[other]
        outcome = np.ones(own.sum(), int) if thresholds is None else choices.outcome[own]

        def cost(a, gaps=gaps, outcome=outcome, weight=weight, rating=rating):
            margin = gaps @ (start + scale * a)
            of_choice = log_chance(outcome, margin, np.array(own_thresholds))
            of_rating = log_level(np.maximum(rating, 1), margin, np.array(cuts))
            return -(weight * np.where(rating > 0, of_rating, of_choice)).sum() + a @ a / 2

        best = minimize(cost, np.zeros(4), tol=1e-14).x
        np.testing.assert_allclose(found[user], start + scale * best, atol=1e-6)

        def gradient(a, cost=cost):
            return approx_fprime(a, cost, 1e-6)

        hessian = np.array([(gradient(best + 1e-3 * e) - gradient(best - 1e-3 * e)) / 2e-3 for e in np.eye(4)])
        np.testing.assert_allclose(covariance[user], scale[:, None] * np.linalg.inv(hessian) * scale, atol=2e-3)


def test__fit_with_thresholds__one_level_alone_or_two__stays_finite():
    features, _, _, choices = rate([0.4])
    for rating in (1, 2):
        alike = replace(choices, rating=np.where(choices.rating > 0, rating, 0))
        pairs = first_thresholds(alike.pairs(1, CPU, 1)[0], 1)
        table = with_bar(torch.tensor(features))
        solution, found = fit_with_thresholds(table, pairs, 0.1)
        assert bool(found.thresholds.isfinite().all())
        assert bool(solution.isfinite().all())
        assert (found.thresholds[1] > 0) == (rating == 1)
