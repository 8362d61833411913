"""How a gradient passes back through any inner rule."""

from __future__ import annotations

import torch
from torch import Tensor

from skmrm.meta.adaptation.gradient import GradientAdaptation
from skmrm.meta.adaptation.map import MapAdaptation
from skmrm.meta.adaptation.rule import Adaptation, Pullback, RuleParameters

__all__ = ["BY_HAND", "with_pullback"]

BY_HAND: tuple[type, ...] = (GradientAdaptation, MapAdaptation)  # and no classes derived from them


def with_pullback(
    rule: Adaptation, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
) -> tuple[Tensor, Pullback]:
    """Weights as `rule.adapt` gives them, and how a gradient passes back through it.

    By hand where the rule knows how (a method of this name), because autograd's overhead is most of the time in small
    batches; by autograd for all others.
    """
    if type(rule) is GradientAdaptation or type(rule) is MapAdaptation:
        return rule.with_pullback(start, gaps, mask, params)
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
