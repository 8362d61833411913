"""Keys of 64 bits for what texts and rows of numbers hold, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Keys", "Rows", "mixed", "text_keys"]

Keys = NDArray[np.uint64]

_LEVELS = 1 << 32
_GOLDEN = 0.6180339887498949  # irrational, so that few sets of round numbers have one score
_CHUNK_CELLS = 1 << 15  # numbers at a time: with their keys they stay in a core's cache


def text_keys(texts: Iterable[str]) -> Keys:
    """Digest of each text, the same in every process."""
    digests = (blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def mixed(keys: Keys) -> Keys:
    """Keys of which every bit depends on every bit of the given ones (the finaliser of splitmix64)."""
    return _mix(keys.copy())


def _mix(keys: Keys) -> Keys:
    """As `mixed`, in place."""
    shifted = np.right_shift(keys, np.uint64(30))
    keys ^= shifted
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(keys, np.uint64(27), out=shifted)
    keys ^= shifted
    keys *= np.uint64(0x94D049BB133111EB)
    np.right_shift(keys, np.uint64(31), out=shifted)
    keys ^= shifted
    return keys


class Rows:
    """Some rows of an array of floats in memory, a few at a time.

    Parameters
    ----------
    features : (n_items, n_features) array
    rows : (n,) int array
    """

    def __init__(self, features: NDArray[Any], rows: NDArray[np.integer]) -> None:
        self._features, self._rows = features, rows

    def keys(self, column_keys: Keys, scale: NDArray[np.float64] | None = None) -> Keys:
        """Key of each row, (n,): that of the set of its (number, column key); -0.0 and 0.0 are one number.

        With a scale (n_features,), the numbers are multiplied by it in double precision.
        """
        found = np.empty(len(self._rows), np.uint64)
        for own, chunk in self._chunks():
            with np.errstate(all="ignore"):
                bits = _bits(chunk if scale is None else chunk * scale)
            bits ^= column_keys
            found[own] = _mix(bits).sum(1, dtype=np.uint64)
        return found

    def inverse_scale(self) -> NDArray[np.float64]:
        """Power of two of which the largest number of each column is at most one, (n_features,)."""
        largest = np.zeros(self._features.shape[1])
        for _, chunk in self._chunks():
            np.maximum(largest, np.abs(chunk).max(0), out=largest)
        # of nothing but the smallest numbers that there are, the inverse is no number
        return np.ldexp(1.0, -np.maximum(np.frexp(largest)[1], -1000))

    def same_as(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each row has the numbers of another one's, (n,) bool."""
        found = np.empty(len(rows), bool)
        for (own, ours), (_, theirs) in zip(self._chunks(), Rows(self._features, rows)._chunks(), strict=True):
            found[own] = (_bits(ours) == _bits(theirs)).all(1)
        return found

    def scores(self) -> NDArray[np.int64]:
        """A number for each row that hardly depends on precision, and not on units nor on the order of columns.

        With u between 0 and 1 where a number lies in its column, the mean over columns of a curve of u, times one and
        the column's mean of u. Columns of one number do not count.
        """
        n = self._features.shape[1]
        low, high, total = np.full(n, np.inf), np.full(n, -np.inf), np.zeros(n)
        for _, chunk in self._chunks():
            np.minimum(low, chunk.min(0), out=low)
            np.maximum(high, chunk.max(0), out=high)
            total += chunk.sum(0, dtype=np.float64)
        found = np.zeros(len(self._rows), np.int64)
        columns = np.flatnonzero(low < high)
        with np.errstate(all="ignore"):  # numbers too large to subtract, or not finite, leave scores to keys
            low, width = low[columns], high[columns] - low[columns]
            weight = (1 + (total[columns] / max(1, len(self._rows)) - low) / width) / max(1, len(columns))
            for own, chunk in self._chunks():
                u = (chunk[:, columns] - low) / width
                found[own] = np.rint(np.nan_to_num(u * (1 + _GOLDEN * u) @ weight) * _LEVELS)
        return found

    def _chunks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        step = max(1, _CHUNK_CELLS // self._features.shape[1])
        for start in range(0, len(self._rows), step):
            own = slice(start, start + step)
            yield own, self._features[self._rows[own]]


def _bits(chunk: NDArray[Any]) -> Keys:
    chunk = chunk + chunk.dtype.type(0)  # -0.0 + 0.0 is 0.0
    return chunk.view(f"u{chunk.dtype.itemsize}").astype(np.uint64)
