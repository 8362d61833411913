"""Personalised reward models from a handful of choices, behind a scikit-learn API.

Names are loaded when first used: ``import skmrm`` imports none of torch, scikit-learn and transformers.
"""

import logging
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lazy_loader as lazy

_attached, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=[
        "baselines",
        "base_rewards",
        "callbacks",
        "cli",
        "datasets",
        "embeddings",
        "encoders",
        "episodes",
        "exceptions",
        "explanation",
        "export",
        "integrations",
        "meta",
        "metrics",
        "model_selection",
        "plotting",
        "report",
        "service",
        "serving",
        "splits",
    ],
    submod_attrs={
        "_support.versions": ["show_versions"],
        "episodes": [
            "Episode",
            "EpisodeSet",
            "episodes_from_arrays",
            "episodes_from_frame",
            "episodes_from_rankings",
            "episodes_from_ratings",
        ],
        "model": ["MetaRewardModel"],
        "report": ["personalization_report"],
        "splits": ["split_users", "split_users_and_groups", "support_query_split"],
        "estimators.user_model": ["UserRewardModel"],
        "estimators.users": ["UserModels"],
    },
)

logging.getLogger("skmrm").addHandler(logging.NullHandler())  # who sets up no logging sees none


def __getattr__(name: str) -> Any:
    try:
        return _attached(name)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith(__name__):
            raise
        raise ImportError(
            f"skmrm.{name} is not in skmrm-serving, which serves and does not fit: pip install skmrm"
        ) from error


def _version_of(*distributions: str) -> str:
    """Version of the first that is installed, of those that have this source."""
    for distribution in distributions:
        with suppress(PackageNotFoundError):
            return version(distribution)
    return "0+unknown"  # a source tree that was never installed


__version__ = _version_of("skmrm", "skmrm-serving")
