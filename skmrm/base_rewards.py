"""Fitted base reward functions: texts or feature vectors in, base rewards out; what a model and its users share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm._support.device import resolve_device
from skmrm._support.tensors import Arrays, as_tensor, as_tensors
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.episodes.items import check_features, check_items
from skmrm.episodes.rows import in_memory, row_chunks
from skmrm.meta.basis import item_rewards, standardise

__all__ = ["BaseRewards", "base_rewards_of", "check_episodes", "standardised_of"]


class BaseRewards:
    """Encoder, standardisation and base reward functions of a fitted model; immutable.

    Parameters
    ----------
    params : mapping of str to array
        Parameters of :mod:`skmrm.meta.basis`: ``mean``, ``scale``, ``bases`` and those of hidden layers.
    encoder : fitted transformer or None
        Texts to features; None if the model was fitted on arrays.
    device : str
        Where to compute.
    """

    def __init__(self, params: Mapping[str, NDArray[Any]], encoder: Any, device: str) -> None:
        self.params = MappingProxyType(dict(params))
        self.encoder = encoder
        self.device = device

    def __getstate__(self) -> dict[str, Any]:
        return {"params": dict(self.params), "encoder": self.encoder, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def n_features(self) -> int:
        """Number of features of an item."""
        return int(self.params["mean"].shape[0])

    @property
    def n_bases(self) -> int:
        """Number of base reward functions."""
        return int(self.params["bases"].shape[0])

    @property
    def kind(self) -> str:
        """What an item is: "text" or "features"."""
        return "features" if self.encoder is None else "text"

    def of_episodes(self, episodes: EpisodeSet) -> NDArray[Any]:
        """Base rewards (n_items, n_bases) of all items of a checked set."""
        if episodes.features is None:
            assert episodes.items is not None
            return self._of_features(self.encoder.transform(episodes.items))
        if in_memory(episodes.features):
            return self._of_features(episodes.features)
        rewards = np.empty((episodes.n_items, self.n_bases), self.params["mean"].dtype)
        for start, rows in row_chunks(episodes.features):
            rewards[start : start + len(rows)] = self._of_features(rows)
        return rewards

    def of_items(self, X: Any, caller: str = "predict", owner: str = "BaseRewards") -> NDArray[Any]:
        """Base rewards (n, n_bases) of what users pass: a list of (prompt, response), or an (n, n_features) array.

        Errors name the method called and its class, the `owner`.
        """
        if self.kind == "features":
            return self._of_features(check_features(X, self.n_features, caller, owner))
        items = check_items(X, caller)
        if not items:
            return np.empty((0, self.n_bases), self.params["mean"].dtype)
        return self._of_features(self.encoder.transform(items))

    def _of_features(self, features: NDArray[Any]) -> NDArray[Any]:
        return base_rewards_of(self.params, features, self.device)


class FeatureRewards(BaseRewards):
    """One base reward function for each feature, the feature itself: bases = identity, never stored or multiplied by.

    Parameters
    ----------
    params : mapping of str to array
        ``mean`` and ``scale``, (n_features,) each.
    encoder : fitted transformer or None
    device : str
    """

    @property
    def n_bases(self) -> int:
        """Number of features."""
        return self.n_features

    def _of_features(self, features: NDArray[Any]) -> NDArray[Any]:
        return standardised_of(self.params, features, self.device)


def make_base_rewards(params: Mapping[str, NDArray[Any]], encoder: Any, device: str) -> BaseRewards:
    """Base rewards of learnt parameters; without ``bases``, the standardised features themselves."""
    kind = BaseRewards if "bases" in params else FeatureRewards
    return kind(params, encoder, device)


def base_rewards_of(params: Arrays, features: NDArray[Any], device: str) -> NDArray[Any]:
    """Base rewards (n_items, n_bases) of raw features (n_items, n_features)."""
    place = resolve_device(device)
    with torch.no_grad():
        rewards = item_rewards(as_tensors(params, place), as_tensor(features, place))
    return rewards.cpu().numpy()


def standardised_of(params: Arrays, features: NDArray[Any], device: str) -> NDArray[Any]:
    """Standardised features (n_items, n_features) of raw ones."""
    place = resolve_device(device)
    return standardise(as_tensors(params, place), as_tensor(features, place)).cpu().numpy()


def check_episodes(episodes: Any, base: BaseRewards, caller: str) -> EpisodeSet:
    """Check a set of users, some perhaps without pairs, against what a model was fitted on."""
    kind: Any = base.kind
    n_features = base.n_features if kind == "features" else None
    if isinstance(episodes, Episode):
        episodes = [episodes]
    return as_episode_set(episodes, min_pairs=0, kind=kind, n_features=n_features, context=caller).compact()
