"""One reward for everybody, as a model of one base reward function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skmrm.meta.adaptation.fixed import FixedAdaptation
from skmrm.meta.fit import Fitted
from skmrm.meta.folds import Split
from skmrm.meta.pooled.choice import Kernel, find_crowd
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["crowd_fit", "crowd_parameters"]


def crowd_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    ridge: float | None,
    validation_fraction: float,
    generator: torch.Generator,
    kernel: Kernel = None,
) -> Fitted:
    """Pooled Bradley-Terry as a model of one base reward function; see :func:`find_crowd`."""
    crowd = find_crowd(features, pairs, draw_split, ridge, validation_fraction, generator, kernel)
    pooled = crowd.features.pooled(crowd.solution)
    params = crowd.standardisation | crowd_parameters(pooled.span @ pooled.coefficients)
    params |= pooled.parameters(params["bases"])
    return Fitted(params, FixedAdaptation(), crowd.ridge, crowd.selection, [], crowd.n_judged)


def crowd_parameters(solution: Tensor) -> dict[str, Tensor]:
    """The pooled solution as the only base function, of weight 1."""
    return {"bases": solution.unsqueeze(0), "start": solution.new_ones(1)}
