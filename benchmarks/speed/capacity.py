"""How time and memory of a default fit, and what it leaves, grow with users, pairs, items and features."""

from __future__ import annotations

import time
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks._support.areas import Found
from benchmarks._support.machine import peak_of_this_process
from skmrm import EpisodeSet, MetaRewardModel, episodes_from_arrays

__all__ = ["Size", "capacity", "plant"]

N_TASTES = 3


class Size(NamedTuple):
    """Users of so many pairs each; without `n_items`, every response is of one pair."""

    n_users: int
    n_pairs: int
    n_features: int
    n_items: int | None = None
    kernel: Literal["auto"] | None = "auto"


_FIRST = Size(1000, 20, 384)
_SIZES = (
    _FIRST,
    _FIRST._replace(kernel=None),
    _FIRST._replace(n_users=4000),
    _FIRST._replace(n_pairs=80),
    _FIRST._replace(n_features=96),
    _FIRST._replace(n_features=1536),
    _FIRST._replace(n_items=400),
    _FIRST._replace(n_users=4000, n_items=400),
    _FIRST._replace(n_users=16_000, n_items=400),
)


def plant(size: Size) -> EpisodeSet:
    """Draw users whose rewards are mixtures of a few linear ones, and what they choose."""
    rng, n = np.random.default_rng(0), size.n_users * size.n_pairs
    features = rng.standard_normal((size.n_items or 2 * n, size.n_features), np.float32)
    tastes = features @ (rng.standard_normal((size.n_features, N_TASTES)) / size.n_features**0.5).astype(np.float32)
    weights = np.append(np.ones((size.n_users, 1)), 1.5 * rng.standard_normal((size.n_users, N_TASTES - 1)), 1)
    user = np.repeat(np.arange(size.n_users), size.n_pairs)
    if size.n_items is None:
        ends = np.arange(2 * n).reshape(n, 2)
    else:
        first = rng.integers(size.n_items, size=n)
        ends = np.stack([first, (first + rng.integers(1, size.n_items, n)) % size.n_items], 1)
    margins = np.einsum("pek,pk->pe", tastes[ends], weights[user]) @ [1, -1]
    lost = margins + rng.logistic(size=n) < 0
    ends[lost] = ends[lost][:, ::-1]
    return episodes_from_arrays(features, ends[:, 0], ends[:, 1], user)


def capacity(bandwidth: float, quick: bool) -> Found:
    """Fit, save and adapt at several sizes, each in a process of its own, whose peak is the kernel's count."""
    sizes = (Size(40, 10, 16), Size(40, 10, 16, 30)) if quick else _SIZES
    rows = []
    for size in sizes:
        with get_context("spawn").Pool(1) as process:
            rows.append(process.apply(measure, (size,)))
    form = {"users": ",d", "pairs each": "d", "items": ",d", "features": ",d", "kernel": "s", "data, MB": ",.0f"}
    form |= {"fit, s": ",.1f", "fit, CPU s": ",.1f", "beside data, MB": ",.0f", "model, MB": ".2f"}
    form |= {"adapt, CPU us a user": ",.0f"}
    return Found("capacity: a default fit of feature vectors, saved, and adapt_many of all its users", form, rows)


def measure(size: Size) -> dict[str, Any]:
    """Seconds of one fit, and memory beside the data."""
    model = MetaRewardModel(kernel=size.kernel, random_state=0, device="cpu")
    model.fit(plant(Size(40, 10, 16))).adapt_many(plant(Size(40, 10, 16)))  # what the first calls load
    episodes = plant(size)
    before, began, cpu = peak_of_this_process(), time.perf_counter(), time.process_time()
    model.fit(episodes)
    row = {
        "users": size.n_users,
        "pairs each": size.n_pairs,
        "items": len(episodes.features),
        "features": size.n_features,
        "kernel": str(size.kernel),
        "data, MB": episodes.features.nbytes / 1e6,
        "fit, s": time.perf_counter() - began,
        "fit, CPU s": time.process_time() - cpu,
        "beside data, MB": 1e3 * (peak_of_this_process() - before),
    }
    with TemporaryDirectory() as folder:
        model.save(folder)
        row["model, MB"] = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
    began = time.process_time()
    model.adapt_many(episodes)
    return row | {"adapt, CPU us a user": 1e6 * (time.process_time() - began) / size.n_users}
