"""The paper's splits: users seen in training and users who are not, and of both the pairs to adapt on and to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skmrm._support.randomness import RandomState, as_generator
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.episodes.columns import number
from skmrm.splits.support_query import random_places

__all__ = ["PaperSplit", "split_by_group", "split_by_part"]


@dataclass(frozen=True, eq=False)
class PaperSplit:
    """One division of a public data set as in the Meta Reward Modeling paper (arXiv 2601.18731).

    Users are seen (the model is trained on their support) or unseen. Both are adapted on their support and judged on
    their query. No group of a user has pairs on both sides.

    Attributes
    ----------
    seen, unseen : (n,) int arrays
        Rows of the users, ascending.
    support, query : (n_pairs,) bool arrays
        The pairs to learn from, and those to judge by. A pair may be in neither, where the number of support pairs is
        limited.

    Examples
    --------
    >>> import numpy as np
    >>> from skmrm.datasets import PaperSplit, make_user_preferences
    >>> episodes = make_user_preferences(n_users=4, n_pairs=2, random_state=0).episodes
    >>> support = np.tile([True, False], 4)
    >>> split = PaperSplit(seen=np.array([0, 1]), unseen=np.array([2, 3]), support=support, query=~support)
    >>> split.training(episodes).n_pairs
    2
    >>> test, query = split.judged(episodes)
    >>> test.n_users, query.tolist()
    (2, [False, True, False, True])
    """

    seen: NDArray[np.intp]
    unseen: NDArray[np.intp]
    support: NDArray[np.bool_]
    query: NDArray[np.bool_]

    def training(self, episodes: EpisodeSet | Sequence[Episode]) -> EpisodeSet:
        """Return what to fit on: the seen users with their support pairs.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            The set that was split, with or without features.

        Returns
        -------
        EpisodeSet
            Over the same items; users without a support pair are left out.
        """
        episodes = as_episode_set(episodes, min_pairs=0, context="training")
        train = episodes.take_pairs(self.support)[self.seen]
        return train[train.pairs_per_user > 0]

    def judged(
        self, episodes: EpisodeSet | Sequence[Episode], seen: bool = False
    ) -> tuple[EpisodeSet, NDArray[np.bool_]]:
        """Return whom to judge: users with their support and query pairs.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            The set that was split, with or without features.
        seen : bool, default=False
            True for the users that the model was trained on, False for the others.

        Returns
        -------
        episodes : EpisodeSet
            Over the same items.
        query : (n_pairs,) bool array
            The pairs to judge by, as :func:`skmrm.model_selection.adaptation_curve` takes them.
        """
        episodes = as_episode_set(episodes, min_pairs=0, context="judged")
        wanted = np.zeros(episodes.n_users, bool)
        wanted[self.seen if seen else self.unseen] = True
        kept = (self.support | self.query) & wanted[episodes.user]
        return episodes.take_pairs(kept)[wanted], self.query[kept]


def split_by_group(
    episodes: EpisodeSet, n_splits: int, random_state: RandomState, seen_fraction: float = 0.5
) -> list[PaperSplit]:
    """Draw splits in which half of each user's groups, rounded down, are support and the others query.

    Parameters
    ----------
    episodes : EpisodeSet
        The users and their pairs.
    n_splits : int
        Number of splits.
    random_state : int, numpy Generator, RandomState, or None
        The same integer gives the same splits.
    seen_fraction : float
        Share of users who are seen.

    Returns
    -------
    list of PaperSplit
        A user with one group has it as query.
    """
    rng = as_generator(random_state)
    block = _blocks(episodes)
    owner = np.zeros(int(block.max(initial=-1)) + 1, np.intp)
    owner[block] = episodes.user
    n_groups = np.bincount(owner, minlength=episodes.n_users)
    splits = []
    for _ in range(n_splits):
        seen, unseen = _draw_seen(episodes.n_users, seen_fraction, rng)
        place = random_places(owner, episodes.n_users, rng)
        support = (place < n_groups[owner] // 2)[block]
        splits.append(PaperSplit(seen, unseen, support, ~support))
    return splits


def split_by_part(
    episodes: EpisodeSet,
    part: NDArray[np.int64],
    n_splits: int,
    random_state: RandomState,
    *,
    seen_limit: int | None = None,
    unseen_limit: int | None = None,
    seen_fraction: float = 0.5,
) -> list[PaperSplit]:
    """Draw splits in which the data set says itself which pairs are for training and which for testing.

    Parameters
    ----------
    episodes : EpisodeSet
        The users and their pairs.
    part : (n_pairs,) int array
        0 for pairs of the training part, 1 for pairs of the test part.
    n_splits : int
        Number of splits.
    random_state : int, numpy Generator, RandomState, or None
        The same integer gives the same splits.
    seen_limit, unseen_limit : int, optional
        Number of support pairs of a seen and of an unseen user, drawn at random; None takes all.
    seen_fraction : float
        Share of users who are seen.

    Returns
    -------
    list of PaperSplit
        All test pairs are query. Training pairs of a group that the user also has in the test part are in neither.
    """
    rng = as_generator(random_state)
    block = _blocks(episodes)
    query = part == 1
    leaks = np.isin(block, np.unique(block[query]))
    rows = np.flatnonzero(~query & ~leaks)
    splits = []
    for _ in range(n_splits):
        seen, unseen = _draw_seen(episodes.n_users, seen_fraction, rng)
        limit = np.full(episodes.n_users, len(part) if unseen_limit is None else unseen_limit)
        limit[seen] = len(part) if seen_limit is None else seen_limit
        place = random_places(episodes.user[rows], episodes.n_users, rng)
        support = np.zeros(len(part), bool)
        support[rows] = place < limit[episodes.user[rows]]
        splits.append(PaperSplit(seen, unseen, support, query))
    return splits


def _draw_seen(n_users: int, fraction: float, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    order = rng.permutation(n_users)
    cut = int(n_users * fraction)
    return np.sort(order[:cut]), np.sort(order[cut:])


def _blocks(episodes: EpisodeSet) -> NDArray[np.int64]:
    """Number of each pair's (user, group), ascending with the users."""
    group, _ = number(episodes.group)
    return number(episodes.user * (int(group.max(initial=0)) + 1) + group)[0]
