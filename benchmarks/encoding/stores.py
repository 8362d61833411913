"""Features on disk: filling a store, finding features by their texts, and reading them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from benchmarks._support.areas import Found
from benchmarks._support.sentence_encoder import sentence_encoder_folder
from benchmarks._support.timing import in_turn
from benchmarks.encoding.real_texts import real_texts
from skmrm.embeddings import EmbeddingStore, encode_dataset
from skmrm.encoders import HFEncoder

__all__ = ["lookup", "store"]

Items = Sequence[tuple[str, str]]

_US, _MB = 1e6, 1e-6


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
