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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._support.files import write_json
from benchmarks.accuracy.layout import as_columns, machine
from benchmarks.out_of_core.memory_limit import MemoryGroup, peak_of_this_process

__all__ = ["Planted", "main", "make_file", "work"]

N_BASES = 3
CHUNK_USERS = 500


@dataclass(frozen=True)
class Planted:
    """Users of equally many pairs whose rewards are mixtures of a few linear ones.

    Attributes
    ----------
    n_users, n_pairs, d : int
    seed : int
    """

    n_users: int
    n_pairs: int
    d: int
    seed: int = 0

    @classmethod
    def of_size(cls, gigabytes: float, n_pairs: int = 20, d: int = 1024) -> Planted:
        """As many users as their float32 features fill so many gigabytes."""
        return cls(max(20, int(gigabytes * 1e9 / (2 * n_pairs * d * 4))), n_pairs, d)

    @property
    def n_items(self) -> int:
        """Rows of the file: every response is of one pair, a user's next to each other."""
        return 2 * self.n_users * self.n_pairs

    def features(self, path: Path) -> np.memmap[Any, np.dtype[np.float32]]:
        """Map the file."""
        return np.memmap(path, np.float32, "r", shape=(self.n_items, self.d))

    def users(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """User of each pair."""
        return np.repeat(np.arange(self.n_users), self.n_pairs)


def make_file(planted: Planted, path: Path) -> None:
    """Write features, and so that the first item of each pair is the preferred one."""
    rng = np.random.default_rng(planted.seed)
    bases = rng.standard_normal((N_BASES, planted.d)).astype(np.float32) / planted.d**0.5
    with path.open("wb") as file:
        for start in range(0, planted.n_users, CHUNK_USERS):
            n = min(CHUNK_USERS, planted.n_users - start)
            table = rng.standard_normal((n, planted.n_pairs, 2, planted.d), dtype=np.float32)
            weights = np.concatenate([np.ones((n, 1)), 1.5 * rng.standard_normal((n, N_BASES - 1))], 1)
            gaps = np.einsum("upik,uk->upi", table @ bases.T, weights)
            wins = gaps[..., 0] - gaps[..., 1] + rng.logistic(size=gaps.shape[:2]) > 0
            table[~wins] = table[~wins][:, ::-1]
            file.write(table.tobytes())
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # what is read later comes from the disk, not from what was kept of writing
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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
    here = machine()
    print("\n".join(f"{name}: {value}" for name, value in here.items()), flush=True)
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
