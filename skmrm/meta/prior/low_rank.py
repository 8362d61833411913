r"""A prior in few directions, wherever they point: EM that turns them in the whole space, their number by evidence.

User u's reward is :math:`(m + L a_u) \cdot z`, with :math:`a_u` from a Gaussian or from kinds of users. A first guess
of L comes from gradients at one point (:mod:`skmrm.meta.prior.spectral`), and EM within what it spans
(:mod:`skmrm.meta.prior.em`) cannot turn it. Here L is learnt from all choices as well. With the means
:math:`\bar a_u` and second moments :math:`A_u` of the posteriors under the bound of a choice, the best L solves

.. math::
    \sum_p g_p \, 2 \lambda_p \, (L^\top g_p)^\top A_u + L \,\mathrm{diag}(\rho)
    = \sum_p g_p \, (\tfrac12 - 2 \lambda_p \, m \cdot g_p) \, \bar a_u^\top ,

and the best m the same with 1 in place of a and the pooled ridge in place of :math:`\rho`. The mean m starts at the
pooled reward b, which is too small by as much as users differ: the log odds of many who do not agree are nobody's.

A sweep first writes the same rewards in terms of a whose second moment over all users is the identity, L turned to its
principal directions by the pooled Hessian H; then it takes the best step from m and L in the direction to that solution
which H gives. Without the former EM creeps where choices are few.

A direction of noise fits the users whom it was learnt from as well as one of taste. What tells them apart is the
evidence: with the prior :math:`L_k \sim N(0, I / \rho_k)` it is largest near

.. math:: \rho_k = d_k / \lVert L_k \rVert^2, \qquad d_k = \sum_j \frac{\eta_{jk}}{\eta_{jk} + \rho_k}, \qquad
    \eta_{jk} = n \, r_k^2 \, \eta_j ,

with the eigenvalues :math:`\eta_j` of H and n pairs. Those are what the choices would tell of :math:`L_k` if its users'
weights were known. They are known in part, :math:`r_k = \mathrm{mean}_p \, \bar a_{uk}^2` of a variance of one, and
their spread, which decides whether there is such a direction, by a share of about :math:`r_k^2`. (With 1 in its place
half of eight planted directions were lost where users had 12 pairs; with :math:`r_k` two.) Directions that end up next
to nothing are dropped.

Source: D. MacKay: "Bayesian interpolation", Neural Computation 4 (1992); C. Bishop: "Bayesian PCA", NIPS 1998; C. Liu,
D. Rubin, Y. N. Wu: "Parameter expansion to accelerate EM", Biometrika 85 (1998).
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from skmrm.meta.pooled.newton import item_pull
from skmrm.meta.prior.em import Batch, Posteriors, Prior, clustered, packed, relaxed_root, sweep, update
from skmrm.meta.prior.spectral import Hessian
from skmrm.meta.tensors.factors import cholesky
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like, rows_times, transposed_times
from skmrm.meta.thresholds import with_thresholds

__all__ = ["KINDS_SWEEPS", "SWEEPS", "fit_low_rank"]

SWEEPS = 6
KINDS_SWEEPS = 6
NEGLIGIBLE = 0.02  # of the largest variance along a direction
FIXED_POINT_STEPS = 20
RIDGES = (1e-6, 1e9)  # of all pairs together: beyond, numbers are lost to rounding
NO_MEAN = 1e6  # ridge of the mean where there is no shared reward


class _Data(NamedTuple):
    """What a prior is learnt from.

    Attributes
    ----------
    table : Tensor of shape (n_items, d)
    pairs : Pairs
    hessian : Hessian
    ridge : float
        Of the mean.
    """

    table: Tensor
    pairs: Pairs
    hessian: Hessian
    ridge: float

    @property
    def n_pairs(self) -> float:
        """What all pairs count for."""
        return float(self.pairs.totals.sum())

    @property
    def share(self) -> Tensor:
        """What each pair counts times its weight in what all users share, (n_pairs,), one on average over weights."""
        share = torch.ones(len(self.pairs.chosen), dtype=torch.float64, device=self.table.device)
        if self.pairs.bound is not None:
            share = self.pairs.bound * (self.n_pairs / self.pairs.weighed(self.pairs.bound.double()).sum())
        return share.to(empty_like(self.table))

    def gaps(self, directions: Tensor) -> Tensor:
        """The pairs' gaps along a direction (d,) or directions (d, n): (n_pairs,) or (n_pairs, n)."""
        return self.pairs.gaps(rows_times(self.table, directions))


