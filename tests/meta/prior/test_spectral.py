"""The spectral start, and the choice of its prior."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import softplus

from skmrm.meta.folds import CrossFit, group_folds, user_folds
from skmrm.meta.pooled.choice import choose_ridge
from skmrm.meta.pooled.newton import fit_pooled
from skmrm.meta.prior.spectral import Hessian, spectral_bases, user_gradients
from skmrm.meta.prior.strength import least_personalised
from skmrm.meta.tensors.pairs import Pairs


def simulate(seed=0, n_users=40, n_pairs=12, n_features=6, coefficients=None, directions=None, n_items=None):
    """Users who choose by Bradley-Terry between random items; directions (k, d) span how they differ."""
    rng = np.random.default_rng(seed)
    n = n_users * n_pairs
    n_items = n_items or 2 * n
    table = rng.normal(size=(n_items, n_features))
    ends = rng.integers(0, n_items, (2, n))
    pooled = np.zeros(n_features) if coefficients is None else coefficients
    taste = np.tile(pooled, (n_users, 1))
    if directions is not None:
        taste = taste + rng.normal(size=(n_users, len(directions))) @ directions
    user = np.repeat(np.arange(n_users), n_pairs)
    margin = ((table[ends[0]] - table[ends[1]]) * taste[user]).sum(1)
    swap = rng.random(n) > 1 / (1 + np.exp(-margin))
    chosen, rejected = np.where(swap, ends[1], ends[0]), np.where(swap, ends[0], ends[1])
    offsets = torch.arange(n_users + 1) * n_pairs
    return torch.tensor(table), Pairs(torch.tensor(chosen), torch.tensor(rejected), offsets)


def test__user_gradients__every_user__match_autograd():
    table, pairs = simulate(3)
    coefficients = torch.randn(6, dtype=table.dtype, generator=torch.Generator().manual_seed(1))
    share = torch.full((pairs.chosen.numel(),), 1 / 12, dtype=table.dtype)
    found = user_gradients(table, pairs, coefficients, share)
    gaps = pairs.gaps(table).reshape(40, 12, 6)
    for user in (0, 7, 39):
        leaf = coefficients.clone().requires_grad_()
        torch.nn.functional.softplus(-gaps[user] @ leaf).mean().backward()
        torch.testing.assert_close(found[user], -leaf.grad)


def halves_of(pairs, count=4):
    generator = torch.Generator().manual_seed(0)
    halves = []
    for _ in range(count):
        keys = torch.rand(pairs.chosen.numel(), generator=generator)
        halves.append(torch.cat([k > k.median() for k in keys.split(pairs.counts.tolist()) if len(k)]))
    return halves


def spectral_of(table, pairs, pooled, n_bases, ridge):
    return spectral_bases(table, pairs, pooled, halves_of(pairs), n_bases, Hessian.at(table, pairs, pooled, ridge))


def test__spectral_bases__planted_directions__are_recovered_with_their_variance():
    directions = np.zeros((2, 6))
    directions[0, 0], directions[1, 1] = 0.4, 0.3
    table, pairs = simulate(4, 8000, 20, coefficients=np.array([0, 0, 0.5, 0, 0, 0]), directions=directions)
    pooled = fit_pooled(table, pairs, 1e-4)
    bases, variances = spectral_of(table, pairs, pooled, 6, 1e-4)
    torch.testing.assert_close(bases[0], pooled)
    found = bases[1:].T @ bases[1:]  # the covariance of tastes that the prior implies
    planted = torch.tensor(directions.T @ directions)
    cosine = (found * planted).sum() / (found.norm() * planted.norm())
    assert cosine > 0.97
    # the start is exact to first order in the tastes' spread: a little attenuated at this one
    assert 0.7 < found.trace() / planted.trace() < 1.1
    assert (variances[:2] > 5 * variances[2]).all()


def test__spectral_bases__users_who_agree__leave_no_variance_to_speak_of():
    table, pairs = simulate(5, 2000, 20, coefficients=np.array([1.0, 0, 0, 0, 0, 0]))
    pooled = fit_pooled(table, pairs, 1e-4)
    _, variances = spectral_of(table, pairs, pooled, 6, 1e-4)
    assert variances.sum() < 0.02


def test__spectral_bases__more_bases_than_features__pads_with_zeros():
    table, pairs = simulate(6, n_features=2, coefficients=np.ones(2))
    pooled = fit_pooled(table, pairs, 0.1)
    bases, variances = spectral_of(table, pairs, pooled, 8, 0.1)
    assert bases.shape == (8, 2)
    assert (bases[3:] == 0).all()
    assert (variances[2:] == 0).all()


def data_of(table, pairs, folds, new_groups):
    everyone = torch.ones(pairs.n_users, dtype=torch.bool)
    return CrossFit({}, table, pairs, [], everyone, folds, new_groups)


def test__choose_ridge__pure_noise__shrinks_and_strong_signal__does_not():
    generator = torch.Generator().manual_seed(0)
    ridges = [10.0, 1.0, 0.1, 0.01, 0.001]
    chosen = []
    for coefficients in (np.zeros(6), 3 * np.ones(6)):
        table, pairs = simulate(7, 60, 12, coefficients=coefficients)
        folds = user_folds(torch.ones(60, dtype=torch.bool), 0.2, generator)
        found = choose_ridge(table, data_of(table, pairs, folds, []), ridges)
        assert not found.losses.isnan().any()
        assert found.on_new_groups is None
        chosen.append(found.ridge)
    assert chosen[0] > chosen[1]


def shared_prompts(seed=0, n_users=80, n_groups=20, group_size=4, n_pairs=15):
    """Users who all judge the same items, each of a quality of its own; features tell little, and which item it is."""
    rng = np.random.default_rng(seed)
    n_items = n_groups * group_size
    quality = rng.normal(size=n_items)
    table = np.concatenate([(0.5 * quality + rng.normal(size=n_items))[:, None], np.eye(n_items)], axis=1)
    group = rng.integers(n_groups, size=n_users * n_pairs)
    place = np.argsort(rng.random((len(group), group_size)), axis=1)[:, :2]
    ends = group[:, None] * group_size + place
    wins = quality[ends[:, 0]] - quality[ends[:, 1]] + rng.logistic(size=len(group)) > 0
    chosen, rejected = np.where(wins, ends.T, ends.T[::-1])
    columns = (torch.tensor(column) for column in (chosen, rejected, np.arange(n_users + 1) * n_pairs, group))
    return torch.tensor(table), Pairs(*columns)


def test__choose_ridge__shared_prompts__of_ridges_as_good_for_new_users_takes_the_best_on_new_prompts():
    table, pairs = shared_prompts()
    generator = torch.Generator().manual_seed(0)
    folds = user_folds(torch.ones(80, dtype=torch.bool), 0.2, generator)
    new_groups = group_folds(pairs, len(folds), generator)
    ridges = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001]
    by_users = choose_ridge(table, data_of(table, pairs, folds, []), ridges)
    found = choose_ridge(table, data_of(table, pairs, folds, new_groups), ridges)
    torch.testing.assert_close(by_users.losses, found.losses)
    assert found.ridge > by_users.ridge  # less learnt by heart
    excess = found.own - by_users.own
    assert excess.mean() <= 2 * excess.std() / 80**0.5
    for seen in (by_users, found):
        torch.testing.assert_close(seen.own, seen.losses[ridges.index(seen.ridge)])
    for held_out, new in zip(folds, new_groups, strict=True):
        outside = held_out[pairs.user]
        apart = table @ fit_pooled(table, pairs.where(~(outside | new)), found.ridge)
        loss = softplus(apart[pairs.rejected] - apart[pairs.chosen])
        for user in torch.nonzero(held_out).squeeze(1)[:3].tolist():
            mine = new & (pairs.user == user)
            torch.testing.assert_close(
                found.on_new_groups[user], loss[mine].mean(), atol=1e-3, rtol=1e-3, equal_nan=True
            )


def test__group_folds__shared_groups__each_is_held_out_once_at_most_and_whole():
    _, pairs = shared_prompts()
    for n_folds, together in ((5, 1), (2, 0.5)):  # a quarter of the groups at most, however few the folds of users
        masks = torch.stack(group_folds(pairs, n_folds, torch.Generator().manual_seed(0)))
        assert masks.shape == (n_folds, len(pairs.chosen))
        assert masks.sum(0).max() == 1
        held_out = [set(pairs.group[mask].tolist()) for mask in masks]
        assert sum(len(groups) for groups in held_out) == pytest.approx(20 * together, abs=1)
        for mask, groups in zip(masks, held_out, strict=True):
            assert not groups & set(pairs.group[~mask].tolist())


def test__group_folds__groups_of_each_users_own_or_unknown__are_not_held_out():
    _, pairs = shared_prompts()
    generator = torch.Generator().manual_seed(0)
    own = Pairs(pairs.chosen, pairs.rejected, pairs.offsets, pairs.user * 100 + pairs.group)
    assert group_folds(own, 5, generator) == []
    assert group_folds(Pairs(pairs.chosen, pairs.rejected, pairs.offsets), 5, generator) == []
    assert group_folds(pairs, 0, generator) == []


def test__least_personalised__within_one_standard_error__prefers_less_movement():
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(400, generator=generator)
    noise = 0.1 * torch.randn(400, generator=generator)
    losses = torch.stack([base, base - 0.0001 + noise - noise.mean(), base + 0.3])
    assert least_personalised(losses, torch.tensor([0.0, 1.0, 2.0])) == 0  # the gain is within its error
    losses[1] = base - 0.1 + noise
    assert least_personalised(losses, torch.tensor([0.0, 1.0, 2.0])) == 1  # the gain is real


def test__least_personalised__nobody_judged__does_not_personalise():
    losses = torch.full((3, 5), torch.nan)
    assert least_personalised(losses, torch.tensor([0.0, 1.0, 2.0])) == 0


@given(n_users=st.integers(0, 300), fraction=st.sampled_from([0.0, 0.1, 0.2, 0.5]))
@settings(max_examples=30)
def test__user_folds__few_users__hold_out_each_exactly_once(n_users, fraction):
    judged = torch.zeros(310, dtype=torch.bool)
    judged[:n_users] = True
    folds = user_folds(judged, fraction, torch.Generator().manual_seed(0))
    if fraction == 0 or n_users < 8:
        assert folds == []
    else:
        assert torch.equal(torch.stack(folds).sum(0), judged.long())


def test__spectral_bases__many_users_of_two_pairs__do_not_drown_the_others():
    directions = np.zeros((1, 60))
    directions[0, 0] = 1.0
    table, pairs = simulate(8, 200, 40, 60, directions=directions)
    tiny_table, tiny = simulate(9, 1000, 2, 60, directions=directions)
    both = Pairs(
        torch.cat([pairs.chosen, tiny.chosen + len(table)]),
        torch.cat([pairs.rejected, tiny.rejected + len(table)]),
        torch.cat([pairs.offsets, tiny.offsets[1:] + pairs.offsets[-1]]),
    )
    found = []
    for items, users in ((table, pairs), (torch.cat([table, tiny_table]), both)):
        pooled = fit_pooled(items, users, 0.1)
        found.append(spectral_of(items, users, pooled, 3, 0.1)[0][1])
    alone, together = found
    assert together.norm() > 0.7 * alone.norm()
    assert together[0].abs() > 0.95 * together.norm()
