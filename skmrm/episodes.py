"""Preference data at the boundary: everything that users bring becomes an `EpisodeSet`, once, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._data.arrays import feature_dtype_problem, object_array, without_torch
from skmrm._data.cells import is_missing
from skmrm._data.columns import factorize, set_from_features
from skmrm._data.episode import Episode
from skmrm._data.episode_list import read_episodes
from skmrm._data.episode_set import EpisodeSet
from skmrm._data.rules import set_problems
from skmrm._data.tables import episodes_from_frame
from skmrm._support.wording import described, name_some
from skmrm.exceptions import EpisodeError

__all__ = ["Episode", "EpisodeSet", "as_episode_set", "episodes_from_arrays", "episodes_from_frame"]


def as_episode_set(
    data: EpisodeSet | Sequence[Episode] | NDArray[np.object_],
    *,
    min_pairs: int = 1,
    min_groups: int = 1,
    n_features: int | None = None,
    kind: Literal["text", "features"] | None = None,
    context: str = "fit",
) -> EpisodeSet:
    """Check preference data and bring them into the one internal form.

    Parameters
    ----------
    data : EpisodeSet, or list, tuple or array of Episode
        The preferences. An `EpisodeSet` comes back as it is; views of one `EpisodeSet` (``[episodes[3],
        episodes[5]]``) are put together over the same features, without a copy.
    min_pairs : int
        Fewest pairs that a user may have. 0 lets users without pairs through.
    min_groups : int
        Fewest groups that a user may have: 2 to split each user into support and query.
    n_features : int, optional
        Number of features that arrays must have.
    kind : {"text", "features"}, optional
        What must be known of the items; None takes either.
    context : str
        The method that asks, for error messages.

    Returns
    -------
    EpisodeSet
        Users in the order given. Distinct (prompt, response) texts are one item each; arrays keep their rows, and
        integers become float64. Groups default to prompts.

    Raises
    ------
    TypeError
        If `data` is not episodes at all.
    EpisodeError
        If the data break a rule; all problems are listed, with the users concerned.

    Examples
    --------
    >>> as_episode_set([Episode("ann", ["Yes."], ["No."]), Episode("bo", ["No.", "Hm."], ["Yes.", "No."])])
    EpisodeSet(n_users=2, n_pairs=3, n_items=3, texts)
    """
    problems: list[str] = []
    episodes: EpisodeSet | None
    if isinstance(data, EpisodeSet):
        episodes = data
    else:
        listed = _episode_list(data, context)
        if not listed:
            raise EpisodeError(f"{context} needs at least one user, got an empty {type(data).__name__}")
        episodes, problems = read_episodes(listed)
    if episodes is not None:
        if episodes.n_items == 0 and n_features is not None:  # users without pairs are texts and arrays alike
            episodes = episodes.with_features(np.empty((0, n_features)))
        problems += set_problems(
            episodes, min_pairs=min_pairs, min_groups=min_groups, n_features=n_features, kind=kind, context=context
        )
    if problems or episodes is None:
        raise EpisodeError(problems)
    return episodes


def episodes_from_arrays(
    features: Any,
    chosen: ArrayLike,
    rejected: ArrayLike,
    users: Sequence[Any] | NDArray[Any],
    groups: Sequence[Any] | NDArray[Any] | None = None,
) -> EpisodeSet:
    """Make an `EpisodeSet` from pairs that point into the rows of one feature array.

    Parameters
    ----------
    features : (n_items, n_features) array, memory map, tensor, or anything with shape, dtype and slices of rows
        One row for each (prompt, response). Floats of 16 to 64 bits are kept as they are and not copied, bfloat16 (of
        the package ml_dtypes) among them; integers become float64. A tensor of torch on the CPU becomes an array of the
        same memory.
    chosen, rejected : (n_pairs,) int array
        Rows of the preferred and of the rejected item. A pair of equal rows is kept: its gap is zero.
    users : (n_pairs,) sequence of hashables
        The user of each pair, in any order.
    groups : (n_pairs,) sequence of hashables, optional
        Pairs of one group never end on both sides of a support/query split. None makes each pair a group of its own.

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
    features = _feature_rows(features, problems)
    n_items = None if features is None else int(features.shape[0])
    better, worse = (_row_column(n, v, n_items, problems) for n, v in (("chosen", chosen), ("rejected", rejected)))
    user, ids = _id_column("users", users, problems)
    group, _ = (None, None) if groups is None else _id_column("groups", groups, problems)
    columns = {"chosen": better, "rejected": worse, "users": user, "groups": group}
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n} {name}" for name, n in lengths.items())
        problems.append(f"chosen, rejected, users and groups need one entry for each pair, got {listed}")
    if lengths and max(lengths.values()) == 0:
        problems.append("there must be at least one pair, got empty columns")
    if problems or better is None or worse is None or user is None or ids is None:
        raise EpisodeError(problems)
    episodes = set_from_features(ids, user, features, better, worse, group)
    problems += set_problems(episodes, context=None)
    if problems:
        raise EpisodeError(problems)
    return episodes


def _episode_list(data: Any, context: str) -> list[Episode]:
    wanted = f"{context} expects an EpisodeSet or a list of Episode"
    if isinstance(data, Episode):
        raise TypeError(f"{wanted}, got a single Episode: wrap it in a list")
    is_sequence = isinstance(data, Sequence) and not isinstance(data, str | bytes)
    if not is_sequence and not (isinstance(data, np.ndarray) and data.dtype == object and data.ndim == 1):
        raise TypeError(f"{wanted}, got {described(data)}: {_REMEDY}")
    listed = list(data)
    strangers = [place for place, episode in enumerate(listed) if not isinstance(episode, Episode)]
    if strangers:
        kinds = described(listed[strangers[0]])
        raise TypeError(
            f"{wanted}, got {kinds} at place {name_some(strangers)} of the {type(data).__name__}: {_REMEDY}"
        )
    return listed


_REMEDY = (
    "read tables, datasets and lists of dicts with episodes_from_frame(data, user=..., prompt=..., chosen=..., "
    "rejected=...), and indexed features with episodes_from_arrays(features, chosen, rejected, users)"
)


def _feature_rows(features: Any, problems: list[str]) -> Any:
    """Features as they are, or converted from tensors, integers or nested lists; None if they cannot be used."""
    try:
        features = without_torch(features)
    except (TypeError, ValueError, RuntimeError) as error:  # TypeError, RuntimeError: sparse, quantised, 8 bits
        problems.append(f"features must be what NumPy can read, got a {type(features).__name__}: {error}")
        return None
    try:
        array = features if hasattr(features, "shape") and hasattr(features, "dtype") else np.asarray(features)
    except ValueError as error:
        problems.append(f"features must be an array of shape (n_items, n_features), got ragged rows ({error})")
        return None
    if len(array.shape) != 2 or 0 in array.shape:
        problems.append(f"features must have shape (n_items, n_features), neither of them 0, got {tuple(array.shape)}")
        return None
    if getattr(array.dtype, "kind", "") in "iu":
        array = np.asarray(array, np.float64)
    problem = feature_dtype_problem(array)
    if problem:
        problems.append(f"features must be floats or integers, got {problem}")
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
