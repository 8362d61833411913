"""An epoch of the outer loop: its pairs packed once, in the order of its batches of users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skmrm.meta.folds import Split
from skmrm.meta.tensors.pairs import Pairs

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
    cells : int64 Tensor of shape (n_pairs,) or None
        Place of each pair in a padded table of users and pairs, row by row; None where there is no padding.
    support : Tensor of shape (n_users, longest)
        Weight of each pair in the inner loop; zero where it is not in the support.
    query : Tensor of shape (n_users, longest)
        Share of each pair in its user's query loss.
    threshold : Tensor of shape (n_users, longest) or None
        What each pair's margin is held against; None for zero throughout.
    """

    ends: Tensor
    cells: Tensor | None
    support: Tensor
    query: Tensor
    threshold: Tensor | None = None

    def padded(self, flat: Tensor) -> Tensor:
        """Rows (n_pairs, k) of the pairs as (n_users, longest, k), padding zero."""
        n_users, longest = self.support.shape
        if self.cells is not None:
            flat = flat.new_zeros(n_users * longest, flat.shape[1]).index_copy_(0, self.cells, flat)
        return flat.reshape(n_users, longest, -1)

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
    order, offsets = torch.cat(batches), pairs.offsets_where(used)
    counts = offsets.diff()[order]
    sizes = torch.tensor([len(batch) for batch in batches], device=order.device)
    batch_of_user = torch.repeat_interleave(sizes)
    longest = torch.zeros_like(sizes).scatter_reduce_(0, batch_of_user, counts, "amax")
    n_pairs = torch.zeros_like(sizes).index_add_(0, batch_of_user, counts)
    # index_select is several times as fast as the same in brackets
    user, first_pair = torch.repeat_interleave(counts), counts.cumsum(0) - counts
    place = torch.arange(len(user), device=order.device)
    source = place + (offsets[order] - first_pair).index_select(0, user)
    if int(offsets[-1]) < len(used):
        source = torch.nonzero(used).squeeze(1).index_select(0, source)
    ends = torch.stack([side.index_select(0, source) for side in (pairs.chosen, pairs.rejected)], 1)
    support, query = (pairs.weighed(side.to(dtype)) for side in (split.support, split.query))
    total = query.new_zeros(pairs.n_users).index_add_(0, pairs.user, query)
    share = query / torch.where(total > 0, total, 1.0)[pairs.user]
    held = pairs.threshold
    columns = [support, share] if held is None else [support, share, held.to(dtype)]
    weights = torch.stack([column.index_select(0, source) for column in columns])

    # where each user's cells begin: whole rows of the users before, each as long as its batch's longest
    row = longest[batch_of_user]
    cell, n_cells = place + (row.cumsum(0) - row - first_pair).index_select(0, user), int(row.sum())
    if n_cells > len(user):
        weights = weights.new_zeros(len(weights), n_cells).index_copy_(1, cell, weights)
    lengths = n_pairs.tolist()
    found, pair, origin = [], 0, 0
    for batch, own, length, row_length in zip(batches, ends.split(lengths), lengths, longest.tolist(), strict=True):
        n_cells = len(batch) * row_length
        cells = None if n_cells == length else cell[pair : pair + length] - origin
        found.append(Batch(own, cells, *weights[:, origin : origin + n_cells].reshape(-1, len(batch), row_length)))
        pair, origin = pair + length, origin + n_cells
    return found
