"""The index of a store: which row of all shards, laid end to end, belongs to a key. A cache of what the shards say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from skmrm._support.files import write_durably
from skmrm.embeddings._keys import KEY_BYTES, sortable
from skmrm.embeddings._shards import Shard, read_keys

__all__ = ["INDEX_FILE", "Index", "load_index"]

INDEX_FILE = "index.safetensors"
_FACTS = "skmrm"


@dataclass(frozen=True)
class Index:
    """Keys and where their features are.

    Attributes
    ----------
    shards : tuple of Shard
        In the order of their names.
    keys : (n, KEY_BYTES) uint8 array
        Distinct, sorted.
    rows : (n,) int64 array
        Row of each key, counted over the shards one after the other. Of a key in two shards the first one counts.
    """

    shards: tuple[Shard, ...]
    keys: NDArray[np.uint8]
    rows: NDArray[np.int64]

    @cached_property
    def names(self) -> list[str]:
        """Names of the shards."""
        return [shard.file.name for shard in self.shards]

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Row of each of some keys, (n,); -1 where there is none."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1, np.int64)
        known, wanted = sortable(self.keys), sortable(keys)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[places] == wanted, self.rows[places], -1)

    def save(self, folder: Path) -> None:
        """Write the index, byte for byte the same for the same shards."""
        tables: dict[str, NDArray[Any]] = {"keys": self.keys, "rows": self.rows}
        facts = {"shards": self.names, "digest": _digest(self.keys, self.rows)}
        write_durably(folder / INDEX_FILE, save(tables, {_FACTS: json.dumps(facts)}))


def load_index(folder: Path, shards: tuple[Shard, ...]) -> tuple[Index, bool]:
    """Read the index of these shards, or make it of them where the file is absent, damaged, or of other shards.

    Returns
    -------
    Index
    bool
        Whether it was read.
    """
    found = _read_tables(folder / INDEX_FILE, [shard.file.name for shard in shards])
    if found is not None:
        return Index(shards, *found), True
    keys = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *map(read_keys, shards)])
    order = np.argsort(sortable(keys), kind="stable")  # of equal keys that of the first shard stays the first
    keys = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = (keys[1:] != keys[:-1]).any(1)
    return Index(shards, keys[is_first], order[is_first].astype(np.int64)), False


def _read_tables(file: Path, names: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    try:
        with safe_open(file, "np") as opened:
            facts = json.loads(opened.metadata()[_FACTS])
            if facts["shards"] != names:
                return None
            keys, rows = opened.get_tensor("keys"), opened.get_tensor("rows")
        is_intact = keys.dtype == np.uint8 and rows.dtype == np.int64 and keys.shape == (len(rows), KEY_BYTES)
        return (keys, rows) if is_intact and facts["digest"] == _digest(keys, rows) else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _digest(keys: NDArray[np.uint8], rows: NDArray[np.int64]) -> str:
    digest = blake2b(keys.data, digest_size=KEY_BYTES)
    digest.update(rows.data)
    return digest.hexdigest()
