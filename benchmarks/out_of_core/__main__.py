"""Fit, adapt and score on features several times larger than the memory allowed.

    python -m benchmarks.out_of_core --gigabytes 20 --limit 2 --folder /some/disk

Planted users whose features are written to one file; a process of its own, held to the limit by a control group where
there is one to be had (as root, or under systemd), reads them through a memory map. Its peak is the kernel's own count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks._support.columns import as_columns
from benchmarks._support.files import write_json
from benchmarks._support.machine import peak_of_this_process, print_machine
from benchmarks.out_of_core.memory_limit import MemoryGroup
from benchmarks.out_of_core.planted import Planted, make_file

__all__ = ["main", "work"]


def work(planted: Planted, path: Path, max_memory: float) -> dict[str, float]:
    """Fit on nine tenths of the users; adapt all of the others, and judge them; seconds, accuracy and peak memory."""
    from skmrm import MetaRewardModel, episodes_from_arrays

    seconds = {}
    began = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[f"{name}, s"], began = now - began, now
        print(
            f"{name}: {seconds[f'{name}, s']:.0f} s, peak {peak_of_this_process():.2f} GB", file=sys.stderr, flush=True
        )

    first = 2 * np.arange(planted.n_users * planted.n_pairs)
    episodes = episodes_from_arrays(planted.features(path), first, first + 1, planted.users())
    lap("check")
    held_out = planted.n_users // 10
    model = MetaRewardModel(max_memory=max_memory, max_epochs=2, random_state=0)
    model.fit(episodes[held_out:])
    lap("fit")
    users = model.adapt_many(episodes)
    lap("adapt_many")
    accuracy = model.score(episodes[:held_out])
    lap("score")
    return seconds | {"users adapted": len(users), "accuracy, %": 100 * accuracy, "peak, GB": peak_of_this_process()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the file, work on it in a limited process, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.out_of_core", description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of features")
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes that the process may take")
    parser.add_argument("--max-memory", type=float, default=0.9, help="of the estimator, in gibibytes")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where there is room for the file")
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        planted = Planted(**json.loads(options.work))
        print(json.dumps(work(planted, options.folder, options.max_memory)))
        return 0
    here = print_machine()
    planted = Planted.of_size(options.gigabytes)
    path = options.folder / f"features-{os.getpid()}.f32"
    try:
        make_file(planted, path)
        size = path.stat().st_size / 1e9
        with MemoryGroup(int(options.limit * 1e9)) as group:
            command = [sys.executable, "-m", "benchmarks.out_of_core", "--work", json.dumps(asdict(planted))]
            command += ["--folder", str(path), "--max-memory", str(options.max_memory)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, preexec_fn=group.join)
            found = json.loads(done.stdout) | group.found()
    finally:
        path.unlink(missing_ok=True)
    print(f"\n{size:.1f} GB of features, {planted.n_users} users of {planted.n_pairs} pairs, d = {planted.d}; {group}")
    print(as_columns(list(found), [[f"{value:.1f}" for value in found.values()]]))
    if options.output is not None:
        write_json(options.output, {"machine": here, "gigabytes": size, "limit": options.limit, "found": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
