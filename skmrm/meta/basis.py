r"""Base reward functions :math:`\phi: R^d \to R^K`, features to K shared rewards.

Features are standardised, :math:`z = (x - \mathrm{mean}) / \mathrm{scale}`, and

.. math:: \phi(z) = B z + V h(z) + C \, k(L, z)

where :math:`B` is (K, d), :math:`h` an optional multi-layer perceptron and :math:`k(L, z)` optional bumps around m
landmark items (:mod:`skmrm.meta.kernel`). The linear part is always there, so that hidden layers start as a correction
to it (V = 0) and the spectral start of :mod:`skmrm.meta.spectral` serves both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from skmrm.meta.tables import is_half, map_rows, n_cached_rows

__all__ = [
    "Parameters",
    "base_rewards",
    "bumps",
    "init_basis",
    "init_standardisation",
    "standardise",
    "standardised_table",
]

Parameters = dict[str, Tensor]


def init_standardisation(features: Tensor) -> Parameters:
    """Mean and scale of each feature over the items; a feature that is constant to rounding keeps scale 1.

    In the features' precision, or in single where theirs is half.
    """
    dtype = torch.float32 if is_half(features) else features.dtype
    mean = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    square = torch.zeros_like(mean)
    chunks = features.split(n_cached_rows(features))
    for chunk in chunks:
        mean += chunk.sum(0, dtype=torch.float64)
    mean /= features.shape[0]
    for chunk in chunks:
        square += (chunk.to(torch.float64) - mean).square_().sum(0)
    deviation = (square / features.shape[0]).sqrt()
    rounding = 10 * torch.finfo(dtype).eps * mean.abs()
    scale = torch.where(deviation > rounding, deviation, 1.0)
    return {"mean": mean.to(dtype), "scale": scale.to(dtype)}


def init_basis(
    n_features: int,
    n_bases: int,
    hidden_layers: Sequence[int],
    generator: torch.Generator,
    like: Tensor,
) -> Parameters:
    """Random base functions: rewards of unit variance on standardised features, hidden layers without effect yet.

    Parameters
    ----------
    n_features, n_bases : int
        d and K.
    hidden_layers : sequence of int
        Widths of the hidden layers; empty for linear base functions.
    generator : torch.Generator
        Source of the random start.
    like : Tensor
        Gives dtype and device.

    Returns
    -------
    dict of Tensor
        ``bases``, and for hidden layers ``hidden.i.weight``, ``hidden.i.bias`` and ``hidden.out``.
    """

    def normal(rows: int, columns: int) -> Tensor:
        draw = torch.randn(rows, columns, generator=generator, dtype=torch.float64) / columns**0.5
        return draw.to(like.dtype).to(like.device)

    params = {"bases": normal(n_bases, n_features)}
    width = n_features
    for i, units in enumerate(hidden_layers):
        params[f"hidden.{i}.weight"] = normal(units, width)
        params[f"hidden.{i}.bias"] = torch.zeros(units, dtype=like.dtype, device=like.device)
        width = units
    if hidden_layers:
        params["hidden.out"] = torch.zeros(n_bases, width, dtype=like.dtype, device=like.device)
    return params


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


def bumps(points: Tensor, landmarks: Tensor, precision: Tensor) -> Tensor:
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
    if "hidden.out" in params:
        hidden, layer = standardised, 0
        while f"hidden.{layer}.weight" in params:
            hidden = silu(linear(hidden, params[f"hidden.{layer}.weight"], params[f"hidden.{layer}.bias"]))
            layer += 1
        rewards = rewards + linear(hidden, params["hidden.out"])
    if "kernel.out" in params:
        near = bumps(standardised, params["kernel.points"], params["kernel.precision"])
        rewards = rewards + linear(near, params["kernel.out"])
    return rewards
