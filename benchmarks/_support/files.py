"""Files that are either whole or not there, and digests that say what they were made from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["digest", "read_json", "write_json"]


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one step: a reader finds the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON; None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def digest(*parts: Any) -> str:
    """SHA-256 of arrays and of anything that JSON or str can write; equal only for equal parts in equal order."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            content = f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        else:
            content = json.dumps(part, ensure_ascii=False, sort_keys=True, default=str).encode()
        found.update(f"{len(content)}:".encode() + content)
    return found.hexdigest()
