r"""Users whose features do not fit in memory, block by block; and the pooled reward of all of them.

A sample of the users that does fit is what all choices are made on, and what the spectral start and the prior come
from. The others are streamed. They refine the pooled reward, by Newton steps

.. math:: b \leftarrow b - (H + \lambda I)^{-1} \Big( \lambda b - \tfrac1n \sum_p \sigma(-b \cdot g_p) \, g_p \Big)

whose gradient is over all pairs, one pass a step, and whose Hessian H is that of the sample: it differs from the one of
all pairs by sampling alone, so that each pass shrinks what is left of the error by that difference. And they are learnt
from in every epoch of the outer loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skmrm.meta.basis import Parameters, standardise, with_bar
from skmrm.meta.folds import Split
from skmrm.meta.pooled.features import PooledReward
from skmrm.meta.pooled.newton import cholesky_with_ridge, item_pull, pooled_hessian
from skmrm.meta.tensors.pairs import Pairs, most_pairs
from skmrm.meta.tensors.tables import rows_times, transposed_times

__all__ = ["Block", "StreamedUsers", "refine_pooled"]

PASSES = 3


@dataclass(frozen=True)
class Block:
    """Some users and all their items.

    Attributes
    ----------
    features : Tensor of shape (n_items, d)
        Raw.
    pairs : Pairs
        With rows of `features`.
    draw_split : callable
        Gives a new random group-disjoint support/query split of `pairs`.
    """

    features: Tensor
    pairs: Pairs
    draw_split: Callable[[], Split]

    def table(self, standardisation: Parameters) -> Tensor:
        """Standardised features, as those that were held in memory have been; with the bar where there are ratings."""
        if not self.pairs.n_cuts:
            return standardise(standardisation, self.features)
        own = {name: standardisation[name][:-1] for name in ("mean", "scale")}
        return with_bar(standardise(own, self.features))


class StreamedUsers(Protocol):
    """Users beside those in memory."""

    @property
    def block_sizes(self) -> list[int]:
        """How many users each block has."""

    @property
    def totals(self) -> Tensor:
        """How many pairs each counts for, (n_users,), as of :class:`skmrm.meta.tensors.pairs.Pairs`."""

    def blocks(self) -> Iterator[Block]:
        """All of them once, in blocks in a new random order."""


def refine_pooled(
    pooled: PooledReward, standardisation: Parameters, pairs: Pairs, others: StreamedUsers, ridge: float
) -> Tensor:
    """Coefficients (rank,) of the pooled reward of a sample and all others, from those of the sample.

    It stays in what the sample's items span: of other directions the sample does not tell how far to go.

    Parameters
    ----------
    pooled : PooledReward
        Of the sample; linear.
    standardisation : dict of Tensor
        ``mean`` and ``scale``.
    pairs : Pairs
        Of the sample.
    others : StreamedUsers
    ridge : float
    """
    table, solution = pooled.table, pooled.coefficients
    full_rank = pooled.span.shape[0] == pooled.span.shape[1]
    totals = torch.cat([pairs.totals.cpu(), others.totals])
    most = most_pairs(totals)
    total = float(totals.clamp_max(most).sum())
    pairs = pairs.bounded(most)
    chance = torch.sigmoid(pairs.margins(rows_times(table, solution)))
    factor = cholesky_with_ridge(pooled_hessian(table, pairs, chance * (1 - chance)), ridge)
    for _ in range(PASSES):
        pull = _pull(solution, table, pairs)
        for block in others.blocks():
            rows, held = block.table(standardisation), block.pairs.held_against(pairs.thresholds)
            pull += _pull(solution, rows if full_rank else rows @ pooled.span, held.bounded(most))
        gradient = ridge * solution - pull / total
        solution = solution - torch.cholesky_solve(gradient.unsqueeze(1), factor).squeeze(1)
    return solution


def _pull(solution: Tensor, table: Tensor, pairs: Pairs) -> Tensor:
    """Sum over pairs of sigmoid(-margin) times gap, as the pairs count, (d,)."""
    chance = torch.sigmoid(-pairs.margins(rows_times(table, solution)))
    weight = pairs.shared_weight
    weighted = chance if weight is None else chance * weight.to(chance.dtype)
    return transposed_times(table, item_pull(pairs, weighted, len(table)))
