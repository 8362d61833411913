"""JSON documents that carry a digest of themselves, and files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["PARTIAL", "is_intact", "move_into_place", "sealed", "write_whole"]

PARTIAL = ".partial"  # ending of a file that is being written
_SEAL = "config_sha256"


def sealed(document: Mapping[str, Any]) -> bytes:
    """The document as JSON, with the SHA-256 of the rest of it."""
    seal = _digest(document)
    return json.dumps({**document, _SEAL: seal}, indent=1, ensure_ascii=False).encode()


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


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_durably(file: Path, data: bytes) -> None:
    """Write a file in one step, and its name to the disk too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, data)
    _sync_folder(file.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove files that were never finished; nobody else may be writing."""
    for file in folder.rglob(f"*{PARTIAL}"):
        file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # has no such thing
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
