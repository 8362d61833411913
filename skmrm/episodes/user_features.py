"""What is known of users before their first choice: tables of them read, and their columns as standardised numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import counted, described, name_some
from skmrm.episodes.cells import is_missing
from skmrm.exceptions import EpisodeError

__all__ = ["ColdStart", "UserColumns", "encoded_users", "read_user_features"]

USER = "user_id"
MOST_LEVELS = 30  # of a category, the most frequent ones; others count as unknown
Columns = dict[Any, list[Any]]


@dataclass(frozen=True)
class UserColumns:
    """How columns of user features become standardised numbers; made by :meth:`fit`.

    Attributes
    ----------
    columns : tuple of dict
        Of each its ``name``, and ``mean`` and ``scale`` of numbers, or of each of the ``levels`` of a category.
    """

    columns: tuple[dict[str, Any], ...]

    @classmethod
    def fit(cls, known: Columns) -> UserColumns:
        """Learn means, scales and levels from the users of fit; columns that tell nobody apart are left out."""
        found = []
        for name, cells in known.items():
            told = [cell for cell in cells if not is_missing(cell)]
            if told and all(isinstance(cell, Real | np.bool_) for cell in told):
                values = np.array(told, float)
                if not np.isfinite(values).all():
                    raise EpisodeError(
                        f"user feature {name!r} must hold finite numbers: correct them, or leave them out"
                    )
                if (scale := float(values.std())) > 0:
                    found.append({"name": name, "mean": float(values.mean()), "scale": scale})
                continue
            count = Counter(_level(cell, name) for cell in told)
            levels = [level for level, times in count.most_common(MOST_LEVELS) if 2 <= times < len(told)]
            shares = np.array([count[level] / len(told) for level in levels])
            if levels:
                scales = np.sqrt(shares * (1 - shares))
                found.append({"name": name, "levels": levels, "mean": shares.tolist(), "scale": scales.tolist()})
        return cls(tuple(found))

    @property
    def n_columns(self) -> int:
        """Numbers a user."""
        return sum(len(one.get("levels", [None])) for one in self.columns)

    def transform(self, known: Columns, n_users: int) -> NDArray[np.float64]:
        """Standardised numbers, (n_users, n_columns); zero where nothing is known, as of the average user."""
        parts = []
        for one in self.columns:
            cells = known.get(one["name"], [None] * n_users)
            if "levels" in one:
                place = {level: row for row, level in enumerate(one["levels"])}
                codes = [-1 if is_missing(c) else place.get(_level(c, one["name"]), -1) for c in cells]
                part = (np.eye(len(place) + 1)[codes][:, :-1] - one["mean"]) / one["scale"]
                part[np.array(codes, int) < 0] = 0
            else:
                strange = [cell for cell in cells if not is_missing(cell) and not isinstance(cell, Real | np.bool_)]
                if strange:
                    raise EpisodeError(
                        f"user feature {one['name']!r} must hold numbers, as in fit, got {name_some(strange)}"
                    )
                values = np.array([np.nan if is_missing(cell) else float(cell) for cell in cells])
                part = np.nan_to_num((values - one["mean"]) / one["scale"], posinf=0, neginf=0)[:, None]
            parts.append(part)
        return np.hstack(parts) if parts else np.zeros((n_users, 0))


@dataclass(frozen=True)
class ColdStart:
    """What features of users do to the mean of the prior.

    Attributes
    ----------
    columns : UserColumns
        How features become numbers.
    effects : (n_bases, n_columns) array or None
        Of each number on each weight; None if none was found to help.
    encoder : fitted transformer or None
        What makes the columns, where it was given.
    """

    columns: UserColumns
    effects: NDArray[np.float64] | None = None
    encoder: Any = None

    def numbers(self, user_features: Any, users: Sequence[Hashable], caller: str) -> NDArray[np.float64]:
        """Standardised features (n_users, n_columns)."""
        if self.encoder is not None:
            user_features = encoded_users(self.encoder, user_features, len(users), caller)
        return self.columns.transform(read_user_features(user_features, users, caller), len(users))

    def shift(self, user_features: Any, users: Sequence[Hashable], caller: str) -> NDArray[np.float64] | None:
        """By how much features move the means of these users' priors, (n_users, n_bases); None for not at all."""
        numbers = self.numbers(user_features, users, caller)
        return None if self.effects is None else numbers @ self.effects.T


