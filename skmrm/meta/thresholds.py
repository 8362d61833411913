r"""Ties, strengths and ratings: ordered outcomes as choices of two, held against thresholds.

Whoever compares two responses may say which is better and by how much, or that neither is. With the margin m of one
over the other and thresholds :math:`0 \le t_0 < \dots < t_{S-1}`, outcome 0, a tie, is :math:`|m| < t_0` up to logistic
noise, and outcome k, better by k of S grades, :math:`t_{k-1} < m < t_k` (the last without end):

.. math:: P(k) = \sigma(t_k - m) - \sigma(t_{k-1} - m) = \sigma(t_k - m) \, \sigma(m - t_{k-1})
    \, (1 - e^{t_{k-1} - t_k}) , \qquad P(0) = \sigma(t_0 - m) \, \sigma(m + t_0) \, (1 - e^{-2 t_0}) .

So an outcome is one or two *sides*, each a choice whose margin is held against a threshold, :math:`\sigma(\pm m - (\pm
t))`, and a factor of the thresholds alone. Everything that learns from choices learns from sides.

A response that was judged alone, by a thumb or by one of J levels, was held against the user's own bar: its margin is
m = r - c, with c one more weight of the user, and level j, of cuts :math:`\tau_1 < \dots < \tau_{J-1}` that need not be
symmetric, has

.. math:: P(j) = \sigma(\tau_j - m) - \sigma(\tau_{j-1} - m), \qquad \tau_0 = -\infty, \quad \tau_J = \infty ,

again one or two sides. The cuts are the last of the thresholds.

The thresholds belong to the population. They minimise

.. math:: \sum_s w_s \, \mathrm{softplus}(T_s - m_s) - \sum_k \big(n_k + \tfrac12\big) \log \big(1 - e^{-h_k}\big),
    \qquad h_0 = 2 t_0, \quad h_k = t_k - t_{k-1} ,

convex in t, with :math:`n_k` outcomes k, and half a choice more of each, so that an outcome that few have seen keeps
its place; of the lowest and the highest level, which have no width, half a rating more of a response at the bar. Where
nobody tied, :math:`t_0 = 0`.

Source: P. Rao, L. Kupper: "Ties in paired-comparison experiments", JASA 62 (1967); A. Agresti: "Analysis of ordinal
paired comparison data", Applied Statistics 41 (1992); D. MacKay: "The evidence framework applied to classification
networks", Neural Computation 4 (1992); P. McCullagh: "Regression models for ordinal data", JRSS B 42 (1980).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.tensors.pairs import Pairs

__all__ = ["first_thresholds", "fit_thresholds", "sides_loss", "with_thresholds"]

MORE = 0.5  # choices of each outcome
MAX_STEPS = 50
TOLERANCE = 1e-3  # logits; a step that moves less leaves an error of about its square
SMALLEST, LARGEST = 1e-9, 500.0  # widths, in logits: beyond, nobody ties, or everybody does
Derivatives = Callable[[Tensor], tuple[Tensor, Tensor]]


def sides_loss(pairs: Pairs, margins: Tensor) -> Tensor:
    """Log loss of each side (n_pairs,) in nats, from margins that are beyond their thresholds by so much.

    Those of an outcome's sides add up to that of the outcome.
    """
    loss = softplus(-margins)
    if pairs.side is None or pairs.thresholds is None:
        return loss
    return loss + _costs(pairs.thresholds, pairs.n_cuts).index_select(0, pairs.side)


def with_thresholds(pairs: Pairs, gaps: Tensor, variance: Tensor | None = None) -> Pairs:
    r"""The pairs with the thresholds that are best for their gaps of reward (n_pairs,).

    Of gaps that are known with a Gaussian error of some variance (n_pairs,), for the expected loss, of which the
    derivative is about :math:`\sigma(\kappa (T - m))`, :math:`\kappa^{-2} = 1 + \pi v / 8` (MacKay 1992).
    """
    if pairs.side is None or pairs.thresholds is None:
        return pairs
    side, by_side = pairs.side, _summed_by(pairs)
    sure = torch.ones_like(gaps) if variance is None else (1 + math.pi / 8 * variance).rsqrt()

    def derivatives(places: Tensor) -> tuple[Tensor, Tensor]:
        wrong = torch.sigmoid(sure * (places.index_select(0, side).to(gaps.dtype) - gaps))
        return by_side(wrong), by_side(sure * wrong * (1 - wrong))

    counts = by_side(torch.ones_like(gaps))
    return replace(pairs, thresholds=fit_thresholds(pairs.thresholds, counts, derivatives, pairs.n_cuts))


def first_thresholds(pairs: Pairs, n_grades: int) -> Pairs:
    """The pairs with thresholds for as many grades, that are best where all margins are zero."""
    if pairs.side is None:
        return pairs
    start = torch.arange(n_grades, dtype=torch.float64, device=pairs.side.device)
    if bool((pairs.side == n_grades + pairs.n_cuts).any()):  # ties
        start += 0.5
    cuts = torch.arange(pairs.n_cuts, dtype=torch.float64, device=start.device) - (pairs.n_cuts - 1) / 2
    return with_thresholds(replace(pairs, thresholds=torch.cat([start, cuts])), start.new_zeros(len(pairs.side)))


def fit_thresholds(start: Tensor, counts: Tensor, derivatives: Derivatives, n_cuts: int = 0) -> Tensor:
    """Thresholds (S,) of the smallest loss, by Newton steps that move none by more than one, nor close half a width.

    Parameters
    ----------
    start : Tensor of shape (S,)
        Ascending, and the cuts among themselves; t_0 stays at zero where it is zero.
    counts : Tensor of shape (2 S,)
        Weight of the sides in each place.
    derivatives : callable
        Of the sides' losses in what they are held against, ``cat([t, -t])``, first and second, summed by place (2 S,).
    n_cuts : int
        How many of them, the last, are cuts.
    """
    n_held, n_grades = len(start), len(start) - n_cuts
    of_outcome = counts[n_held:].cpu().numpy() + 0.0
    of_outcome[0] /= 2  # both sides of a tie are in one place
    current = start.cpu().numpy().copy()
    free = np.flatnonzero((current > 0) | (np.arange(n_held) >= n_grades))
    widths = np.eye(n_held) - np.eye(n_held, k=-1)  # of thresholds
    widths[0, 0] = 2.0
    extremes = [n_grades, n_held - 1] if n_cuts else []  # the cuts beyond which levels have no end
    if n_cuts:
        widths[n_grades] = 0.0
    widths = widths[:, free]
    for _ in range(MAX_STEPS):
        held = torch.from_numpy(np.concatenate([current, -current])).to(start.device)
        first, second = (found.cpu().numpy() for found in derivatives(held))
        for place, below in zip(extremes, (-1, 1), strict=False):
            chance = 1 / (1 + np.exp(-below * current[place].clip(-LARGEST, LARGEST)))
            first[place] += MORE * below * chance
            second[place] += MORE * chance * (1 - chance)
        width = (widths @ current[free]).clip(SMALLEST, LARGEST)
        counted = np.where(widths.any(1), of_outcome + MORE, 0.0)
        gradient = (first[:n_held] - first[n_held:])[free] - widths.T @ (counted / np.expm1(width))
        hessian = np.diag((second[:n_held] + second[n_held:])[free])
        hessian += (widths.T * (counted / (2 * np.sinh(width / 2)) ** 2)) @ widths
        step = -np.linalg.solve(hessian, gradient)
        closed = -(widths @ step) / width
        step /= max(1.0, float(np.abs(step).max(initial=0)), float(2 * closed.max(initial=0)))
        current[free] += step
        if np.abs(step).max(initial=0) < TOLERANCE:
            break
    return torch.from_numpy(current).to(start.device)


def _costs(thresholds: Tensor, n_cuts: int) -> Tensor:
    """What each place adds to the loss of a side, (2 S,): -log(1 - e^-h) on the upper side, of a tie half on either."""
    width = torch.cat([2 * thresholds[:1], thresholds.diff()]).clamp_min(SMALLEST)
    cost = -torch.log(-torch.expm1(-width))
    cost[0] /= 2
    if n_cuts:
        cost[-n_cuts] = 0.0  # the lowest level has no width
    return torch.cat([torch.zeros_like(cost), cost])


def _summed_by(pairs: Pairs) -> Callable[[Tensor], Tensor]:
    """Sums by place (2 S,) of values of sides (n_pairs,), each as often as it counts."""
    assert pairs.side is not None
    assert pairs.thresholds is not None
    side, n_places, weight = pairs.side, 2 * len(pairs.thresholds), pairs.shared_weight

    def summed(values: Tensor) -> Tensor:
        counted = values.double() if weight is None else values * weight.double()
        return counted.new_zeros(n_places).index_add_(0, side, counted)

    return summed
