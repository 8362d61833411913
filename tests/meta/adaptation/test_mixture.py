"""The inner rule for users of several kinds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, softmax

from skmrm import Episode, MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.meta.adaptation import MapAdaptation
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.posterior import PosteriorHessian, pull_and_curvature
from skmrm.meta.prior.stacking import StackOptions, stack_priors

START = torch.tensor([0.5, -0.2], dtype=torch.float64)


def params_of(centres, shares, scale=1.0):
    centres = torch.tensor(centres, dtype=torch.float64)
    return {
        "prior_scale": torch.full((centres.shape[1],), scale, dtype=torch.float64),
        "centres": centres,
        "logits": torch.tensor(shares, dtype=torch.float64).log(),
    }


def gaps_of(n_users, n_pairs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_users, n_pairs, 2, dtype=torch.float64, generator=generator)


@given(seed=st.integers(0, 10**6), n_pairs=st.integers(1, 6), n_kinds=st.integers(1, 4))
@settings(max_examples=20)
def test__mixture__kinds_all_alike__is_map(seed, n_pairs, n_kinds):
    gaps = gaps_of(5, n_pairs, seed)
    mask = torch.ones(5, n_pairs, dtype=torch.float64)
    params = params_of([[0.3, 0.1]] * n_kinds, [1.0] * n_kinds, 0.7)  # all at the start: centres count less their mean
    rule, plain = MixtureAdaptation(n_components=n_kinds), MapAdaptation()
    weights = rule.adapt(START, gaps, mask, params)
    torch.testing.assert_close(weights, plain.adapt(START, gaps, mask, params))
    torch.testing.assert_close(
        rule.covariance(weights, START, gaps, mask, params), plain.covariance(weights, START, gaps, mask, params)
    )


def test__mixture__no_pairs__is_the_start_and_its_spread_that_of_the_population():
    params = params_of([[1.0, 0.0], [-3.0, 2.0]], [0.75, 0.25], 0.5)
    gaps, mask = gaps_of(3, 2), torch.zeros(3, 2, dtype=torch.float64)
    rule = MixtureAdaptation(n_components=2)
    weights = rule.adapt(START, gaps * 0, mask, params)
    assert torch.equal(weights, START.expand(3, -1))
    centred = params["centres"] - torch.tensor([[0.75, 0.25]], dtype=torch.float64) @ params["centres"]
    between = torch.einsum("c,ck,cl->kl", torch.tensor([0.75, 0.25], dtype=torch.float64), centred, centred)
    expected = 0.25 * torch.eye(2, dtype=torch.float64) + between
    found = rule.covariance(weights, START, gaps * 0, mask, params)
    torch.testing.assert_close(found, expected.expand(3, -1, -1))


def test__mixture__posterior_mean__is_that_of_numerical_integration():
    """On a grid of weights; Laplace's approximation of each kind is the only difference."""
    centres, shares, scale = [[1.5, 0.0], [-1.5, 0.5], [0.0, -1.5]], [0.5, 0.3, 0.2], 0.5
    params = params_of(centres, shares, scale)
    gaps, mask = gaps_of(6, 4, seed=3), torch.ones(6, 4, dtype=torch.float64)
    found = MixtureAdaptation(n_components=3).adapt(START, gaps, mask, params)
    axis = np.linspace(-6, 6, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    means = START.numpy() + np.array(centres) - np.array(shares) @ np.array(centres)
    distance = ((grid[:, None] - means) ** 2).sum(-1)
    prior = np.exp(-distance / (2 * scale**2)) @ np.array(shares)
    for user in range(6):
        likelihood = 1 / (1 + np.exp(-grid @ gaps[user].numpy().T))
        posterior = prior * likelihood.prod(1)
        mean = (posterior[:, None] * grid).sum(0) / posterior.sum()
        np.testing.assert_allclose(found[user], mean, atol=0.06)


@given(seed=st.integers(0, 10**6), n_pairs=st.sampled_from([1, 3, 12]), n_kinds=st.integers(1, 4))
@settings(max_examples=25)
def test__mixture__any_user__is_what_a_plain_implementation_gives(seed, n_pairs, n_kinds):
    """A mode, a Hessian and an evidence for each kind, one after the other, by a general optimiser."""
    rng = np.random.default_rng(seed)
    centres, shares, scale = 2 * rng.normal(size=(n_kinds, 2)), rng.dirichlet(np.ones(n_kinds)), rng.uniform(0.3, 2, 2)
    gaps, start = 2 * rng.normal(size=(n_pairs, 2)), START.numpy()
    modes, within, evidence = [], [], []
    for centre, share in zip(start + centres - shares @ centres, shares, strict=True):

        def objective(w, centre=centre):
            return np.logaddexp(0, -gaps @ w).sum() + 0.5 * (((w - centre) / scale) ** 2).sum()

        def gradient(w, centre=centre):
            return (w - centre) / scale**2 - gaps.T @ expit(-gaps @ w)

        found = minimize(objective, centre, jac=gradient, method="BFGS", options={"gtol": 1e-11})
        chance = expit(gaps @ found.x)
        hessian = np.diag(scale**-2) + (gaps * (chance * (1 - chance))[:, None]).T @ gaps
        modes.append(found.x)
        within.append(np.linalg.inv(hessian))
        evidence.append(
            np.log(share) - objective(found.x) - 0.5 * np.linalg.slogdet(hessian * np.outer(scale, scale))[1]
        )
    chances = softmax(evidence)
    mean = chances @ np.array(modes)
    apart = np.array(modes) - mean
    covariance = np.einsum("c,ckl->kl", chances, np.array(within) + apart[:, :, None] * apart[:, None, :])
    params = params_of(centres.tolist(), shares.tolist()) | {"prior_scale": torch.tensor(scale)}
    rule, given_pairs = (
        MixtureAdaptation(n_components=n_kinds),
        (START, torch.tensor(gaps)[None], torch.ones(1, n_pairs)),
    )
    weights = rule.adapt(*given_pairs, params)
    np.testing.assert_allclose(weights[0], mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(rule.covariance(weights, *given_pairs, params)[0], covariance, rtol=1e-5, atol=1e-7)


@given(
    seed=st.integers(0, 10**6), n_pairs=st.integers(0, 12), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3)
)
@settings(max_examples=25)
def test__mixture__several_priors__is_the_weighted_mean_over_each_by_itself(seed, n_pairs, sizes):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    n_components = sum(sizes)
    whole = {
        "factors": draw(n_components, 2, 3),
        "centres": draw(n_components, 2),
        "logits": draw(n_components),
        "priors": torch.repeat_interleave(torch.tensor(sizes)),
        "weights": draw(len(sizes)),
        "means": draw(len(sizes), 2),
    }
    given_pairs = START, draw(4, n_pairs, 2), torch.ones(4, n_pairs, dtype=torch.float64)
    each = []
    for number, size in enumerate(sizes):
        own = {name: whole[name][whole["priors"] == number] for name in ("factors", "centres", "logits")}
        rule = MixtureAdaptation(n_components=size)
        shifted = START + whole["means"][number], *given_pairs[1:]  # a prior's mean is a start of its own
        weights = rule.adapt(*shifted, own)
        each.append((weights, rule.covariance(weights, *shifted, own)))
    believed = torch.softmax(whole["weights"], 0)
    rule = MixtureAdaptation(n_components=n_components)
    found = rule.adapt(*given_pairs, whole)
    if n_pairs == 0:  # but not that of a user without choices
        torch.testing.assert_close(found, START.expand(4, -1))
        return
    torch.testing.assert_close(found, sum(b * weights for b, (weights, _) in zip(believed, each, strict=True)))
    torch.testing.assert_close(rule.adapt_each(*given_pairs, whole), torch.stack([weights for weights, _ in each]))
    apart = [weights - found for weights, _ in each]
    covariances = [within + torch.einsum("uk,ul->ukl", a, a) for a, (_, within) in zip(apart, each, strict=True)]
    expected = sum(b * covariance for b, covariance in zip(believed, covariances, strict=True))
    torch.testing.assert_close(rule.covariance(found, *given_pairs, whole), expected)


@given(
    seed=st.integers(0, 10**6),
    n_pairs=st.integers(0, 9),
    n_bases=st.integers(1, 9),
    size=st.sampled_from([0.1, 1.0, 30.0]),
)
@settings(max_examples=60)
def test__posterior_hessian__in_either_space__is_the_dense_matrix(seed, n_pairs, n_bases, size):
    generator = torch.Generator().manual_seed(seed)
    scaled = size * torch.randn(3, n_pairs, n_bases, dtype=torch.float64, generator=generator)
    margins = torch.randn(3, n_pairs, dtype=torch.float64, generator=generator)
    weight = torch.randint(0, 3, (3, n_pairs), generator=generator).double()  # 0: padding
    vectors = torch.randn(3, n_bases, dtype=torch.float64, generator=generator)
    curvature = torch.sigmoid(margins) * torch.sigmoid(-margins) * weight
    torch.testing.assert_close(pull_and_curvature(margins, weight), (torch.sigmoid(-margins) * weight, curvature))
    found = PosteriorHessian(curvature, scaled)
    dense = torch.eye(n_bases, dtype=torch.float64) + torch.einsum("up,upk,upl->ukl", curvature, scaled, scaled)
    torch.testing.assert_close(found.solve(vectors), torch.linalg.solve(dense, vectors), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.inverse(), torch.linalg.inv(dense), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.half_log_det(), torch.linalg.slogdet(dense)[1] / 2)


@pytest.fixture(scope="module")
def clustered():
    data = make_user_preferences(
        n_users=260, n_pairs=20, n_features=10, n_bases=4, family="clusters", personal_strength=4, random_state=0
    )
    return data.episodes[:200], data.episodes[200:]


@pytest.fixture(scope="module")
def model_of_kinds(clustered):
    return MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(clustered[0])


def test__fit__users_in_clusters__kinds_are_believed_and_beat_gaussians(clustered, model_of_kinds, monkeypatch):
    assert isinstance(model_of_kinds.adaptation_, MixtureAdaptation)
    assert {record["setting"]: record["weight"] for record in model_of_kinds.selection_}["8 kinds"] > 0.5
    without = StackOptions(kinds=())
    monkeypatch.setattr(
        "skmrm.meta.start.stack_priors", lambda learners, data, options, *tell: stack_priors(learners, data, without)
    )
    gaussian = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(clustered[0])
    assert model_of_kinds.score(clustered[1]) > gaussian.score(clustered[1]) + 0.01
    assert gaussian.score(clustered[1]) > gaussian.pooled_model_.score(clustered[1]) + 0.05


def test__save__model_of_kinds__comes_back(clustered, model_of_kinds, tmp_path):
    model_of_kinds.save(tmp_path / "model")
    again = MetaRewardModel.load(tmp_path / "model")
    new = clustered[1]
    assert again.adaptation_ == model_of_kinds.adaptation_
    np.testing.assert_array_equal(again.adapt_many(new).weights_, model_of_kinds.adapt_many(new).weights_)


def test__adapt__model_of_kinds__one_user_as_among_many_and_unsure_as_choices_are_few(clustered, model_of_kinds):
    new = clustered[1]
    users = model_of_kinds.adapt_many(new)
    alone = model_of_kinds.adapt(new[3])
    np.testing.assert_allclose(alone.weights_, users.weights_[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone.weights_cov_, users.weights_cov_[3], rtol=1e-3, atol=1e-5)
    assert np.linalg.eigvalsh(alone.weights_cov_).min() > -1e-6
    few = model_of_kinds.adapt(Episode("u", new[3].chosen[:2], new[3].rejected[:2]))
    assert np.trace(few.weights_cov_) > np.trace(alone.weights_cov_)


def test__prior_attributes__of_kinds_and_of_one_gaussian(clustered, model_of_kinds, model):
    n_kinds = model_of_kinds.adaptation_.n_components
    assert model_of_kinds.prior_centres_.shape == (n_kinds, len(model_of_kinds.start_weights_))
    assert model_of_kinds.prior_shares_.shape == (n_kinds,)
    np.testing.assert_allclose(model_of_kinds.prior_shares_.sum(), 1, rtol=1e-6)
    mean = model_of_kinds.prior_shares_ @ model_of_kinds.prior_centres_ - model_of_kinds.start_weights_
    params = model_of_kinds._rule_params
    believed = np.exp(params["rule.weights"]) / np.exp(params["rule.weights"]).sum()
    np.testing.assert_allclose(mean, believed @ params["rule.means"], atol=1e-5)
    np.testing.assert_array_equal(model.prior_shares_, [1.0])
    np.testing.assert_array_equal(model.prior_centres_, [model.start_weights_])
    gradient = MetaRewardModel(adaptation="gradient", max_epochs=0, random_state=0).fit(clustered[0][:20])
    assert not hasattr(gradient, "prior_shares_")
    assert not hasattr(gradient, "prior_centres_")
