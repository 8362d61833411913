"""Shards: safetensors files of features and the keys of their texts, whole or not there, and mapped when read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from skmrm._support.files import write_durably
from skmrm.embeddings._keys import KEY_BYTES
from skmrm.exceptions import ModelFileError

__all__ = ["Shard", "read_keys", "read_shard", "shard_name", "shard_names", "write_shard"]

_ENDING = ".safetensors"
_MOST_HEADER = 1 << 20  # bytes; one of a shard has about 150


@dataclass(frozen=True)
class Shard:
    """Where the features of a shard lie in its file.

    Attributes
    ----------
    file : Path
    n_rows : int
    offset : int
        Bytes before the features; the keys come after them.
    """

    file: Path
    n_rows: int
    offset: int

    def features(self, n_features: int, dtype: str) -> NDArray[Any]:
        """Map the features, (n_rows, n_features)."""
        try:
            return np.memmap(self.file, dtype, "r", self.offset, (self.n_rows, n_features))
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{self.file} is no longer what it was when the store was opened: {error}") from error


def shard_names(folder: Path) -> list[str]:
    """Names of the shards in a folder, sorted."""
    if not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(_ENDING))


def shard_name(keys: NDArray[np.uint8]) -> str:
    """Name of the shard of these texts in this order."""
    return blake2b(keys.tobytes(), digest_size=KEY_BYTES).hexdigest() + _ENDING


def write_shard(file: Path, keys: NDArray[np.uint8], features: NDArray[Any]) -> None:
    """Write a shard in one step."""
    write_durably(file, save({"features": np.ascontiguousarray(features), "keys": np.ascontiguousarray(keys)}))


def read_shard(file: Path, n_features: int, dtype: str) -> Shard:
    """Look at the frame of a shard, not at its numbers.

    Raises
    ------
    ModelFileError
        If the file is not what `write_shard` wrote, or a part is missing.
    """
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(size, _MOST_HEADER)))
        tables = {name: (entry["dtype"], *entry["shape"]) for name, entry in header.items()}
        n_rows = int(tables["keys"][1])
        begin, end = header["features"]["data_offsets"]
    except (OSError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(f"{file} is no shard that can be read ({error}): {_REMEDY}") from error
    precision = np.dtype(dtype).itemsize
    expected = {"features": (f"F{8 * precision}", n_rows, n_features), "keys": ("U8", n_rows, KEY_BYTES)}
    n_bytes = n_rows * n_features * precision
    whole = 8 + size + n_bytes + n_rows * KEY_BYTES
    if tables != expected or (begin, end) != (0, n_bytes) or n_rows < 1:
        raise ModelFileError(f"{file} holds {tables}, a shard of this store holds {expected}: {_REMEDY}")
    if file.stat().st_size != whole:
        raise ModelFileError(f"{file} has {file.stat().st_size} bytes instead of {whole}: {_REMEDY}")
    return Shard(file, n_rows, 8 + size)


def read_keys(shard: Shard) -> NDArray[np.uint8]:
    """The keys of a shard, (n_rows, KEY_BYTES).

    Raises
    ------
    ModelFileError
        If they are not those that the shard is named after.
    """
    size = shard.n_rows * KEY_BYTES
    keys = np.fromfile(shard.file, np.uint8, size, offset=shard.file.stat().st_size - size).reshape(-1, KEY_BYTES)
    if shard_name(keys) != shard.file.name:
        raise ModelFileError(f"{shard.file} is not named after its keys, or they have changed: {_REMEDY}")
    return keys


_REMEDY = "remove this file, and encode its texts again"
