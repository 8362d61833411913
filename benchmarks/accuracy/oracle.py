r"""What a Bayesian who knows the population makes of a user's choices: the bar for a model that had to learn it.

The oracle knows the base functions, the distribution that users' weights were drawn from and the lapse rate, and adapts
on the same support pairs as the models. The population is a mixture,

.. math:: w_u \sim \sum_c \pi_c \, N(\mu_c, s_c^2 I), \qquad
    P(a \text{ preferred to } b \mid u) = (1 - \varepsilon)\, \sigma(w_u \cdot g_{ab}) + \varepsilon / 2 ,

with :math:`s_c = 0` for kinds of users who are all alike. Within a component the posterior is taken as Gaussian at its
mode (Laplace); components are weighed by their evidence. A single component is thus judged by its MAP estimate, and
components with :math:`s_c = 0` are exact.

numpy only, and none of the package's own inference, so that a mistake there does not hide here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

from skmrm import EpisodeSet
from skmrm.datasets import true_gaps

__all__ = ["BayesOracle", "Population", "TrueRewards"]

Array = NDArray[np.float64]

_STEPS = np.array([1.0, 0.5, 0.25, 0.1, 0.02])
_MAX_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Population:
    """Where users' weights come from.

    Attributes
    ----------
    means : (n_components, n_bases) array
        Centre of each component.
    scales : (n_components,) array
        Standard deviation of a component's weights around its centre; 0 where its users are all alike.
    shares : (n_components,) array
        Share of users, summing to one.
    lapse : float
        Share of choices made by tossing a coin.
    """

    means: Array
    scales: Array
    shares: Array
    lapse: float = 0.0


class BayesOracle:
    """A model that knows the population, with the ``adapt_many`` of one that was fitted.

    Parameters
    ----------
    table : (n_items, n_bases) array
        True base rewards of every item.
    population : Population
    """

    def __init__(self, table: ArrayLike, population: Population) -> None:
        self.table = np.asarray(table, float)
        self.population = population

    def adapt_many(self, episodes: EpisodeSet) -> Posteriors:
        """Posterior of every user, given all of its pairs."""
        gaps, mask = _pack(self.table, episodes)
        kinds = zip(self.population.means, self.population.scales, strict=True)
        found = [_component(mean, scale, gaps, mask, self.population.lapse) for mean, scale in kinds]
        modes, covariances, evidences = (np.stack(parts) for parts in zip(*found, strict=True))
        with np.errstate(divide="ignore"):
            log_share = evidences + np.log(self.population.shares)[:, None]
        log_share = log_share - logsumexp(log_share, axis=0)
        return Posteriors(self.table, modes, covariances, np.exp(log_share), self.population.lapse)


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Users' posteriors.

    Attributes
    ----------
    table : (n_items, n_bases) array
    modes : (n_components, n_users, n_bases) array
    covariances : (n_components, n_users, n_bases, n_bases) array
    shares : (n_components, n_users) array
        Probability of each component.
    lapse : float
    """

    table: Array
    modes: Array
    covariances: Array
    shares: Array
    lapse: float

    def decision_function(self, episodes: EpisodeSet) -> Array:
        """Log odds, (n_pairs,), that the chosen item is preferred; users in the order in which they were adapted."""
        gaps = self.table[episodes.chosen] - self.table[episodes.rejected]
        user = episodes.user
        chance = np.zeros(len(gaps))
        for mode, covariance, share in zip(self.modes, self.covariances, self.shares, strict=True):
            margin = np.einsum("pk,pk->p", mode[user], gaps)
            variance = np.einsum("pk,pkl,pl->p", gaps, covariance[user], gaps)
            # MacKay's approximation of a logistic averaged over a Gaussian; its sign is that of the margin.
            chance += share[user] * expit(margin / np.sqrt(1 + np.pi * variance / 8))
        chance = (1 - self.lapse) * chance + self.lapse / 2
        chance = np.clip(chance, 1e-12, 1 - 1e-12)
        odds: Array = np.log(chance) - np.log1p(-chance)
        return odds


