"""What users have said so far, as numbers that more can be added to: gaps of base rewards, and no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.outcomes import SAID, UNTOLD, joined_said, said_problems
from skmrm.exceptions import EpisodeError

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """Choices of users, in the form in which weights are learnt from them: K numbers a choice.

    Attributes
    ----------
    gaps : (n_pairs, n_bases) array
        Base rewards of the chosen response less those of the rejected one; of a rated response less those of the bar.
    user : (n_pairs,) int array, ascending
        Row of the user whose choice it is.
    n_users : int
    said : mapping of str to (n_pairs,) array
        ``outcome``, ``weight``, ``time`` and ``rating`` of :class:`skmrm.EpisodeSet`, those that are there.
    shift : (n_users, n_bases) array, optional
        By how much each user's features move the mean of the prior; None for not at all.
    """

    gaps: NDArray[Any]
    user: NDArray[np.intp]
    n_users: int
    said: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    shift: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, episodes: EpisodeSet, rewards: NDArray[Any], bar: NDArray[Any] | None) -> History:
        """Take the choices of a set.

        Parameters
        ----------
        episodes : EpisodeSet
            What users said.
        rewards : array of shape (n_items, n_bases)
            Base rewards of its items.
        bar : array of shape (n_bases,) or None
            Base rewards of the bar that ratings are held against; None leaves ratings out.

        Returns
        -------
        History
            Of the users of the set, in its order.
        """
        gaps = rewards[episodes.chosen] - rewards[episodes.rejected]
        said = dict(episodes.said)
        if not episodes.n_rated or bar is None:
            said.pop("rating", None)
        else:
            rated = np.flatnonzero(said["rating"])
            gaps[rated] = rewards[episodes.chosen[rated]] - bar
        return cls(gaps, episodes.user, episodes.n_users, said)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], n_bases: int) -> History:
        """Read the choices of one user from what :attr:`arrays` gave.

        Parameters
        ----------
        arrays : mapping of str to array
            ``gaps``, ``shift`` if there is one, and what was said.
        n_bases : int
            Base reward functions of the model that reads them.

        Returns
        -------
        History
            Of one user.

        Raises
        ------
        ValueError
            If columns do not fit each other, or another number of base reward functions.
        """
        gaps, shift = arrays["gaps"], arrays.get("shift")
        said = {name: column for name, column in arrays.items() if name not in ("gaps", "shift")}
        if shift is not None and shift.shape != (1, n_bases):
            raise ValueError(f"a user's features move {n_bases} weights, got a shift of shape {shift.shape}")
        wrong = [name for name, column in said.items() if name not in SAID or column.shape != (len(gaps),)]
        if gaps.ndim != 2 or gaps.shape[1] != n_bases or wrong or list(said_problems(said, UNTOLD)):
            raise ValueError(
                f"choices over {n_bases} base reward functions are needed, got gaps of shape {gaps.shape}"
                f" and columns {', '.join(said) or 'none'}"
            )
        return cls(gaps, np.zeros(len(gaps), np.intp), 1, said, shift)

    @classmethod
    def from_bytes(cls, content: bytes, n_bases: int) -> History:
        """Read the choices of one user from what :meth:`to_bytes` gave.

        Parameters
        ----------
        content : bytes
            A safetensors file.
        n_bases : int
            Base reward functions of the model that reads them.

        Returns
        -------
        History
            Of one user.

        Raises
        ------
        ValueError
            As of :meth:`of_arrays`, or if it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return cls.of_arrays(load(content), n_bases)
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"these are not the choices of a user, or they are damaged: {error}") from error

    def to_bytes(self) -> bytes:
        """Write one user's choices as safetensors: nothing in it is executed when it is read.

        Returns
        -------
        bytes
            What :meth:`from_bytes` reads.
        """
        from safetensors.numpy import save

        return save({name: np.ascontiguousarray(column) for name, column in self.arrays.items()})

    @classmethod
    def stacked(cls, parts: Sequence[History]) -> History:
        """Put the users of several histories one after the other.

        Parameters
        ----------
        parts : sequence of History
            Of different users, over the same base reward functions.

        Returns
        -------
        History
            Of all of them.
        """
        first = np.cumsum([0, *(one.n_users for one in parts)])
        user = np.concatenate([one.user + start for one, start in zip(parts, first[:-1], strict=True)])
        said = joined_said([(len(one.user), one.said) for one in parts])
        gaps, shift = np.concatenate([one.gaps for one in parts]), None
        if any(one.shift is not None for one in parts):
            zero = np.zeros((1, gaps.shape[1]))
            shift = np.concatenate([zero.repeat(one.n_users, 0) if one.shift is None else one.shift for one in parts])
        return cls(gaps, user, int(first[-1]), said, shift)

    def each(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Give :attr:`arrays` of each user by itself.

        Yields
        ------
        dict of str to ndarray
            One user's, in the order of users.
        """
        offsets = np.searchsorted(self.user, np.arange(self.n_users + 1)).tolist()
        columns = {"gaps": self.gaps, **self.said}
        for row, (start, stop) in enumerate(pairwise(offsets)):
            own = {name: column[start:stop] for name, column in columns.items()}
            yield own if self.shift is None else own | {"shift": self.shift[row : row + 1]}

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All columns of one user's choices, under their names."""
        return {"gaps": self.gaps, **self.said} | ({} if self.shift is None else {"shift": self.shift})

    @property
    def pairs_per_user(self) -> NDArray[np.intp]:
        """Number of choices of each user, (n_users,)."""
        return np.bincount(self.user, minlength=self.n_users)

    def take(self, users: NDArray[np.intp]) -> History:
        """Take the choices of some users.

        Parameters
        ----------
        users : (n,) int array
            Their rows.

        Returns
        -------
        History
            Of these users, in that order.
        """
        offsets = np.searchsorted(self.user, np.arange(self.n_users + 1))
        counts = np.diff(offsets)[users]
        begins = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(offsets[users] - begins, counts)
        said = {name: column[rows] for name, column in self.said.items()}
        shift = None if self.shift is None else self.shift[users]
        return History(self.gaps[rows], np.repeat(np.arange(len(users)), counts), len(users), said, shift)

    def joined(self, later: History, rows: NDArray[np.intp] | None = None, n_users: int | None = None) -> History:
        """Add what was said later.

        Parameters
        ----------
        later : History
            Over the same base reward functions. What it knows of users by their features replaces what was known.
        rows : (later.n_users,) int array, optional
            Rows of its users among all; None for the same users.
        n_users : int, optional
            Number of all users; None for as many as here.

        Returns
        -------
        History
            Of all users, earlier choices first.
        """
        n_users = self.n_users if n_users is None else n_users
        user = np.concatenate([self.user, later.user if rows is None else rows[later.user]])
        order = np.argsort(user, kind="stable")
        said = joined_said([(len(one.user), one.said) for one in (self, later)])
        columns = {name: column[order] for name, column in said.items()}
        shift = None
        if self.shift is not None or later.shift is not None:
            shift = np.zeros((n_users, self.gaps.shape[1]))
            shift[: self.n_users] = 0.0 if self.shift is None else self.shift
            if later.shift is not None:
                shift[np.arange(later.n_users) if rows is None else rows] = later.shift
        return History(np.concatenate([self.gaps, later.gaps])[order], user[order], n_users, columns, shift)

    def fading(self, half_life: float | timedelta | None) -> History:
        r"""The same, each choice weighed by :math:`2^{-a / h}` with its age a before the latest one of its user.

        Parameters
        ----------
        half_life : float > 0 or timedelta, optional
            The h, in the unit of the times; seconds where these are dates. None changes nothing.

        Returns
        -------
        History
            With other weights; this one is unchanged.

        Raises
        ------
        EpisodeError
            If there are no times, or the half-life is no positive number.
        """
        if half_life is None:
            return self
        unit = half_life.total_seconds() if isinstance(half_life, timedelta) else half_life
        problems = []
        if isinstance(unit, bool) or not isinstance(unit, int | float | np.number) or not 0 < float(unit) < np.inf:
            problems.append(
                f"half_life must be a positive number in the unit of the times, or a timedelta, got {unit!r}"
            )
        if len(self.user) and "time" not in self.said:
            problems.append("half_life needs to know when each choice was made: give all of them a time")
        if problems:
            raise EpisodeError(problems)
        if len(self.user) == 0:
            return self
        time = self.said["time"]
        latest = np.full(self.n_users, -np.inf)
        np.maximum.at(latest, self.user, time)
        weight = np.exp2((time - latest[self.user]) / float(unit)) * self.said.get("weight", 1.0)
        return replace(self, said={**self.said, "weight": weight})
