"""The one internal form of preference data: columns over indexed items, and the views of its users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NoReturn, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm.episodes.arrays import SharedGroups, id_array, index_column, read_only, same
from skmrm.episodes.canonical import CanonicalOrder, Choices, canonical_order
from skmrm.episodes.columns import groups_apart, inverse, number, number_rows
from skmrm.episodes.episode import Episode
from skmrm.episodes.features import feature_array, feature_names
from skmrm.episodes.outcomes import SAID, UNTOLD, read_said, said_problems
from skmrm.episodes.rows import PlacedRows, RowView, in_memory
from skmrm.episodes.summary import set_page
from skmrm.episodes.view import EpisodeView
from skmrm.exceptions import EpisodeError

__all__ = ["EpisodeSet", "in_stored_order"]


_OF_PAIRS = ("user", "chosen", "rejected", "group", *SAID)
_COLUMNS = ("users", *_OF_PAIRS)
_COMPARED = (*_COLUMNS, "features", "items")
_FIELDS = (*_COMPARED, "feature_names", "scale")
# Features on disk of more bytes are not read for an order of their items: the order in which they lie serves.
_READ_FOR_ORDER = 1 << 28


class EpisodeSet(Sequence[Episode]):
    """Many users' preferences as columns: what every estimator of this package works on.

    It is a sequence of `Episode`, one a user, and scikit-learn indexes it as an array of users: an integer gives an
    `Episode`; a slice, an integer array or a boolean mask gives an `EpisodeSet` over the same features, which are not
    copied. A user asked for twice (a bootstrap) becomes two entries.

    Make one with `episodes_from_frame`, `episodes_from_arrays` or `as_episode_set`; the constructor takes columns that
    are already in this form and checks them cheaply.

    Parameters
    ----------
    users : (n_users,) sequence of hashables
        The users' ids.
    user : (n_pairs,) int array, ascending
        Row of `users` to which each pair belongs. A user may have no pair.
    chosen, rejected : (n_pairs,) int array
        Rows of `features` (and of `items`): the preferred and the rejected item of each pair.
    group : (n_pairs,) int array
        Group of each pair. Codes may be any integers.
    features : (n_items, n_features) array or memory map, optional
        One row for each item; floats are kept as they are, never copied.
    items : list of (prompt, response), optional
        The texts of each item. At least one of `features` and `items` is needed.
    feature_names : sequence of str, optional
        Names of the features; None takes those of a data frame.
    shared_groups : bool or "auto", default="auto"
        Whether a code means one group whoever the user is, as prompts and topics do. If not, codes are compared within
        a user alone. "auto" takes the column of another set, or a part of it, as that set has it, and any other codes
        for each user's own.
    outcome : (n_pairs,) int array, optional
        What was said of each pair: 0 that neither is better (a tie; which of the two is called chosen does not matter),
        1 that the chosen one is, and 2, 3, ... that it is by more, as far as users could say; -1 that it is, by nobody
        knows how much. None for 1 throughout.
    weight : (n_pairs,) float array > 0, optional
        How often each pair counts: 2 is the pair twice. None for once.
    time : (n_pairs,) float or datetime array, optional
        When each was said: dates, or numbers in any unit. Dates are kept as seconds since 1970 (UTC).
    rating : (n_pairs,) int array, optional
        The level of a response that was judged alone, against the user's own bar, from 1, the worst; `chosen` and
        `rejected` are then both its row. 0 for a choice of two, and None for 0 throughout.
    scale : tuple, optional
        What each level of `rating` begins at, in ascending numbers, or what it is called; for those who give more
        ratings later.

    Raises
    ------
    EpisodeError
        If columns differ in length, point outside the users or items, or hold what they may not; or `user` is not
        ascending.

    Examples
    --------
    >>> import numpy as np
    >>> episodes = EpisodeSet(users=["ann", "bo"], user=[0, 0, 1], chosen=[0, 1, 2], rejected=[1, 2, 0],
    ...                       group=[0, 1, 0], features=np.eye(3))
    >>> episodes
    EpisodeSet(n_users=2, n_pairs=3, n_items=3, n_features=3)
    >>> episodes[[1]].users.tolist(), episodes[[1]].features is episodes.features
    (['bo'], True)
    """

    __slots__ = (*_FIELDS, "__weakref__", "_is_checked", "_offsets", "_order")

    users: NDArray[np.object_]
    user: NDArray[np.intp]
    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    group: NDArray[np.int64]
    features: Any
    items: list[tuple[str, str]] | None
    feature_names: tuple[str, ...] | None
    outcome: NDArray[np.int64] | None
    weight: NDArray[np.float64] | None
    time: NDArray[np.float64] | None
    rating: NDArray[np.int64] | None
    scale: tuple[Any, ...] | None
    _offsets: NDArray[np.intp] | None
    _order: CanonicalOrder | None
    _is_checked: bool

    def __init__(
        self,
        *,
        users: Sequence[Any] | NDArray[Any],
        user: ArrayLike,
        chosen: ArrayLike,
        rejected: ArrayLike,
        group: ArrayLike,
        features: Any = None,
        items: list[tuple[str, str]] | None = None,
        feature_names: Sequence[str] | None = None,
        shared_groups: bool | Literal["auto"] = "auto",
        outcome: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        time: ArrayLike | None = None,
        rating: ArrayLike | None = None,
        scale: Sequence[Any] | None = None,
    ) -> None:
        features, names, unfit = _read_features(features)
        shared = isinstance(group, SharedGroups) if isinstance(shared_groups, str) else bool(shared_groups)
        codes = index_column(group, "group", np.int64)
        said, unread = read_said({"outcome": outcome, "weight": weight, "time": time, "rating": rating})
        self.__setstate__(
            {
                "users": id_array(users),
                "user": index_column(user, "user", np.intp),
                "chosen": index_column(chosen, "chosen", np.int64),
                "rejected": index_column(rejected, "rejected", np.int64),
                "group": codes.view(SharedGroups) if shared else codes,
                **said,
                "features": features,
                "items": items,
                "feature_names": names if feature_names is None else tuple(feature_names),
                "scale": None if scale is None else tuple(scale),
            }
        )
        problems = [*unfit, *unread, *([] if unfit or unread else _structural_problems(self))]
        if problems:
            raise EpisodeError(problems)

    # -- sizes ---------------------------------------------------------------------------------------------------

    @property
    def offsets(self) -> NDArray[np.intp]:
        """Where each user's pairs begin, and the end: (n_users + 1,) int; user i owns ``offsets[i]:offsets[i + 1]``."""
        if self._offsets is None:
            found = np.searchsorted(self.user, np.arange(self.n_users + 1)).astype(np.intp, copy=False)
            object.__setattr__(self, "_offsets", read_only(found))
        return cast("NDArray[np.intp]", self._offsets)

    @property
    def pairs_per_user(self) -> NDArray[np.intp]:
        """Number of pairs of each user, (n_users,) int."""
        return np.diff(self.offsets)

    @property
    def n_users(self) -> int:
        """Number of users, those without a pair included."""
        return len(self.users)

    @property
    def n_pairs(self) -> int:
        """Number of pairs of all users."""
        return len(self.user)

    @property
    def n_items(self) -> int:
        """Number of items, those that no pair refers to included."""
        return int(self.features.shape[0]) if self.items is None else len(self.items)

    @property
    def n_features(self) -> int | None:
        """Number of features of an item, or None before texts are encoded."""
        return None if self.features is None else int(self.features.shape[1])

    @property
    def said(self) -> dict[str, NDArray[Any]]:
        """The columns `outcome`, `weight`, `time` and `rating`, those that are there."""
        return {name: column for name in SAID if (column := getattr(self, name)) is not None}

    @property
    def is_plain(self) -> bool:
        """Whether every pair is a choice and no more: no ties, no strengths, no ratings."""
        return self.n_rated == 0 and (self.outcome is None or bool((np.abs(self.outcome) == 1).all()))

    @property
    def n_ties(self) -> int:
        """Number of pairs of which neither response was preferred."""
        return 0 if self.outcome is None else int((self.outcome == 0).sum())

    @property
    def n_grades(self) -> int:
        """How many strengths were told apart, ties not counted."""
        return 1 if self.outcome is None else max(1, int(self.outcome.max(initial=1)))

    @property
    def n_rated(self) -> int:
        """Number of pairs that are no choice, but a response judged alone."""
        return 0 if self.rating is None else int((self.rating > 0).sum())

    @property
    def n_levels(self) -> int:
        """How many levels a rating may have; 0 where there are no ratings."""
        return max(2, len(self.scale or ()), int(self.rating.max())) if self.rating is not None and self.n_rated else 0

    @property
    def shared_groups(self) -> bool:
        """Whether two users may have a group in common."""
        return isinstance(self.group, SharedGroups)

    @property
    def group_across_users(self) -> NDArray[np.int64]:
        """Group of each pair, (n_pairs,) int: one number for what is one group, whoever the user is."""
        return self.group if self.shared_groups else groups_apart(self.user, self.group)

    @property
    def is_text(self) -> bool:
        """Whether the items' texts are known."""
        return self.items is not None

    @property
    def shape(self) -> tuple[int]:
        """``(n_users,)``: to scikit-learn this is an array of users."""
        return (self.n_users,)

    def __len__(self) -> int:
        return self.n_users

    # -- users ---------------------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: int) -> Episode: ...
    @overload
    def __getitem__(self, key: Any) -> EpisodeSet: ...
    def __getitem__(self, key: Any) -> Episode | EpisodeSet:
        """One user's `Episode` for an integer, an `EpisodeSet` of the asked users, in that order, for anything else."""
        if isinstance(key, tuple):
            key = _first_axis(key)
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            row = int(key)
            if not -self.n_users <= row < self.n_users:
                raise IndexError(f"user {row} is out of range: the set has {self.n_users} users")
            return self._view(row % self.n_users)
        return self._take_users(self._user_rows(key))

    def __iter__(self) -> Iterator[Episode]:
        return map(self._view, range(self.n_users))

    def _view(self, row: int) -> Episode:
        return cast("Episode", EpisodeView(self, row))

    def _user_rows(self, key: Any) -> NDArray[np.intp]:
        n = self.n_users
        if isinstance(key, slice):
            return np.arange(n)[key]
        rows = np.asarray(key)
        if rows.ndim != 1:
            raise IndexError(f"index users by an integer, slice, 1-D integer array or boolean mask, not {key!r}")
        if rows.dtype == bool:
            if len(rows) != n:
                raise IndexError(f"a mask over users needs {n} entries, got {len(rows)}")
            return np.flatnonzero(rows)
        if len(rows) == 0:
            return np.empty(0, np.intp)
        if rows.dtype.kind not in "iu":
            raise IndexError(f"users are indexed by row (integers or booleans), got {rows.dtype} values")
        rows = rows.astype(np.intp, copy=False)
        if rows.min() < -n or rows.max() >= n:
            raise IndexError(f"user {rows[(rows < -n) | (rows >= n)][0]} is out of range: the set has {n} users")
        return np.where(rows < 0, rows + n, rows)

    def _take_users(self, rows: NDArray[np.intp]) -> EpisodeSet:
        counts = self.pairs_per_user[rows]
        begins = np.concatenate(([0], np.cumsum(counts)))
        pairs = np.arange(begins[-1]) + np.repeat(self.offsets[rows] - begins[:-1], counts)
        user = np.repeat(np.arange(len(rows)), counts)
        return self._with(users=self.users[rows], user=user, **self._pair_columns(pairs))

    # -- pairs and items -----------------------------------------------------------------------------------------

    def take_pairs(self, pairs: ArrayLike) -> EpisodeSet:
        """Keep some pairs, and all users, also those left with none.

        Parameters
        ----------
        pairs : (n_pairs,) bool array, or int array
            Mask over pairs, or rows of pairs in any order; within a user the order asked for is kept.

        Returns
        -------
        EpisodeSet
            Over the same users, features and items.
        """
        rows = np.asarray(pairs)
        if rows.dtype == bool:
            if rows.shape != (self.n_pairs,):
                raise IndexError(f"a mask over pairs needs shape ({self.n_pairs},), got {rows.shape}")
            rows = np.flatnonzero(rows)
        elif rows.size == 0:
            rows = np.empty(0, np.intp)
        user = self.user[rows]
        if np.any(user[1:] < user[:-1]):
            order = np.argsort(user, kind="stable")
            rows, user = rows[order], user[order]
        return self._with(user=user, **self._pair_columns(rows))

    def with_features(self, features: Any) -> EpisodeSet:
        """Attach features to the items, such as what an encoder made of the texts.

        Parameters
        ----------
        features : (n_items, n_features) array or memory map
            One row for each item, in the order of `items`; not copied.

        Returns
        -------
        EpisodeSet
            With the same columns and texts.
        """
        return EpisodeSet(**{**self.__getstate__(), "features": features, "feature_names": None})

    def named(self, names: Sequence[str] | None) -> EpisodeSet:
        """Give names to the features, or none.

        Parameters
        ----------
        names : (n_features,) sequence of str, or None
            A model that is fitted on named features asks for the same names in the same order.

        Returns
        -------
        EpisodeSet
            With the same columns and features.
        """
        if names is not None and len(names) != self.n_features:
            raise EpisodeError(f"each of {self.n_features} features needs a name, got {len(names)}")
        return self._with(feature_names=None if names is None else tuple(names))

    def compact(self) -> EpisodeSet:
        """Drop the items that no pair refers to, copying the features of those that stay unless they lie on disk.

        Returns
        -------
        EpisodeSet
            With the same users and pairs; items keep their order.
        """
        used = np.zeros(self.n_items, bool)
        used[self.chosen] = True
        used[self.rejected] = True
        if used.all():
            return self
        rows = np.flatnonzero(used)
        code = np.cumsum(used) - 1
        return self._with(
            chosen=code[self.chosen],
            rejected=code[self.rejected],
            features=None if self.features is None else _chosen_rows(self.features, rows),
            items=None if self.items is None else [self.items[row] for row in rows],
        )

    def distinct(self) -> EpisodeSet:
        """Make equal rows of features one item.

        Returns
        -------
        EpisodeSet
            The same choices; this set itself where no two rows are equal, or where they lie on disk.
        """
        if self.features is None or not in_memory(self.features) or self.items is not None:
            return self
        code, first = number_rows(self.features, np.arange(self.n_items))
        if len(first) == self.n_items:
            return self
        return self._with(chosen=code[self.chosen], rejected=code[self.rejected], features=self.features[first])

    # -- an order of their own ------------------------------------------------------------------------------------

    @property
    def canonical_order(self) -> CanonicalOrder:
        """Users and pairs in an order that does not depend on how they came, to draw in.

        Features on disk of more than 256 MiB are not read for it: items are then known by their rows.
        """
        if self._order is None:
            features: Any = self.features
            if features is not None and not in_memory(features):
                size = self.n_items * features.shape[1] * np.dtype(features.dtype).itemsize
                read = self.items is None and size <= _READ_FOR_ORDER
                features = np.asarray(features) if read else self.n_items
            object.__setattr__(self, "_order", canonical_order(self._choices(), self.items, features))
        return cast("CanonicalOrder", self._order)

    def canonical(self) -> EpisodeSet:
        """Put the choices into their canonical order, over items without repetition, features in memory.

        Returns
        -------
        EpisodeSet
            The same choices. Items, and the codes of groups, are in the order in which the pairs meet them.
        """
        if self.features is not None and not in_memory(self.features):
            used = self.compact()
            return used._with(features=np.asarray(used.features)).canonical()
        order = self.canonical_order
        ordered = self._in_order(order.users, order.pairs)._with_ties_turned()
        ends = order.same_as[np.stack([ordered.chosen, ordered.rejected], axis=1).reshape(-1)]
        code, first = number(ends)
        rows = ends[first]
        return ordered._with(
            chosen=code[0::2].copy(),
            rejected=code[1::2].copy(),
            features=None if self.features is None else self.features[rows],
            items=None if self.items is None else [self.items[row] for row in rows.tolist()],
        )

    def _with_ties_turned(self) -> EpisodeSet:
        """Of each tie the smaller response first, as which of the two is called chosen says nothing."""
        if self.outcome is None or len(ties := np.flatnonzero(self.outcome == 0)) == 0:
            return self
        ends = np.stack([self.chosen, self.rejected])
        if self.items is not None:
            larger = np.array([self.items[one] > self.items[other] for one, other in ends[:, ties].T.tolist()])
        else:
            gaps = np.subtract(*(self.features[side].astype(float) for side in ends[:, ties]))
            larger = gaps[np.arange(len(ties)), (gaps != 0).argmax(1)] > 0
        ends[:, ties[larger]] = ends[::-1, ties[larger]]
        return self._with(chosen=ends[0], rejected=ends[1])

    def in_order_of_rows(self) -> EpisodeSet:
        """Put users into the order of their first items: neighbours then read neighbouring features.

        Only which rows are chosen over which decides, so that features are not read for it.

        Returns
        -------
        EpisodeSet
            The same choices, over the same features.
        """
        order = canonical_order(self._choices(), None, self.n_items)
        first = np.full(self.n_users, self.n_items)
        np.minimum.at(first, self.user, np.minimum(self.chosen, self.rejected))
        users = order.users[np.argsort(first[order.users], kind="stable")]
        owner = self.user[order.pairs]
        return self._in_order(users, order.pairs[np.argsort(inverse(users)[owner], kind="stable")])

    def _choices(self) -> Choices:
        tied = None if self.outcome is None else self.outcome == 0
        said = tuple(self.said.values())
        return Choices(self.users, self.user, self.chosen, self.rejected, self.group_across_users, said, tied)

    def _in_order(self, users: NDArray[np.intp], pairs: NDArray[np.intp]) -> EpisodeSet:
        """Users and pairs in an order given, pairs ordered by user first; groups numbered over all users."""
        columns = self._pair_columns(pairs)
        columns["group"] = number(self.group_across_users[pairs])[0].view(SharedGroups)
        user = np.repeat(np.arange(self.n_users), self.pairs_per_user[users])
        return self._with(users=self.users[users], user=user, **columns)

    def _pair_columns(self, pairs: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """All columns of pairs but their users."""
        return {name: column[pairs] for name in _OF_PAIRS[1:] if (column := getattr(self, name)) is not None}

    def _with(self, **changes: Any) -> EpisodeSet:
        """Copy with some columns replaced by ones that are known to be valid."""
        made = object.__new__(EpisodeSet)
        made.__setstate__({**self.__getstate__(), **changes})
        if self.is_checked:
            made.mark_checked()
        return made

    @property
    def is_checked(self) -> bool:
        """Whether the features are known to be finite, so that one pass over them is enough."""
        return self._is_checked

    def mark_checked(self) -> None:
        """Remember that the features are finite, here and in the subsets made from now on."""
        object.__setattr__(self, "_is_checked", True)

    # -- the rest ------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an EpisodeSet never changes; cannot set {name!r}: make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an EpisodeSet never changes; cannot delete {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict.fromkeys(("feature_names", "scale", *SAID)) | state  # which earlier versions did not have
        columns = {name: read_only(state[name]) for name in _COLUMNS if state[name] is not None}
        unknown = {"_offsets": None, "_order": None, "_is_checked": False}
        for name, value in {**state, **columns, **unknown}.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Whether all columns, features and texts are the same."""
        if not isinstance(other, EpisodeSet):
            return NotImplemented
        return self is other or all(same(getattr(self, name), getattr(other, name)) for name in _COMPARED)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sizes = f"n_users={self.n_users}, n_pairs={self.n_pairs}, n_items={self.n_items}"
        kind = ", texts" if self.is_text else ""
        features = "" if self.n_features is None else f", n_features={self.n_features}"
        return f"EpisodeSet({sizes}{features}{kind})"

    def _repr_html_(self) -> str:
        return set_page(self)


def _chosen_rows(features: Any, rows: NDArray[np.intp]) -> Any:
    return features[rows] if in_memory(features) else RowView(features, rows)


def _structural_problems(episodes: EpisodeSet) -> Iterator[str]:
    lengths = {name: len(column) for name in _OF_PAIRS if (column := getattr(episodes, name)) is not None}
    if len(set(lengths.values())) > 1:
        yield f"columns must have one entry for each pair, got lengths {lengths}"
        return
    if episodes.features is None and episodes.items is None:
        yield "neither features nor items were given: pass at least one, so that rows mean something"
        return
    unfit = list(_feature_problems(episodes))
    yield from unfit
    if len(episodes.user) == 0 or unfit:
        return
    user = episodes.user
    if np.any(user[1:] < user[:-1]):
        yield "column 'user' must be ascending: sort the pairs by user (episodes_from_arrays does it)"
    for name, count, what in (
        ("user", episodes.n_users, "users"),
        ("chosen", episodes.n_items, "items"),
        ("rejected", episodes.n_items, "items"),
    ):
        column = getattr(episodes, name)
        low, high = int(column.min()), int(column.max())
        if low < 0 or high >= count:
            yield f"column '{name}' must hold rows 0 to {count - 1} of the {what}, got {low} to {high}"
    yield from said_problems(episodes.said, UNTOLD)
    yield from _rating_problems(episodes)


def _rating_problems(episodes: EpisodeSet) -> Iterator[str]:
    if episodes.rating is None:
        return
    rated = episodes.rating > 0
    if wrong := int((rated & (episodes.chosen != episodes.rejected)).sum()):
        yield (
            f"a rated response stands alone, as chosen and as rejected, got two in {wrong} rated pairs: "
            "rate one, or leave the rating of a choice 0"
        )
    if episodes.outcome is not None and (wrong := int((rated & (episodes.outcome != 1)).sum())):
        yield f"a rated response has outcome 1, got another in {wrong} rated pairs: its rating says how good it is"


def _read_features(features: Any) -> tuple[Any, tuple[str, ...] | None, list[str]]:
    """Features as floats, their names, and what is wrong with them."""
    if features is None:
        return None, None, []
    try:
        return feature_array(features), feature_names(features), []
    except ValueError as error:
        return None, None, [f"features must be floats in an array of shape (n_items, n_features), got {error}"]


def _feature_problems(episodes: EpisodeSet) -> Iterator[str]:
    if episodes.features is None:
        return
    shape = getattr(episodes.features, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] == 0:
        came = type(episodes.features).__name__ if shape is None else f"shape {tuple(shape)}"
        yield f"features must be an array of shape (n_items, n_features), got {came}"
    elif episodes.feature_names is not None and len(episodes.feature_names) != shape[1]:
        yield f"each of {shape[1]} features needs a name, got {len(episodes.feature_names)}"
    elif episodes.items is not None and len(episodes.items) != shape[0]:
        yield f"features must have one row for each of the {len(episodes.items)} items, got {shape[0]}"


def _first_axis(key: tuple[Any, ...]) -> Any:
    rest = tuple(k for k in key if k is not Ellipsis)
    if len(rest) != 1:
        raise IndexError(f"an EpisodeSet has one axis, its users; got {len(rest)} indices")
    return rest[0]


def in_stored_order(episodes: EpisodeSet) -> EpisodeSet:
    """The same choices over items in the order in which files have them, so that files are read from start to end.

    A set whose features are in no files of a store is returned as it is.
    """
    features = episodes.features
    if not isinstance(features, PlacedRows):
        return episodes
    order = np.argsort(features.rows, kind="stable")
    place = inverse(order)
    ordered = episodes._with(
        chosen=place[episodes.chosen],
        rejected=place[episodes.rejected],
        features=features.taken(order),
        items=None if episodes.items is None else [episodes.items[row] for row in order],
    )
    ordered.mark_checked()  # the store takes finite numbers only
    return ordered
