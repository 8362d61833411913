"""Real judgements of texts, by people that training never saw."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.gains import Table
from benchmarks.accuracy.judging import Makers, Progress, Size, Users, judge_over_seeds, silent
from benchmarks.accuracy.text_features import Encode
from benchmarks.accuracy.verdicts import Verdict, above_paper, never_below_any, never_below_pooled
from skmrm import EpisodeSet, split_users, split_users_and_groups

__all__ = ["SETTINGS", "judge_people", "judgement_claims"]

Split = tuple[EpisodeSet, EpisodeSet, NDArray[np.bool_] | None]

_N_SPLITS = 3


def _new_users(episodes: EpisodeSet, seed: int) -> Split:
    train, judged = split_users(episodes, 0.5, random_state=seed)
    return train, judged, None


def _new_users_and_topics(episodes: EpisodeSet, seed: int) -> Split:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ items of held-out pairs")
        return split_users_and_groups(episodes, 0.5, 0.5, random_state=seed)


# Half of the people train and half are judged; support and query share no group (a topic, say). In the second setting
# the query's groups are of no training pair either.
SETTINGS: dict[str, Callable[[EpisodeSet, int], Split]] = {
    "new users": _new_users,
    "new users and new topics": _new_users_and_topics,
}


def judge_people(
    episodes: EpisodeSet,
    encode: Encode,
    split: Callable[[EpisodeSet, int], Split],
    models: Makers,
    sizes: Sequence[Size],
    seeds: Sequence[int],
    progress: Progress = silent,
) -> Table:
    """Fit and judge every model on a split of the users a seed.

    Parameters
    ----------
    episodes : EpisodeSet
        With texts.
    encode : callable
        From all items and the training users to features.
    split : callable
        One of `SETTINGS`.
    models : mapping of str to callable
        From a seed to an unfitted estimator.
    sizes : sequence of int or None
    seeds : sequence of int
        Of the split, of the supports and of the models.
    progress : callable
        Told what is being done.
    """

    def users(seed: int) -> Users:
        train, judged, query = split(episodes, seed)
        table = encode(episodes.items or [], train).table
        return Users(train.with_features(table), judged.with_features(table), query)

    return judge_over_seeds(users, models, sizes, seeds, same_people=True, n_splits=_N_SPLITS, progress=progress)


def judgement_claims(table: Table) -> list[Verdict]:
    """Check what is claimed of real judgements."""
    return [never_below_pooled(table), above_paper(table), *never_below_any(table)]
