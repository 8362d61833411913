"""The mathematics of meta reward modelling: pure functions of tensors without scikit-learn, text or files."""

import importlib
import warnings
from types import ModuleType

# Modules of version 0.1, and where their public names are now; they go with version 0.2.
_MOVED = {
    "batching": ["tensors.pairs"],
    "crowd": ["pooled.choice", "baselines.pooled", "adaptation.fixed"],
    "fitting": ["fit", "folds"],
    "inference": ["adaptation.users", "basis"],
    "lowrank": ["baselines.lowrank"],
    "mixture": ["adaptation.mixture"],
    "per_user": ["baselines.per_user", "adaptation.span"],
    "personal": ["prior.directions"],
    "selection": ["prior.strength", "pooled.choice", "folds"],
    "simplex": ["adaptation.simplex"],
    "spectral": ["prior.spectral"],
    "starts": ["start", "pooled.choice"],
    "strength": ["prior.strength"],
    "training": ["outer.loop"],
}


def __getattr__(name: str) -> ModuleType:
    """A module by the name that it had, with a warning."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    places = [f"skmrm.meta.{place}" for place in _MOVED[name]]
    message = f"skmrm.meta.{name} is now {', '.join(places)}; the old name goes with version 0.2"
    warnings.warn(message, FutureWarning, stacklevel=2)
    found = ModuleType(f"skmrm.meta.{name}", message)
    for module in map(importlib.import_module, places):
        vars(found).update({public: getattr(module, public) for public in module.__all__})
    return found