def fit_low_rank(
    table: Tensor,
    pairs: Pairs,
    pooled: Tensor,
    hessian: Hessian,
    ridge: float,
    factor: Tensor,
    generator: torch.Generator,
    n_components: int = 1,
    sweeps: int = SWEEPS,
) -> tuple[Prior, Pairs]:
    """A prior of few directions from a first guess of them, and the pairs with the thresholds that go with it.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Features.
    pairs : Pairs
        All users' choices.
    pooled : Tensor of shape (d,)
        b.
    hessian : Hessian
        At b.
    ridge : float
        Of b.
    factor : Tensor of shape (d, n)
        A first guess of L: directions, each scaled to the users' standard deviation along it.
    generator : torch.Generator
        Draws the seeds of clusters.
    n_components : int
        Where it is more than one, users' posterior modes are clustered (k-means) for a start.
    sweeps : int
    """
    prior = Prior.gaussian(factor)
    if len(pairs.chosen) == 0 or factor.shape[1] == 0:
        return prior, pairs
    data = _Data(table, pairs, hessian, ridge if isfinite(ridge) else NO_MEAN)
    offset, spread = pairs.beyond(data.gaps(pooled)), data.gaps(factor)
    square = offset**2 + (spread**2).sum(1)
    for number in range(sweeps):
        found, square = sweep(spread, offset, square, pairs, prior)
        if number == 0 and n_components > 1:
            found = clustered(found, spread.T @ spread, n_components, generator)
        moment = found.second_moment / (pairs.counts > 0).sum()
        root = relaxed_root(moment) if n_components == 1 else cholesky(moment)
        change = root @ hessian.principal(prior.factor @ root, NEGLIGIBLE)[0]
        if change.shape[1] == 0:  # no direction moves any reward
            return Prior.gaussian(prior.factor @ change, prior.mean), data.pairs
        back = torch.linalg.pinv(change)
        step, moved = _step(data, pooled + prior.mean, prior.factor @ change, back, offset, spread, found)
        mean, turned = prior.mean + step[:, 0], prior.factor @ change + step[:, 1:]
        offset, spread = offset + moved[:, 0], spread @ change + moved[:, 1:]
        if n_components == 1:
            prior = Prior.gaussian(turned, mean)
        else:
            prior, within = update(replace(prior, mean=mean, factor=turned @ back), found)
            spread, offset = spread @ back @ within, data.pairs.beyond(data.gaps(pooled + prior.mean))
        if n_components == 1 and pairs.side is not None:
            nothing = torch.zeros_like(offset)
            held = -data.pairs.beyond(nothing)
            variance = (square - found.margins**2).clamp_min(0)
            data = data._replace(pairs=with_thresholds(data.pairs, found.margins + held, variance))
            offset = offset + held + data.pairs.beyond(nothing)
    return prior, data.pairs


