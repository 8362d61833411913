"""Rows of users as the records of a file: numbers as bytes, ids as texts, and a checksum beside each."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.arrays import id_array
from skmrm.episodes.history import History
from skmrm.estimators.user_ids import id_of, id_texts
from skmrm.estimators.user_rows import UserRows

__all__ = ["Place", "RecordForm", "user_of"]

Place = tuple[int, str, str | None]  # number of the row, key, and the id exactly where that is another text
Record = tuple[Any, ...]


@dataclass(frozen=True)
class RecordForm:
    """What the records of a file hold.

    Attributes
    ----------
    n_bases : int
    dtype : str
        Of weights, in the order of bytes of the file.
    covariance : str or None
        Of posterior covariances; None where there are none.
    keeps_history : bool
    """

    n_bases: int
    dtype: str
    covariance: str | None
    keeps_history: bool

    @classmethod
    def of(cls, rows: UserRows) -> RecordForm:
        """That which has all that rows like these have."""
        own = None if rows.covariance is None else _in_file(rows.covariance)
        return cls(rows.weights.shape[1], _in_file(rows.weights), own, rows.history is not None)

    @property
    def has_details(self) -> bool:
        """Whether there is more than weights."""
        return self.covariance is not None or self.keeps_history

    def records(self, rows: UserRows, places: Sequence[Place]) -> Iterator[Record]:
        """Number, key, id, number of choices, weights, checksum."""
        for place, n, blob in zip(places, rows.n_pairs.tolist(), _blobs(rows.weights, self.dtype), strict=True):
            yield (*place, n, blob, _checksum(place[1], n, blob))

    def details(self, rows: UserRows, places: Sequence[Place]) -> Iterator[Record]:
        """Number, covariance, history, checksum.

        Raises
        ------
        ValueError
            If the file has covariances, and the rows do not.
        """
        from safetensors.numpy import save

        own: Sequence[bytes | None] = [None] * len(rows)
        if self.covariance is not None:
            if rows.covariance is None:
                raise ValueError("users of a file with posterior covariances must have them: adapt them with the model")
            own = _blobs(rows.covariance, self.covariance)
        said: Sequence[bytes | None] = [None] * len(rows)
        if self.keeps_history and rows.history is not None:
            columns = ({name: np.ascontiguousarray(c) for name, c in one.items()} for one in rows.history.each())
            said = list(map(save, columns))
        for (row, key, _), covariance, one in zip(places, own, said, strict=True):
            yield row, covariance, one, _checksum(key, len(covariance or b""), covariance, one)

    def rows(self, records: Sequence[Record], whole: bool) -> UserRows:
        """Rows of records, each followed by its details where they are to be `whole`.

        Raises
        ------
        ValueError
            If a record is not as it was written. Whatever is raised says that it is damaged.
        """
        dtype, covariance, history = np.dtype(self.dtype), None, None
        for _, key, _, n, blob, checksum, *_ in records:
            if checksum != _checksum(key, n, blob) or len(blob) != self.n_bases * dtype.itemsize:
                raise _damaged(key)
        if whole and self.has_details:
            for _, key, *_, own, said, checksum in records:
                if checksum != _checksum(key, len(own or b""), own, said):
                    raise _damaged(key)
            if self.covariance is not None:
                covariance = _joined([record[6] for record in records], self.covariance, (self.n_bases, self.n_bases))
            if self.keeps_history:
                history = self._histories([record[7] for record in records])
        users = id_array([user_of(record[1], record[2]) for record in records])
        weights = _joined([record[4] for record in records], self.dtype, (self.n_bases,))
        return UserRows(users, weights, np.array([record[3] for record in records], np.intp), covariance, history)

    def _histories(self, blobs: Sequence[bytes | None]) -> History:
        from safetensors.numpy import load

        gaps = np.empty((0, self.n_bases), np.dtype(self.dtype).newbyteorder("="))
        nothing = History(gaps, np.empty(0, np.intp), 1)
        found = [nothing if blob is None else History.of_arrays(load(blob), self.n_bases) for blob in blobs]
        return History.stacked(found) if found else History(gaps, nothing.user, 0)


def user_of(key: str, text: str | None) -> Hashable:
    """Id of a record; a ValueError says that it is damaged."""
    found = id_of(key if text is None else text)
    if text is not None and id_texts(found)[0] != key:
        raise _damaged(key)
    return found


def _damaged(key: object) -> ValueError:
    return ValueError(f"the row of user {key!s:.80} is not as it was written")


def _in_file(array: NDArray[Any]) -> str:
    return str(array.dtype.newbyteorder("<").str)


def _blobs(array: NDArray[Any], dtype: str) -> list[bytes]:
    """Each row's numbers."""
    return [row.tobytes() for row in np.ascontiguousarray(array, np.dtype(dtype))]


def _joined(blobs: Sequence[bytes], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    found = np.frombuffer(b"".join(blobs), np.dtype(dtype))
    return found.astype(found.dtype.newbyteorder("="), copy=False).reshape(-1, *shape)


def _checksum(key: str, n: int, *blobs: bytes | None) -> int:
    found = zlib.crc32(f"{key} {n}".encode())
    for blob in blobs:
        found = zlib.crc32(blob or b"", found)
    return found
