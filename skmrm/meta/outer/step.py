r"""One step of the outer loop: the gradient of a batch's robust loss.

With gaps of features :math:`x_p = z_{c_p} - z_{r_p}` and of base rewards :math:`g_p = B x_p`, a user's query loss is
:math:`L_u = \sum_p q_p \, \mathrm{softplus}(-w_u \cdot g_p)` with weights :math:`w_u` from the inner loop. The chain
rule is applied by hand, in three parts: from the loss to weights and gaps; through the inner loop
(:func:`skmrm.meta.adaptation.with_pullback`); and to the base functions, :math:`\bar B = \sum_p \bar g_p x_p^\top`.
So a batch's features are gathered once, and read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate, groupby
from operator import itemgetter

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation import Adaptation, with_pullback
from skmrm.meta.adaptation.rule import inner_rule
from skmrm.meta.adaptation.users import rule_parameters
from skmrm.meta.basis import Parameters, base_rewards
from skmrm.meta.objectives import beyond, pair_margins, pair_sums, robust_weights
from skmrm.meta.outer.epochs import Batch
from skmrm.meta.tensors.tables import is_half, n_cached_rows, row_gaps

__all__ = ["batch_gradient", "batch_losses", "feature_gaps", "gaps_in_turn", "without_autograd"]

_PIECE = 1 << 20  # numbers in a batch's gaps that are multiplied at once; products as long as wide are slow beyond


def without_autograd(rule: Adaptation) -> AbstractContextManager[None]:
    """A context in which `batch_gradient` works for this rule: autograd off altogether where the rule needs none."""
    return torch.inference_mode() if inner_rule(rule).by_hand else torch.no_grad()


def feature_gaps(table: Tensor, ends: Tensor) -> Tensor:
    """Rows of the chosen minus rows of the rejected items of pairs (n, 2): (n, d); from half precision, in single."""
    if is_half(table):
        return row_gaps(table, *ends.T)
    # a weighted sum of two rows in one pass, which copies neither
    signs = table.new_tensor([1.0, -1.0]).repeat(len(ends))
    bags = torch.arange(0, 2 * len(ends), 2, device=ends.device)
    return torch.embedding_bag(table, ends.reshape(-1), bags, per_sample_weights=signs)[0]


def gaps_in_turn(table: Tensor, batches: Sequence[Batch]) -> Iterator[Tensor]:
    """Gaps of features (n_pairs, d) of each batch; those of small batches are made several at a time."""
    most = n_cached_rows(table)
    parts = [n_pairs // most for n_pairs in accumulate(len(batch.ends) for batch in batches)]
    for _, some in groupby(zip(parts, batches, strict=True), itemgetter(0)):
        ends = [batch.ends for _, batch in some]
        yield from feature_gaps(table, torch.cat(ends)).split([len(own) for own in ends])


def batch_gradient(
    params: Parameters,
    rule: Adaptation,
    table: Tensor,
    batch: Batch,
    ratio: float,
    temperature: float | None,
    known: Tensor | None = None,
) -> tuple[Tensor, Parameters]:
    """Query loss of each user of a batch, (n_users,), and the gradient of their robust mean.

    Parameters
    ----------
    params : dict of Tensor
    rule : Adaptation
    table : Tensor of shape (n_items, d)
        Standardised features; half precision is read in single.
    batch : Batch
    ratio, temperature
        As of :func:`skmrm.meta.objectives.robust_weights`.
    known : Tensor of shape (n_pairs, d), optional
        The batch's gaps of features, as :func:`gaps_in_turn` gives them.
    """
    flat, to_basis = _gap_rewards(params, table, batch, known)
    gaps = batch.padded(flat)
    held = batch.threshold
    weights, to_start = with_pullback(rule, params["start"], gaps, batch.support, rule_parameters(params), held)
    margins = -beyond(pair_margins(weights, gaps), held)
    losses = (softplus(margins) * batch.query).sum(-1)
    share = robust_weights(losses, ratio, temperature)
    d_margins = torch.sigmoid(margins) * batch.query * -share[:, None]
    d_start, d_gaps, d_rule = to_start(pair_sums(d_margins, gaps))
    d_flat = batch.flat(d_gaps + d_margins.unsqueeze(-1) * weights.unsqueeze(1))
    gradient = to_basis(d_flat) | {"start": d_start}
    return losses, gradient | {f"rule.{name}": value for name, value in d_rule.items()}


def batch_losses(params: Parameters, rule: Adaptation, table: Tensor, batch: Batch) -> Tensor:
    """Query loss of each user of a batch after adaptation on its support, (n_users,); differentiable, and plain."""
    chosen, rejected = batch.ends.T
    flat = base_rewards(params, table[chosen]) - base_rewards(params, table[rejected])
    gaps = batch.padded(flat)
    weights = inner_rule(rule).adapt(params["start"], gaps, batch.support, rule_parameters(params), batch.threshold)
    return (softplus(-beyond(pair_margins(weights, gaps), batch.threshold)) * batch.query).sum(-1)


def _gap_rewards(
    params: Parameters, table: Tensor, batch: Batch, known: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Parameters]]:
    """Gaps of base rewards (n_pairs, n_bases), and from their gradient to that of the base functions."""
    gaps = feature_gaps(table, batch.ends) if known is None else known
    pieces = gaps.split(max(1, _PIECE // gaps.shape[1]))
    rewards = [params["bases"] @ piece.T for piece in pieces]
    flat = (rewards[0] if len(rewards) == 1 else torch.cat(rewards, 1)).T

    def to_bases(given: Tensor) -> Parameters:
        if len(pieces) == 1:
            return {"bases": given.T @ gaps}
        gradient = torch.zeros_like(params["bases"])
        for part, piece in zip(given.split(len(pieces[0])), pieces, strict=True):
            gradient.addmm_(part.T, piece)
        return {"bases": gradient}

    return flat, to_bases
