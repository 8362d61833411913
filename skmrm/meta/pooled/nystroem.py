r"""Nyström features of a Gaussian kernel around landmark items, for a pooled reward that is not linear.

.. math::
    r(z) = b \cdot z + c \cdot \psi(z), \qquad
    \psi(z) = s \, K_{LL}^{-1/2} k(L, z), \qquad k(x, z) = e^{-\gamma \lVert x - z \rVert^2}

with m landmarks L among the items, :math:`K_{LL}` their kernel matrix, :math:`1 / \gamma` the mean of
:math:`\lVert z \rVert^2` over the items and :math:`s^2` a share of it. Then :math:`\psi(x) \cdot \psi(z) \approx
s^2 k(x, z)`, so that the ridge on (b, c) is a Gaussian process prior with the kernel :math:`x \cdot z + s^2 k(x, z)`:
a linear model of the features side by side with :math:`\psi`. Far from all items the reward is linear.

What is learnt is one number an item, the kernel term :math:`c \cdot \psi(z)`. For all that follows it is one more
feature.

Source: C. Williams, M. Seeger: "Using the Nyström method to speed up kernel machines", NIPS 2000.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skmrm.meta.basis import Parameters, gaussian_kernel
from skmrm.meta.tensors.factors import eigh
from skmrm.meta.tensors.tables import around_product, in_single, is_half, map_rows

__all__ = ["KernelTerm", "Nystroem", "spread_landmarks"]

MAX_LANDMARKS = 512
# Part of the linear kernel's mean that the features have: measured alike from an eighth to a half.
SHARE = 0.25
# Directions of the landmarks' kernel matrix with smaller eigenvalues say nothing that float32 could carry.
SMALLEST_EIGENVALUE = 1e-3


@dataclass(frozen=True)
class Nystroem:
    r"""Landmarks, and what turns the kernel at them into features.

    Attributes
    ----------
    points : Tensor of shape (m, d)
        L, standardised features of items.
    precision : Tensor of shape ()
        :math:`\gamma`.
    root : Tensor of shape (m, rank)
        :math:`s \, U \Lambda^{-1/2}` of :math:`K_{LL} = U \Lambda U^\top`, without its smallest eigenvalues.
    """

    points: Tensor
    precision: Tensor
    root: Tensor

    def features(self, table: Tensor) -> Tensor:
        r""":math:`\psi` of items (n_items, d): (n_items, rank), in the precision of the table."""
        with around_product(0 if is_half(table) else table.shape[0] * self.points.numel()):
            return map_rows(
                table, lambda rows: gaussian_kernel(rows, self.points, self.precision) @ self.root, table.dtype
            )


@dataclass(frozen=True)
class KernelTerm:
    """What Nyström features add to the pooled reward, with weights c (rank,)."""

    nystroem: Nystroem
    weights: Tensor

    @property
    def out(self) -> Tensor:
        """Weights of the kernel itself, (m,)."""
        return self.nystroem.root @ self.weights

    def parameters(self, bases: Tensor) -> Parameters:
        """Bases (n_bases, d + 1) over features and this term, as parameters of :mod:`skmrm.meta.basis`."""
        return {
            "bases": bases[:, :-1].contiguous(),
            "kernel.points": self.nystroem.points,
            "kernel.precision": self.nystroem.precision,
            "kernel.out": bases[:, -1:] * self.out,
        }


def spread_landmarks(table: Tensor) -> Nystroem:
    """Landmarks spread evenly over the rows of a table (n_items, d) of standardised features."""
    n_items = table.shape[0]
    rows = torch.linspace(0, n_items - 1, min(MAX_LANDMARKS, n_items), device=table.device).round().long()
    points = in_single(table[rows])
    size = map_rows(table, lambda rows: (rows**2).sum(1)).mean().clamp_min(torch.finfo(points.dtype).tiny)
    values, vectors = eigh(gaussian_kernel(points, points, 1 / size).double())
    kept = values > SMALLEST_EIGENVALUE
    root = (SHARE * size.double()).sqrt() * vectors[:, kept] / values[kept].sqrt()
    return Nystroem(points, 1 / size, root.to(points.dtype))
