"""Priors in few directions, which are learnt in the whole space."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.meta.pooled.newton import fit_pooled
from skmrm.meta.prior.em import Prior, clustered, fit_prior, sweep
from skmrm.meta.prior.low_rank import _Data, _ridge, _step, fit_low_rank
from skmrm.meta.prior.spectral import Hessian, spectral_bases
from skmrm.meta.tensors.pairs import Pairs

RIDGE = 1e-3


def generator():
    return torch.Generator().manual_seed(0)


def learnt(table, pairs, factor, n_components=1, sweeps=20, ridge=RIDGE):
    """The prior of a crowd, and its pooled solution."""
    pooled = fit_pooled(table, pairs, ridge)
    hessian = Hessian.at(table, pairs, pooled, ridge)
    return fit_low_rank(table, pairs, pooled, hessian, ridge, factor, generator(), n_components, sweeps)[0], pooled


@given(seed=st.integers(0, 10**6), n_components=st.sampled_from([1, 3]), weighted=st.booleans())
@settings(max_examples=15)
def test__step__of_mean_and_factor__is_the_best_along_its_direction(crowd, seed, n_components, weighted):
    """Of the expected bound, written down pair by pair, less what the ridges cost."""
    rng = np.random.default_rng(seed)
    table, pairs = crowd(rng.normal(size=(12, 5)), 4, seed, lapse=[3])
    if weighted:
        weight = torch.tensor(rng.uniform(0.2, 1, len(pairs.chosen)))
        pairs = Pairs(pairs.chosen, pairs.rejected, pairs.offsets, bound=weight)
    draw = lambda *shape: torch.tensor(rng.normal(size=shape))  # noqa: E731
    mean, factor, gaps = draw(5), draw(5, 3), pairs.gaps(table)
    hessian = Hessian.at(table, pairs, mean, RIDGE)
    data = _Data(table, pairs, hessian, 0.1)
    offset, spread = gaps @ mean, gaps @ factor
    square = offset**2 + 1
    bend = torch.tanh(square.sqrt() / 2) / (4 * square.sqrt())
    found, _ = sweep(spread, offset, square, pairs, Prior.gaussian(factor))
    if n_components > 1:
        found = clustered(found, spread.T @ spread, n_components, generator())
    back = torch.linalg.qr(draw(3, 3))[0]
    turned = factor @ back.T  # back turns it into the factor that the posteriors are of
    step, moved = _step(data, mean, turned, back, offset, spread, found)
    torch.testing.assert_close(moved, gaps @ step)
    known, ridge = torch.zeros(3, 3, dtype=torch.float64), torch.full((4,), 0.1 * len(gaps), dtype=torch.float64)
    means, seconds = [], []
    for user in range(pairs.n_users):
        own = slice(int(pairs.offsets[user]), int(pairs.offsets[user + 1]))
        precision = torch.eye(3, dtype=torch.float64) + 2 * (bend[own, None] * spread[own]).T @ spread[own]
        chances, modes = found.chances[user], found.modes[user]
        means.append(chances @ modes)
        seconds.append(torch.linalg.inv(precision) + (chances[:, None] * modes).T @ modes)
        known += torch.outer(means[-1], means[-1]) * (own.stop - own.start) / len(gaps)
    ridge[1:] = _ridge(turned, len(gaps) * hessian.values, (back @ known @ back.T).diagonal())
    share = data.share

    def bound(length):
        m, L = mean + length * step[:, 0], turned + length * step[:, 1:]
        total = -0.5 * (ridge[0] * m @ m + (ridge[1:] * L**2).sum())
        for pair, user in enumerate(pairs.user.tolist()):
            at, along = gaps[pair] @ m, gaps[pair] @ L @ back
            first = at + along @ means[user]
            second = at**2 + 2 * at * (along @ means[user]) + along @ seconds[user] @ along
            total += share[pair] * (first / 2 - bend[pair] * second)
        return float(total)

    best = bound(1.0)
    assert best >= bound(0.0)
    for other in (0.0, 0.9, 1.1):
        assert bound(other) <= best + 1e-9
    torch.testing.assert_close(bound(0.5) + bound(1.5), 2 * bound(1.0) - (bound(1.0) - bound(0.0)) / 2)  # a parabola


@given(seed=st.integers(0, 10**6), known=st.floats(0.05, 1), size=st.floats(0.01, 10))
@settings(max_examples=30)
def test__ridge__of_any_direction__is_where_the_evidence_is_largest(seed, known, size):
    rng = np.random.default_rng(seed)
    factor, told = torch.tensor(size * rng.normal(size=(20, 3))), torch.tensor(rng.uniform(1, 1000, 20))
    ridge = _ridge(factor, told, torch.full((3,), known, dtype=torch.float64))
    each = known**2 * told.unsqueeze(1)
    torch.testing.assert_close(ridge * (factor**2).sum(0), (each / (each + ridge)).sum(0), rtol=1e-3, atol=0)


def planted(crowd, n_users, n_pairs, n_features, scales, seed=0):
    """A crowd of one shared reward and of few directions, and those (d, n)."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(n_features, len(scales))))[0] * scales
    shared = rng.normal(size=n_features) / n_features**0.5
    weights = shared + rng.normal(size=(n_users, len(scales))) @ directions.T
    table, pairs = crowd(weights, n_pairs, seed)
    return table, pairs, torch.tensor(directions), torch.tensor(shared)


