r"""Base reward functions :math:`\phi: R^d \to R^K`, features to K shared rewards.

Features are standardised, :math:`z = (x - \mathrm{mean}) / \mathrm{scale}`, and

.. math:: \phi(z) = B z + C \, k(L, z)

where :math:`B` is (K, d) and :math:`k(L, z)` an optional Gaussian kernel at m landmark items
(:mod:`skmrm.meta.pooled.nystroem`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from skmrm.meta.tensors.tables import empty_like, is_half, map_rows, n_cached_rows, transposed_times

__all__ = [
    "Parameters",
    "base_rewards",
    "column_ranks",
    "gaussian_kernel",
    "init_basis",
    "init_standardisation",
    "item_rewards",
    "mean_folds",
    "one_scale",
    "standardise",
    "standardised_table",
    "with_bar",
]

Parameters = dict[str, Tensor]


def init_standardisation(features: Tensor) -> Parameters:
    """Mean and scale of each feature over the items; what is constant has an infinite scale, and counts as zero.

    Constant is what deviates by no more than rounding, or by numbers so small that they lose digits. In the features'
    precision, or in single where theirs is half.

    Raises
    ------
    ValueError
        If a feature is not finite, or spans more than its precision holds.
    """
    dtype = torch.float32 if is_half(features) else features.dtype
    limits = torch.finfo(dtype)
    chunks = features.split(n_cached_rows(features))
    unit = _unit(features)
    mean = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    square = torch.zeros_like(mean)
    for chunk in chunks:
        mean += (chunk if unit is None else chunk / unit).sum(0, dtype=torch.float64)
    mean /= features.shape[0]
    for chunk in chunks:
        square += ((chunk.double() if unit is None else chunk / unit) - mean).square_().sum(0)
    deviation = (square / features.shape[0]).sqrt()
    if unit is not None:
        mean, deviation = mean * unit, deviation * unit
    too_large = torch.nonzero(~(mean.abs() + deviation < limits.max / 4)).squeeze(1).tolist()
    if too_large:
        raise ValueError(
            f"features must be finite, and far from the largest number of their precision ({limits.max:.2g}); not so "
            f"in {len(too_large)} columns, the first is column {too_large[0]}: remove NaN and infinity, or scale down"
        )
    told = (deviation > 10 * limits.eps * mean.abs()) & (deviation > limits.tiny / limits.eps)
    return {"mean": mean.to(dtype), "scale": torch.where(told, deviation, torch.inf).to(dtype)}


def one_scale(params: Parameters, n_own: int) -> Tensor:
    """One scale for all columns but the last `n_own`, (d,): the root mean square of theirs; constants keep theirs.

    A column that hardly varies then counts for as little as it does among the features, where a scale of its own would
    blow it up.
    """
    scale = params["scale"].clone()
    shared = scale[: len(scale) - n_own]
    told = shared.isfinite()
    if told.any():
        unit = shared[told].max()
        shared[told] = unit * (shared[told] / unit).square().mean().sqrt()
    return scale


def _unit(features: Tensor) -> Tensor | None:
    """Powers of two (d,) near each feature's largest number, where squares in double precision might overflow."""
    if features.dtype != torch.float64 or features.shape[0] == 0:
        return None
    largest = torch.stack([chunk.abs().amax(0) for chunk in features.split(n_cached_rows(features))]).amax(0)
    return torch.ldexp(torch.ones_like(largest), torch.where(largest > 0, largest, 1.0).frexp().exponent - 1)


def init_basis(n_features: int, n_bases: int, generator: torch.Generator, like: Tensor) -> Parameters:
    """Random base functions: rewards of unit variance on standardised features.

    Parameters
    ----------
    n_features, n_bases : int
        d and K.
    generator : torch.Generator
        Source of the random start.
    like : Tensor
        Gives dtype and device.

    Returns
    -------
    dict of Tensor
        ``bases``.
    """
    draw = torch.randn(n_bases, n_features, generator=generator, dtype=torch.float64) / n_features**0.5
    return {"bases": draw.to(like.dtype).to(like.device)}


def column_ranks(table: Tensor) -> Tensor:
    """A number from 0 for each column of a table (n_items, d), by what it holds and not by where it stands."""
    weights = torch.randn(table.shape[0], generator=torch.Generator().manual_seed(0)).to(empty_like(table))
    return transposed_times(table, weights).argsort().argsort()


