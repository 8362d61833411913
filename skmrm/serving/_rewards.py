"""Base reward functions of a bundle, as explanations look at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.episode_set import EpisodeSet
from skmrm.explanation.moments import MOMENTS

__all__ = ["ExportedRewards", "check_moments"]


@dataclass(frozen=True)
class ExportedRewards:
    """What :class:`skmrm.base_rewards.BaseRewards` is of a live model.

    Attributes
    ----------
    kind, n_features, n_bases, feature_names, scale
        As there.
    params : mapping of str to array
        What is known of the crowd.
    rewards : callable
        From items, and the method that was called, to base rewards.
    """

    kind: Literal["text", "features"]
    n_features: int
    n_bases: int
    feature_names: Sequence[str] | None
    scale: Sequence[Any] | None
    params: Mapping[str, NDArray[Any]]
    rewards: Callable[[Any, str], NDArray[Any]]

    def of_items(self, X: Any, caller: str, owner: str) -> NDArray[Any]:
        """Base rewards (n, n_bases) of what users pass."""
        return self.rewards(X, caller)

    def of_episodes(self, episodes: EpisodeSet) -> NDArray[Any]:
        """Base rewards (n_items, n_bases) of all items of a checked set."""
        return self.rewards(episodes.items if self.kind == "text" else episodes.features, "explain")


def check_moments(arrays: Mapping[str, NDArray[Any]], n_statistics: int, n_bases: int) -> None:
    """Raise a ValueError where a bundle's moments, if it has some, are not of its statistics and base rewards."""
    if not any(name in arrays for name in MOMENTS):
        return
    whole, counts = (arrays[name] for name in MOMENTS)
    size = n_statistics + n_bases
    if whole.shape != (size, size) or not np.isfinite(whole).all() or counts.shape != (2,) or counts.dtype.kind != "i":
        raise ValueError(f"moments of shape {whole.shape}, for {n_statistics} statistics and {n_bases} base rewards")
