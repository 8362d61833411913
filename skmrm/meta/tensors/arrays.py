"""What gradients by hand need of numpy and of torch, under one name.

An operation on a small array costs numpy a quarter to a half of what it costs torch, and a batch of few users is
nothing but such operations. So the outer step works on numpy's views of what lies in the CPU's memory, and by the same
code on tensors elsewhere.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = [
    "Array",
    "ascending",
    "at_most",
    "constant",
    "divided",
    "filled",
    "handy",
    "joined",
    "like",
    "outer",
    "repeated",
    "safe_sqrt",
    "sigmoid",
    "softmax",
    "softplus",
    "summed",
    "tensor",
]

Array = TypeVar("Array", Tensor, NDArray[Any])


def handy(values: Tensor) -> Any:
    """A view in numpy of what lies in the CPU's memory; a tensor elsewhere."""
    return values.numpy() if values.device.type == "cpu" else values


def like(values: Tensor, other: Array) -> Array:
    """A tensor as it is, or a view of it in numpy, whichever the other is."""
    return values.numpy() if isinstance(other, np.ndarray) else values


def tensor(values: Array) -> Tensor:
    """The inverse of `like`."""
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values


def constant(values: Array) -> Array:
    """The values, through which no gradient of autograd passes back."""
    return values if isinstance(values, np.ndarray) else values.detach()


def ascending(values: Array) -> Array:
    """The values (n,) in ascending order."""
    return np.sort(values) if isinstance(values, np.ndarray) else values.sort().values


def at_most(values: Array, limit: float) -> Array:
    """The values, or the limit where that is smaller."""
    return values.clamp_max(limit) if isinstance(values, Tensor) else np.minimum(values, limit)  # may be a scalar


def joined(parts: list[Array]) -> Array:
    """All numbers of some arrays one after the other, (n,)."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=None)
    return torch.cat([part.reshape(-1) for part in parts])


def filled(values: Array, number: float) -> Array:
    """An array like another with one number everywhere."""
    return np.full_like(values, number) if isinstance(values, np.ndarray) else torch.full_like(values, number)


def repeated(row: Array, n: int) -> Array:
    """A row (k,) as each of n rows."""
    return np.repeat(row[None], n, 0) if isinstance(row, np.ndarray) else row.expand(n, -1)


def summed(values: Array) -> Array:
    """Sums over the last axis, which stays, of length 1."""
    if isinstance(values, np.ndarray):
        return np.add.reduce(values, -1, keepdims=True)
    return values.sum(-1, keepdim=True)


def outer(values: Array, vectors: Array) -> Array:
    """Products (users, pairs, k) of values (users, pairs) and vectors (users, k)."""
    if isinstance(values, np.ndarray):  # which is slow along short axes: the pairs are laid out last
        return (values * vectors.T[:, :, None]).transpose(1, 2, 0)
    return values.unsqueeze(-1) * vectors.unsqueeze(1)


def divided(above: Array, below: Array) -> Array:
    """One divided by the other, which is nowhere negative; zero where that is zero."""
    if isinstance(above, np.ndarray):
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)


def safe_sqrt(values: Array) -> Array:
    """Square root whose derivative at zero, where a pair is padding, is zero instead of infinite."""
    if isinstance(values, np.ndarray):
        return np.sqrt(values)
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)


def sigmoid(values: Array) -> Array:
    """One over one plus the exponential of minus the values."""
    if isinstance(values, np.ndarray):
        return 0.5 + 0.5 * np.tanh(0.5 * values)
    return torch.sigmoid(values)


def softplus(values: Array) -> Array:
    """Logarithm of one plus the exponential of the values."""
    if isinstance(values, np.ndarray):
        return np.log1p(np.exp(-abs(values))) + np.maximum(values, 0)
    return functional.softplus(values)


def softmax(values: Array) -> Array:
    """Exponentials of the values over their sum along the last axis."""
    if isinstance(values, np.ndarray):
        raised = np.exp(values - np.maximum.reduce(values, -1, keepdims=True))
        return raised / np.add.reduce(raised, -1, keepdims=True)
    return torch.softmax(values, -1)
