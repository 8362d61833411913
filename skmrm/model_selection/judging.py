"""From splits and a fitted model to what each user's query says: the loop behind an adaptation curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.arrays import encoded_rows
from skmrm._support.randomness import RandomState, as_generator
from skmrm.episodes import EpisodeSet
from skmrm.episodes.columns import inverse
from skmrm.metrics import Reliability, reliability, user_accuracies, user_log_losses
from skmrm.model_selection.curve import AdaptationCurve
from skmrm.splits import SupportQuery, support_query_split
from skmrm.splits.past_future import past_future_split
from skmrm.splits.support_query import random_places

__all__ = ["draw_splits", "encoded", "judge", "judged_users"]


def draw_splits(
    episodes: EpisodeSet,
    n_splits: int,
    support_fraction: float,
    query: ArrayLike | None,
    random_state: RandomState,
    by_time: bool = False,
) -> list[SupportQuery]:
    """Draw the splits that a curve is judged on; the same for the same integer and episodes. By time there is one."""
    rng = as_generator(random_state)
    if by_time:
        return [past_future_split(episodes, support_fraction, rng)]
    if query is None:
        return [
            support_query_split(episodes, support_fraction=support_fraction, random_state=rng) for _ in range(n_splits)
        ]
    asked = np.asarray(query)
    by_content = episodes.canonical_order
    rows = by_content.pairs[~asked[by_content.pairs]]
    user = inverse(by_content.users)[episodes.user[rows]]
    splits = []
    for _ in range(n_splits):
        order = np.full(episodes.n_pairs, -1, np.int64)
        order[rows] = random_places(user, episodes.n_users, rng)
        splits.append(SupportQuery(query=asked, order=order, user=episodes.user, n_users=episodes.n_users))
    return splits


def judged_users(splits: list[SupportQuery]) -> NDArray[np.bool_]:
    """Mask of the users with pairs on both sides; the same in every split, as which groups a user has is."""
    return (splits[0].n_support > 0) & (splits[0].n_query > 0)


def encoded(model: Any, episodes: EpisodeSet) -> EpisodeSet:
    """Attach the features that a model makes of the texts, unless there are features, so that it is done once."""
    encoder = getattr(model, "encoder_", None)  # None of one fitted on arrays; an unfitted model says so by itself
    if episodes.features is not None or encoder is None:
        return episodes
    used = episodes.compact()
    return used.with_features(encoded_rows(encoder, used.items))


def judge(
    model: Any,
    episodes: EpisodeSet,
    splits: list[SupportQuery],
    judged: NDArray[np.bool_],
    sizes: tuple[int | None, ...],
    judged_one: Callable[[int, int], object] = lambda done, total: None,
) -> AdaptationCurve:
    """Adapt on the first so many support pairs of each split, and judge on its query; the curve of a model.

    After each split at each size, `judged_one` is told how many of how many are done.
    """
    shape = (len(sizes), len(splits), episodes.n_users)
    accuracy, log_loss, decisive = (np.full(shape, np.nan) for _ in range(3))
    found = []
    for row, size in enumerate(sizes):
        parts = []
        for place, split in enumerate(splits):
            reached = judged & (split.n_support >= (size or 0))
            part = _predicted(model, episodes, split, reached, size)
            margins, user, outcome, held = part
            accuracy[row, place] = user_accuracies(margins, user, episodes.n_users, outcome)
            log_loss[row, place] = user_log_losses(margins, user, episodes.n_users, outcome, held)
            if outcome is not None:
                some = outcome != 0
                decisive[row, place] = user_accuracies(margins[some], user[some], episodes.n_users)
            parts.append(part)
            judged_one(row * len(splits) + place + 1, len(sizes) * len(splits))
        found.append(_reliability(parts))
    return AdaptationCurve(
        users=episodes.users[judged],
        support_sizes=sizes,
        accuracy=_mean_over_splits(accuracy)[:, judged],
        log_loss=_mean_over_splits(log_loss)[:, judged],
        reliability=tuple(found),
        n_support=np.mean([split.n_support for split in splits], axis=0)[judged],
        decisive=_mean_over_splits(decisive)[:, judged] if episodes.n_ties or episodes.n_rated else None,
    )


class _Predicted(NamedTuple):
    """Margins of pairs, whose they are, what was said of them, and the thresholds that each is held against."""

    margins: NDArray[np.float64]
    user: NDArray[np.intp]
    outcome: NDArray[np.int64] | None
    thresholds: NDArray[np.float64] | None


def _predicted(
    model: Any, episodes: EpisodeSet, split: SupportQuery, reached: NDArray[np.bool_], size: int | None
) -> _Predicted:
    """The query pairs of the users who have so many support pairs."""
    if not reached.any():
        return _Predicted(np.empty(0), np.empty(0, np.intp), None, None)
    of_reached = reached[episodes.user]
    users = model.adapt_many(episodes.take_pairs(split.support(size) & of_reached)[reached])
    query = episodes.take_pairs(split.query & of_reached)
    margins = np.asarray(users.decision_function(query[reached]), float)
    outcome = users.outcomes_of(query[reached]) if query.n_rated else query.outcome
    held = None
    if query.n_rated or (outcome is not None and getattr(users, "thresholds_", None) is not None):
        held = users.held_against(query[reached])
    return _Predicted(margins, query.user, outcome, held)


def _reliability(parts: list[_Predicted]) -> Reliability:
    margins, user = (np.concatenate(columns) for columns in zip(*(part[:2] for part in parts), strict=True))
    said = [part.outcome for part in parts if part.outcome is not None]
    outcome = np.concatenate(said) if said else None
    each = [part.thresholds for part in parts if part.thresholds is not None]
    held = np.concatenate(each) if each else None
    if len(margins) == 0 or (held is None and outcome is not None and not outcome.any()):
        unknown = np.full(len(reliability([0.0]).weight), np.nan)
        return Reliability(unknown, unknown, np.zeros(len(unknown)))
    return reliability(margins, user, outcome=outcome, thresholds=held)


def _mean_over_splits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over axis 1 of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(1) / known.sum(1))
