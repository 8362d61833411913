"""Files that survive a power cut, and what a killed writer leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

from skmrm._documents import PARTIAL, write_whole

__all__ = ["remove_leftovers", "write_durably"]


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
