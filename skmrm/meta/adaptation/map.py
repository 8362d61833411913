"""The mode of the posterior under a Gaussian prior, by Newton's method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation.posterior import PosteriorHessian, pull_and_curvature
from skmrm.meta.adaptation.rule import InnerRule, Pullback, RuleParameters
from skmrm.meta.objectives import beyond, pair_margins, pair_sums

__all__ = ["MapAdaptation"]

# The curvature of a logistic loss changes by a factor of e^m at most while no margin moves by more than m logits. So a
# Newton step that moves none by more than one lowers the objective, and so does log(1 + m) / m of any Newton step
# (generalised self-concordance; Sun and Tran-Dinh, 2019).
_SURE_MOVE = 1.0
_ESTIMATED = (0.25, 2.0)  # lengths of a step that an estimate is trusted with
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)  # lengths from a whole step to one that is sure to lower the objective


@dataclass(frozen=True)
class MapAdaptation(InnerRule):
    r"""Mode of the posterior over the user's weights under a Gaussian prior, by Newton steps on K x K systems.

    With :math:`w = w_0 + S a`, :math:`S = \mathrm{diag}(s)` the prior standard deviations
    (so :math:`\Lambda = S^{-2}`), it minimises

    .. math::
        \sum_p m_p \, \mathrm{softplus}(T_p - w \cdot g_p) + \tfrac12 \lVert a \rVert^2 .

    In these coordinates the Hessian is at least the identity: it is well conditioned in float32 for separable pairs,
    one pair, or more bases than pairs, and :math:`s = 0` is exactly "no adaptation". The scale of a diagonal prior is
    no restriction when the base functions are learnt: a linear change of base functions turns any Gaussian into it.

    The gradient through the loop is that of the implicit function: one further Newton step, with its Hessian held
    constant, has the value of the mode and its exact first derivative.

    Parameters
    ----------
    prior_scale : float >= 0
        Prior standard deviation of each weight at the start of meta-training.
    max_steps : int > 0
        Newton steps at most. A handful do, but where gaps are thousands of logits, as of features far from those of
        fit: there the loss has corners, and hundreds may be needed.
    tolerance : float > 0, optional
        Logits. After a step that moved no margin by more, one more is the last. A step that moves margins by
        :math:`\epsilon` leaves an error of order :math:`\epsilon^2`, however large the gaps are; so the default, the
        fourth root of the machine's precision for the dtype, gives full precision.
    """

    strength: ClassVar[str | None] = "prior_scale"
    strengths: ClassVar[tuple[float, ...]] = (0.5, 1.0, 2.0, 4.0)
    is_gaussian: ClassVar[bool] = True
    by_hand: ClassVar[bool] = True

    prior_scale: float = 1.0
    max_steps: int = 1000
    tolerance: float | None = None

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Prior standard deviations, one per base function; the sign is immaterial."""
        return {"prior_scale": torch.full((n_bases,), self.prior_scale, dtype=like.dtype, device=like.device)}

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are unconstrained."""
        return start

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """Posterior mode; see :class:`Adaptation`."""
        return start + params["prior_scale"] * self._solve(*_scaled(start, gaps, params, threshold), mask).mode

    def with_pullback(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> tuple[Tensor, Pullback]:
        """As `adapt`, and how a gradient passes back through the mode: the implicit function's derivative by hand."""
        scale, found = params["prior_scale"], self._solve(*_scaled(start, gaps, params, threshold), mask)

        def pull_back(given: Tensor) -> tuple[Tensor, Tensor, RuleParameters]:
            adjoint = found.hessian.solve(scale * given)
            pull = found.pull
            bend = pair_margins(adjoint, found.scaled) * found.curvature
            before = start + scale * found.before
            d_gaps = pull.unsqueeze(-1) * (scale * adjoint).unsqueeze(1) - bend.unsqueeze(-1) * before.unsqueeze(1)
            level = pair_sums(bend, gaps)
            d_scale = given * found.mode + adjoint * pair_sums(pull, gaps) - found.before * level
            return (given - level).sum(0), d_gaps, {"prior_scale": d_scale.sum(0)}

        return start + scale * found.mode, pull_back

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor:
        r"""Inverse Hessian of the objective at the weights: :math:`S (I + S G^\top D G S)^{-1} S`."""
        scale = params["prior_scale"]
        _, curvature = pull_and_curvature(beyond(pair_margins(weights, gaps), threshold), mask)
        inverse = PosteriorHessian(curvature, gaps * scale).inverse()
        return scale.unsqueeze(-1) * inverse * scale

    def standard_mode(self, scaled: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        r"""Mode (users, rank) of what is a standard Gaussian before the choices, in any coordinates.

        Parameters
        ----------
        scaled : Tensor of shape (users, pairs, rank)
            Gaps in the coordinates a, :math:`G L` where :math:`w = w_0 + L a`.
        offset : Tensor of shape (users, pairs)
            Margins at a = 0.
        mask : Tensor of shape (users, pairs)
        """
        return self._solve(scaled, offset, mask).mode

    def _solve(self, scaled: Tensor, offset: Tensor, mask: Tensor) -> _Mode:
        """Newton's method without gradients, and one more step with them, its Hessian held constant."""
        with torch.no_grad():
            before, found = self._newton(scaled, offset, mask)
        margins = offset + pair_margins(before, scaled)
        pull, curvature = pull_and_curvature(margins, mask)
        hessian = PosteriorHessian(curvature.detach(), scaled.detach())
        mode = before + hessian.solve(pair_sums(pull, scaled) - before)
        if not bool(found.all()):  # a step from far away may be one for the worse
            mode = torch.where(found.unsqueeze(-1), mode, before)
        return _Mode(mode, before, pull, curvature, scaled, hessian)

    def _newton(self, scaled: Tensor, offset: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Newton's method, and whose mode was found (users,); once half are done, the others go on alone."""
        tolerance = self.tolerance or torch.finfo(scaled.dtype).eps ** 0.25
        mode = scaled.new_zeros(scaled.shape[0], scaled.shape[-1])
        done = torch.ones(len(mode), dtype=torch.bool, device=mode.device)
        if scaled.shape[1] == 0:
            return mode, done
        found, users, margins = mode.clone(), torch.arange(len(mode), device=mode.device), offset
        for _ in range(self.max_steps):
            pull, curvature = pull_and_curvature(margins, weight)
            moved = PosteriorHessian(curvature, scaled).solve(pair_sums(pull, scaled) - mode)
            added = pair_margins(moved, scaled)
            furthest = added.abs().amax(-1)
            unsure = (furthest > _SURE_MOVE).nonzero().squeeze(-1)
            if len(unsure) > 0:
                line = (x.index_select(0, unsure) for x in (mode, moved, margins, added, weight))
                length = mode.new_ones(len(mode), 1).index_copy_(0, unsure, _step_length(*line))
                moved, added = length * moved, length * added
            mode, margins = mode + moved, margins + added
            unfinished = (furthest > tolerance).nonzero().squeeze(-1)
            if 2 * len(unfinished) > len(mode):
                continue
            found.index_copy_(0, users, mode)
            if len(unfinished) == 0:
                return found, done
            users, mode, margins, scaled, weight = (
                x.index_select(0, unfinished) for x in (users, mode, margins, scaled, weight)
            )
        return found.index_copy_(0, users, mode), done.index_fill_(0, users, False)


def _scaled(start: Tensor, gaps: Tensor, params: RuleParameters, threshold: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gaps in units of the prior's scale, and margins at the start, beyond the thresholds."""
    return gaps * params["prior_scale"], beyond(pair_margins(start.expand(gaps.shape[0], -1), gaps), threshold)


class _Mode(NamedTuple):
    """A mode in units of the prior's scale, the same before the last step, and what that step was made of."""

    mode: Tensor
    before: Tensor
    pull: Tensor
    curvature: Tensor
    scaled: Tensor
    hessian: PosteriorHessian


def _step_length(mode: Tensor, moved: Tensor, margins: Tensor, added: Tensor, weight: Tensor) -> Tensor:
    """How far to go along each user's Newton step, (users, 1): to about where the objective is lowest on that line.

    One Newton step on the line says where, from the end of the whole step. Should that be no good for somebody, each
    takes the best of a few lengths, the shortest of which is sure to lower the objective.
    """
    pull, curvature = pull_and_curvature(margins + added, weight)
    slope = ((mode + moved) * moved).sum(-1) - (pull * added).sum(-1)
    bend = (moved**2).sum(-1) + (curvature * added**2).sum(-1)
    length = (1 - slope / bend).clamp(*_ESTIMATED).unsqueeze(-1)

    def objective(length: Tensor | float) -> Tensor:
        """What is minimised, so far along the step."""
        loss = (softplus(-(margins + length * added)) * weight).sum(-1)
        return loss + 0.5 * ((mode + length * moved) ** 2).sum(-1)

    if not bool((objective(length) > objective(0.0)).any()):
        return length
    furthest = added.abs().amax(-1, keepdim=True)
    sure = torch.log1p(furthest) / furthest
    lengths = torch.cat([length.unsqueeze(0), sure ** length.new_tensor(_POWERS)[:, None, None]])
    return lengths.gather(0, objective(lengths).min(0).indices[None, :, None]).squeeze(0)
