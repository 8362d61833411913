r"""A start without a gradient step: base functions from how users differ.

If user u's reward is :math:`(b + \delta_u) \cdot z` with :math:`\delta_u \sim N(0, \Sigma)`, then the gradient of the
user's mean loss at the pooled solution b is, to first order, :math:`g_u \approx -H \delta_u` plus noise. Noise is
independent between two halves A, B of the user's pairs that share no group, and so averages out of

.. math:: C = \tfrac12 \, \mathrm{mean}_u \, (g_{u,A} g_{u,B}^\top + g_{u,B} g_{u,A}^\top) \approx H \Sigma H .

With the generalised eigenvectors :math:`C v_k = \lambda_k H v_k`, :math:`V^\top H V = I`, it follows that
:math:`\Sigma = V \,\mathrm{diag}(\lambda)\, V^\top`: the base functions are :math:`\phi_0(z) = b \cdot z` and
:math:`\phi_k(z) = \sqrt{\lambda_k}\, v_k \cdot z`, and the unit Gaussian on their weights is the prior, up to one
scale chosen on users who were left out of all this.

The mean is weighted: the gradient of n pairs is a signal plus noise of variance proportional to 1/n, so that a user
counts with :math:`\tfrac{n_A}{n_A + m} \tfrac{n_B}{n_B + m}`, and users of one or two pairs do not drown the others.

With finitely many users noise does not average out of C entirely: it spreads the eigenvalues, and the largest come out
too large. Most directions have nothing of their own: the median eigenvalue is the level at which users differ in every
direction alike (zero, unless features are few or tastes have no structure), and the smallest shows how far below it,
and so above it, noise reaches. Eigenvalues within reach of the level are set to it, and the others lose the reach.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skmrm.meta.pooled.newton import pooled_hessian
from skmrm.meta.tensors.factors import eigh
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import rows_times, sparse_times

__all__ = ["FLOOR", "MOST_RIDGE", "Hessian", "spectral_bases", "user_gradients"]

# Pairs at which half of a gradient is signal and half noise. The result is flat in it: measured alike from 2 to 30.
RELIABLE_PAIRS = 8
# What does not rise above the noise may exist all the same, and the prior's EM, which looks at all choices, can tell: a
# direction gets a share of the noise's reach for its variance, if that is a small share of the largest.
FLOOR = 0.25
# Of the pooled reward's ridge: that grows where tastes cancel out in the crowd, and says nothing of how users differ.
# Measured on eight sets: 0.01 gained 0.4 points on one and lost 0.7 on another, of more features than pairs a user.
MOST_RIDGE = 0.1
SMALLEST = 0.05


class Hessian(NamedTuple):
    """The Hessian of the pooled loss, by its eigenvectors.

    Attributes
    ----------
    values : Tensor of shape (d,)
        Eigenvalues, ascending, without the ridge.
    vectors : Tensor of shape (d, d)
        In columns.
    ridge : float
        On its diagonal.
    """

    values: Tensor
    vectors: Tensor
    ridge: float

    @classmethod
    def at(cls, table: Tensor, pairs: Pairs, coefficients: Tensor, ridge: float) -> Hessian:
        """At a pooled solution (d,)."""
        chance = torch.sigmoid(pairs.margins(rows_times(table, coefficients)))
        values, vectors = eigh(pooled_hessian(table, pairs, chance * (1 - chance)))
        return cls(values.clamp_min(0), vectors, ridge)

    def whole(self, directions: Tensor) -> Tensor:
        """Directions (d, n) in coordinates in which the Hessian is the identity."""
        return (self.values + self.ridge).sqrt().unsqueeze(1) * (self.vectors.T @ directions)

    def times(self, directions: Tensor) -> Tensor:
        """The Hessian times directions (d, n)."""
        return self.vectors @ ((self.values + self.ridge).unsqueeze(1) * (self.vectors.T @ directions))

    def back(self, directions: Tensor) -> Tensor:
        """The inverse of `whole`: directions (d, n)."""
        return self.vectors @ (directions / (self.values + self.ridge).sqrt().unsqueeze(1))

    def white(self, gradients: Tensor) -> Tensor:
        """Gradients (n, d) in those coordinates."""
        return (gradients @ self.vectors) / (self.values + self.ridge).sqrt()

    def principal(self, factor: Tensor, least: float, most: int | None = None) -> tuple[Tensor, Tensor]:
        """What a factor (d, n) is turned by into principal directions of its covariance, (n, m), and variances (m,).

        The largest variance comes first; left out is what has less than a share `least` of it, or comes after the
        first `most`.
        """
        whole = self.whole(factor)
        values, rotation = eigh(whole.T @ whole)
        leading = values.argsort(descending=True)[:most]
        leading = leading[values[leading] > least * values[-1:].clamp_min(0)]
        return rotation[:, leading], values[leading]

    def solve(self, gradients: Tensor, times: float, ridge: Tensor) -> Tensor:
        """Solve so many times the Hessian, with a ridge (n,) of each column in place of its own, for columns (d, n)."""
        return self.vectors @ ((self.vectors.T @ gradients) / (times * self.values.unsqueeze(1) + ridge))


def user_gradients(table: Tensor, pairs: Pairs, coefficients: Tensor, share: Tensor) -> Tensor:
    """Negative gradient of each user's loss at b: sum over the user's pairs of share * sigmoid(-margin) * gap.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
    pairs : Pairs
    coefficients : Tensor of shape (d,)
    share : Tensor of shape (n_pairs,)
        Weight of each pair in its user's mean; 0 leaves it out.

    Returns
    -------
    Tensor of shape (n_users, d)
    """
    pull = torch.sigmoid(-pairs.margins(rows_times(table, coefficients))) * share
    user = pairs.user
    index = torch.stack([torch.cat([user, user]), torch.cat([pairs.chosen, pairs.rejected])])
    pulls = torch.sparse_coo_tensor(
        index, torch.cat([pull, -pull]), (pairs.n_users, table.shape[0]), check_invariants=False
    )
    return sparse_times(pulls.coalesce(), table)


def spectral_bases(
    table: Tensor,
    pairs: Pairs,
    coefficients: Tensor,
    halves: list[Tensor],
    n_bases: int,
    hessian: Hessian,
    *,
    level: bool = True,
    floor: float = FLOOR,
) -> tuple[Tensor, Tensor]:
    """Base functions from the cross-half covariance of the users' gradients.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    coefficients : Tensor of shape (d,)
        The pooled solution b.
    halves : list of bool Tensor of shape (n_pairs,)
        Each a random halving of every user's pairs by whole groups: true on half A. The covariance is their mean.
    n_bases : int
        K, the pooled reward included.
    hessian : Hessian
        At b.
    level : bool
        Whether the median eigenvalue is a level at which users differ in every direction alike.
    floor : float
        Variance of a direction that does not rise above the noise, as a share of the noise's reach.

    Returns
    -------
    bases : Tensor of shape (n_bases, d)
        First row b; then the leading directions, scaled to the users' standard deviation along them. They are zero
        where nothing rises above the noise.
    variances : Tensor of shape (n_bases - 1,)
        Eigenvalues less the noise in them, and at least a small share of the largest; squared logits.
    """
    whitened = coefficients.new_zeros(table.shape[1], table.shape[1])
    for half in halves:
        (first, n_first), (second, n_second) = (
            _whitened_gradients(table, pairs, coefficients, side, hessian) for side in (half, ~half)
        )
        reliability = n_first / (n_first + RELIABLE_PAIRS) * n_second / (n_second + RELIABLE_PAIRS)
        weight = (reliability / reliability.sum().clamp_min(torch.finfo(reliability.dtype).tiny)).unsqueeze(-1)
        first, second = first - (weight * first).sum(0), second - (weight * second).sum(0)
        cross = (weight * first).T @ second
        whitened += (cross + cross.T) / (2 * len(halves))

    n_directions = min(n_bases - 1, table.shape[1])
    values, vectors = eigh(whitened)
    leading = torch.arange(len(values) - 1, len(values) - 1 - n_directions, -1, device=values.device)
    base = values.median().clamp_min(0) if level else values.new_zeros(())
    reach = (base - values[0]).clamp_min(0)
    variances = base + (values[leading] - base - reach).clamp_min(0)
    if n_directions > 0:
        variances = variances.clamp_min(torch.minimum(floor * reach, SMALLEST * variances[0]))
    directions = _fix_signs(hessian.back(vectors[:, leading])) * variances.sqrt()
    bases = coefficients.new_zeros(n_bases, table.shape[1])
    bases[0] = coefficients
    bases[1 : 1 + n_directions] = directions.T
    padded = coefficients.new_zeros(n_bases - 1)
    padded[:n_directions] = variances
    return bases, padded


def _whitened_gradients(
    table: Tensor, pairs: Pairs, coefficients: Tensor, side: Tensor, hessian: Hessian
) -> tuple[Tensor, Tensor]:
    """Mean gradients over one side of each user's pairs, where the Hessian is the identity; and how many pairs."""
    counts, weight = coefficients.new_zeros(pairs.n_users), pairs.weighed(side.to(coefficients.dtype))
    counts.index_add_(0, pairs.user, weight)
    share = weight / torch.where(counts > 0, counts, 1.0)[pairs.user]
    gradients = user_gradients(table, pairs, coefficients, share)
    return hessian.white(gradients), counts


def _fix_signs(vectors: Tensor) -> Tensor:
    """Columns turned so that each one's largest entry is positive: eigenvectors have no sign of their own."""
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return torch.where(largest < 0, -vectors, vectors)
