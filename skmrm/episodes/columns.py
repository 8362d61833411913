"""Numbering distinct values, and putting numbered columns together as an `EpisodeSet`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.episode_set import EpisodeSet

__all__ = ["Coder", "factorize", "set_from_features", "set_from_texts"]


class Coder:
    """Numbers distinct values in order of first appearance, one chunk of a column after the other.

    Only the distinct values are kept, so a column of ten million texts never is ten million Python objects.

    Attributes
    ----------
    index : dict
        Value to code.

    Examples
    --------
    >>> coder = Coder()
    >>> coder.codes(["b", "a", "b"]), coder.codes(["c", "a"])
    (array([0, 1, 0]), array([2, 1]))
    >>> coder.values
    ['b', 'a', 'c']
    """

    def __init__(self) -> None:
        self.index: defaultdict[Any, int] = defaultdict()
        # A value looked up for the first time gets the number of those before it: one look-up a cell, none in Python.
        self.index.default_factory = self.index.__len__

    def codes(self, chunk: Sequence[Hashable] | NDArray[Any]) -> NDArray[np.int64]:
        """Give the code of each value of one chunk, (n,) int64."""
        return np.fromiter(map(self.index.__getitem__, chunk), np.int64, len(chunk))

    @property
    def values(self) -> list[Any]:
        """The distinct values by code."""
        return list(self.index)


def factorize(values: Sequence[Hashable] | NDArray[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Give each distinct value a number, in order of first appearance.

    Parameters
    ----------
    values : (n,) array or sequence of hashables
        What to number.

    Returns
    -------
    codes : (n,) int64 array
        ``values[i]`` is ``distinct[codes[i]]``.
    distinct : list
        The distinct values, as Python objects.

    Examples
    --------
    >>> factorize(["b", "a", "b"])
    (array([0, 1, 0]), ['b', 'a'])
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        codes, first = number(values)
        return codes, values[first].tolist()
    coder = Coder()
    if isinstance(values, np.ndarray) and values.dtype.kind not in "mM":
        values = values.tolist()
    return coder.codes(values), coder.values


def number(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Give each distinct number of an array a code, in order of first appearance.

    Parameters
    ----------
    values : (n,) array of numbers
        What to number.

    Returns
    -------
    codes : (n,) int64 array
        Codes from 0.
    first : (n_distinct,) int array
        Where each code appears first.
    """
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    new = np.ones(len(values), bool)
    new[1:] = ascending[1:] != ascending[:-1]
    first = order[new]
    by_appearance = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[by_appearance] = np.arange(len(first))
    codes = np.empty(len(values), np.int64)
    codes[order] = rank[np.cumsum(new) - 1]
    return codes, first[by_appearance]


def set_from_texts(
    users: Sequence[Any],
    user: NDArray[np.int64],
    prompt: NDArray[np.int64],
    prompts: Sequence[str],
    chosen: NDArray[np.int64],
    rejected: NDArray[np.int64],
    responses: Sequence[str],
    group: NDArray[np.int64] | None = None,
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
    )


def set_from_features(
    users: Sequence[Any],
    user: NDArray[np.int64],
    features: Any,
    chosen: NDArray[np.int64],
    rejected: NDArray[np.int64],
    group: NDArray[np.int64] | None = None,
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

    Returns
    -------
    EpisodeSet
        With users in the order of `users`, and groups numbered in order of first appearance.
    """
    order = _by_user(user)
    return EpisodeSet(
        users=users,
        user=user[order],
        chosen=chosen[order],
        rejected=rejected[order],
        group=np.arange(len(user)) if group is None else number(group[order])[0],
        features=features,
    )


def _by_user(user: NDArray[np.int64]) -> Any:
    return np.argsort(user, kind="stable") if np.any(user[1:] < user[:-1]) else slice(None)


def _groups_by_prompt(prompt: NDArray[np.int64], prompts: Sequence[str]) -> NDArray[np.int64]:
    empty = np.fromiter((not text for text in prompts), bool, len(prompts))[prompt]
    # An empty prompt does not say that pairs belong together.
    return np.where(empty, len(prompts) + np.arange(len(prompt)), prompt)
