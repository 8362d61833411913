"""The interface of an inner rule: four methods that it needs, and what it may say of itself besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, cast, runtime_checkable

from torch import Tensor

from skmrm.meta.adaptation.pullback import Pullback, RuleParameters, pullback_by_autograd

__all__ = ["Adaptation", "InnerRule", "Pullback", "RuleParameters", "inner_rule", "with_pullback"]


@runtime_checkable
class Adaptation(Protocol):
    """What an inner rule needs. Implement it to plug in another one; inherit from :class:`InnerRule` to say more."""

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Meta-learnt parameters of the rule at the start of training, with the dtype and device of `like`."""

    def constrain(self, start: Tensor) -> Tensor:
        """Weights of a user without pairs, (n_bases,), from the meta-learnt start."""

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """Weights (users, bases) from gaps (users, pairs, bases) and pair weights (users, pairs); differentiable.

        Thresholds (users, pairs) are what margins are held against, where some choices were ties or had a strength; a
        rule that does not take them serves plain choices.
        """

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor | None:
        """Posterior covariance (users, bases, bases) at the weights that `adapt` returned, or None without one."""


class InnerRule(Adaptation):
    """An inner rule with all that the fit asks of one; what is not overridden is the default.

    Attributes
    ----------
    strength : str or None
        The parameter that says how far users may move, (n_bases,), 0 for not at all; None where there is none.
    strengths : tuple of float
        Candidates for it, as multiples of the prior's standard deviations, for a fit that is to choose.
    is_gaussian : bool
        Whether the rule is the posterior under a Gaussian prior, which a mixture of them may replace.
    by_hand : bool
        Whether `with_pullback` and all it calls do without autograd.
    """

    strength: ClassVar[str | None] = None
    strengths: ClassVar[tuple[float, ...]] = ()
    is_gaussian: ClassVar[bool] = False
    by_hand: ClassVar[bool] = False

    @property
    def is_constrained(self) -> bool:
        """Whether weights are constrained, so that a fit must start at random."""
        return False

    @property
    def gap_copies(self) -> int:
        """How many times `adapt` holds the gaps that it is given: what bounds the size of a batch."""
        return 1

    @property
    def given(self) -> Adaptation:
        """The rule as the user gave it."""
        return self

    def random_start(self, n_bases: int, like: Tensor) -> Tensor:
        """The start (n_bases,) of a fit from random base functions: the same weight on each."""
        return like.new_full((n_bases,), 1.0 / n_bases)

    def with_pullback(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> tuple[Tensor, Pullback]:
        """As `adapt`, and how a gradient passes back through it."""
        return pullback_by_autograd(self.adapt, start, gaps, mask, params, threshold)


@dataclass(frozen=True)
class _PluggedIn(InnerRule):
    """A user's rule of four methods; its own `with_pullback` is used if it has one."""

    rule: Adaptation

    @property
    def given(self) -> Adaptation:
        return self.rule

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        return self.rule.init(n_bases, like)

    def constrain(self, start: Tensor) -> Tensor:
        return self.rule.constrain(start)

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        return self.rule.adapt(start, gaps, mask, params, *_if_any(threshold))

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor | None:
        return self.rule.covariance(weights, start, gaps, mask, params, *_if_any(threshold))

    def with_pullback(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> tuple[Tensor, Pullback]:
        own = getattr(self.rule, "with_pullback", None)
        if own is None:
            return super().with_pullback(start, gaps, mask, params, threshold)
        return cast("tuple[Tensor, Pullback]", own(start, gaps, mask, params, *_if_any(threshold)))


def _if_any(threshold: Tensor | None) -> tuple[Tensor, ...]:
    """Further arguments for a rule that may not know of thresholds."""
    return () if threshold is None else (threshold,)


def inner_rule(rule: Adaptation) -> InnerRule:
    """The rule with all members of :class:`InnerRule`: itself, or with the defaults around it."""
    return rule if isinstance(rule, InnerRule) else _PluggedIn(rule)


def with_pullback(
    rule: Adaptation,
    start: Tensor,
    gaps: Tensor,
    mask: Tensor,
    params: RuleParameters,
    threshold: Tensor | None = None,
) -> tuple[Tensor, Pullback]:
    """Weights as `rule.adapt` gives them, and how a gradient passes back through it.

    By hand where the rule knows how (a method of this name), because autograd's overhead is most of the time in small
    batches; by autograd for all others.
    """
    return inner_rule(rule).with_pullback(start, gaps, mask, params, threshold)