def _step(
    data: _Data, mean: Tensor, factor: Tensor, back: Tensor, offset: Tensor, spread: Tensor, found: Posteriors
) -> tuple[Tensor, Tensor]:
    """A step (d, 1 + m) of the mean and the factor towards the best ones, and by what it moves gaps (n_pairs, 1 + m).

    Parameters
    ----------
    data : _Data
    mean : Tensor of shape (d,)
    factor : Tensor of shape (d, m)
        In principal directions.
    back : Tensor of shape (m, n)
        What it is multiplied by to give the factor that the posteriors were found with.
    offset, spread : Tensor of shape (n_pairs,), (n_pairs, n)
        What the posteriors were found with.
    found : Posteriors
    """
    pairs, hessian = data.pairs, data.hessian
    n_pairs = data.n_pairs
    means = torch.einsum("ucr,uc->ur", found.modes, found.chances)
    known = (pairs.totals.to(means.dtype).unsqueeze(1) * means).T @ means / n_pairs
    ridge = _ridge(factor, n_pairs * hessian.values, ((back @ known) * back).sum(1))
    ridge = torch.cat([ridge.new_full((1,), n_pairs * data.ridge), ridge])
    residual = transposed_times(data.table, _pull(data, means, offset, spread, found))
    residual = torch.cat([residual[:, :1], residual[:, 1:] @ back.T], 1)
    residual -= ridge * torch.cat([mean.unsqueeze(1), factor], 1)
    step = hessian.solve(residual, n_pairs, ridge)
    moved = data.gaps(step)
    bend = (ridge * step**2).sum() + _bend(data, means, moved[:, 0], moved[:, 1:] @ back, found)
    length = (residual * step).sum() / bend.clamp_min(torch.finfo(bend.dtype).tiny)
    return length * step, length * moved


def _pull(data: _Data, means: Tensor, offset: Tensor, spread: Tensor, found: Posteriors) -> Tensor:
    """By what the expected bound pulls at m and L, times the rows of the table: (n_items, 1 + n)."""
    pull = spread.new_zeros(len(offset), 1 + spread.shape[1])
    for batch in found.batches:
        gaps, own = packed(spread, batch.place, batch.present), means[batch.users].unsqueeze(1)
        curvature = batch.curvature.unsqueeze(-1)
        at_mean = batch.half.unsqueeze(-1) - curvature * offset[batch.place].unsqueeze(-1)
        both = torch.cat(
            [at_mean - curvature * gaps @ own.mT, at_mean * own - curvature * _times(gaps, found, batch)], -1
        )
        pull[batch.place[batch.present]] = both[batch.present]
    return item_pull(data.pairs, data.share.unsqueeze(1) * pull, len(data.table))


def _bend(data: _Data, means: Tensor, of_mean: Tensor, of_factor: Tensor, found: Posteriors) -> Tensor:
    """By what the expected bound bends along a step that moves the pairs' gaps by (n_pairs,) and (n_pairs, n)."""
    total, share = of_mean.new_zeros(()), data.share
    for batch in found.batches:
        gaps, level = packed(of_factor, batch.place, batch.present), of_mean[batch.place] * batch.present
        across = (gaps @ means[batch.users].unsqueeze(-1)).squeeze(-1)
        along = level * (level + 2 * across) + (_times(gaps, found, batch) * gaps).sum(-1)
        total += (share[batch.place] * batch.curvature * along).sum()
    return total


def _times(gaps: Tensor, found: Posteriors, batch: Batch) -> Tensor:
    """Second moments of a batch's users times gaps (n, longest, rank)."""
    modes, chances = found.modes[batch.users], found.chances[batch.users]
    along = (gaps @ modes.mT) * chances.unsqueeze(1)
    return batch.covariance.times(gaps) + along @ modes


def _ridge(factor: Tensor, told: Tensor, known: Tensor) -> Tensor:
    """The ridge of each direction (n,) of the largest evidence.

    Parameters
    ----------
    factor : Tensor of shape (d, n)
    told : Tensor of shape (d,)
        What all pairs tell of a direction, were the users' weights known.
    known : Tensor of shape (n,)
        Share of the users' variance that is known.
    """
    length = (factor**2).sum(0).clamp_min(torch.finfo(factor.dtype).tiny)
    told = told.unsqueeze(1) * known**2
    ridge = (len(factor) / length).clamp(*RIDGES)
    for _ in range(FIXED_POINT_STEPS):  # of which plain ones swing between two values where little is told
        ridge = (ridge * (told / (told + ridge)).sum(0) / length).sqrt().clamp(*RIDGES)
    return ridge
