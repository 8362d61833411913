"""Times and the machine's own speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

__all__ = ["in_turn", "read_bandwidth"]


def in_turn(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of several things, run in turn so that all see the same machine; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if repeat > 0:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


def read_bandwidth(megabytes: int = 512, repeats: int = 5) -> float:
    """Bytes a second that all of torch's threads read from memory: the sum of an array that fits in no cache."""
    array = torch.ones(megabytes * 2**18)
    return array.numel() * 4 / in_turn({"sum": array.sum}, repeats)["sum"]
