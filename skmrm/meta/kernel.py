r"""A pooled reward that bends: bumps around landmark items, by Nyström's approximation of a Gaussian kernel.

.. math::
    r(z) = b \cdot z + c \cdot \psi(z), \qquad
    \psi(z) = s \, K_{LL}^{-1/2} k(L, z), \qquad k(x, z) = e^{-\gamma \lVert x - z \rVert^2}

with m landmarks L among the items, :math:`K_{LL}` their kernel matrix, :math:`1 / \gamma` the mean of
:math:`\lVert z \rVert^2` over the items and :math:`s^2` a share of it. Then :math:`\psi(x) \cdot \psi(z) \approx
s^2 k(x, z)`, so that the ridge on (b, c) is a Gaussian process prior with the kernel :math:`x \cdot z + s^2 k(x, z)`:
a linear model of the features side by side with :math:`\psi`. Far from all items the reward is linear.

What is learnt is one number an item, the bend :math:`c \cdot \psi(z)`. For all that follows it is one more feature.

Source: C. Williams, M. Seeger: "Using the Nyström method to speed up kernel machines", NIPS 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skmrm.meta.basis import Parameters, bumps
from skmrm.meta.batching import Pairs
from skmrm.meta.pooled import row_space
from skmrm.meta.selection import new_group_losses, new_user_losses
from skmrm.meta.tables import in_single, map_rows, rows_times

__all__ = [
    "Bend",
    "Features",
    "Kernel",
    "Landmarks",
    "Pooled",
    "bent_where_it_helps",
    "bumps_help",
    "choose_landmarks",
    "find_landmarks",
    "unfolded",
]

Kernel = Literal["auto", "rbf"] | None

MAX_LANDMARKS = 512
MAX_CELLS = 1 << 27  # of features and bumps side by side, to try bumps on: half a gigabyte in single precision
# Part of the linear kernel's mean that the bumps have: measured alike from an eighth to a half.
SHARE = 0.25
# Directions of the landmarks' kernel matrix with smaller eigenvalues say nothing that float32 could carry.
SMALLEST_EIGENVALUE = 1e-3


@dataclass(frozen=True)
class Landmarks:
    r"""Landmarks and what makes them features.

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

    def bumps(self, table: Tensor) -> Tensor:
        r""":math:`\psi` of items (n_items, d): (n_items, rank), in the precision of the table."""
        return map_rows(table, lambda rows: bumps(rows, self.points, self.precision) @ self.root, table.dtype)


@dataclass(frozen=True)
class Bend:
    """What bumps add to the pooled reward: landmarks and the weights c (rank,) of their bumps."""

    landmarks: Landmarks
    weights: Tensor

    @property
    def out(self) -> Tensor:
        """Weights of the kernel itself, (m,)."""
        return self.landmarks.root @ self.weights

    def parameters(self, bases: Tensor) -> Parameters:
        """Bases (n_bases, d + 1) over features and the bend, as parameters of :mod:`skmrm.meta.basis`."""
        return {
            "bases": bases[:, :-1].contiguous(),
            "kernel.points": self.landmarks.points,
            "kernel.precision": self.landmarks.precision,
            "kernel.out": bases[:, -1:] * self.out,
        }


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


def unfolded(params: Parameters, table: Tensor) -> tuple[Tensor, Parameters, Callable[[Tensor], Parameters]]:
    """Features and the bend side by side, the parameters over them, and the way back from bases.

    The inverse of :meth:`Pooled.parameters`: the weights of the kernel are those of one bend, up to a factor for each
    base function.
    """
    if "kernel.out" not in params:
        return table, params, lambda bases: {"bases": bases}
    out = params["kernel.out"]
    direction = out[out.norm(dim=1).argmax()]
    direction = direction / direction.norm().clamp_min(torch.finfo(out.dtype).tiny)
    points, precision = params["kernel.points"], params["kernel.precision"]
    bend = map_rows(table, lambda rows: bumps(rows, points, precision) @ direction)
    wide = {name: value for name, value in params.items() if not name.startswith("kernel.")}
    wide["bases"] = torch.cat([params["bases"], (out @ direction).unsqueeze(1)], 1)

    def fold(bases: Tensor) -> Parameters:
        return {"bases": bases[:, :-1].contiguous(), "kernel.out": bases[:, -1:] * direction}

    return _beside(table, bend), wide, fold


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