def standardise(params: Parameters, features: Tensor) -> Tensor:
    """Zero mean and unit scale, by the training items' mean and scale, in the parameters' dtype."""
    return (features.to(params["mean"].dtype) - params["mean"]).div_(params["scale"])


def standardised_table(params: Parameters, features: Tensor) -> Tensor:
    """As `standardise`, for a table to learn from: of half precision if the features are.

    The values are computed in single precision and rounded once, to as many digits as the features had. What those had
    lost stays lost: a feature whose mean is many times its deviation is known to few digits of its deviation, in half
    precision as given. Of parameters in double precision the table is in double precision, too.
    """
    if not is_half(features) or params["mean"].dtype != torch.float32:
        return standardise(params, features)
    largest = torch.finfo(features.dtype).max  # of features unlike those that the parameters are from
    return map_rows(features, lambda rows: standardise(params, rows).clamp_(-largest, largest), features.dtype)


def with_bar(table: Tensor) -> Tensor:
    """Standardised features (n_items, d) and the bar that rated responses are held against: (n_items + 1, d + 1).

    The bar is a response like the mean of all, and one more feature tells it from them: its weight is how much more or
    less a user expects.
    """
    found = table.new_zeros(table.shape[0] + 1, table.shape[1] + 1)
    found[:-1, :-1] = table
    found[-1, -1] = 1.0
    return found


def gaussian_kernel(points: Tensor, landmarks: Tensor, precision: Tensor) -> Tensor:
    r"""Gaussian kernel :math:`e^{-\gamma \lVert z - l \rVert^2}` of points (..., d) and landmarks (m, d): (..., m)."""
    distance = (points**2).sum(-1, keepdim=True) - 2 * linear(points, landmarks) + (landmarks**2).sum(-1)
    return torch.exp(-precision * distance.clamp_min(0))


def base_rewards(params: Parameters, standardised: Tensor) -> Tensor:
    """K base rewards of each item, from standardised features.

    Parameters
    ----------
    params : dict of Tensor
        From :func:`init_basis`; ``kernel.points``, ``kernel.precision`` and ``kernel.out`` (n_bases, m) with landmarks.
    standardised : Tensor of shape (..., n_features)

    Returns
    -------
    Tensor of shape (..., n_bases)
        In logits per unit of weight.
    """
    rewards = linear(standardised, params["bases"])
    if "kernel.out" in params:
        near = gaussian_kernel(standardised, params["kernel.points"], params["kernel.precision"])
        rewards = rewards + linear(near, params["kernel.out"])
    return rewards


_CANCELLATION = 1e-6  # logits that may be lost where a large constant is subtracted


def item_rewards(params: Parameters, features: Tensor) -> Tensor:
    """Base rewards (n_items, n_bases) of raw features (n_items, d), as many rows at a time as the caches hold."""
    rows = n_cached_rows(features)
    rewards = params["mean"].new_empty(features.shape[0], params["bases"].shape[0])
    rewarded = None if "kernel.out" in params else _linear_rewards(params)
    for part, chunk in zip(rewards.split(rows), features.split(rows), strict=True):
        if rewarded is None:
            part.copy_(base_rewards(params, standardise(params, chunk)))
        else:
            rewarded(chunk.to(rewards.dtype), part)
    return rewards


def _linear_rewards(params: Parameters) -> Callable[[Tensor, Tensor], Tensor]:
    """How to write linear base rewards of raw features, in one pass over them where the mean folds."""
    matrix, mean = params["bases"] / params["scale"], params["mean"]
    if not mean_folds(matrix, mean, torch.finfo(mean.dtype).eps):
        return lambda chunk, part: torch.mm(chunk - mean, matrix.T, out=part)
    offset = -(matrix @ mean)
    return lambda chunk, part: torch.addmm(offset, chunk, matrix.T, out=part)


def mean_folds(matrix: Any, mean: Any, precision: float) -> bool:
    """Whether W (x - m) may be computed as W x - W m: what cancels costs no more than a millionth of a logit.

    Parameters
    ----------
    matrix : Tensor or array of shape (n_bases, d)
        W, of base rewards from raw features.
    mean : Tensor or array of shape (d,)
    precision : float
        Spacing of the numbers around 1 that will be computed with.
    """
    return precision * float(((matrix * mean) ** 2).sum(1).max()) ** 0.5 <= _CANCELLATION
