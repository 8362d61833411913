import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from skmrm.meta.adaptation import Adaptation, GradientAdaptation, MapAdaptation, with_pullback
from skmrm.meta.adaptation.map import _step_length
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.posterior import PosteriorHessian, pull_and_curvature
from skmrm.meta.adaptation.rule import inner_rule
from skmrm.meta.objectives import bradley_terry_loss

RULES = {
    "sgd": GradientAdaptation(steps=3, step_size=0.5),
    "adam": GradientAdaptation(steps=3, step_size=0.1, optimizer="adam"),
    "simplex": GradientAdaptation(steps=2, step_size=0.3, simplex=True),
    "simplex adam": GradientAdaptation(steps=2, step_size=0.1, optimizer="adam", simplex=True),
    "learnt steps": GradientAdaptation(steps=2, step_size=0.4, learn_step_size=True),
    "map": MapAdaptation(prior_scale=0.8),
    "mixture": MixtureAdaptation(prior_scale=0.6, n_components=3),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def problem(seed=0, users=4, pairs=6, bases=3, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    gaps = scale * torch.randn(users, pairs, bases, generator=generator, dtype=dtype)
    mask = torch.ones(users, pairs, dtype=dtype)
    for user in range(users):
        mask[user, pairs - user % pairs :] = 0
    start = torch.randn(bases, generator=generator, dtype=dtype)
    return start, gaps * mask[..., None], mask


def params_of(rule, start):
    params = rule.init(len(start), start)
    if isinstance(rule, MixtureAdaptation):  # kinds that are not all alike
        generator = torch.Generator().manual_seed(1)
        for name in ("centres", "logits"):
            params[name] = torch.randn(params[name].shape, generator=generator, dtype=torch.float64).to(start.dtype)
    return params


@every_rule
def test__adapt__interface__is_the_published_protocol(rule):
    assert isinstance(rule, Adaptation)


@every_rule
def test__adapt__no_pairs__gives_the_starting_weights(rule):
    start, gaps, _ = problem()
    for n_pairs in (0, 6):
        weights = rule.adapt(
            start, gaps[:, :n_pairs], torch.zeros(4, n_pairs, dtype=start.dtype), params_of(rule, start)
        )
        torch.testing.assert_close(weights, rule.constrain(start).expand(4, -1), rtol=0, atol=1e-15)


@every_rule
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test__adapt__order_of_pairs__does_not_matter(rule, seed):
    start, gaps, mask = problem(seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    params = params_of(rule, start)
    torch.testing.assert_close(
        rule.adapt(start, gaps[:, order], mask[:, order], params), rule.adapt(start, gaps, mask, params)
    )


@every_rule
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test__adapt__batch__equals_a_loop_over_its_users(rule, seed):
    start, gaps, mask = problem(seed)
    params = params_of(rule, start)
    batch = rule.adapt(start, gaps, mask, params)
    for user in range(len(gaps)):
        present = mask[user] > 0
        alone = rule.adapt(start, gaps[user : user + 1, present], mask[user : user + 1, present], params)
        torch.testing.assert_close(batch[user : user + 1], alone)


@every_rule
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test__adapt__duplicated_pairs__equal_doubled_weights(rule, seed):
    start, gaps, mask = problem(seed)
    params = params_of(rule, start)
    twice = rule.adapt(start, torch.cat([gaps, gaps], 1), torch.cat([mask, mask], 1), params)
    torch.testing.assert_close(rule.adapt(start, gaps, 2 * mask, params), twice)


@every_rule
def test__adapt__pairs__raise_their_own_likelihood(rule):
    start, gaps, mask = problem(7)
    weights = rule.adapt(start, gaps, mask, params_of(rule, start))
    before = bradley_terry_loss(rule.constrain(start).expand(4, -1), gaps, mask)
    after = bradley_terry_loss(weights, gaps, mask)
    assert (after < before).all()


@every_rule
def test__adapt__derivatives__match_finite_differences(rule):
    start, gaps, mask = problem(3, users=2, pairs=4)
    params = params_of(rule, start)
    names = list(params)
    inputs = [start.requires_grad_(), gaps.requires_grad_(), *(params[n].requires_grad_() for n in names)]

    def run(start, gaps, *values):
        return rule.adapt(start, gaps, mask, dict(zip(names, values, strict=True)))

    assert torch.autograd.gradcheck(run, inputs, atol=1e-6)


@every_rule
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test__adapt__float32_separable_or_degenerate__stays_finite(rule, scale):
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(16, generator=generator)
    gaps = scale * (torch.randn(5, 3, 16, generator=generator).abs() * direction.sign())
    gaps[0, 1:] = 0
    start = torch.zeros(16, requires_grad=True)
    mask = torch.ones(5, 3)
    mask[0, 1:] = 0
    weights = rule.adapt(start, gaps, mask, params_of(rule, start))
    assert torch.isfinite(weights).all()
    (gradient,) = torch.autograd.grad(weights.sum(), start)
    assert torch.isfinite(gradient).all()


def test__gradient__simplex__weights_are_positive_with_sum_one():
    start, gaps, mask = problem(5, scale=10.0)
    weights = RULES["simplex adam"].adapt(start, gaps, mask, {})
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))


def test__gradient__step__matches_autograd_and_torch_adam():
    start, gaps, mask = problem(9)
    for rule in (RULES["sgd"], RULES["adam"], RULES["simplex"], RULES["simplex adam"]):
        for user in range(4):
            raw = start.clone().requires_grad_()
            optimiser = (torch.optim.Adam if rule.optimizer == "adam" else torch.optim.SGD)([raw], lr=rule.step_size)
            for _ in range(rule.steps):
                optimiser.zero_grad()
                weights = raw.softmax(-1) if rule.simplex else raw
                bradley_terry_loss(weights[None], gaps[user : user + 1], mask[user : user + 1]).sum().backward()
                optimiser.step()
            expected = raw.softmax(-1) if rule.simplex else raw
            torch.testing.assert_close(
                rule.adapt(start, gaps, mask, {})[user], expected.detach(), rtol=1e-9, atol=1e-12
            )


def test__gradient__first_order__drops_second_derivatives_only():
    start, gaps, mask = problem(2)
    start.requires_grad_()
    full = GradientAdaptation(steps=2, step_size=0.5)
    first = GradientAdaptation(steps=2, step_size=0.5, first_order=True)
    torch.testing.assert_close(first.adapt(start, gaps, mask, {}), full.adapt(start, gaps, mask, {}))
    (plain,) = torch.autograd.grad(first.adapt(start, gaps, mask, {}).sum(), start)
    torch.testing.assert_close(plain, torch.full_like(plain, 4.0))  # identity Jacobian, four users
    (curved,) = torch.autograd.grad(full.adapt(start, gaps, mask, {}).sum(), start)
    assert (curved - plain).abs().max() > 1e-3


def plain_posterior(start, scale, gaps):
    """Minus the log posterior of the weights that the prior lets move, with derivatives, from the definition."""
    free = scale > 0
    fixed = gaps[:, ~free] @ start[~free]

    def objective(w):
        return (
            np.logaddexp(0, -(fixed + gaps[:, free] @ w)).sum() + 0.5 * (((w - start[free]) / scale[free]) ** 2).sum()
        )

    def gradient(w):
        return (w - start[free]) / scale[free] ** 2 - expit(-(fixed + gaps[:, free] @ w)) @ gaps[:, free]

    def hessian(w):
        margin = fixed + gaps[:, free] @ w
        curvature = expit(margin) * expit(-margin)
        return np.diag(scale[free] ** -2.0) + (gaps[:, free] * curvature[:, None]).T @ gaps[:, free]

    return objective, gradient, hessian


def a_user(seed, n_pairs, n_bases, size, separable, still):
    """Start, scale, and gaps of one user; of a scale of zero are `still` bases."""
    rng = np.random.default_rng(seed)
    gaps = size * rng.normal(size=(n_pairs, n_bases))
    if separable:
        gaps = np.abs(gaps) * rng.choice([-1, 1], n_bases)
    scale = rng.uniform(0.2, 2, n_bases)
    scale[: min(still, n_bases - 1)] = 0
    return rng.normal(size=n_bases), scale, gaps


USERS = {
    "seed": st.integers(0, 10**6),
    "n_pairs": st.sampled_from([1, 2, 5, 30]),
    "n_bases": st.sampled_from([1, 3, 8]),
    "size": st.sampled_from([0.01, 1.0, 10.0]),
    "separable": st.booleans(),
    "still": st.sampled_from([0, 0, 2]),
}


@given(**USERS)
@settings(max_examples=60)
def test__map__any_user__is_the_mode_that_scipy_finds(**user):
    """Separable, one pair, fewer pairs than bases, and bases that the prior holds still, among others."""
    start, scale, gaps = a_user(**user)
    objective, gradient, hessian = plain_posterior(start, scale, gaps)
    given_pairs = torch.tensor(gaps)[None], torch.ones(1, len(gaps), dtype=torch.float64)
    params = {"prior_scale": torch.tensor(scale)}
    weights = MapAdaptation().adapt(torch.tensor(start), *given_pairs, params)[0].numpy()
    free = scale > 0
    best = minimize(objective, start[free], jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-10})
    np.testing.assert_array_equal(weights[~free], start[~free])
    np.testing.assert_allclose(weights[free], best.x, rtol=1e-6, atol=1e-7)
    assert objective(weights[free]) <= best.fun + 1e-10 * (1 + best.fun)


