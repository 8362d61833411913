"""Ragged users packed into rectangular tensors: index and mask of each user's pairs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skmrm.meta.tensors.tables import row_gaps

__all__ = ["MEDIANS", "Pairs", "joined", "length_buckets", "most_pairs", "pack_users", "safe_sqrt"]

_FREE_CELLS = 4096  # padding of a batch up to this size is not worth a batch more
# Pairs of the median user that one user can count for in what all share. Where tastes differ, new users gain by a bound
# of 3 to 10; where they do not, one of 3 costs them and one of 10 does not.
MEDIANS = 10
_COLUMNS = ("chosen", "rejected", "group", "weight", "bound", "side", "offset")


@dataclass(frozen=True)
class Pairs:
    """All users' pairs as columns, sorted by user.

    Attributes
    ----------
    chosen, rejected : int64 Tensor of shape (n_pairs,)
        Rows of the feature table.
    offsets : int64 Tensor of shape (n_users + 1,)
        User u owns pairs ``offsets[u]:offsets[u + 1]``.
    group : int64 Tensor of shape (n_pairs,), optional
        What must not be on both sides of a split, the same number for all users; None where it does not matter.
    weight : Tensor of shape (n_pairs,), optional
        How often a pair counts in the likelihood of its user; None for once each.
    bound : Tensor of shape (n_pairs,), optional
        What it counts times that in what is learnt of all users together; None for one.
    side : int64 Tensor of shape (n_pairs,), optional
        Which side of which threshold its margin lies on, a place in ``cat([t, -t])``; None where there are none.
    thresholds : Tensor of shape (n_thresholds,), optional
        t, in logits, double precision; see :mod:`skmrm.meta.thresholds`.
    n_cuts : int
        How many of the thresholds, the last, are between the levels of a rating; where there are any, the last row of
        the feature table is the bar.
    offset : Tensor of shape (n_pairs,), optional
        What is known of the margin beside what is learnt, in logits; None for nothing.
    """

    chosen: Tensor
    rejected: Tensor
    offsets: Tensor
    group: Tensor | None = None
    weight: Tensor | None = None
    bound: Tensor | None = None
    side: Tensor | None = None
    thresholds: Tensor | None = None
    n_cuts: int = 0
    offset: Tensor | None = None

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

    def held_against(self, thresholds: Tensor | None) -> Pairs:
        """The same with other thresholds, of as many grades."""
        return self if self.side is None else replace(self, thresholds=thresholds)

    @property
    def threshold(self) -> Tensor | None:
        """What each pair's margin is held against, (n_pairs,), in logits; None for zero throughout."""
        if self.side is None or self.thresholds is None:
            return None if self.offset is None else -self.offset
        held = torch.cat([self.thresholds, -self.thresholds]).index_select(0, self.side)
        return held if self.offset is None else held - self.offset

    def packed(self, index: Tensor, present: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weights and thresholds of the pairs at some places, both like `index` of :func:`pack_users`.

        Weights are zero where padding; thresholds are in logits, None for zero throughout.
        """
        weight = present.to(dtype)
        if self.weight is not None:
            weight *= self.weight[index]
        offset = None if self.offset is None else self.offset[index]
        if self.side is None or self.thresholds is None:
            return weight, None if offset is None else -offset
        held = torch.cat([self.thresholds, -self.thresholds])[self.side[index]]
        return weight, held if offset is None else held - offset

    def where(self, keep: Tensor) -> Pairs:
        """Pairs for which `keep` is true; every user stays, if need be without pairs."""
        columns = {name: column[keep] for name in _COLUMNS if (column := getattr(self, name)) is not None}
        return replace(self, offsets=self.offsets_where(keep), **columns)

    def bounded(self, most: float) -> Pairs:
        """Nobody counts for more than so many pairs in what is learnt of all users together, whatever was bounded."""
        totals = self.totals
        if not bool((totals > most).any()):
            return replace(self, bound=None)
        return replace(self, bound=(most / totals.double().clamp_min(most))[self.user])

    @property
    def totals(self) -> Tensor:
        """How many pairs each user counts for, (n_users,): their number, or the sum of their weights."""
        if self.weight is None:
            return self.counts
        return self.weight.new_zeros(self.n_users).index_add_(0, self.user, self.weight)

    def weighed(self, values: Tensor) -> Tensor:
        """Values of the pairs (n_pairs,), each times its weight."""
        return values if self.weight is None else values * self.weight.to(values.dtype)

    @property
    def shared_weight(self) -> Tensor | None:
        """How much each pair counts in what is learnt of all users together, (n_pairs,); None for all alike."""
        if self.weight is None or self.bound is None:
            return self.weight if self.bound is None else self.bound
        return self.weight * self.bound

    def weighted_mean(self, values: Tensor) -> Tensor:
        """Values of the pairs (n_pairs,), each times its share of all weight, so that their sum is the mean."""
        weight = self.shared_weight
        if weight is None:
            return values / max(values.numel(), 1)
        return values * (weight / weight.sum()).to(values.dtype)

    def offsets_where(self, keep: Tensor) -> Tensor:
        """The offsets of `where`, without its columns."""
        return torch.cat([self.offsets.new_zeros(1), keep.cumsum(0)])[self.offsets]

    def gaps(self, table: Tensor, places: Tensor | None = None) -> Tensor:
        """Rows of the chosen minus rows of the rejected items of `table`: (n_pairs, columns).

        With positions of pairs (...,), those of these pairs: (..., columns).
        """
        if places is None:
            return row_gaps(table, self.chosen, self.rejected)
        flat = places.flatten()
        gaps = row_gaps(table, self.chosen.index_select(0, flat), self.rejected.index_select(0, flat))
        return gaps.unflatten(0, places.shape)

    def margins(self, rewards: Tensor) -> Tensor:
        """By how much each pair's reward gap is beyond its threshold, (n_pairs,), from rewards of the items."""
        return self.beyond(row_gaps(rewards, self.chosen, self.rejected))

    def beyond(self, gaps: Tensor) -> Tensor:
        """Gaps of reward (n_pairs,) less the pairs' thresholds."""
        threshold = self.threshold
        return gaps if threshold is None else gaps - threshold.to(gaps.dtype)


def joined(parts: list[Pairs]) -> Pairs:
    """Pairs one after the other, the users of each part as users of their own; groups and bounds are left out."""
    counts = torch.cat([part.counts for part in parts])
    columns = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("chosen", "rejected", "weight", "side")
        if getattr(parts[0], name) is not None
    }
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Pairs(offsets=offsets, thresholds=parts[0].thresholds, n_cuts=parts[0].n_cuts, **columns)


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
    lengths = counts[order].clamp_min(1)
    totals = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).cpu()
    lengths = lengths.cpu()
    start = 0
    while start < lengths.numel():
        longest = int(lengths[start])
        widest = min(max(1, max_cells // longest), lengths.numel() - start)
        filled = totals[start + 1 : start + 1 + widest] - totals[start]
        # short users cost little however much of their row is padding: forgive it in small batches
        free = min(_FREE_CELLS // longest, widest)
        # the filled share falls as shorter users join, so that the first batch that is too empty ends the search
        fullest = bisect_left(range(widest), True, key=lambda n: bool(filled[n] < (1 - max_waste) * (n + 1) * longest))
        stop = start + max(1, free, fullest)
        yield order[start:stop]
        start = stop


def most_pairs(totals: Tensor) -> float:
    """How many pairs one user can count for in what is learnt of all, from what each counts for (n_users,)."""
    active = totals[totals > 0]
    return MEDIANS * float(active.median()) if active.numel() else math.inf


def safe_sqrt(values: Tensor) -> Tensor:
    """Square root whose derivative at zero, where a pair is padding, is zero instead of infinite."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)
