"""The default model and what it has to beat: one maker each, from a seed to an unfitted estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.accuracy.hierarchical import HierarchicalLogit
from benchmarks.accuracy.judging import Makers
from skmrm import MetaRewardModel
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.meta.prior.directions import PriorOptions
from skmrm.meta.prior.stacking import StackOptions
from skmrm.meta.start import FitOptions

__all__ = ["ALTERNATIVES", "BASELINES", "PAPER_EPOCHS", "Ablated", "makers"]

BASELINES = ("paper", "lore", "pooled", "bent", "per_user")
ALTERNATIVES = (*BASELINES, "hierarchical", "spectral")
PAPER_EPOCHS = 200


class Ablated(MetaRewardModel):
    """The model with other settings of the core's fit than its parameters give."""

    options: Mapping[str, Any] = {}

    def _options(self) -> FitOptions:
        return replace(super()._options(), **self.options)


# Four directions as they were first seen, and MAP whose strength is weighed on users left out: no EM.
_SPECTRAL = {
    "prior": PriorOptions(sweeps=0, floor=0.0),
    "stack": StackOptions(flat=(), wide=(), narrow=(0.25, 0.5, 1.0, 2.0), kinds=()),
}


def makers(names: Iterable[str] = ("default", *ALTERNATIVES), paper_epochs: int = PAPER_EPOCHS) -> Makers:
    """Estimators by name.

    Parameters
    ----------
    names : iterable of str
        Out of "default" and `ALTERNATIVES`.
    paper_epochs : int
        Epochs of the paper's setting; the paper has 200.
    """
    every: Makers = {
        "default": lambda seed: MetaRewardModel(random_state=seed),
        "paper": lambda seed: MetaRewardModel.paper(random_state=seed, max_epochs=paper_epochs),
        "lore": lambda seed: LowRankRewards(random_state=seed),
        "pooled": lambda seed: PooledBradleyTerry(random_state=seed),
        "bent": lambda seed: PooledBradleyTerry(kernel="auto", random_state=seed),
        "per_user": lambda seed: PerUserBradleyTerry(random_state=seed),
        "hierarchical": lambda seed: HierarchicalLogit(),
        "spectral": _spectral,
    }
    return {name: every[name] for name in names}


def _spectral(seed: int) -> MetaRewardModel:
    model = Ablated(n_bases=5, random_state=seed)
    model.options = _SPECTRAL
    return model
