"""Features that are larger than the memory allowed: a sample of users to hold, and the others in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm.episodes import EpisodeSet
from skmrm.episodes.rows import read_rows
from skmrm.estimators.core_data import PLAIN, make_block
from skmrm.meta.outer.streaming import Block

__all__ = ["Streamed", "divide", "fits"]

# Of the memory allowed: what the sample has as it is stored (it is held raw, standardised, and once more while it is
# worked on), and what a block has in single precision (raw, standardised, and as it is read).
_SAMPLE_SHARE = 1 / 6
_BLOCK_SHARE = 1 / 12


def fits(episodes: EpisodeSet, max_memory: float) -> bool:
    """Whether all features can be held at once, with what a fit makes of them."""
    return _row_bytes(episodes) * episodes.n_items <= _SAMPLE_SHARE * max_memory * 2**30


def divide(episodes: EpisodeSet, max_memory: float, rng: np.random.Generator) -> tuple[EpisodeSet, EpisodeSet]:
    """A random sample of users whose features fit, compact; and all others, over the features as they are.

    Parameters
    ----------
    episodes : EpisodeSet
    max_memory : float
        In gibibytes.
    rng : numpy.random.Generator
    """
    n_rows = int(_SAMPLE_SHARE * max_memory * 2**30 / _row_bytes(episodes))
    order = rng.permutation(episodes.n_users)
    n_taken = max(1, int(np.searchsorted(np.cumsum(2 * episodes.pairs_per_user[order]), n_rows, side="right")))
    taken = np.zeros(episodes.n_users, bool)
    taken[order[:n_taken]] = True
    return _with_own_rows(episodes[taken]), episodes[~taken]


@dataclass(frozen=True)
class Streamed:
    """Users in blocks; see :class:`skmrm.meta.outer.streaming.StreamedUsers`.

    Attributes
    ----------
    episodes : EpisodeSet
        Users in the order of their rows: then a block is read in one piece.
    max_memory : float
        In gibibytes.
    support_fraction : float or None
    rng : numpy.random.Generator
        Of the order of blocks and of splits.
    device : str
    grades : tuple of int
        Strengths that are told apart, and cuts between levels of ratings; 0 where all are plain choices.
    """

    episodes: EpisodeSet
    max_memory: float
    support_fraction: float | None
    rng: np.random.Generator
    device: str
    grades: tuple[int, int] = PLAIN

    @property
    def block_sizes(self) -> list[int]:
        """Users of each block, in the order of the users."""
        return np.diff(self._bounds).tolist()

    @property
    def totals(self) -> torch.Tensor:
        """How many pairs, or sides of theirs, each user counts for."""
        own, counted = self.episodes, np.ones(self.episodes.n_pairs)
        n_grades, n_cuts = self.grades
        rated = np.zeros(own.n_pairs, bool) if own.rating is None else own.rating > 0
        if n_grades > 0 and own.outcome is not None:
            counted += (own.outcome >= 0) & (own.outcome < n_grades) & ~rated  # two sides
        if own.rating is not None:
            counted += (own.rating > 1) & (own.rating <= n_cuts)
        if own.weight is not None:
            counted *= own.weight
        return torch.from_numpy(np.bincount(own.user, weights=counted, minlength=own.n_users))

    @cached_property
    def _bounds(self) -> NDArray[np.intp]:
        """Where blocks begin, and the end."""
        n_rows = max(2, int(_BLOCK_SHARE * self.max_memory * 2**30 / _row_bytes(self.episodes, at_least=4)))
        block = np.cumsum(2 * self.episodes.pairs_per_user) // n_rows
        return np.append(np.flatnonzero(np.diff(block, prepend=-1)), self.episodes.n_users)

    def blocks(self) -> Iterator[Block]:
        """All users once, neighbours together, in blocks in random order."""
        bounds = self._bounds
        for place in self.rng.permutation(len(bounds) - 1):
            own = _with_own_rows(self.episodes[int(bounds[place]) : int(bounds[place + 1])])
            yield make_block(own, np.asarray(own.features), self.support_fraction, self.rng, self.device, self.grades)


def _with_own_rows(episodes: EpisodeSet) -> EpisodeSet:
    """The same users over the rows that they refer to, read in ascending order."""
    rows, places = np.unique(np.concatenate([episodes.chosen, episodes.rejected]), return_inverse=True)
    chosen, rejected = np.split(places, 2)
    return episodes._with(chosen=chosen, rejected=rejected, features=read_rows(episodes.features, rows), items=None)


def _row_bytes(episodes: EpisodeSet, at_least: int = 1) -> int:
    """Bytes of a row of features, as it is stored, or with so many bytes a number at least."""
    assert episodes.n_features is not None
    return episodes.n_features * max(at_least, np.dtype(episodes.features.dtype).itemsize)
