"""The inner rule of the paper: a few gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .objectives import normalised, pair_margins, pair_sums
from .posterior import safe_sqrt
from .rule import Pullback, RuleParameters

__all__ = ["BETAS", "EPS", "GradientAdaptation"]

BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's


@dataclass(frozen=True)
class GradientAdaptation:
    """A few gradient steps on the user's mean Bradley-Terry loss.

    Parameters
    ----------
    steps : int >= 0
        Number of inner steps.
    step_size : float > 0
        Step size; where `learn_step_size`, its initial value.
    learn_step_size : bool
        Learn one step size per base function in the outer loop (Meta-SGD).
    optimizer : {"sgd", "adam"}
        Plain step, or Adam's with its state fresh for each user.
    simplex : bool
        The weights are the softmax of what is adapted, so that they are positive and sum to one.
    first_order : bool
        Treat the inner gradient as a constant in the outer loop.
    """

    steps: int = 1
    step_size: float = 0.1
    learn_step_size: bool = False
    optimizer: Literal["sgd", "adam"] = "sgd"
    simplex: bool = False
    first_order: bool = False

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Step sizes, one per base function, where they are learnt."""
        if not self.learn_step_size:
            return {}
        return {"step_size": torch.full((n_bases,), self.step_size, dtype=like.dtype, device=like.device)}

    def constrain(self, start: Tensor) -> Tensor:
        """Softmax of the adapted quantities where the weights live on the simplex."""
        return torch.softmax(start, -1) if self.simplex else start

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """T steps from `start`; see :class:`Adaptation`."""
        return self._trace(start, gaps, normalised(mask), self._step_size(params))[0]

    def with_pullback(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> tuple[Tensor, Pullback]:
        """As `adapt`, and how a gradient passes back through the steps: the chain rule by hand, last step first."""
        share, step_size = normalised(mask), self._step_size(params)
        weights, tape = self._trace(start, gaps, share, step_size)
        return weights, lambda given: self._back(given, weights, tape, gaps, share, step_size)

    def covariance(
        self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> Tensor | None:
        """No posterior is defined by stopping early."""
        return None

    def _step_size(self, params: RuleParameters) -> Tensor | float:
        return params["step_size"] if self.learn_step_size else self.step_size

    def _trace(
        self, start: Tensor, gaps: Tensor, share: Tensor, step_size: Tensor | float
    ) -> tuple[Tensor, list[_Step]]:
        """Weights after all steps, and what each step saw."""
        raw = start.expand(gaps.shape[0], -1)
        state = None
        tape = []
        for number in range(1, self.steps + 1):
            weights = self.constrain(raw)
            chance = torch.sigmoid(-pair_margins(weights, gaps))
            pull = chance * share
            slope = gradient = -pair_sums(pull, gaps)
            level = None
            if self.simplex:
                level = (weights * slope).sum(-1, keepdim=True)
                gradient = weights * (slope - level)
            if self.first_order:
                gradient = gradient.detach()
            direction = gradient
            if self.optimizer == "adam":
                direction, state = _adam_direction(gradient, state, number)
            tape.append(_Step(weights, chance, pull, slope, level, gradient, direction, state))
            raw = raw - step_size * direction
        return self.constrain(raw), tape

    def _back(
        self,
        given: Tensor,
        weights: Tensor,
        tape: list[_Step],
        gaps: Tensor,
        share: Tensor,
        step_size: Tensor | float,
    ) -> tuple[Tensor, Tensor, RuleParameters]:
        """Gradients with respect to start, gaps and step sizes. Names are those of `_trace`; d_x is the one of x."""
        d_raw = _softmax_pullback(weights, given) if self.simplex else given
        d_gaps, d_step_size, d_state = None, torch.zeros_like(weights[0]), None
        for number, step in zip(range(self.steps, 0, -1), reversed(tape), strict=True):
            if self.learn_step_size:
                d_step_size = d_step_size - (d_raw * step.direction).sum(0)
            if self.first_order:
                continue
            d_slope, d_weights = -step_size * d_raw, None
            if self.optimizer == "adam":
                d_slope, d_state = _adam_pullback(d_slope, d_state, step, number)
            if step.level is not None:
                total = (step.weights * d_slope).sum(-1, keepdim=True)
                d_weights = d_slope * (step.slope - step.level) - total * step.slope
                d_slope = step.weights * (d_slope - total)
            d_margins = pair_margins(d_slope, gaps) * step.pull * (1 - step.chance)
            more = d_margins.unsqueeze(-1) * step.weights.unsqueeze(1) - step.pull.unsqueeze(-1) * d_slope.unsqueeze(1)
            d_gaps = more if d_gaps is None else d_gaps + more
            by_margins = pair_sums(d_margins, gaps)
            d_weights = by_margins if d_weights is None else d_weights + by_margins
            d_raw = d_raw + (_softmax_pullback(step.weights, d_weights) if self.simplex else d_weights)
        d_gaps = torch.zeros_like(gaps) if d_gaps is None else d_gaps
        return d_raw.sum(0), d_gaps, {"step_size": d_step_size} if self.learn_step_size else {}


_AdamState = tuple[Tensor, Tensor]  # running means of the gradient and of its square


class _Step(NamedTuple):
    """What one inner step saw, (users, bases); and the chance of the other choice and the pull of each pair.

    On the simplex, `level` is the mean slope; under Adam, `state` is the one after the step, None after the first.
    """

    weights: Tensor
    chance: Tensor
    pull: Tensor
    slope: Tensor
    level: Tensor | None
    gradient: Tensor
    direction: Tensor
    state: _AdamState | None


def _softmax_pullback(weights: Tensor, given: Tensor) -> Tensor:
    """Gradient with respect to logits from the one with respect to their softmax."""
    return weights * (given - (weights * given).sum(-1, keepdim=True))


def _adam_direction(gradient: Tensor, state: _AdamState | None, number: int) -> tuple[Tensor, _AdamState]:
    """Adam's direction (Kingma and Ba 2015) as a pure function of its state, None before the first step.

    A user without pairs has a gradient of exactly zero.
    """
    if state is None:  # the state and its corrections for starting at zero cancel
        direction = gradient / (gradient.abs() + EPS)
        return direction, ((1 - BETAS[0]) * gradient, (1 - BETAS[1]) * gradient**2)
    first = BETAS[0] * state[0] + (1 - BETAS[0]) * gradient
    second = BETAS[1] * state[1] + (1 - BETAS[1]) * gradient**2
    root = safe_sqrt(second / (1 - BETAS[1] ** number))
    return (first / (1 - BETAS[0] ** number)) / (root + EPS), (first, second)


def _adam_pullback(
    d_direction: Tensor, d_state: _AdamState | None, step: _Step, number: int
) -> tuple[Tensor, _AdamState | None]:
    """Gradients with respect to a step's gradient and to Adam's state before it."""
    assert step.state is not None
    if number == 1:
        d_gradient = d_direction * EPS / (step.gradient.abs() + EPS) ** 2
        if d_state is not None:
            d_gradient = d_gradient + (1 - BETAS[0]) * d_state[0] + 2 * (1 - BETAS[1]) * step.gradient * d_state[1]
        return d_gradient, None
    d_first, d_second = d_state or (torch.zeros_like(d_direction), torch.zeros_like(d_direction))
    corrections = [1 - beta**number for beta in BETAS]
    root = safe_sqrt(step.state[1] / corrections[1])
    d_first = d_first + d_direction / (corrections[0] * (root + EPS))
    d_root = -d_direction * step.direction / (root + EPS)
    d_second = d_second + torch.where(root > 0, d_root / (2 * corrections[1] * torch.where(root > 0, root, 1.0)), 0.0)
    d_gradient = (1 - BETAS[0]) * d_first + 2 * (1 - BETAS[1]) * step.gradient * d_second
    return d_gradient, (BETAS[0] * d_first, BETAS[1] * d_second)
