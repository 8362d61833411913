"""What was found as text: aligned columns, and the machine it was found on."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import skmrm
from benchmarks.accuracy.contenders import Size
from benchmarks.accuracy.gains import Interval, Table

__all__ = [
    "MODEL_NAMES",
    "as_columns",
    "machine",
    "points",
    "size_name",
    "table_text",
    "with_half_width",
    "with_interval",
]

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


def machine() -> dict[str, str]:
    """Name the machine and the versions that numbers and times come from."""
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()}",
        "memory": _memory(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, skmrm {skmrm.__version__}",
    }


def as_columns(header: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 2) -> str:
    """Align cells to the right, and the first column to the left."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    aligned = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    return "\n".join((" " * indent + "  ".join(cells)).rstrip() for cells in aligned)


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


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"
