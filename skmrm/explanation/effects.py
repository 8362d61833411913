r"""How named statistics move a user's reward against the crowd's: regression that is linear in the user's weights.

With statistics z and base rewards :math:`\phi`, centred over responses that are compared with each other, and a user's
weights :math:`w = w_0 + \delta` around the crowd's, the coefficients of the difference :math:`\delta \cdot \phi` on
some statistics S are

.. math:: \beta_S = A_S \delta, \qquad A_S = C_{SS}^{-1} C_{S\phi},

C being covariances over responses. So a Gaussian posterior of :math:`\delta` with covariance :math:`\Sigma` gives
:math:`\beta_S` one with covariance :math:`A_S \Sigma A_S^\top`, exactly.

Statistics say much the same of each other (words, characters, sentences): together they have coefficients of any size
and sign, and one at a time they all repeat the first. So those that are stated are found one after the other, as in
orthogonal matching pursuit: each time the one that explains most of what is left of the difference, among those whose
interval excludes zero and that are not mostly told by the ones before.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm.explanation.moments import Moments

__all__ = ["LEANING", "Difference", "Effect", "Regression", "regress"]

_Floats = NDArray[np.float64]

LEANING = 0.8  # probability of its sign that makes an effect worth a mention
_OWN = 0.5  # of a statistic's variance has to be its own, not told by the statistics stated before
_TOLD = 0.05  # of it is too little for a coefficient to mean anything
_NEAR = 0.95  # of the best is as good, for the statistic that stands first
_LEAST = 0.01  # of the variance has to be explained by an effect that no interval vouches for
_FREE_PER_EFFECT = 5  # responses
_WIDEST_STEP = 4.0  # standard deviations of a statistic
_FLAT = 1e-12  # of a variance: round-off


class Difference(NamedTuple):
    """By how much a user's weights differ from the crowd's.

    Attributes
    ----------
    weights : ndarray of shape (n_bases,)
    covariance : ndarray of shape (n_bases, n_bases) or None
        Of the posterior; None where the model defines none.
    """

    weights: _Floats
    covariance: _Floats | None

    def along(self, directions: _Floats) -> tuple[_Floats, _Floats | None]:
        """Mean and standard deviation (n,) of `directions` (n, n_bases) times the weights."""
        mean = directions @ self.weights
        if self.covariance is None:
            return mean, None
        return mean, np.sqrt(np.einsum("nk,kl,nl->n", directions, self.covariance, directions).clip(min=0))


@dataclass(frozen=True)
class Effect:
    """What a statistic does to a user's reward, against the crowd's.

    Attributes
    ----------
    statistic : str
        Its name.
    effect : float
        What one step more of it adds to the user's reward over what it adds to the crowd's, in logits, with the stated
        statistics held where they are.
    low, high : float
        Interval of the effect; NaN where the model defines no posterior.
    crowd : float
        What the step adds to the crowd's reward.
    probability : float
        That the user's taste lies on this side of the crowd's, under the posterior; NaN without one.
    stated : bool
        Whether the model is sure enough to say so: the interval excludes zero.
    leaning : bool
        Whether it is not, but 80 % likely or more and among the few that explain most.
    words : str
        What the user likes better than the crowd does: ``"shorter answers"``.
    per : str
        The step that way: ``"for half the words"``.
    """

    statistic: str
    effect: float
    low: float
    high: float
    crowd: float
    probability: float
    stated: bool
    leaning: bool
    words: str
    per: str


class Regression(NamedTuple):
    """Coefficients of a user's difference on statistics, each in its own unit.

    Attributes
    ----------
    stated, leaning : list of int
        The statistics that are stated, in the order in which they were found, and those that are likely besides.
    effect, deviation, crowd : ndarray of shape (m,)
        Coefficient of each statistic beside the stated ones, its posterior standard deviation (NaN without a
        posterior), and the crowd's own; NaN for what the stated ones tell already, and for constants.
    explained, explainable : float
        Share of the difference's variance that the stated ones explain, and that all statistics explain together.
    """

    stated: list[int]
    leaning: list[int]
    effect: _Floats
    deviation: _Floats
    crowd: _Floats
    explained: float
    explainable: float


def regress(
    moments: Moments, difference: Difference, crowd: _Floats, n: int, width: float, steps: _Floats | None = None
) -> Regression:
    """Find the statistics to state, `n` at most, and the effects of all.

    Parameters
    ----------
    moments : Moments
    difference : Difference
        Of the user from the crowd.
    crowd : (n_bases,) array
        The crowd's weights.
    n : int
    width : float
        Standard deviations that an interval goes to either side.
    steps : (m,) array, optional
        What effects are told for: where responses hardly ever differ by so much, they are not stated.
    """
    scale = np.sqrt(np.diag(moments.statistics))
    told = scale > 0
    unit = np.where(told, scale, 1.0)
    table = moments.statistics / np.outer(unit, unit)
    cross = moments.cross / unit[:, None]
    total = float(difference.weights @ moments.rewards @ difference.weights)
    size = float(np.trace(moments.rewards)) * float(difference.weights @ difference.weights)
    if total <= _FLAT * size:
        total = 0.0
    n = min(n, moments.n_free // _FREE_PER_EFFECT)
    rare = set() if steps is None else set(np.flatnonzero(steps > _WIDEST_STEP * scale).tolist())
    stated = _stated(table, cross, difference, total, n, width, rare)
    effect, deviation, crowds = _beside(table, cross, stated, difference, crowd)
    explained, explainable = 0.0, 0.0
    if total > 0:
        explained = _explained(table, cross, stated, difference) / total
        explainable = _explained(table, cross, np.flatnonzero(told).tolist(), difference) / total
    leaning = _leaning(table, cross, stated, difference, total, n, rare)
    effect, deviation, crowds = (np.where(told, values / unit, np.nan) for values in (effect, deviation, crowds))
    return Regression(stated, leaning, effect, deviation, crowds, min(explained, 1.0), min(explainable, 1.0))


def _stated(
    table: _Floats, cross: _Floats, difference: Difference, total: float, n: int, width: float, rare: set[int]
) -> list[int]:
    """At most `n` statistics, each added for what it explains of what is left, and sure beside all others."""
    stated: list[int] = []
    dropped = set(rare)
    while total > 0 and len(stated) < n:
        found = _next(table, cross, stated, dropped, difference, total, width)
        if found is None:
            break
        kept = _sure(table, cross, [*stated, found], difference, width)
        dropped |= {*stated, found} - set(kept)
        stated = kept
    return stated


def _leaning(
    table: _Floats, cross: _Floats, stated: list[int], difference: Difference, total: float, n: int, rare: set[int]
) -> list[int]:
    """More statistics, up to `n` with those that are stated, whose effects are likely, if not sure."""
    if difference.covariance is None or total == 0:
        return []
    width, found = NormalDist().inv_cdf(LEANING), list(stated)
    while len(found) < n:
        more = _next(table, cross, found, rare, difference, total, width)
        if more is None:
            break
        found.append(more)
    return found[len(stated) :]


def _left(table: _Floats, cross: _Floats, stated: list[int]) -> tuple[_Floats, _Floats]:
    """Variance (m,) of each statistic that the stated ones do not tell, and its covariance with base rewards."""
    if not stated:
        return np.diag(table).copy(), cross
    told = _solved(table, stated, np.hstack([table[stated], cross[stated]]))
    parts, through = told[:, : len(table)], told[:, len(table) :]
    return np.diag(table) - np.einsum("sm,sm->m", table[stated], parts), cross - table[:, stated] @ through


def _next(
    table: _Floats,
    cross: _Floats,
    stated: list[int],
    dropped: set[int],
    difference: Difference,
    total: float,
    width: float,
) -> int | None:
    """The statistic that explains most of what is left, if there is one to be sure of."""
    variance, along = _left(table, cross, stated)
    own = variance > _OWN
    own[[*stated, *dropped]] = False
    mean, deviation = difference.along(along)
    gain = np.where(own, mean**2 / np.where(own, variance, 1.0), 0.0)
    sure = gain > _LEAST * total if deviation is None else np.abs(mean) > width * deviation
    gain = np.where(sure, gain, 0.0)
    best = gain.max(initial=0.0)
    return None if best <= _FLAT * total else int(np.flatnonzero(gain >= _NEAR * best)[0])


def _sure(table: _Floats, cross: _Floats, stated: list[int], difference: Difference, width: float) -> list[int]:
    """Those of the stated statistics whose intervals, beside each other, exclude zero; the least sure ones go first."""
    while stated:
        mean, deviation = difference.along(_solved(table, stated, cross[stated]))
        if deviation is None:
            break
        margin = np.abs(mean) - width * deviation
        if (margin > 0).all():
            break
        stated = [one for place, one in enumerate(stated) if place != int(np.argmin(margin))]
    return stated


def _beside(
    table: _Floats, cross: _Floats, stated: list[int], difference: Difference, crowd: _Floats
) -> tuple[_Floats, _Floats, _Floats]:
    """Coefficient of each statistic in the regression on it and the stated ones, its deviation, and the crowd's."""
    directions = np.full(cross.shape, np.nan)
    variance, along = _left(table, cross, stated)
    clear = variance > _TOLD
    clear[stated] = False
    directions[clear] = along[clear] / variance[clear, None]
    if stated:
        directions[stated] = _solved(table, stated, cross[stated])
    mean, deviation = difference.along(directions)
    return mean, np.full(len(mean), np.nan) if deviation is None else deviation, directions @ crowd


def _solved(table: _Floats, some: list[int], right: _Floats) -> _Floats:
    """Coefficients on some statistics, of which each is partly its own."""
    return np.asarray(np.linalg.solve(table[np.ix_(some, some)], right), np.float64)


def _explained(table: _Floats, cross: _Floats, some: list[int], difference: Difference) -> float:
    """Variance of the difference that some statistics explain."""
    if not some:
        return 0.0
    with_difference = cross[some] @ difference.weights
    inverse = np.linalg.pinv(table[np.ix_(some, some)], rcond=1e-10, hermitian=True)
    return max(0.0, float(with_difference @ inverse @ with_difference))
