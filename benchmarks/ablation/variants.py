"""The default model with one of its parts left out or changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.accuracy.contenders import Ablated
from skmrm.baselines import PooledBradleyTerry
from skmrm.meta.prior.directions import PriorOptions
from skmrm.meta.prior.stacking import StackOptions

__all__ = ["VARIANTS", "Variant"]


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


WHATEVER_IT_DID = {"required_gain": -math.inf}

VARIANTS: dict[str, Variant] = {
    "default": Variant("the default"),
    "pooled": Variant("pooled Bradley-Terry", make=PooledBradleyTerry),
    "no flat": Variant("no flat prior", options={"stack": StackOptions(flat=())}),
    "no wide": Variant("no wide prior", options={"stack": StackOptions(wide=())}),
    "no narrow": Variant("no narrow prior by itself", options={"stack": StackOptions(narrow=())}),
    "no kinds": Variant("no kinds of users", options={"stack": StackOptions(kinds=())}),
    "more kinds": Variant("4, 8 and 16 kinds", options={"stack": StackOptions(kinds=(4, 8, 16))}),
    "one gaussian": Variant(
        "the wide Gaussian as EM has left it, or none",
        options={"stack": StackOptions(flat=(), wide=(1.0,), narrow=(), kinds=())},
    ),
    "spectral": Variant("few directions as first guessed, no EM of them", options={"prior": PriorOptions(sweeps=0)}),
    "30 sweeps": Variant("30 sweeps of EM of few directions instead of 6", options={"prior": PriorOptions(sweeps=30)}),
    "no shrinkage": Variant("covariances without shrinkage", options={"prior": PriorOptions(shrinkage=0.0)}),
    "any gain": Variant(
        "however little the mean gains over none", options={"stack": StackOptions(required_gain=-math.inf)}
    ),
    "no level": Variant(
        "noise edge alone: no level at which users differ in every direction",
        options={"prior": PriorOptions(level=False)},
    ),
    "no floor": Variant("no variance for directions below the noise", options={"prior": PriorOptions(floor=0.0)}),
    "straight": Variant("no bend of the pooled reward", {"kernel": None}),
    "8 bases": Variant("8 base functions", {"n_bases": 8}),
    "gated outer loop": Variant("20 epochs of the outer loop, if they help", {"max_epochs": 20}),
    "outer loop": Variant("20 epochs of the outer loop, whatever they do", {"max_epochs": 20}, WHATEVER_IT_DID),
    "RPO": Variant("the same with RPO", {"max_epochs": 20, "robust_temperature": 0.5}, WHATEVER_IT_DID),
    "users alone": Variant("ridge for new users alone, not for new prompts", options={"new_groups": False}),
    "gradient": Variant("gradient steps instead of MAP", {"adaptation": "gradient"}),
}
