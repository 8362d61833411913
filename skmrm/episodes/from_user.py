"""One user's choices, in any of the forms that `adapt` takes, as a set with one user."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np

from skmrm._support.wording import described
from skmrm.episodes.checked import as_episode_set
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.files import as_table
from skmrm.episodes.from_episodes import read_episodes
from skmrm.episodes.from_tables import Verdicts, name_problems, read_table
from skmrm.episodes.rules import Problems
from skmrm.episodes.tables import RenamedTable, open_table
from skmrm.episodes.verdicts import read_ratings
from skmrm.exceptions import EpisodeError

__all__ = ["read_user_pairs"]

_THE_USER = "the user"
_FORMS = (
    "an Episode, a list of (prompt, chosen, rejected) or (chosen, rejected) tuples, of (prompt, chosen, rejected, "
    "outcome) with a number as outcome (0 for a tie), of (prompt, response, rating) with True, False or a number as "
    "rating, a list of dicts or a table with columns 'chosen', 'rejected' and 'prompt'"
)
_CHOICE, _VOTE = ("chosen", "rejected"), ("response_a", "response_b")
_RATED = ("response", "completion"), ("rating", "label")  # what each is called, here and by others
_LEVEL = "rating as a level"
_SAID = ("winner", "outcome", "weight", "time")
_USER = "user_id"
# What a caller may name another column for, and the name that is looked for.
_ROLES = {"user": _USER} | {name: name for name in ("prompt", *_CHOICE, *_VOTE, "response", "rating", *_SAID)}
_NAMING = ("adapt", "update")  # callers that take names of columns


def read_user_pairs(
    user_pairs: Any,
    kind: str,
    n_features: int,
    caller: str,
    scale: Sequence[Any] | None = None,
    columns: Mapping[str, Hashable | None] | None = None,
) -> EpisodeSet:
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
    scale : sequence, optional
        Of ratings, as of `episodes_from_ratings`.
    columns : mapping of str to hashable, optional
        Columns of a table by what they are: "prompt", "chosen", "rejected" and so on.
    """
    new = _new_names(user_pairs, columns or {}, caller)
    episodes = _read(user_pairs, n_features, kind, caller, scale, new)
    if episodes.n_users > 1:
        raise ValueError(
            f"{caller} takes the pairs of one user, got {episodes.n_users} users: "
            "call adapt_many(episodes) for a model of each user"
        )
    wanted: Any = kind
    features = n_features if kind == "features" else None
    # One user of a large set: neither check nor encode the items of all the others.
    return as_episode_set(episodes.compact(), min_pairs=0, kind=wanted, n_features=features, context=caller)


