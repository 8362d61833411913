"""Shards: safetensors files of features and the keys of their texts, whole or not there, and mapped when read."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from skmrm._support.files import write_durably
from skmrm.embeddings._keys import KEY_BYTES
from skmrm.exceptions import ModelFileError

__all__ = ["Shard", "count_verified", "read_keys", "read_shard", "shard_name", "shard_names", "write_shard"]

_ENDING = ".safetensors"
_MOST_HEADER = 1 << 20  # bytes; one of a shard has about 200
_METADATA = "__metadata__"  # of safetensors
_CHECKSUM = "features_crc32"  # CRC-32 finds what disks and copies do, and is read four times as fast as BLAKE2b


@dataclass
class Shard:
    """Where the features of a shard lie in its file.

    Attributes
    ----------
    file : Path
    n_rows : int
    offset : int
        Bytes before the features; the keys come after them.
    checksum : str or None
        Of the features; None of a shard from before there was one.
    is_verified : bool
        Whether this process has compared the file with its checksum and its name.
    """

    file: Path
    n_rows: int
    offset: int
    checksum: str | None
    is_verified: bool = field(default=False, init=False)

    def features(self, n_features: int, dtype: str) -> NDArray[Any]:
        """Map the features, (n_rows, n_features), compared with their checksum the first time.

        Raises
        ------
        ModelFileError
            If the file is gone, or not what was written.
        """
        try:
            mapped = np.memmap(self.file, dtype, "r", self.offset, (self.n_rows, n_features))
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{self.file} is no longer what it was when the store was opened: {error}") from error
        if not self.is_verified:
            read_keys(self)  # features of other texts are as wrong as altered ones
            if self.checksum is not None and self.checksum != _checksum(mapped):
                raise ModelFileError(f"{self.file} has features that were altered after they were written: {_REMEDY}")
            self.is_verified = True
        return mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "is_verified": False}  # a pickle may outlive the file


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
    tables = {"features": np.ascontiguousarray(features), "keys": np.ascontiguousarray(keys)}
    write_durably(file, save(tables, {_CHECKSUM: _checksum(tables["features"])}))


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
        checksum = _checksum_in(header)
        tables = {name: (entry["dtype"], *entry["shape"]) for name, entry in header.items()}
        places = {name: entry["data_offsets"] for name, entry in header.items()}
        n_rows = int(tables["keys"][1])
    except (OSError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(f"{file} is no shard that can be read ({error}): {_REMEDY}") from error
    precision = np.dtype(dtype).itemsize
    expected = {"features": (f"F{8 * precision}", n_rows, n_features), "keys": ("U8", n_rows, KEY_BYTES)}
    n_bytes = n_rows * n_features * precision
    whole = 8 + size + n_bytes + n_rows * KEY_BYTES
    order = {"features": [0, n_bytes], "keys": [n_bytes, n_bytes + n_rows * KEY_BYTES]}
    if tables != expected or places != order or n_rows < 1:
        raise ModelFileError(f"{file} holds {tables}, a shard of this store holds {expected}: {_REMEDY}")
    if file.stat().st_size != whole:
        raise ModelFileError(f"{file} has {file.stat().st_size} bytes instead of {whole}: {_REMEDY}")
    return Shard(file, n_rows, 8 + size, checksum)


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


def count_verified(file: Path, n_features: int, dtype: str) -> int | ModelFileError:
    """Rows of a shard that agree with its checksum, 0 where it has none; or what is wrong with it."""
    try:
        shard = read_shard(file, n_features, dtype)
        shard.features(n_features, dtype)
    except ModelFileError as error:
        return error
    return 0 if shard.checksum is None else shard.n_rows


def _checksum(features: NDArray[Any]) -> str:
    return f"{zlib.crc32(features.data):08x}"


def _checksum_in(header: dict[str, Any]) -> str | None:
    """Take the checksum out of a header; None where none was written."""
    if _METADATA not in header:
        return None
    metadata = header.pop(_METADATA)
    if set(metadata) != {_CHECKSUM} or not re.fullmatch("[0-9a-f]{8}", metadata[_CHECKSUM]):
        raise ValueError(f"its metadata is {metadata}, {_CHECKSUM} is needed")
    checksum: str = metadata[_CHECKSUM]
    return checksum


_REMEDY = "remove this file, and encode its texts again"
