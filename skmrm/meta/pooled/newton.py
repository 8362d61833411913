r"""Pooled Bradley-Terry: one reward for all users, by truncated Newton.

.. math:: b = \arg\min_b \textstyle\sum_p m_p \, \mathrm{softplus}(T_p - b \cdot (z_{c_p} - z_{r_p}))
    + \tfrac\lambda2 \lVert b \rVert^2

with :math:`m_p` the share of pair p in all weight, :math:`1 / n` for all alike, and :math:`T_p` what its margin is held
against (:mod:`skmrm.meta.thresholds`), zero for a plain choice.

The pairs enter only through the items they compare: with D the (pairs x items) incidence matrix (+1 chosen, -1
rejected), the gradient is :math:`Z^\top D^\top(\cdot)` and the Hessian :math:`Z^\top (D^\top W D) Z`, in which
:math:`D^\top W D` is the weighted Laplacian of the comparison graph. No pair's gap of d features is ever formed, and
many judgements of few items cost little.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from skmrm.meta.tensors.factors import cholesky, eigh
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like, gram, in_single, is_half, quadratic_form, rows_times, transposed_times
from skmrm.meta.thresholds import with_thresholds

__all__ = [
    "Curvature",
    "cholesky_with_ridge",
    "fit_pooled",
    "fit_with_thresholds",
    "item_pull",
    "pooled_hessian",
    "row_space",
]

# Of the largest eigenvalue of the features' Gram matrix: a direction so short moves no reward by a ten-thousandth of a
# logit under the smallest ridge, and rounding in single precision makes up directions a thousandth as large.
_NEGLIGIBLE = 1e-10
_MAX_ROUNDS = 10  # of thresholds and weights in turn
_SETTLED = 1e-3  # logits that a threshold still moves
_ROUNDING = 8  # errors of an objective's last digit
_ROWS_A_FEATURE = 4  # that tell whether features have full rank, where they have


def item_pull(pairs: Pairs, pull: Tensor, n_items: int) -> Tensor:
    """D' pull: by what each item is pulled up in total, (n_items, ...), from what each pair does, (n_pairs, ...)."""
    total = pull.new_zeros(n_items, *pull.shape[1:])
    return total.index_add_(0, pairs.chosen, pull).index_add_(0, pairs.rejected, -pull)


def pooled_hessian(table: Tensor, pairs: Pairs, curvature: Tensor) -> Tensor:
    """Z' (D' W D) Z with W the curvature of each pair times its share of all weight: (d, d), without the ridge."""
    curvature = pairs.weighted_mean(curvature)
    n_items = table.shape[0]
    degree = curvature.new_zeros(n_items)
    degree.index_add_(0, pairs.chosen, curvature).index_add_(0, pairs.rejected, curvature)
    every = torch.arange(n_items, device=degree.device)
    # half of a Laplacian, which with its transpose is the whole: a quarter of the entries to sort
    index = torch.stack([torch.cat([every, pairs.chosen]), torch.cat([every, pairs.rejected])])
    half = torch.sparse_coo_tensor(
        index, torch.cat([degree / 2, -curvature]), (n_items, n_items), check_invariants=False
    )
    found = quadratic_form(half.coalesce(), table)
    return found + found.T