def _new_names(user_pairs: Any, columns: Mapping[str, Hashable | None], caller: str) -> dict[str, Hashable | None]:
    """Columns that are named, under the names that are looked for; None for what is not to be looked for."""
    if strange := next((name for name in columns if name not in _ROLES), None):
        close = get_close_matches(strange, [*_ROLES, "user_features", "half_life"], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise TypeError(
            f"{caller} got an unexpected keyword argument {strange!r}; columns are named by {', '.join(_ROLES)}{hint}"
        )
    if not columns:
        return {}
    listed = list(user_pairs) if isinstance(user_pairs, Sequence) and not isinstance(user_pairs, str) else None
    if isinstance(user_pairs, EpisodeSet | Episode) or (listed and not all(isinstance(row, Mapping) for row in listed)):
        came = described(user_pairs) if listed is None else f"a list of {type(listed[0]).__name__}"
        raise TypeError(
            f"{caller} takes names of columns ({', '.join(columns)}) with a table or a list of dicts, got {came}: "
            "leave them out"
        )
    new = {_ROLES[role]: name for role, name in columns.items()}
    if not {*_CHOICE} & {*new} and {*_VOTE, "winner", "response", "rating"} & {*new}:
        new |= dict.fromkeys(_CHOICE)  # the caller says that the rows are no choices, whatever other columns are called
    return new


def _read(
    user_pairs: Any,
    n_features: int,
    kind: str,
    caller: str,
    scale: Sequence[Any] | None,
    new: Mapping[str, Hashable | None],
) -> EpisodeSet:
    """Pairs in the internal form, not yet held against the rules for sets; a list may be any of several forms."""
    if isinstance(user_pairs, EpisodeSet):
        return user_pairs
    if isinstance(user_pairs, Episode):
        return _read_episodes([user_pairs], n_features, kind)
    if isinstance(user_pairs, str):
        raise TypeError(f"{caller} takes {_FORMS}; got a str: name a file as a pathlib.Path")
    if not isinstance(user_pairs, Sequence):
        return _read_table(user_pairs, n_features, kind, caller, scale, new)
    rows = list(user_pairs)
    if not rows:
        return _no_pairs(n_features, kind)
    if all(isinstance(row, Episode) for row in rows):
        return _read_episodes(rows, n_features, kind)
    if all(isinstance(row, Mapping) for row in rows):
        return _read_table(_of_one_form(_renamed(rows, new, caller), scale), n_features, kind, caller, scale)
    are_tuples = all(isinstance(row, tuple | list) and 2 <= len(row) <= 4 for row in rows)
    if not are_tuples or len({_form(row, kind) for row in rows}) > 1 or _form(rows[0], kind)[0] > 3:
        raise TypeError(
            f"{caller} takes {_FORMS}; got {described(user_pairs)} with {described(rows[0])}, {rows[0]!r:.80}: "
            "wrap a single choice in a list"
        )
    columns = [list(column) for column in zip(*rows, strict=True)]
    if all(_is_rated(row, kind) for row in rows):
        *prompts, responses, ratings = columns
        table = {"prompt": prompts[0]} if prompts else {}
        return _read_table(table | {"response": responses, "rating": ratings}, n_features, kind, caller, scale)
    outcomes = columns.pop() if _form(rows[0], kind)[1] else None
    *prompts, chosen, rejected = columns
    episode = Episode(_THE_USER, chosen, rejected, prompts[0] if prompts else None, outcomes=outcomes)
    return _read_episodes([episode], n_features, kind)


def _form(row: Sequence[Any], kind: str) -> tuple[int, bool]:
    """How many responses and prompts a tuple has, and whether an outcome comes behind them.

    Of texts only behind a prompt, so that a number in the place of a response is no outcome.
    """
    said = len(row) > (2 if kind == "features" else 3) and isinstance(row[-1], Integral)
    has_outcome = said and not isinstance(row[-1], bool)
    return len(row) - has_outcome, has_outcome


def _is_rated(row: Sequence[Any], kind: str) -> bool:
    """Whether a tuple is of one response, perhaps its prompt before it, and a rating in the place of the other."""
    alone = len(row) == 2 or (len(row) == 3 and (kind == "text" or row[0] is None or isinstance(row[0], str | list)))
    return alone and isinstance(row[-1], Real | np.bool_)


def _read_episodes(episodes: list[Episode], n_features: int, kind: str) -> EpisodeSet:
    if len(episodes) == 1 and _is_empty(episodes[0]):
        return _no_pairs(n_features, kind)
    found, problems = read_episodes(episodes)
    if problems or found is None:
        raise EpisodeError(problems)
    return found


def _is_empty(episode: Episode) -> bool:
    try:
        return len(episode.chosen) == 0 and len(episode.rejected) == 0
    except TypeError:
        return False


def _read_table(
    data: Any,
    n_features: int,
    kind: str,
    caller: str,
    scale: Sequence[Any] | None,
    new: Mapping[str, Hashable | None] | None = None,
) -> EpisodeSet:
    """A table of one user; a column of user ids is not needed. Without prompts, texts are whole, as in an `Episode`."""
    looked_for = (_USER, "prompt", *_CHOICE, *_VOTE, *_SAID, *_RATED[0], *_RATED[1], _LEVEL)
    named = {name: own for name, own in (new or {}).items() if own is not None}
    if isinstance(data, os.PathLike):
        data = as_table(data, [named.get(name, name) for name in (*_SAID[1:], *_RATED[1])])
    try:
        table = open_table(data, [*looked_for, *named.values()])
    except TypeError as error:
        raise TypeError(f"{caller} takes {_FORMS}; {error}") from error
    if new:
        _check_names(table.names, named, caller)
        table = RenamedTable(table, new)
    is_vote = all(name in table.names for name in (*_VOTE, "winner")) and not any(n in table.names for n in _CHOICE)
    sides = _VOTE if is_vote else _CHOICE
    response, rating = (next((name for name in names if name in table.names), None) for names in _RATED)
    is_rated = response is not None and rating is not None and not any(name in table.names for name in _CHOICE)
    if response is not None and is_rated and not is_vote:
        sides = response, response
    missing = [name for name in sides if name not in table.names]
    if missing:
        example = f"name them, as in {caller}(..., prompt='question', chosen='better', rejected='worse')"
        raise EpisodeError(
            f"{caller} needs a table with columns 'chosen' and 'rejected', or 'response' and 'rating'; there is no "
            f"{' and no '.join(missing)} among {', '.join(map(repr, table.names)) or '(none)'}: "
            f"{example if caller in _NAMING else 'rename them'}"
        )
    if table.n_rows == 0:
        return _no_pairs(n_features, kind)
    prompt = "prompt" if "prompt" in table.names else None
    user = _USER if _USER in table.names else None
    said = {name: name for name in (_SAID if is_vote else _SAID[1:]) if name in table.names}
    if sides[0] == sides[1]:
        said = {"rating": str(rating)} | {name: name for name in ("weight", "time") if name in table.names}
    elif _LEVEL in table.names:
        said["level"] = _LEVEL
    verdicts = Verdicts(said, scale=scale)
    return read_table(table, user, prompt, *sides, cut_texts=False, nameless=_THE_USER, verdicts=verdicts)


def _check_names(names: Sequence[Any], named: Mapping[str, Hashable], caller: str) -> None:
    role_of = {name: role for role, name in _ROLES.items()}
    if problems := list(name_problems(names, {role_of[name]: own for name, own in named.items()})):
        raise EpisodeError([f"{caller}: {problem}" for problem in problems])


def _renamed(rows: list[Any], new: Mapping[str, Hashable | None], caller: str) -> list[Any]:
    """Rows whose keys are the names that are looked for."""
    if not new:
        return rows
    named = {name: own for name, own in new.items() if own is not None}
    _check_names(list(dict.fromkeys(key for row in rows for key in row)), named, caller)
    taken = {*new, *named.values()}
    return [
        {key: cell for key, cell in row.items() if key not in taken}
        | {name: row[own] for name, own in named.items() if own in row}
        for row in rows
    ]


def _of_one_form(rows: list[Mapping[str, Any]], scale: Sequence[Any] | None) -> list[Mapping[str, Any]]:
    """Rows as they are; of choices and rated responses beside each other, all as choices with the level of a rating."""
    found = [
        [name for names in _RATED for name in names if name in row] for row in rows
    ]  # the response's, the rating's
    rated = [len(parts) == len(_RATED) for parts in found]
    if not any(rated) or all(rated):
        return rows
    problems = Problems()
    said = [row[parts[1]] for row, parts, is_rated in zip(rows, found, rated, strict=True) if is_rated]
    levels, _ = read_ratings("rating", said, scale, problems)
    if problems:
        raise EpisodeError(problems.sentences())
    level = iter(levels.tolist())
    unsaid = {name: 1 for name in ("outcome", "weight") if any(name in row for row in rows)}
    alike: list[Mapping[str, Any]] = []
    for row, parts, is_rated in zip(rows, found, rated, strict=True):
        ends = dict.fromkeys(_CHOICE, row[parts[0]]) if is_rated else {}
        kept = {name: cell for name, cell in row.items() if not is_rated or name not in parts}
        alike.append(unsaid | kept | ends | {_LEVEL: next(level) if is_rated else 0})
    return alike


def _no_pairs(n_features: int, kind: str) -> EpisodeSet:
    empty: list[int] = []
    texts: dict[str, Any] = {"items": []} if kind == "text" else {"features": np.empty((0, n_features))}
    return EpisodeSet(users=[_THE_USER], user=empty, chosen=empty, rejected=empty, group=empty, **texts)
