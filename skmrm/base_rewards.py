"""Fitted base reward functions: texts or feature vectors in, base rewards out; what a model and its users share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._bridge import base_rewards_of
from skmrm._data.messages import as_conversation, is_messages
from skmrm._data.rows import in_memory, row_chunks
from skmrm.episodes import EpisodeSet

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


def check_features(X: Any, n_features: int, caller: str, owner: str) -> NDArray[Any]:
    """An (n, n_features) float array of finite numbers, or an error that says what came."""
    try:
        features = np.asarray(X)
    except ValueError:
        features = np.asarray(X, dtype=object)
    if features.dtype.kind not in "fiu" or features.ndim != 2:
        raise TypeError(
            f"{caller} of a model fitted on feature vectors takes an array of shape (n, {n_features}); "
            f"got {type(X).__name__} of dtype {features.dtype} and shape {features.shape}: encode texts with the "
            "same encoder as for fit, and pass a single vector as x[None]"
        )
    if features.shape[1] != n_features:
        raise ValueError(
            f"{caller}: X has {features.shape[1]} features, but {owner} is expecting {n_features} features as in fit: "
            "use the encoder that made the features of fit"
        )
    finite = np.isfinite(features).all(1)
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise ValueError(f"{caller}: features must be finite; {len(rows)} rows are not, the first is row {rows[0]}")
    return features if features.dtype.kind == "f" else features.astype(np.float64)


def check_items(X: Any, caller: str) -> list[tuple[str, str]]:
    """A list of (prompt, response) texts, or an error that says what came."""
    form = f"{caller} of a model fitted on texts takes a list of (prompt, response) pairs"
    if isinstance(X, str) or not isinstance(X, Sequence | np.ndarray):
        raise TypeError(f"{form}; got {type(X).__name__}: for one response call score(prompt, response)")
    items = []
    for row, item in enumerate(X):
        if isinstance(item, str) or not isinstance(item, Sequence | np.ndarray) or len(item) != 2:
            raise TypeError(f"{form}; item {row} is {item!r:.80}")
        prompt = as_text(item[0], f"{caller}: prompt of item {row}")
        items.append((prompt, as_text(item[1], f"{caller}: response of item {row}")))
    return items


def as_text(value: Any, what: str) -> str:
    """A text, or a list of chat messages as one."""
    if isinstance(value, str):
        return value
    if is_messages(value):
        return as_conversation(value)
    raise TypeError(f"{what} must be a str or a list of chat messages, got {type(value).__name__}")
