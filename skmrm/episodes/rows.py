"""Rows of feature arrays that may lie on disk: read in large pieces, chosen and joined without a copy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["JoinedRows", "LazyRows", "PlacedRows", "RowView", "in_memory", "read_rows", "row_chunks"]

_CHUNK_BYTES = 1 << 26
# Rows that are read and thrown away to read the others in one piece, at most, as a multiple of those wanted.
_WASTE = 1.5


def in_memory(features: Any) -> bool:
    """Whether features are a plain array, and no memory map or another array-like."""
    return isinstance(features, np.ndarray) and not isinstance(features, np.memmap)


def read_rows(features: Any, rows: NDArray[np.integer]) -> NDArray[Any]:
    """Rows in ascending order of an array-like: in one sequential read if they are close together."""
    if len(rows) == 0:
        return np.empty((0, features.shape[1]), features.dtype)
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first <= _WASTE * len(rows):
        return np.asarray(features[first:last])[rows - first]
    return np.asarray(features[rows])


def row_chunks(features: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    """First row and rows of one chunk after the other, so large that reads are long and memory is bounded."""
    step = max(1, _CHUNK_BYTES // (features.shape[1] * max(4, np.dtype(features.dtype).itemsize)))
    return ((start, np.asarray(features[start : start + step])) for start in range(0, features.shape[0], step))


class LazyRows(ABC):
    """A two-dimensional array of which rows are read when they are asked for."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows at once."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    @abstractmethod
    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Rows by a slice, an int array or a mask; one row by an integer."""


class RowView(LazyRows):
    """Some rows of an array-like.

    Parameters
    ----------
    features : array-like of shape (n_items, n_features)
    rows : (n,) int array, ascending
    """

    def __init__(self, features: Any, rows: NDArray[np.integer]) -> None:
        inner = isinstance(features, RowView)
        self.features: Any = features.features if inner else features
        self.rows: NDArray[np.integer] = features.rows[rows] if inner else rows
        self.shape = (len(rows), features.shape[1])
        self.dtype = np.dtype(features.dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Rows by a slice, or by an ascending integer array."""
        return read_rows(self.features, self.rows[key])


class PlacedRows(LazyRows):
    """Rows that know where they lie in files, in any order.

    Attributes
    ----------
    rows : (n,) int array
        Their places; reading is fast in ascending order.
    """

    rows: NDArray[np.int64]

    @abstractmethod
    def taken(self, places: NDArray[np.integer]) -> PlacedRows:
        """Some of these rows in another order, not read yet."""


class JoinedRows(PlacedRows):
    """Rows in files with further columns beside them, which are few and held in memory; of the files' precision.

    Parameters
    ----------
    stored : PlacedRows
    columns : (n, n_columns) array
    """

    def __init__(self, stored: PlacedRows, columns: NDArray[Any]) -> None:
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
