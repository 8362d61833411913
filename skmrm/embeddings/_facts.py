"""What a store says of itself in ``store.json``: whose features it holds, and in what form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skmrm._support.files import is_intact, json_object, sealed, write_durably
from skmrm.exceptions import ModelFileError, reading

__all__ = ["FACTS_FILE", "StoreFacts", "read_facts"]

FACTS_FILE = "store.json"
_FORMAT = 1
_SHOWN = 40  # characters of a value that an error shows
_ABSENT = object()


@dataclass(frozen=True)
class StoreFacts:
    """Facts that must not change while a store exists.

    Attributes
    ----------
    identity : dict
        All that decides an encoder's numbers, as JSON has it.
    n_features : int
    dtype : {"float32", "float16"}
    rows_per_shard : int
    """

    identity: dict[str, Any]
    n_features: int
    dtype: str
    rows_per_shard: int

    def write(self, folder: Path) -> None:
        """Write them in one step."""
        write_durably(folder / FACTS_FILE, sealed({"format": _FORMAT, **asdict(self)}))

    def differences(self, asked: Mapping[str, Any]) -> list[str]:
        """What of the facts asked for is another, with both values; None asks for nothing."""
        wanted = {name: value for name, value in asked.items() if value is not None}
        ours = _flat({name: getattr(self, name) for name in wanted})
        theirs = _flat(wanted)
        names = [name for name in {**ours, **theirs} if ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)]
        return [
            f"{name.removeprefix('identity.')}: {_shown(name, ours, theirs)} in the store, "
            f"{_shown(name, theirs, ours)} asked for"
            for name in names
        ]


def read_facts(folder: Path) -> StoreFacts | None:
    """Read what a store says of itself; None where there is no store.

    Raises
    ------
    ModelFileError
        If the file is damaged, or of a newer format.
    """
    file = folder / FACTS_FILE
    with reading(f"{file} cannot be read", _REMEDY):
        try:
            found = json_object(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        intact = is_intact(found)
    if found.pop("format", None) != _FORMAT:
        raise ModelFileError(f"{file} is of a format that this version of skmrm does not know: upgrade skmrm")
    if not intact:
        raise ModelFileError(f"{file} was altered after it was written: {_REMEDY}")
    with reading(f"{file} does not say what a store holds", _REMEDY):
        facts = StoreFacts(**found)
        _check_kinds(facts)
    return facts


def _check_kinds(facts: StoreFacts) -> None:
    sizes = facts.n_features, facts.rows_per_shard
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 < size < 1 << 40 for size in sizes):
        raise ValueError(f"n_features and rows_per_shard have to be positive integers, got {sizes}")
    if facts.dtype not in ("float32", "float16") or not isinstance(facts.identity, dict):
        raise ValueError(f"dtype={facts.dtype!r:.40}, identity of {type(facts.identity).__name__}")


_REMEDY = "put the file back, or encode into another folder"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    return dict(_leaves(value, name))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Values of nested dicts by their path: ``identity.files.config``."""
    if not isinstance(value, Mapping) or not value:
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}" if name else str(key))


def _shown(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """One of two values that differ, cut to the place where they do."""
    if name not in ours:
        return "nothing"
    text, other = repr(ours[name]), repr(theirs.get(name))
    if len(text) <= _SHOWN:
        return text
    first = next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    begin = max(0, min(first - _SHOWN // 4, len(text) - _SHOWN))
    return ("…" if begin else "") + text[begin : begin + _SHOWN] + ("…" if begin + _SHOWN < len(text) else "")
