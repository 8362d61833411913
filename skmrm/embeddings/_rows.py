"""Features of a store as arrays that are read when they are sliced."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.embeddings._shards import Shard
from skmrm.episodes.rows import PlacedRows, read_rows

__all__ = ["StoredRows"]


class StoredRows(PlacedRows):
    """Rows of a store: holds where they are, and no file open.

    Parameters
    ----------
    shards : tuple of Shard
        The files.
    rows : (n,) int array
        Rows counted over the shards one after the other, in any order.
    n_features : int
    dtype : str
        Of the files.
    """

    def __init__(self, shards: tuple[Shard, ...], rows: NDArray[np.int64], n_features: int, dtype: str) -> None:
        self.shards, self.rows = shards, rows
        self.shape, self.dtype = (len(rows), n_features), np.dtype(dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        rows = self.rows[key]
        return self._read(rows) if rows.ndim else self._read(rows[None])[0]

    def taken(self, places: NDArray[np.integer]) -> StoredRows:
        """Some of these rows in another order, not read yet."""
        return StoredRows(self.shards, self.rows[places], self.shape[1], self.dtype.name)

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        order = None if np.all(rows[1:] >= rows[:-1]) else np.argsort(rows, kind="stable")
        ascending = rows if order is None else rows[order]
        starts = np.cumsum([0, *(shard.n_rows for shard in self.shards)])
        bounds = np.searchsorted(ascending, starts)
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        for number in np.flatnonzero(np.diff(bounds)):
            own = slice(bounds[number], bounds[number + 1])
            mapped = self.shards[number].features(self.shape[1], self.dtype.name)
            found[own if order is None else order[own]] = read_rows(mapped, ascending[own] - starts[number])
        return found
