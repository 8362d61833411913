"""The default model with one of its parts left out or changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from skmrm import MetaRewardModel
from skmrm.baselines import PooledBradleyTerry
from skmrm.meta.prior.directions import PriorOptions
from skmrm.meta.prior.strength import ChoiceOptions
from skmrm.meta.start import FitOptions

__all__ = ["VARIANTS", "Variant"]


class Ablated(MetaRewardModel):
    """The model with other settings of the core's fit than its parameters give."""

    options: Mapping[str, Any] = {}

    def _options(self) -> FitOptions:
        return replace(super()._options(), **self.options)


@dataclass(frozen=True)
class Variant:
    """A change of the default; an estimator as far as a benchmark needs one.

    Attributes
    ----------
    says : str
        What is changed, in words.
    parameters : dict
        Of `MetaRewardModel`.
    options : dict
        Of :class:`skmrm.meta.start.FitOptions`.
    make : callable
        The estimator.
    """

    says: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[..., Any] = Ablated

    def __call__(self, seed: int) -> Any:
        """An unfitted model for a seed."""
        model = self.make(random_state=seed, **self.parameters)
        if self.options:
            model.options = self.options
        return model


NO_KINDS = ChoiceOptions(kinds=())
WHATEVER_IT_DID = {"required_gain": -math.inf}

VARIANTS: dict[str, Variant] = {
    "default": Variant("the default"),
    "pooled": Variant("pooled Bradley-Terry", make=PooledBradleyTerry),
    "spectral": Variant(
        "the spectral guess alone: no EM, no kinds",
        options={"prior": PriorOptions(sweeps=0, floor=0.0), "choice": NO_KINDS},
    ),
    "gaussian": Variant("a Gaussian prior alone: no kinds", options={"choice": NO_KINDS}),
    "many sweeps": Variant("30 sweeps of EM instead of 4", options={"prior": PriorOptions(sweeps=30)}),
    "no level": Variant(
        "noise edge alone: no level at which users differ in every direction",
        options={"prior": PriorOptions(level=False)},
    ),
    "no floor": Variant("no variance for directions below the noise", options={"prior": PriorOptions(floor=0.0)}),
    "straight": Variant("no bend of the pooled reward", {"kernel": None}),
    "8 bases": Variant("8 base functions", {"n_bases": 8}),
    "smallest loss": Variant(
        "the setting of the smallest validation loss", options={"choice": ChoiceOptions(slack=(0.0, 0.0))}
    ),
    "one error": Variant(
        "the least personalised within one standard error", options={"choice": ChoiceOptions(slack=(1.0, 1.0))}
    ),
    "no outer loop": Variant("no outer loop", {"max_epochs": 0}),
    "outer loop": Variant("the outer loop's result whatever it did", options=WHATEVER_IT_DID),
    "RPO": Variant("the same with RPO", {"robust_temperature": 0.5}, WHATEVER_IT_DID),
    "users alone": Variant("ridge for new users alone, not for new prompts", options={"new_groups": False}),
    "gradient": Variant("gradient steps instead of MAP", {"adaptation": "gradient"}),
}
