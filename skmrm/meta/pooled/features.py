"""What a pooled reward is linear in: standardised features, and bumps where there are landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skmrm.meta.basis import Parameters
from skmrm.meta.pooled.bumps import Bend, Landmarks
from skmrm.meta.pooled.newton import row_space
from skmrm.meta.tensors.tables import rows_times

__all__ = ["Features", "Pooled"]


@dataclass(frozen=True)
class Pooled:
    """A pooled reward, and the features that it and what users differ in are linear in.

    Attributes
    ----------
    table : Tensor of shape (n_items, columns)
        Coordinates of the standardised features in what the items span; the last column is the bend, if there is one.
    coefficients : Tensor of shape (columns,)
        The pooled reward.
    span : Tensor of shape (d, columns) or (d + 1, columns)
        ``table @ span.T`` are the standardised features, and the bend.
    bend : Bend or None
    """

    table: Tensor
    coefficients: Tensor
    span: Tensor
    bend: Bend | None = None

    def wide(self, table: Tensor) -> Tensor:
        """Standardised features (n_items, d) of the same items, and the bend if there is one."""
        return table if self.bend is None else _beside(table, self.table[:, -1])

    @property
    def plain(self) -> Tensor:
        """The pooled reward over standardised features (d,), or over those and the kernel at landmarks (d + m,)."""
        whole = self.span @ self.coefficients
        return whole if self.bend is None else torch.cat([whole[:-1], self.bend.out])

    def parameters(self, bases: Tensor) -> Parameters:
        """Bases over the columns of :meth:`wide` as parameters of :mod:`skmrm.meta.basis`."""
        return {"bases": bases} if self.bend is None else self.bend.parameters(bases)


def _beside(table: Tensor, column: Tensor) -> Tensor:
    """A table with one more column (n_items,), in the precision of the table."""
    return torch.cat([table, column.unsqueeze(1).to(table.dtype)], 1)


class Features:
    """What a pooled reward is fitted on: standardised features, and bumps where there are landmarks.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    landmarks : Landmarks, optional

    Attributes
    ----------
    table : Tensor of shape (n_items, rank)
        Features and bumps, in coordinates of what the items span.
    span : Tensor of shape (columns, rank)
        ``table @ span.T`` are features and bumps.
    """

    def __init__(self, table: Tensor, landmarks: Landmarks | None = None) -> None:
        self._landmarks = landmarks
        self._plain, self._plain_span = row_space(table)
        self.table, self.span = self._plain, self._plain_span
        if landmarks is not None:
            self._bumps = landmarks.bumps(table)
            self.table, self.span = row_space(torch.cat([table, self._bumps], 1))

    def pooled(self, solution: Tensor) -> Pooled:
        """The pooled reward of a solution over the columns of `table`."""
        if self._landmarks is None:
            return Pooled(self.table, solution, self.span)
        linear, weights = (self.span @ solution).tensor_split([len(self._plain_span)])
        table = _beside(self._plain, rows_times(self._bumps, weights))
        coefficients = torch.cat([self._plain_span.T @ linear, linear.new_ones(1)])
        span = torch.block_diag(self._plain_span, torch.ones_like(linear[:1, None]))
        return Pooled(table, coefficients, span, Bend(self._landmarks, weights))
