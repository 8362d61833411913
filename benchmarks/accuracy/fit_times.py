"""How long the default takes to fit on texts, next to the pooled model: encoding counts on both sides."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from benchmarks.accuracy.contenders import makers
from benchmarks.accuracy.judging import Makers
from benchmarks.accuracy.text_features import Encode
from skmrm import EpisodeSet

__all__ = ["Times", "time_fits"]


@dataclass(frozen=True)
class Times:
    """Seconds.

    Attributes
    ----------
    encoding : float
        All distinct texts, once.
    pooled, default : float
        Fits on features, medians.
    repeats : int
        Fits of each.
    """

    encoding: float
    pooled: float
    default: float
    repeats: int

    @property
    def ratio(self) -> float:
        """The default from texts on, over the pooled model from texts on."""
        return (self.encoding + self.default) / (self.encoding + self.pooled)

    @property
    def of_fits(self) -> float:
        """The two fits alone."""
        return self.default / self.pooled


def time_fits(episodes: EpisodeSet, encode: Encode, repeats: int, models: Makers | None = None) -> Times:
    """Time both fits in turn.

    Parameters
    ----------
    episodes : EpisodeSet
        Training users, with texts.
    encode : callable
        From all items and the training users to features.
    repeats : int
    models : mapping of str to callable, optional
        What to fit as "pooled" and "default".
    """
    features = encode(episodes.items or [], episodes)
    known = episodes.with_features(features.table)
    found: dict[str, list[float]] = {"pooled": [], "default": []}
    for repeat in range(repeats):
        for name, make in (models or makers(found)).items():
            model = make(repeat)
            began = time.perf_counter()
            model.fit(known)
            found[name].append(time.perf_counter() - began)
    return Times(
        encoding=features.seconds, repeats=repeats, **{name: median(seconds) for name, seconds in found.items()}
    )
