"""Curves of several seeds to one table: accuracy, worst tenth and log loss, and the default's gains in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.metrics import bootstrap_interval
from skmrm.model_selection import AdaptationCurve

__all__ = ["UNKNOWN", "Interval", "Table", "by_user", "make_table", "times_drawn", "worst_tenths"]

Array = NDArray[np.float64]
Counts = NDArray[np.int32]
Interval = tuple[float, float, float]  # estimate, low, high; 95 %
UNKNOWN: Interval = (math.nan, math.nan, math.nan)


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
    log_loss : dict of str to list of float
        Mean over users, in nats a choice.
    gain : dict of str to list
        Accuracy of the default less that of each other model: estimate, low and high of a 95 % interval; a fraction.
    worst_gain : dict of str to list
        The same of `worst_decile`; the tenth may be other users under the other model.
    loss_gain : dict of str to list
        Log loss of each other model less that of the default.
    seconds : dict of str to float
        Median time of a fit over seeds.
    """

    sizes: list[int | None]
    n_users: list[int]
    accuracy: dict[str, list[float]]
    worst_decile: dict[str, list[float]]
    log_loss: dict[str, list[float]]
    gain: dict[str, list[Interval]]
    worst_gain: dict[str, list[Interval]]
    loss_gain: dict[str, list[Interval]]
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
    seeds in which a user is judged stay together, as one cluster, in every resample. The worst tenth is looked for anew
    in each. They say how sure the difference
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
    by_model = {name: [seed[name] for seed in curves] for name in curves[0]}
    accuracy = {name: by_user(seeds, same_people=same_people) for name, seeds in by_model.items()}
    log_loss = {name: by_user(seeds, "log_loss", same_people=same_people) for name, seeds in by_model.items()}
    places, n_people = _places(by_model["default"], same_people=same_people)
    times = times_drawn(n_people, n_resamples)
    drawn = {name: _mean_worst(seeds, [times[:, place] for place in places]) for name, seeds in by_model.items()}
    once = [np.ones((1, len(place)), np.int32) for place in places]
    worst = {name: _mean_worst(seeds, once)[:, 0] for name, seeds in by_model.items()}
    others = [name for name in by_model if name != "default"]
    return Table(
        sizes=list(by_model["default"][0].support_sizes),
        n_users=[int((~np.isnan(row)).sum()) for row in accuracy["default"]],
        accuracy={name: _means(values) for name, values in accuracy.items()},
        worst_decile={name: values.tolist() for name, values in worst.items()},
        log_loss={name: _means(values) for name, values in log_loss.items()},
        gain={name: _intervals(accuracy["default"], accuracy[name], n_resamples) for name in others},
        worst_gain={
            name: _percentiles(worst["default"] - worst[name], drawn["default"] - drawn[name]) for name in others
        },
        loss_gain={name: _intervals(log_loss[name], log_loss["default"], n_resamples) for name in others},
        seconds={name: float(np.median([seed[name] for seed in seconds])) for name in (seconds[0] if seconds else ())},
    )


def by_user(curves: Sequence[AdaptationCurve], metric: str = "accuracy", *, same_people: bool) -> Array:
    """Accuracy or log loss of each user, (n_sizes, n_users), a mean over the seeds in which the user is judged.

    A user who is judged in several seeds is one person who answered a number of questions, not several people: the
    user's values are averaged first, and whoever resamples users resamples these averages.

    Parameters
    ----------
    curves : sequence of AdaptationCurve
        One a seed, over the same sizes.
    metric : {"accuracy", "log_loss"}
    same_people : bool
        True if a name stands for the same person in every seed, False if each seed simulated people of its own.

    Returns
    -------
    (n_sizes, n_users) array
        NaN where a user has too few support pairs in every seed.
    """
    places, n_people = _places(curves, same_people=same_people)
    total = np.zeros((len(curves[0].support_sizes), n_people))
    count = np.zeros_like(total)
    for curve, place in zip(curves, places, strict=True):
        values: Array = getattr(curve, metric)
        known = ~np.isnan(values)
        total[:, place] += np.where(known, values, 0.0)
        count[:, place] += known
    return np.asarray(total / np.where(count > 0, count, np.nan))


def times_drawn(n_people: int, n_resamples: int, seed: int = 0) -> Counts:
    """How often each person is in each resample of all, (n_resamples, n_people)."""
    draws = np.random.default_rng(seed).multinomial(n_people, np.full(n_people, 1 / n_people), n_resamples)
    return draws.astype(np.int32)


def worst_tenths(values: Array, times: Counts) -> Array:
    """Mean of the lowest tenth of users in each resample (n_resamples,), as `worst_decile` has it.

    Parameters
    ----------
    values : (n_users,) array
        Users with NaN are left out.
    times : (n_resamples, n_users) int array
        How often each user is in each resample; NaN for one that holds nobody.
    """
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]  # NaN comes last
    seen = times[:, order].cumsum(1)
    n_users = seen[:, -1] if len(order) else np.zeros(len(times))
    n_worst = np.where(n_users > 0, np.maximum(1, np.rint(n_users / 10)), np.nan)
    taken = np.diff(np.fmin(seen, n_worst[:, None]), axis=1, prepend=0)
    return np.asarray(taken @ values[order] / n_worst)


def _places(curves: Sequence[AdaptationCurve], *, same_people: bool) -> tuple[list[list[int]], int]:
    """Of each seed's users among all people, and how many people these are."""
    people: dict[Any, int] = {}
    places = [
        [people.setdefault(user if same_people else (seed, user), len(people)) for user in curve.users]
        for seed, curve in enumerate(curves)
    ]
    return places, len(people)


def _mean_worst(curves: Sequence[AdaptationCurve], times: Sequence[Counts]) -> Array:
    """Worst tenth (n_sizes, n_resamples) of each seed's users in each resample, a mean over the seeds that have any."""
    found = np.array(
        [[worst_tenths(row, drawn) for row in curve.accuracy] for curve, drawn in zip(curves, times, strict=True)]
    )
    known = ~np.isnan(found)
    count = known.sum(0)
    return np.asarray(np.where(known, found, 0.0).sum(0) / np.where(count > 0, count, np.nan))


def _means(values: Array) -> list[float]:
    return [float(row[~np.isnan(row)].mean()) if np.any(~np.isnan(row)) else math.nan for row in values]


def _intervals(values: Array, others: Array, n_resamples: int) -> list[Interval]:
    """Of the mean difference at each size."""
    rows = zip(values, others, strict=True)
    return [UNKNOWN if np.isnan(one + two).all() else _interval(one, two, n_resamples) for one, two in rows]


def _interval(one: Array, two: Array, n_resamples: int) -> Interval:
    found = bootstrap_interval(one, two, n_resamples=n_resamples)
    return (found.estimate, found.low, found.high)


def _percentiles(estimates: Array, drawn: Array) -> list[Interval]:
    """Of what was estimated at each size (n_sizes,) and in each resample (n_sizes, n_resamples)."""
    bounds = [(math.nan, math.nan) if np.isnan(row).all() else np.nanquantile(row, (0.025, 0.975)) for row in drawn]
    return [(float(estimate), float(low), float(high)) for estimate, (low, high) in zip(estimates, bounds, strict=True)]
