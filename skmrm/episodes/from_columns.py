"""Numbered columns put together as an `EpisodeSet`."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.columns import number
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.outcomes import Said

__all__ = ["set_from_features", "set_from_texts"]

NOTHING_SAID: Said = MappingProxyType({})


def set_from_texts(
    users: Sequence[Any],
    user: NDArray[np.int64],
    prompt: NDArray[np.int64],
    prompts: Sequence[str],
    chosen: NDArray[np.int64],
    rejected: NDArray[np.int64],
    responses: Sequence[str],
    group: NDArray[np.int64] | None = None,
    *,
    shared_groups: bool = True,
    said: Said = NOTHING_SAID,
) -> EpisodeSet:
    """Put numbered texts together: each distinct (prompt, response) becomes one item.

    Parameters
    ----------
    users : (n_users,) sequence
        Ids.
    user : (n_pairs,) int array
        Rows of `users`, in any order.
    prompt, chosen, rejected : (n_pairs,) int arrays
        Codes of the texts.
    prompts, responses : sequences of str
        The texts.
    group : (n_pairs,) int array, optional
        None groups by prompt; pairs with an empty prompt are groups of their own.
    shared_groups : bool
        As of `EpisodeSet`; the same prompt of two users is two groups if False.
    said : mapping
        Columns ``outcome``, ``weight``, ``time`` and ``rating`` of `EpisodeSet`, those that are there.

    Returns
    -------
    EpisodeSet
        Items and groups numbered in order of first appearance, user by user.
    """
    order = _by_user(user)
    prompt = prompt[order]
    response = np.stack([chosen[order], rejected[order]], axis=1).reshape(-1)
    item, first = number(np.repeat(prompt, 2) * max(1, len(responses)) + response)
    texts = [
        map(values.__getitem__, codes.tolist())
        for values, codes in ((prompts, prompt[first // 2]), (responses, response[first]))
    ]
    items = list(zip(*texts, strict=True))
    group = _groups_by_prompt(prompt, prompts) if group is None else group[order]
    return EpisodeSet(
        users=users,
        user=user[order],
        chosen=item[0::2].copy(),
        rejected=item[1::2].copy(),
        group=number(group)[0],
        items=items,
        shared_groups=shared_groups,
        **{name: column[order] for name, column in said.items()},
    )


def set_from_features(
    users: Sequence[Any],
    user: NDArray[np.int64],
    features: Any,
    chosen: NDArray[np.int64],
    rejected: NDArray[np.int64],
    group: NDArray[np.int64] | None = None,
    *,
    shared_groups: bool = True,
    said: Said = NOTHING_SAID,
) -> EpisodeSet:
    """Put pairs over indexed features together, sorted by user.

    Parameters
    ----------
    users : (n_users,) sequence
        Ids.
    user : (n_pairs,) int array
        Rows of `users`, in any order.
    features : (n_items, n_features) array
        Kept as it is.
    chosen, rejected : (n_pairs,) int arrays
        Rows of `features`.
    group : (n_pairs,) int array, optional
        None makes each pair a group of its own.
    shared_groups : bool
        As of `EpisodeSet`.
    said : mapping
        As of `set_from_texts`.

    Returns
    -------
    EpisodeSet
        With users in the order of `users`, and groups numbered in order of first appearance.
    """
    order = _by_user(user)
    if "rating" in said:  # of one response, which came twice
        rejected = np.where(said["rating"] > 0, chosen, rejected)
    return EpisodeSet(
        users=users,
        user=user[order],
        chosen=chosen[order],
        rejected=rejected[order],
        group=np.arange(len(user)) if group is None else number(group[order])[0],
        features=features,
        shared_groups=shared_groups,
        **{name: column[order] for name, column in said.items()},
    )


def _by_user(user: NDArray[np.int64]) -> Any:
    return np.argsort(user, kind="stable") if np.any(user[1:] < user[:-1]) else slice(None)


def _groups_by_prompt(prompt: NDArray[np.int64], prompts: Sequence[str]) -> NDArray[np.int64]:
    empty = np.fromiter((not text for text in prompts), bool, len(prompts))[prompt]
    # An empty prompt does not say that pairs belong together.
    return np.where(empty, len(prompts) + np.arange(len(prompt)), prompt)
