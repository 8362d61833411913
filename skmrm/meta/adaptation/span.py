"""Every user by themselves, in the span of their own pairs' gaps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from skmrm.meta.adaptation.map import MapAdaptation
from skmrm.meta.adaptation.rule import InnerRule, RuleParameters
from skmrm.meta.objectives import beyond
from skmrm.meta.tensors.factors import eigh

__all__ = ["DEFAULT_USER_RIDGE", "Span", "SpanAdaptation"]


DEFAULT_USER_RIDGE = 30.0  # where no user can be judged


@dataclass(frozen=True)
class SpanAdaptation(InnerRule):
    """Penalised maximum likelihood around the start in feature space; systems of n_pairs or d unknowns, if fewer.

    No gradient flows through it, and it computes no (d, d) covariance.

    Parameters
    ----------
    ridge : float > 0
        L2 penalty on the sum of a user's losses, in nats.
    """

    ridge: float = DEFAULT_USER_RIDGE

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Nothing is learnt."""
        return {}

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are unconstrained."""
        return start

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """Penalised weights; see :class:`skmrm.meta.adaptation.Adaptation`."""
        return Span(start, gaps, mask, threshold).weights(self.ridge)

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor | None:
        """Not computed: it would be (d, d) for each user."""
        return None


@dataclass
class Span:
    """Gaps of some users (users, pairs, d) in coordinates of their span, ready for any ridge."""

    start: Tensor
    gaps: Tensor
    mask: Tensor
    threshold: Tensor | None = None
    reduced: Tensor = field(init=False)
    lift: Tensor | None = field(init=False, default=None)

    @torch.no_grad()
    def __post_init__(self) -> None:
        self.gaps = self.gaps * self.mask.unsqueeze(-1).bool()
        self.reduced = self.gaps
        n_pairs, n_features = self.gaps.shape[1:]
        if n_pairs < n_features:
            self.reduced, self.lift = _span_of(self.gaps)

    @torch.no_grad()
    def weights(self, ridge: float) -> Tensor:
        """Weights (users, d) at a ridge.

        The start's margins, beyond the thresholds, are one more coordinate, of weight 1 and without freedom to move.
        """
        n_free = self.reduced.shape[-1]
        start = self.reduced.new_zeros(n_free + 1)
        start[-1] = 1.0
        scale = torch.full_like(start, ridge**-0.5)
        scale[-1] = 0.0
        gaps = torch.cat([self.reduced, beyond(self.gaps @ self.start, self.threshold).unsqueeze(-1)], -1)
        moved = MapAdaptation().adapt(start, gaps, self.mask, {"prior_scale": scale})[:, :n_free]
        if self.lift is not None:
            moved = torch.einsum("upm,up->um", self.gaps, torch.einsum("upk,uk->up", self.lift, moved))
        return self.start + moved


def _span_of(gaps: Tensor) -> tuple[Tensor, Tensor]:
    """U S^(1/2) and U S^(-1/2) of each user's Gram matrix, (users, pairs, pairs); directions of no length are zero."""
    gram = (gaps @ gaps.transpose(-1, -2)).double()
    values, vectors = eigh(gram)
    floor = gram.shape[-1] * torch.finfo(gaps.dtype).eps * values.amax(-1, keepdim=True) if values.numel() else values
    present = values > floor
    root = torch.where(present, values, 1.0).sqrt()
    length, inverse = torch.where(present, root, 0.0), torch.where(present, 1 / root, 0.0)
    return (vectors * length.unsqueeze(-2)).to(gaps.dtype), (vectors * inverse.unsqueeze(-2)).to(gaps.dtype)
