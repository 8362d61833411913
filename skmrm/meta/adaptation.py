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

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .objectives import normalised, pair_margins

__all__ = ["Adaptation", "GradientAdaptation", "MapAdaptation", "PosteriorHessian", "RuleParameters"]

RuleParameters = dict[str, Tensor]

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
        step_size = params["step_size"] if self.learn_step_size else self.step_size
        share = normalised(mask)
        raw = start.expand(gaps.shape[0], -1)
        first, second = torch.zeros_like(raw), torch.zeros_like(raw)
        for step in range(1, self.steps + 1):
            gradient = self._gradient(raw, gaps, share)
            if self.first_order:
                gradient = gradient.detach()
            if self.optimizer == "adam":
                gradient, first, second = _adam_direction(gradient, first, second, step)
            raw = raw - step_size * gradient
        return self.constrain(raw)

    def covariance(
        self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> Tensor | None:
        """No posterior is defined by stopping early."""
        return None

    def _gradient(self, raw: Tensor, gaps: Tensor, share: Tensor) -> Tensor:
        """Gradient of the mean loss, by hand: d softplus(-x) = -sigmoid(-x), and the softmax's Jacobian."""
        weights = self.constrain(raw)
        pull = torch.sigmoid(-pair_margins(weights, gaps)) * share
        gradient = -torch.einsum("up,upk->uk", pull, gaps)
        if self.simplex:
            gradient = weights * (gradient - (weights * gradient).sum(-1, keepdim=True))
        return gradient


def _adam_direction(
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Tensor, Tensor, Tensor]:
    """Adam's direction (Kingma and Ba 2015) as a pure function of its state.

    A user without pairs has a gradient of exactly zero.
    """
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient**2
    root = _safe_sqrt(second / (1 - betas[1] ** step))
    return (first / (1 - betas[0] ** step)) / (root + eps), first, second


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
        scale = params["prior_scale"]
        weight = self._tempered(mask)
        scaled, offset = gaps * scale, pair_margins(start.expand(gaps.shape[0], -1), gaps)
        with torch.no_grad():
            mode = self._newton(scaled, offset, weight)
        margins = offset + pair_margins(mode, scaled)
        hessian = PosteriorHessian(margins.detach(), scaled.detach(), weight)
        mode = mode - hessian.solve(_posterior_gradient(mode, margins, scaled, weight))
        return start + scale * mode

    def covariance(self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        r"""Inverse Hessian of the objective at the weights: :math:`S (I + S G^\top D G S)^{-1} S`."""
        scale = params["prior_scale"]
        margins = pair_margins(weights, gaps)
        inverse = PosteriorHessian(margins, gaps * scale, self._tempered(mask)).inverse()
        return scale.unsqueeze(-1) * inverse * scale

    def _tempered(self, mask: Tensor) -> Tensor:
        if self.tempering == 0:
            return mask
        n_pairs = mask.sum(-1, keepdim=True).clamp_min(torch.finfo(mask.dtype).tiny)
        return mask * torch.where(n_pairs > 1, n_pairs, 1.0) ** -self.tempering

    def _newton(self, scaled: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        """Newton with a line search that tries a few steps at once and keeps, for each user, the best."""
        mode = scaled.new_zeros(scaled.shape[0], scaled.shape[-1])
        tolerance = self.tolerance or torch.finfo(scaled.dtype).eps ** 0.5
        steps = scaled.new_tensor(_LINE_SEARCH_STEPS)
        for _ in range(self.max_steps):
            margins = offset + pair_margins(mode, scaled)
            gradient = _posterior_gradient(mode, margins, scaled, weight)
            direction = -PosteriorHessian(margins, scaled, weight).solve(gradient)
            candidates = mode + steps[:, None, None] * direction
            reached = margins + steps[:, None, None] * pair_margins(direction, scaled)
            values = (softplus(-reached) * weight).sum(-1) + 0.5 * (candidates**2).sum(-1)
            best = values.argmin(0)
            moved = steps[best].unsqueeze(-1) * direction
            mode = mode + moved
            if not bool((moved.abs() > tolerance * (1 + mode.abs())).any()):
                break
        return mode


def _posterior_gradient(mode: Tensor, margins: Tensor, scaled: Tensor, weight: Tensor) -> Tensor:
    return mode - torch.einsum("up,upk->uk", torch.sigmoid(-margins) * weight, scaled)


class PosteriorHessian:
    r"""The Hessian :math:`I + R^\top R`, :math:`R = D^{1/2} G S`, of every user of a batch.

    Whatever is asked of it is computed in the smaller of two spaces: that of the K weights, or that of the user's
    pairs, where :math:`(I + R^\top R)^{-1} = I - R^\top (I + R R^\top)^{-1} R` and
    :math:`\det (I + R^\top R) = \det (I + R R^\top)`.

    Parameters
    ----------
    margins : Tensor of shape (users, pairs)
        At which D is taken.
    scaled : Tensor of shape (users, pairs, bases)
        G S, gaps times prior standard deviations.
    weight : Tensor of shape (users, pairs)
        Weight of each pair in the likelihood.
    """

    def __init__(self, margins: Tensor, scaled: Tensor, weight: Tensor) -> None:
        chance = torch.sigmoid(margins)
        self._root = _safe_sqrt(chance * (1 - chance) * weight).unsqueeze(-1) * scaled
        self._by_pairs = scaled.shape[-2] < scaled.shape[-1]
        inner = self._root @ self._root.mT if self._by_pairs else self._root.mT @ self._root
        self._factor = torch.linalg.cholesky(_plus_identity(inner))

    def solve(self, vectors: Tensor) -> Tensor:
        """Solve for vectors (users, bases)."""
        columns = vectors.unsqueeze(-1)
        if not self._by_pairs:
            return torch.cholesky_solve(columns, self._factor).squeeze(-1)
        return vectors - (self._root.mT @ torch.cholesky_solve(self._root @ columns, self._factor)).squeeze(-1)

    def half_log_det(self) -> Tensor:
        """Half the logarithm of the determinant, (users,)."""
        return self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def inverse(self) -> Tensor:
        """Inverse, (users, bases, bases)."""
        if not self._by_pairs:
            return torch.cholesky_inverse(self._factor)
        half = torch.linalg.solve_triangular(self._factor, self._root, upper=False)
        return _plus_identity(-half.mT @ half)


def _plus_identity(matrix: Tensor) -> Tensor:
    return matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _safe_sqrt(values: Tensor) -> Tensor:
    """Square root whose derivative at zero, where a pair is padding, is zero instead of infinite."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)
