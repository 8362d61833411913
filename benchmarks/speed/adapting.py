"""Adapting: many users at once against plain loops over them, and one user as a service calls it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.speed.plain_loop import PlainModel, plain_adapt, plain_map_adapt, plain_map_by_autograd
from benchmarks.speed.training import PAPER_RULE
from benchmarks.speed.world import make_start, make_world, n_bytes
from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.meta.adaptation import Adaptation, MapAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.basis import item_rewards
from skmrm.meta.tensors.tables import n_cached_rows

__all__ = ["adapt", "single"]


def adapt(bandwidth: float, quick: bool) -> Found:
    """Time adapting many users, from raw features on, against plain loops, what has to be read and the bare product."""
    n_users, n_pairs, d, n_bases = 500 if quick else 10_000, 20, 384, 8
    world = make_world(n_users, n_pairs, d)
    params = make_start(d, n_bases) | {
        "mean": torch.zeros(d),
        "scale": torch.ones(d),
        "rule.prior_scale": torch.ones(n_bases),
    }
    plain = PlainModel(params["bases"], params["start"])
    few, rewards = range(min(200, n_users)), item_rewards(params, world.table)

    def weights(rule: Adaptation, with_covariance: bool = False) -> Callable[[], object]:
        return partial(adapt_users, params, rule, rewards, world.pairs, with_covariance)

    ours = {
        "gradient": weights(PAPER_RULE),
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
    floor = 1e6 * n_bytes(world.table) / bandwidth / n_users
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
