"""What base reward functions prefer, as numbers: the part of their display that needs no axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.arrays import encoded_rows
from skmrm.episodes import EpisodeSet
from skmrm.explanation.moments import compared_parts, within_parts

__all__ = ["Example", "correlations", "effects", "find_examples", "item_statistics", "within_comparisons"]

_NO_SPREAD = 1e-9  # of a column after centring, against its largest value: round-off


@dataclass(frozen=True)
class Example:
    """A response that a base reward function scores highest, or lowest.

    Attributes
    ----------
    base_reward : str
        Name of the base reward function.
    side : {"highest", "lowest"}
    score : float
        Base reward above the mean of the responses it was compared with, in logits per unit of weight.
    item : int
        Its row among the items of the episodes.
    prompt, response : str or None
        Its texts; None where items are arrays.
    """

    base_reward: str
    side: str
    score: float
    item: int
    prompt: str | None
    response: str | None


def within_comparisons(values: NDArray[Any], episodes: EpisodeSet) -> NDArray[np.float64]:
    """Deviation of each item's values from the mean of the items it was compared with, directly or through others."""
    return within_parts(values, compared_parts(len(values), episodes))


def correlations(statistics: NDArray[np.float64], rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson correlation (n_statistics, n_bases) of columns whose means are zero; 0 of constants."""
    return np.asarray(_unit(statistics).T @ _unit(rewards))


def _unit(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = np.linalg.norm(columns, axis=0)
    flat = norm <= _NO_SPREAD * np.sqrt(len(columns)) * np.maximum(1, np.abs(columns).max(0, initial=0))
    return np.asarray(np.where(flat, 0.0, columns / np.where(flat, 1.0, norm)))


def effects(model: Any, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each base reward function moves rewards, in logits, (n_bases,): 0 of one that has no say.

    Root mean square over items, and over users where the model says how far their weights spread.
    """
    spread = np.sqrt((rewards**2).mean(0))
    start = getattr(model, "start_weights_", None)
    scale = getattr(model, "prior_scale_", None)
    if start is None or scale is None:  # any weight may move
        return np.asarray(spread)
    return np.asarray(spread * np.sqrt(np.square(start) + np.square(scale)))


def item_statistics(
    episodes: EpisodeSet, is_text: bool, feature_names: Sequence[str] | None
) -> tuple[NDArray[Any], list[str]]:
    """What can be read of each item: statistics of style of texts, or the features themselves."""
    if is_text:
        from skmrm.encoders import TextStatistics

        assert episodes.items is not None
        statistics = TextStatistics()
        return encoded_rows(statistics, episodes.items), [str(name) for name in statistics.get_feature_names_out()]
    features = np.asarray(episodes.features)
    if feature_names is None:
        return features, [f"feature {column}" for column in range(features.shape[1])]
    names = [str(name) for name in feature_names]
    if len(names) != features.shape[1]:
        raise ValueError(f"feature_names must name each of the {features.shape[1]} features, got {len(names)} names")
    return features, names


def find_examples(
    rewards: NDArray[np.float64],
    names: Sequence[str],
    items: NDArray[np.intp],
    texts: Sequence[tuple[str, str]] | None,
    n_examples: int,
) -> list[Example]:
    """Highest- and lowest-scored items of each base reward function, the extremes first; no item is on both sides."""
    n = min(n_examples, len(rewards) // 2)
    found = []
    for column, name in enumerate(names):
        order = np.argsort(-rewards[:, column], kind="stable")
        for side, rows in (("highest", order[:n]), ("lowest", order[::-1][:n])):
            for row in rows:
                prompt, response = (None, None) if texts is None else texts[row]
                found.append(Example(name, side, float(rewards[row, column]), int(items[row]), prompt, response))
    return found
