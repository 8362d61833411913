"""Adaptation curves for displays: computed for a model and its baseline, and looked up by number of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skmrm._bootstrap import bootstrap_interval, simultaneous_intervals
from skmrm._judging import encoded
from skmrm._support.wording import described
from skmrm.episodes import EpisodeSet, as_episode_set
from skmrm.model_selection import AdaptationCurve, adaptation_curve

__all__ = [
    "Metric",
    "adapting_on",
    "argument_problems",
    "baseline_of",
    "check_curves",
    "curves_of",
    "mean_by_size",
    "row_of_size",
    "size_name",
]

Metric = Literal["accuracy", "log_loss"]


def size_name(n_support: int | None) -> str:
    """Name a number of choices on an axis: ``10``, or ``all``."""
    return "all" if n_support is None else str(n_support)


def adapting_on(n_support: int | None) -> str:
    """Words for a legend: ``before adapting``, ``adapted on 1 choice``, ``adapted on all choices``."""
    if n_support == 0:
        return "before adapting"
    return f"adapted on {size_name(n_support)} {'choice' if n_support == 1 else 'choices'}"


def row_of_size(curve: AdaptationCurve, n_support: int | None) -> int:
    """Row of a number of choices in the arrays of a curve, or an error that lists what there is."""
    if n_support not in curve.support_sizes:
        raise ValueError(
            f"n_support must be one of the curve's support_sizes, {curve.support_sizes}, got {n_support!r}: "
            "compute the curve with that size among its support_sizes"
        )
    return curve.support_sizes.index(n_support)


def check_curves(curves: Any) -> list[str]:
    """What keeps some named curves from being compared with each other."""
    if not isinstance(curves, Mapping) or not curves:
        return [f"curves must be a dict from names to AdaptationCurve, with at least one, got {described(curves)}"]
    strangers = {name: curve for name, curve in curves.items() if not isinstance(curve, AdaptationCurve)}
    if strangers:
        name, curve = next(iter(strangers.items()))
        return [f"curves must be AdaptationCurve, as adaptation_curve returns, got {described(curve)} for {name!r}"]
    remedy = "compute all curves with the same episodes, support_sizes, n_splits and random_state"
    first, *others = curves.values()
    problems = []
    if any(other.support_sizes != first.support_sizes for other in others):
        listed = "; ".join(f"{name!r}: {curve.support_sizes}" for name, curve in curves.items())
        problems.append(f"curves must have the same support_sizes, got {listed}: {remedy}")
    if any(not np.array_equal(other.users, first.users) for other in others):
        listed = ", ".join(f"{name!r}: {len(curve.users)} users" for name, curve in curves.items())
        problems.append(f"curves must be of the same users in the same order, got others ({listed}): {remedy}")
    elif any(not np.allclose(other.n_support, first.n_support) for other in others):
        problems.append(f"curves must be over the same splits, got other numbers of support pairs: {remedy}")
    return problems


def argument_problems(names: list[str], metric: str, relative_to: str | None, level: float) -> list[str]:
    """What is wrong with the arguments that say what to draw of the named curves."""
    problems = []
    if metric not in get_args(Metric):
        problems.append(f"metric must be one of {', '.join(get_args(Metric))}, got {metric!r}")
    if relative_to is not None and relative_to not in names:
        problems.append(f"relative_to must name one of the curves ({', '.join(names)}), got {relative_to!r}")
    elif relative_to is not None and len(names) < 2:
        problems.append(f"relative_to={relative_to!r} needs another curve to compare, got that one alone: pass two")
    if not 0 < level < 1:
        problems.append(f"level must lie strictly between 0 and 1, got {level!r}")
    return problems


def mean_by_size(
    values: NDArray[np.float64],
    other: NDArray[np.float64] | None,
    known: NDArray[np.bool_],
    level: float,
    simultaneous: bool,
) -> NDArray[np.float64]:
    """Mean over the known users at each size, of the values or of their difference, with its interval.

    Columns are the estimate, low and high, (n_sizes, 3); NaN at a size that no user reaches.
    """
    table = np.full((len(known), 3), np.nan)
    reached = np.flatnonzero(known.any(1))
    values = np.where(known, values, np.nan)[reached]
    other = None if other is None else other[reached]
    if simultaneous:
        found = simultaneous_intervals(values, other, level=level)
    else:
        found = [
            bootstrap_interval(row, None if other is None else other[place], level=level)
            for place, row in enumerate(values)
        ]
    table[reached] = np.reshape([(interval.estimate, interval.low, interval.high) for interval in found], (-1, 3))
    return table


def baseline_of(model: Any, baseline: Any) -> Any:
    """The baseline asked for, else the pooled model that the fit made on its way, else None."""
    return getattr(model, "pooled_model_", None) if baseline is None else baseline


def curves_of(
    models: Sequence[Any], episodes: Any, support_sizes: Sequence[int | None], curve_kw: Mapping[str, Any] | None
) -> list[AdaptationCurve]:
    """Curve of each model over the same users, splits and supports; texts are encoded once for each encoder."""
    given = dict(curve_kw or {})
    if problems := _keyword_problems(given):
        raise ValueError("; ".join(problems))
    checked = as_episode_set(episodes, min_pairs=0, context="adaptation_curve").compact()
    sets: dict[int, EpisodeSet] = {}
    curves = []
    for model in models:
        encoder = id(getattr(model, "encoder_", None))
        if encoder not in sets:
            sets[encoder] = encoded(model, checked)
        curves.append(adaptation_curve(model, sets[encoder], support_sizes=tuple(support_sizes), **given))
    return curves


def _keyword_problems(curve_kw: dict[str, Any]) -> list[str]:
    problems = []
    if "support_sizes" in curve_kw:
        problems.append("curve_kw must leave out support_sizes: the display has a parameter for numbers of choices")
    if not isinstance(curve_kw.get("random_state", 0), Integral):
        problems.append(
            "curve_kw['random_state'] must be an integer, so that all models are judged on the same splits, "
            f"got {described(curve_kw['random_state'])}"
        )
    return problems
