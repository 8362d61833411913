r"""Outcomes with ties and strengths: how likely each is, and what it costs a model that another came.

With a margin m and the population's thresholds :math:`0 \le t_0 < \dots < t_{S-1}`, a tie has the probability
:math:`\sigma(t_0 - m) - \sigma(-t_0 - m)`, and being better by k of S grades
:math:`\sigma(t_k - m) - \sigma(t_{k-1} - m)`, the last one :math:`\sigma(m - t_{S-1})`.

Source: P. Rao, L. Kupper: "Ties in paired-comparison experiments", JASA 62 (1967).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm.metrics.margins import finite_margins, sigmoid, user_codes

__all__ = ["outcome_losses", "outcome_probabilities", "read_outcomes", "tie_calibration_error"]


def outcome_probabilities(margins: ArrayLike, thresholds: ArrayLike | None = None) -> NDArray[np.float64]:
    """Probability that the first response of each pair is preferred, that neither is, and that the second one is.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the first minus reward of the second response, in logits.
    thresholds : array-like of shape (n_grades,) or (n_pairs, n_grades), optional
        ``thresholds_`` of a fitted model, or what each pair is held against; None for users who never tie.

    Returns
    -------
    ndarray of shape (n_pairs, 3)
        Win, tie and loss; rows sum to 1.

    Examples
    --------
    >>> outcome_probabilities([0.0, 2.0], [0.5]).round(3)
    array([[0.378, 0.245, 0.378],
           [0.818, 0.107, 0.076]])
    """
    margin = finite_margins(margins)
    half = np.zeros(len(margin)) if thresholds is None else _of_each(thresholds, margin)[:, 0]
    win, loss = sigmoid(margin - half), sigmoid(-margin - half)
    # as a difference of two numbers near one a tie would lose its digits
    tie = sigmoid(half - margin) * sigmoid(half + margin) * -np.expm1(-2 * half)
    return np.stack([win, tie, loss], axis=-1)


def outcome_losses(margins: ArrayLike, outcome: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Negative log likelihood of each pair's outcome, in nats.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        In logits.
    outcome : array-like of int of shape (n_pairs,)
        0 for a tie, else the strength with which the first response was preferred, as ``EpisodeSet.outcome``, or -1 if
        that is not known; beyond the number of thresholds counts as the largest.
    thresholds : array-like of shape (n_grades,) or (n_pairs, n_grades)
        ``thresholds_`` of a fitted model, or what each pair is held against.

    Returns
    -------
    ndarray of shape (n_pairs,)
        Infinite for a tie where the first threshold is zero.

    Examples
    --------
    >>> outcome_losses([0.0, 0.0], [0, 1], [0.5]).round(3)
    array([1.407, 0.974])
    """
    margin = finite_margins(margins)
    held = _of_each(thresholds, margin)
    grade, row = np.minimum(read_outcomes(outcome, margin), held.shape[1]), np.arange(len(margin))
    low = np.where(grade == 0, -held[:, 0], held[row, np.maximum(grade - 1, 0)])
    high = np.column_stack([held, np.full(len(margin), np.inf)])[row, grade]  # of unknown strength: the last column
    with np.errstate(divide="ignore"):
        width = -np.log(-np.expm1(low - high))
    return np.asarray(np.logaddexp(0, low - margin) + np.logaddexp(0, margin - high) + width)


def tie_calibration_error(
    margins: ArrayLike, outcome: ArrayLike, thresholds: ArrayLike, user: Any = None, n_bins: int = 10
) -> float:
    """Mean distance between how likely a model calls ties and how frequent they are, over bins of that probability.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        In logits.
    outcome : array-like of int of shape (n_pairs,)
        0 for a tie.
    thresholds : array-like of shape (n_grades,) or (n_pairs, n_grades)
        ``thresholds_`` of the model, or what each pair is held against, in logits.
    user : sequence of hashables of shape (n_pairs,), optional
        With it every user counts alike, without it every pair.
    n_bins : int, default=10
        Bins of equal width between 0 and the largest probability of a tie.

    Returns
    -------
    float
        A fraction; 0 is perfect.
    """
    margin = finite_margins(margins)
    tied = read_outcomes(outcome, margin) == 0
    chance = outcome_probabilities(margin, thresholds)[:, 1]
    share = np.full(margin.size, 1.0)
    if user is not None:
        owner = user_codes(margin, user)
        share = 1.0 / np.bincount(owner)[owner]
    share /= share.sum()
    most = max(float(chance.max(initial=0.0)), np.finfo(float).tiny)
    row = np.minimum((chance / most * n_bins).astype(np.intp), n_bins - 1)
    return float(np.abs(np.bincount(row, weights=share * (tied - chance))).sum())


def _of_each(thresholds: ArrayLike, margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds of each pair, (n_pairs, n_grades)."""
    held = np.asarray(thresholds, float)
    return np.broadcast_to(held, (len(margin), held.shape[-1]))


def read_outcomes(outcome: ArrayLike, margin: NDArray[np.float64]) -> NDArray[np.int64]:
    """Outcomes as integers, or an error that says what came instead."""
    found = np.asarray(outcome)
    if found.shape != margin.shape or (found.size and (found.dtype.kind not in "iu" or found.min() < -1)):
        raise ValueError(
            f"outcome must hold 0 (a tie), a strength from 1, or -1 (not known), for each of {margin.size} pairs, got "
            f"dtype {found.dtype}, shape {found.shape}: pass EpisodeSet.outcome"
        )
    return found.astype(np.int64)
