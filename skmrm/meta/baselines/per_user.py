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
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation.span import DEFAULT_USER_RIDGE, Span, SpanAdaptation
from skmrm.meta.adaptation.users import MAX_CELLS
from skmrm.meta.fit import Fitted
from skmrm.meta.folds import MIN_JUDGED_USERS, CrossFit, Split, cross_fit, first_least
from skmrm.meta.objectives import bradley_terry_loss
from skmrm.meta.pooled.choice import DEFAULT_RIDGE, ridge_report
from skmrm.meta.pooled.newton import fit_with_thresholds, row_space
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs, length_buckets, pack_users
from skmrm.meta.tensors.tables import empty_like

__all__ = ["STAGES", "choose_user_ridge", "per_user_fit"]

STAGES = ("ridge",)

# A prior standard deviation of a weight from 0.01 to 3 logits per standard deviation of its feature.
USER_RIDGES = (10000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
MAX_JUDGED_USERS = 1000
N_SPLITS = 2


def choose_user_ridge(
    data: CrossFit, users: Tensor, ridges: Sequence[float], tell: Tell = tells_nobody
) -> tuple[float, Tensor]:
    """Ridge with the smallest query loss of users fitted on their own support, mean over users.

    Parameters
    ----------
    data : CrossFit
        Losses are averaged over its splits.
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
    table, pairs = data.table, data.pairs
    losses = empty_like(table).new_zeros(len(ridges), users.numel())
    start = losses.new_zeros(table.shape[1])
    for place, split in enumerate(data.splits):
        tell(STAGES[0], place, len(data.splits))
        support, query = pairs.where(split.support), pairs.where(split.query)
        longest = torch.maximum(support.counts, query.counts)[users]
        for rows in length_buckets(longest, max(1, MAX_CELLS // (2 * table.shape[1]))):
            span = Span(start, *_packed(table, support, users[rows]))
            asked = _packed(table, query, users[rows])
            for i, ridge in enumerate(ridges):
                losses[i, rows] += bradley_terry_loss(span.weights(ridge), *asked)
    losses /= len(data.splits)
    return ridges[first_least(losses.mean(1))], losses


def _packed(table: Tensor, pairs: Pairs, users: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gaps (users, pairs, d), weights and thresholds (users, pairs) of some users."""
    index, present = pack_users(pairs.offsets, users)
    gaps = pairs.gaps(table, index)
    gaps *= present.to(gaps.dtype).unsqueeze(-1)
    return gaps, *pairs.packed(index, present, gaps.dtype)


def per_user_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    ridge: float | None,
    generator: torch.Generator,
    tell: Tell = tells_nobody,
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
    tell : Tell
        Is told of the splits that the ridge is judged on.
    """
    tell(STAGES[0])
    data = cross_fit(features, pairs, draw_split, 0.0, generator, n_splits=N_SPLITS)
    if pairs.side is not None:  # the thresholds of a pooled reward: those of users who differ are wider
        data = replace(data, pairs=fit_with_thresholds(row_space(data.table)[0], data.pairs, DEFAULT_RIDGE)[1])
    judged = torch.nonzero(data.judged).squeeze(1)
    chosen, selection = ridge, list[dict[str, Any]]()
    if ridge is None:
        chosen = DEFAULT_USER_RIDGE
        if judged.numel() >= MIN_JUDGED_USERS:
            drawn = torch.randperm(judged.numel(), generator=generator)[:MAX_JUDGED_USERS]
            chosen, losses = choose_user_ridge(data, judged[drawn.to(judged.device)], USER_RIDGES, tell)
            selection = ridge_report(USER_RIDGES, losses, chosen)
    assert chosen is not None
    params = data.standardisation | {"start": empty_like(data.table).new_zeros(data.table.shape[1])}
    held = data.pairs.thresholds
    return Fitted(params, SpanAdaptation(chosen), chosen, selection, [], judged.numel(), thresholds=held)
