"""Ids of users as texts that a file can hold: what comes back equals what went in, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

__all__ = ["id_of", "id_texts"]


def id_texts(user: Hashable) -> tuple[str, str]:
    """An id as JSON, twice: a key that is the same for equal ids, as 1, 1.0 and True are, and what it is exactly.

    Raises
    ------
    ValueError
        If it is of a kind that a file cannot give back.
    """
    if type(user) is str:
        text = json.dumps(user)
        return text, text
    if isinstance(user, np.generic) and user.dtype.kind not in "mM":
        user = user.item()
    try:
        key, text = (json.dumps(plain(user), allow_nan=False) for plain in (_by_value, _exact))
        if id_of(text) == user:
            return key, text
    except (TypeError, ValueError, OverflowError, ArithmeticError, RecursionError):
        pass  # one error for whatever such an id lacks
    raise ValueError(
        "ids of users in a file are texts, finite numbers, booleans, bytes, dates, datetimes, timedeltas, Decimals, "
        f"UUIDs, or tuples of these, got {user!r:.80} of type {type(user).__name__}: convert them, perhaps to texts"
    )


def id_of(text: str) -> Hashable:
    """The id, from what it is exactly."""
    if text[0] == text[-1] == '"' and "\\" not in text:  # as most are, and several times as fast
        return text[1:-1]
    return _read(json.loads(text))


_MOST_DIGITS = 1000  # of a Decimal, before or behind the point
_Kind = tuple[type[Any], Callable[[Any], Any], Callable[[Any], Hashable]]
# What JSON lacks, written as an object with one name; a datetime is a date, too, and so comes first.
_KINDS: dict[str, _Kind] = {
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "timedelta": (timedelta, lambda t: [t.days, t.seconds, t.microseconds], lambda parts: timedelta(*parts)),
    "Decimal": (Decimal, str, Decimal),
    "UUID": (UUID, str, UUID),
}


def _exact(user: Any) -> Any:
    if isinstance(user, tuple):
        return [_exact(part) for part in user]
    if isinstance(user, str | int | float):
        return user
    for name, (kind, written, _) in _KINDS.items():
        if isinstance(user, kind):
            return {name: written(user)}
    raise TypeError("no kind of id")


def _by_value(user: Any) -> Any:
    if isinstance(user, tuple):
        return [_by_value(part) for part in user]
    if isinstance(user, Decimal) and abs(user.adjusted()) > _MOST_DIGITS:
        raise OverflowError("too many digits")
    if isinstance(user, int | float | Decimal):
        above, below = user.as_integer_ratio()
        return above if below == 1 else {"ratio": [above, below]}
    if isinstance(user, datetime) and user.tzinfo is not None:
        return {"instant": user.astimezone(timezone.utc).isoformat()}
    return _exact(user)


def _read(value: Any) -> Hashable:
    if isinstance(value, list):
        return tuple(_read(part) for part in value)
    if isinstance(value, dict):
        ((name, written),) = value.items()
        return _KINDS[name][2](written)
    if value is None:
        raise ValueError("null is no id")
    return value
