"""Within a user, no group on both sides of support and query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.randomness import RandomState, as_generator
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.episodes.columns import inverse

__all__ = ["SupportQuery", "draw_support_query", "draw_training_split", "support_query_split"]

# Pairs of one user that an epoch or a validation looks at, at most; drawn anew each time.
MAX_PAIRS_PER_USER = 512


@dataclass(frozen=True, eq=False)
class SupportQuery:
    """Which pairs a user is adapted on (support) and which it is judged on (query).

    Attributes
    ----------
    query : (n_pairs,) bool array
        True for query pairs.
    order : (n_pairs,) int64 array
        Place of each support pair in its user's support order (random, or the latest first), from 0; -1 for all other
        pairs. The supports ``order < n`` for growing n are nested.
    user : (n_pairs,) int array
        Row of the user that each pair belongs to.
    n_users : int
        Number of users.
    """

    query: NDArray[np.bool_]
    order: NDArray[np.int64]
    user: NDArray[np.intp]
    n_users: int

    @property
    def n_support(self) -> NDArray[np.intp]:
        """Number of support pairs of each user, (n_users,) int."""
        return np.bincount(self.user[self.support()], minlength=self.n_users)

    @property
    def n_query(self) -> NDArray[np.intp]:
        """Number of query pairs of each user, (n_users,) int."""
        return np.bincount(self.user[self.query], minlength=self.n_users)

    def support(self, n: int | NDArray[np.integer] | None = None) -> NDArray[np.bool_]:
        """Mask of the first n support pairs of each user.

        Parameters
        ----------
        n : int, (n_users,) int array, or None
            Size of each support, or one size for each user; a user with fewer support pairs gives all of them.
            None takes all.

        Returns
        -------
        (n_pairs,) bool array
            True for the pairs to adapt on.
        """
        if n is None:
            return np.asarray(self.order >= 0)
        sizes = np.asarray(n)
        if sizes.ndim == 0:
            return (self.order >= 0) & (self.order < sizes)
        if sizes.shape != (self.n_users,):
            raise ValueError(f"n must be an int or one int for each of {self.n_users} users, got shape {sizes.shape}")
        return (self.order >= 0) & (self.order < sizes[self.user])


def support_query_split(
    episodes: EpisodeSet | Sequence[Episode], *, support_fraction: float = 0.5, random_state: RandomState = None
) -> SupportQuery:
    """Split each user's pairs into support and query, whole groups at a time.

    Groups are drawn at random until the support holds about `support_fraction` of the user's pairs. A user with at
    least two groups has pairs on both sides; a user with a single group has them all in the query.

    Parameters
    ----------
    episodes : EpisodeSet or list of Episode
        The users and their pairs.
    support_fraction : float, default=0.5
        Share of a user's pairs to aim at, between 0 and 1.
    random_state : int, numpy Generator, RandomState, or None
        The same integer gives the same split of the same choices, in whatever order they come; None a new one each
        time.

    Returns
    -------
    SupportQuery
        Masks over the pairs of `episodes`; of a list, over one user's pairs after the other's.

    Raises
    ------
    TypeError, EpisodeError
        If the data are not episodes, or break a rule.
    ValueError
        If `support_fraction` is not strictly between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> episodes = EpisodeSet(users=["ann"], user=[0] * 4, chosen=[0] * 4, rejected=[1] * 4, group=[7, 7, 8, 8],
    ...                       features=np.eye(2))
    >>> split = support_query_split(episodes, random_state=0)
    >>> split.n_support, split.n_query
    (array([2]), array([2]))
    """
    if not 0 < support_fraction < 1:
        raise ValueError(f"support_fraction must lie strictly between 0 and 1, got {support_fraction!r}")
    episodes = as_episode_set(episodes, min_pairs=0, context="support_query_split")
    rng = as_generator(random_state)
    pairs = episodes.canonical_order.pairs
    user = inverse(episodes.canonical_order.users)[episodes.user[pairs]]
    query, order = np.empty(episodes.n_pairs, bool), np.empty(episodes.n_pairs, np.int64)
    query[pairs], order[pairs] = draw_support_query(
        user, episodes.group[pairs], episodes.n_users, float(support_fraction), rng
    )
    return SupportQuery(query=query, order=order, user=episodes.user, n_users=episodes.n_users)


def draw_support_query(
    user: NDArray[np.integer],
    group: NDArray[np.integer],
    n_users: int,
    support_fraction: float | ArrayLike,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Draw a support/query split on plain arrays; what `support_query_split` does, without an `EpisodeSet`.

    Parameters
    ----------
    user : (n_pairs,) int array, ascending
        User of each pair, 0 to n_users - 1.
    group : (n_pairs,) int array
        Group of each pair, compared within a user.
    n_users : int
        Number of users.
    support_fraction : float or (n_users,) array of float
        Share of pairs to aim at; both sides stay non-empty at any value wherever a user has two groups.
    rng : numpy.random.Generator
        Source of randomness; advanced.

    Returns
    -------
    query : (n_pairs,) bool array
        True for query pairs.
    order : (n_pairs,) int64 array
        Place of each support pair in its user's random support order; -1 for query pairs.
    """
    user = np.asarray(user)
    n_pairs = len(user)
    block, block_user, block_size = _blocks(user, np.asarray(group))
    support_block = _draw_blocks(block_user, block_size, n_users, support_fraction, rng)
    support = support_block[block]
    order = np.full(n_pairs, -1, np.int64)
    rows = np.flatnonzero(support)
    order[rows] = random_places(user[rows], n_users, rng)
    return ~support, order


