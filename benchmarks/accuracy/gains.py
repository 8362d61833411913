"""Curves of several seeds to one table: accuracy, worst tenth, and what the default gains over each of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.metrics import bootstrap_interval, worst_decile
from skmrm.model_selection import AdaptationCurve

__all__ = ["Interval", "Table", "by_user", "make_table"]

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # estimate, low, high; 95 %


@dataclass(frozen=True)
class Table:
    """Every model at every number of support pairs.

    Attributes
    ----------
    sizes : list of int or None
        Numbers of support pairs; None for all.
    n_users : list of int
        Users who have so many, each counted once.
    accuracy : dict of str to list of float
        Of each model at each size: mean over users, as `by_user` counts them; a fraction.
    worst_decile : dict of str to list of float
        Mean accuracy of the worst tenth of a seed's users, a mean over seeds; a fraction.
    gain : dict of str to list
        Accuracy of the default less that of each other model: estimate, low and high of a 95 % interval; a fraction.
    seconds : dict of str to float
        Median time of a fit over seeds.
    """

    sizes: list[int | None]
    n_users: list[int]
    accuracy: dict[str, list[float]]
    worst_decile: dict[str, list[float]]
    gain: dict[str, list[Interval]]
    seconds: dict[str, float]


def make_table(
    curves: Sequence[Mapping[str, AdaptationCurve]],
    seconds: Sequence[Mapping[str, float]] = (),
    *,
    same_people: bool,
    n_resamples: int = 2000,
) -> Table:
    """Summarise curves, one mapping of models a seed.

    Differences are paired, and their intervals are bootstrapped over users: over the values of `by_user`, so that the
    seeds in which a user is judged stay together, as one cluster, in every resample. They say how sure the difference
    is for other users of the same fitted models; that another draw of training users fits others is not in them.

    Parameters
    ----------
    curves : sequence of dict of str to AdaptationCurve
        The same models in every seed, "default" among them.
    seconds : sequence of dict of str to float
        Of fits.
    same_people : bool
        As of `by_user`.
    n_resamples : int
        Of the bootstrap.
    """
    first = curves[0]["default"]
    users = {name: by_user([seed[name] for seed in curves], same_people=same_people) for name in curves[0]}
    return Table(
        sizes=list(first.support_sizes),
        n_users=[int((~np.isnan(row)).sum()) for row in users["default"]],
        accuracy={name: [_mean(row) for row in values] for name, values in users.items()},
        worst_decile={name: _worst_deciles([seed[name] for seed in curves]) for name in users},
        gain={
            name: [_interval(one, two, n_resamples) for one, two in zip(users["default"], values, strict=True)]
            for name, values in users.items()
            if name != "default"
        },
        seconds={name: float(np.median([seed[name] for seed in seconds])) for name in (seconds[0] if seconds else ())},
    )


def by_user(curves: Sequence[AdaptationCurve], *, same_people: bool) -> Array:
    """Accuracy of each user, (n_sizes, n_users), a mean over the seeds in which the user is judged.

    A user who is judged in several seeds is one person who answered a number of questions, not several people: the
    user's values are averaged first, and whoever resamples users resamples these averages.

    Parameters
    ----------
    curves : sequence of AdaptationCurve
        One a seed, over the same sizes.
    same_people : bool
        True if a name stands for the same person in every seed, False if each seed simulated people of its own.

    Returns
    -------
    (n_sizes, n_users) array
        NaN where a user has too few support pairs in every seed.
    """
    people: dict[Any, int] = {}
    columns = [
        [people.setdefault(user if same_people else (seed, user), len(people)) for user in curve.users]
        for seed, curve in enumerate(curves)
    ]
    total = np.zeros((len(curves[0].support_sizes), len(people)))
    count = np.zeros_like(total)
    for curve, places in zip(curves, columns, strict=True):
        known = ~np.isnan(curve.accuracy)
        total[:, places] += np.where(known, curve.accuracy, 0.0)
        count[:, places] += known
    return np.asarray(total / np.where(count > 0, count, np.nan))


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.any(~np.isnan(values)) else math.nan


def _worst_deciles(curves: Sequence[AdaptationCurve]) -> list[float]:
    rows = [[worst_decile(row) if np.any(~np.isnan(row)) else math.nan for row in curve.accuracy] for curve in curves]
    return [_mean(column) for column in np.array(rows).T]


def _interval(one: Array, two: Array, n_resamples: int) -> Interval:
    if np.isnan(one + two).all():
        return (math.nan, math.nan, math.nan)
    found = bootstrap_interval(one, two, n_resamples=n_resamples)
    return (found.estimate, found.low, found.high)
