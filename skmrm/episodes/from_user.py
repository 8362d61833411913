"""One user's choices, in any of the forms that `adapt` takes, as a set with one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skmrm.episodes.checked import as_episode_set
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.from_tables import episodes_from_frame
from skmrm.exceptions import EpisodeError

__all__ = ["read_user_pairs"]

_THE_USER = "the user"
_COLUMNS = ("user_id", "prompt", "chosen", "rejected")
_FORMS = (
    "an Episode, a list of (prompt, chosen, rejected) or (chosen, rejected) tuples, a list of dicts or a table "
    "with columns 'chosen', 'rejected' and 'prompt'"
)


def read_user_pairs(user_pairs: Any, kind: str, n_features: int, caller: str) -> EpisodeSet:
    """Check one user's pairs and bring them into the internal form.

    Parameters
    ----------
    user_pairs : Episode, EpisodeSet with one user, list, or table
        No pairs at all are fine.
    kind : {"text", "features"}
        What the model was fitted on.
    n_features : int
        Number of features of an item.
    caller : str
        For error messages.
    """
    episodes = _read(user_pairs, n_features, kind, caller)
    if episodes.n_users > 1:
        raise ValueError(
            f"{caller} takes the pairs of one user, got {episodes.n_users} users: "
            "call adapt_many(episodes) for a model of each user"
        )
    wanted: Any = kind
    features = n_features if kind == "features" else None
    # One user of a large set: neither check nor encode the items of all the others.
    return as_episode_set(episodes.compact(), min_pairs=0, kind=wanted, n_features=features, context=caller)


def _read(user_pairs: Any, n_features: int, kind: str, caller: str) -> EpisodeSet:
    if isinstance(user_pairs, EpisodeSet):
        return user_pairs
    if isinstance(user_pairs, Episode):
        return _from_episodes([user_pairs], n_features, kind, caller)
    if isinstance(user_pairs, str):
        raise TypeError(f"{caller} takes {_FORMS}; got a str")
    if isinstance(user_pairs, Sequence):
        return _read_list(list(user_pairs), n_features, kind, caller)
    return _read_table(user_pairs, n_features, kind, caller)


def _read_list(rows: list[Any], n_features: int, kind: str, caller: str) -> EpisodeSet:
    if not rows:
        return _no_pairs(n_features, kind)
    if all(isinstance(row, Episode) for row in rows):
        return _from_episodes(rows, n_features, kind, caller)
    if all(isinstance(row, Mapping) for row in rows):
        return _read_table(rows, n_features, kind, caller)
    if not all(isinstance(row, tuple | list) and len(row) in (2, 3) for row in rows) or len({len(r) for r in rows}) > 1:
        raise TypeError(f"{caller} takes {_FORMS}; got a list with {type(rows[0]).__name__} {rows[0]!r:.80}")
    *prompts, chosen, rejected = zip(*rows, strict=True)
    episode = Episode(_THE_USER, list(chosen), list(rejected), list(prompts[0]) if prompts else None)
    return _from_episodes([episode], n_features, kind, caller)


def _from_episodes(episodes: list[Episode], n_features: int, kind: str, caller: str) -> EpisodeSet:
    if len(episodes) == 1 and _is_empty(episodes[0]):
        return _no_pairs(n_features, kind)
    return as_episode_set(episodes, min_pairs=0, context=caller)


def _is_empty(episode: Episode) -> bool:
    try:
        return len(episode.chosen) == 0 and len(episode.rejected) == 0
    except TypeError:
        return False


def _read_table(table: Any, n_features: int, kind: str, caller: str) -> EpisodeSet:
    """A table of one user; a column of user ids is not needed."""
    present = _column_names(table, caller)
    missing = [name for name in ("chosen", "rejected") if name not in present]
    if missing:
        raise EpisodeError(
            f"{caller} needs a table with columns 'chosen' and 'rejected', there is no {' and no '.join(missing)}; "
            f"got columns {', '.join(map(repr, present)) or '(none)'}: rename them"
        )
    columns = {name: _column(table, name) for name in _COLUMNS if name in present}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise EpisodeError(f"columns must have the same length, got {lengths}")
    if lengths["chosen"] == 0:
        return _no_pairs(n_features, kind)
    columns.setdefault("user_id", [_THE_USER] * lengths["chosen"])
    return episodes_from_frame(columns, prompt="prompt" if "prompt" in columns else None)


def _column_names(table: Any, caller: str) -> list[Any]:
    if isinstance(table, list):
        return list(dict.fromkeys(name for row in table for name in row))
    present: Any = table
    if not isinstance(table, Mapping):
        present = getattr(table, "column_names", None)
        present = getattr(table, "columns", None) if present is None else present
        if present is None:
            raise TypeError(f"{caller} takes {_FORMS}; got {type(table).__name__}")
    return list(present)


def _column(table: Any, name: str) -> list[Any]:
    if isinstance(table, list):
        return [row.get(name) for row in table]
    column = table[name]
    for method in ("to_pylist", "to_list"):  # arrow; polars and pandas
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def _no_pairs(n_features: int, kind: str) -> EpisodeSet:
    empty: list[int] = []
    texts: dict[str, Any] = {"items": []} if kind == "text" else {"features": np.empty((0, n_features))}
    return EpisodeSet(users=[_THE_USER], user=empty, chosen=empty, rejected=empty, group=empty, **texts)
