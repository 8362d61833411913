"""JSON documents that carry a digest of themselves, and files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from skmrm._support.arrays import plain

__all__ = [
    "PARTIAL",
    "as_json",
    "content_digest",
    "file_digest",
    "folder_digest",
    "is_intact",
    "json_object",
    "move_into_place",
    "sealed",
    "sync_folder",
    "write_whole",
]

PARTIAL = ".partial"  # ending of a file that is being written
_SEAL = "config_sha256"
_BLOCK = 1 << 20
_SETTLED = 2.0  # seconds after which a change of a file changes its times
_MOST_FILES = 10_000


def as_json(value: Any, **style: Any) -> str:
    """A value as JSON; numbers and arrays of numpy, which searches over parameters leave behind, and paths included."""
    return json.dumps(value, default=_as_json_value, **style)


def json_object(text: bytes) -> dict[str, Any]:
    """Read a JSON document that has to be an object, of whatever bytes; anything else is a ValueError."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"a JSON object is needed, got a {type(document).__name__}")
    return document


def sealed(document: Mapping[str, Any]) -> bytes:
    """The document as JSON, with the SHA-256 of the rest of it."""
    seal = _digest(document)
    return as_json({**document, _SEAL: seal}, indent=1, ensure_ascii=False).encode()


def is_intact(document: dict[str, Any]) -> bool:
    """Whether a document is what was sealed; takes the seal off it."""
    return document.pop(_SEAL, None) == _digest(document)


def write_whole(file: Path, data: bytes) -> None:
    """Write a file in one step: a reader finds the old one or the new one."""
    partial = file.with_name(file.name + PARTIAL)
    partial.write_bytes(data)
    move_into_place(partial, file)


def move_into_place(partial: Path, file: Path) -> None:
    """Put a finished file where it belongs, after its bytes are on the disk."""
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(file)


def _as_json_value(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return plain(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(as_json(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_durably(file: Path, data: bytes) -> None:
    """Write a file in one step, and its name to the disk too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, data)
    sync_folder(file.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove files that were never finished; nobody else may be writing."""
    for file in folder.rglob(f"*{PARTIAL}"):
        file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names of files onto the disk."""
    if os.name == "nt":  # has no such thing
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def content_digest(file: Path) -> str:
    """SHA-256 of a file, taken again only where its times say that it may have changed.

    The time of modification can be set to anything: the time of the last change of any kind cannot, where there is one.
    """
    found = file.stat()
    facts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
    is_settled = os.name != "nt" and abs(time.time() - found.st_ctime) > _SETTLED
    return (_known_digest if is_settled else _known_digest.__wrapped__)(str(file.resolve()), *facts)


@lru_cache(maxsize=4096)
def _known_digest(file: str, *facts: int) -> str:
    return file_digest(Path(file))


def file_digest(file: Path) -> str:
    """SHA-256 of a file, a block at a time: it may be larger than memory."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 of all files below a folder and their names, hidden ones excepted.

    Raises
    ------
    ValueError
        If there are so many that no model can be meant.
    """
    names = sorted(
        file.relative_to(folder)
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in file.relative_to(folder).parts)
    )
    if len(names) > _MOST_FILES:
        raise ValueError(f"the folder {folder} has more than {_MOST_FILES} files")
    contents = [f"{name.as_posix()} {content_digest(folder / name)}" for name in names]
    return hashlib.sha256("\n".join(contents).encode("utf-8", "surrogateescape")).hexdigest()
