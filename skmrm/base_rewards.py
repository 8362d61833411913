"""Fitted base reward functions: texts or feature vectors in, base rewards out; what a model and its users share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._bridge import base_rewards_of
from skmrm.episodes import EpisodeSet
from skmrm.episodes.items import check_features, check_items
from skmrm.episodes.rows import in_memory, row_chunks

__all__ = ["BaseRewards"]


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
