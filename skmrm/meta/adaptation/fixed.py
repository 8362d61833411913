"""No adaptation: every user keeps the start."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skmrm.meta.adaptation.rule import InnerRule, RuleParameters

__all__ = ["FixedAdaptation"]


@dataclass(frozen=True)
class FixedAdaptation(InnerRule):
    """No adaptation: every user keeps the start, whatever the pairs."""

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Nothing is learnt."""
        return {}

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are the start."""
        return start

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """The start for each user; see :class:`skmrm.meta.adaptation.Adaptation`."""
        return start.expand(gaps.shape[0], -1)

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor | None:
        """A reward that ignores its user knows nothing of how sure it is of one."""
        return None