def share_of(planted, span):
    """How much of planted directions (d, n) lies in what others span, in [0, 1]."""
    basis = torch.linalg.qr(span)[0]
    return float((basis.T @ planted).square().sum() / planted.square().sum())


@pytest.mark.parametrize("scales", [(1.2, 1.0), (1.5, 1.2, 1.0, 0.8)])
def test__fit_low_rank__planted_directions__are_found_outside_of_the_guess_and_no_others(crowd, scales):
    table, pairs, directions, _ = planted(crowd, 400, 25, 40, scales)
    guess = 0.2 * torch.linalg.qr(directions + torch.randn(40, len(scales), generator=generator()).double())[0]
    noise = 0.2 * torch.linalg.qr(torch.randn(40, 6, generator=generator()).double())[0]
    prior, _ = learnt(table, pairs, torch.cat([guess, noise], 1))
    assert share_of(directions, guess) < 0.6
    assert share_of(directions, prior.factor[:, : len(scales)]) > 0.85
    lengths = prior.factor.norm(dim=0)
    assert (lengths[: len(scales)] > 0.5 * torch.tensor(scales)).all()
    assert (lengths[len(scales) :] < 0.3).all()


def test__fit_low_rank__users_who_differ__gives_the_shared_reward_its_size_back(crowd):
    """One reward for all is pulled towards zero by what users differ in: what most like, some do not."""
    table, pairs, _, shared = planted(crowd, 500, 30, 10, (2.0, 2.0))
    prior, pooled = learnt(table, pairs, 0.5 * torch.eye(10, dtype=torch.float64)[:, :6])
    assert pooled.norm() < 0.75 * shared.norm()
    assert (pooled + prior.mean - shared).norm() < 0.6 * (pooled - shared).norm()


def test__fit_low_rank__users_alike__differ_little_and_keep_the_pooled_reward(crowd):
    table, pairs, _, _ = planted(crowd, 300, 20, 8, (0.0,))
    prior, pooled = learnt(table, pairs, 0.2 * torch.eye(8, dtype=torch.float64))
    assert prior.factor.norm() < 0.1 * pooled.norm()
    assert prior.mean.norm() < 0.05 * pooled.norm()


