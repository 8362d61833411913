"""Margins and whose they are: probabilities, checks and averages that all metrics per user share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["finite_margins", "known_users", "mean_by_user", "sigmoid", "user_rows"]


def finite_margins(margins: ArrayLike) -> NDArray[np.float64]:
    """Margins as floats, or an error if one of them is NaN."""
    margin = np.asarray(margins, float)
    if np.isnan(margin).any():
        raise ValueError(f"margins must be numbers; {int(np.isnan(margin).sum())} of {margin.size} are NaN")
    return margin


def sigmoid(margins: NDArray[Any]) -> NDArray[Any]:
    """Probability of a choice with that margin: the logistic function without overflow, (1 + tanh(x / 2)) / 2."""
    return 0.5 * (1 + np.tanh(0.5 * margins))


def user_rows(margin: NDArray[np.float64], user: ArrayLike) -> NDArray[np.intp]:
    """Row of the user of each margin, or an error that says what came instead."""
    owner = np.asarray(user)
    if owner.shape != margin.shape:
        raise ValueError(f"margins and user need the same length, got shapes {margin.shape} and {owner.shape}")
    if owner.ndim != 1 or (owner.size and owner.dtype.kind not in "iu") or owner.min(initial=0) < 0:
        raise ValueError(
            f"user must hold one row number of a user, counted from 0, for each pair; got dtype {owner.dtype}, "
            f"shape {owner.shape}: pass EpisodeSet.user, or number users with numpy.unique(..., return_inverse=True)"
        )
    return owner.astype(np.intp)


def mean_by_user(values: NDArray[np.float64], user: ArrayLike, n_users: int | None) -> NDArray[np.float64]:
    """Mean of the values of each user, (n_users,); NaN for a user without any."""
    owner = user_rows(values, user)
    largest = int(owner.max(initial=-1))
    size = largest + 1 if n_users is None else n_users
    if largest >= size:
        raise ValueError(f"user must hold rows below n_users={n_users}, the largest is {largest}")
    counts = np.bincount(owner, minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(owner, weights=values, minlength=size) / counts)


def known_users(per_user: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of the users that have one; an error if there is none."""
    known = per_user[~np.isnan(per_user)]
    if known.size == 0:
        raise ValueError("a mean over users needs at least one pair, got none")
    return known
