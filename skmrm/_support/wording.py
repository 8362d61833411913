"""Words for error messages: counts, and what came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

__all__ = ["counted", "described", "name_some", "raise_all"]


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


def name_some(names: Iterable[object], limit: int = 3) -> str:
    """List the first few names and count the rest: ``'u1', 'u2', 'u3' and 4 more``."""
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:limit])
    rest = len(listed) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def raise_all(problems: Sequence[str], what: str = "") -> None:
    """Raise one ValueError that lists all problems, if there are any; `what` they are of comes first."""
    if problems:
        raise ValueError((f"{what}: " if what else "") + "; ".join(problems))
