"""The inner rule of the paper: a few gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from skmrm.meta.adam import AdamState, adam_direction, adam_pullback
from skmrm.meta.adaptation.rule import InnerRule, Pullback, RuleParameters
from skmrm.meta.objectives import beyond, normalised, pair_margins, pair_sums

__all__ = ["GradientAdaptation"]


@dataclass(frozen=True)
class GradientAdaptation(InnerRule):
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

    strength: ClassVar[str | None] = "step_size"
    strengths: ClassVar[tuple[float, ...]] = (0.3, 1.0, 3.0, 10.0)
    by_hand: ClassVar[bool] = True

    steps: int = 1
    step_size: float = 0.1
    learn_step_size: bool = False
    optimizer: Literal["sgd", "adam"] = "sgd"
    simplex: bool = False
    first_order: bool = False

    @property
    def is_constrained(self) -> bool:
        """Whether the weights live on the simplex."""
        return self.simplex

    def random_start(self, n_bases: int, like: Tensor) -> Tensor:
        """The same weight on each base function; on the simplex, by logits of zero."""
        return like.new_zeros(n_bases) if self.simplex else super().random_start(n_bases, like)

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Step sizes, one per base function, where they are learnt."""
        if not self.learn_step_size:
            return {}
        return {"step_size": torch.full((n_bases,), self.step_size, dtype=like.dtype, device=like.device)}

    def constrain(self, start: Tensor) -> Tensor:
        """Softmax of the adapted quantities where the weights live on the simplex."""
        return torch.softmax(start, -1) if self.simplex else start

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """T steps from `start`; see :class:`Adaptation`."""
        return self._trace(start, gaps, normalised(mask), self._step_size(params), threshold)[0]

    def with_pullback(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> tuple[Tensor, Pullback]:
        """As `adapt`, and how a gradient passes back through the steps: by the chain rule, by hand, last step first."""
        share, step_size = normalised(mask), self._step_size(params)
        weights, tape = self._trace(start, gaps, share, step_size, threshold)
        return weights, lambda given: self._back(given, weights, tape, gaps, step_size)

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor | None:
        """No posterior is defined by stopping early."""
        return None

    def _step_size(self, params: RuleParameters) -> Tensor | float:
        return params["step_size"] if self.learn_step_size else self.step_size

    def _trace(
        self, start: Tensor, gaps: Tensor, share: Tensor, step_size: Tensor | float, threshold: Tensor | None
    ) -> tuple[Tensor, list[_Step]]:
        """Weights after all steps, and what each step saw."""
        raw: Tensor = start
        state: AdamState | None = None
        weights, tape = self.constrain(start).expand(len(gaps), -1), []
        for number in range(1, self.steps + 1):
            chance = torch.sigmoid(-beyond(pair_margins(weights, gaps), threshold))
            pull = chance * share
            slope = gradient = -pair_sums(pull, gaps)
            if self.simplex:
                slope = slope - _summed(weights * slope)
                gradient = weights * slope
            if self.first_order:
                gradient = gradient.detach()
            direction, size = gradient, gradient
            if self.optimizer == "adam":
                direction, size, state = adam_direction(gradient, state, number, number == self.steps)
            tape.append(_Step(weights, chance, pull, slope, gradient, direction, size, state))
            raw = raw - step_size * direction
            weights = self.constrain(raw)
        return weights, tape

    def _back(
        self, given: Tensor, weights: Tensor, tape: list[_Step], gaps: Tensor, step_size: Tensor | float
    ) -> tuple[Tensor, Tensor, RuleParameters]:
        """Gradients with respect to start, gaps and step sizes. Names are those of `_trace`; d_x is the one of x."""
        d_raw = _softmax_pullback(weights, given) if self.simplex else given
        d_gaps: Tensor | None = None
        d_step_size, d_state = torch.zeros_like(given[0]), None
        for number, step in zip(range(self.steps, 0, -1), reversed(tape), strict=True):
            if self.learn_step_size:
                d_step_size = d_step_size - (d_raw * step.direction).sum(0)
            if self.first_order:
                continue
            d_slope = -step_size * d_raw
            if self.optimizer == "adam":
                d_slope, d_state = adam_pullback(
                    d_slope, d_state, step.gradient, step.direction, step.size, step.state, number
                )
            if self.simplex:
                d_gradient = d_slope - _summed(step.weights * d_slope)
                d_slope = step.weights * d_gradient
            d_margins = pair_margins(d_slope, gaps) * step.pull * (1 - step.chance)
            more = d_margins.unsqueeze(-1) * step.weights.unsqueeze(1)
            more -= step.pull.unsqueeze(-1) * d_slope.unsqueeze(1)
            d_gaps = more if d_gaps is None else d_gaps + more
            d_weights = pair_sums(d_margins, gaps)
            if self.simplex:  # but for a number for each user, which softmax takes no notice of
                d_weights = _softmax_pullback(step.weights, d_weights + d_gradient * step.slope)
            d_raw = d_raw + d_weights
        d_gaps = torch.zeros_like(gaps) if d_gaps is None else d_gaps
        return d_raw.sum(0), d_gaps, {"step_size": d_step_size} if self.learn_step_size else {}


class _Step(NamedTuple):
    """What one inner step saw, (users, bases); and the chance of the other choice and the pull of each pair.

    On the simplex, `slope` is less its mean under the weights. Under Adam, `size` is what the mean gradient is divided
    by, and `state` the one after the step.
    """

    weights: Tensor
    chance: Tensor
    pull: Tensor
    slope: Tensor
    gradient: Tensor
    direction: Tensor
    size: Tensor
    state: AdamState | None


def _softmax_pullback(weights: Tensor, given: Tensor) -> Tensor:
    """Gradient with respect to logits from the one with respect to their softmax."""
    return weights * (given - _summed(weights * given))


def _summed(values: Tensor) -> Tensor:
    """Sums over the last axis, which stays, of length 1."""
    return values.sum(-1, keepdim=True)
