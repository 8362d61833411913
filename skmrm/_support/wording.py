"""Words for error messages: counts, and what came."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skmrm.exceptions import name_some

__all__ = ["counted", "described"]


def counted(count: int, noun: str) -> str:
    """Count a noun: ``1 pair``, ``2 pairs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def described(value: object) -> str:
    """Name what came, for an error message: ``a dict with keys 'a' and 'b'``."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    name = type(value).__name__
    article = "an" if name[:1].lower() in tuple("aeiou") else "a"
    return f"{article} {name} with keys {name_some(value)}" if isinstance(value, Mapping) else f"{article} {name}"
