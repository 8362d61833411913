"""The default model with one of its parts left out or changed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from skmrm import EpisodeSet, MetaRewardModel
from skmrm.baselines import PooledBradleyTerry

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
    core : dict
        Of names in `skmrm.meta` ("module.name") to what stands there during the fit.
    make : callable
        The estimator.
    """

    says: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    core: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[..., Any] = MetaRewardModel

    def __call__(self, seed: int) -> _Patched:
        """An unfitted model for a seed."""
        return _Patched(self, self.make(random_state=seed, **self.parameters))


@dataclass(frozen=True)
class _Patched:
    """Fits its estimator with a changed core."""

    variant: Variant
    estimator: Any

    def fit(self, episodes: EpisodeSet) -> Any:
        """Fit and return the estimator itself."""
        with _changed(self.variant.core):
            return self.estimator.fit(episodes)


@contextmanager
def _changed(core: Mapping[str, Any]) -> Iterator[None]:
    places = []
    for path, value in core.items():
        module, _, name = path.rpartition(".")
        place = importlib.import_module(f"skmrm.meta.{module}")
        places.append((place, name, getattr(place, name)))
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in places:
            setattr(place, name, value)


def _edge_alone(values: Tensor) -> tuple[Tensor, Tensor]:
    zero = values.new_zeros(())
    return zero, (-values[0]).clamp_min(0)


def _smallest_loss(losses: Tensor, movement: Tensor) -> int:
    return int(losses[:, ~losses.isnan().any(0)].mean(1).argmin())


def _whole_error_for_all(losses: Tensor, movement: Tensor) -> int:
    judged = losses[:, ~losses.isnan().any(0)]
    excess = judged - judged[int(judged.mean(1).argmin())]
    tolerated = excess.mean(1) <= excess.std(1) / judged.shape[1] ** 0.5
    return int(torch.where(tolerated, movement, torch.inf).argmin())


VARIANTS: dict[str, Variant] = {
    "default": Variant("the default"),
    "pooled": Variant("pooled Bradley-Terry", make=PooledBradleyTerry),
    "spectral": Variant(
        "the spectral guess alone: no EM, no kinds",
        core={"prior.em.GAUSSIAN_SWEEPS": 0, "prior.strength.KINDS": (), "prior.spectral.HIDDEN": 0.0},
    ),
    "gaussian": Variant("a Gaussian prior alone: no kinds", core={"prior.strength.KINDS": ()}),
    "many sweeps": Variant("30 sweeps of EM instead of 4", core={"prior.em.GAUSSIAN_SWEEPS": 30}),
    "no level": Variant(
        "noise edge alone: no level at which users differ in every direction",
        core={"prior.spectral._noise": _edge_alone},
    ),
    "no floor": Variant("no variance for directions below the noise", core={"prior.spectral.HIDDEN": 0.0}),
    "straight": Variant("no bend of the pooled reward", {"kernel": None}),
    "8 bases": Variant("8 base functions", {"n_bases": 8}),
    "smallest loss": Variant(
        "the setting of the smallest validation loss", core={"prior.strength.least_personalised": _smallest_loss}
    ),
    "one error": Variant(
        "the least personalised within one standard error",
        core={"prior.strength.least_personalised": _whole_error_for_all},
    ),
    "no outer loop": Variant("no outer loop", {"max_epochs": 0}),
    "outer loop": Variant(
        "the outer loop's result whatever it did", core={"fit._earned_its_place": lambda trained: True}
    ),
    "plain mean": Variant(
        "the same without RPO (plain mean over users)",
        {"robust_temperature": None},
        {"fit._earned_its_place": lambda trained: True},
    ),
    "hidden layer": Variant(
        "the same with a hidden layer of 32",
        {"hidden_layers": (32,)},
        {"fit._earned_its_place": lambda trained: True},
    ),
    "users alone": Variant(
        "ridge for new users alone, not for new prompts", core={"fit.group_folds": lambda *given: []}
    ),
    "gradient": Variant("gradient steps instead of MAP", {"adaptation": "gradient"}),
}
