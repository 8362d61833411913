"""Fit every model on some users and judge it on others: the same users, supports and queries for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import ArrayLike

from benchmarks.accuracy.gains import Table, make_table
from skmrm import EpisodeSet
from skmrm.model_selection import AdaptationCurve, adaptation_curve

__all__ = ["Makers", "Progress", "Size", "Users", "fit_and_judge", "judge_over_seeds", "silent"]

Makers = Mapping[str, Callable[[int], Any]]
Size = int | None
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Users:
    """Users to learn from and others to judge on.

    Attributes
    ----------
    train, judged : EpisodeSet
        No user in both, or the same users, who are then judged on choices that they were not fitted on.
    query : (n_pairs,) bool array, optional
        Of the judged; as of `adaptation_curve`.
    known : mapping
        What needs no fit to be judged on them, such as an oracle.
    """

    train: EpisodeSet
    judged: EpisodeSet
    query: ArrayLike | None = None
    known: Mapping[str, Any] = field(default_factory=dict)


def silent(line: str) -> None:
    """Tell nobody what is being done."""


def judge_over_seeds(
    draw: Callable[[int], Users],
    models: Makers,
    sizes: Sequence[Size],
    seeds: Sequence[int],
    *,
    same_people: bool,
    n_splits: int = 1,
    progress: Progress = silent,
) -> Table:
    """Fit and judge every model on the users of each seed, and summarise.

    Parameters
    ----------
    draw : callable
        From a seed to users.
    models : mapping of str to callable
        From a seed to an unfitted estimator.
    sizes : sequence of int or None
        Numbers of support pairs.
    seeds : sequence of int
        Of the users, of the models and of the supports.
    same_people : bool
        True if a name stands for the same person in every seed, False if each seed simulates people of its own.
    n_splits : int
        Support/query splits of each user.
    progress : callable
        Told what is being done.
    """
    curves, seconds = [], []
    for seed in seeds:
        progress(f"seed {seed}")
        found, took = fit_and_judge(models, draw(seed), sizes, seed, n_splits=n_splits)
        curves.append(found)
        seconds.append(took)
    return make_table(curves, seconds, same_people=same_people)


def fit_and_judge(
    models: Makers, users: Users, sizes: Sequence[Size], seed: int, *, n_splits: int = 1
) -> tuple[dict[str, AdaptationCurve], dict[str, float]]:
    """Fit and judge every model in one seed.

    Parameters
    ----------
    models, sizes, n_splits
        As of `judge_over_seeds`.
    users : Users
    seed : int
        Of the models and of the supports.

    Returns
    -------
    curves : dict of str to AdaptationCurve
    seconds : dict of str to float
        Of each fit.
    """
    fitted, seconds = {}, {}
    for name, make in models.items():
        began = time.perf_counter()
        fitted[name] = make(seed).fit(users.train)
        seconds[name] = time.perf_counter() - began
    curves = {
        name: adaptation_curve(
            model, users.judged, support_sizes=sizes, n_splits=n_splits, query=users.query, random_state=seed
        )
        for name, model in {**fitted, **users.known}.items()
    }
    return curves, seconds
