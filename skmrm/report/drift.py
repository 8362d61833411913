"""Do old choices still help? All of a user's past against the latest half of it, judged on the future."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes import EpisodeSet
from skmrm.metrics import Interval, simultaneous_intervals
from skmrm.model_selection.judging import judge
from skmrm.report.verdict import MIN_USERS, points
from skmrm.splits import SupportQuery

__all__ = ["Drift", "find_drift", "word_drift"]


@dataclass(frozen=True)
class Drift:
    """All of the past against the latest half of it, user by user; both intervals hold at once.

    Attributes
    ----------
    gain : Interval
        Mean over users of the accuracy with all of the past minus that with its latest half, a fraction.
    log_loss_change : Interval
        Mean over users of the difference in log loss, in nats a pair; negative is better.
    n_users : int
        Users with at least two choices in the past.
    """

    gain: Interval
    log_loss_change: Interval
    n_users: int


def find_drift(
    model: Any,
    episodes: EpisodeSet,
    split: SupportQuery,
    judged: NDArray[np.bool_],
    level: float,
    random_state: Any,
) -> Drift | None:
    """Judge both; None with too few users to tell."""
    judged = judged & (split.n_support >= 2)
    if judged.sum() < MIN_USERS:
        return None
    latest = replace(split, order=np.where(split.support((split.n_support + 1) // 2), split.order, -1))
    whole, half = (judge(model, episodes, [one], judged, (None,)) for one in (split, latest))
    gain, change = simultaneous_intervals(
        [whole.accuracy[0], whole.log_loss[0]],
        [half.accuracy[0], half.log_loss[0]],
        level=level,
        random_state=random_state,
    )
    return Drift(gain, change, int(judged.sum()))


def word_drift(found: Drift | None) -> str:
    """Say it in a sentence: where accuracy or log loss tell them apart, and do not contradict each other."""
    if found is None:
        return "Whether old choices still help cannot be told from so few users."
    gain, change = found.gain, found.log_loss_change
    better, worse = gain.low > 0 or change.high < 0, gain.high < 0 or change.low > 0
    estimate, low, high = (round(value, 3) + 0.0 for value in (change.estimate, change.low, change.high))
    nats = "" if np.isnan(change.estimate) else f" (log loss {estimate:+.3f} [{low:.3f}, {high:.3f}])"
    if better and not worse:
        return f"Old choices still help: {points(gain)}{nats} over the latest half of the past alone."
    if worse and not better:
        return (
            f"Old choices no longer help: {points(gain)}{nats} against the latest half of the past alone; let them "
            "fade (half_life), or leave them out."
        )
    return f"All of the past and its latest half alone cannot be told apart: {points(gain)}{nats}."
