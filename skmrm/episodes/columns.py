"""Numbering distinct values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.keys import Rows, mixed

__all__ = ["Coder", "factorize", "groups_apart", "inverse", "number", "number_rows"]

_FIRST_COLUMNS = 16


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


def number_rows(features: NDArray[Any], rows: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Give each distinct row of numbers a code, in order of first appearance.

    Rows are found by a key of 64 bits and then compared, number by number; most are told apart by their first columns.

    Parameters
    ----------
    features : (n_items, n_features) array in memory
        Not copied.
    rows : (n,) int array
        Rows to look at.

    Returns
    -------
    codes, first
        As of `number`.

    Examples
    --------
    >>> number_rows(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), np.arange(3))[0]
    array([0, 1, 0])
    """
    column_keys = mixed(np.arange(1, features.shape[1] + 1, dtype=np.uint64))
    keys = Rows(features[:, :_FIRST_COLUMNS], rows).keys(column_keys[:_FIRST_COLUMNS])
    codes, first = number(keys)
    tied = np.flatnonzero(np.bincount(codes)[codes] > 1)
    if len(tied) == 0:
        return codes, first
    if features.shape[1] > _FIRST_COLUMNS:
        keys[tied] = Rows(features, rows[tied]).keys(column_keys)
        codes, first = number(keys)
    later = np.flatnonzero(first[codes] != np.arange(len(rows)))
    if Rows(features, rows[later]).same_as(rows[first[codes[later]]]).all():
        return codes, first
    # two rows of one key, in some quintillions
    coder = Coder()
    codes = coder.codes([(features[row] + 0.0).tobytes() for row in rows])
    return codes, number(codes)[1]


def groups_apart(user: NDArray[np.integer], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group codes of which no two users have the same: those given, or new ones where two have.

    Examples
    --------
    >>> groups_apart(np.array([0, 0, 1]), np.array([5, 7, 7]))
    array([0, 1, 2])
    """
    codes, first = number(group)
    apart, first_apart = number(user * len(first) + codes)
    return group if len(first_apart) == len(first) else apart


def inverse(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where each entry of a permutation stands in it."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place
