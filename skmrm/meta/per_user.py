r"""Each user from scratch: L2-penalised Bradley-Terry on the user's own pairs, in the span of their gaps.

.. math:: w_u = \arg\min_w \textstyle\sum_p m_p \, \mathrm{softplus}(-w \cdot g_p) + \tfrac\lambda2 \lVert w \rVert^2,
    \qquad g_p \in R^d .

A user has few pairs (n) and perhaps thousands of features (d). The solution is a combination of the user's gaps, so
that with the Gram matrix :math:`G G^\top = U S U^\top` and the orthonormal basis
:math:`Q = G^\top U S^{-1/2}` of their span, :math:`w = Q v` and :math:`v` solves the same problem for the gaps
:math:`G Q = U S^{1/2}`: n numbers a pair instead of d. The sum over pairs, not their mean, is penalised: this is the
mode under the prior :math:`N(0, I / \lambda)`, and one :math:`\lambda` serves users with few pairs and with many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import MapAdaptation, RuleParameters
from skmrm.meta.basis import init_standardisation, standardised_table
from skmrm.meta.batching import Pairs, length_buckets, pack_users
from skmrm.meta.crowd import ridge_report
from skmrm.meta.fitting import MIN_JUDGED_USERS, Fitted
from skmrm.meta.inference import MAX_CELLS
from skmrm.meta.objectives import bradley_terry_loss
from skmrm.meta.selection import Split
from skmrm.meta.tables import working

__all__ = ["SpanAdaptation", "choose_user_ridge", "per_user_fit"]

# A prior standard deviation of a weight from 0.01 to 3 logits per standard deviation of its feature.
USER_RIDGES = (10000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
DEFAULT_USER_RIDGE = 30.0  # where no user can be judged
MAX_JUDGED_USERS = 1000
N_SPLITS = 2


@dataclass(frozen=True)
class SpanAdaptation:
    """Penalised maximum likelihood around the start in feature space; systems of n_pairs or d unknowns, if fewer.

    No gradient flows through it, and it computes no (d, d) covariance.

    Parameters
    ----------
    ridge : float > 0
        L2 penalty on the sum of a user's losses, in nats.
    """

    ridge: float = DEFAULT_USER_RIDGE

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Nothing is learnt."""
        return {}

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are unconstrained."""
        return start

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """Penalised weights; see :class:`skmrm.meta.adaptation.Adaptation`."""
        return _Span(start, gaps, mask).weights(self.ridge)

    def covariance(
        self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> Tensor | None:
        """Not computed: it would be (d, d) for each user."""
        return None


@dataclass
class _Span:
    """Gaps of some users (users, pairs, d) in coordinates of their span, ready for any ridge."""

    start: Tensor
    gaps: Tensor
    mask: Tensor
    reduced: Tensor = field(init=False)
    lift: Tensor | None = field(init=False, default=None)

    @torch.no_grad()
    def __post_init__(self) -> None:
        self.gaps = self.gaps * self.mask.unsqueeze(-1).bool()
        self.reduced = self.gaps
        n_pairs, n_features = self.gaps.shape[1:]
        if n_pairs < n_features:
            self.reduced, self.lift = _span_of(self.gaps)

    @torch.no_grad()
    def weights(self, ridge: float) -> Tensor:
        """Weights (users, d) at a ridge.

        The start's margins are one more coordinate, of weight 1 and without freedom to move.
        """
        n_free = self.reduced.shape[-1]
        start = self.reduced.new_zeros(n_free + 1)
        start[-1] = 1.0
        scale = torch.full_like(start, ridge**-0.5)
        scale[-1] = 0.0
        gaps = torch.cat([self.reduced, (self.gaps @ self.start).unsqueeze(-1)], -1)
        moved = MapAdaptation().adapt(start, gaps, self.mask, {"prior_scale": scale})[:, :n_free]
        if self.lift is not None:
            moved = torch.einsum("upm,up->um", self.gaps, torch.einsum("upk,uk->up", self.lift, moved))
        return self.start + moved


def _span_of(gaps: Tensor) -> tuple[Tensor, Tensor]:
    """U S^(1/2) and U S^(-1/2) of each user's Gram matrix, (users, pairs, pairs); directions of no length are zero."""
    gram = (gaps @ gaps.transpose(-1, -2)).double()
    values, vectors = torch.linalg.eigh(gram)
    floor = gram.shape[-1] * torch.finfo(gaps.dtype).eps * values.amax(-1, keepdim=True) if values.numel() else values
    present = values > floor
    root = torch.where(present, values, 1.0).sqrt()
    length, inverse = torch.where(present, root, 0.0), torch.where(present, 1 / root, 0.0)
    return (vectors * length.unsqueeze(-2)).to(gaps.dtype), (vectors * inverse.unsqueeze(-2)).to(gaps.dtype)


