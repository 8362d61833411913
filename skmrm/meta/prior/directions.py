r"""Base functions and priors of a population: what its choices show under several beliefs, in principal directions.

How users differ can be thought of in several ways, and no one of them is right everywhere. *Narrow*: in few directions,
learnt as such (:mod:`skmrm.meta.prior.low_rank`) from where the users' gradients point
(:mod:`skmrm.meta.prior.spectral`); right where taste has few strong directions. Kinds of users are looked for here
alone, as clusters in many directions of which most are noise are clusters of noise. *Flat*: in any direction, to begin
with, as far as items differ along it; right where choices are so few that what was seen is noise. *Wide*: in both. Of
the latter two, :func:`skmrm.meta.prior.em.fit_prior` finds the covariance.

What is believed in the end is a mean over all of them (:mod:`skmrm.meta.prior.stacking`). The base functions are the
principal directions of its whole covariance :math:`\Lambda \Lambda^\top`, in the metric H of the pooled Hessian, the
largest first, so that each says something of its own and the last can be left out:

.. math:: \Lambda^\top H \Lambda = R \,\mathrm{diag}(v)\, R^\top, \qquad
    D = \Lambda R, \qquad x = \mathrm{diag}(1 / v)\, D^\top H \, \delta

are the directions, in columns, and a user's weights x on them, whose reward is nearest to :math:`\delta \cdot z`. Over
all users x has unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from skmrm.meta.adaptation import RuleParameters
from skmrm.meta.prior.em import GAUSSIAN_SWEEPS, SHRINKAGE, Prior, fit_prior, log_shares
from skmrm.meta.prior.low_rank import KINDS_SWEEPS, SWEEPS, fit_low_rank
from skmrm.meta.prior.spectral import FLOOR, MOST_RIDGE, Hessian, spectral_bases
from skmrm.meta.tensors.factors import eigh
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import rows_times

__all__ = ["AUTO_BASES", "BelievedPrior", "PriorBases", "PriorLearner", "PriorOptions", "principal_directions"]

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
    sweeps, gaussian_sweeps : int
        Of EM for the narrow Gaussian, and for those in given directions.
    level : bool
        Whether the median eigenvalue counts as a level at which users differ in every direction.
    floor : float
        Share of the noise's reach that a direction below the noise has for its variance.
    shrinkage : float
        Users per direction that a covariance in given directions is shrunk towards the guess by.
    """

    sweeps: int = SWEEPS
    gaussian_sweeps: int = GAUSSIAN_SWEEPS
    level: bool = True
    floor: float = FLOOR
    shrinkage: float = SHRINKAGE


DEFAULT_PRIOR = PriorOptions()


