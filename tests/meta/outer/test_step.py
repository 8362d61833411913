"""One step of the outer loop: gradients by hand against autograd, and Adam against torch's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.meta.adam import Adam
from skmrm.meta.adaptation import GradientAdaptation, MapAdaptation, with_pullback
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.basis import init_basis
from skmrm.meta.folds import Split
from skmrm.meta.objectives import robust_mean
from skmrm.meta.outer.epochs import pack_epoch, user_batches
from skmrm.meta.outer.step import batch_gradient, batch_losses, feature_gaps, gaps_in_turn
from skmrm.meta.tensors.pairs import Pairs

RULES = {
    "one step": GradientAdaptation(step_size=0.3),
    "learnt steps": GradientAdaptation(steps=3, step_size=0.5, learn_step_size=True),
    "first order": GradientAdaptation(steps=3, step_size=0.5, learn_step_size=True, first_order=True),
    "simplex": GradientAdaptation(steps=2, step_size=0.7, simplex=True, learn_step_size=True),
    "adam": GradientAdaptation(steps=3, step_size=0.2, optimizer="adam", learn_step_size=True),
    "paper": GradientAdaptation(step_size=0.1, optimizer="adam", simplex=True),
    "adam, simplex, three": GradientAdaptation(steps=3, step_size=0.2, optimizer="adam", simplex=True),
    "no step": GradientAdaptation(steps=0),
    "map": MapAdaptation(),
    "mixture": MixtureAdaptation(n_components=2),
}


def normal(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rule_params(rule, n_bases, seed=9):
    params = rule.init(n_bases, torch.zeros((), dtype=torch.float64))
    return {name: value + 0.3 * normal(*value.shape, seed=seed + i) for i, (name, value) in enumerate(params.items())}


def ragged(counts, n_items=40, seed=0, plain=True):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor(counts)
    ends = torch.randint(0, n_items, (2, int(counts.sum())), generator=generator)
    pairs = Pairs(ends[0], ends[1], torch.cat([counts.new_zeros(1), counts.cumsum(0)]))
    if not plain:
        weight = torch.rand(ends.shape[1], dtype=torch.float64, generator=generator) + 0.1
        side = torch.randint(0, 4, weight.shape, generator=generator)
        pairs = replace(pairs, weight=weight, side=side, thresholds=torch.tensor([0.5, 1.5], dtype=torch.float64))
    side = torch.rand(ends.shape[1], generator=generator)
    return pairs, Split(side < 0.5, side > 0.6, side < 0.5)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(seed=st.integers(0, 999), n_pairs=st.integers(1, 9), n_bases=st.integers(1, 4), plain=st.booleans())
@settings(max_examples=15)
def test__with_pullback__any_rule__equals_autograd_through_adapt(rule, seed, n_pairs, n_bases, plain):
    start, gaps = normal(n_bases, seed=seed), normal(3, n_pairs, n_bases, seed=seed + 1)
    mask = (normal(3, n_pairs, seed=seed + 2) > -0.5).double()  # a user may have no pair at all
    held = None if plain else normal(3, n_pairs, seed=seed + 5)
    mask = mask if plain else mask * normal(3, n_pairs, seed=seed + 6).abs()
    params = rule_params(rule, n_bases, seed + 3)
    given_back = normal(3, n_bases, seed=seed + 4)
    leaves = [value.clone().requires_grad_() for value in (start, gaps, *params.values())]
    expected_weights = rule.adapt(leaves[0], leaves[1], mask, dict(zip(params, leaves[2:], strict=True)), held)
    expected = torch.autograd.grad(expected_weights, leaves, given_back, allow_unused=True)
    with torch.no_grad():
        weights, pull_back = with_pullback(rule, start, gaps, mask, params, held)
        d_start, d_gaps, d_params = pull_back(given_back)
    torch.testing.assert_close(weights, expected_weights.detach())
    assert list(d_params) == list(params)
    for found, wanted in zip((d_start, d_gaps, *d_params.values()), expected, strict=True):
        torch.testing.assert_close(found, torch.zeros_like(found) if wanted is None else wanted, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("name", ["paper", "adam", "learnt steps", "map", "mixture"])
@given(counts=st.lists(st.integers(2, 12), min_size=1, max_size=8), seed=st.integers(0, 99), plain=st.booleans())
@settings(max_examples=10)
def test__batch_gradient__ragged_users__equals_autograd_through_the_plain_loss(name, counts, seed, plain):
    rule = RULES[name]
    pairs, split = ragged(counts, seed=seed, plain=plain)
    users = torch.nonzero(pairs.where(split.support | split.query).counts > 0).squeeze(1)
    if len(users) == 0:
        return
    table = normal(40, 6, seed=seed)
    params = init_basis(6, 3, torch.Generator().manual_seed(seed), table) | {"start": normal(3, seed=seed + 1)}
    params |= {f"rule.{name}": value for name, value in rule_params(rule, 3).items()}
    (batch,) = pack_epoch(pairs, split, [users], torch.float64)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    plain = batch_losses(leaves, rule, table, batch)
    robust_mean(plain, 0.5, 0.5).backward()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("skmrm.meta.outer.step._PIECE", 6 * (1 + seed))  # gaps as a whole, or in several pieces
        losses, gradient = batch_gradient(params, rule, table, batch, 0.5, 0.5)
    torch.testing.assert_close(losses, plain.detach())
    assert set(gradient) == {name for name, leaf in leaves.items() if leaf.grad is not None}
    for name, value in gradient.items():
        # a mode's derivative is exact at the mode, which Newton's method finds to about 1e-8
        torch.testing.assert_close(value, leaves[name].grad, atol=1e-7, rtol=1e-6)


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=20),
    per_batch=st.integers(1, 7),
    seed=st.integers(0, 99),
    plain=st.booleans(),
)
@settings(max_examples=40)
def test__pack_epoch__any_users__holds_each_pair_of_the_split_once_and_in_its_cell(counts, per_batch, seed, plain):
    pairs, split = ragged(counts, seed=seed, plain=plain)
    used = pairs.where(split.support | split.query)
    users = torch.nonzero(used.counts > 0).squeeze(1)
    batches = list(user_batches(users, per_batch, torch.Generator().manual_seed(seed), used.counts))
    assert sorted(torch.cat([*batches, users[:0]]).tolist()) == users.tolist()
    packed = pack_epoch(pairs, split, batches, torch.float64)
    assert len(packed) == len(batches)
    for batch, members in zip(packed, batches, strict=True):
        ends = batch.padded(batch.ends.double())
        torch.testing.assert_close(batch.flat(ends), batch.ends.double())
        for row, user in enumerate(members.tolist()):
            own = torch.arange(int(pairs.offsets[user]), int(pairs.offsets[user + 1]))
            own = own[(split.support | split.query)[own]]
            n = len(own)
            torch.testing.assert_close(ends[row, :n, 0], pairs.chosen[own].double())
            torch.testing.assert_close(ends[row, :n, 1], pairs.rejected[own].double())
            torch.testing.assert_close(batch.support[row, :n], pairs.weighed(split.support.double())[own])
            query = pairs.weighed(split.query.double())[own]
            torch.testing.assert_close(batch.query[row, :n], query / query.sum().clamp_min(1e-300))
            assert (batch.threshold is None) == plain
            if not plain:
                torch.testing.assert_close(batch.threshold[row, :n], pairs.threshold[own])
            assert not batch.support[row, n:].any()
            assert not batch.query[row, n:].any()


def test__user_batches__ragged_users__little_of_a_batch_is_padding():
    counts = torch.randint(1, 200, (4000,), generator=torch.Generator().manual_seed(0))
    users = torch.arange(4000)
    batches = list(user_batches(users, 64, torch.Generator().manual_seed(1), counts))
    cells = sum(len(batch) * int(counts[batch].max()) for batch in batches)
    assert counts.sum() > 0.75 * cells
    shuffled = list(user_batches(users, 64, torch.Generator().manual_seed(1)))
    assert counts.sum() < 0.75 * sum(len(batch) * int(counts[batch].max()) for batch in shuffled)
    lengths = torch.tensor([float(counts[batch].float().mean()) for batch in batches])
    assert abs(float(torch.corrcoef(torch.stack([lengths, torch.arange(len(lengths)).float()]))[0, 1])) < 0.4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test__feature_gaps__any_dtype__is_the_difference_in_at_least_single_precision(dtype):
    table = normal(40, 7, seed=0).to(dtype)
    pairs, split = ragged([4, 9, 1, 7])
    users = torch.nonzero(pairs.where(split.support | split.query).counts > 0).squeeze(1)
    at_least_single = torch.promote_types(dtype, torch.float32)
    for batch in pack_epoch(pairs, split, [users[:1], users[1:]], at_least_single):
        found, wide = feature_gaps(table, batch.ends), table.double()
        assert found.dtype == at_least_single
        expected = wide[batch.ends[:, 0]] - wide[batch.ends[:, 1]]
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


@given(counts=st.lists(st.integers(0, 12), max_size=20), per_batch=st.integers(1, 7), cached=st.integers(1, 200))
@settings(max_examples=40)
def test__gaps_in_turn__batches_of_any_size__are_those_of_each_batch(counts, per_batch, cached):
    pairs, split = ragged([2, *counts])
    users = torch.nonzero(pairs.where(split.support | split.query).counts > 0).squeeze(1)
    table = normal(40, 3, seed=0)
    packed = pack_epoch(pairs, split, list(users.split(per_batch)), torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skmrm.meta.tensors.tables.CHUNK_CELLS", cached)
        found = list(gaps_in_turn(table, packed))
    assert len(found) == len(packed)
    for gaps, batch in zip(found, packed, strict=True):
        torch.testing.assert_close(gaps, feature_gaps(table, batch.ends), rtol=0, atol=0)


def test__adam__and_clipping__equal_those_of_torch():
    params = {"a": normal(3, 2, seed=0), "b": normal(4, seed=1)}
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.1)
    adam = Adam(params)
    for step in range(5):
        gradient = {name: 10.0 ** (step - 2) * normal(*value.shape, seed=step) for name, value in params.items()}
        for name, leaf in leaves.items():
            leaf.grad = gradient[name].clone()
        torch.nn.utils.clip_grad_norm_(leaves.values(), 1.0)
        optimizer.step()
        adam.step(gradient, 0.1, 1.0)
        for name, leaf in leaves.items():
            torch.testing.assert_close(adam.params[name], leaf.detach())