@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0.1, 1.0, 10.0, 1e3]),
    misled=st.sampled_from([0.0, 1.0, 30.0]),
    n_pairs=st.sampled_from([1, 6, 40]),
)
@settings(max_examples=60)
def test__map__large_gaps_and_misleading_starts__has_no_gradient_left(seed, size, misled, n_pairs):
    """However many logits the start is wrong by, and whether or not the pairs are separable."""
    start, gaps, mask = problem(seed, pairs=n_pairs, bases=8, scale=size)
    start, scale = misled * start, torch.linspace(0.2, 2, 8, dtype=torch.float64)
    weights = MapAdaptation().adapt(start, gaps, mask, {"prior_scale": scale})
    pull = torch.sigmoid(-torch.einsum("upk,uk->up", gaps, weights)) * mask
    gradient = (weights - start) / scale - scale * torch.einsum("up,upk->uk", pull, gaps)
    assert gradient.abs().max() < 1e-9 * (1 + size * n_pairs) * (1 + misled)


@given(seed=st.integers(0, 10**6), size=st.sampled_from([0.3, 3.0, 100.0]))
@settings(max_examples=30)
def test__map__step_length__lowers_the_objective(seed, size):
    """Of any Newton step; the objective is not minimised exactly on it, but never higher at its end."""
    generator = torch.Generator().manual_seed(seed)
    gaps = size * torch.randn(5, 7, 3, dtype=torch.float64, generator=generator)
    mode, weight = torch.randn(5, 3, dtype=torch.float64, generator=generator), torch.rand(5, 7, generator=generator)

    def objective(mode):
        loss = torch.nn.functional.softplus(-(gaps @ mode.unsqueeze(-1)).squeeze(-1))
        return (loss * weight).sum(1) + 0.5 * (mode**2).sum(1)

    margins = (gaps @ mode.unsqueeze(-1)).squeeze(-1)
    pull, curvature = pull_and_curvature(margins, weight.double())
    moved = PosteriorHessian(curvature, gaps).solve(torch.einsum("up,upk->uk", pull, gaps) - mode)
    added = (gaps @ moved.unsqueeze(-1)).squeeze(-1)
    length = _step_length(mode, moved, margins, added, weight.double())
    assert length.shape == (5, 1)
    assert (objective(mode + length * moved) < objective(mode)).all()
    whole = added.abs().amax(1) <= 1
    assert (objective(mode + moved) < objective(mode))[whole].all()