class BelievedPrior(NamedTuple):
    """A prior, its spread within kinds times `scale`, believed by `weight`."""

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
    r"""What one set of users shows of how users differ, under several kinds of priors.

    The factor L of every prior is over the columns of the table: a user's reward is
    :math:`(b + \delta + L a) \cdot z`.

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
        self._table, self._pairs, self._pooled, self._halves = table, pairs, pooled, halves
        self._n_bases, self._n_directions = n_bases, AUTO_BASES if n_bases is None else n_bases - 1
        self._seed, self._options = seed, options
        self._ridge, self._hessian = ridge, Hessian.at(table, pairs, pooled, min(ridge, MOST_RIDGE))
        self._narrow: dict[int, Prior] = {}
        self._learnt = pairs

    @cached_property
    def flat(self) -> Prior:
        """A Gaussian in the principal directions of the gaps."""
        return self._gaussian(self._principal_directions)

    @cached_property
    def wide(self) -> Prior:
        """A Gaussian in those, and in the directions of `narrow`."""
        return self._gaussian(torch.cat([self.narrow().factor, self._principal_directions], 1))

    def narrow(self, n_components: int = 1) -> Prior:
        """A Gaussian, or kinds of users, in the few directions in which users were seen to differ."""
        if n_components not in self._narrow:  # judged first, and asked for again if it is believed
            seed = np.random.SeedSequence((*self._seed, n_components)).generate_state(1, np.uint64)[0]
            self._narrow[n_components], pairs = fit_low_rank(
                self._table,
                self._pairs if n_components == 1 else self.pairs,
                self._pooled,
                self._hessian,
                self._ridge,
                self._spectral_directions if n_components == 1 else self.narrow().factor,
                torch.Generator().manual_seed(int(seed >> np.uint64(1))),
                n_components,
                self._options.sweeps if n_components == 1 else KINDS_SWEEPS,
            )
            if n_components == 1:
                self._learnt = pairs
        return self._narrow[n_components]

    def bases(self, believed: list[BelievedPrior]) -> PriorBases:
        """Base functions of a mean over priors, and each of the priors in terms of them."""
        directions, onto = self._directions(believed)
        n_bases = 1 + len(onto) if self._n_bases is None else self._n_bases
        bases = self._pooled.new_zeros(n_bases, len(self._pooled))
        bases[0], bases[1 : 1 + len(onto)] = self._pooled, directions.T
        return PriorBases(bases, mixture_parameters(believed, pad(onto, (0, 0, 1, n_bases - len(onto) - 1))))

    def to_judge(self, believed: list[BelievedPrior]) -> list[Prior]:
        """Priors as they will be, if their number of directions is given: within the leading ones of them all."""
        if self._n_bases is None:
            return [one.prior for one in believed]
        # none counts for more because its standard deviations are multiplied
        directions, onto = self._directions([one._replace(scale=min(one.scale, 1.0)) for one in believed])
        return [one.prior.times(onto).times(directions) for one in believed]

    def rewards_of(self, directions: Tensor) -> Tensor:
        """Of the items, by base functions or directions in rows (n, columns), (n_items, n)."""
        return rows_times(self._table, directions.T)

    @property
    def pairs(self) -> Pairs:
        """The choices, with the thresholds that go with users who differ as `narrow` has it, if they have any."""
        if self._pairs.side is not None:
            self.narrow()
        return self._learnt

    @property
    def pooled(self) -> Tensor:
        """The pooled solution, (columns,)."""
        return self._pooled

    def _directions(self, believed: list[BelievedPrior]) -> tuple[Tensor, Tensor]:
        """Principal directions (columns, n) of the whole covariance, and what turns others into weights on them."""
        columns = torch.cat([_columns(one) for one in believed], 1)
        rotation, values = self._hessian.principal(columns, _NEGLIGIBLE, self._n_directions)
        directions = columns @ rotation
        directions = torch.sign(directions.gather(0, directions.abs().argmax(0, keepdim=True))) * directions
        return directions, self._hessian.times(directions).T / values.unsqueeze(1)

    def _gaussian(self, directions: Tensor) -> Prior:
        """EM from a guess: directions (columns, n), each as long as the standard deviation along it."""
        columns = torch.cat([self._own, directions], 1)
        factor = columns @ self._hessian.principal(columns, _NEGLIGIBLE, 1 + AUTO_BASES)[0]
        rewards = self.rewards_of(torch.cat([self._pooled.unsqueeze(1), factor], 1).T)
        identity = torch.eye(rewards.shape[1], dtype=rewards.dtype, device=rewards.device)
        options = self._options
        change = fit_prior(
            rewards, self.pairs, identity[0], identity[:, 1:], options.gaussian_sweeps, options.shrinkage
        )
        return Prior.gaussian(factor @ change[1:])

    @property
    def _own(self) -> Tensor:
        """The pooled reward's own weight, (columns, 1)."""
        return POOLED_SCALE * self._pooled.unsqueeze(1)

    @cached_property
    def _spectral_directions(self) -> Tensor:
        """First guess of the few directions, (columns, n)."""
        options = self._options
        spectral, variances = spectral_bases(
            self._table,
            self._pairs,
            self._pooled,
            self._halves,
            1 + AUTO_BASES,
            self._hessian,
            level=options.level,
            floor=options.floor,
        )
        return torch.cat([self._own, spectral[1:][variances > 0].T], 1)

    @cached_property
    def _principal_directions(self) -> Tensor:
        return principal_directions(self._table, self._pairs, self._hessian, AUTO_BASES)


def principal_directions(table: Tensor, pairs: Pairs, hessian: Hessian, n_directions: int) -> Tensor:
    """Principal directions of the pooled Hessian (columns, up to n_directions), all of one length.

    The length is such that a user whose weights on them are drawn from a unit Gaussian has rewards that differ by one
    logit, root mean square over the pairs.
    """
    leading = hessian.values.argsort(descending=True)[:n_directions]
    leading = leading[hessian.values[leading] > _NEGLIGIBLE * hessian.values[-1:]]
    directions = hessian.vectors[:, leading]
    variance = pairs.weighted_mean(pairs.gaps(rows_times(table, directions)).square().sum(1)).sum()
    return directions / variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()


def mixture_parameters(believed: list[BelievedPrior], onto: Tensor) -> RuleParameters:
    """Parameters of :class:`skmrm.meta.adaptation.mixture.MixtureAdaptation` for weights that `onto` turns others into.

    Parameters
    ----------
    believed : list of BelievedPrior
        Of the weights before.
    onto : Tensor of shape (n_bases, n_weights)
    """
    n_components = [len(one.prior.shares) for one in believed]
    rank = min(len(onto), max(1, *(one.prior.factor.shape[1] for one in believed)))
    factors = [_of_rank(rank, onto @ (one.scale * one.prior.factor)) for one in believed]
    return {
        "means": torch.stack([onto @ one.prior.mean for one in believed]),
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
    return believed.weight**0.5 * torch.cat([prior.mean.unsqueeze(1), believed.scale * prior.factor, centres], 1)


def _of_rank(rank: int, factor: Tensor) -> Tensor:
    """Another factor (n, rank) of the same covariance, which is of no higher rank."""
    if factor.shape[1] <= rank:
        return pad(factor, (0, rank - factor.shape[1]))
    values, vectors = eigh(factor @ factor.T)
    return (vectors * values.clamp_min(0).sqrt())[:, -rank:]
