"""What is served: a head of features, and models of texts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks._support.sentence_encoder import sentence_encoder_folder
from skmrm import MetaRewardModel
from skmrm.base_rewards import BaseRewards
from skmrm.datasets import load_style_preferences
from skmrm.encoders import HFEncoder

__all__ = ["N_BASES", "N_FEATURES", "random_base", "text_episodes", "text_models"]

N_FEATURES, N_BASES = 384, 8


def random_base() -> BaseRewards:
    """Random base functions of standardised features."""
    rng = np.random.default_rng(0)
    bases = rng.standard_normal((N_BASES, N_FEATURES)) / N_FEATURES**0.5
    params = {"mean": rng.standard_normal(N_FEATURES), "scale": np.ones(N_FEATURES), "bases": bases}
    return BaseRewards({name: value.astype(np.float32) for name, value in params.items()}, None, "cpu")


def text_episodes(quick: bool) -> Any:
    """Simulated users of the bundled corpus."""
    return load_style_preferences(n_users=4 if quick else 40, n_pairs=4 if quick else 30, random_state=0).episodes


@lru_cache(maxsize=1)
def text_models(quick: bool) -> dict[str, MetaRewardModel]:
    """Models of texts by their encoder; the transformer's only where its weights are installed."""
    folder = sentence_encoder_folder()
    encoders = {"hashed n-grams": None} | ({} if folder is None else {"MiniLM": HFEncoder(str(folder))})
    episodes = text_episodes(quick)
    fraction = 0.0 if quick else 0.2
    return {
        name: MetaRewardModel(encoder, n_bases=4, max_epochs=0, validation_fraction=fraction, random_state=0).fit(
            episodes
        )
        for name, encoder in encoders.items()
    }
