r"""Base functions and prior of a population: a guess that is wide enough, refined by EM, in its principal directions.

The guess has two parts, for what is narrow and what is wide. :func:`skmrm.meta.prior.spectral.spectral_bases` gives the
pooled reward b and the directions in which users were seen to differ, with a first guess of their spread along them:
right where users are many and their taste has few strong directions. The leading principal directions of the gaps, all
with one standard deviation of the coefficients, assume nothing of taste: right where choices are so few that what was
seen is noise. :func:`skmrm.meta.prior.em.fit_prior` finds the spread along all of them that makes the users' choices
most likely; no sweep of it could undo a guess too narrow. Kinds of users are looked for within the first part alone, as
clusters in many directions of which most are noise are clusters of noise.

What is believed in the end is a mean over several such priors (:mod:`skmrm.meta.prior.stacking`). The base functions
are the principal directions of its whole covariance :math:`\Lambda \Lambda^\top`, in the metric H of the pooled
Hessian, the largest first, so that each says something of its own and the last can be left out:

.. math:: \Lambda^\top H \Lambda = R \,\mathrm{diag}(v)\, R^\top, \qquad
    D = R^\top \Lambda^\top B, \qquad x = \mathrm{diag}(1 / v)\, R^\top \Lambda^\top H \, \delta

are the directions, with B the guess's base functions, and a user's weights x on them, whose reward is nearest to that
of the weights :math:`\delta` on the guess. Over all users x has unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skmrm.meta.adaptation import RuleParameters
from skmrm.meta.pooled.newton import pooled_hessian
from skmrm.meta.prior.em import GAUSSIAN_SWEEPS, Prior, fit_prior, log_shares
from skmrm.meta.prior.spectral import FLOOR, spectral_bases
from skmrm.meta.tensors.factors import eigh
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like, rows_times

__all__ = ["AUTO_BASES", "BelievedPrior", "PriorBases", "PriorLearner", "PriorOptions", "principal_bases"]

AUTO_BASES = 25  # directions at most, where their number is left open
# A user's reward may be sharper or flatter than the crowd's: first guess of the standard deviation of b's own weight.
POOLED_SCALE = 0.3
# Of the largest variance: a direction with less is rounding, and users' weights on it would be, too.
_NEGLIGIBLE = 1e-6


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
    wide : bool
        Whether principal directions of the items are in the guess.
    shrinkage : float
        Users per direction that the covariance is shrunk towards the guess by.
    """

    sweeps: int = GAUSSIAN_SWEEPS
    level: bool = True
    floor: float = FLOOR
    wide: bool = True
    shrinkage: float = 1.0


DEFAULT_PRIOR = PriorOptions()


class BelievedPrior(NamedTuple):
    """A prior of the weights on the guess, its spread within kinds times `scale`, believed by `weight`."""

    prior: Prior
    scale: float
    weight: float


@dataclass(frozen=True)
class PriorBases:
    """Base functions (n_bases, columns), the first of them the pooled reward; and the prior of users' weights on them.

    Attributes
    ----------
    bases : Tensor of shape (n_bases, columns)
    mixture : dict of Tensor
        Parameters of :class:`skmrm.meta.adaptation.mixture.MixtureAdaptation`.
    """

    bases: Tensor
    mixture: RuleParameters

    @property
    def start(self) -> Tensor:
        """Weights of a user without choices: the pooled reward."""
        start = self.bases.new_zeros(len(self.bases))
        start[0] = 1.0
        return start

    @property
    def scale(self) -> Tensor:
        """Standard deviations of all users' weights, (n_bases,); the pooled reward itself has none."""
        return 1.0 - self.start