def row_space(table: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of the items in an orthonormal basis of what they span, (n_items, rank), and that basis (d, rank).

    Every solution lies in the items' span, where the ridge is the same: nothing is lost by working there. What repeats
    other features, or is constant, is no direction of its own. Of features that all are, the coordinates are as given.
    """
    n_items, n_features = table.shape
    like = empty_like(table)
    if n_features > n_items:
        values, vectors = eigh(gram(in_single(table).T))
        kept = _spanned(values, table)
        length, vectors = values[kept].clamp_min(0).sqrt(), vectors[:, kept]
        span = table.T.double() @ (vectors / torch.where(length > 0, length, 1.0))
        return (vectors * length).to(like), span.to(like)
    if is_half(table):  # kept as it is: turned, it would be rounded again
        return table, torch.eye(n_features, dtype=like.dtype, device=like.device)
    every = max(1, n_items // (_ROWS_A_FEATURE * n_features))
    values, vectors = eigh(gram(table[::every]))
    if every > 1 and not bool(_spanned(values, table).all()):  # some rows do not have what all may have
        values, vectors = eigh(gram(table))
    kept = _spanned(values, table)
    if bool(kept.all()):
        return table, torch.eye(n_features, dtype=like.dtype, device=like.device)
    span = vectors[:, kept].to(like)
    return rows_times(table, span), span


def _spanned(values: Tensor, table: Tensor) -> Tensor:
    """Which eigenvalues (k,), ascending, of a Gram matrix are more than rounding; the largest in any case."""
    share = max(_NEGLIGIBLE, torch.finfo(table.dtype).eps ** 2)
    kept = values > share * values[-1]
    kept[-1] = True
    return kept


class Curvature:
    """The pooled Hessian at b = 0, shared by the fits along a path of ridges as their preconditioner."""

    def __init__(self, table: Tensor, pairs: Pairs) -> None:
        quarter = empty_like(table).new_full((pairs.chosen.numel(),), 0.25)
        self.hessian = pooled_hessian(table, pairs, quarter)

    def factor(self, ridge: float) -> Tensor:
        """Cholesky factor of the Hessian plus ridge."""
        return cholesky_with_ridge(self.hessian, ridge)


def cholesky_with_ridge(matrix: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of a positive semi-definite matrix plus ridge."""
    shifted = matrix.clone()
    shifted.diagonal().add_(ridge)
    return cholesky(shifted)


def fit_pooled(
    table: Tensor,
    pairs: Pairs,
    ridge: float,
    *,
    curvature: Curvature | None = None,
    start: Tensor | None = None,
    max_steps: int = 50,
    tolerance: float = 1e-5,
) -> Tensor:
    """Weights b (d,) of the pooled Bradley-Terry model.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    ridge : float > 0
        L2 penalty on a mean loss in nats a pair; infinite for a reward of zero.
    curvature : Curvature, optional
        Pass one to share it between fits.
    start : Tensor of shape (d,), optional
        Warm start.
    max_steps : int
        Newton steps at most.
    tolerance : float
        Stop when the gradient's norm, measured in the metric of the curvature, is below it (in units of sqrt nats).
    """
    zero = empty_like(table).new_zeros(table.shape[1])
    if pairs.chosen.numel() == 0 or math.isinf(ridge):
        return zero
    curvature = curvature or Curvature(table, pairs)
    factor = curvature.factor(ridge)

    def gaps_of(vector: Tensor) -> Tensor:
        return pairs.gaps(rows_times(table, vector))

    def objective(vector: Tensor) -> Tensor:
        return -pairs.weighted_mean(logsigmoid(pairs.beyond(gaps_of(vector)))).sum() + 0.5 * ridge * vector @ vector

    def precondition(vector: Tensor) -> Tensor:
        return torch.cholesky_solve(vector.unsqueeze(-1), factor).squeeze(-1)

    solution = zero if start is None else start.clone()
    value = objective(solution)
    for _ in range(max_steps):
        chance = torch.sigmoid(pairs.beyond(gaps_of(solution)))
        gradient = ridge * solution - transposed_times(
            table, item_pull(pairs, pairs.weighted_mean(1 - chance), table.shape[0])
        )
        if float(gradient @ precondition(gradient)) < tolerance**2:
            break
        weight = pairs.weighted_mean(chance * (1 - chance))

        def hessian_product(vector: Tensor, weight: Tensor = weight) -> Tensor:
            pull = item_pull(pairs, weight * gaps_of(vector), table.shape[0])
            return ridge * vector + transposed_times(table, pull)

        direction = -_conjugate_gradient(hessian_product, gradient, precondition)
        step, descent = 1.0, float(gradient @ direction)
        candidate = solution + direction
        if -descent < _ROUNDING * torch.finfo(value.dtype).eps * float(value):
            return candidate  # so near that Newton's step needs no proof, and the objective could not give it
        candidate_value = objective(candidate)
        while float(candidate_value) > float(value) + 1e-4 * step * descent and step > 1e-6:
            step *= 0.5
            candidate = solution + step * direction
            candidate_value = objective(candidate)
        if float(candidate_value) >= float(value):
            break  # rounding: no step decreases the objective any more
        solution, value = candidate, candidate_value
    return solution


def fit_with_thresholds(
    table: Tensor, pairs: Pairs, ridge: float, *, start: Tensor | None = None, curvature: Curvature | None = None
) -> tuple[Tensor, Pairs]:
    """Weights b (d,) of the pooled model, and the pairs with the thresholds that are best with it; in turn."""
    solution = fit_pooled(table, pairs, ridge, start=start, curvature=curvature)
    for _ in range(_MAX_ROUNDS):
        known, pairs = pairs.thresholds, with_thresholds(pairs, pairs.gaps(rows_times(table, solution)))
        if known is None or pairs.thresholds is None or float((pairs.thresholds - known).abs().max()) < _SETTLED:
            break
        solution = fit_pooled(table, pairs, ridge, start=solution, curvature=curvature)
    return solution, pairs


def _conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    target: Tensor,
    precondition: Callable[[Tensor], Tensor],
    max_steps: int = 20,
    accuracy: float = 0.05,
) -> Tensor:
    """Preconditioned conjugate gradients: solve product(x) = target to a relative accuracy."""
    solution = torch.zeros_like(target)
    residual = target.clone()
    scaled = precondition(residual)
    direction = scaled.clone()
    energy = residual @ scaled
    first = float(energy)
    for _ in range(max_steps):
        image = product(direction)
        length = energy / (direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        scaled = precondition(residual)
        energy, previous = residual @ scaled, energy
        if float(energy) <= accuracy**2 * first:
            break
        direction = scaled + (energy / previous) * direction
    return solution
