"""One reward for everybody, as a model of one base reward function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skmrm.meta.adaptation.fixed import FixedAdaptation
from skmrm.meta.fit import Fitted
from skmrm.meta.folds import Split, cross_fit
from skmrm.meta.pooled.choice import POOLED_STAGE, Kernel, fit_pooled_reward
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["STAGES", "pooled_fit", "pooled_parameters"]

STAGES = (POOLED_STAGE,)


def pooled_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    ridge: float | None,
    validation_fraction: float,
    generator: torch.Generator,
    kernel: Kernel = None,
    n_own: int = 0,
    tell: Tell = tells_nobody,
) -> Fitted:
    """Pooled Bradley-Terry; see :func:`skmrm.meta.folds.cross_fit` for the data and `fit_pooled_reward` for the rest.

    The same seed holds out the same users as :func:`skmrm.meta.fit.meta_fit`.
    """
    data = cross_fit(features, pairs, draw_split, validation_fraction, generator, n_own=n_own)
    found = fit_pooled_reward(data, ridge, kernel, tell)
    reward = found.reward
    params = found.data.standardisation | pooled_parameters(reward.span @ reward.coefficients)
    params |= reward.parameters(params["bases"])
    held = found.data.pairs.thresholds
    return Fitted(params, FixedAdaptation(), found.ridge, found.selection, [], data.n_judged, thresholds=held)


def pooled_parameters(solution: Tensor) -> dict[str, Tensor]:
    """The pooled solution as the only base function, of weight 1."""
    return {"bases": solution.unsqueeze(0), "start": solution.new_ones(1)}
