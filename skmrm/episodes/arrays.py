"""Small helpers for arrays: object columns, read-only views, comparison, the dtype policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.arrays import is_bfloat16
from skmrm.exceptions import EpisodeError

__all__ = [
    "SharedGroups",
    "feature_dtype_problem",
    "id_array",
    "index_column",
    "is_missing",
    "object_array",
    "read_only",
    "same",
    "value_column",
    "without_torch",
]


class SharedGroups(np.ndarray):
    """Codes of groups that mean the same for all users: an array that says so wherever it, or a part of it, goes."""


def object_array(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.object_]:
    """Put values into a 1-D object array without looking into them."""
    if isinstance(values, np.ndarray):
        if values.dtype == object and values.ndim == 1:
            return values
        if values.ndim == 1 and values.dtype.kind not in "mM":
            values = values.tolist()
    return np.fromiter(values, dtype=object, count=len(values))


def id_array(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.object_]:
    """Put ids into an object array; NumPy scalars become Python's, so that errors and files name them plainly."""
    array = object_array(values)
    if any(issubclass(kind, np.generic) for kind in set(map(type, array))):
        plain = (v.item() if isinstance(v, np.generic) and v.dtype.kind not in "mM" else v for v in array)
        return np.fromiter(plain, dtype=object, count=len(array))
    return array


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """View an array read-only; the array that came in stays writable for its owner."""
    view = array.view()
    view.setflags(write=False)
    return view


def index_column(values: ArrayLike, name: str, dtype: type) -> NDArray[Any]:
    """Take a column of row numbers or codes, read-only."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise EpisodeError(f"column '{name}' must be one-dimensional, got shape {array.shape}")
    if array.dtype.kind not in "iu" and len(array):
        raise EpisodeError(f"column '{name}' must hold integers, got {array.dtype}: pass row numbers or codes")
    return read_only(array.astype(dtype, copy=False))


def value_column(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Take a column of numbers, read-only; of times, too, in seconds since 1970 (UTC)."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise EpisodeError(f"column '{name}' must be one-dimensional, got shape {array.shape}")
    if array.dtype.kind == "M":
        seconds = array.astype("datetime64[ns]").astype(np.int64) / 1e9
        return read_only(np.where(np.isnat(array), np.nan, seconds))
    if array.dtype.kind not in "iufb" and len(array):
        raise EpisodeError(f"column '{name}' must hold numbers, got {array.dtype}")
    return read_only(array.astype(np.float64, copy=False))


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, NaT or a table library's NA."""
    if value is None:
        return True
    try:
        return bool(value != value)  # NaN and NaT differ from themselves
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def feature_dtype_problem(features: Any) -> str:
    """Say what is wrong with the dtype of features; empty if nothing is."""
    dtype = getattr(features, "dtype", None)
    if isinstance(dtype, np.dtype) and (dtype.type in (np.float16, np.float32, np.float64) or is_bfloat16(dtype)):
        return ""
    return f"{type(features).__name__} of dtype {dtype}: convert it to a float32 or float64 NumPy array"


def without_torch(values: Any) -> Any:
    """A tensor of torch as an array of the same memory; anything else as it is.

    A gradient is left behind: nothing here differentiates with respect to features.

    Raises
    ------
    ValueError
        If NumPy cannot have it: a tensor of another device, or of bfloat16 where ml_dtypes is missing.
    """
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is None or not isinstance(values, torch.Tensor):
        return values
    tensor = values.detach()
    if tensor.device.type != "cpu":
        raise ValueError(f"a tensor must be on the CPU, got one on {tensor.device}: pass its .cpu()")
    if tensor.dtype != torch.bfloat16:
        return tensor.numpy()
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise ValueError(
            "a bfloat16 tensor needs the package ml_dtypes, without which NumPy has no such numbers: "
            "pip install ml_dtypes, or pass its .half() or .float()"
        ) from error
    return tensor.view(torch.int16).numpy().view(bfloat16)


def same(ours: Any, theirs: Any) -> bool:
    """Whether two columns, features or lists hold the same values."""
    if ours is theirs:
        return True
    if ours is None or theirs is None:
        return False
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        return np.array_equal(np.asarray(ours), np.asarray(theirs))
    return bool(ours == theirs)
