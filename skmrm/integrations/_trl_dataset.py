"""Preference sets of TRL with a column of users, as episodes."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np

from skmrm._support.wording import name_some
from skmrm.episodes import EpisodeSet, episodes_from_frame, episodes_from_ratings
from skmrm.episodes.tables import cells_of, open_table
from skmrm.episodes.verdicts import levels_of
from skmrm.exceptions import EpisodeError

__all__ = ["from_trl_dataset"]

_PAIR, _UNPAIRED = ("chosen", "rejected"), ("completion", "label")
# What TRL calls data sets with other columns, and how pairs come of them.
_OTHER_TYPES = {
    ("completions", "labels"): ("stepwise supervision", "use a set of pairs"),
    ("prompt", "completion"): ("prompt-completion", "score candidates and let best_of_n make pairs"),
    ("messages",): ("language modeling", "use a set of pairs"),
    ("text",): ("language modeling", "use a set of pairs"),
    ("prompt",): ("prompt-only", "sample completions, and let users or a reward choose"),
}


def from_trl_dataset(
    dataset: Any,
    user_column: str = "user_id",
    *,
    group: str | Sequence[str] | None = None,
    shared_groups: bool | Literal["auto"] = "auto",
    min_pairs: int = 1,
) -> EpisodeSet:
    """Read a preference data set of TRL whose rows say whose choice they are.

    Standard and conversational, with an explicit prompt or with an implicit one, which is then what chosen and rejected
    begin with alike. A column ``margin``, by how much the chosen response is better at least, tells strengths: each of
    up to twenty values is one, and of more twenty are made, equally frequent. Unpaired preferences are thumbs, as
    :func:`skmrm.episodes_from_ratings` reads them. Other columns (``score_chosen``, ``chat_template_kwargs``) are left
    alone.

    Parameters
    ----------
    dataset : datasets.Dataset, or any table that :func:`skmrm.episodes_from_frame` takes
        With columns ``chosen`` and ``rejected``, or ``completion`` and ``label``, and perhaps ``prompt``: texts or
        lists of messages.
    user_column : str, default="user_id"
        Column with users' ids.
    group : str or sequence of str, optional
        Columns whose values tell groups, which no split divides; None groups by prompt.
    shared_groups : bool or "auto", default="auto"
        As of :func:`skmrm.episodes_from_frame`: whether a group is one and the same for all users.
    min_pairs : int, default=1
        Fewest pairs that a user may have.

    Returns
    -------
    EpisodeSet
        Users in order of first appearance.

    Raises
    ------
    TypeError
        If `dataset` is no table, or has several splits.
    EpisodeError
        If it is of another of TRL's types, or cannot be read; all problems are listed.

    Examples
    --------
    >>> from skmrm.integrations.trl import from_trl_dataset
    >>> say = lambda role, content: {"role": role, "content": content}
    >>> rows = [{"user_id": "ann", "chosen": [say("user", "Tea?"), say("assistant", "Yes.")],
    ...          "rejected": [say("user", "Tea?"), say("assistant", "No.")]}]
    >>> episodes = from_trl_dataset(rows)
    >>> episodes, [(str(prompt), str(response)) for prompt, response in episodes.items]
    (EpisodeSet(n_users=1, n_pairs=1, n_items=2, texts), [('Tea?', 'Yes.'), ('Tea?', 'No.')])
    """
    names = open_table(dataset, []).names
    prompt = "prompt" if "prompt" in names else None
    more: dict[str, Any] = {"group": group, "shared_groups": shared_groups, "min_pairs": min_pairs}
    if set(_UNPAIRED) <= set(names) and not set(_PAIR) & set(names):
        return episodes_from_ratings(dataset, user_column, prompt, *_UNPAIRED, scale=(False, True), **more)
    if names and not set(_PAIR) & set(names):
        kind, remedy = next(
            (said for columns, said in _OTHER_TYPES.items() if set(columns) <= set(names)),
            ("unknown", "rename its columns"),
        )
        raise EpisodeError(
            [
                "a data set of TRL's preference type is needed, with columns 'chosen' and 'rejected', or 'completion' "
                f"and 'label'; this one is of the {kind} type, with columns {name_some(names, 9)}: {remedy}"
            ]
        )
    if "margin" in names:
        more |= {"strength": "margin", "strength_order": _strengths(dataset)}
    return episodes_from_frame(dataset, user_column, prompt, *_PAIR, **more)


def _strengths(dataset: Any) -> dict[Any, int]:
    """Which strength each margin is: none is a tie, as the chosen response is better even by nothing."""
    cells = cells_of(open_table(dataset, ["margin"]), "margin")
    margins = np.array([cell for cell in cells if isinstance(cell, Real)], float)
    levels = levels_of(margins)
    return {value: int(np.searchsorted(levels, value, side="right")) for value in np.unique(margins).tolist()}
