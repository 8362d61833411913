"""From what users pass to what the graph takes, in batches: feature vectors, or texts encoded without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.items import Item, encodable
from skmrm.serving._bundle import ENCODER_FILE, TOKENIZER_FILE, Bundle

__all__ = ["Batch", "Inputs", "make_inputs", "max_length_problems"]

Rows = slice | NDArray[np.intp]
Batch = tuple[Rows, dict[str, NDArray[Any]]]
Items = Sequence[Item]
Encode = Callable[[Items], NDArray[np.float32]]

_ALL = slice(None)
_FEATURES_AT_A_TIME = 4096
_TEXTS_AT_A_TIME = 32
_LOOK_AHEAD = 64  # batches of texts that are sorted by length together


class Inputs(Protocol):
    """Turns checked items into batches of the graph's inputs."""

    def batches(self, items: Any) -> Iterator[Batch]:
        """Rows of `items` (all of them, each once), and the inputs for them."""


def make_inputs(bundle: Bundle, max_length: int | None, max_batch: int | None) -> Inputs:
    """The inputs that a bundle's config describes."""
    encoder = bundle.config["encoder"]
    if encoder is not None and encoder["kind"] == "tokens":
        return TokenInputs(bundle, max_length, max_batch or _TEXTS_AT_A_TIME)
    n_rows = max_batch or _FEATURES_AT_A_TIME
    return FeatureInputs(n_rows) if encoder is None else NgramInputs(bundle, n_rows)


def max_length_problems(encoder: Any, max_length: int | None) -> list[str]:
    """What is wrong with the length asked for, of a bundle with this encoder."""
    if max_length is None:
        return []
    if encoder is None or encoder["kind"] != "tokens":
        return [
            f"max_length is of models that read tokens, got max_length={max_length} for one that reads "
            f"{'feature vectors' if encoder is None else 'n-grams'}: leave it out"
        ]
    longest = int(encoder["max_length"])
    if not 1 <= max_length <= longest:
        return [f"max_length must be between 1 and {longest}, what the model was exported with; got {max_length}"]
    return []


class FeatureInputs:
    """Feature vectors, as they are."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows

    def batches(self, items: NDArray[Any]) -> Iterator[Batch]:
        """A slice of rows after the other."""
        if len(items) <= self._n_rows:
            yield _ALL, {"features": items}
            return
        for rows in _slices(len(items), self._n_rows):
            yield rows, {"features": items[rows]}


class NgramInputs:
    """Texts as the offline default encoder sees them: hashed n-grams, statistics of style, or both."""

    def __init__(self, bundle: Bundle, n_rows: int) -> None:
        encoder = bundle.config["encoder"]
        self._n_rows = n_rows
        style_statistics = _style_encoder()
        self._encoders = [_ngram_encoder(bundle) if encoder["kind"] == "hashed" else style_statistics]
        if encoder["statistics"]:
            self._encoders.append(style_statistics)

    def batches(self, items: Items) -> Iterator[Batch]:
        """A slice of texts after the other, encoded."""
        for rows in _slices(len(items), self._n_rows):
            yield rows, {"features": np.hstack([encode(items[rows]) for encode in self._encoders])}


# What scorers of feature vectors do without is imported when it is needed.
def _style_encoder() -> Encode:
    from skmrm.encoders.style._style import style_statistics

    return style_statistics


def _ngram_encoder(bundle: Bundle) -> Encode:
    from safetensors.numpy import load

    from skmrm.encoders.hashed._ngrams import HashedNgrams

    encoder, arrays = bundle.config["encoder"], load(bundle[ENCODER_FILE])
    hashed = HashedNgrams(
        encoder["word_ngrams"],
        encoder["char_ngrams"],
        encoder["n_hashes"],
        arrays["idf"],
        arrays["columns"],
        arrays["components"],
    )
    return lambda items: hashed([response for _, response in items])


class TokenInputs:
    """Token ids for a transformer that is part of the graph, texts of like length together."""

    def __init__(self, bundle: Bundle, max_length: int | None, n_rows: int) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError("this bundle reads texts with a tokenizer: pip install tokenizers") from error

        encoder = bundle.config["encoder"]
        self._n_rows, self._pad_id = n_rows, int(encoder["pad_id"])
        self._statistics = _style_encoder() if encoder["statistics"] else None
        self._tokenizer = Tokenizer.from_str(bundle[TOKENIZER_FILE].decode())
        self._tokenizer.no_padding()
        longest = int(max_length or encoder["max_length"])
        self._tokenizer.enable_truncation(longest, direction=encoder["truncation_side"])

    def batches(self, items: Items) -> Iterator[Batch]:
        """Texts sorted by their number of tokens, so that little of a batch is padding."""
        for part in _slices(len(items), self._n_rows * _LOOK_AHEAD):
            texts = [encodable(response) for _, response in items[part]]
            ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
            by_length = np.argsort([len(row) for row in ids], kind="stable")
            for some in _slices(len(ids), self._n_rows):
                places = by_length[some]
                feed = self._padded([ids[place] for place in places])
                rows = places + part.start
                if self._statistics is not None:
                    feed["statistics"] = self._statistics([items[row] for row in rows])
                yield rows, feed

    def _padded(self, ids: list[list[int]]) -> dict[str, NDArray[Any]]:
        longest = max(map(len, ids))
        table = np.full((len(ids), longest), self._pad_id, np.int64)
        mask = np.zeros((len(ids), longest), np.int64)
        for row, own in enumerate(ids):
            table[row, : len(own)] = own
            mask[row, : len(own)] = 1
        return {"input_ids": table, "attention_mask": mask}


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
