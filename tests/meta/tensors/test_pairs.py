import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.meta.tensors.pairs import Pairs, joined, length_buckets, pack_users

counts_lists = st.lists(st.integers(0, 40), min_size=1, max_size=30)


def pairs_of(counts):
    offsets = torch.tensor([0, *counts]).cumsum(0)
    n = int(offsets[-1])
    return Pairs(torch.arange(n), torch.arange(n, 2 * n), offsets)


@given(counts=counts_lists, most=st.integers(1, 50), earlier=st.integers(1, 50))
def test__bounded__any_counts__weighs_nobody_above_the_last_bound(counts, most, earlier):
    pairs = pairs_of(counts)
    found = pairs.bounded(earlier).bounded(most)
    bound = torch.ones(int(sum(counts)), dtype=torch.float64) if found.bound is None else found.bound
    expected = [min(1, most / count) for count in counts for _ in range(count)]
    assert bound.tolist() == pytest.approx(expected, rel=1e-15)


@given(counts=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=4))
def test__joined__parts__keep_their_pairs_and_have_users_of_their_own(counts):
    generator = torch.Generator().manual_seed(0)
    parts = []
    for own in counts:
        offsets = torch.tensor([0, *own]).cumsum(0)
        ends = torch.randint(0, 9, (2, sum(own)), generator=generator)
        parts.append(Pairs(*ends, offsets))
    found = joined(parts)
    assert found.counts.tolist() == [n for own in counts for n in own]
    table = torch.randn(9, 2, generator=generator)
    assert torch.equal(found.gaps(table), torch.cat([part.gaps(table) for part in parts]))
    first = torch.tensor([0, *map(len, counts)]).cumsum(0)
    assert torch.equal(found.user, torch.cat([part.user + n for part, n in zip(parts, first[:-1], strict=True)]))


@given(counts=counts_lists, data=st.data())
@settings(max_examples=40)
def test__pack_users__any_users__holds_exactly_their_pairs(counts, data):
    pairs = pairs_of(counts)
    users = torch.tensor(data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=8)))
    index, present = pack_users(pairs.offsets, users)
    for row, user in enumerate(users.tolist()):
        expected = list(range(int(pairs.offsets[user]), int(pairs.offsets[user + 1])))
        assert index[row][present[row]].tolist() == expected
    assert index.shape[1] == max(counts[u] for u in users.tolist())


@given(counts=counts_lists, max_cells=st.integers(1, 200))
@settings(max_examples=60)
def test__length_buckets__any_lengths__are_a_permutation_within_bounds(counts, max_cells):
    lengths = torch.tensor(counts)
    buckets = list(length_buckets(lengths, max_cells))
    assert sorted(torch.cat(buckets).tolist()) == list(range(len(counts)))
    for bucket in buckets:
        assert len(bucket) == 1 or len(bucket) * max(1, int(lengths[bucket].max())) <= max_cells


def test__length_buckets__one_giant_user__does_not_pad_the_others():
    lengths = torch.tensor([100_000] + [10] * 5000)
    cells = sum(len(b) * int(lengths[b].max()) for b in length_buckets(lengths, 1 << 22))
    assert cells <= int(lengths.sum()) / (1 - 0.25)


def one_by_one(counts, max_cells, max_waste=0.25, free=4096):
    """The same batches, a user at a time."""
    batches, batch = [], []
    for length in sorted((max(count, 1) for count in counts), reverse=True):
        grown = [*batch, length]
        cells = len(grown) * grown[0]
        if batch and (cells > max_cells or (sum(grown) < (1 - max_waste) * cells and cells > free)):
            batches.append(len(batch))
            grown = [length]
        batch = grown
    return [*batches, len(batch)] if batch else batches


@given(
    counts=st.lists(st.one_of(st.integers(0, 40), st.integers(0, 5000)), max_size=60),
    max_cells=st.sampled_from([1, 100, 5000, 1 << 22]),
)
@settings(max_examples=100)
def test__length_buckets__any_lengths__are_those_of_a_plain_loop(counts, max_cells):
    found = [len(bucket) for bucket in length_buckets(torch.tensor(counts, dtype=torch.int64), max_cells)]
    assert found == one_by_one(counts, max_cells)


@given(counts=counts_lists, data=st.data())
@settings(max_examples=40)
def test__where__any_mask__keeps_those_pairs_and_every_user(counts, data):
    pairs = pairs_of(counts)
    n = pairs.chosen.numel()
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=torch.bool)
    kept = pairs.where(keep)
    assert kept.n_users == pairs.n_users
    assert kept.chosen.tolist() == pairs.chosen[keep].tolist()
    assert kept.user.tolist() == pairs.user[keep].tolist()
