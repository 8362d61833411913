r"""The inner loop: from a user's support pairs to the user's weights, all users of a batch at once.

Two rules behind one interface (:class:`Adaptation`), both differentiable with respect to the gaps, the start and the
rule's own meta-learnt parameters:

- :class:`GradientAdaptation`: :math:`w \leftarrow w - \alpha \nabla L_u(w)`, T steps from :math:`w_0` (MAML; the
  paper's rule);
- :class:`MapAdaptation`:
  :math:`\arg\min_w \sum_p -\log \sigma(w \cdot g_p) + \tfrac12 (w - w_0)^\top \Lambda (w - w_0)`, the mode of the
  posterior under a Gaussian prior :math:`N(w_0, \Lambda^{-1})`.

The same code runs in ``fit`` and in ``adapt``. It knows tensors only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .objectives import normalised, pair_margins, pair_sums
from .posterior import PosteriorHessian, safe_sqrt

__all__ = ["Adaptation", "GradientAdaptation", "MapAdaptation", "Pullback", "RuleParameters", "with_pullback"]

RuleParameters = dict[str, Tensor]
# From the gradient with respect to the users' weights to those with respect to start, gaps and the rule's parameters.
Pullback = Callable[[Tensor], tuple[Tensor, Tensor, RuleParameters]]

BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's
_LINE_SEARCH_STEPS = (1.0, 0.5, 0.25, 0.0625, 0.00390625)


@runtime_checkable
class Adaptation(Protocol):
    """What the outer loop and the estimator need of an inner rule. Implement it to plug in another one."""

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Meta-learnt parameters of the rule at the start of training, with the dtype and device of `like`."""

    def constrain(self, start: Tensor) -> Tensor:
        """Weights of a user without pairs, (n_bases,), from the meta-learnt start."""

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """Weights (users, bases) from gaps (users, pairs, bases) and pair weights (users, pairs); differentiable."""

    def covariance(
        self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> Tensor | None:
        """Posterior covariance (users, bases, bases) at the weights that `adapt` returned, or None without one."""


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


@dataclass(frozen=True)
class MapAdaptation:
    r"""Mode of the posterior over the user's weights under a Gaussian prior, by Newton steps on K x K systems.

    With :math:`w = w_0 + S a`, :math:`S = \mathrm{diag}(s)` the prior standard deviations
    (so :math:`\Lambda = S^{-2}`), it minimises

    .. math::
        n^{-\kappa} \sum_p m_p \, \mathrm{softplus}(-w \cdot g_p) + \tfrac12 \lVert a \rVert^2, \qquad n = \sum_p m_p .

    In these coordinates the Hessian is at least the identity: it is well conditioned in float32 for separable pairs,
    one pair, or more bases than pairs, and :math:`s = 0` is exactly "no adaptation". The scale of a diagonal prior is
    no restriction when the base functions are learnt: a linear change of base functions turns any Gaussian into it.

    The gradient through the loop is that of the implicit function: one further Newton step, with its Hessian held
    constant, has the value of the mode and its exact first derivative.

    Parameters
    ----------
    prior_scale : float >= 0
        Prior standard deviation of each weight at the start of meta-training.
    tempering : float in [0, 1]
        :math:`\kappa`: how much the likelihood is discounted as a user's pairs, which are never truly independent, add
        up. 0 is the exact posterior; 0.5 counts n pairs as :math:`\sqrt n`.
    max_steps : int > 0
        Newton steps at most.
    tolerance : float > 0, optional
        Stop when no coordinate moved by more; the default is the square root of the machine's precision for the dtype,
        which one more (quadratically convergent) step turns into full precision.
    """

    prior_scale: float = 1.0
    tempering: float = 0.0
    max_steps: int = 50
    tolerance: float | None = None

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Prior standard deviations, one per base function; the sign is immaterial."""
        return {"prior_scale": torch.full((n_bases,), self.prior_scale, dtype=like.dtype, device=like.device)}

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are unconstrained."""
        return start

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """Posterior mode; see :class:`Adaptation`."""
        return start + params["prior_scale"] * self._solve(start, gaps, mask, params).mode

    def with_pullback(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> tuple[Tensor, Pullback]:
        """As `adapt`, and how a gradient passes back through the mode: the implicit function's derivative by hand."""
        scale, found = params["prior_scale"], self._solve(start, gaps, mask, params)

        def pull_back(given: Tensor) -> tuple[Tensor, Tensor, RuleParameters]:
            adjoint = found.hessian.solve(scale * given)
            chance = torch.sigmoid(-found.margins)
            pull = chance * found.weight
            bend = pair_margins(adjoint, found.scaled) * pull * (1 - chance)
            before = start + scale * found.before
            d_gaps = pull.unsqueeze(-1) * (scale * adjoint).unsqueeze(1) - bend.unsqueeze(-1) * before.unsqueeze(1)
            level = pair_sums(bend, gaps)
            d_scale = given * found.mode + adjoint * pair_sums(pull, gaps) - found.before * level
            return (given - level).sum(0), d_gaps, {"prior_scale": d_scale.sum(0)}

        return start + scale * found.mode, pull_back

    def covariance(self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        r"""Inverse Hessian of the objective at the weights: :math:`S (I + S G^\top D G S)^{-1} S`."""
        scale = params["prior_scale"]
        margins = pair_margins(weights, gaps)
        inverse = PosteriorHessian(margins, gaps * scale, self._tempered(mask)).inverse()
        return scale.unsqueeze(-1) * inverse * scale

    def _solve(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> _Mode:
        """Newton's method without gradients, and one more step with them, its Hessian held constant."""
        weight = self._tempered(mask)
        scaled, offset = gaps * params["prior_scale"], pair_margins(start.expand(gaps.shape[0], -1), gaps)
        with torch.no_grad():
            before = self._newton(scaled, offset, weight)
        margins = offset + pair_margins(before, scaled)
        hessian = PosteriorHessian(margins.detach(), scaled.detach(), weight)
        mode = before - hessian.solve(_posterior_gradient(before, margins, scaled, weight))
        return _Mode(mode, before, margins, scaled, weight, hessian)

    def _tempered(self, mask: Tensor) -> Tensor:
        if self.tempering == 0:
            return mask
        n_pairs = mask.sum(-1, keepdim=True).clamp_min(torch.finfo(mask.dtype).tiny)
        return mask * torch.where(n_pairs > 1, n_pairs, 1.0) ** -self.tempering

    def _newton(self, scaled: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        """Newton's method; where a whole step is no good for somebody, each takes the best of a few.

        Most users are done before the last: once half are, the others go on alone.
        """
        tolerance = self.tolerance or torch.finfo(scaled.dtype).eps ** 0.5
        shorter = scaled.new_tensor(_LINE_SEARCH_STEPS)[:, None, None]

        def objective(mode: Tensor, margins: Tensor) -> Tensor:
            return (softplus(-margins) * weight).sum(-1) + 0.5 * (mode**2).sum(-1)

        mode = scaled.new_zeros(scaled.shape[0], scaled.shape[-1])
        found, users = mode.clone(), torch.arange(len(mode), device=mode.device)
        margins, value = offset, objective(mode, offset)
        for _ in range(self.max_steps):
            gradient = _posterior_gradient(mode, margins, scaled, weight)
            moved = -PosteriorHessian(margins, scaled, weight).solve(gradient)
            added = pair_margins(moved, scaled)
            reached = objective(mode + moved, margins + added)
            if bool((reached > value + 1e-4 * (gradient * moved).sum(-1)).any()):
                values = objective(mode + shorter * moved, margins + shorter * added)
                reached, best = values.min(0)
                moved, added = (shorter[best].squeeze(-1) * x for x in (moved, added))
            mode, margins, value = mode + moved, margins + added, reached
            unfinished = (moved.abs() > tolerance * (1 + mode.abs())).any(-1)
            n_unfinished = int(unfinished.sum())
            if 2 * n_unfinished > len(mode):
                continue
            found[users] = mode
            if n_unfinished == 0:
                return found
            users, mode, margins, value, scaled, weight = (
                x[unfinished] for x in (users, mode, margins, value, scaled, weight)
            )
        found[users] = mode
        return found


class _Mode(NamedTuple):
    """A mode in units of the prior's scale, the same before the last step, and what that step was made of."""

    mode: Tensor
    before: Tensor
    margins: Tensor
    scaled: Tensor
    weight: Tensor
    hessian: PosteriorHessian


def _posterior_gradient(mode: Tensor, margins: Tensor, scaled: Tensor, weight: Tensor) -> Tensor:
    return mode - pair_sums(torch.sigmoid(-margins) * weight, scaled)


BY_HAND: tuple[type, ...] = (GradientAdaptation, MapAdaptation)  # and no classes derived from them


def with_pullback(
    rule: Adaptation, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
) -> tuple[Tensor, Pullback]:
    """Weights as `rule.adapt` gives them, and how a gradient passes back through it.

    By hand where the rule knows how (a method of this name), because autograd's overhead is most of the time in small
    batches; by autograd for all others.
    """
    if type(rule) in BY_HAND:
        return rule.with_pullback(start, gaps, mask, params)  # type: ignore[attr-defined]
    with torch.enable_grad():
        leaves = [value.detach().clone().requires_grad_() for value in (start, gaps, *params.values())]
        weights = rule.adapt(leaves[0], leaves[1], mask, dict(zip(params, leaves[2:], strict=True)))

    def pull_back(given: Tensor) -> tuple[Tensor, Tensor, RuleParameters]:
        found = [torch.zeros_like(leaf) for leaf in leaves]
        if weights.requires_grad:
            known = torch.autograd.grad(weights, leaves, given, allow_unused=True)
            found = [zero if value is None else value for value, zero in zip(known, found, strict=True)]
        return found[0], found[1], dict(zip(params, found[2:], strict=True))

    return weights.detach(), pull_back
