"""What numpy has no name for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["encoded_rows", "is_bfloat16", "plain"]


def encoded_rows(encoder: Any, items: Any) -> NDArray[Any]:
    """What a fitted encoder makes of texts as an array, in whatever container ``set_config`` has it return them."""
    return np.ascontiguousarray(encoder.transform(items))


def is_bfloat16(dtype: Any) -> bool:
    """Whether a dtype is bfloat16, which NumPy has from the package ml_dtypes where that is installed."""
    return isinstance(dtype, np.dtype) and dtype.name == "bfloat16"


def plain(value: Any) -> Any:
    """A number or array of numpy as Python's numbers; anything else as it is."""
    if isinstance(value, np.longdouble):
        return float(value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
