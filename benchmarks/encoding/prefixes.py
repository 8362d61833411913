"""Several responses to each prompt, with and without what they share computed once."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import takewhile
from pathlib import Path

import torch

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.encoding.random_models import SMALL, Items, PlainLoop, conversations, save_random_model
from benchmarks.encoding.sides import Side, largest_difference
from skmrm.encoders import HFEncoder

__all__ = ["prefixes"]


def prefixes(folder: Path, quick: bool) -> Found:
    """Several responses to each prompt, with and without what they share computed once."""
    save_random_model(folder / "prefixes", SMALL, torch.float32)
    items = conversations(2 if quick else 24, 4, (400, 400), (20, 150))
    loop = PlainLoop(folder / "prefixes", "cpu", torch.float32)
    sides = {"one text at a time": Side(partial(loop, items, 1), loop.network)}
    for caching in (False, True):
        ours = HFEncoder(folder / "prefixes", device="cpu", prefix_caching=caching).fit(items)
        assert ours.prefix_caching_ == caching
        sides[f"HFEncoder(prefix_caching={caching})"] = Side(partial(ours.transform, items), ours.network_)
    seconds = in_turn(sides, 1 if quick else 7)
    plain, without, _ = sides
    n_tokens, fewest = _tokens_and_fewest(items, loop.ids(items))
    rows = [
        {
            "encoder": name,
            "seconds": seconds[name],
            "times the loop": seconds[plain] / seconds[name],
            "times without": seconds[without] / seconds[name],
            "tokens computed": side.n_tokens,
            "times fewer": sides[plain].n_tokens / side.n_tokens,
            "at most": n_tokens / fewest,
            "largest difference": largest_difference(side.vectors, sides[plain].vectors),
        }
        for name, side in sides.items()
    ]
    columns = dict(zip(rows[0], ["", ".2f", ".2f", ".2f", ",d", ".2f", ".2f", ".0e"], strict=True))
    return Found(
        "prefixes: prompts of 400 tokens with 4 responses of 20 to 150 tokens each, a random causal model with "
        f"{SMALL['num_hidden_layers']} layers of width {SMALL['hidden_size']} in float32 on the CPU; {len(items)} "
        f"texts of {n_tokens:,} tokens, {fewest:,} where each shared start counts once",
        columns,
        rows,
    )


def _tokens_and_fewest(items: Items, ids: list[list[int]]) -> tuple[int, int]:
    """Tokens of all texts, and those left if what the texts of a prompt begin with counts once."""
    by_prompt: dict[str, list[list[int]]] = defaultdict(list)
    for (prompt, _), tokens in zip(items, ids, strict=True):
        by_prompt[prompt].append(tokens)
    saved = sum((len(group) - 1) * _n_alike(group) for group in by_prompt.values())
    n_tokens = sum(map(len, ids))
    return n_tokens, n_tokens - saved


def _n_alike(texts: list[list[int]]) -> int:
    """Tokens that all texts begin with."""
    places = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, places))
