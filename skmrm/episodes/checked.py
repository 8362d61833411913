"""Episodes as an `EpisodeSet` that keeps the rules, or an error that lists where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import described, name_some
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.from_episodes import common_set, read_episodes
from skmrm.episodes.rules import set_problems, shared_groups_problems
from skmrm.exceptions import EpisodeError

__all__ = ["as_episode_set"]


def as_episode_set(
    data: EpisodeSet | Sequence[Episode] | NDArray[np.object_],
    *,
    min_pairs: int = 1,
    min_groups: int = 1,
    n_features: int | None = None,
    kind: Literal["text", "features"] | None = None,
    shared_groups: bool | Literal["auto"] = "auto",
    context: str = "fit",
) -> EpisodeSet:
    """Check preference data and bring them into the one internal form.

    Parameters
    ----------
    data : EpisodeSet, or list, tuple or array of Episode
        The preferences. An `EpisodeSet` comes back as it is; views of one `EpisodeSet` (``[episodes[3],
        episodes[5]]``) are put together over the same features, without a copy.
    min_pairs : int, default=1
        Fewest pairs that a user may have. 0 lets users without pairs through.
    min_groups : int, default=1
        Fewest groups that a user may have: 2 to split each user into support and query.
    n_features : int, optional
        Number of features that arrays must have.
    kind : {"text", "features"}, optional
        What must be known of the items; None takes either.
    shared_groups : bool or "auto", default="auto"
        Whether a group of a list of `Episode` is one and the same for all users. "auto" says so of prompts, where equal
        texts are one group, and takes ``Episode.groups`` for each user's own. An `EpisodeSet` has settled it.
    context : str, default="fit"
        The method that asks, for error messages.

    Returns
    -------
    EpisodeSet
        Users in the order given. Distinct (prompt, response) texts, and distinct rows of arrays, are one item each;
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
    if problems := shared_groups_problems(shared_groups):
        raise EpisodeError(problems)
    episodes: EpisodeSet | None
    made = False
    if isinstance(data, EpisodeSet):
        episodes = data
    else:
        listed = _episode_list(data, context)
        if not listed:
            raise EpisodeError(f"{context} needs at least one user, got an empty {type(data).__name__}")
        episodes, problems = read_episodes(
            listed, shared_groups if isinstance(shared_groups, str) else bool(shared_groups)
        )
        made = common_set(listed) is None
    if episodes is not None:
        if episodes.n_items == 0 and n_features is not None:  # users without pairs are texts and arrays alike
            episodes = episodes.with_features(np.empty((0, n_features)))
        problems += set_problems(
            episodes, min_pairs=min_pairs, min_groups=min_groups, n_features=n_features, kind=kind, context=context
        )
    if problems or episodes is None:
        raise EpisodeError(problems)
    return episodes.distinct() if made else episodes


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