def choose_user_ridge(
    table: Tensor, pairs: Pairs, splits: Sequence[Split], users: Tensor, ridges: Sequence[float]
) -> tuple[float, Tensor]:
    """Ridge with the smallest query loss of users fitted on their own support, mean over users.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    splits : sequence of Split
        Losses are averaged over them.
    users : int64 Tensor
        Users to judge, with a support and a query in every split. Nothing else is fitted on users, so that none of
        them needs to be held out from anything.
    ridges : sequence of float

    Returns
    -------
    ridge : float
    losses : Tensor of shape (len(ridges), len(users))
        In nats a pair.
    """
    losses = working(table).new_zeros(len(ridges), users.numel())
    start = losses.new_zeros(table.shape[1])
    for split in splits:
        support, query = pairs.where(split.support), pairs.where(split.query)
        longest = torch.maximum(support.counts, query.counts)[users]
        for rows in length_buckets(longest, max(1, MAX_CELLS // (2 * table.shape[1]))):
            span = _Span(start, *_packed(table, support, users[rows]))
            asked = _packed(table, query, users[rows])
            for i, ridge in enumerate(ridges):
                losses[i, rows] += bradley_terry_loss(span.weights(ridge), *asked)
    losses /= len(splits)
    return ridges[int(losses.mean(1).argmin())], losses


def _packed(table: Tensor, pairs: Pairs, users: Tensor) -> tuple[Tensor, Tensor]:
    """Gaps (users, pairs, d) and mask (users, pairs) of some users."""
    index, present = pack_users(pairs.offsets, users)
    gaps = pairs.gaps(table, index)
    mask = present.to(gaps.dtype)
    return gaps * mask.unsqueeze(-1), mask


def per_user_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    ridge: float | None,
    generator: torch.Generator,
) -> Fitted:
    """What users share when nothing is shared: the standardisation, and the ridge where it is None.

    Parameters
    ----------
    features : Tensor of shape (n_items, d)
        Raw features of every distinct response.
    pairs : Pairs
    draw_split : callable
        Gives a random group-disjoint support/query split.
    ridge : float > 0 or None
    generator : torch.Generator
        Draws the users to judge, where they are very many.
    """
    standardisation = init_standardisation(features)
    table = standardised_table(standardisation, features)
    splits = [draw_split() for _ in range(N_SPLITS)]
    judged = torch.nonzero(torch.stack([split.judged(pairs) for split in splits]).all(0)).squeeze(1)
    chosen, selection = ridge, list[dict[str, Any]]()
    if ridge is None:
        chosen = DEFAULT_USER_RIDGE
        if judged.numel() >= MIN_JUDGED_USERS:
            drawn = torch.randperm(judged.numel(), generator=generator)[:MAX_JUDGED_USERS]
            chosen, losses = choose_user_ridge(table, pairs, splits, judged[drawn.to(judged.device)], USER_RIDGES)
            selection = ridge_report(USER_RIDGES, losses, chosen)
    assert chosen is not None
    params = standardisation | {"start": working(table).new_zeros(table.shape[1])}
    return Fitted(params, SpanAdaptation(chosen), chosen, selection, [], judged.numel())
