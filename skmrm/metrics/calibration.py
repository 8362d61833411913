"""Calibration: whether a model that says 80 % is right in 80 % of the cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm.metrics.margins import finite_margins, user_codes
from skmrm.metrics.outcomes import outcome_probabilities, read_outcomes

__all__ = ["Reliability", "expected_calibration_error", "reliability"]


@dataclass(frozen=True, eq=False)
class Reliability:
    """How sure a model was, and how often it was right, in bins of confidence.

    Bins have equal widths over [0.5, 1]: confidence is the probability of the predicted winner.

    Attributes
    ----------
    confidence : ndarray of shape (n_bins,)
        Mean confidence of the pairs of a bin, between 0.5 and 1; NaN in an empty bin.
    accuracy : ndarray of shape (n_bins,)
        Share of them predicted right, a tie one half; NaN in an empty bin.
    weight : ndarray of shape (n_bins,)
        Share of all pairs (or, with users, of their equal parts) that lie in each bin; they sum to 1.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean distance of accuracy from confidence, a fraction; NaN without pairs."""
        filled = self.weight > 0
        if not filled.any():
            return float("nan")
        distance = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(self.weight[filled] @ distance)


def reliability(
    margins: ArrayLike,
    user: Any = None,
    n_bins: int = 10,
    outcome: ArrayLike | None = None,
    thresholds: ArrayLike | None = None,
) -> Reliability:
    r"""Confidence against accuracy.

    The confidence of a pair is :math:`\sigma(|margin|)`, what the model gives the response that it prefers; with
    thresholds, half of the probability of a tie is part of it, as ties count half.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        Reward of the chosen minus reward of the rejected response, in logits.
    user : sequence of hashables of shape (n_pairs,), optional
        User of each pair: rows, or ids of any kind. With it every user counts alike, without it every pair.
    n_bins : int, default=10
        Bins of equal width over [0.5, 1].
    outcome, thresholds : array-like, optional
        As of :func:`skmrm.metrics.user_log_losses`; ties count half where the model has thresholds, and are left out
        where it has none.

    Returns
    -------
    Reliability

    Raises
    ------
    ValueError
        If there is no pair, margins are NaN, or `user` does not fit them.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> found = reliability([4.0, 4.0, 4.0, -4.0], n_bins=2)
    >>> found.weight, found.accuracy, found.confidence.round(3)
    (array([0., 1.]), array([ nan, 0.75]), array([  nan, 0.982]))
    """
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"n_bins must be a positive integer, got {n_bins!r}")
    margin = finite_margins(margins)
    right = np.heaviside(margin, 0.5)
    if outcome is not None:
        tied = read_outcomes(outcome, margin) == 0
        if thresholds is None:
            owner = None if user is None else user_codes(margin, user)[~tied]
            return reliability(margin[~tied], owner, n_bins)
        right = np.where(tied, 0.5, right)
    if margin.ndim != 1 or margin.size == 0:
        raise ValueError(f"reliability needs a one-dimensional array with at least one pair, got shape {margin.shape}")
    share = np.full(margin.size, 1.0)
    if user is not None:
        owner = user_codes(margin, user)
        share = 1.0 / np.bincount(owner)[owner]
    share /= share.sum()
    win, tie, _ = outcome_probabilities(np.abs(margin), None if outcome is None else thresholds).T
    confidence = win + tie / 2
    row = np.minimum(((confidence - 0.5) * 2 * n_bins).astype(np.intp), n_bins - 1)
    weight = np.asarray(np.bincount(row, weights=share, minlength=n_bins), float)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(row, weights=share * confidence, minlength=n_bins) / weight
        accuracy = np.bincount(row, weights=share * right, minlength=n_bins) / weight
    return Reliability(mean_confidence, accuracy, weight)


def expected_calibration_error(margins: ArrayLike, user: Any = None, n_bins: int = 10) -> float:
    """Mean distance between what a model says of its accuracy and its accuracy, over bins of confidence.

    With few pairs it is above 0 even for a perfect model, because accuracies in bins are noisy: compare models on the
    same pairs.

    Parameters
    ----------
    margins : array-like of shape (n_pairs,)
        In logits.
    user : sequence of hashables of shape (n_pairs,), optional
        With it every user counts alike, without it every pair.
    n_bins : int, default=10
        Bins of equal width over [0.5, 1].

    Returns
    -------
    float
        A fraction; 0 is perfect.

    Examples
    --------
    >>> expected_calibration_error([0.0, 0.0])
    0.0
    """
    return reliability(margins, user, n_bins).calibration_error
