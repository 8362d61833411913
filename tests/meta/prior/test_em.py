"""Users' prior by variational EM, on given base functions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from skmrm.meta.prior import em
from skmrm.meta.prior.em import Prior, fit_prior, sweep, update

IDENTITY = torch.eye(3, dtype=torch.float64)


def generator():
    return torch.Generator().manual_seed(0)


def bound_of(rewards, pairs, mean, prior, square):
    """Jaakkola and Jordan's bound of the log likelihood, one user and one kind at a time."""
    total = 0.0
    xi = square.sqrt()
    bend = torch.tanh(xi / 2) / (4 * xi)
    fixed = torch.nn.functional.logsigmoid(xi) - xi / 2 + bend * square
    gaps = pairs.gaps(rewards)
    for user in range(pairs.n_users):
        own = slice(int(pairs.offsets[user]), int(pairs.offsets[user + 1]))
        h, o = gaps[own] @ prior.factor, gaps[own] @ (mean + prior.mean)
        precision = torch.eye(h.shape[1], dtype=h.dtype) + 2 * (bend[own, None] * h).T @ h
        covariance = torch.linalg.inv(precision)
        evidence = []
        for centre, share in zip(prior.centres, prior.shares, strict=True):
            target = centre + ((0.5 - 2 * bend[own] * o)[:, None] * h).sum(0)
            mode = covariance @ target
            constant = (fixed[own] + o / 2 - bend[own] * o**2).sum()
            evidence.append(constant + share.log() + (target @ mode - centre @ centre - torch.logdet(precision)) / 2)
        total += torch.logsumexp(torch.stack(evidence), 0)
    return float(total)


@pytest.mark.parametrize("n_pairs", [2, 5])
@pytest.mark.parametrize("n_components", [1, 3])
def test__sweep__of_a_batch__equals_a_loop_over_users_and_kinds(crowd, n_components, n_pairs):
    weights = np.random.default_rng(1).normal(size=(6, 3))
    rewards, pairs = crowd(weights, n_pairs, lapse=[2])
    mean = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    factor = torch.tril(torch.rand(3, 3, dtype=torch.float64, generator=generator())) + IDENTITY
    centres = torch.randn(n_components, 3, dtype=torch.float64, generator=generator())
    shares = torch.softmax(torch.arange(n_components, dtype=torch.float64), 0)
    gaps = pairs.gaps(rewards)
    square = torch.rand(len(gaps), dtype=torch.float64, generator=generator()) + 0.1
    found, tightest = sweep(gaps @ factor, gaps @ mean, square, pairs, Prior(0 * mean, factor, centres, shares))
    bend = torch.tanh(square.sqrt() / 2) / (4 * square.sqrt())
    summed = torch.zeros(3, 3, dtype=torch.float64)
    for user in range(6):
        own = slice(int(pairs.offsets[user]), int(pairs.offsets[user + 1]))
        h, o = gaps[own] @ factor, gaps[own] @ mean
        covariance = torch.linalg.inv(IDENTITY + 2 * (bend[own, None] * h).T @ h)
        summed += covariance if len(h) else 0
        targets = centres + ((0.5 - 2 * bend[own] * o)[:, None] * h).sum(0)
        modes = targets @ covariance
        chances = torch.softmax(shares.log() + (targets * modes).sum(1) / 2 - (centres**2).sum(1) / 2, 0)
        torch.testing.assert_close(found.modes[user], modes)
        torch.testing.assert_close(found.chances[user], chances * (len(h) > 0))  # who chose nothing counts for nothing
        margins = o[:, None] + h @ modes.T
        second = margins**2 @ chances + torch.einsum("pk,kl,pl->p", h, covariance, h)
        torch.testing.assert_close(tightest[own], second)
    torch.testing.assert_close(found.covariance, summed)


@given(seed=st.integers(0, 10**6), n_components=st.sampled_from([1, 2]))
@settings(max_examples=10)
def test__sweeps__each__raise_the_bound_of_the_likelihood(crowd, seed, n_components):
    """The law of EM, for xi, the posteriors and the prior."""
    rewards, pairs = crowd(np.random.default_rng(seed).normal(size=(25, 3)), 6, seed)
    mean = torch.zeros(3, dtype=torch.float64)
    if n_components == 1:
        prior = Prior.gaussian(0.5 * IDENTITY)
    else:
        centres = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64)
        prior = Prior(mean, 0.5 * IDENTITY, centres, torch.tensor([0.5, 0.5], dtype=torch.float64))
    gaps = pairs.gaps(rewards)
    square = ((gaps @ prior.factor) ** 2).sum(1)
    bounds = [bound_of(rewards, pairs, mean, prior, square)]
    for _ in range(6):
        found, tightest = sweep(gaps @ prior.factor, gaps @ (mean + prior.mean), square, pairs, prior)
        assert bound_of(rewards, pairs, mean, prior, tightest) >= bounds[-1] - 1e-9
        square = tightest
        prior, _ = update(prior, found)
        bounds.append(bound_of(rewards, pairs, mean, prior, square))
    assert (np.diff(bounds) > -1e-4).all()
    assert bounds[-1] > bounds[0]


