"""The formulas of the statistics of style, apart from scikit-learn, so that a service can do without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from skmrm.encoders.style._marks import MARKS, count_marks, count_shape
from skmrm.encoders.style._words import TRAITS, WordCounts, count_words
from skmrm.episodes.items import Item

__all__ = ["STATISTICS", "style_statistics"]

_TEXTS_PER_BATCH = 2048  # bounds the memory of the word counts
_HEAPS_EXPONENT = 0.85  # distinct words grow about so with words, in texts of 20 to 150 words
_LONGEST_MEAN = 20.0  # letters; cuts the mean word length of texts that are one unbroken string

_RATES = (*TRAITS, *MARKS)
STATISTICS: tuple[str, ...] = (
    "log_words",
    "log_characters",
    "log_sentences",
    "log_lines",
    "log_sentence_length",
    "log_word_length",
    "vocabulary_richness",
    "list_items",
    "headings",
    "lowercase_starts",
    "unfinished",
    *_RATES,
    "prompt_overlap",
    "prompt_coverage",
    "log_length_ratio",
)


def style_statistics(items: Sequence[Item]) -> NDArray[np.float32]:
    """Compute the statistics of style, which :class:`TextStatistics` explains.

    Parameters
    ----------
    items : sequence of (prompt, response)
        Texts, checked.

    Returns
    -------
    (n_items, n_statistics) float32 array
        One row an item, a column each of `STATISTICS`.
    """
    table = np.empty((len(items), len(STATISTICS)), np.float32)
    for start in range(0, len(items), _TEXTS_PER_BATCH):
        stop = start + _TEXTS_PER_BATCH
        for column, values in enumerate(_columns(items[start:stop])):
            table[start:stop, column] = values
    return table


def _columns(items: Sequence[Item]) -> Iterator[NDArray[np.float64]]:
    """The columns of the table for some items."""
    texts = [str.__str__(response) for _, response in items]
    words = count_words(texts, [str.__str__(prompt) for prompt, _ in items])
    marks = count_marks(texts)
    shape = count_shape(texts)
    columns = (
        _lengths(texts, words, shape)
        | _shares(shape)
        | {name: _log_rate(counts, words.total) for name, counts in (words.traits | marks).items()}
        | _relation(words)
    )
    return (columns[name] for name in STATISTICS)


def _lengths(
    texts: Sequence[str], words: WordCounts, shape: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    mean_word = np.minimum(_ratio(words.letters, words.total), _LONGEST_MEAN)
    return {
        "log_words": np.log1p(words.total),
        "log_characters": np.log1p([len(text) for text in texts]),
        "log_sentences": np.log1p(shape["sentences"]),
        "log_lines": np.log1p(shape["lines"]),
        "log_sentence_length": np.log1p(_ratio(words.total, shape["sentences"])),
        "log_word_length": np.log1p(mean_word),
        "vocabulary_richness": np.log1p(words.distinct) - _HEAPS_EXPONENT * np.log1p(words.total),
    }


def _shares(shape: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    return {
        "list_items": _ratio(shape["list_items"], shape["lines"]),
        "headings": _ratio(shape["headings"], shape["lines"]),
        "lowercase_starts": _ratio(shape["lowercase_starts"], shape["sentences"]),
        "unfinished": shape["unfinished"],
    }


def _relation(words: WordCounts) -> dict[str, NDArray[np.float64]]:
    either = words.content + words.prompt_content - words.shared_content
    return {
        "prompt_overlap": _ratio(words.shared_content, either),
        "prompt_coverage": _ratio(words.shared_content, words.prompt_content),
        "log_length_ratio": np.log1p(words.total) - np.log1p(words.prompt_total),
    }


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part over whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _log_rate(counts: NDArray[np.float64], words: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log1p(100 * np.minimum(counts / np.maximum(words, 1), 1))
