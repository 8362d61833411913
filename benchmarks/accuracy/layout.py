"""Tables of accuracies and gains as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks._support.columns import as_columns
from benchmarks.accuracy.gains import Interval, Table
from benchmarks.accuracy.judging import Size

__all__ = ["MODEL_NAMES", "in_nats", "points", "size_name", "table_text", "with_half_width", "with_interval"]

MODEL_NAMES = {
    "default": "default",
    "paper": "paper",
    "lore": "LoRe",
    "pooled": "pooled",
    "bent": "pooled, bent",
    "per_user": "per user",
    "hierarchical": "hierarchical",
    "spectral": "spectral, 4",
    "oracle": "Bayes oracle",
    "reader": "text oracle",
    "truth": "true rewards",
}


def table_text(table: Table) -> str:
    """Write what every model reaches, and what the default gains over it, one row a number of support pairs."""
    names = list(table.accuracy)
    others = [name for name in table.gain if name != "truth"]  # known ahead, and of no use as a bar

    def rows(models: list[str], cell: Callable[[str, int], str]) -> str:
        cells = [
            [size_name(size), str(n_users), *(cell(name, row) for name in models)]
            for row, (size, n_users) in enumerate(zip(table.sizes, table.n_users, strict=True))
        ]
        return as_columns(["pairs", "users", *(MODEL_NAMES[name] for name in models)], cells)

    parts = [
        "  accuracy, % (worst tenth of users)",
        rows(names, partial(_accuracy, table)),
        "  log loss, nats a choice",
        rows(names, lambda name, row: _nats(table.log_loss[name][row])),
        "  default minus model, points [95 % interval]",
        rows(others, lambda name, row: with_interval(table.gain[name][row])),
        "  the same of the worst tenth of users",
        rows(others, lambda name, row: with_interval(table.worst_gain[name][row])),
        "  log loss of model minus default, nats [95 % interval]",
        rows(others, lambda name, row: in_nats(table.loss_gain[name][row])),
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


def in_nats(gain: Interval) -> str:
    """Write a difference of log losses, with its interval."""
    estimate, low, high = gain
    return "-" if math.isnan(estimate) else f"{estimate:+.4f} [{low:+.4f}, {high:+.4f}]"


def with_half_width(gain: Interval) -> str:
    """Write a difference of fractions in points, with half the width of its interval."""
    return "-" if math.isnan(gain[0]) else f"{points(gain[0])} ± {50 * (gain[2] - gain[1]):.2f}"


def _accuracy(table: Table, name: str, row: int) -> str:
    accuracy, worst = table.accuracy[name][row], table.worst_decile[name][row]
    return "-" if math.isnan(accuracy) else f"{100 * accuracy:.1f} ({100 * worst:.1f})"


def _nats(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _seconds(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{MODEL_NAMES[name]} {value:.1f}" for name, value in seconds.items())
