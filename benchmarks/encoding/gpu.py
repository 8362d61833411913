"""A large model on a GPU, next to the loops that people write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.encoding.flops import Products, network_flops
from benchmarks.encoding.random_models import QWEN3_06B, Items, PlainLoop, conversations, save_random_model
from benchmarks.encoding.sides import Side, batch_name, largest_difference
from skmrm.encoders import HFEncoder

__all__ = ["against_loops", "gpu"]

_ON_GPU = "gpu: a random model of the shape of Qwen3-0.6B in bfloat16, texts of 70 to 550 tokens"


def gpu(folder: Path, quick: bool) -> Found:
    """A model of Qwen3-0.6B's shape on a GPU, next to the loops that people write."""
    if not torch.cuda.is_available():
        return Found(f"{_ON_GPU}: skipped, torch finds no GPU", {}, [])
    items = conversations(64 if quick else 1024, 1, (50, 400), (10, 140))
    budgets = () if quick else (16_384, 65_536, 262_144)
    found = against_loops(folder / "gpu", QWEN3_06B, items, "cuda", torch.bfloat16, budgets, 1 if quick else 3)
    return Found(f"{_ON_GPU}; {torch.cuda.get_device_name()}; {found.title}", found.columns, found.rows)


def against_loops(
    folder: Path,
    shape: dict[str, int],
    items: Items,
    device: str,
    dtype: torch.dtype,
    budgets: Sequence[int],
    repeats: int,
) -> Found:
    """Encode with a random model: `HFEncoder`, batches of 32 texts as they come, and one text at a time.

    Parameters
    ----------
    folder : Path
        Gets the model.
    shape : dict of str to int
        Of ``transformers.Qwen3Config``.
    items : sequence of (prompt, response)
    device : str
    dtype : torch.dtype
    budgets : sequence of int
        Of ``HFEncoder(batch_tokens=...)``, next to its default.
    repeats : int
        Of which medians are taken.
    """
    save_random_model(folder, shape, dtype)
    loop = PlainLoop(folder, device, dtype)
    precision: Any = str(dtype).removeprefix("torch.")
    sides = {
        "one text at a time": Side(partial(loop, items, 1), loop.network),
        "32 texts as they come": Side(partial(loop, items, 32), loop.network),
    }
    for tokens in [None, *budgets]:
        ours = HFEncoder(folder, device=device, dtype=precision, batch_tokens=tokens).fit(items)
        sides[f"HFEncoder, {batch_name(tokens)}"] = Side(partial(ours.transform, items), ours.network_)
    products = Products(device, dtype)
    seconds = in_turn({**sides, "products": products}, repeats)
    lengths = [len(ids) for ids in loop.ids(items)]
    rate, flops = products.flops / seconds["products"], network_flops(loop.network, lengths, causal=True)
    plain = next(iter(sides))
    rows = [
        {
            "encoder": name,
            "seconds": seconds[name],
            "tokens/s": sum(lengths) / seconds[name],
            "times the loop": seconds[plain] / seconds[name],
            "TFLOP/s": flops / seconds[name] / 1e12,
            "utilisation, %": 100 * flops / seconds[name] / rate,
            "with padding": side.n_tokens / sum(lengths),
            "largest difference": largest_difference(side.vectors, sides[plain].vectors),
        }
        for name, side in sides.items()
    ]
    columns = dict(zip(rows[0], ["", ".3f", ",.0f", ".2f", ".1f", ".1f", ".3f", ".0e"], strict=True))
    title = (
        f"{len(items):,} texts, {sum(lengths):,} tokens; utilisation is of {rate / 1e12:,.2f} TFLOP/s, which products "
        f"of {precision} matrices reach in this run"
    )
    return Found(title, columns, rows)