def encoded_users(encoder: Any, user_features: Any, n_users: int, caller: str) -> NDArray[Any]:
    """What a fitted transformer makes of the features of so many users, as an array."""
    found = encoder.transform(user_features)
    found = np.asarray(found.toarray() if hasattr(found, "toarray") else found, float)
    if found.ndim != 2 or len(found) != n_users:
        raise ValueError(
            f"{caller}: user_encoder must make a row of each of {n_users} users, got an array of shape {found.shape}: "
            "pass user_features with a row for each, in the order of the users"
        )
    return found


def read_user_features(given: Any, users: Sequence[Hashable], caller: str) -> Columns:
    """Columns of user features, a cell for each of these users, None where nothing is known.

    Parameters
    ----------
    given : array of shape (n_users, n_user_features), mapping of users to rows, or data frame
        An array or a frame without a column "user_id" is aligned with the users. A frame with one, a pandas frame whose
        index holds users, and a mapping are looked up; rows are dicts or sequences. For one user, a row by itself.
    users : sequence of hashables
    caller : str
        For messages.
    """
    n_users = len(users)
    if n_users == 1 and (row := _one_row(given)) is not None:
        return {name: [cell] for name, cell in row.items()}
    if isinstance(given, Mapping):
        rows = [_one_row(given[user]) if user in given else {} for user in users]
        wrong = [user for user, row in zip(users, rows, strict=True) if row is None]
        if wrong:
            raise EpisodeError(
                f"{caller}: user_features must have a dict or a sequence for each user; not so for {name_some(wrong)}"
            )
        names = dict.fromkeys(name for row in rows for name in row or {})
        return {name: [(row or {}).get(name) for row in rows] for name in names}
    columns, index = _table(given, caller)
    if index is None:
        length = len(next(iter(columns.values()), []))
        if length != n_users:
            raise EpisodeError(
                f"{caller}: user_features must have a row for each of {counted(n_users, 'user')}, in their order, got "
                f"{length}: or pass a frame with a column {USER!r}, or a dict of users"
            )
        return columns
    place: dict[Hashable, int] = {}
    for number, user in enumerate(index):
        if place.setdefault(user, number) != number:
            raise EpisodeError(f"{caller}: user_features must have one row a user, got several of {user!r}: keep one")
    rows_of = [place.get(user) for user in users]
    return {name: [None if row is None else cells[row] for row in rows_of] for name, cells in columns.items()}


def _one_row(given: Any) -> dict[Any, Any] | None:
    """A row of one user, under the names of its columns or their numbers; None if it is none."""
    if isinstance(given, Mapping):
        is_row = all(isinstance(cell, str | Real | np.bool_) or is_missing(cell) for cell in given.values())
        return dict(given) if is_row else None
    if hasattr(given, "to_dict") and getattr(given, "ndim", 0) == 1:  # a row of pandas
        return dict(given.to_dict())
    if isinstance(given, str) or getattr(given, "ndim", 1) != 1 or not hasattr(given, "__len__"):
        return None
    cells = list(given)
    return (
        None if any(isinstance(cell, Mapping | list | tuple | np.ndarray) for cell in cells) else dict(enumerate(cells))
    )


def _table(given: Any, caller: str) -> tuple[Columns, list[Any] | None]:
    """Columns of a table, and the users of its rows, if it names them."""
    import narwhals as nw

    frame = nw.from_native(given, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        columns: Columns = {name: frame[name].to_list() for name in frame.columns}
        if USER in columns:
            return {name: cells for name, cells in columns.items() if name != USER}, columns[USER]
        index = nw.maybe_get_index(frame)
        ids = None if index is None or list(index) == list(range(len(frame))) else list(index)
        return columns, ids
    values = np.asarray(given, object) if isinstance(given, list | tuple) else np.asarray(given)
    if values.ndim != 2:
        raise TypeError(
            f"{caller}: user_features must be an array of shape (n_users, n_user_features), a data frame, or a dict of "
            f"users, got {described(given)}"
        )
    return {place: column.tolist() for place, column in enumerate(values.T)}, None


def _level(cell: Any, name: Any) -> Any:
    """A level of a category as JSON has it."""
    value = cell.item() if isinstance(cell, np.generic) else cell
    if not isinstance(value, str | bool | int | float):
        raise EpisodeError(
            f"user feature {name!r} must hold numbers or texts, got {described(value)}: encode it, with "
            "MetaRewardModel(user_encoder=...), or leave it out"
        )
    return value
