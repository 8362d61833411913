"""Training and adapting on a GPU, where there is one, against what it reads from its own memory."""

from __future__ import annotations

import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.speed.training import train
from benchmarks.speed.world import make_start, make_world, n_bytes
from skmrm.meta.adaptation import MapAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.basis import item_rewards

__all__ = ["gpu"]


def gpu(bandwidth: float, quick: bool) -> Found:
    """Time training and adapting on a GPU, where there is one, against what it reads from its own memory."""
    if not torch.cuda.is_available():
        return Found("gpu: there is none here; nothing was measured", {}, [])
    n_users, n_items, d = (2000, 10_000, 64) if quick else (1_000_000, 4_000_000, 1024)
    place = torch.device("cuda")
    world = make_world(n_users, 20, d, torch.bfloat16, n_items, place)
    params = {name: value.to(place) for name, value in make_start(d, 8).items()}
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
    touched = {"fit": 2 * 2 * n_users * 20 * d * 2, "adapt": n_bytes(world.table)}
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