class PriorLearner:
    """What one set of users shows of how users differ, for a prior of one component or several.

    Parameters
    ----------
    table : Tensor of shape (n_items, columns)
        Features that the pooled reward is linear in.
    pairs : Pairs
        Choices of these users.
    pooled : Tensor of shape (columns,)
        Their pooled solution.
    halves : list of bool Tensor of shape (n_pairs,)
        Halvings of every user's pairs by whole groups.
    n_bases : int or None
        K; None for the pooled reward and one in each direction in which users may differ, up to `AUTO_BASES`.
    ridge : float
        Of the metric.
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
        spectral, variances, factor = spectral_bases(
            table, pairs, pooled, halves, 1 + AUTO_BASES, ridge, level=options.level, floor=options.floor
        )
        narrow = spectral[1:][variances > 0]
        self._n_narrow = len(narrow)
        wide = principal_bases(table, pairs, AUTO_BASES) if options.wide else narrow[:0]
        self._guess = torch.cat([spectral[:1], narrow, wide])
        self._n_directions = AUTO_BASES if n_bases is None else n_bases - 1
        self._n_bases = n_bases
        self._table, self._pairs, self._seed, self._sweeps = table, pairs, seed, (options.sweeps, options.shrinkage)
        rooted = self._guess @ factor
        self._gram = rooted @ rooted.T
        self._narrow: dict[int, Prior] = {}

    @cached_property
    def wide(self) -> Prior:
        """One Gaussian on all of the guess."""
        spread, _ = self._principal(torch.diag(self._first_scale()), 1 + AUTO_BASES)
        return self._em(Prior.gaussian(spread), 1)

    def narrow(self, n_components: int = 1) -> Prior:
        """One Gaussian, or kinds of users, in the directions in which users were seen to differ."""
        if n_components not in self._narrow:  # judged first, and asked for again if it is believed
            if n_components == 1:
                first = Prior.gaussian(torch.diag(self._first_scale())[:, : 1 + self._n_narrow])
            else:
                first = self.narrow()
            self._narrow[n_components] = self._em(first, n_components)
        return self._narrow[n_components]

    def bases(self, believed: list[BelievedPrior], *, to_judge: bool = False) -> PriorBases:
        """Base functions of a mean over priors, and each of the priors in terms of them.

        To judge the priors, all directions are taken where their number is open, and none counts for more because its
        standard deviations are multiplied.
        """
        shape = [one._replace(scale=min(one.scale, 1.0)) for one in believed] if to_judge else believed
        most = len(self._guess) if to_judge and self._n_bases is None else self._n_directions
        scaled, values = self._principal(torch.cat([_columns(one) for one in shape], 1), most)
        directions = scaled.T
        given = directions @ self._guess
        sign = torch.sign(given.gather(1, given.abs().argmax(1, keepdim=True)))
        directions, given = sign * directions, sign * given
        n_bases = 1 + len(given) if self._n_bases is None else self._n_bases
        bases = self._guess.new_zeros(n_bases, self._guess.shape[1])
        bases[0], bases[1 : 1 + len(given)] = self._guess[0], given
        onto = self._guess.new_zeros(n_bases, len(self._guess))
        onto[1 : 1 + len(given)] = (directions @ self._gram) / values.unsqueeze(1)
        return PriorBases(bases, mixture_parameters(believed, onto))

    def rewards_of(self, prior: PriorBases) -> Tensor:
        """Of the items, by base functions that were made here, (n_items, n_bases)."""
        return rows_times(self._table, prior.bases.T)

    def _principal(self, spread: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Principal columns (n_guess, n) of the covariance of a factor, at most so many, and their variances (n,)."""
        values, rotation = eigh(spread.T @ self._gram @ spread)
        leading = values.argsort(descending=True)[:most]
        leading = leading[values[leading] > _NEGLIGIBLE * values[-1:].clamp_min(0)]
        return spread @ rotation[:, leading], values[leading]

    def _first_scale(self) -> Tensor:
        scale = self._guess.new_ones(len(self._guess))
        scale[0] = POOLED_SCALE
        return scale

    def _em(self, prior: Prior, n_components: int) -> Prior:
        """EM from a guess of one component, or components from a Gaussian: on the rewards of the factor's columns."""
        rank = prior.factor.shape[1]
        mean = self._guess.new_zeros(1 + rank)
        mean[0] = 1.0
        rewards = rows_times(self._table, torch.cat([self._guess[:1], prior.factor.T @ self._guess]).T)
        identity = torch.eye(1 + rank, dtype=rewards.dtype, device=rewards.device)
        own = replace(prior, factor=identity[:, 1:])
        seed = np.random.SeedSequence((*self._seed, n_components)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        found = fit_prior(rewards, self._pairs, mean, own, n_components, generator, *self._sweeps)
        return replace(found, factor=prior.factor @ found.factor[1:])


def principal_bases(table: Tensor, pairs: Pairs, n_directions: int) -> Tensor:
    """Principal directions of the pairs' gaps (up to n_directions, columns), all of one length.

    The length is such that a user whose weights on them are drawn from a unit Gaussian has rewards that differ by one
    logit, root mean square over the pairs.
    """
    values, vectors = eigh(pooled_hessian(table, pairs, empty_like(table).new_ones(len(pairs.chosen))))
    leading = values.argsort(descending=True)[:n_directions]
    leading = leading[values[leading] > _NEGLIGIBLE * values[-1:].clamp_min(0)]
    return vectors[:, leading].T / values[leading].sum().clamp_min(torch.finfo(values.dtype).tiny).sqrt()


def mixture_parameters(believed: list[BelievedPrior], onto: Tensor) -> RuleParameters:
    """Parameters of :class:`skmrm.meta.adaptation.mixture.MixtureAdaptation` for weights that `onto` turns others into.

    Parameters
    ----------
    believed : list of BelievedPrior
        Of the weights before.
    onto : Tensor of shape (n_bases, n_weights)
    """
    n_components = [len(one.prior.shares) for one in believed]
    factors = [_square(onto @ (one.scale * one.prior.factor)) for one in believed]
    return {
        "factors": torch.stack(factors).repeat_interleave(torch.tensor(n_components, device=onto.device), 0),
        "centres": torch.cat([one.prior.centres @ (onto @ one.prior.factor).T for one in believed]),
        "logits": torch.cat([log_shares(one.prior.shares) for one in believed]),
        "priors": torch.repeat_interleave(torch.tensor(n_components)).to(onto.device),
        "weights": log_shares(onto.new_tensor([one.weight for one in believed])),
    }


def _columns(believed: BelievedPrior) -> Tensor:
    """Columns (n_guess, any) whose squares are a prior's part of the whole covariance."""
    prior = believed.prior
    centres = prior.factor @ (prior.centres * prior.shares.sqrt().unsqueeze(1)).T
    return believed.weight**0.5 * torch.cat([believed.scale * prior.factor, centres], 1)


def _square(factor: Tensor) -> Tensor:
    """Another factor (n, n) of the same covariance: of (n, rank) with a rank that is smaller or larger."""
    values, vectors = eigh(factor @ factor.T)
    return vectors * values.clamp_min(0).sqrt()
