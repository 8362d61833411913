r"""Inner rule under several priors at once: the mean of the users' weights over all of them, in fixed shares.

Prior m is a mixture of Gaussians, kinds c of users of shares :math:`\pi_c` whose weights are

.. math:: w = w_0 + \alpha_c + L_c a, \qquad a \sim N(0, I) .

The mode :math:`\hat a_c` of each kind's posterior is found as by :class:`skmrm.meta.adaptation.MapAdaptation`, and its
evidence by Laplace's approximation,

.. math::
    \log e_c = \log \pi_c - J_c(\hat a_c) - \tfrac12 \log \det (I + L_c^\top G^\top D G L_c), \qquad
    w_u = \sum_m \omega_m \sum_{c \in m} \frac{e_c}{\sum_{c' \in m} e_{c'}} \, \hat w_c ,

in which :math:`J_c` is the objective that :math:`\hat a_c` minimises. A few choices tell which kind a user is of, where
the weights under one Gaussian would have to be moved all the way. How far to believe each prior, :math:`\omega_m`, no
choices of one user tell: it is the same for all users (:mod:`skmrm.meta.prior.stacking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation.map import MapAdaptation
from skmrm.meta.adaptation.posterior import PosteriorHessian, pull_and_curvature
from skmrm.meta.adaptation.rule import InnerRule, RuleParameters
from skmrm.meta.objectives import beyond, pair_margins

__all__ = ["MixtureAdaptation", "MixturePrior"]


class MixturePrior(NamedTuple):
    """Priors of the weights, all their kinds in a row.

    Attributes
    ----------
    factors : Tensor of shape (n_components, n_bases, rank)
        L of each kind.
    centres : Tensor of shape (n_components, n_bases)
        What it adds to the start.
    log_shares : Tensor of shape (n_components,)
        Of users of its prior.
    prior : int Tensor of shape (n_components,)
        Which prior it is of.
    weights : Tensor of shape (n_priors,)
        How far each prior is believed; they sum to one.
    """

    factors: Tensor
    centres: Tensor
    log_shares: Tensor
    prior: Tensor
    weights: Tensor

    @classmethod
    def of(cls, params: RuleParameters) -> MixturePrior:
        """From the rule's parameters; one prior, whose kinds spread alike along each base function, unless they say."""
        n_components = len(params["logits"])
        prior = params.get("priors", torch.zeros(n_components, dtype=torch.long, device=params["logits"].device))
        weights = torch.softmax(params["weights"], 0) if "weights" in params else params["logits"].new_ones(1)
        log_shares = _within(prior, len(weights), params["logits"].unsqueeze(1)).squeeze(1)
        parts = log_shares.exp().unsqueeze(1) * params["centres"]
        means = parts.new_zeros(len(weights), parts.shape[1]).index_add(0, prior, parts)
        shift = params["means"] - means if "means" in params else -means
        factors = params["factors"] if "factors" in params else torch.diag(params["prior_scale"]).unsqueeze(0)
        return cls(factors, params["centres"] + shift[prior], log_shares, prior, weights)

    def chances(self, evidence: Tensor) -> Tensor:
        """Each kind's chance within its prior (n_components, users), from the logarithm of its evidence."""
        return _within(self.prior, len(self.weights), evidence).exp()


def _within(prior: Tensor, n_priors: int, logs: Tensor) -> Tensor:
    """Logarithms (n_components, any) less that of their sum over the components of each one's prior."""
    of_prior = prior == torch.arange(n_priors, device=prior.device).unsqueeze(1)
    own = torch.where(of_prior.unsqueeze(-1), logs, -torch.inf)
    return logs - torch.logsumexp(own, 1)[prior]


class _Kinds(NamedTuple):
    """Each kind's posterior of each user: modes (kinds, users, bases), chances (kinds, users), and Hessians."""

    modes: Tensor
    chances: Tensor
    hessians: PosteriorHessian


@dataclass(frozen=True)
class MixtureAdaptation(InnerRule):
    """Mean of the weights under one Gaussian mixture or several, one MAP for each kind of user.

    The rule's meta-learnt parameters are ``centres`` (n_components, n_bases), what the kinds' centres add to the start,
    less their mean over the kinds of a prior, so that a user without choices has the starting weights; ``logits``
    (n_components,) of the kinds' shares; ``factors`` (n_components, n_bases, rank), L, or, where it is the same
    diagonal for all, ``prior_scale`` (n_bases,); and, of several priors, ``priors`` (n_components,), which one a kind
    is of, ``weights`` (n_priors,), logits of how far each is believed, and ``means`` (n_priors, n_bases), what the mean
    of each adds to the start for whoever has made choices.

    Parameters
    ----------
    prior_scale, max_steps, tolerance
        As of :class:`skmrm.meta.adaptation.MapAdaptation`.
    n_components : int > 0
        Number of kinds, of all priors together.
    """

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

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """Posterior mean; see :class:`skmrm.meta.adaptation.Adaptation`."""
        prior = MixturePrior.of(params)
        mean = torch.einsum("m,muk->uk", prior.weights, self._means(start, gaps, mask, prior, threshold))
        return torch.where(mask.sum(-1, keepdim=True) > 0, mean, start)

    def adapt_each(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """Posterior means under each prior by itself, (n_priors, users, bases)."""
        return self._means(start, gaps, mask, MixturePrior.of(params), threshold)

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor:
        """Covariance within the kinds, and between them as far as the user's kind, or the prior, is in doubt."""
        prior = MixturePrior.of(params)
        kinds = self._kinds(start, gaps, mask, prior, threshold)
        chances = prior.weights[prior.prior].unsqueeze(1) * kinds.chances
        inverse = kinds.hessians.inverse().unflatten(0, chances.shape)
        factors = prior.factors.unsqueeze(1)
        apart = kinds.modes - weights
        each = factors @ inverse @ factors.mT + apart.unsqueeze(-1) * apart.unsqueeze(-2)
        return torch.einsum("cu,cukl->ukl", chances, each)

    def _means(
        self, start: Tensor, gaps: Tensor, mask: Tensor, prior: MixturePrior, threshold: Tensor | None
    ) -> Tensor:
        kinds = self._kinds(start, gaps, mask, prior, threshold)
        total = kinds.modes.new_zeros(len(prior.weights), *kinds.modes.shape[1:])
        return total.index_add(0, prior.prior, kinds.chances.unsqueeze(-1) * kinds.modes)

    def _kinds(
        self, start: Tensor, gaps: Tensor, mask: Tensor, prior: MixturePrior, threshold: Tensor | None
    ) -> _Kinds:
        """All kinds' modes of all users at once."""
        shape = (len(prior.centres), len(gaps))
        starts = start + prior.centres
        scaled = (gaps @ prior.factors.unsqueeze(1)).expand(*shape, -1, -1).flatten(0, 1)
        offset = beyond(torch.einsum("upk,ck->cup", gaps, starts), threshold).flatten(0, 1)
        mask = mask.repeat(len(prior.centres), 1)
        modes = self._of_a_kind.standard_mode(scaled, offset, mask)
        margins = offset + pair_margins(modes, scaled)
        hessians = PosteriorHessian(pull_and_curvature(margins, mask)[1], scaled)
        objective = (softplus(-margins) * mask).sum(-1) + 0.5 * (modes**2).sum(-1)
        evidence = (-objective - hessians.half_log_det()).unflatten(0, shape) + prior.log_shares.unsqueeze(1)
        weights = starts.unsqueeze(1) + modes.unflatten(0, shape) @ prior.factors.mT
        return _Kinds(weights, prior.chances(evidence), hessians)