def test__map__infinitely_strong_prior__gives_the_starting_weights_exactly():
    start, gaps, mask = problem(1)
    weights = MapAdaptation().adapt(start, gaps, mask, {"prior_scale": torch.zeros(3, dtype=torch.float64)})
    assert torch.equal(weights, start.expand(4, -1))


def test__map__more_pairs_of_the_same_kind__outweigh_the_prior():
    start, gaps, _ = problem(4, users=1, pairs=3)
    rule, params = MapAdaptation(), {"prior_scale": torch.ones(3, dtype=torch.float64)}
    moved = []
    for copies in (1, 4, 16):
        repeated = gaps.repeat(1, copies, 1)
        moved.append(float((rule.adapt(start, repeated, torch.ones(1, 3 * copies).double(), params) - start).norm()))
    assert moved == sorted(moved)
    assert moved[-1] > moved[0]


@given(**USERS)
@settings(max_examples=40)
def test__map__covariance__is_the_inverse_of_a_numerical_hessian(**user):
    """Of finite differences of the log posterior itself, in prior standard deviations."""
    start, scale, gaps = a_user(**user)
    free, rule, params = scale > 0, MapAdaptation(), {"prior_scale": torch.tensor(scale)}
    given_pairs = torch.tensor(start), torch.tensor(gaps)[None], torch.ones(1, len(gaps), dtype=torch.float64)
    weights = rule.adapt(*given_pairs, params)
    covariance = rule.covariance(weights, *given_pairs, params)[0].numpy()
    objective, mode, unit = plain_posterior(start, scale, gaps)[0], weights[0].numpy()[free], np.diag(scale[free])
    h = 1e-3 / max(1.0, user["size"])
    curvature = np.array(
        [
            [
                sum(a * b * objective(mode + h * (a * one + b * other)) for a in (1, -1) for b in (1, -1))
                for other in unit
            ]
            for one in unit
        ]
    ) / (4 * h**2)
    found = covariance[np.ix_(free, free)] / np.outer(scale[free], scale[free])
    np.testing.assert_allclose(found @ curvature, np.eye(free.sum()), atol=2e-3)
    assert not covariance[~free].any()
    assert not covariance[:, ~free].any()


