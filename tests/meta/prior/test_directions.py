"""Base functions along the principal directions of the priors that choices show."""

import numpy as np
import pytest
import torch

from skmrm.meta.adaptation.mixture import MixturePrior
from skmrm.meta.pooled.newton import fit_pooled, pooled_hessian
from skmrm.meta.prior import directions
from skmrm.meta.prior.directions import BelievedPrior, PriorLearner, principal_directions
from skmrm.meta.prior.spectral import Hessian


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def tastes(crowd):
    """Items, choices, pooled solution and halves of 300 users who differ in two of six directions."""
    rng = np.random.default_rng(0)
    coefficients = np.array([1.0, 0, 0, 0.5, 0, 0]) + rng.normal(size=(300, 2)) @ (np.eye(6)[1:3] * [[1.5], [0.8]])
    table, pairs = crowd(coefficients, 20)
    halves = [torch.rand(len(pairs.chosen), generator=generator()) < 0.5 for _ in range(2)]
    return table, pairs, fit_pooled(table, pairs, 0.01), halves


def prior_of(learner, name):
    return learner.narrow(name) if isinstance(name, int) else getattr(learner, name)


def bases_of(tastes, n_bases, name="wide"):
    learner = PriorLearner(*tastes, n_bases, 0.01, (0,))
    return learner.bases([BelievedPrior(prior_of(learner, name), 1.0, 1.0)])


def test__prior_learner__kinds__do_not_depend_on_what_was_asked_before(tastes):
    alone = PriorLearner(*tastes, 4, 0.01, (0,)).narrow(4)
    learner = PriorLearner(*tastes, 4, 0.01, (0,))
    learner.narrow(8)
    again = learner.narrow(4)
    for name in ("factor", "centres", "shares"):
        assert torch.equal(getattr(again, name), getattr(alone, name)), name
    others = PriorLearner(*tastes, 4, 0.01, (1,)).narrow(4)
    assert not torch.equal(others.centres, alone.centres)  # another seed is another draw of kinds


@pytest.mark.parametrize("name", ["flat", "wide", 1, 4])
def test__bases__are_the_pooled_reward_and_directions_orthogonal_in_the_hessian(tastes, name):
    table, pairs, pooled, _ = tastes
    found = bases_of(tastes, 6, name)
    torch.testing.assert_close(found.bases[0], pooled)
    reward = table @ pooled
    chance = torch.sigmoid(reward[pairs.chosen] - reward[pairs.rejected])
    hessian = pooled_hessian(table, pairs, chance * (1 - chance)) + 0.01 * torch.eye(6, dtype=table.dtype)
    gram = found.bases[1:] @ hessian @ found.bases[1:].T
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=1e-9, rtol=0)
    assert (gram.diagonal().diff() <= 1e-9).all()


@pytest.mark.parametrize("names", [["flat"], ["wide"], [1], [4], ["flat", "wide", 1, 4]])
def test__bases__prior_in_terms_of_them__is_of_unit_variance_and_the_same_rewards(tastes, names):
    """In all directions of the items, so that nothing is left out: gaps vary over users as the priors say."""
    table, pairs, pooled, _ = tastes
    learner = PriorLearner(*tastes, None, 0.01, (0,))
    believed = [BelievedPrior(prior_of(learner, name), 0.8, 1 / len(names)) for name in names]
    found = learner.bases(believed)
    prior = MixturePrior.of(found.mixture)
    torch.testing.assert_close(prior.weights.tolist(), [one.weight for one in believed])
    shares = prior.weights[prior.prior] * prior.log_shares.exp()
    within = prior.factors @ prior.factors.mT
    total = torch.einsum("c,ckl->kl", shares, within + prior.centres[:, :, None] * prior.centres[:, None])
    torch.testing.assert_close(total, torch.diag(found.scale), atol=1e-8, rtol=0)
    gaps = pairs.gaps(learner.rewards_of(found.bases))
    torch.testing.assert_close(gaps @ found.start, pairs.gaps(table @ pooled))
    for number, one in enumerate(believed):
        of, given = prior.prior == number, pairs.gaps(table @ one.prior.factor)
        torch.testing.assert_close((gaps @ prior.factors[of][0]).square().sum(1), 0.64 * given.square().sum(1))
        centres = given @ one.prior.centres.T + pairs.gaps(table @ one.prior.mean).unsqueeze(1)
        torch.testing.assert_close(gaps @ prior.centres[of].T, centres, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("n_bases", [3, None])
def test__to_judge__priors__are_as_adaptation_will_have_them(tastes, n_bases):
    """With a number of directions given, within the same ones: no reward is judged that they cannot give."""
    table = tastes[0]
    learner = PriorLearner(*tastes, n_bases, 0.01, (0,))
    believed = [BelievedPrior(prior_of(learner, name), 1.0, 0.25) for name in ("flat", "wide", 1, 4)]
    found = learner.bases(believed)
    rewards, prior = learner.rewards_of(found.bases), MixturePrior.of(found.mixture)
    for number, one in enumerate(learner.to_judge(believed)):
        of = prior.prior == number
        given = table @ one.factor
        torch.testing.assert_close((rewards @ prior.factors[of][0]).square().sum(1), given.square().sum(1))
        centres = given @ one.centres.T + (table @ one.mean).unsqueeze(1)
        torch.testing.assert_close(rewards @ prior.centres[of].T, centres, atol=1e-7, rtol=1e-5)


def test__principal_directions__of_the_hessian__are_orthogonal_of_one_length_and_move_gaps_by_a_logit(crowd):
    rng = np.random.default_rng(0)
    table, pairs = crowd(rng.normal(size=(50, 5)), 20)
    table = table * torch.tensor([3.0, 1.0, 0.5, 2.0, 0.0], dtype=torch.float64)  # the last column is constant
    hessian = Hessian.at(table, pairs, torch.zeros(5, dtype=torch.float64), 0.01)
    found = principal_directions(table, pairs, hessian, 9)
    assert found.shape == (5, 4)
    gram = found.T @ found
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(4, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(pairs.gaps(table @ found).square().sum(1).mean()) == pytest.approx(1)
    few = principal_directions(table, pairs, hessian, 2)
    assert float(pairs.gaps(table @ few).square().sum(1).mean()) == pytest.approx(1)
    assert few.abs().argmax(0).tolist() == [0, 3]  # in which items differ most


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test__hessian__in_eigenvectors__is_that_of_the_loss(tastes, ridge):
    table, pairs, pooled, _ = tastes
    hessian = Hessian.at(table, pairs, pooled, ridge)
    mean_loss = lambda b: -torch.nn.functional.logsigmoid(pairs.gaps(table @ b)).mean() + ridge / 2 * b @ b  # noqa: E731
    expected = torch.autograd.functional.hessian(mean_loss, pooled)
    some = torch.randn(6, 2, dtype=torch.float64, generator=generator())
    torch.testing.assert_close(hessian.times(some), expected @ some)
    whole = hessian.whole(some)
    torch.testing.assert_close(whole.T @ whole, some.T @ expected @ some)
    torch.testing.assert_close(hessian.back(whole), some)
    torch.testing.assert_close(hessian.white(some.T @ expected), whole.T)
    shifts = torch.tensor([1.0, 20.0], dtype=torch.float64)
    plain = expected - ridge * torch.eye(6, dtype=torch.float64)
    for column, shift in enumerate(shifts):
        solved = torch.linalg.solve(7 * plain + shift * torch.eye(6, dtype=torch.float64), some[:, column])
        torch.testing.assert_close(hessian.solve(some, 7, shifts)[:, column], solved)


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