def test__fit_low_rank__planted_kinds__are_found_with_their_shares(crowd):
    rng = np.random.default_rng(0)
    kinds = np.array([[2.0, 0, 0], [-1.0, 1.5, 0], [-1.0, -1.5, 0]]) + np.array([0.5, 0, 0.5])
    kind = rng.choice(3, size=400, p=[0.5, 0.3, 0.2])
    table, pairs = crowd(kinds[kind], 30)
    prior, pooled = learnt(table, pairs, torch.eye(3, dtype=torch.float64), 3)
    centres = (pooled + prior.mean + prior.centres @ prior.factor.T).numpy()
    order = [int(np.linalg.norm(centres - planted, axis=1).argmin()) for planted in kinds]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(centres[order], kinds, atol=0.2)
    np.testing.assert_allclose(prior.shares.numpy()[order], np.bincount(kind) / 400, atol=0.03)
    torch.testing.assert_close(prior.shares @ prior.centres, torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize("n_components", [1, 4])
def test__fit_low_rank__separable_users__stay_finite(n_components):
    """Each user repeats one choice: the likelihood of any single user has no maximum."""
    table = torch.randn(40, 3, dtype=torch.float64, generator=generator())
    chosen = torch.arange(20).repeat_interleave(50)
    pairs = Pairs(chosen, chosen + 20, torch.arange(21) * 50)
    prior, _ = learnt(table, pairs, torch.eye(3, dtype=torch.float64), n_components)
    assert torch.isfinite(prior.factor).all()
    assert prior.factor.abs().max() < 100
    assert prior.mean.abs().max() < 100


def test__fit_low_rank__fewer_users_than_kinds__is_finite(crowd):
    table, pairs = crowd(np.random.default_rng(0).normal(size=(3, 3)), 6)
    prior, _ = learnt(table, pairs, torch.eye(3, dtype=torch.float64), 8)
    assert torch.isfinite(prior.centres).all()
    assert torch.isfinite(prior.mean).all()
    assert float(prior.shares.sum()) == pytest.approx(1)


def test__fit_low_rank__no_shared_reward__keeps_its_mean_at_none(crowd):
    table, pairs, _, _ = planted(crowd, 200, 20, 6, (1.0,))
    zero = torch.zeros(6, dtype=torch.float64)
    hessian = Hessian.at(table, pairs, zero, 0.1)
    prior, _ = fit_low_rank(table, pairs, zero, hessian, np.inf, torch.eye(6, dtype=torch.float64), generator())
    assert prior.mean.norm() < 1e-3
    assert prior.factor.norm() > 0.5


def test__fit_low_rank__nothing_to_learn_from__is_the_guess(crowd):
    table, pairs = crowd(np.ones((3, 4)), 5)
    nobody = Pairs(pairs.chosen[:0], pairs.rejected[:0], torch.zeros(4, dtype=torch.long))
    zero, guess = torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    hessian = Hessian.at(table, pairs, zero, 0.1)
    assert torch.equal(fit_low_rank(table, nobody, zero, hessian, 0.1, guess, generator())[0].factor, guess)
    assert fit_low_rank(table, pairs, zero, hessian, 0.1, guess[:, :0], generator())[0].factor.shape == (4, 0)


@given(seed=st.integers(0, 10**6), held=st.booleans())
@settings(max_examples=10)
def test__priors__whole_weights__are_the_pairs_so_often(crowd, seed, held):
    """In all that is learnt of users: gradients, EM in given directions, EM that turns them."""
    rng = np.random.default_rng(seed)
    table, pairs = crowd(rng.normal(size=(20, 4)), 5, seed)
    if held:  # ties: either side, against the same threshold
        sides = torch.ones(len(pairs.chosen), dtype=torch.long)
        pairs = replace(pairs, side=sides, thresholds=torch.tensor([0.3], dtype=torch.float64))
    times = torch.tensor(rng.integers(1, 4, len(pairs.chosen)))
    weighted = replace(pairs, weight=times.double(), group=torch.arange(len(times)))
    rows = torch.repeat_interleave(torch.arange(len(times)), times)
    named = ("chosen", "rejected", "side", "group") if held else ("chosen", "rejected", "group")
    columns = {name: getattr(weighted, name)[rows] for name in named}
    begins = torch.cat([times.new_zeros(1), times.cumsum(0)])
    repeated = replace(weighted, offsets=begins[pairs.offsets], weight=None, **columns)
    half = torch.tensor(rng.random(len(times)) < 0.5)
    found = []
    for own, side in ((weighted, half), (repeated, half[rows])):
        pooled = fit_pooled(table, own, 0.1, tolerance=1e-10)
        hessian = Hessian.at(table, own, pooled, 0.1)
        spectral, variances = spectral_bases(table, own, pooled, [side], 4, hessian)
        identity = torch.eye(4, dtype=torch.float64)
        narrow, _ = fit_low_rank(table, own, pooled, hessian, 0.1, identity, generator(), sweeps=3)
        flat = fit_prior(table, own, pooled, identity)
        squares = (factor @ factor.T for factor in (spectral.T, narrow.factor, flat))
        found.append((pooled, variances, narrow.mean, *squares))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
