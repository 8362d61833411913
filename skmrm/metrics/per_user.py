"""Accuracy and log loss, measured per user."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm.metrics.margins import as_floats, finite_margins, known_users, mean_by_user, user_codes, user_rows
from skmrm.metrics.outcomes import outcome_losses, read_outcomes

__all__ = [
    "log_loss",
    "user_accuracies",
    "user_level_accuracy",
    "user_log_losses",
    "worst_decile",
    "worst_decile_accuracy",
]


def user_accuracies(
    margins: ArrayLike, user: ArrayLike, n_users: int | None = None, outcome: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Share of each user's pairs that are predicted right.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the chosen minus reward of the rejected response, in logits. Positive is right; a tie counts half.
    user : array-like of int of shape (n_pairs,)
        Row of the user of each pair, from 0, as ``EpisodeSet.user`` has it. Ids that are no rows have to be numbered.
    n_users : int, optional
        Number of users; the default is one more than the largest.
    outcome : array-like of int of shape (n_pairs,), optional
        0 for a tie, of which neither prediction is right or wrong: it counts half.

    Returns
    -------
    ndarray of shape (n_users,)
        Between 0 and 1; NaN for a user without pairs.

    Examples
    --------
    >>> user_accuracies([1.0, -1.0, 0.0, 2.0], [0, 0, 1, 1])
    array([0.5 , 0.75])
    """
    margin = finite_margins(margins)
    return mean_by_user(_right(margin, outcome), user, n_users)


def user_log_losses(
    margins: ArrayLike,
    user: ArrayLike,
    n_users: int | None = None,
    outcome: ArrayLike | None = None,
    thresholds: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Mean negative log likelihood of each user's choices, in nats a pair.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        In logits.
    user : array-like of int of shape (n_pairs,)
        Row of the user of each pair, from 0.
    n_users : int, optional
        Number of users; None for one more than the largest row.
    outcome : array-like of int of shape (n_pairs,), optional
        Ties and strengths, as ``EpisodeSet.outcome``.
    thresholds : array-like of shape (n_grades,) or (n_pairs, n_grades), optional
        ``thresholds_`` of the model, or what each pair is held against. Without, a model says nothing of ties: they are
        left out, and strengths with them.

    Returns
    -------
    ndarray of shape (n_users,)
        NaN for a user without pairs that count.

    Examples
    --------
    >>> user_log_losses([0.0, 0.0], [0, 0]).round(4)
    array([0.6931])
    """
    margin = finite_margins(margins)
    if outcome is not None and thresholds is not None:
        return mean_by_user(outcome_losses(margin, outcome, thresholds), user, n_users)
    owner = user_rows(margin, user, n_users)
    size = int(owner.max(initial=-1)) + 1 if n_users is None else n_users
    decisive = np.ones(margin.size, bool) if outcome is None else read_outcomes(outcome, margin) != 0
    return mean_by_user(np.logaddexp(0.0, -margin[decisive]), owner[decisive], size)


def _right(margin: NDArray[np.float64], outcome: ArrayLike | None) -> NDArray[np.float64]:
    """Whether each pair is predicted right, one half where the model or the user says neither."""
    right = np.heaviside(margin, 0.5)
    return right if outcome is None else np.where(read_outcomes(outcome, margin) == 0, 0.5, right)


def user_level_accuracy(margins: ArrayLike, user: Any, outcome: ArrayLike | None = None) -> float:
    """Mean over users of the share of their pairs predicted right: every user counts alike.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the chosen minus reward of the rejected response, in logits.
    user : sequence of hashables of shape (n_pairs,)
        User of each pair: rows, or ids of any kind.
    outcome : array-like of int of shape (n_pairs,), optional
        As of `user_accuracies`.

    Returns
    -------
    float
        A fraction; 0.5 is that of a coin.

    Examples
    --------
    >>> user_level_accuracy([1.0, 1.0, 1.0, -1.0], [0, 0, 0, 1])
    0.5
    """
    margin = finite_margins(margins)
    return float(known_users(user_accuracies(margin, user_codes(margin, user), outcome=outcome)).mean())


def worst_decile_accuracy(margins: ArrayLike, user: Any, outcome: ArrayLike | None = None) -> float:
    """Mean accuracy of the tenth of users with the lowest accuracy (at least one user).

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the chosen minus reward of the rejected response, in logits.
    user : sequence of hashables of shape (n_pairs,)
        User of each pair: rows, or ids of any kind.
    outcome : array-like of int of shape (n_pairs,), optional
        As of `user_accuracies`.

    Returns
    -------
    float
        A fraction.

    Examples
    --------
    >>> worst_decile_accuracy([1.0, 1.0, 1.0, -1.0], [0, 0, 0, 1])
    0.0
    """
    margin = finite_margins(margins)
    return worst_decile(user_accuracies(margin, user_codes(margin, user), outcome=outcome))


def worst_decile(values: ArrayLike) -> float:
    """Mean of a metric over the tenth of users with the lowest values (at least one user).

    Parameters
    ----------
    values : array-like of shape (n_users,)
        A metric of each user, the larger the better. Users with NaN are left out.

    Returns
    -------
    float
        In the unit of the metric.

    Examples
    --------
    >>> worst_decile([0.9, 0.2, 0.7, np.nan])
    0.2
    """
    known = known_users(as_floats(values))
    n_worst = max(1, round(len(known) / 10))
    return float(np.partition(known, n_worst - 1)[:n_worst].mean())


def log_loss(
    margins: ArrayLike, user: Any, outcome: ArrayLike | None = None, thresholds: ArrayLike | None = None
) -> float:
    """Mean over users of their mean log loss, in nats a pair.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the chosen minus reward of the rejected response, in logits.
    user : sequence of hashables of shape (n_pairs,)
        User of each pair: rows, or ids of any kind.
    outcome, thresholds : array-like, optional
        As of `user_log_losses`.

    Returns
    -------
    float
        In nats; log 2, 0.693, is that of a coin.

    Examples
    --------
    >>> print(f"{log_loss([0.0, 3.0], [0, 1]):.3f}")
    0.371
    """
    margin = finite_margins(margins)
    return float(known_users(user_log_losses(margin, user_codes(margin, user), None, outcome, thresholds)).mean())
