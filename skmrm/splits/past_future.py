"""Within a user, the past to adapt on and the future to judge on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skmrm._support.randomness import RandomState, as_generator
from skmrm.episodes import EpisodeSet
from skmrm.episodes.columns import inverse
from skmrm.splits.support_query import SupportQuery, joins_support, place_within

__all__ = ["past_future_split"]


def past_future_split(episodes: EpisodeSet, support_fraction: float, random_state: RandomState = None) -> SupportQuery:
    """Split each user's pairs at a moment: the support is what came before it, latest first, the query what came after.

    The cut is where the support comes nearest to `support_fraction` of the user's pairs; pairs of one time are never
    divided. A user with at least two times has pairs on both sides. Later pairs of a group that has earlier ones are on
    neither side, so that no group is on both.

    Parameters
    ----------
    episodes : EpisodeSet
        With times.
    support_fraction : float
        Between 0 and 1.
    random_state : int, numpy Generator, RandomState, or None
        Of the order of pairs of one time within a support; nothing else is drawn.
    """
    if episodes.time is None:
        raise ValueError("a split by time needs the time of every pair, got episodes without times")
    by_content = episodes.canonical_order
    user = inverse(by_content.users)[episodes.user[by_content.pairs]]
    time = episodes.time[by_content.pairs]
    drawn = as_generator(random_state).random(len(user))
    early = _before_the_cut(user, time, episodes.n_users, support_fraction)
    order = np.full(len(user), -1, np.int64)
    latest_first = np.lexsort((drawn, -time, user))
    rows = latest_first[early[latest_first]]
    order[by_content.pairs[rows]] = place_within(user[rows], episodes.n_users)
    past = order >= 0
    groups, group = np.unique(episodes.group, return_inverse=True)
    block = episodes.user * len(groups) + group
    query = ~past & ~np.isin(block, block[past])
    return SupportQuery(query=query, order=order, user=episodes.user, n_users=episodes.n_users)


def _before_the_cut(
    user: NDArray[np.integer], time: NDArray[np.float64], n_users: int, support_fraction: float
) -> NDArray[np.bool_]:
    """Mask of the pairs before each user's cut."""
    order = np.lexsort((time, user))
    owner, when = user[order], time[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (when[1:] != when[:-1])
    first = np.flatnonzero(begins)
    joins = joins_support(owner[first], np.diff(first, append=len(order)), n_users, support_fraction)
    early = np.empty(len(order), bool)
    early[order] = joins[np.cumsum(begins) - 1]
    return early
