r"""Ratings of responses that were judged alone, as outcomes of a comparison with the user's own bar.

With the reward's margin m over the bar and cuts :math:`\tau_1 < \dots < \tau_{J-1}` between J levels, level j has the
probability :math:`\sigma(\tau_j - m) - \sigma(\tau_{j-1} - m)`. Half of the levels are above the middle of the scale
and half below; of an odd number the one between is neither. So a rating is a win or a loss against the bar, by so many
levels, or a tie with it, and is judged as such.

Source: P. McCullagh: "Regression models for ordinal data", JRSS B 42 (1980).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm.metrics.margins import sigmoid

__all__ = ["level_probabilities", "middle_of", "rated_margins", "rated_outcomes", "rated_thresholds"]


def middle_of(cuts: ArrayLike) -> float:
    """Margin in the middle of the scale, in logits: where above and below are as likely.

    Examples
    --------
    >>> middle_of([-1.0, 0.5, 2.5]), middle_of([-2.0, -1.0, 0.5, 2.0])
    (0.5, -0.25)
    """
    found = np.asarray(cuts, float)
    return float((found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2)


def rated_margins(margins: NDArray[np.floating], rating: NDArray[np.int64], cuts: ArrayLike) -> NDArray[np.floating]:
    """Margins (n_pairs,) of choices as they are; of ratings, positive where the reward is on the rating's side.

    Parameters
    ----------
    margins : (n_pairs,) array
        Of choices one reward less the other, of ratings the reward less the user's bar; in logits.
    rating : (n_pairs,) int array
        Levels from 1; 0 for a choice.
    cuts : (n_levels - 1,) array
    """
    below = 2 * rating < np.size(cuts) + 2
    return np.where(rating > 0, np.where(below, -1, 1) * (margins - middle_of(cuts)), margins).astype(margins.dtype)


def rated_outcomes(rating: NDArray[np.int64], outcome: NDArray[np.int64] | None, n_levels: int) -> NDArray[np.int64]:
    """Outcomes (n_pairs,) of choices as they are; of ratings by how many levels they are off the middle, 0 for on it.

    Examples
    --------
    >>> rated_outcomes(np.array([1, 2, 3, 4, 5, 0]), None, 5), rated_outcomes(np.array([1, 2, 3, 4]), None, 4)
    (array([2, 1, 0, 1, 2, 1]), array([2, 1, 1, 2]))
    """
    off = (np.abs(2 * np.minimum(rating, n_levels) - n_levels - 1) + 1) // 2
    return np.where(rating > 0, off, 1 if outcome is None else outcome)


def rated_thresholds(
    rating: NDArray[np.int64], thresholds: NDArray[np.float64] | None, cuts: ArrayLike
) -> NDArray[np.float64]:
    """What each pair's margin is held against, (n_pairs, n_grades): of ratings the cuts beyond the middle, on its side.

    Infinite where a scale has no more.
    """
    found, middle = np.asarray(cuts, float), middle_of(cuts)
    above, below = found[len(found) // 2 :] - middle, middle - found[: (len(found) + 1) // 2][::-1]
    own = np.zeros(1) if thresholds is None else np.asarray(thresholds, float)
    rows = np.full((3, max(len(own), len(above))), np.inf)
    rows[0, : len(own)], rows[1, : len(above)], rows[2, : len(below)] = own, above, below
    return rows[np.where(rating == 0, 0, np.where(2 * rating < len(found) + 2, 2, 1))]


def level_probabilities(margins: ArrayLike, cuts: ArrayLike) -> NDArray[np.float64]:
    """Probability of each level, (n, n_levels), worst first, from rewards less the user's bar.

    Examples
    --------
    >>> level_probabilities([0.0], [-1.0, 1.0]).round(3)
    array([[0.269, 0.462, 0.269]])
    """
    below = sigmoid(np.asarray(cuts, float) - np.asarray(margins, float)[:, None])
    return np.diff(below, axis=1, prepend=0.0, append=1.0)
