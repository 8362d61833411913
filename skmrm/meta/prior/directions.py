r"""Base functions and prior of a population: the spectral guess, refined by EM, along its principal directions.

:func:`skmrm.meta.prior.spectral.spectral_bases` gives the pooled reward b and directions in which users differ, with a
first guess of the users' spread along them; :func:`skmrm.meta.prior.em.fit_prior` finds the spread that makes their
choices most likely. With L the factor of the found covariance within kinds, the rows of :math:`L^\top B` are base
functions whose weights are independent and of unit variance. Any rotation of them is as good. The one taken makes them
orthogonal in the metric of the pooled Hessian, the largest first, so that each says something of its own and the last
can be left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skmrm.meta.adaptation import RuleParameters
from skmrm.meta.prior.em import GAUSSIAN_SWEEPS, Prior, fit_prior, log_shares
from skmrm.meta.prior.spectral import FLOOR, spectral_bases
from skmrm.meta.tensors.factors import eigh
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import rows_times

__all__ = ["AUTO_BASES", "PriorBases", "PriorLearner", "PriorOptions"]

AUTO_BASES = 25  # the pooled reward and directions at most, where their number is left open
# A user's reward may be sharper or flatter than the crowd's: first guess of the standard deviation of b's own weight.
POOLED_SCALE = 0.3


@dataclass(frozen=True)
class PriorOptions:
    """Settings of the prior, for studies of what each part brings.

    Attributes
    ----------
    sweeps : int
        Of EM for one component.
    level : bool
        Whether the median eigenvalue counts as a level at which users differ in every direction.
    floor : float
        Share of the noise's reach that a direction below the noise has for its variance.
    """

    sweeps: int = GAUSSIAN_SWEEPS
    level: bool = True
    floor: float = FLOOR


DEFAULT_PRIOR = PriorOptions()


@dataclass(frozen=True)
class PriorBases:
    """Base functions (n_bases, d), the first of them the pooled reward; and the prior of users' weights on them.

    Attributes
    ----------
    bases : Tensor of shape (n_bases, d)
        A unit Gaussian on the weights of all but the first is the prior within a component.
    centres : Tensor of shape (n_components, n_bases)
        Mean weights of each component, less those of all users.
    shares : Tensor of shape (n_components,)
        How many users are of each component.
    """

    bases: Tensor
    centres: Tensor
    shares: Tensor

    @property
    def start(self) -> Tensor:
        """Weights of a user without choices: the pooled reward."""
        start = self.bases.new_zeros(len(self.bases))
        start[0] = 1.0
        return start

    @property
    def scale(self) -> Tensor:
        """Prior standard deviations within a component, (n_bases,); the pooled reward itself has none."""
        return 1.0 - self.start

    @property
    def mixture(self) -> RuleParameters:
        """Parameters of :class:`skmrm.meta.adaptation.mixture.MixtureAdaptation` beside the scale."""
        return {"centres": self.centres, "logits": log_shares(self.shares)}


class PriorLearner:
    """What one set of users shows of how users differ, for a prior of one component or several.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Features that the pooled reward is linear in.
    pairs : Pairs
        Choices of these users.
    pooled : Tensor of shape (d,)
        Their pooled solution.
    halves : list of bool Tensor of shape (n_pairs,)
        Halvings of every user's pairs by whole groups.
    n_bases : int or None
        K; None for one in each direction of the items, up to `AUTO_BASES` and how sharp the pooled reward is.
    ridge : float
        Of the pooled solution.
    seed : tuple of int
        Of the seeds of components, which depend on it and on the number of components alone.
    options : PriorOptions
    """

    def __init__(
        self,
        table: Tensor,
        pairs: Pairs,
        pooled: Tensor,
        halves: list[Tensor],
        n_bases: int | None,
        ridge: float,
        seed: tuple[int, ...],
        options: PriorOptions = DEFAULT_PRIOR,
    ) -> None:
        guess, variances = spectral_bases(
            table, pairs, pooled, halves, n_bases or AUTO_BASES, ridge, level=options.level, floor=options.floor
        )
        live = torch.cat([variances.new_ones(1, dtype=torch.bool), variances > 0])
        self._guess = guess[live]
        self._n_bases = n_bases
        self._pairs, self._seed, self._sweeps = pairs, seed, options.sweeps
        self.table = table
        self._rewards = rows_times(table, self._guess.T)
        self._gram = self._hessian_gram(ridge)
        self._priors = {1: self._fit(self._first(), 1)}

    def learn(self, n_components: int) -> PriorBases:
        """Base functions and prior of so many components: one, or kinds of users."""
        n_directions = min(self._guess.shape)  # how sharp the pooled reward is counts as one
        width = n_directions + 1 if self._n_bases is None else self._n_bases
        bases = self._guess.new_zeros(width, self._guess.shape[1])
        bases[0] = self._guess[0]
        centres = bases.new_zeros(n_components, width)
        if width == 1:
            return PriorBases(bases, centres, bases.new_ones(n_components) / n_components)
        if n_components not in self._priors:  # judged first, and asked for again if chosen
            self._priors[n_components] = self._fit(self._priors[1], n_components)
        prior = self._priors[n_components]
        values, rotation = eigh(prior.factor.T @ self._gram @ prior.factor)
        size = values * (1 + prior.shares @ (prior.centres @ rotation) ** 2)  # components apart count, too
        rotation = rotation[:, size.argsort(descending=True)[: min(n_directions, width - 1)]]
        directions = rotation.T @ (prior.factor.T @ self._guess)
        sign = torch.sign(directions.gather(1, directions.abs().argmax(1, keepdim=True)))
        bases[1 : 1 + len(directions)] = directions * sign
        centres[:, 1 : 1 + len(directions)] = prior.centres @ rotation * sign.T
        return PriorBases(bases, centres, prior.shares)

    def _first(self) -> Prior:
        scale = self._guess.new_ones(len(self._guess))
        scale[0] = POOLED_SCALE
        return Prior.gaussian(torch.diag(scale))

    def _fit(self, prior: Prior, n_components: int) -> Prior:
        """The prior in terms of the guess: EM from the spectral variances, or components from the Gaussian."""
        mean = self._guess.new_zeros(len(self._guess))
        mean[0] = 1.0
        seed = np.random.SeedSequence((*self._seed, n_components)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        return fit_prior(self._rewards, self._pairs, mean, prior, n_components, generator, self._sweeps)

    def _hessian_gram(self, ridge: float) -> Tensor:
        """The guess's base functions in the metric of the pooled Hessian, (k, k)."""
        gaps = self._pairs.gaps(self._rewards)
        chance = torch.sigmoid(gaps[:, 0])
        curvature = (chance * (1 - chance) / max(len(gaps), 1)).unsqueeze(1)
        return gaps.T @ (curvature * gaps) + ridge * self._guess @ self._guess.T
