"""A default fit, personalisation included, next to what a user would run instead: CPU seconds on one thread.

scikit-learn's `LogisticRegressionCV` on the gaps of the same pairs (9 penalties, 5 folds of users), which learns one
reward for everybody; and LoRe, which personalises.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold

from benchmarks._support.areas import Found
from skmrm import EpisodeSet, MetaRewardModel
from skmrm.baselines import LowRankRewards, PooledBradleyTerry
from skmrm.datasets import make_user_preferences

__all__ = ["instead"]

_SIZES = ((800, 60), (800, 14))  # users, pairs of each
_PENALTIES = 9
_FOLDS = 5


def instead(bandwidth: float, quick: bool) -> Found:
    """Time the fits on users who choose among 100 items of 384 features."""
    rows: list[dict[str, Any]] = []
    for n_users, n_pairs in ((40, 10),) if quick else _SIZES:
        episodes = make_user_preferences(
            n_users, n_pairs, n_features=384, n_groups=25, n_items_per_group=4, random_state=0
        ).episodes
        fits: dict[str, Callable[[EpisodeSet], Any]] = {
            "default": MetaRewardModel(random_state=0, device="cpu").fit,
            "LogisticRegressionCV": fit_by_scikit_learn,
            "LoRe": LowRankRewards(random_state=0, device="cpu").fit,
            "pooled": PooledBradleyTerry(random_state=0, device="cpu").fit,
        }
        seconds = {name: cpu_seconds(fit, episodes) for name, fit in fits.items()}
        base = seconds["default"]
        rows += [
            {"data": f"{n_users} users x {n_pairs} pairs", "fit": name, "CPU, s": took, "default, times": base / took}
            for name, took in seconds.items()
        ]
    columns = {"data": "s", "fit": "s", "CPU, s": ".2f", "default, times": ".2f"}
    return Found("instead: 100 items of 384 features; a default fit next to others", columns, rows)


def fit_by_scikit_learn(episodes: EpisodeSet) -> LogisticRegressionCV:
    """One reward for everybody, its penalty chosen on users left out; each pair once in either order."""
    features = np.asarray(episodes.features)
    gaps = features[episodes.chosen] - features[episodes.rejected]
    sign = np.where(np.arange(len(gaps)) % 2 == 0, 1, -1)  # of a gap and its opposite one is enough
    folds = list(GroupKFold(_FOLDS).split(gaps, groups=episodes.user))
    model = LogisticRegressionCV(Cs=_PENALTIES, cv=folds, scoring="neg_log_loss", fit_intercept=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of attributes that nobody reads here
        return model.fit(gaps * sign[:, None], sign)


def cpu_seconds(fit: Callable[[EpisodeSet], Any], episodes: EpisodeSet) -> float:
    """Of this process."""
    began = time.process_time()
    fit(episodes)
    return time.process_time() - began
