"""What is used most, alone and next to processes that keep cores busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks._support.areas import Found
from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences

__all__ = ["busy", "neighbours"]

# Ends by itself should nobody be left to end it.
_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**6): pass"


_LOOP = "plain loop"


class _Task(NamedTuple):
    """Something to time, so many calls at a time."""

    run: Callable[[], object]
    calls: int = 1


class _Seconds(NamedTuple):
    """Of a call."""

    wall: float
    cpu: float


@contextmanager
def busy(n: int) -> Iterator[None]:
    """So many processes, each of which keeps a core busy for as long as this lasts."""
    processes = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def neighbours(bandwidth: float, quick: bool) -> Found:
    """Time a default fit, adapt_many and adapt alone, next to one busy process, and next to one for each core."""
    n_cores, tasks = os.cpu_count() or 1, _tasks(quick)
    counts = sorted({0, 1, n_cores})
    found: dict[tuple[str, int], list[_Seconds]] = {(name, n): [] for name in tasks for n in counts}
    for repeat in range(2 if quick else 6):
        for n in counts:
            with busy(n):
                for name, task in tasks.items():
                    seconds = _seconds(task)
                    if repeat > 0:  # the first round is not counted
                        found[name, n].append(seconds)
    wall = {key: 1e3 * median(seconds.wall for seconds in times) for key, times in found.items()}
    slower = {(name, n): value / wall[name, 0] for (name, n), value in wall.items()}
    rows = [
        {
            "": name,
            "neighbours": n,
            "wall, ms": wall[name, n],
            "CPU, ms": 1e3 * median(seconds.cpu for seconds in times),
            "times alone": slower[name, n],
            "of the loop's": slower[name, n] / slower[_LOOP, n],
        }
        for (name, n), times in found.items()
    ]
    form = {"": "s", "neighbours": "d"} | dict.fromkeys(list(rows[0])[2:], ".2f")
    title = (
        f"neighbours: next to processes that keep cores busy, of {n_cores} cores; of the loop's: times alone, over "
        "those of a plain loop of one thread that waits for nobody"
    )
    return Found(title, form, rows)


def _tasks(quick: bool) -> dict[str, _Task]:
    few = make_user_preferences(n_users=30, n_pairs=20, n_features=8, n_bases=3, random_state=0).episodes
    n_users = 200 if quick else 10_000
    many = make_user_preferences(n_users=n_users, n_pairs=20, n_features=8, n_bases=3, random_state=0).episodes
    unfitted = MetaRewardModel(max_epochs=1 if quick else 20, random_state=0, device="cpu")
    wide = MetaRewardModel(n_bases=8, kernel=None, max_epochs=0, random_state=0, device="cpu").fit(few)
    X = np.asarray(few.features)
    user = [{"chosen": X[i], "rejected": X[i + 1]} for i in range(20)]
    return {
        _LOOP: _Task(partial(sum, range(10**6 if quick else 3 * 10**7))),
        "fit, 30 users": _Task(partial(unfitted.fit, few)),
        f"adapt_many, {n_users // 10} users": _Task(partial(wide.adapt_many, many[: n_users // 10])),
        f"adapt_many, {n_users} users": _Task(partial(wide.adapt_many, many)),
        "adapt, 20 pairs": _Task(partial(wide.adapt, user), calls=5 if quick else 200),
    }


def _seconds(task: _Task) -> _Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(task.calls):
        task.run()
    return _Seconds((time.perf_counter() - wall) / task.calls, (time.process_time() - cpu) / task.calls)
