"""What a pooled reward is linear in: standardised features, and Nyström features where there are landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skmrm.meta.basis import Parameters
from skmrm.meta.pooled.newton import row_space
from skmrm.meta.pooled.nystroem import KernelTerm, Nystroem
from skmrm.meta.tensors.tables import rows_times

__all__ = ["PooledFeatures", "PooledReward"]


@dataclass(frozen=True)
class PooledReward:
    """A pooled reward, and the features that it and what users differ in are linear in.

    Attributes
    ----------
    table : Tensor of shape (n_items, columns)
        Coordinates of the standardised features in what the items span; the last column is the kernel term, if there is
        one.
    coefficients : Tensor of shape (columns,)
        The pooled reward.
    span : Tensor of shape (d, columns) or (d + 1, columns)
        ``table @ span.T`` are the standardised features, and the kernel term.
    kernel : KernelTerm or None
    """

    table: Tensor
    coefficients: Tensor
    span: Tensor
    kernel: KernelTerm | None = None

    def columns(self, table: Tensor) -> Tensor:
        """Standardised features (n_items, d) of the same items, and the kernel term if there is one."""
        return table if self.kernel is None else _beside(table, self.table[:, -1])

    @property
    def solution(self) -> Tensor:
        """The pooled reward over standardised features (d,), or over those and the kernel at landmarks (d + m,)."""
        whole = self.span @ self.coefficients
        return whole if self.kernel is None else torch.cat([whole[:-1], self.kernel.out])

    def parameters(self, bases: Tensor) -> Parameters:
        """Bases over :meth:`columns` as parameters of :mod:`skmrm.meta.basis`."""
        return {"bases": bases} if self.kernel is None else self.kernel.parameters(bases)


def _beside(table: Tensor, column: Tensor) -> Tensor:
    """A table with one more column (n_items,), in the precision of the table."""
    return torch.cat([table, column.unsqueeze(1).to(table.dtype)], 1)


class PooledFeatures:
    """What a pooled reward is fitted on: standardised features, and Nyström features where there are landmarks.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    nystroem : Nystroem, optional

    Attributes
    ----------
    table : Tensor of shape (n_items, rank)
        Features, in coordinates of what the items span.
    span : Tensor of shape (columns, rank)
        ``table @ span.T`` are the features.
    """

    def __init__(self, table: Tensor, nystroem: Nystroem | None = None) -> None:
        self._nystroem = nystroem
        self._linear, self._linear_span = row_space(table)
        self.table, self.span = self._linear, self._linear_span
        if nystroem is not None:
            self._kernel = nystroem.features(table)
            self.table, self.span = row_space(torch.cat([table, self._kernel], 1))

    def reward(self, solution: Tensor) -> PooledReward:
        """The pooled reward of a solution over the columns of `table`."""
        if self._nystroem is None:
            return PooledReward(self.table, solution, self.span)
        linear, weights = (self.span @ solution).tensor_split([len(self._linear_span)])
        table = _beside(self._linear, rows_times(self._kernel, weights))
        coefficients = torch.cat([self._linear_span.T @ linear, linear.new_ones(1)])
        span = torch.block_diag(self._linear_span, torch.ones_like(linear[:1, None]))
        return PooledReward(table, coefficients, span, KernelTerm(self._nystroem, weights))
