"""How good a personalised reward model is: measured per user, and compared user by user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Interval",
    "bootstrap_interval",
    "log_loss",
    "user_accuracies",
    "user_level_accuracy",
    "user_log_losses",
    "worst_decile",
    "worst_decile_accuracy",
]


def user_accuracies(margins: ArrayLike, user: ArrayLike, n_users: int | None = None) -> NDArray[np.float64]:
    """Share of each user's pairs that are predicted right.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the chosen minus reward of the rejected response, in logits. Positive is right; a tie counts half.
    user : array-like of int of shape (n_pairs,)
        User of each pair, from 0.
    n_users : int, optional
        Number of users; the default is one more than the largest.

    Returns
    -------
    ndarray of shape (n_users,)
        Between 0 and 1; NaN for a user without pairs.

    Examples
    --------
    >>> user_accuracies([1.0, -1.0, 0.0, 2.0], [0, 0, 1, 1])
    array([0.5 , 0.75])
    """
    margin = _finite(margins)
    return _mean_by_user(np.heaviside(margin, 0.5), user, n_users)


def user_log_losses(margins: ArrayLike, user: ArrayLike, n_users: int | None = None) -> NDArray[np.float64]:
    """Mean negative log likelihood of each user's choices, in nats a pair.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        In logits.
    user : array-like of int of shape (n_pairs,)
    n_users : int, optional

    Returns
    -------
    ndarray of shape (n_users,)
        NaN for a user without pairs.

    Examples
    --------
    >>> user_log_losses([0.0, 0.0], [0, 0]).round(4)
    array([0.6931])
    """
    return _mean_by_user(np.logaddexp(0.0, -_finite(margins)), user, n_users)


def user_level_accuracy(margins: ArrayLike, user: ArrayLike) -> float:
    """Mean over users of the share of their pairs predicted right: every user counts alike.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
    user : array-like of int of shape (n_pairs,)

    Examples
    --------
    >>> user_level_accuracy([1.0, 1.0, 1.0, -1.0], [0, 0, 0, 1])
    0.5
    """
    return float(_of_users(user_accuracies(margins, user)).mean())


def worst_decile_accuracy(margins: ArrayLike, user: ArrayLike) -> float:
    """Mean accuracy of the tenth of users with the lowest accuracy (at least one user).

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
    user : array-like of int of shape (n_pairs,)
    """
    return worst_decile(user_accuracies(margins, user))


def worst_decile(values: ArrayLike) -> float:
    """Mean of a metric over the tenth of users with the lowest values (at least one user).

    Parameters
    ----------
    values : array-like of shape (n_users,)
        A metric of each user, the larger the better. Users with NaN are left out.

    Examples
    --------
    >>> worst_decile([0.9, 0.2, 0.7, np.nan])
    0.2
    """
    known = np.sort(_of_users(np.asarray(values, float)))
    return float(known[: max(1, round(len(known) / 10))].mean())


def log_loss(margins: ArrayLike, user: ArrayLike) -> float:
    """Mean over users of their mean log loss, in nats a pair.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
    user : array-like of int of shape (n_pairs,)
    """
    return float(_of_users(user_log_losses(margins, user)).mean())


@dataclass(frozen=True)
class Interval:
    """An estimate with a bootstrap confidence interval.

    Attributes
    ----------
    estimate, low, high : float
    level : float
        Nominal coverage, 0.95 for a 95 % interval.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def bootstrap_interval(
    values: ArrayLike,
    other: ArrayLike | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    random_state: Any = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean over users, or of a paired difference of two models over the same users.

    Users are resampled, not pairs: pairs of one user are not independent.

    Parameters
    ----------
    values : array-like of shape (n_users,)
        A metric of each user, such as :func:`user_accuracies`. Users with NaN are left out.
    other : array-like of shape (n_users,), optional
        The same metric of the same users under another model: the interval is of the mean of ``values - other``.
    level : float
        Between 0 and 1.
    n_resamples : int
    random_state : int, numpy Generator, or None

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If shapes differ, or no user has a value.

    Examples
    --------
    >>> print(bootstrap_interval([0.6, 0.7, 0.8], [0.5, 0.6, 0.7]))
    +0.1000 [+0.1000, +0.1000]
    """
    per_user = np.asarray(values, float)
    if other is not None:
        if np.shape(other) != per_user.shape:
            raise ValueError(
                f"a paired comparison needs one value of each model for each user, "
                f"got shapes {per_user.shape} and {np.shape(other)}"
            )
        per_user = per_user - np.asarray(other, float)
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level!r}")
    known = per_user[~np.isnan(per_user)]
    if known.size == 0:
        raise ValueError("no user has a value: every entry is NaN or there are none")
    rng = np.random.default_rng(random_state)
    means = np.array([known[rng.integers(0, known.size, known.size)].mean() for _ in range(n_resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(known.mean()), float(low), float(high), level)


def _finite(margins: ArrayLike) -> NDArray[np.float64]:
    margin = np.asarray(margins, float)
    if np.isnan(margin).any():
        raise ValueError(f"margins must be numbers; {int(np.isnan(margin).sum())} of {margin.size} are NaN")
    return margin


def _mean_by_user(values: NDArray[np.float64], user: ArrayLike, n_users: int | None) -> NDArray[np.float64]:
    owner = np.asarray(user)
    if owner.shape != values.shape:
        raise ValueError(f"margins and user need the same length, got shapes {values.shape} and {owner.shape}")
    if owner.ndim != 1 or (owner.size and owner.dtype.kind not in "iu") or owner.min(initial=0) < 0:
        raise ValueError(
            f"user must hold one row number of a user, counted from 0, for each pair; got dtype {owner.dtype}, "
            f"shape {owner.shape}: pass EpisodeSet.user, or number users with numpy.unique(..., return_inverse=True)"
        )
    owner = owner.astype(np.intp)
    largest = int(owner.max(initial=-1))
    size = largest + 1 if n_users is None else n_users
    if largest >= size:
        raise ValueError(f"user must hold rows below n_users={n_users}, the largest is {largest}")
    counts = np.bincount(owner, minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(owner, weights=values, minlength=size) / counts)


def _of_users(per_user: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of the users that have one."""
    known = per_user[~np.isnan(per_user)]
    if known.size == 0:
        raise ValueError("a mean over users needs at least one pair, got none")
    return known
