"""Interpretable statistics of style: numbers with a name for what a reader notices about a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from skmrm.encoders._items import Item, check_items
from skmrm.encoders._marks import MARKS, count_marks, count_shape
from skmrm.encoders._words import TRAITS, WordCounts, count_words

__all__ = ["TextStatistics"]

_TEXTS_PER_BATCH = 2048  # bounds the memory of the word counts
_HEAPS_EXPONENT = 0.85  # distinct words grow about so with words, in texts of 20 to 150 words
_LONGEST_MEAN = 20.0  # letters; cuts the mean word length of texts that are one unbroken string

_RATES = (*TRAITS, *MARKS)
_NAMES = (
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


class TextStatistics(TransformerMixin, BaseEstimator):
    """Statistics of the style of a response, each with a name.

    People differ in taste for style (length, lists, hedging, warmth), which sentence embeddings hardly carry. These
    statistics say it in numbers whose weights can be read.

    Nothing is learnt from data: `fit` does nothing, and `transform` may be called without it. All values are finite
    for any text, and bounded but for the logarithms of lengths.

    Notes
    -----
    The statistics, in order:

    - Lengths, as ``log(1 + count)``: ``log_words``, ``log_characters``, ``log_sentences`` (a line break ends a
      sentence too), ``log_lines`` (that are not blank), ``log_sentence_length`` (mean words of a sentence),
      ``log_word_length`` (mean letters of a word).
    - ``vocabulary_richness``: ``log(1 + distinct words) - 0.85 log(1 + words)``, by how much the distinct words exceed
      what is usual for so many words (Heaps' law), since the plain type-token ratio falls with length.
    - Shares: ``list_items`` and ``headings`` of lines (bullets and numbers; Markdown); ``lowercase_starts`` of
      sentences; ``unfinished`` is 1 for a text that does not end in a full stop or the like.
    - Rates, as ``log(1 + occurrences per hundred words)``, at most one occurrence a word: kinds of words
      (``long_words`` of 7 letters or more to ``spelling_slips``) and marks (``commas`` to ``spacing_slips``).
    - Relation to the prompt: ``prompt_overlap`` (Jaccard index of the content words) and ``prompt_coverage`` (share of
      the prompt's content words that the response takes up), both 0 without a prompt; ``log_length_ratio``, the
      logarithm of the ratio of lengths in words, plus one each.

    Word lists are English. In other languages their statistics are near 0 and the rest keep their meaning, except that
    a script without spaces counts as few, long words.

    Examples
    --------
    >>> statistics = TextStatistics().set_output(transform="pandas")
    >>> table = statistics.fit_transform([("Tea?", "Yes, please!"), ("Tea?", "I don't think that I should.")])
    >>> table[["courtesies", "hedges", "contractions"]].round(2)
       courtesies  hedges  contractions
    0        3.93    0.00          0.00
    1        0.00    2.87          2.87
    """

    def fit(self, X: Any, y: Any = None) -> TextStatistics:
        """Do nothing but check the texts.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.
        y : None
            Not used.

        Returns
        -------
        self
        """
        check_items(X)
        self.n_features_out_ = len(_NAMES)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Compute the statistics.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.

        Returns
        -------
        (n_items, n_statistics) float32 array
            One row an item, columns as in :meth:`get_feature_names_out`.

        Raises
        ------
        ValueError
            If an item is not a pair of str.
        """
        items = check_items(X)
        table = np.empty((len(items), len(_NAMES)), np.float32)
        for start in range(0, len(items), _TEXTS_PER_BATCH):
            stop = start + _TEXTS_PER_BATCH
            for column, values in enumerate(_statistics(items[start:stop])):
                table[start:stop, column] = values
        return table

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the statistics.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        (n_statistics,) object array of str
            The names.
        """
        return np.array(_NAMES, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _statistics(items: Sequence[Item]) -> Iterator[NDArray[np.float64]]:
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
    return (columns[name] for name in _NAMES)


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
