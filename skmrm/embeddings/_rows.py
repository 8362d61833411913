"""Features of a store as arrays that are read when they are sliced."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.embeddings._shards import Shard
from skmrm.episodes import EpisodeSet
from skmrm.episodes.rows import LazyRows, read_rows

__all__ = ["JoinedRows", "StoredRows", "in_stored_order"]


class StoredRows(LazyRows):
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


class JoinedRows(LazyRows):
    """Rows of a store with further columns beside them, which are few and held in memory; of the store's precision.

    Parameters
    ----------
    stored : StoredRows
    columns : (n, n_columns) array
    """

    def __init__(self, stored: StoredRows, columns: NDArray[Any]) -> None:
        self.stored, self.columns = stored, columns
        self.rows = stored.rows
        self.shape, self.dtype = (len(stored), stored.shape[1] + columns.shape[1]), stored.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.hstack([self.stored[key], self.columns[key]], dtype=self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows at once; in a higher precision, the columns as they are."""
        return np.hstack([self.stored[:], self.columns], dtype=dtype or self.dtype)

    def taken(self, places: NDArray[np.integer]) -> JoinedRows:
        """Some of these rows in another order, not read yet."""
        return JoinedRows(self.stored.taken(places), self.columns[places])


def in_stored_order(episodes: EpisodeSet) -> EpisodeSet:
    """The same choices over items in the order in which a store has them, so that files are read from start to end.

    A set whose features are in no store is returned as it is.
    """
    features = episodes.features
    if not isinstance(features, StoredRows | JoinedRows):
        return episodes
    order = np.argsort(features.rows, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ordered = EpisodeSet(
        users=episodes.users,
        user=episodes.user,
        chosen=place[episodes.chosen],
        rejected=place[episodes.rejected],
        group=episodes.group,
        features=features.taken(order),
        items=None if episodes.items is None else [episodes.items[row] for row in order],
    )
    ordered.mark_checked()  # the store takes finite numbers only
    return ordered
