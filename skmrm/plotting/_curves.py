"""Adaptation curves for displays: their numbers of choices by name and by row, and what may be drawn of them."""

from __future__ import annotations

from typing import Literal, get_args

from skmrm.model_selection import AdaptationCurve

__all__ = ["Metric", "adapting_on", "argument_problems", "row_of_size", "size_name"]

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
