"""Tables of ratings, one response a row: stars, scores and thumbs, each held against the bar of who gave it.

A response that is judged alone is compared with what its user expects: the margin is the response's reward less the
user's own bar, one more weight of the user, and the level of the rating is an ordered outcome of it (see
:mod:`skmrm.meta.thresholds`). So a rating teaches what it can, without pairing it by hand, and a user who gives
everything four stars says little.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.from_tables import Verdicts, asked_columns, read_table
from skmrm.episodes.rules import set_problems
from skmrm.exceptions import EpisodeError

__all__ = ["episodes_from_ratings"]


def episodes_from_ratings(
    data: Any,
    user: Hashable = "user_id",
    prompt: Hashable | None = "prompt",
    response: Hashable = "response",
    rating: Hashable = "rating",
    *,
    scale: Sequence[Any] | None = None,
    group: Hashable | Sequence[Hashable] | None = None,
    weight: Hashable | None = None,
    time: Hashable | None = None,
    shared_groups: bool | Literal["auto"] = "auto",
    min_pairs: int = 1,
) -> EpisodeSet:
    """Read a table of ratings or thumbs, one row a response, into an `EpisodeSet`.

    Parameters
    ----------
    data : data frame, table, dict of columns, list of dicts, or path
        Any table that :func:`skmrm.episodes_from_frame` takes.
    user, prompt : str, default="user_id" and "prompt"
        Columns with users' ids and prompts, as there; ``prompt=None`` if there is none: of lists of messages, all but
        the last turn is then the prompt.
    response : str, default="response"
        Column with responses: texts, lists of messages, or feature vectors.
    rating : str, default="rating"
        Column with what each user said of each response: numbers (stars, scores from 0 to 100), True and False (thumbs)
        or words for them, or labels.
    scale : sequence of numbers or labels, optional
        From the worst level to the best: what each begins at, or is called; needed for labels. None takes each number
        as a level (up to twenty, with all between where they are whole), and makes twenty levels, equally frequent, of
        more. Pass ``scale=model.rating_scale_`` for the ratings of new users.
    group : str or list of str, optional
        Columns whose values tell groups, which no split divides; None groups by prompt.
    weight, time : str, optional
        Columns with how often each rating counts, and when it was given.
    shared_groups : bool or "auto", default="auto"
        Whether a value of `group` means one group whoever the user is, as of :func:`skmrm.episodes_from_frame`.
    min_pairs : int, default=1
        Fewest ratings that a user may have.

    Returns
    -------
    EpisodeSet
        With the level of each rating as `rating`, and the response as both `chosen` and `rejected`.

    Raises
    ------
    TypeError
        If `data` is not a table that can be read.
    EpisodeError
        If columns are not there, or cells are missing or cannot be read; all problems are listed.

    Examples
    --------
    >>> rows = {"user_id": ["ann", "ann", "bo"], "prompt": ["Tea?"] * 3, "response": ["Yes.", "No.", "No."]}
    >>> episodes_from_ratings(rows | {"rating": [5, 2, 4]}).scale
    (2, 3, 4, 5)
    >>> episodes_from_ratings(rows | {"liked": [True, False, True]}, rating="liked").rating
    array([2, 1, 2])
    """
    roles: dict[str, Hashable | None]
    roles = {"user": user, "prompt": prompt, "response": response, "rating": rating, "weight": weight, "time": time}
    table, groups, asked, shared = asked_columns(data, roles, group, shared_groups)
    said: dict[str, Hashable] = {role: asked[role] for role in ("rating", "weight", "time") if role in asked}
    episodes = read_table(
        table, user, prompt, response, response, groups, shared_groups=shared, verdicts=Verdicts(said, scale=scale)
    )
    if problems := list(set_problems(episodes, min_pairs=min_pairs, context=None)):
        raise EpisodeError(problems)
    return episodes.distinct()
