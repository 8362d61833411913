"""Tables of accuracies and gains as text."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks._support.columns import as_columns
from benchmarks.accuracy.gains import Interval, Table
from benchmarks.accuracy.judging import Size

__all__ = ["MODEL_NAMES", "points", "size_name", "table_text", "with_half_width", "with_interval"]

MODEL_NAMES = {
    "default": "default",
    "paper": "paper",
    "lore": "LoRe",
    "pooled": "pooled",
    "bent": "pooled, bent",
    "per_user": "per user",
    "oracle": "Bayes oracle",
    "reader": "text oracle",
    "truth": "true rewards",
}


def table_text(table: Table) -> str:
    """Write the accuracy and worst tenth of every model, and the default's gains, one row a number of support pairs."""
    names = list(table.accuracy)
    others = [name for name in table.gain if name != "truth"]  # known ahead, and of no use as a bar
    accuracy = [
        [size_name(size), str(n_users), *(_accuracy(table, name, row) for name in names)]
        for row, (size, n_users) in enumerate(zip(table.sizes, table.n_users, strict=True))
    ]
    gains = [
        [size_name(size), *(with_interval(table.gain[name][row]) for name in others)]
        for row, size in enumerate(table.sizes)
    ]
    parts = [
        "  accuracy, % (worst tenth of users)",
        as_columns(["pairs", "users", *(MODEL_NAMES[name] for name in names)], accuracy),
        "  default minus model, points [95 % interval]",
        as_columns(["pairs", *(MODEL_NAMES[name] for name in others)], gains),
    ]
    if table.seconds:
        parts.append("  median time of a fit, s: " + _seconds(table.seconds))
    return "\n".join(parts)


def size_name(size: Size) -> str:
    """Write a number of support pairs: "all" for None."""
    return "all" if size is None else str(size)


def points(value: float) -> str:
    """Write a difference of fractions in points."""
    return "-" if math.isnan(value) else f"{100 * value:+.2f}"


def with_interval(gain: Interval) -> str:
    """Write a difference of fractions in points, with its interval."""
    estimate, low, high = (points(value) for value in gain)
    return estimate if math.isnan(gain[0]) else f"{estimate} [{low}, {high}]"


def with_half_width(gain: Interval) -> str:
    """Write a difference of fractions in points, with half the width of its interval."""
    return "-" if math.isnan(gain[0]) else f"{points(gain[0])} ± {50 * (gain[2] - gain[1]):.2f}"


def _accuracy(table: Table, name: str, row: int) -> str:
    accuracy, worst = table.accuracy[name][row], table.worst_decile[name][row]
    return "-" if math.isnan(accuracy) else f"{100 * accuracy:.1f} ({100 * worst:.1f})"


def _seconds(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{MODEL_NAMES[name]} {value:.1f}" for name, value in seconds.items())