class TrueRewards:
    """The rewards that made the choices, with the ``adapt_many`` of a model: it needs no pairs to know its users.

    Parameters
    ----------
    data : Bunch
        What `make_user_preferences` or `load_style_preferences` returned.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def adapt_many(self, episodes: EpisodeSet) -> TrueRewards:
        """Itself."""
        return self

    def decision_function(self, episodes: EpisodeSet) -> Array:
        """True reward gaps, (n_pairs,), in logits."""
        return true_gaps(self.data, episodes)


def _pack(table: Array, episodes: EpisodeSet) -> tuple[Array, Array]:
    """Gaps (n_users, n_pairs, n_bases) of all users, padded with zeros, and 1 where there is a pair, 0 elsewhere."""
    place = np.arange(episodes.n_pairs) - episodes.offsets[episodes.user]
    shape = (episodes.n_users, int(place.max(initial=-1)) + 1)
    gaps, mask = np.zeros((*shape, table.shape[1])), np.zeros(shape)
    gaps[episodes.user, place] = table[episodes.chosen] - table[episodes.rejected]
    mask[episodes.user, place] = 1.0
    return gaps, mask


def _component(mean: Array, scale: float, gaps: Array, mask: Array, lapse: float) -> tuple[Array, Array, Array]:
    """Posterior modes (n_users, n_bases), covariances, and log evidences (n_users,) if all users were of a component.

    Weights are ``mean + scale * a`` with a standard normal.
    """
    n_users, _, n_bases = gaps.shape
    offset, scaled = gaps @ mean, scale * gaps

    def height(a: Array) -> Array:
        """Log joint density of pairs and a, up to the prior's constant, of one or several candidates a user."""
        margins = offset + np.einsum("...uk,upk->...up", a, scaled)
        likelihood: Array = (_log_chance(margins, lapse) * mask).sum(-1) - 0.5 * (a**2).sum(-1)
        return likelihood

    a = np.zeros((n_users, n_bases))
    for _ in range(_MAX_ITERATIONS):
        slope, curvature = _derivatives(offset + np.einsum("uk,upk->up", a, scaled), lapse)
        gradient = np.einsum("up,upk->uk", slope * mask, scaled) - a
        direction = np.linalg.solve(_precision(scaled, curvature * mask), gradient[..., None])[..., 0]
        candidates = a + np.append(_STEPS, 0.0)[:, None, None] * direction
        best = height(candidates).argmax(0)
        moved = candidates[best, np.arange(n_users)] - a
        a = a + moved
        if np.abs(moved).max(initial=0.0) < 1e-8:
            break
    _, curvature = _derivatives(offset + np.einsum("uk,upk->up", a, scaled), lapse)
    precision = _precision(scaled, curvature * mask)
    evidence = height(a) - 0.5 * np.linalg.slogdet(precision)[1]
    covariance: Array = np.asarray(scale**2 * np.linalg.inv(precision), float)
    return mean + scale * a, covariance, evidence


def _log_chance(margins: Array, lapse: float) -> Array:
    if lapse == 0:
        return -np.logaddexp(0.0, -margins)
    log_chance: Array = np.log((1 - lapse) * expit(margins) + lapse / 2)
    return log_chance


def _derivatives(margins: Array, lapse: float) -> tuple[Array, Array]:
    """Slope of the log likelihood in the margin, and its Fisher information, which is positive at any lapse rate."""
    chance = expit(margins)
    seen = (1 - lapse) * chance + lapse / 2
    density = (1 - lapse) * chance * (1 - chance)
    slope = 1 - chance if lapse == 0 else density / seen
    information = density if lapse == 0 else density**2 / (seen * (1 - seen))
    return slope, information


def _precision(scaled: Array, curvature: Array) -> Array:
    """I + S G' D G S of each user, (n_users, n_bases, n_bases)."""
    precision: Array = np.eye(scaled.shape[-1]) + np.swapaxes(scaled, -1, -2) @ (curvature[..., None] * scaled)
    return precision