def draw_training_split(
    user: NDArray[np.integer],
    group: NDArray[np.integer],
    n_users: int,
    support_fraction: float | None,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw what an epoch adapts on and learns from: a support, perhaps a part of its side, and a query.

    Without a fraction, groups are halved, and supports have 1 to all pairs of their half, uniform in the logarithm of
    the size, so that a model is good at any number of choices. At most `MAX_PAIRS_PER_USER` pairs of a user are used.

    Parameters
    ----------
    user, group, n_users, rng
        As of :func:`draw_support_query`.
    support_fraction : float or None

    Returns
    -------
    support, query, half : (n_pairs,) bool array
        Pairs to adapt on and to judge on; and the whole support side.
    """
    query, order = draw_support_query(user, group, n_users, 0.5 if support_fraction is None else support_fraction, rng)
    available = np.bincount(user[~query], minlength=n_users)
    size = available
    if support_fraction is None:
        size = np.floor((available + 1) ** rng.random(n_users)).astype(np.int64)
    few = _at_most(user, n_users, MAX_PAIRS_PER_USER, rng)
    return (order >= 0) & (order < size[user]) & few, query & few, ~query


def _at_most(user: NDArray[np.integer], n_users: int, limit: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask that keeps a random `limit` pairs of each user with more."""
    counts = np.bincount(user, minlength=n_users)
    keep = np.ones(len(user), bool)
    rows = np.flatnonzero((counts > limit)[user])
    keep[rows] = random_places(user[rows], n_users, rng) < limit
    return keep


def _blocks(
    user: NDArray[np.integer], group: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.integer], NDArray[np.intp]]:
    """Number the (user, group) blocks: block of each pair, user of each block, pairs of each block.

    Blocks are numbered by user and then by first appearance, so that a draw depends on which pairs belong together and
    not on what their groups are called.
    """
    order = np.lexsort((group, user))
    sorted_user, sorted_group = user[order], group[order]
    first = np.ones(len(user), bool)
    first[1:] = (sorted_user[1:] != sorted_user[:-1]) | (sorted_group[1:] != sorted_group[:-1])
    begins = np.flatnonzero(first)
    by_appearance = np.lexsort((order[begins], sorted_user[begins]))
    number = np.empty(len(begins), np.intp)
    number[by_appearance] = np.arange(len(begins))
    block = np.empty(len(user), np.intp)
    block[order] = number[np.cumsum(first) - 1]
    sizes = np.diff(begins, append=len(user))
    return block, sorted_user[begins][by_appearance], sizes[by_appearance]


def _draw_blocks(
    block_user: NDArray[np.integer],
    block_size: NDArray[np.intp],
    n_users: int,
    support_fraction: float | ArrayLike,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which blocks go to the support: the first of each user's random order, up to the share asked for."""
    order = np.lexsort((rng.random(len(block_user)), block_user))
    support = np.empty(len(order), bool)
    support[order] = joins_support(block_user[order], block_size[order], n_users, support_fraction)
    return support


def joins_support(
    owner: NDArray[np.integer], size: NDArray[np.integer], n_users: int, support_fraction: float | ArrayLike
) -> NDArray[np.bool_]:
    """Which blocks of each user, in this order, make up the support: the first ones, up to the share asked for."""
    n_pairs = np.bincount(owner, weights=size, minlength=n_users)
    n_blocks = np.bincount(owner, minlength=n_users)
    before = np.cumsum(size) - size - (np.cumsum(n_pairs) - n_pairs)[owner]
    target = (np.broadcast_to(np.asarray(support_fraction, float), n_users) * n_pairs)[owner]
    place = place_within(owner, n_users)
    # A block joins if that brings the support nearer to its target; the first always does, the last never.
    joins: NDArray[np.bool_] = ((before + size / 2 <= target) | (place == 0)) & (place < n_blocks[owner] - 1)
    return joins


def random_places(owner: NDArray[np.integer], n_owners: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Give each entry of an ascending column its place, from 0, in a random order of its owner's entries."""
    shuffled = np.lexsort((rng.random(len(owner)), owner))
    places = np.empty(len(owner), np.int64)
    places[shuffled] = place_within(owner[shuffled], n_owners)
    return places


def place_within(owner: NDArray[np.integer], n_owners: int) -> NDArray[np.int64]:
    """Count from 0 within each run of an ascending column."""
    counts = np.bincount(owner, minlength=n_owners)
    place: NDArray[np.int64] = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    return place
