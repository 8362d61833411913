"""Rows of many users, and a table of them in memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.arrays import id_array
from skmrm.episodes.history import History

__all__ = ["UserRows", "UserTable", "UsersInMemory", "frozen", "rows_at_a_time"]

_BLOCK_BYTES = 1 << 23


@dataclass(frozen=True)
class UserRows:
    """Some users, a row each.

    Attributes
    ----------
    users : (n_users,) object array
    weights : (n_users, n_bases) array
    n_pairs : (n_users,) int array
    covariance : (n_users, n_bases, n_bases) array or None
    history : History or None
        What they said. Of users whose choices were dropped it has none, although they have `n_pairs`.
    """

    users: NDArray[Any]
    weights: NDArray[Any]
    n_pairs: NDArray[Any]
    covariance: NDArray[Any] | None = None
    history: History | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.intp], whole: bool = True) -> UserRows:
        """Some of them, in that order; weights and counts alone where these are not to be `whole`."""
        where = _slice(rows)
        return UserRows(
            self.users[where],
            self.weights[where],
            self.n_pairs[where],
            None if self.covariance is None or not whole else self.covariance[where],
            None if self.history is None or not whole else self.history.take(rows),
        )

    @classmethod
    def stacked(cls, parts: Sequence[UserRows]) -> UserRows:
        """One after the other; covariances, and what was said, where all parts have them."""
        covariances = [part.covariance for part in parts if part.covariance is not None]
        histories = [part.history for part in parts if part.history is not None]
        return cls(
            np.concatenate([part.users for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([part.n_pairs for part in parts]),
            np.concatenate(covariances) if len(covariances) == len(parts) else None,
            History.stacked(histories) if len(histories) == len(parts) else None,
        )

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Whose choices were dropped, (n_users,)."""
        return self.n_pairs > (0 if self.history is None else self.history.pairs_per_user)


class UserTable(Protocol):
    """Where users are, and how they are reached; a `whole` row has covariance and history, too."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Hashable]: ...

    def __contains__(self, user: object) -> bool: ...

    def read(self, users: Sequence[Hashable], whole: bool = False) -> UserRows:
        """Rows of these users, in that order; a KeyError has a list of those that are not there."""
        ...

    def all(self, whole: bool = False) -> UserRows:
        """All rows at once."""
        ...

    def blocks(self, whole: bool = False) -> Iterator[UserRows]:
        """All rows, some at a time, and at least one block."""
        ...

    def changing(self) -> AbstractContextManager[None]:
        """While rows are read and what follows from them is put, nobody else changes any; all is put, or nothing."""
        ...

    def put(self, rows: UserRows) -> UserTable:
        """These in place of the users' rows, and behind all others where there are none."""
        ...


class UsersInMemory:
    """A table that is never changed: `put` makes another."""

    def __init__(self, rows: UserRows) -> None:
        self.rows = rows
        self._row = {user: row for row, user in enumerate(rows.users.tolist())}

    def __reduce__(self) -> tuple[type[UsersInMemory], tuple[UserRows]]:
        return type(self), (self.rows,)

    def __len__(self) -> int:
        return len(self._row)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._row)

    def __contains__(self, user: object) -> bool:
        return user in self._row

    def read(self, users: Sequence[Hashable], whole: bool = False) -> UserRows:
        """Rows of these users, in that order."""
        unknown = [user for user in users if user not in self._row]
        if unknown:
            raise KeyError(unknown)
        return self.rows.take(np.array([self._row[user] for user in users], np.intp), whole)

    def all(self, whole: bool = False) -> UserRows:
        """All rows at once."""
        return self.rows

    def blocks(self, whole: bool = False) -> Iterator[UserRows]:
        """All rows, some at a time."""
        step = rows_at_a_time(self.rows, whole)
        for start in range(0, max(1, len(self)), step):
            yield self.rows.take(np.arange(start, min(start + step, len(self))), whole)

    def changing(self) -> AbstractContextManager[None]:
        """Nobody changes anything here."""
        return nullcontext()

    def put(self, rows: UserRows) -> UsersInMemory:
        """A table with these in place of the users' rows, or behind all others."""
        named = rows.users.tolist()
        place = {user: len(self) + row for row, user in enumerate(named)}
        kept = [place.pop(user, row) for user, row in self._row.items()]
        both = UserRows.stacked([self.rows, rows]).take(np.array([*kept, *place.values()], np.intp))
        users = id_array([*self._row, *place])  # which keep their own spelling, as keys of a dict do: 1 and not 1.0
        return UsersInMemory(UserRows(users, both.weights, both.n_pairs, both.covariance, both.history))


def rows_at_a_time(rows: UserRows, whole: bool) -> int:
    """How many rows like these are read at once."""
    n_bases = rows.weights.shape[1]
    numbers = n_bases * (1 + n_bases) if whole and rows.covariance is not None else n_bases
    return max(1, _BLOCK_BYTES // max(1, 8 * numbers))


def _slice(rows: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """The same rows, without a copy where they stand one behind the other."""
    if len(rows) and (rows == np.arange(rows[0], rows[0] + len(rows))).all():
        return slice(int(rows[0]), int(rows[0]) + len(rows))
    return rows


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written through, of an array that nobody else writes to."""
    view = array.view()
    view.flags.writeable = False
    return view
