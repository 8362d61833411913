"""The interface of an inner rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Adaptation", "Pullback", "RuleParameters"]

RuleParameters = dict[str, Tensor]
# From the gradient with respect to the users' weights to those with respect to start, gaps and the rule's parameters.
Pullback = Callable[[Tensor], tuple[Tensor, Tensor, RuleParameters]]


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