def test__map__covariance__without_pairs_is_the_prior_and_pairs_shrink_it():
    start, gaps, mask = problem(8)
    rule, scale = MapAdaptation(), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    prior = rule.covariance(start.expand(4, -1), start, gaps, torch.zeros_like(mask), {"prior_scale": scale})
    torch.testing.assert_close(prior, torch.diag(scale**2).expand(4, -1, -1))
    weights = rule.adapt(start, gaps, mask, {"prior_scale": scale})
    posterior = rule.covariance(weights, start, gaps, mask, {"prior_scale": scale})
    assert (torch.linalg.eigvalsh(prior - posterior) > -1e-12).all()


def test__map__gaps_beyond_single_precision__still_the_mode_and_no_worse_than_the_start():
    generator = torch.Generator().manual_seed(0)
    gaps, mask = 1e6 * torch.randn(3, 9, 4, generator=generator), torch.ones(3, 9)
    start, params = torch.tensor([1.0, 0.0, 0.0, 0.0]), {"prior_scale": torch.tensor([0.0, 1.0, 1.0, 1.0])}
    found = MapAdaptation().adapt(start, gaps, mask, params)
    assert torch.isfinite(found).all()
    assert (bradley_terry_loss(found, gaps, mask) <= bradley_terry_loss(start.expand(3, -1), gaps, mask)).all()
    few = MapAdaptation(max_steps=3).adapt(start, gaps, mask, params)  # far from done
    assert (bradley_terry_loss(few, gaps, mask) <= bradley_terry_loss(start.expand(3, -1), gaps, mask)).all()


def test__map__float32__agrees_with_float64():
    start, gaps, mask = problem(11, users=20, pairs=30, bases=8)
    rule, params = MapAdaptation(), {"prior_scale": torch.ones(8, dtype=torch.float64)}
    double = rule.adapt(start, gaps, mask, params)
    single = rule.adapt(start.float(), gaps.float(), mask.float(), {"prior_scale": torch.ones(8)})
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


# -- rules that are plugged in ---------------------------------------------------------------------------------------


class Shrunk:
    """A rule of four methods: half of the gaps' mean is added to the start."""

    n_components = 7  # of something else: members that the interface does not have are nobody's business
    simplex = True

    def init(self, n_bases, like):
        return {}

    def constrain(self, start):
        return start

    def adapt(self, start, gaps, mask, params):
        return start + 0.5 * (gaps * mask.unsqueeze(-1)).sum(1)

    def covariance(self, weights, start, gaps, mask, params):
        return None


class ByHand(Shrunk):
    """The same, which knows its own derivative, and counts how often it is asked."""

    calls = 0

    def with_pullback(self, start, gaps, mask, params):
        type(self).calls += 1

        def pull_back(given):
            return given.sum(0), 0.5 * given.unsqueeze(1) * mask.unsqueeze(-1), {}

        return self.adapt(start, gaps, mask, params), pull_back


def test__with_pullback__plugged_in_rule__its_own_is_used_where_it_has_one():
    start, gaps, mask = problem(3)
    given = torch.randn(gaps.shape[0], gaps.shape[2], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain, by_hand = (with_pullback(rule, start, gaps, mask, {}) for rule in (Shrunk(), ByHand()))
    assert ByHand.calls == 1
    torch.testing.assert_close(plain[0], by_hand[0])
    for found, wanted in zip(by_hand[1](given)[:2], plain[1](given)[:2], strict=True):
        torch.testing.assert_close(found, wanted)


def test__inner_rule__plugged_in__has_the_defaults_and_comes_out_as_it_was():
    rule = Shrunk()
    inner = inner_rule(rule)
    assert isinstance(rule, Adaptation)
    assert inner.given is rule
    assert (inner.strength, inner.strengths, inner.is_gaussian, inner.by_hand) == (None, (), False, False)
    assert (inner.gap_copies, inner.is_constrained) == (1, False)
    torch.testing.assert_close(inner.random_start(4, torch.zeros(())), torch.full((4,), 0.25))


@pytest.mark.parametrize("name", RULES)
def test__inner_rule__of_the_package__is_itself_and_says_what_it_is(name):
    rule = RULES[name]
    assert inner_rule(rule) is rule
    assert rule.given is rule
    params = rule.init(3, torch.zeros(1))
    start = rule.random_start(3, torch.zeros(1))
    torch.testing.assert_close(rule.constrain(start), torch.full((3,), 1 / 3))
    learnt = rule.strength is not None and not (isinstance(rule, GradientAdaptation) and not rule.learn_step_size)
    assert not learnt or rule.strength in params
