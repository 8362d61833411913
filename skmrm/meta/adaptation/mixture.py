r"""Inner rule for users of several kinds: the posterior mean of the weights under a mixture of Gaussians.

With kinds c of shares :math:`\pi_c` and centres :math:`w_0 + \alpha_c`, the mode :math:`\hat w_c` of each kind's
posterior is found as by :class:`skmrm.meta.adaptation.MapAdaptation`, and its evidence by Laplace's approximation,

.. math::
    \log e_c = \log \pi_c - J_c(\hat w_c) - \tfrac12 \log \det (I + S G^\top D G S), \qquad
    w_u = \sum_c \frac{e_c}{\sum_{c'} e_{c'}} \, \hat w_c ,

in which :math:`J_c` is the objective that :math:`\hat w_c` minimises. A few choices tell which kind a user is of, where
the weights under one Gaussian would have to be moved all the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation.map import MapAdaptation
from skmrm.meta.adaptation.posterior import PosteriorHessian, pull_and_curvature
from skmrm.meta.adaptation.rule import InnerRule, RuleParameters
from skmrm.meta.objectives import pair_margins

__all__ = ["MixtureAdaptation"]


@dataclass(frozen=True)
class _Kinds:
    """Each kind's posterior of each user: modes (kinds, users, bases), chances (kinds, users), and Hessians."""

    modes: Tensor
    chances: Tensor
    hessians: PosteriorHessian


@dataclass(frozen=True)
class MixtureAdaptation(InnerRule):
    """Posterior mean of the weights under a Gaussian mixture, one MAP for each kind of user.

    The rule's meta-learnt parameters are ``prior_scale`` (n_bases,), the standard deviations within a kind; ``centres``
    (n_components, n_bases), what the kinds' centres add to the start; and ``logits`` (n_components,) of their shares.
    Centres count less their mean over the kinds, so that a user without choices has the starting weights.

    Parameters
    ----------
    prior_scale, max_steps, tolerance
        As of :class:`skmrm.meta.adaptation.MapAdaptation`.
    n_components : int > 0
        Number of kinds.
    """

    strength: ClassVar[str | None] = "prior_scale"

    prior_scale: float = 1.0
    max_steps: int = 1000
    tolerance: float | None = None
    n_components: int = 1

    @property
    def gap_copies(self) -> int:
        """One for each kind."""
        return self.n_components

    @property
    def _of_a_kind(self) -> MapAdaptation:
        return MapAdaptation(self.prior_scale, self.max_steps, self.tolerance)

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are unconstrained."""
        return start

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """All kinds at the start."""
        centres = like.new_zeros(self.n_components, n_bases)
        return self._of_a_kind.init(n_bases, like) | {"centres": centres, "logits": like.new_zeros(self.n_components)}

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """Posterior mean; see :class:`skmrm.meta.adaptation.Adaptation`."""
        kinds = self._kinds(start, gaps, mask, params)
        mean = torch.einsum("cu,cuk->uk", kinds.chances, kinds.modes)
        return torch.where(mask.sum(-1, keepdim=True) > 0, mean, start)

    def covariance(self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """Covariance within the kinds, and between them as far as the user's kind is in doubt."""
        kinds, scale = self._kinds(start, gaps, mask, params), params["prior_scale"]
        within = (scale.unsqueeze(-1) * kinds.hessians.inverse() * scale).unflatten(0, kinds.chances.shape)
        apart = kinds.modes - weights
        return torch.einsum("cu,cukl->ukl", kinds.chances, within + apart.unsqueeze(-1) * apart.unsqueeze(-2))

    def _kinds(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> _Kinds:
        """All kinds' modes of all users at once."""
        log_shares, scale = torch.log_softmax(params["logits"], 0), params["prior_scale"]
        centres = params["centres"] - log_shares.exp() @ params["centres"]
        n_kinds, n_users = len(centres), len(gaps)
        starts = (start + centres).repeat_interleave(n_users, 0)
        gaps, mask = gaps.repeat(n_kinds, 1, 1), mask.repeat(n_kinds, 1)
        modes = self._of_a_kind.adapt(starts, gaps, mask, params)
        margins = pair_margins(modes, gaps)
        hessians = PosteriorHessian(pull_and_curvature(margins, mask)[1], gaps * scale)
        moved = torch.where(scale != 0, (modes - starts) / torch.where(scale != 0, scale, 1.0), 0.0)
        objective = (softplus(-margins) * mask).sum(-1) + 0.5 * (moved**2).sum(-1)
        evidence = (-objective - hessians.half_log_det()).unflatten(0, (n_kinds, n_users)) + log_shares.unsqueeze(1)
        return _Kinds(modes.unflatten(0, (n_kinds, n_users)), torch.softmax(evidence, 0), hessians)
