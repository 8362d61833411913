"""Arrays of numpy as tensors of torch, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm._support.arrays import is_bfloat16

__all__ = ["Arrays", "as_one_array", "as_tensor", "as_tensors", "numpy_parameters"]


Arrays = Mapping[str, NDArray[Any]]


def numpy_parameters(params: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Parameters that the core learnt, as numpy arrays."""
    return {name: value.detach().cpu().numpy() for name, value in params.items()}


def as_tensors(params: Arrays, device: torch.device) -> dict[str, torch.Tensor]:
    """The inverse of `numpy_parameters`."""
    return {name: as_tensor(value, device) for name, value in params.items()}


def as_one_array(parts: Sequence[torch.Tensor]) -> NDArray[Any]:
    """Parts one after the other, as a numpy array; one part is not copied."""
    return (parts[0] if len(parts) == 1 else torch.cat(list(parts))).cpu().numpy()


def as_tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Share memory where torch can: not with read-only or reversed arrays."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if is_bfloat16(array.dtype):  # of which torch knows the bits, not NumPy's name for them
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)
