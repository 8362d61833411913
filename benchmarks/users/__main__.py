"""A million users in one file: save, open, look up, score, update and forget, next to what the disk takes at least.

python -m benchmarks.users [--quick] [--only weights,whole] [--users N] [--folder FOLDER] [--output FILE]

Saving and everything else are processes of their own, whose peaks of memory are the kernel's count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._support.areas import Found, run_parts
from benchmarks._support.arguments import parts_parser, positive
from benchmarks._support.machine import peak_of_this_process
from benchmarks.users.planted import N_BASES, N_FEATURES, new_choices, planted_users, stand_in
from skmrm import UserModels

__all__ = ["PARTS", "main"]

PARTS = {  # what is written of each user, and which share of the users that asked for
    "weights": ("weights alone (26 numbers)", 1.0),
    "whole": ("weights, posterior covariance and ten choices (962 numbers)", 0.1),
}
_PAGE = 4096
_N_LOOKUPS = 1000


def part(name: str, n_users: int, folder: Path) -> Found:
    """Save users and work with the file, in two processes."""
    n_users = max(10, int(n_users * PARTS[name][1]))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        file = Path(scratch) / "users"
        rows = _in_a_process("save", name, n_users, file) + _in_a_process("use", name, n_users, file)
        size = file.stat().st_size
    title = (
        f"{name}: {n_users:,} users, K = {N_BASES}, {PARTS[name][0]}; {size / 1e6:.1f} MB, {size / n_users:.0f} bytes "
        "each; the floor is the time in which the disk takes, or gives, the bytes that there are"
    )
    form = {"act": "", "ms": ",.2f", "floor, ms": ",.2f", "peak, MB": ",.0f", "of that before, MB": ",.0f"}
    return Found(title, form, rows)


def save(name: str, n_users: int, file: Path) -> list[dict[str, Any]]:
    """Make users in memory, and write them."""
    users, laps = planted_users(n_users, name == "whole"), _Laps()
    laps("save", lambda: users.save(file), lambda: _write(file, file.stat().st_size))
    return laps.rows


def use(name: str, n_users: int, file: Path) -> list[dict[str, Any]]:
    """Open the file and do what a service does."""
    model, laps, size = stand_in(), _Laps(), file.stat().st_size
    X = np.random.default_rng(3).standard_normal((10, N_FEATURES), np.float32)
    model.base_rewards_.of_items(X)  # what the first call loads
    some = [f"user {row:07d}" for row in np.random.default_rng(4).integers(0, n_users, _N_LOOKUPS)]
    users: UserModels = laps("open", lambda: UserModels.load(file, model), lambda: _read(file, [0]))
    pages = np.random.default_rng(5).integers(0, size // _PAGE, _N_LOOKUPS).tolist()
    laps("look one user up", lambda: users[some[0]], lambda: _read(file, pages[:1]))
    laps(f"look {_N_LOOKUPS:,} users up", lambda: [users[user] for user in some], lambda: _read(file, pages))
    laps("count them", lambda: len(users))
    laps("score 10 items for all", lambda: users.predict(X), lambda: _read(file, range(size // _PAGE)))
    choices = new_choices(min(100, n_users))
    if name == "whole":
        laps(f"update {choices.n_users} users", lambda: users.update(choices))
    laps("forget one user", lambda: users.forget("user 0000000"), lambda: _write(file, size))
    several = [f"user {row:07d}" for row in range(1, min(n_users, 100))]
    laps(f"forget {len(several)} users", lambda: users.forget(several), lambda: _write(file, size))
    return laps.rows


class _Laps:
    """Times of one act after another, each done once: what they read and write is not what it was before."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def __call__(self, act: str, run: Callable[[], Any], floor: Callable[[], Any] | None = None) -> Any:
        before = 1e3 * peak_of_this_process()
        seconds, found = _timed(run)
        peak = 1e3 * peak_of_this_process()
        least = float("nan") if floor is None else _timed(floor)[0]
        row = {
            "act": act,
            "ms": 1e3 * seconds,
            "floor, ms": 1e3 * least,
            "peak, MB": peak,
            "of that before, MB": before,
        }
        self.rows.append(row)
        return found


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = run()
    return time.perf_counter() - began, found


def _write(beside: Path, n_bytes: int) -> None:
    """So many bytes, on the disk."""
    with tempfile.TemporaryFile(dir=beside.parent) as file:
        block = bytes(1 << 20)
        for start in range(0, n_bytes, len(block)):
            file.write(block[: n_bytes - start])
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, pages: Sequence[int]) -> None:
    with path.open("rb", buffering=0) as file:
        for page in pages:
            file.seek(page * _PAGE)
            file.read(_PAGE)


def _in_a_process(*work: object) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.users", "--work", json.dumps([str(given) for given in work])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for and print a table of each."""
    parser = parts_parser("benchmarks.users", __doc__.partition("\n")[0], PARTS)
    parser.add_argument("--users", type=positive, help="1,000,000, or 2,000 in a quick run")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        act, name, n_users, file = json.loads(options.work)
        print(json.dumps({"save": save, "use": use}[act](name, int(n_users), Path(file))))
        return 0
    n_users = options.users or (2_000 if options.quick else 1_000_000)
    parts = {name: partial(part, name, n_users, options.folder) for name in PARTS}
    return run_parts(options, parts, "each act once; files are in the system's cache, as they were just written", {})


if __name__ == "__main__":
    sys.exit(main())
