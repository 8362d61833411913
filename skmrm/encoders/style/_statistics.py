"""Interpretable statistics of style: numbers with a name for what a reader notices about a text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from skmrm.encoders.style._style import STATISTICS, style_statistics
from skmrm.episodes.items import check_items

__all__ = ["TextStatistics"]


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
        self.n_features_out_ = len(STATISTICS)
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
        return style_statistics(check_items(X))

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
        return np.array(STATISTICS, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags
