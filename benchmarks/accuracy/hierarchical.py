r"""Hierarchical logistic regression, as a statistician would write it down: the simplest model that shares tastes.

.. math:: r_u(x) = w_u \cdot z(x), \qquad w_u \sim N(m, S)

with the leading principal components z of the standardised features. EM finds m and the full covariance S, a user's
posterior taken as Gaussian at its mode (Laplace). With :math:`w_u = m + L a_u`, :math:`S = L L^\top`, every step is
adaptation under a unit prior:

.. math:: m \leftarrow m + L \bar a, \qquad
    S \leftarrow L \, \mathrm{mean}_u \big(V_u + (a_u - \bar a)(a_u - \bar a)^\top\big) L^\top .
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmrm import EpisodeSet
from skmrm.meta.adaptation import MapAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.tensors.pairs import Pairs

if TYPE_CHECKING:
    from typing import Self

__all__ = ["HierarchicalLogit"]


class HierarchicalLogit:
    """A Gaussian prior of users' weights on principal components, with full covariance, by EM.

    Parameters
    ----------
    n_directions : int
        Principal components at most.
    sweeps : int
        Of EM at most.
    tolerance : float
        Relative change of the prior's second moment, after which there is no further sweep.

    Attributes
    ----------
    mean_ : Tensor of shape (n_directions,)
        m.
    factor_ : Tensor of shape (n_directions, n_directions)
        L.
    """

    def __init__(self, n_directions: int = 30, sweeps: int = 30, tolerance: float = 0.01) -> None:
        self.n_directions = n_directions
        self.sweeps = sweeps
        self.tolerance = tolerance

    def fit(self, episodes: EpisodeSet) -> Self:
        """Find the components of the items, and the prior of the users' weights on them."""
        seen = np.asarray(episodes.features, float)[np.union1d(episodes.chosen, episodes.rejected)]
        spread = seen.std(0)
        self._centre, self._spread = seen.mean(0), np.where(spread > 0, spread, 1.0)
        _, lengths, directions = np.linalg.svd((seen - self._centre) / self._spread, full_matrices=False)
        kept = lengths[: self.n_directions] > 1e-6 * lengths[0]
        directions, lengths = directions[: len(kept)][kept], lengths[: len(kept)][kept]
        # A first guess of the prior, I: weights that make rewards of items differ by a logit.
        self._directions = directions.T * np.sqrt(len(seen) / (lengths**2).sum())
        table, pairs = self._table(episodes), _pairs(episodes)
        self.mean_, self.factor_ = table.new_zeros(table.shape[1]), torch.eye(table.shape[1], dtype=table.dtype)
        everybody = Pairs(pairs.chosen, pairs.rejected, pairs.offsets[[0, -1]])
        self.mean_ = self._deviations(table, everybody)[0][0]
        moment = self._second_moment()
        for _ in range(self.sweeps):
            found, covariances = self._deviations(table, pairs)
            centre = found.mean(0)
            self.mean_ = self.mean_ + self.factor_ @ centre
            within = covariances.mean(0) + (found - centre).T @ (found - centre) / len(found)
            self.factor_ = self.factor_ @ torch.linalg.cholesky(within)
            before, moment = moment, self._second_moment()
            if (moment - before).norm() < self.tolerance * before.norm():
                break
        return self

    def adapt_many(self, episodes: EpisodeSet) -> AdaptedUsers:
        """Mode of every user's weights."""
        found, _ = self._deviations(self._table(episodes), _pairs(episodes))
        weights = (self.mean_ + found @ self.factor_.T).numpy()
        return AdaptedUsers(weights @ (self._directions / self._spread[:, None]).T)

    def _table(self, episodes: EpisodeSet) -> Tensor:
        features = np.asarray(episodes.features, float)
        return torch.from_numpy((features - self._centre) / self._spread @ self._directions)

    def _deviations(self, table: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Every user's a (n_users, n_directions), and its covariance."""
        rewards = table @ torch.cat([self.mean_.unsqueeze(1), self.factor_], 1)
        start = torch.eye(rewards.shape[1], dtype=table.dtype)[0]  # the mean's own weight is one, for all users
        params = {"start": start, "rule.prior_scale": 1 - start}
        weights, covariances = adapt_users(params, MapAdaptation(), rewards, pairs, with_covariance=True)
        if covariances is None:
            raise TypeError("MapAdaptation has a covariance")
        return weights[:, 1:], covariances[:, 1:, 1:]

    def _second_moment(self) -> Tensor:
        return self.factor_ @ self.factor_.T + torch.outer(self.mean_, self.mean_)


class AdaptedUsers:
    """Users' rewards, linear in the features.

    Parameters
    ----------
    weights : (n_users, n_features) array
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.weights = weights

    def decision_function(self, episodes: EpisodeSet) -> NDArray[np.float64]:
        """Margins, (n_pairs,), in logits; users in the order in which they were adapted."""
        features = np.asarray(episodes.features, float)
        gaps = features[episodes.chosen] - features[episodes.rejected]
        margins: NDArray[np.float64] = (self.weights[episodes.user] * gaps).sum(1)
        return margins


def _pairs(episodes: EpisodeSet) -> Pairs:
    chosen, rejected, offsets = (
        torch.from_numpy(np.array(column, np.int64))
        for column in (episodes.chosen, episodes.rejected, episodes.offsets)
    )
    return Pairs(chosen, rejected, offsets)
