"""An epoch of the outer loop: its pairs packed once, in the order of its batches of users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .batching import Pairs
from .selection import Split

__all__ = ["Batch", "pack_epoch", "user_batches"]

# Batches are cut from so many at a time, sorted by length, so that little of a batch is padding.
_BATCHES_SORTED = 16


@dataclass(frozen=True)
class Batch:
    """Some users' pairs, one after the other; views into the epoch's columns.

    Attributes
    ----------
    ends : int64 Tensor of shape (n_pairs, 2)
        Rows of the feature table: of the chosen and of the rejected item.
    signs : Tensor of shape (2 * n_pairs,)
        1 and -1 in turn.
    bags : int64 Tensor of shape (n_pairs,)
        Where the two ends of each pair begin among all ends, one after the other.
    cells : int64 Tensor of shape (n_pairs,) or None
        Place of each pair in a padded table of users and pairs, row by row; None where there is no padding.
    support : Tensor of shape (n_users, longest)
        Weight of each pair in the inner loop: one or zero.
    query : Tensor of shape (n_users, longest)
        Share of each pair in its user's query loss.
    """

    ends: Tensor
    signs: Tensor
    bags: Tensor
    cells: Tensor | None
    support: Tensor
    query: Tensor

    def padded(self, flat: Tensor) -> Tensor:
        """Rows (n_pairs, k) of the pairs as (n_users, longest, k), padding zero."""
        n_users, longest = self.support.shape
        if self.cells is None:
            return flat.view(n_users, longest, -1)
        table = flat.new_zeros(n_users * longest, flat.shape[1])
        return table.index_copy_(0, self.cells, flat).view(n_users, longest, -1)

    def flat(self, padded: Tensor) -> Tensor:
        """The inverse of `padded`."""
        rows = padded.reshape(-1, padded.shape[-1])
        return rows if self.cells is None else rows[self.cells]


def user_batches(
    users: Tensor, users_per_batch: int, generator: torch.Generator, counts: Tensor | None = None
) -> Iterator[Tensor]:
    """Shuffled users in batches; the last may be smaller.

    With counts (n_users,), users of a batch have similarly many pairs, and batches come in random order.
    """
    shuffled = users[torch.randperm(users.numel(), generator=generator).to(users.device)]
    if users.numel() == 0:
        return
    if counts is None or bool((counts[users] == counts[users[0]]).all()):
        yield from shuffled.split(users_per_batch)
        return
    batches = [
        some[counts[some].argsort(stable=True)].split(users_per_batch)
        for some in shuffled.split(_BATCHES_SORTED * users_per_batch)
    ]
    flat = [batch for some in batches for batch in some]
    for place in torch.randperm(len(flat), generator=generator).tolist():
        yield flat[place]


def pack_epoch(pairs: Pairs, split: Split, batches: list[Tensor], dtype: torch.dtype) -> list[Batch]:
    """Pack the pairs of batches of users that a split uses.

    Parameters
    ----------
    pairs : Pairs
        All users' pairs.
    split : Split
        Of all pairs; those in neither support nor query are left out.
    batches : list of int64 Tensor
        Users, each with pairs in the split.
    dtype : torch.dtype
        Of the weights.
    """
    if not batches:
        return []
    used = split.support | split.query
    order = torch.cat(batches)
    sizes = torch.tensor([len(batch) for batch in batches], device=order.device)
    offsets = pairs.offsets_where(used)
    counts = offsets.diff()[order]
    n_batches = len(batches)
    batch_of_user = torch.repeat_interleave(torch.arange(n_batches, device=order.device), sizes)
    longest = torch.zeros_like(sizes).scatter_reduce_(0, batch_of_user, counts, "amax")
    # where each user's cells begin: whole rows of the users before, each as long as its batch's longest
    row = longest[batch_of_user]
    first_cell = row.cumsum(0) - row
    first_pair = counts.cumsum(0) - counts
    user = torch.repeat_interleave(torch.arange(len(order), device=order.device), counts)
    place = torch.arange(len(user), device=order.device) - first_pair[user]
    source = torch.nonzero(used).squeeze(1)[offsets[order][user] + place]
    cell = first_cell[user] + place

    ends = torch.stack([pairs.chosen[source], pairs.rejected[source]], 1)
    weights = torch.zeros(2, int(row.sum()), dtype=dtype, device=order.device)
    weights[0, cell] = split.support[source].to(dtype)
    query = split.query[source].to(dtype)
    n_query = torch.zeros(len(order), dtype=dtype, device=order.device).index_add_(0, user, query)
    weights[1, cell] = query / n_query.clamp_min(1)[user]
    n_pairs = torch.zeros_like(sizes).index_add_(0, batch_of_user, counts)
    lengths, rows = n_pairs.tolist(), longest.tolist()
    signs = weights.new_tensor([1.0, -1.0]).repeat(max(lengths))
    bags = 2 * torch.arange(max(lengths), device=order.device)
    found, pair, origin = [], 0, 0
    for batch, row_length, length in zip(batches, rows, lengths, strict=True):
        own, n_cells = slice(pair, pair + length), len(batch) * row_length
        support, query = weights[:, origin : origin + n_cells].view(2, len(batch), row_length)
        cells = None if n_cells == length else cell[own] - origin
        found.append(Batch(ends[own], signs[: 2 * length], bags[:length], cells, support, query))
        pair, origin = pair + length, origin + n_cells
    return found
