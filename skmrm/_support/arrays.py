"""What numpy has no name for."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["is_bfloat16"]


def is_bfloat16(dtype: Any) -> bool:
    """Whether a dtype is bfloat16, which NumPy has from the package ml_dtypes where that is installed."""
    return isinstance(dtype, np.dtype) and dtype.name == "bfloat16"
