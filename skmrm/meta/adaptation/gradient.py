"""The inner rule of the paper: a few gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from skmrm.meta.adaptation.rule import RuleParameters
from skmrm.meta.objectives import normalised, pair_margins, pair_sums
from skmrm.meta.tensors.arrays import Array, constant, divided, outer, repeated, safe_sqrt, sigmoid, softmax, summed

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

    def constrain(self, start: Array) -> Array:
        """Softmax of the adapted quantities where the weights live on the simplex."""
        return softmax(start) if self.simplex else start

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """T steps from `start`; see :class:`Adaptation`."""
        return self._trace(start, gaps, normalised(mask), self._step_size(params))[0]

    def with_pullback(
        self, start: Array, gaps: Array, mask: Array, params: dict[str, Array]
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, dict[str, Array]]]]:
        """As `adapt`, of tensors or numpy arrays, and how a gradient passes back through the steps.

        By the chain rule, by hand, last step first.
        """
        share, step_size = normalised(mask), self._step_size(params)
        weights, tape = self._trace(start, gaps, share, step_size)
        return weights, lambda given: self._back(given, weights, tape, gaps, step_size)

    def covariance(
        self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> Tensor | None:
        """No posterior is defined by stopping early."""
        return None

    def _step_size(self, params: dict[str, Array]) -> Array | float:
        return params["step_size"] if self.learn_step_size else self.step_size

    def _trace(self, start: Array, gaps: Array, share: Array, step_size: Array | float) -> tuple[Array, list[_Step]]:
        """Weights after all steps, and what each step saw."""
        raw, state = start, None
        weights, tape = repeated(self.constrain(start), len(gaps)), []
        for number in range(1, self.steps + 1):
            chance = sigmoid(-pair_margins(weights, gaps))
            pull = chance * share
            slope = gradient = -pair_sums(pull, gaps)
            if self.simplex:
                slope = slope - summed(weights * slope)
                gradient = weights * slope
            if self.first_order:
                gradient = constant(gradient)
            direction, size = gradient, None
            if self.optimizer == "adam":
                direction, size, state = _adam_direction(gradient, state, number, number == self.steps)
            tape.append(_Step(weights, chance, pull, slope, gradient, direction, size, state))
            raw = raw - step_size * direction
            weights = self.constrain(raw)
        return weights, tape

    def _back(
        self, given: Array, weights: Array, tape: list[_Step], gaps: Array, step_size: Array | float
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Gradients with respect to start, gaps and step sizes. Names are those of `_trace`; d_x is the one of x."""
        d_raw = _softmax_pullback(weights, given) if self.simplex else given
        d_gaps, d_step_size, d_state = None, None, None
        for number, step in zip(range(self.steps, 0, -1), reversed(tape), strict=True):
            if self.learn_step_size:
                more = -(d_raw * step.direction).sum(0)
                d_step_size = more if d_step_size is None else d_step_size + more
            if self.first_order:
                continue
            d_slope = -step_size * d_raw
            if self.optimizer == "adam":
                d_slope, d_state = _adam_pullback(d_slope, d_state, step, number)
            if self.simplex:
                d_gradient = d_slope - summed(step.weights * d_slope)
                d_slope = step.weights * d_gradient
            d_margins = pair_margins(d_slope, gaps) * step.pull * (1 - step.chance)
            more = outer(d_margins, step.weights) - outer(step.pull, d_slope)
            d_gaps = more if d_gaps is None else d_gaps + more
            d_weights = pair_sums(d_margins, gaps)
            if self.simplex:  # but for a number for each user, which softmax takes no notice of
                d_weights = _softmax_pullback(step.weights, d_weights + d_gradient * step.slope)
            d_raw = d_raw + d_weights
        d_gaps = 0 * gaps if d_gaps is None else d_gaps
        if not self.learn_step_size:
            return d_raw.sum(0), d_gaps, {}
        return d_raw.sum(0), d_gaps, {"step_size": 0 * given[0] if d_step_size is None else d_step_size}


_AdamState = tuple[Any, Any]  # running means of the gradient and of its square


class _Step(NamedTuple):
    """What one inner step saw, (users, bases); and the chance of the other choice and the pull of each pair.

    On the simplex, `slope` is less its mean under the weights. Under Adam, `size` is what the mean gradient is divided
    by, and `state` the one after the step.
    """

    weights: Any
    chance: Any
    pull: Any
    slope: Any
    gradient: Any
    direction: Any
    size: Any
    state: _AdamState | None


def _softmax_pullback(weights: Array, given: Array) -> Array:
    """Gradient with respect to logits from the one with respect to their softmax."""
    return weights * (given - summed(weights * given))


def _adam_direction(
    gradient: Array, state: _AdamState | None, number: int, last: bool
) -> tuple[Array, Array, _AdamState | None]:
    """Adam's direction (Kingma and Ba 2015) as a pure function of its state, None before the first step.

    Also what the mean gradient was divided by, and the state after the step: None after a first step that is the last,
    since nobody asks for it. A user without pairs has a gradient of exactly zero.
    """
    if state is None:  # the state and its corrections for starting at zero cancel
        size = abs(gradient) + EPS
        state = None if last else ((1 - BETAS[0]) * gradient, (1 - BETAS[1]) * gradient**2)
        return gradient / size, size, state
    first = BETAS[0] * state[0] + (1 - BETAS[0]) * gradient
    second = BETAS[1] * state[1] + (1 - BETAS[1]) * gradient**2
    size = safe_sqrt(second / (1 - BETAS[1] ** number)) + EPS
    return (first / (1 - BETAS[0] ** number)) / size, size, (first, second)


def _adam_pullback(
    d_direction: Array, d_state: _AdamState | None, step: _Step, number: int
) -> tuple[Array, _AdamState | None]:
    """Gradients with respect to a step's gradient and to Adam's state before it."""
    if number == 1:
        d_gradient = d_direction * (EPS / step.size**2)
        if d_state is not None:
            d_gradient = d_gradient + (1 - BETAS[0]) * d_state[0] + 2 * (1 - BETAS[1]) * step.gradient * d_state[1]
        return d_gradient, None
    d_first, d_second = d_state or (0.0, 0.0)
    corrections = [1 - beta**number for beta in BETAS]
    d_first = d_first + d_direction / (corrections[0] * step.size)
    assert step.state is not None
    root = safe_sqrt(step.state[1] / corrections[1])
    d_second = d_second + divided(-d_direction * step.direction / step.size, 2 * corrections[1] * root)
    d_gradient = (1 - BETAS[0]) * d_first + 2 * (1 - BETAS[1]) * step.gradient * d_second
    return d_gradient, (BETAS[0] * d_first, BETAS[1] * d_second)