def log_evidence(gaps, offset, user, prior):
    """Log likelihood of the choices with the users' weights integrated out, by quadrature, of a prior of rank one."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    factor, total = prior.factor[0, 0].item(), 0.0
    for one in np.unique(user):
        own = user == one
        kinds = [float(centre) + nodes for centre in prior.centres[:, 0]]
        logs = [-np.logaddexp(0, -(offset[own, None] + factor * gaps[own, None] * a)).sum(0) for a in kinds]
        shares = prior.shares.numpy()[:, None] * weights / weights.sum()
        total += logsumexp(np.array(logs), b=shares)
    return total


@given(seed=st.integers(0, 10**6), n_components=st.sampled_from([1, 2]))
@settings(max_examples=15)
def test__sweeps__of_one_direction__stay_below_the_likelihood_by_quadrature_and_raise_it(crowd, seed, n_components):
    """From too narrow a prior: nobody differs much, and the choices say that they do."""
    rng = np.random.default_rng(seed)
    weights = 2 * (rng.choice([-1.0, 1.0], (30, 1)) if n_components == 2 else rng.normal(size=(30, 1)))
    rewards, pairs = crowd(weights, 8, seed)
    mean = torch.tensor([0.3], dtype=torch.float64)
    centres = torch.linspace(-1, 1, n_components, dtype=torch.float64)[:, None] * (n_components > 1)
    shares = torch.full((n_components,), 1 / n_components, dtype=torch.float64)
    prior = Prior(0 * mean, torch.full((1, 1), 0.2, dtype=torch.float64), centres, shares)
    gaps, user = pairs.gaps(rewards), pairs.user.numpy()
    square, found = ((gaps @ mean) ** 2 + ((gaps @ prior.factor) ** 2).sum(1)).clamp_min(1e-4), []
    for _ in range(8):
        offset = gaps @ (mean + prior.mean)
        found.append(log_evidence(gaps[:, 0].numpy(), offset.numpy(), user, prior))
        posteriors, square = sweep(gaps @ prior.factor, gaps @ (mean + prior.mean), square, pairs, prior)
        bound = bound_of(rewards, pairs, mean, prior, square)
        assert found[-1] - 0.06 * len(gaps) < bound < found[-1]
        prior, _ = update(prior, posteriors)
    assert (np.diff(found) > -0.02).all()
    assert found[-1] > found[0] + 1


def test__fit_prior__many_users__finds_the_planted_covariance(crowd):
    planted = np.array([[1.5, 0.0, 0.0], [0.9, 0.6, 0.0], [0.0, 0.0, 0.0]])
    weights = np.random.default_rng(0).normal(size=(1500, 3)) @ planted.T + np.array([0, 0, 1.0])
    rewards, pairs = crowd(weights, 30)
    mean = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    factor = fit_prior(rewards, pairs, mean, 0.5 * IDENTITY, sweeps=20)
    found, expected = (factor @ factor.T).numpy(), planted @ planted.T
    # the bound is not tight: it finds the shape, and somewhat less spread than there is
    assert np.linalg.norm(found - expected) < 0.25 * np.linalg.norm(expected)
    correlation = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert correlation > 0.99


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5)
def test__fit_prior__relaxed__ends_where_plain_em_does_in_fewer_sweeps(crowd, seed):
    rewards, pairs = crowd(np.random.default_rng(seed).normal(size=(40, 3)), 8, seed)
    zero, found = torch.zeros(3, dtype=torch.float64), {}
    for relaxation in (1.0, em.RELAXATION):
        for sweeps in (5, 300):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(em, "RELAXATION", relaxation)
                factor = fit_prior(rewards, pairs, zero, 0.3 * IDENTITY, sweeps)
            found[relaxation, sweeps] = factor @ factor.T
    end = found[1.0, 300]
    torch.testing.assert_close(found[em.RELAXATION, 300], end, atol=0.02, rtol=0.02)
    assert (found[em.RELAXATION, 5] - end).norm() < (found[1.0, 5] - end).norm()


def test__fit_prior__shrinkage__is_that_of_its_equation_and_goes_as_users_come(crowd, monkeypatch):
    planted = np.array([[1.5, 0.0, 0.0], [0.9, 0.6, 0.0], [0.0, 0.0, 0.0]])
    monkeypatch.setattr(em, "RELAXATION", 1.0)
    apart = {}
    for n_users in (10, 1000):
        weights = np.random.default_rng(0).normal(size=(n_users, 3)) @ planted.T
        rewards, pairs = crowd(weights, 20)
        zero, guess = torch.zeros(3, dtype=torch.float64), torch.diag(torch.tensor([1.0, 2.0, 0.5]).double())
        given = rewards, pairs, zero, guess, 1
        moments, shrunk = (fit_prior(*given, shrinkage) for shrinkage in (0.0, 2.0))
        plain, found = (guess.inverse() @ factor @ factor.T @ guess.inverse() for factor in (moments, shrunk))
        size = plain.diagonal().mean() * torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(found, (n_users * plain + 6 * size) / (n_users + 6), atol=1e-7, rtol=1e-7)
        apart[n_users] = float((found - plain).norm() / plain.norm())
    assert apart[1000] < 0.02 < apart[10]
