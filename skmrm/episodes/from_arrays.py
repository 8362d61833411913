"""Pairs that point into the rows of one feature array, as an `EpisodeSet`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.wording import name_some
from skmrm.episodes.arrays import SharedGroups, is_missing, object_array
from skmrm.episodes.columns import factorize
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.features import feature_array, feature_names
from skmrm.episodes.from_columns import set_from_features
from skmrm.episodes.outcomes import read_said, said_problems
from skmrm.episodes.rules import set_problems, shared_groups_problems
from skmrm.exceptions import EpisodeError

__all__ = ["episodes_from_arrays"]


def episodes_from_arrays(
    features: Any,
    chosen: ArrayLike,
    rejected: ArrayLike,
    users: Sequence[Any] | NDArray[Any],
    groups: Sequence[Any] | NDArray[Any] | None = None,
    *,
    shared_groups: bool | Literal["auto"] = "auto",
    outcome: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    time: ArrayLike | None = None,
    rating: ArrayLike | None = None,
) -> EpisodeSet:
    """Make an `EpisodeSet` from pairs that point into the rows of one feature array.

    Parameters
    ----------
    features : (n_items, n_features) array, data frame, memory map, tensor, or anything with shape, dtype and slices
        One row for each (prompt, response). Floats of 16 to 64 bits are kept as they are and not copied, bfloat16 (of
        the package ml_dtypes) among them; integers and booleans become float64. A tensor of torch on the CPU becomes an
        array of the same memory. Of a data frame (pandas, polars, pyarrow) the names of columns are kept, if they are
        texts: a model that is fitted on them asks for the same. Masked and missing values count as NaN, and no pair may
        refer to them. Equal rows are one item: only where there are some are the distinct ones copied, in their order,
        and the pairs refer to the copy. A memory map, or anything else that does not lie in memory, is not read for
        this: there, give each item one row.
    chosen, rejected : (n_pairs,) int array
        Rows of the preferred and of the rejected item. A pair of equal rows is kept: its gap is zero.
    users : (n_pairs,) sequence of hashables
        The user of each pair, in any order.
    groups : (n_pairs,) sequence of hashables, optional
        Pairs of one group never end on both sides of a support/query split. None makes each pair a group of its own.
    shared_groups : bool or "auto", default="auto"
        Whether groups mean the same for all users, as numbers of prompts or topics do. If not, they are each user's
        own: 0 of one user and 0 of another are two groups. "auto" takes them so, unless they are a column of a set
        whose users share groups.
    outcome, weight, time : (n_pairs,) array, optional
        Ties and strengths, how often each pair counts, and when it was said, as of :class:`skmrm.EpisodeSet`: an
        outcome is 0 for a tie, 1 for a choice, and more for a stronger one.
    rating : (n_pairs,) int array, optional
        Levels, from 1, of responses that were judged alone, whose row is both `chosen` and `rejected`; 0 for a choice.

    Returns
    -------
    EpisodeSet
        Users in order of first appearance; a user's pairs keep their order.

    Raises
    ------
    EpisodeError
        If lengths differ, rows are not integers or out of range, or users, groups or features are missing or not
        finite; all problems are listed.

    Examples
    --------
    >>> import numpy as np
    >>> episodes_from_arrays(np.eye(3), chosen=[0, 1, 2], rejected=[1, 2, 0], users=["bo", "ann", "bo"])
    EpisodeSet(n_users=2, n_pairs=3, n_items=3, n_features=3)
    """
    problems: list[str] = []
    names = _names(features, problems)
    features = _feature_rows(features, problems)
    n_items = None if features is None else int(features.shape[0])
    better, worse = (_row_column(n, v, n_items, problems) for n, v in (("chosen", chosen), ("rejected", rejected)))
    user, ids = _id_column("users", users, problems)
    problems += shared_groups_problems(shared_groups)
    group, _ = (None, None) if groups is None else _id_column("groups", groups, problems)
    said, unread = read_said({"outcome": outcome, "weight": weight, "time": time, "rating": rating})
    problems += unread or said_problems(said)
    columns = {"chosen": better, "rejected": worse, "users": user, "groups": group, **said}
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n} {name}" for name, n in lengths.items())
        named = ", ".join(list(columns)[2:-1]) + f" and {list(columns)[-1]}"
        problems.append(f"chosen, rejected, {named} need one entry for each pair, got {listed}")
    if lengths and max(lengths.values()) == 0:
        problems.append("there must be at least one pair, got empty columns")
    if problems or better is None or worse is None or user is None or ids is None:
        raise EpisodeError(problems)
    shared = isinstance(groups, SharedGroups) if isinstance(shared_groups, str) else bool(shared_groups)
    episodes = set_from_features(ids, user, features, better, worse, group, shared_groups=shared, said=said)
    episodes = episodes.named(names)
    problems += set_problems(episodes, context=None)
    if problems:
        raise EpisodeError(problems)
    return episodes.distinct()


def _names(features: Any, problems: list[str]) -> tuple[str, ...] | None:
    try:
        return feature_names(features)
    except ValueError as error:
        problems.append(f"features: {error}")
        return None


def _feature_rows(features: Any, problems: list[str]) -> Any:
    """Features as they are, or converted from whatever holds numbers; None if they cannot be used."""
    try:
        array = feature_array(features)
    except ValueError as error:
        problems.append(f"features must be an array of numbers of shape (n_items, n_features), got {error}")
        return None
    if len(array.shape) != 2 or 0 in array.shape:
        problems.append(f"features must have shape (n_items, n_features), neither of them 0, got {tuple(array.shape)}")
        return None
    return array


def _row_column(name: str, values: ArrayLike, n_items: int | None, problems: list[str]) -> NDArray[np.int64] | None:
    rows = np.asarray(values)
    if rows.ndim != 1:
        problems.append(f"{name} must be one-dimensional, got shape {rows.shape}")
        return None
    if rows.dtype.kind not in "iu" and len(rows):
        problems.append(f"{name} must hold rows of features (integers), got dtype {rows.dtype}")
        return None
    if n_items is not None and len(rows) and not (rows.min() >= 0 and rows.max() < n_items):
        places = np.flatnonzero((rows < 0) | (rows >= n_items))
        problems.append(
            f"{name} must hold rows 0 to {n_items - 1} of features, got {rows[places[0]]} at pair {places[0]} "
            f"({len(places)} out of range)"
        )
        return None
    return rows.astype(np.int64, copy=False)


def _id_column(
    name: str, values: Sequence[Any] | NDArray[Any], problems: list[str]
) -> tuple[NDArray[np.int64] | None, list[Any] | None]:
    array = values if isinstance(values, np.ndarray) else object_array(list(values))
    if array.ndim != 1:
        problems.append(f"{name} must be one-dimensional, got shape {array.shape}")
        return None, None
    try:
        codes, distinct = factorize(array)
    except TypeError as error:
        problems.append(f"{name} must be hashable, as strings, numbers and tuples are: {error}")
        return None, None
    missing = [code for code, value in enumerate(distinct) if is_missing(value)]
    if missing:
        places = np.flatnonzero(np.isin(codes, missing))
        problems.append(f"{name} must not be missing, got None or NaN at pairs {name_some(places.tolist())}")
    return codes, distinct
