r"""Which comparison would teach most about a user: the expected information in the answer.

A user's reward gap between two responses is uncertain, :math:`f \sim \mathcal N(\mu, v)` under the posterior, and the
answer has the probability :math:`\sigma(f)`. What the answer is expected to tell is its mutual information with the
rewards that it is about,

.. math:: I = h\big(\mathbb E\,\sigma(f)\big) - \mathbb E\,h\big(\sigma(f)\big) ,

with the entropy h of a coin: large where the model is unsure of the reward, and not where the user is (Houlsby et al.).
Both terms in closed form: :math:`\mathbb E\,\sigma(f) \approx \sigma(\mu / \sqrt{1 + \pi v / 8})` (MacKay), and
:math:`h(\sigma(f)) \approx \sum_i a_i e^{-f^2 / 2 c_i^2}` to 0.0006, whose mean over a Gaussian is known.

Several questions at once: after each, the covariance shrinks as its answer is expected to shrink it, whatever that is,
so that the next one does not ask the same.

Source: N. Houlsby, F. Huszar, Z. Ghahramani, M. Lengyel: "Bayesian active learning for classification and preference
learning", arXiv 1112.5745 (2011); D. MacKay: "The evidence framework applied to classification networks", Neural
Computation 4 (1992).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["expected_information", "telling_pairs"]

# Heights a and widths c of three Gaussians whose sum is nearest to h(sigma(f)), by least squares.
_ENTROPY = ((0.2198, 1.2568), (0.378, 1.9797), (0.0948, 3.0358))
_PAIRS_AT_A_TIME = 1 << 16
_LARGEST_TABLE = 4096  # candidates between all of which variances are looked up


def expected_information(mean: NDArray[np.floating], variance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Nats that the answer to a comparison is expected to tell of the reward gap, from its posterior.

    Examples
    --------
    >>> expected_information(np.array([0.0, 0.0, 4.0]), np.array([0.0, 4.0, 4.0])).round(2) + 0.0
    array([0.  , 0.23, 0.1 ])
    """
    logit = np.abs(mean) / np.sqrt(1 + math.pi / 8 * variance)
    unlikely = np.exp(-logit)
    found = np.log(1 + unlikely) + logit * unlikely / (1 + unlikely)
    square = mean * mean
    for height, width in _ENTROPY:
        spread = variance + width**2
        found -= (height * width) / np.sqrt(spread) * np.exp(square / (-2 * spread))
    return np.maximum(found, 0)


def telling_pairs(
    rewards: NDArray[np.floating],
    weights: NDArray[np.floating],
    covariance: NDArray[np.floating],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    n: int,
) -> tuple[list[int], list[float]]:
    """Pairs whose comparisons are expected to tell most, one after the other, and how much, in nats.

    Parameters
    ----------
    rewards : (n_items, n_bases) array
        Base rewards of the candidates.
    weights, covariance : (n_bases,) and (n_bases, n_bases) array
        Posterior of the user's weights.
    first, second : (n_pairs,) int array
        Candidates of each pair.
    n : int
        How many to choose, none twice.
    """
    values, vectors = np.linalg.eigh(covariance)
    centred = rewards - rewards.mean(0)
    mean = (centred @ weights).astype(np.float32)
    # coordinates in which the posterior is a sphere: the variance of a gap is a squared distance
    points = (centred @ (vectors * np.sqrt(values.clip(0)))).astype(np.float32)
    gap, variance = mean[first] - mean[second], _squared_distances(points, first, second)
    chosen: list[int] = []
    told: list[float] = []
    for _ in range(min(n, len(first))):
        information = expected_information(gap, variance)
        information[chosen] = -1
        best = int(information.argmax())
        chosen.append(best)
        told.append(float(information[best]))
        if len(chosen) == n:
            break
        direction = points[first[best]] - points[second[best]]
        likely = 1 / (1 + math.exp(-abs(float(gap[best])) / math.sqrt(1 + math.pi / 8 * float(variance[best]))))
        curvature = likely * (1 - likely)
        shrink = curvature / (1 + curvature * float(variance[best]))
        along = points @ direction
        variance = np.maximum(variance - shrink * (along[first] - along[second]) ** 2, 0)
        # in the same coordinates the covariance is no longer a sphere: squeeze them along the direction
        length = float(direction @ direction)
        if length > 0:
            points -= np.outer(along, direction * ((1 - math.sqrt(max(1 - shrink * length, 0.0))) / length))
    return chosen, told


def _squared_distances(
    points: NDArray[np.float32], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float32]:
    if len(points) <= _LARGEST_TABLE:
        products = points @ points.T
        size = np.diag(products)
        found = np.take(products, first * len(points) + second)
        return np.maximum(size[first] + size[second] - 2 * found, 0)
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _PAIRS_AT_A_TIME):
        some = slice(start, start + _PAIRS_AT_A_TIME)
        gaps = points[first[some]] - points[second[some]]
        np.einsum("pk,pk->p", gaps, gaps, out=found[some])
    return found
