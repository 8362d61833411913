"""What is timed: training in the paper's setting, adapting many users and one, and how cost grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.speed.plain_loop import PlainModel, plain_adapt, plain_epochs, plain_map_adapt, plain_map_by_autograd
from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.meta.adaptation import Adaptation, GradientAdaptation, MapAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.basis import Parameters, item_rewards
from skmrm.meta.folds import Split
from skmrm.meta.outer.epochs import user_batches
from skmrm.meta.outer.loop import OuterOptions, meta_train
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import n_cached_rows

__all__ = ["PARTS", "World", "make_world"]

_RULE = GradientAdaptation(step_size=1e-3, optimizer="adam", simplex=True)


@dataclass(frozen=True)
class World:
    """Users of equally many pairs; every response is of one pair, so that all features have to be read.

    Attributes
    ----------
    table : Tensor of shape (n_items, d)
    pairs : Pairs
    split : Split
        A tenth of each user's pairs is support, as in the paper.
    """

    table: torch.Tensor
    pairs: Pairs
    split: Split


def make_world(
    n_users: int,
    n_pairs: int,
    d: int,
    dtype: torch.dtype = torch.float32,
    n_items: int | None = None,
    device: torch.device | str = "cpu",
) -> World:
    """Draw features; who chose what does not matter to times. With `n_items`, responses are of several pairs."""
    generator = torch.Generator(device).manual_seed(0)
    n = n_users * n_pairs
    table = torch.randn(n_items or 2 * n, d, generator=generator, dtype=dtype, device=device)
    if n_items is None:
        ends = torch.randperm(2 * n, generator=generator, device=device)
    else:
        ends = torch.randint(n_items, (2 * n,), generator=generator, device=device)
    pairs = Pairs(ends[:n], ends[n:], torch.arange(n_users + 1, device=device) * n_pairs)
    support = torch.arange(n, device=device) % n_pairs < max(1, n_pairs // 10)
    return World(table, pairs, Split(support, ~support, support))


def _start(d: int, n_bases: int, dtype: torch.dtype = torch.float32) -> Parameters:
    generator = torch.Generator().manual_seed(1)
    bases = torch.randn(n_bases, d, generator=generator, dtype=dtype) / d**0.5
    return {"bases": bases, "start": torch.zeros(n_bases, dtype=dtype)}


def train(world: World, n_bases: int, users_per_batch: int, epochs: int) -> Parameters:
    """Train as the package does, in the paper's setting without validation users."""
    place, dtype = world.table.device, torch.promote_types(world.table.dtype, torch.float32)
    start = {name: value.to(place) for name, value in _start(world.table.shape[1], n_bases, dtype).items()}
    everyone = torch.ones(world.pairs.n_users, dtype=torch.bool, device=place)
    return meta_train(
        start,
        _RULE,
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
    start = _start(world.table.shape[1], 2, world.table.dtype)
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
        ours, floor = seconds["ours"] / epochs, 2 * _bytes(world.table) / bandwidth
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


def adapt(bandwidth: float, quick: bool) -> Found:
    """Time adapting many users, from raw features on, against plain loops, what has to be read and the bare product."""
    n_users, n_pairs, d, n_bases = 500 if quick else 10_000, 20, 384, 8
    world = make_world(n_users, n_pairs, d)
    params = _start(d, n_bases) | {
        "mean": torch.zeros(d),
        "scale": torch.ones(d),
        "rule.prior_scale": torch.ones(n_bases),
    }
    plain = PlainModel(params["bases"], params["start"])
    few, rewards = range(min(200, n_users)), item_rewards(params, world.table)

    def weights(rule: Adaptation, with_covariance: bool = False) -> Callable[[], object]:
        return partial(adapt_users, params, rule, rewards, world.pairs, with_covariance)

    ours = {
        "gradient": weights(_RULE),
        "map": weights(MapAdaptation()),
        "map and covariance": weights(MapAdaptation(), True),
    }
    # rule, how the plain loop goes about the same, and that loop
    by_formula = partial(plain_map_adapt, params, world.table, world.pairs, few)
    loops: list[tuple[str, str, Callable[[], object]]] = [
        ("gradient", "autograd", partial(plain_adapt, plain, world.table, world.pairs, few)),
        ("map", "autograd", partial(plain_map_by_autograd, params, world.table, world.pairs, few)),
        ("map", "by formula", by_formula),
        ("map and covariance", "by formula", partial(by_formula, True)),
    ]
    runs: dict[str, Callable[[], object]] = {
        "rewards": partial(item_rewards, params, world.table),
        "product": partial(_bare_product, world.table, params["bases"], torch.empty_like(rewards)),
    }
    runs |= ours | {f"{rule}, {kind}": loop for rule, kind, loop in loops}
    seconds = in_turn(runs, 1 if quick else 5)
    rewarded, product = (1e6 * seconds[name] / n_users for name in ("rewards", "product"))
    floor = 1e6 * _bytes(world.table) / bandwidth / n_users
    rows = []
    for rule, kind, _ in loops:
        weighed, alone = 1e6 * seconds[rule] / n_users, 1e6 * seconds[f"{rule}, {kind}"] / len(few)
        rows.append(
            {
                "rule": rule,
                "plain loop": kind,
                "base rewards, us": rewarded,
                "weights, us": weighed,
                "a user, us": rewarded + weighed,
                "plain loop, us": alone,
                "times faster": alone / (rewarded + weighed),
                "floor, us": floor,
                "times the floor": (rewarded + weighed) / floor,
                "bare product, us": product,
            }
        )
    title = (
        f"adapt_many: {n_users} users of {n_pairs} pairs, d = {d}, K = {n_bases}; floor: features read once; "
        "bare product: features times base functions, nothing else"
    )
    return Found(title, dict.fromkeys(rows[0], ".1f") | {"rule": "s", "plain loop": "s"}, rows)


def _bare_product(table: torch.Tensor, bases: torch.Tensor, out: torch.Tensor) -> None:
    """The matrix product in base rewards, as many rows at a time as the caches hold."""
    n_rows = n_cached_rows(table)
    for rows, chunk in zip(out.split(n_rows), table.split(n_rows), strict=True):
        torch.mm(chunk, bases.T, out=rows)


def single(bandwidth: float, quick: bool) -> Found:
    """Time one user's adapt from arrays, as a service calls it."""
    data = make_user_preferences(n_users=60, n_pairs=20, n_features=384, n_bases=4, random_state=0)
    model = MetaRewardModel(n_bases=32, kernel=None, max_epochs=0, random_state=0).fit(data.episodes)
    X = np.asarray(data.episodes.features, np.float32)
    rows = []
    for n_pairs in (3, 20):
        user = [{"chosen": X[i], "rejected": X[i + 1]} for i in range(n_pairs)]
        seconds = in_turn({"adapt": partial(model.adapt, user)}, 5 if quick else 200)
        rows.append({"pairs": n_pairs, "adapt, ms": 1e3 * seconds["adapt"]})
    return Found("adapt: one user from arrays, d = 384, K = 32", {"pairs": "d", "adapt, ms": ".3f"}, rows)


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


def gpu(bandwidth: float, quick: bool) -> Found:
    """Time training and adapting on a GPU, where there is one, against what it reads from its own memory."""
    if not torch.cuda.is_available():
        return Found("gpu: there is none here; nothing was measured", {}, [])
    n_users, n_items, d = (2000, 10_000, 64) if quick else (1_000_000, 4_000_000, 1024)
    place = torch.device("cuda")
    world = make_world(n_users, 20, d, torch.bfloat16, n_items, place)
    params = {name: value.to(place) for name, value in _start(d, 8).items()}
    params |= {"mean": torch.zeros(d, device=place), "scale": torch.ones(d, device=place)}
    adapted = params | {"rule.prior_scale": torch.ones(8, device=place)}

    def adapt_all() -> None:
        adapt_users(adapted, MapAdaptation(), item_rewards(params, world.table), world.pairs)
        torch.cuda.synchronize()

    def train_once() -> None:
        train(world, 8, 64 if quick else 16_384, 1)
        torch.cuda.synchronize()

    read = torch.ones(2**22 if quick else 2**31, dtype=torch.bfloat16, device=place)
    seconds = in_turn({"fit": train_once, "adapt": adapt_all, "read": lambda: float(read.sum())}, 3)
    speed = read.numel() * 2 / seconds["read"]
    touched = {"fit": 2 * 2 * n_users * 20 * d * 2, "adapt": _bytes(world.table)}
    rows = [
        {
            "": f"{name}, {torch.cuda.get_device_name()}",
            "seconds": seconds[name],
            "GB/s": size / seconds[name] / 1e9,
            "memory, GB/s": speed / 1e9,
            "times the floor": seconds[name] * speed / size,
        }
        for name, size in touched.items()
    ]
    form = {"": "s", "seconds": ".3f", "GB/s": ".0f", "memory, GB/s": ".0f", "times the floor": ".1f"}
    title = f"gpu: {n_users} users of 20 pairs, d = {d}, bfloat16, {n_items} responses; an epoch of fit, and adapt_many"
    return Found(title, form, rows)


def _bytes(table: torch.Tensor) -> int:
    return table.numel() * table.element_size()


PARTS: dict[str, Callable[[float, bool], Found]] = {
    "fit": fit,
    "adapt": adapt,
    "single": single,
    "growth": growth,
    "gpu": gpu,
}
