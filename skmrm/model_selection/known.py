"""People who were in fit and come back: what they chose before, to adapt on, beside what they choose now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import counted, name_some
from skmrm.episodes import EpisodeSet
from skmrm.episodes.columns import factorize, number, number_rows
from skmrm.episodes.outcomes import joined_said

__all__ = ["join_known", "known_problems"]


def known_problems(episodes: EpisodeSet, known: EpisodeSet) -> Iterator[str]:
    """What keeps the users of `episodes` from being adapted on `known`, a sentence each."""
    chose = dict(zip(known.users.tolist(), known.pairs_per_user > 0, strict=True))
    strangers = [user for user in episodes.users.tolist() if not chose.get(user, False)]
    if strangers:
        yield (
            f"known must have choices of every user of episodes, got none of {_of(strangers, episodes)}; known has "
            f"users {name_some(known.users.tolist())}: leave these users out, or judge them as new ones, without known"
        )
    idle = episodes.users[episodes.pairs_per_user == 0].tolist()
    if idle:
        yield (
            f"every user of episodes must have new choices to be judged on, got none of {_of(idle, episodes)}: leave "
            "them out, episodes[episodes.pairs_per_user > 0]"
        )
    met = set(episodes.users.tolist())
    repeated = [user for user, times in Counter(known.users.tolist()).items() if times > 1 and user in met]
    if repeated:
        yield f"a user must stand once in known, got {name_some(repeated)} more than once: put their choices together"
    yield from _form_problems(episodes, known)


def _of(users: list[Any], episodes: EpisodeSet) -> str:
    return f"{len(users)} of {counted(episodes.n_users, 'user')} ({name_some(users)})"


def _form_problems(episodes: EpisodeSet, known: EpisodeSet) -> Iterator[str]:
    if episodes.items is not None and known.items is not None and None in (episodes.n_features, known.n_features):
        return  # as texts, whatever features one of them has
    if episodes.n_features != known.n_features:
        came = " and ".join(
            "texts" if n is None else counted(n, "feature") for n in (episodes.n_features, known.n_features)
        )
        yield f"episodes and known must be of one kind, got {came}: bring texts for both, or the same features for both"
    elif None not in (episodes.feature_names, known.feature_names) and episodes.feature_names != known.feature_names:
        listed = " and ".join(name_some(names) for names in (episodes.feature_names or (), known.feature_names or ()))
        yield f"episodes and known must have the same columns in the same order, got {listed}: reorder one of them"


def join_known(episodes: EpisodeSet, known: EpisodeSet) -> tuple[EpisodeSet, NDArray[np.bool_]]:
    """Put what the users of `episodes` chose before beside what they choose now.

    Groups of two sets have nothing in common that could be known, as each may have numbered its own; here every pair
    is one of its own.

    Parameters
    ----------
    episodes, known : EpisodeSet
        Without problems.

    Returns
    -------
    both : EpisodeSet
        The users of `episodes`. What is one item in both sets is one item.
    new : (n_pairs,) bool array
        True for the pairs of `episodes`.
    """
    row = {user: place for place, user in enumerate(known.users.tolist())}
    known = known[np.array([row[user] for user in episodes.users.tolist()], np.intp)]
    user = np.concatenate([known.user, episodes.user])
    new = np.arange(len(user)) >= known.n_pairs
    order = np.argsort(user, kind="stable")
    said: dict[str, Any] = joined_said([(one.n_pairs, one.said) for one in (known, episodes)])
    both = EpisodeSet(
        users=episodes.users,
        user=user[order],
        group=np.arange(len(user)),
        feature_names=episodes.feature_names if known.feature_names == episodes.feature_names else None,
        scale=episodes.scale if known.scale == episodes.scale else None,
        **_join_items(known, episodes, order),
        **{name: column[order] for name, column in said.items()},
    )
    return both, new[order]


def _join_items(known: EpisodeSet, episodes: EpisodeSet, order: NDArray[np.intp]) -> dict[str, Any]:
    """Items of both sets, and the pairs over them in that order."""
    features, items, code = episodes.features, episodes.items, None
    if features is not known.features or items is not known.items:
        known, episodes = known.compact(), episodes.compact()
        features, items, code = _one_row_each(known, episodes)
    sides = {}
    for name in ("chosen", "rejected"):
        rows = getattr(known, name), getattr(episodes, name)
        joined = np.concatenate(rows if code is None else (code[rows[0]], code[known.n_items + rows[1]]))
        sides[name] = joined[order]
    return {"features": features, "items": items, **sides}


def _one_row_each(
    known: EpisodeSet, episodes: EpisodeSet
) -> tuple[NDArray[Any] | None, list[tuple[str, str]] | None, NDArray[np.int64]]:
    """Features and texts of the distinct items of both sets, in memory, and the code of each item."""
    features, items = None, None
    code = np.zeros(known.n_items + episodes.n_items, np.int64)
    if known.items is not None and episodes.items is not None:
        items = [*known.items, *episodes.items]
        code = factorize(items)[0]
    if known.features is not None and episodes.features is not None:
        features = np.concatenate([np.asarray(known.features), np.asarray(episodes.features)])
        code = code * len(code) + number_rows(features, np.arange(len(code)))[0]
    code, first = number(code)
    return (
        None if features is None else features[first],
        None if items is None else [items[place] for place in first.tolist()],
        code,
    )
