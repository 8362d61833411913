"""Ragged users packed into rectangular tensors: index and mask of each user's pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pairs", "length_buckets", "pack_users"]


@dataclass(frozen=True)
class Pairs:
    """All users' pairs as columns, sorted by user.

    Attributes
    ----------
    chosen, rejected : int64 Tensor of shape (n_pairs,)
        Rows of the feature table.
    offsets : int64 Tensor of shape (n_users + 1,)
        User u owns pairs ``offsets[u]:offsets[u + 1]``.
    """

    chosen: Tensor
    rejected: Tensor
    offsets: Tensor

    @property
    def counts(self) -> Tensor:
        """Number of pairs of each user."""
        return self.offsets.diff()

    @property
    def n_users(self) -> int:
        """Number of users, those without pairs included."""
        return self.offsets.numel() - 1

    @property
    def user(self) -> Tensor:
        """User of each pair, (n_pairs,)."""
        return torch.repeat_interleave(torch.arange(self.n_users, device=self.offsets.device), self.counts)

    def where(self, keep: Tensor) -> Pairs:
        """Pairs for which `keep` is true; every user stays, if need be without pairs."""
        kept = torch.zeros_like(self.offsets)
        kept[1:] = torch.cumsum(keep, 0)[self.offsets[1:] - 1] if keep.numel() else 0
        kept[self.offsets == 0] = 0
        return Pairs(self.chosen[keep], self.rejected[keep], kept)

    def gaps(self, table: Tensor) -> Tensor:
        """Rows of the chosen minus rows of the rejected items of `table`: (n_pairs, columns)."""
        return table[self.chosen] - table[self.rejected]


def pack_users(offsets: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the pairs of some users, side by side.

    Parameters
    ----------
    offsets : int64 Tensor of shape (n_users + 1,)
    users : int64 Tensor of shape (n,)

    Returns
    -------
    index : int64 Tensor of shape (n, longest)
        Positions in the columns; padding repeats a valid position.
    present : bool Tensor of shape (n, longest)
        False where `index` is padding.
    """
    first, counts = offsets[users], offsets[users + 1] - offsets[users]
    longest = int(counts.max()) if users.numel() else 0
    place = torch.arange(longest, device=offsets.device)
    present = place < counts.unsqueeze(-1)
    return torch.where(present, first.unsqueeze(-1) + place, 0), present


def length_buckets(counts: Tensor, max_cells: int, max_waste: float = 0.25) -> Iterator[Tensor]:
    """Users in batches of similar length, so that little of a packed batch is padding.

    Parameters
    ----------
    counts : int64 Tensor of shape (n_users,)
    max_cells : int
        Users times longest user of a batch, at most (a single longer user makes a batch of its own).
    max_waste : float
        A batch is closed when more than this share of it would be padding.

    Yields
    ------
    int64 Tensor
        Indices of the users of one batch; together they are a permutation of all users.
    """
    order = torch.argsort(counts, stable=True, descending=True)
    lengths = counts[order].tolist()
    start = 0
    while start < len(lengths):
        longest, filled, stop = max(lengths[start], 1), 0, start
        while stop < len(lengths):
            size = stop - start + 1
            filled += lengths[stop]
            too_wide = size * longest > max_cells
            # short users cost little however much of their row is padding: forgive it in small batches
            too_empty = filled < (1 - max_waste) * size * longest and size * longest > 4096
            if stop > start and (too_wide or too_empty):
                break
            stop += 1
        yield order[start:stop]
        start = stop
