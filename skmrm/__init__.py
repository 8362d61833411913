"""Personalised reward models from a handful of choices, behind a scikit-learn API.

Names are loaded when first used: ``import skmrm`` imports none of torch, scikit-learn and transformers.
"""

import logging
from importlib.metadata import PackageNotFoundError, version

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
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

try:
    __version__ = version("skmrm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