def choose_landmarks(table: Tensor) -> Landmarks:
    """Items spread evenly over the rows of a table (n_items, d) of standardised features."""
    n_items = table.shape[0]
    rows = torch.linspace(0, n_items - 1, min(MAX_LANDMARKS, n_items), device=table.device).round().long()
    points = in_single(table[rows])
    size = map_rows(table, lambda rows: (rows**2).sum(1)).mean().clamp_min(torch.finfo(points.dtype).tiny)
    values, vectors = torch.linalg.eigh(bumps(points, points, 1 / size).double())
    kept = values > SMALLEST_EIGENVALUE
    root = (SHARE * size.double()).sqrt() * vectors[:, kept] / values[kept].sqrt()
    return Landmarks(points, 1 / size, root.to(points.dtype))


def bent_where_it_helps(
    table: Tensor,
    features: Features,
    solutions: list[Tensor],
    pairs: Pairs,
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    ridge: float,
    kernel: Kernel,
) -> tuple[Features, list[Tensor]]:
    """Features with bumps and each fold's pooled solution over them, or those without as they came.

    Parameters are those of :func:`find_landmarks`, and the features and solutions without bumps.
    """
    landmarks = find_landmarks(table, pairs, folds, new_groups, ridge, kernel)
    if landmarks is None:
        return features, solutions
    bent = Features(table, landmarks)
    return bent, [path[0] for path in new_user_losses(bent.table, pairs, folds, [ridge])[0]]


def find_landmarks(
    table: Tensor,
    pairs: Pairs,
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    ridge: float,
    kernel: Kernel,
) -> Landmarks | None:
    """Landmarks, if bumps are wanted and, under "auto", of use; see :func:`bumps_help`."""
    n_items, n_features = table.shape
    too_large = n_items * (n_features + MAX_LANDMARKS) > MAX_CELLS
    if kernel is None or n_items == 0 or (kernel == "auto" and (not folds or too_large)):
        return None
    landmarks = choose_landmarks(table)
    if kernel == "auto" and not bumps_help(table, landmarks, pairs, folds, new_groups, ridge):
        return None
    return landmarks


def bumps_help(
    table: Tensor,
    landmarks: Landmarks,
    pairs: Pairs,
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    ridge: float,
) -> bool:
    """Whether the pooled reward of users left out gains by bumps, at the ridge of the linear one.

    By more than two standard errors, as the simpler model is to be kept unless there is reason not to. Where users
    share groups, losses on new groups count as much as those on known ones: bumps can learn responses by heart. One
    fold decides whether the others are looked at.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    landmarks : Landmarks
    pairs : Pairs
    folds : sequence of bool Tensor of shape (n_users,)
        Users held out together.
    new_groups : sequence of bool Tensor of shape (n_pairs,)
        For each fold, pairs of groups that are held out with its users; empty where groups are not shared.
    ridge : float
    """
    tables = [Features(table, bent).table for bent in (None, landmarks)]

    def gains(folds: Sequence[Tensor]) -> Tensor:
        plain, bent = (new_user_losses(features, pairs, folds, [ridge])[1] for features in tables)
        return _known(plain - bent)

    gain = gains(folds[:1])
    if not gain.mean() > 0:  # nor where nobody was judged, of which the mean is NaN
        return False
    gain = torch.cat([gain, gains(folds[1:])])
    if new_groups:
        plain, bent = (new_group_losses(features, pairs, folds, new_groups, [ridge]) for features in tables)
        gain = torch.cat([gain, _known(plain - bent)])
    return bool(gain.mean() > 2 * gain.std() / gain.numel() ** 0.5)


def _known(values: Tensor) -> Tensor:
    return values[~values.isnan()]
