"""The mathematics of meta reward modelling: pure functions of tensors without scikit-learn, text or files."""

import importlib
import warnings
from types import ModuleType

# Where modules were until version 0.1; their names go with 0.2.
_MOVED = {
    "batching": "tensors.pairs",
    "crowd": "pooled.choice",
    "fitting": "fit",
    "inference": "adaptation.users",
    "lowrank": "baselines.lowrank",
    "mixture": "adaptation.mixture",
    "per_user": "baselines.per_user",
    "personal": "prior.directions",
    "selection": "prior.strength",
    "simplex": "adaptation.simplex",
    "spectral": "prior.spectral",
    "starts": "start",
    "strength": "prior.strength",
    "training": "outer.loop",
}


def __getattr__(name: str) -> ModuleType:
    """A module by the name that it had, with a warning."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"skmrm.meta.{name} is now skmrm.meta.{_MOVED[name]}; the old name goes with version 0.2"
    warnings.warn(message, FutureWarning, stacklevel=2)
    return importlib.import_module(f"skmrm.meta.{_MOVED[name]}")
