"""Training in the paper's setting: an epoch against a plain loop over users, and how its cost grows."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.speed.plain_loop import PlainModel, plain_epochs
from benchmarks.speed.world import World, make_start, make_world, n_bytes
from skmrm.meta.adaptation import GradientAdaptation
from skmrm.meta.basis import Parameters
from skmrm.meta.outer.epochs import user_batches
from skmrm.meta.outer.loop import OuterOptions, meta_train

__all__ = ["PAPER_RULE", "fit", "growth", "train", "train_plainly"]

PAPER_RULE = GradientAdaptation(step_size=1e-3, optimizer="adam", simplex=True)


def train(world: World, n_bases: int, users_per_batch: int, epochs: int) -> Parameters:
    """Train as the package does, in the paper's setting without validation users."""
    place, dtype = world.table.device, torch.promote_types(world.table.dtype, torch.float32)
    start = {name: value.to(place) for name, value in make_start(world.table.shape[1], n_bases, dtype).items()}
    everyone = torch.ones(world.pairs.n_users, dtype=torch.bool, device=place)
    return meta_train(
        start,
        PAPER_RULE,
        world.table,
        world.pairs,
        lambda: world.split,
        everyone,
        ~everyone,
        [],
        _options(users_per_batch, epochs),
        torch.Generator().manual_seed(2),
    ).params


def train_plainly(world: World, users_per_batch: int, epochs: int) -> PlainModel:
    """Train one user at a time, on the same splits and batches."""
    start = make_start(world.table.shape[1], 2, world.table.dtype)
    model = PlainModel(start["bases"], start["start"])
    generator = torch.Generator().manual_seed(2)
    users = torch.arange(world.pairs.n_users)
    drawn = [(world.split, list(user_batches(users, users_per_batch, generator))) for _ in range(epochs)]
    plain_epochs(model, world.table, world.pairs, drawn, _options(users_per_batch, epochs))
    return model


def _options(users_per_batch: int, epochs: int) -> OuterOptions:
    return OuterOptions(users_per_batch=users_per_batch, max_epochs=epochs, robust_ratio=0.5, robust_temperature=0.5)


def fit(bandwidth: float, quick: bool) -> Found:
    """Time epochs of the paper's setting against the plain loop and the floor."""
    rows = []
    epochs = 2 if quick else 5
    for d, users_per_batch in ((384, 2), (384, 64), (4096, 64)):
        world = make_world(64 if quick else 434, 30, d)
        seconds = in_turn(
            {
                "ours": partial(train, world, 2, users_per_batch, epochs),
                "plain": partial(train_plainly, world, users_per_batch, 1),
            },
            1 if quick else 5,
        )
        ours, floor = seconds["ours"] / epochs, 2 * n_bytes(world.table) / bandwidth
        rows.append(
            {
                "d": d,
                "users a batch": users_per_batch,
                "epoch, ms": 1e3 * ours,
                "plain loop, ms": 1e3 * seconds["plain"],
                "times faster": seconds["plain"] / ours,
                "floor, ms": 1e3 * floor,
                "times the floor": ours / floor,
            }
        )
    form = {
        "d": "d",
        "users a batch": "d",
        "epoch, ms": ".2f",
        "plain loop, ms": ".0f",
        "times faster": ".0f",
        "floor, ms": ".2f",
        "times the floor": ".1f",
    }
    title = "fit: an epoch of the paper's setting, 434 users of 30 pairs; floor: all features read from memory twice"
    return Found(title, form, rows)


def growth(bandwidth: float, quick: bool) -> Found:
    """Time how cost grows with users and with base functions."""
    base = 100 if quick else 2000
    worlds = {n: make_world(n, 20, 384) for n in (base, 2 * base)}
    runs = {f"{n} users, K = 8": partial(train, world, 8, 64, 2) for n, world in worlds.items()}
    runs[f"{base} users, K = 64"] = partial(train, worlds[base], 64, 64, 2)
    seconds = in_turn(runs, 1 if quick else 5)
    first = next(iter(seconds.values()))
    rows = [{"": name, "epoch, ms": 500 * value, "ratio": value / first} for name, value in seconds.items()]
    return Found("growth: an epoch of training", {"": "s", "epoch, ms": ".1f", "ratio": ".2f"}, rows)
