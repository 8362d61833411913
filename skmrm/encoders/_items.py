"""The form in which texts reach an encoder: a list of (prompt, response)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from skmrm._support.wording import counted, described, name_some

__all__ = ["Item", "check_items", "encodable"]

Item = tuple[str, str]


def check_items(items: Any, *, minimum: int = 0) -> list[Item]:
    """Check that texts are (prompt, response) pairs.

    Parameters
    ----------
    items : iterable of (prompt, response)
        Two str each (a subclass will do, and is kept).
    minimum : int
        Fewest items that are enough.

    Returns
    -------
    list of (prompt, response)
        The same strings in tuples.

    Raises
    ------
    ValueError
        If `items` is not a collection of pairs of str, naming the first few that are not, or is too short.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Iterable):
        raise ValueError(f"an encoder needs a list of (prompt, response), got {described(items)}")
    rows = list(items)
    bad = [place for place, item in enumerate(rows) if not _is_item(item)]
    if bad:
        raise ValueError(
            f"each item must be a (prompt, response) of two str; not so for {counted(len(bad), 'item')} of "
            f"{len(rows)}, at {name_some(bad)} (the first is {_described(rows[bad[0]])}): write a response without a "
            "prompt as ('', response)"
        )
    if len(rows) < minimum:
        raise ValueError(f"at least {counted(minimum, 'item')} is needed, got {len(rows)}: pass some texts")
    return [(prompt, response) for prompt, response in rows]


def encodable(text: str) -> str:
    """Put a question mark for each half of a surrogate pair (a cut emoji, say), which UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _described(item: object) -> str:
    if isinstance(item, tuple | list) and len(item) == 2:
        return " and ".join(described(part) for part in item)
    return described(item) + (f" of length {len(item)}" if isinstance(item, tuple | list) else "")


def _is_item(item: object) -> bool:
    return (
        isinstance(item, tuple | list | np.ndarray)
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], str)
    )
