"""Users' prior by variational EM, and the base functions along its principal directions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from skmrm.meta.adaptation.mixture import MixturePrior
from skmrm.meta.pooled.newton import fit_pooled, pooled_hessian
from skmrm.meta.prior import directions
from skmrm.meta.prior.directions import BelievedPrior, PriorLearner, principal_bases
from skmrm.meta.prior.em import Prior, _sweep, _update, fit_prior
from skmrm.meta.tensors.pairs import Pairs

IDENTITY = torch.eye(3, dtype=torch.float64)


def crowd(weights, n_pairs, seed=0, lapse=()):
    """Bradley-Terry choices of users with these weights (n_users, K) over items whose base rewards are Gaussian."""
    rng = np.random.default_rng(seed)
    n_users, rank = weights.shape
    counts = np.full(n_users, n_pairs)
    counts[list(lapse)] = 0
    user = np.repeat(np.arange(n_users), counts)
    rewards = rng.normal(size=(2 * len(user), rank))
    a, b = np.arange(len(user)), np.arange(len(user)) + len(user)
    wins = ((rewards[a] - rewards[b]) * weights[user]).sum(1) + rng.logistic(size=len(user)) > 0
    offsets = np.concatenate([[0], np.cumsum(counts)])
    chosen, rejected = np.where(wins, a, b), np.where(wins, b, a)
    return torch.tensor(rewards), Pairs(torch.tensor(chosen), torch.tensor(rejected), torch.tensor(offsets))


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
        h, o = gaps[own] @ prior.factor, gaps[own] @ mean
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
def test__sweep__of_a_batch__equals_a_loop_over_users_and_kinds(n_components, n_pairs):
    weights = np.random.default_rng(1).normal(size=(6, 3))
    rewards, pairs = crowd(weights, n_pairs, lapse=[2])
    mean = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    factor = torch.tril(torch.rand(3, 3, dtype=torch.float64, generator=generator())) + IDENTITY
    centres = torch.randn(n_components, 3, dtype=torch.float64, generator=generator())
    shares = torch.softmax(torch.arange(n_components, dtype=torch.float64), 0)
    gaps = pairs.gaps(rewards)
    square = torch.rand(len(gaps), dtype=torch.float64, generator=generator()) + 0.1
    found, tightest = _sweep(gaps @ factor, gaps @ mean, square, pairs, Prior(factor, centres, shares))
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
        torch.testing.assert_close(found.chances[user], chances)
        margins = o[:, None] + h @ modes.T
        second = margins**2 @ chances + torch.einsum("pk,kl,pl->p", h, covariance, h)
        torch.testing.assert_close(tightest[own], second)
    torch.testing.assert_close(found.covariance, summed)


@given(seed=st.integers(0, 10**6), n_components=st.sampled_from([1, 2]))
@settings(max_examples=10)
def test__sweeps__each__raise_the_bound_of_the_likelihood(seed, n_components):
    """The law of EM, for xi, the posteriors and the prior (the mean of kinds is held, and may cost a little)."""
    rewards, pairs = crowd(np.random.default_rng(seed).normal(size=(25, 3)), 6, seed)
    mean = torch.zeros(3, dtype=torch.float64)
    if n_components == 1:
        prior = Prior.gaussian(0.5 * IDENTITY)
    else:
        centres = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64)
        prior = Prior(0.5 * IDENTITY, centres, torch.tensor([0.5, 0.5], dtype=torch.float64))
    gaps = pairs.gaps(rewards)
    square = ((gaps @ prior.factor) ** 2).sum(1)
    bounds = [bound_of(rewards, pairs, mean, prior, square)]
    for _ in range(6):
        found, tightest = _sweep(gaps @ prior.factor, gaps @ mean, square, pairs, prior)
        assert bound_of(rewards, pairs, mean, prior, tightest) >= bounds[-1] - 1e-9
        square = tightest
        prior, _ = _update(prior, found, pairs.counts > 0)
        bounds.append(bound_of(rewards, pairs, mean, prior, square))
    slack = 1e-4 if n_components == 1 else 0.1
    assert (np.diff(bounds) > -slack).all()
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
def test__sweeps__of_one_direction__stay_below_the_likelihood_by_quadrature_and_raise_it(seed, n_components):
    """From too narrow a prior: nobody differs much, and the choices say that they do."""
    rng = np.random.default_rng(seed)
    weights = 2 * (rng.choice([-1.0, 1.0], (30, 1)) if n_components == 2 else rng.normal(size=(30, 1)))
    rewards, pairs = crowd(weights, 8, seed)
    mean = torch.tensor([0.3], dtype=torch.float64)
    centres = torch.linspace(-1, 1, n_components, dtype=torch.float64)[:, None] * (n_components > 1)
    shares = torch.full((n_components,), 1 / n_components, dtype=torch.float64)
    prior = Prior(torch.full((1, 1), 0.2, dtype=torch.float64), centres, shares)
    gaps, user = pairs.gaps(rewards), pairs.user.numpy()
    square, found = ((gaps @ mean) ** 2 + ((gaps @ prior.factor) ** 2).sum(1)).clamp_min(1e-4), []
    for _ in range(8):
        found.append(log_evidence(gaps[:, 0].numpy(), (gaps @ mean).numpy(), user, prior))
        posteriors, square = _sweep(gaps @ prior.factor, gaps @ mean, square, pairs, prior)
        bound = bound_of(rewards, pairs, mean, prior, square)
        assert found[-1] - 0.06 * len(gaps) < bound < found[-1]
        prior, _ = _update(prior, posteriors, pairs.counts > 0)
    assert (np.diff(found) > -0.02).all()
    assert found[-1] > found[0] + 1


def test__fit_prior__many_users__finds_the_planted_covariance():
    planted = np.array([[1.5, 0.0, 0.0], [0.9, 0.6, 0.0], [0.0, 0.0, 0.0]])
    weights = np.random.default_rng(0).normal(size=(1500, 3)) @ planted.T + np.array([0, 0, 1.0])
    rewards, pairs = crowd(weights, 30)
    mean = torch.tensor([0, 0, 1.0], dtype=torch.float64)
    factor = fit_prior(rewards, pairs, mean, Prior.gaussian(0.5 * IDENTITY), 1, generator(), sweeps=40).factor
    found, expected = (factor @ factor.T).numpy(), planted @ planted.T
    # the bound is not tight: it finds the shape, and somewhat less spread than there is
    assert np.linalg.norm(found - expected) < 0.25 * np.linalg.norm(expected)
    correlation = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert correlation > 0.99


def test__fit_prior__planted_kinds__are_found_with_their_shares():
    rng = np.random.default_rng(0)
    kinds = np.array([[2.0, 0, 0], [-1.0, 1.5, 0], [-1.0, -1.5, 0]])
    kind = rng.choice(3, size=400, p=[0.5, 0.3, 0.2])
    rewards, pairs = crowd(kinds[kind], 30)
    mean = torch.tensor(kinds[kind].mean(0))
    first = fit_prior(rewards, pairs, mean, Prior.gaussian(IDENTITY), 1, generator())
    prior = fit_prior(rewards, pairs, mean, first, 3, generator())
    centres = (mean + prior.centres @ prior.factor.T).numpy()
    order = [int(np.linalg.norm(centres - planted, axis=1).argmin()) for planted in kinds]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(centres[order], kinds, atol=0.4)
    np.testing.assert_allclose(prior.shares.numpy()[order], np.bincount(kind) / 400, atol=0.03)
    torch.testing.assert_close(prior.shares @ prior.centres, torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)


def test__fit_prior__separable_users__stay_finite():
    """Each user repeats one choice: the likelihood of any single user has no maximum."""
    rewards = torch.randn(40, 3, dtype=torch.float64, generator=generator())
    chosen = torch.arange(20).repeat_interleave(50)
    pairs = Pairs(chosen, chosen + 20, torch.arange(21) * 50)
    first = fit_prior(rewards, pairs, torch.zeros(3, dtype=torch.float64), Prior.gaussian(IDENTITY), 1, generator())
    for n_components in (1, 4):
        prior = fit_prior(rewards, pairs, torch.zeros(3, dtype=torch.float64), first, n_components, generator())
        assert torch.isfinite(prior.factor).all()
        assert prior.factor.abs().max() < 100


def test__fit_prior__fewer_users_than_kinds__is_finite():
    rewards, pairs = crowd(np.random.default_rng(0).normal(size=(3, 3)), 6)
    prior = fit_prior(rewards, pairs, torch.zeros(3, dtype=torch.float64), Prior.gaussian(IDENTITY), 8, generator())
    assert torch.isfinite(prior.centres).all()
    assert float(prior.shares.sum()) == pytest.approx(1)


# -- base functions along the principal directions -------------------------------------------------------------------


@pytest.fixture(scope="module")
def tastes():
    """Items, choices, pooled solution and halves of 300 users who differ in two of six directions."""
    rng = np.random.default_rng(0)
    coefficients = np.array([1.0, 0, 0, 0.5, 0, 0]) + rng.normal(size=(300, 2)) @ (np.eye(6)[1:3] * [[1.5], [0.8]])
    table, pairs = crowd(coefficients, 20)
    halves = [torch.rand(len(pairs.chosen), generator=generator()) < 0.5 for _ in range(2)]
    return table, pairs, fit_pooled(table, pairs, 0.01), halves


def prior_of(learner, n_components):
    return learner.wide if n_components == 0 else learner.narrow(n_components)


def bases_of(tastes, n_bases, n_components=0):
    learner = PriorLearner(*tastes, n_bases, 0.01, (0,))
    return learner.bases([BelievedPrior(prior_of(learner, n_components), 1.0, 1.0)])


def test__prior_learner__kinds__do_not_depend_on_what_was_asked_before(tastes):
    alone = PriorLearner(*tastes, 4, 0.01, (0,)).narrow(4)
    learner = PriorLearner(*tastes, 4, 0.01, (0,))
    learner.narrow(8)
    again = learner.narrow(4)
    for name in ("factor", "centres", "shares"):
        assert torch.equal(getattr(again, name), getattr(alone, name)), name
    others = PriorLearner(*tastes, 4, 0.01, (1,)).narrow(4)
    assert not torch.equal(others.centres, alone.centres)  # another seed is another draw of kinds


@pytest.mark.parametrize("n_components", [0, 1, 4])
def test__bases__are_the_pooled_reward_and_directions_orthogonal_in_the_hessian(tastes, n_components):
    table, pairs, pooled, _ = tastes
    found = bases_of(tastes, 6, n_components)
    torch.testing.assert_close(found.bases[0], pooled)
    reward = table @ pooled
    chance = torch.sigmoid(reward[pairs.chosen] - reward[pairs.rejected])
    hessian = pooled_hessian(table, pairs, chance * (1 - chance)) + 0.01 * torch.eye(6, dtype=table.dtype)
    gram = found.bases[1:] @ hessian @ found.bases[1:].T
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=1e-9, rtol=0)
    assert (gram.diagonal().diff() <= 1e-9).all()


@pytest.mark.parametrize("n_components", [[0], [1], [4], [0, 1, 4]])
def test__bases__prior_in_terms_of_them__is_of_unit_variance_and_the_same_rewards(tastes, n_components):
    """In all directions of the items, so that nothing is left out: gaps vary over users as the priors say."""
    learner = PriorLearner(*tastes, None, 0.01, (0,))
    believed = [BelievedPrior(prior_of(learner, n), 0.8, 1 / len(n_components)) for n in n_components]
    found = learner.bases(believed)
    prior = MixturePrior.of(found.mixture)
    torch.testing.assert_close(prior.weights.tolist(), [one.weight for one in believed])
    shares = prior.weights[prior.prior] * prior.log_shares.exp()
    within = prior.factors @ prior.factors.mT
    total = torch.einsum("c,ckl->kl", shares, within + prior.centres[:, :, None] * prior.centres[:, None])
    torch.testing.assert_close(total, torch.diag(found.scale), atol=1e-8, rtol=0)
    gaps, guessed = tastes[1].gaps(learner.rewards_of(found)), tastes[1].gaps(tastes[0] @ learner._guess.T)
    torch.testing.assert_close(gaps @ found.start, guessed[:, 0])
    for number, one in enumerate(believed):
        of = prior.prior == number
        torch.testing.assert_close(
            (gaps @ prior.factors[of][0]).square().sum(1), 0.64 * (guessed @ one.prior.factor).square().sum(1)
        )
        torch.testing.assert_close(
            gaps @ prior.centres[of].T, guessed @ one.prior.factor @ one.prior.centres.T, atol=1e-7, rtol=1e-5
        )


def test__principal_bases__of_pairs__are_orthogonal_of_one_length_and_move_gaps_by_a_logit():
    rng = np.random.default_rng(0)
    table, pairs = crowd(rng.normal(size=(50, 5)), 20)
    table = table * torch.tensor([3.0, 1.0, 0.5, 2.0, 0.0], dtype=torch.float64)  # the last column is constant
    found = principal_bases(table, pairs, 9)
    assert found.shape == (4, 5)
    gram = found @ found.T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(4, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(pairs.gaps(table @ found.T).square().sum(1).mean()) == pytest.approx(1)
    few = principal_bases(table, pairs, 2)
    assert float(pairs.gaps(table @ few.T).square().sum(1).mean()) == pytest.approx(1)
    assert few.abs().argmax(1).tolist() == [0, 3]  # in which items differ most


def test__fit_prior__shrinkage__is_that_of_its_equation_and_goes_as_users_come():
    planted = np.array([[1.5, 0.0, 0.0], [0.9, 0.6, 0.0], [0.0, 0.0, 0.0]])
    apart = {}
    for n_users in (10, 1000):
        weights = np.random.default_rng(0).normal(size=(n_users, 3)) @ planted.T
        rewards, pairs = crowd(weights, 20)
        zero, guess = torch.zeros(3, dtype=torch.float64), torch.diag(torch.tensor([1.0, 2.0, 0.5]).double())
        given = rewards, pairs, zero, Prior.gaussian(guess), 1, generator(), 1
        moments, shrunk = (fit_prior(*given, shrinkage).factor for shrinkage in (0.0, 2.0))
        plain, found = (guess.inverse() @ factor @ factor.T @ guess.inverse() for factor in (moments, shrunk))
        size = plain.diagonal().mean() * torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(found, (n_users * plain + 6 * size) / (n_users + 6), atol=1e-7, rtol=1e-7)
        apart[n_users] = float((found - plain).norm() / plain.norm())
    assert apart[1000] < 0.02 < apart[10]


def test__bases__planted_directions__lead(tastes):
    found = bases_of(tastes, 3)
    span = torch.linalg.qr(found.bases[1:].T)[0]
    assert float((span[1:3] ** 2).sum()) > 1.9  # of 2: all of both directions is in the planted plane
    assert found.bases[1, 1].abs() > 2 * found.bases[1, 2].abs()  # the one in which users differ more


def test__bases__number_left_open__are_as_many_as_there_is_evidence_for(tastes, monkeypatch):
    open_ended = bases_of(tastes, None)
    assert 4 <= len(open_ended.bases) <= 7
    monkeypatch.setattr(directions, "AUTO_BASES", 2)
    assert len(bases_of(tastes, None).bases) == 3  # the pooled reward, and two directions


def test__bases__more_than_features__are_padded_with_zeros(tastes):
    found = bases_of(tastes, 12, 4)
    assert found.bases.shape == (12, 6)
    assert (found.bases[7:] == 0).all()
    assert (found.mixture["centres"][:, 7:] == 0).all()
    assert (found.mixture["factors"][:, 7:] == 0).all()


def test__bases__one__is_the_pooled_reward_whatever_the_kinds(tastes):
    found = bases_of(tastes, 1, 4)
    torch.testing.assert_close(found.bases, tastes[2].unsqueeze(0))
    assert all((found.mixture[name] == 0).all() for name in ("centres", "factors"))
