"""The mode of the posterior under a Gaussian prior, by Newton's method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .objectives import pair_margins, pair_sums
from .posterior import PosteriorHessian
from .rule import Pullback, RuleParameters

__all__ = ["MapAdaptation"]

_LINE_SEARCH_STEPS = (1.0, 0.5, 0.25, 0.0625, 0.00390625)


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
