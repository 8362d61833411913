"""Who is learnt from and who is judged: users apart, and groups too where asked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from skmrm._support.randomness import RandomState, as_generator
from skmrm._support.wording import raise_all
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.episodes.columns import factorize, inverse, number

__all__ = ["split_users", "split_users_and_groups"]


def split_users(
    episodes: EpisodeSet | Sequence[Episode], test_size: float = 0.25, random_state: RandomState = None
) -> tuple[EpisodeSet, EpisodeSet]:
    """Split users at random into those to learn from and those to be judged on.

    Parameters
    ----------
    episodes : EpisodeSet or list of Episode
        The users and their pairs.
    test_size : float or int, default=0.25
        Share of users (rounded up) or number of users for the test side; each side gets at least one.
    random_state : int, numpy Generator, RandomState, or None
        The same integer gives the same split of the same choices, in whatever order they come; None a new one each
        time.

    Returns
    -------
    train, test : EpisodeSet
        Over the same features; no user is in both. Users keep their order.

    Raises
    ------
    TypeError, EpisodeError
        If the data are not episodes, or break a rule.
    ValueError
        If `test_size` leaves either side without a user.
    """
    episodes = as_episode_set(episodes, min_pairs=0, context="split_users")
    code, n_users = _users_by_content(episodes)
    if problems := _size_problems("test_size", test_size, n_users, "users"):
        raise ValueError(problems[0])
    test = _draw_test(test_size, n_users, as_generator(random_state))[code]
    return episodes[~test], episodes[test]


def split_users_and_groups(
    episodes: EpisodeSet | Sequence[Episode],
    test_size: float = 0.25,
    group_test_size: float = 0.5,
    random_state: RandomState = None,
) -> tuple[EpisodeSet, EpisodeSet, NDArray[np.bool_]]:
    """Split users and groups, so that test users are judged on groups (prompts, topics) that nobody was seen on in fit.

    Users must share groups: prompts, of which equal texts are one group, or groups of which the caller has said so
    (``shared_groups=True``). Where nobody shares any, new users bring new groups, and `split_users` is enough.

    Parameters
    ----------
    episodes : EpisodeSet or list of Episode
        The users and their pairs.
    test_size : float or int, default=0.25
        Share of users (rounded up) or number of users for the test side; each side gets at least one.
    group_test_size : float or int, default=0.5
        Share of groups (rounded up) or number of groups to hold out; each side gets at least one.
    random_state : int, numpy Generator, RandomState, or None
        The same integer gives the same split of the same choices, in whatever order they come; None a new one each
        time.

    Returns
    -------
    train : EpisodeSet
        Training users with their pairs of training groups; users left without any are dropped.
    test : EpisodeSet
        Test users with all their pairs.
    held_out : (n_pairs of test,) bool array
        True for pairs of held-out groups: the only ones to judge by, as in
        ``adaptation_curve(model, test, query=held_out)``. The others are support.

    Raises
    ------
    TypeError, EpisodeError
        If the data are not episodes, or break a rule.
    ValueError
        If no two users share a group, or a side is left without users, groups or pairs; all mistakes are listed.

    Warns
    -----
    UserWarning
        If items of held-out pairs of test users also occur in training pairs: groups do not keep items apart.

    Examples
    --------
    >>> from skmrm.datasets import make_user_preferences
    >>> data = make_user_preferences(n_users=40, random_state=0)
    >>> train, test, held_out = split_users_and_groups(data.episodes, random_state=0)
    >>> train.n_users, test.n_users, bool(set(train.group) & set(test.group[held_out]))
    (30, 10, False)
    """
    episodes = as_episode_set(episodes, min_pairs=0, context="split_users_and_groups")
    code, n_users = _users_by_content(episodes)
    order = episodes.canonical_order.pairs
    by_content, first = number(episodes.group_across_users[order])
    problems = [
        *_size_problems("test_size", test_size, n_users, "users"),
        *_size_problems("group_test_size", group_test_size, len(first), "groups"),
        *_sharing_problems(code[episodes.user[order]], by_content, len(first)),
    ]
    raise_all(problems)
    rng = as_generator(random_state)
    test_user = _draw_test(test_size, n_users, rng)[code]
    test_group = np.empty(episodes.n_pairs, bool)
    test_group[order] = _draw_test(group_test_size, len(first), rng)[by_content]
    test = episodes[test_user]
    train = episodes.take_pairs(~test_group & ~test_user[episodes.user])
    train = train[train.pairs_per_user > 0]
    held_out = test_group[test_user[episodes.user]]
    if train.n_pairs == 0 or not held_out.any():
        side = "training users have no pair" if train.n_pairs == 0 else "test users have no held-out pair"
        raise ValueError(f"users and groups cannot both be kept apart here, {side}: pass other sizes or random_state")
    _warn_of_shared_items(train, test.take_pairs(held_out))
    return train, test, held_out


def _users_by_content(episodes: EpisodeSet) -> tuple[NDArray[np.int64], int]:
    """Number each entry's user in an order that does not depend on how they came, and count the users."""
    order = episodes.canonical_order.users
    code, ids = factorize(episodes.users[order])
    return code[inverse(order)], len(ids)


def _sharing_problems(user: NDArray[np.int64], group: NDArray[np.int64], n_groups: int) -> list[str]:
    n_met = len(number(user * n_groups + group)[1])
    if n_met > n_groups or n_groups < 2 or len(np.unique(user)) < 2:
        return []
    return [
        f"no two users share one of the {n_groups} groups, so that new users bring new groups: split_users is enough; "
        "if codes mean the same for all users, read the data with shared_groups=True"
    ]


def _warn_of_shared_items(train: EpisodeSet, judged: EpisodeSet) -> None:
    shown = np.unique([train.chosen, train.rejected])
    asked = np.unique([judged.chosen, judged.rejected])
    shared = np.isin(asked, shown).sum()
    if shared:
        warnings.warn(
            f"{shared} of {len(asked)} items of held-out pairs also occur in training pairs: groups do not keep items "
            "apart, and accuracy on the held-out pairs may be too high. Pass groups that no item is in two of",
            UserWarning,
            stacklevel=3,
        )


def _draw_test(test_size: float, total: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of a random test side of that size, drawn out of so many."""
    drawn = np.zeros(total, bool)
    drawn[rng.permutation(total)[: _count_test(test_size, total)]] = True
    return drawn


def _count_test(test_size: float, total: int) -> int:
    return int(test_size) if isinstance(test_size, Integral) else math.ceil(test_size * total)


def _size_problems(name: str, test_size: float, total: int, noun: str) -> list[str]:
    if not isinstance(test_size, Real) or not math.isfinite(test_size):
        return [f"{name} takes a share of {noun} or a number of them, got {test_size!r}"]
    if 0 < _count_test(test_size, total) < total:
        return []
    return [
        f"{name}={test_size!r} of {total} {noun} leaves a side without {noun}: "
        f"pass a share between 0 and 1 or a count, and at least two {noun}"
    ]
