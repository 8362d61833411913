"""How a gradient passes back through an inner rule: by autograd, for rules that do not know it by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Pullback", "RuleParameters", "pullback_by_autograd"]

RuleParameters = dict[str, Tensor]
# From the gradient with respect to the users' weights to those with respect to start, gaps and the rule's parameters.
Pullback = Callable[[Tensor], tuple[Tensor, Tensor, RuleParameters]]


def pullback_by_autograd(
    adapt: Callable[[Tensor, Tensor, Tensor, RuleParameters, Tensor | None], Tensor],
    start: Tensor,
    gaps: Tensor,
    mask: Tensor,
    params: RuleParameters,
    threshold: Tensor | None = None,
) -> tuple[Tensor, Pullback]:
    """Weights as `adapt` gives them, and how a gradient passes back through it; zero where it does not depend.

    Parameters that are no floating point numbers, such as indices, have no gradient.
    """
    learnt = [name for name, value in params.items() if value.is_floating_point()]
    with torch.enable_grad():
        given = (start, gaps, *(params[name] for name in learnt))
        leaves = [value.detach().clone().requires_grad_() for value in given]
        weights = adapt(leaves[0], leaves[1], mask, params | dict(zip(learnt, leaves[2:], strict=True)), threshold)

    def pull_back(given: Tensor) -> tuple[Tensor, Tensor, RuleParameters]:
        found = [torch.zeros_like(leaf) for leaf in leaves]
        if weights.requires_grad:
            known = torch.autograd.grad(weights, leaves, given, allow_unused=True)
            found = [zero if value is None else value for value, zero in zip(known, found, strict=True)]
        return found[0], found[1], dict(zip(learnt, found[2:], strict=True))

    return weights.detach(), pull_back
