"""Users with random numbers, and a stand-in for the model that adapted them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from skmrm import UserModels, episodes_from_arrays
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.arrays import id_array
from skmrm.episodes.history import History
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.meta.adaptation import MapAdaptation

__all__ = ["N_BASES", "N_FEATURES", "new_choices", "planted_users", "stand_in"]

N_FEATURES, N_BASES, N_CHOICES = 64, 26, 10


def stand_in() -> Any:
    """What `load` and `update` ask of a model: random base reward functions under MAP adaptation."""
    rng = np.random.default_rng(0)
    bases = rng.standard_normal((N_BASES, N_FEATURES)) / N_FEATURES**0.5
    params = {"mean": np.zeros(N_FEATURES), "scale": np.ones(N_FEATURES), "bases": bases}
    start = np.zeros(N_BASES, np.float32)
    base = BaseRewards({name: value.astype(np.float32) for name, value in params.items()}, None, "cpu")
    return SimpleNamespace(
        base_rewards_=base,
        start_weights_=start,
        _inner=InnerLoop(MapAdaptation(), {"start": start, "rule.prior_scale": np.ones(N_BASES, np.float32)}),
    )


def planted_users(n_users: int, whole: bool) -> UserModels:
    """Users "user 0000000" ...: weights, and if they are to be `whole` posteriors and ten choices each."""
    rng, model = np.random.default_rng(1), stand_in()
    ids = id_array([f"user {row:07d}" for row in rng.permutation(n_users)])
    weights = rng.standard_normal((n_users, N_BASES), np.float32)
    covariance, history = None, None
    if whole:
        covariance = rng.standard_normal((n_users, N_BASES, N_BASES), np.float32)
        gaps = rng.standard_normal((n_users * N_CHOICES, N_BASES), np.float32)
        history = History(gaps, np.repeat(np.arange(n_users), N_CHOICES), n_users)
    n_pairs = np.full(n_users, N_CHOICES)
    base, start = model.base_rewards_, model.start_weights_
    return UserModels(base, ids, weights, covariance, n_pairs, start, model._inner, history)


def new_choices(n_users: int) -> EpisodeSet:
    """Two more of each of the first so many users."""
    X = np.random.default_rng(2).standard_normal((50, N_FEATURES), np.float32)
    user = np.repeat([f"user {row:07d}" for row in range(n_users)], 2)
    first = np.arange(2 * n_users) % 25
    return episodes_from_arrays(X, first, first + 25, user)
