"""Margins and whose they are: probabilities, checks and averages that all metrics per user share."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.wording import name_some

__all__ = ["as_floats", "finite_margins", "known_users", "mean_by_user", "sigmoid", "user_codes", "user_rows"]

# Rows of users that a table is made for without being told how many there are; more must be at most so many a pair.
_ROWS_UNASKED, _ROWS_A_PAIR = 1 << 20, 10


def as_floats(values: ArrayLike) -> NDArray[np.float64]:
    """Values as floats, NaN where they are masked or missing."""
    if isinstance(values, np.ma.MaskedArray):
        return np.asarray(np.ma.filled(values.astype(float), np.nan))
    found = np.asarray(values)
    if found.dtype == object:  # of a series with missing values, say
        missing = np.array([value is None or type(value).__name__ == "NAType" for value in found.flat], bool)
        found = np.where(missing.reshape(found.shape), np.nan, found)
    return found.astype(float, copy=False)


def finite_margins(margins: ArrayLike) -> NDArray[np.float64]:
    """Margins as floats, or an error if one of them is NaN."""
    margin = as_floats(margins)
    if np.isnan(margin).any():
        raise ValueError(f"margins must be numbers; {int(np.isnan(margin).sum())} of {margin.size} are NaN")
    return margin


def sigmoid(margins: NDArray[Any]) -> NDArray[Any]:
    """Probability of a choice with that margin: the logistic function without overflow, (1 + tanh(x / 2)) / 2."""
    return 0.5 * (1 + np.tanh(0.5 * margins))


def user_rows(margin: NDArray[np.float64], user: ArrayLike, n_users: int | None) -> NDArray[np.intp]:
    """Row of the user of each margin, or an error that says what came instead."""
    owner = np.asarray(user)
    if owner.shape != margin.shape:
        raise ValueError(f"margins and user need the same length, got shapes {margin.shape} and {owner.shape}")
    largest = int(owner.max()) if owner.size and owner.dtype.kind in "iu" else -1
    if n_users is None and largest >= max(_ROWS_UNASKED, _ROWS_A_PAIR * owner.size):
        raise ValueError(f"{_NO_ROWS} {largest} among {owner.size} pairs: {_NUMBER_THEM}, or pass n_users")
    if owner.ndim != 1 or (owner.size and (owner.dtype.kind not in "iu" or owner.min() < 0)):
        raise ValueError(f"{_NO_ROWS} dtype {owner.dtype}, shape {owner.shape}: {_NUMBER_THEM}")
    if n_users is not None and not (isinstance(n_users, Integral) and n_users >= 0):
        raise ValueError(f"n_users must be a number of users, or None, got {n_users!r}")
    if n_users is not None and largest >= n_users:
        raise ValueError(f"user must hold rows below n_users={n_users}, the largest is {largest}")
    return owner.astype(np.intp)


_NO_ROWS = "user must hold one row number of a user, counted from 0, for each pair; got"
_NUMBER_THEM = "pass EpisodeSet.user, or number users with numpy.unique(..., return_inverse=True)"


def user_codes(margin: NDArray[np.float64], user: Any) -> NDArray[np.intp]:
    """Number of the user of each margin, from 0, whatever the users are called: row numbers, or ids of any kind."""
    if isinstance(user, np.ndarray) and user.dtype.kind in "iu" and user.ndim == 1:
        codes = np.unique(user, return_inverse=True)[1].astype(np.intp)
    else:
        numbers: dict[Any, int] = {}
        ids = list(user)
        try:
            codes = np.fromiter((numbers.setdefault(one, len(numbers)) for one in ids), np.intp, len(ids))
            missing = [one for one in numbers if one is None or one != one]
        except (TypeError, ValueError) as error:
            raise ValueError(f"user must hold a row number or an id of a user for each pair ({error})") from error
        if missing:
            raise ValueError(f"user must hold the user of each pair, got {name_some(missing)}: leave these pairs out")
    if codes.shape != margin.shape:
        raise ValueError(f"margins and user need the same length, got shapes {margin.shape} and {codes.shape}")
    return codes


def mean_by_user(values: NDArray[np.float64], user: ArrayLike, n_users: int | None) -> NDArray[np.float64]:
    """Mean of the values of each user, (n_users,); NaN for a user without any."""
    owner = user_rows(values, user, n_users)
    size = int(owner.max(initial=-1)) + 1 if n_users is None else int(n_users)
    counts = np.bincount(owner, minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(owner, weights=values, minlength=size) / counts)


def known_users(per_user: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of the users that have one; an error if there is none."""
    known = per_user[~np.isnan(per_user)]
    if known.size == 0:
        raise ValueError("a mean over users needs at least one pair, got none")
    return known
