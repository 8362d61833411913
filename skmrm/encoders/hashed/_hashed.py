"""The default encoder: needs no download, sees words and spelling, and gives the same numbers every time."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from skmrm._support.threads import threads_for
from skmrm.encoders.hashed._ngrams import HashedNgrams, tfidf
from skmrm.episodes.items import check_items

__all__ = ["HashedTextEncoder", "all_columns", "seen_columns"]

_NEGLIGIBLE = 1e-5  # singular values below this share of the largest are rounding in float32


class HashedTextEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Hashed word and character n-grams of the response, weighted by tf-idf and reduced by a truncated SVD.

    The prompt is not used: both responses of a pair share it, so that it cancels in their difference.

    Parameters
    ----------
    n_components : int, default=64
        Most components to keep. Fewer are kept if the texts of `fit` span fewer.
    word_ngrams : (int, int) or None, default=(1, 2)
        Shortest and longest word n-grams; None for none.
    char_ngrams : (int, int) or None, default=(3, 5)
        Shortest and longest character n-grams, inside words with their surrounding spaces; None for none.
    n_hashes : int, default=32768
        Columns into which the n-grams of each kind are hashed. The fitted encoder holds
        ``n_components * n_hashes`` float32 numbers for each kind.
    random_state : int, RandomState instance or None, default=0
        Seed of the randomised SVD.

    Attributes
    ----------
    idf_ : (n_kinds * n_hashes,) float32 array
        How rare the n-grams of each column are.
    components_ : (n_features_out, n_kinds * n_hashes) float32 array
        Right singular vectors.
    singular_values_ : (n_features_out,) float32 array
        Their singular values, largest first.

    Examples
    --------
    >>> encoder = HashedTextEncoder(n_components=2)
    >>> items = [("", "a red apple"), ("", "a green apple"), ("", "rain again"), ("", "more rain")]
    >>> vectors = encoder.fit_transform(items)
    >>> vectors.shape, vectors.dtype
    ((4, 2), dtype('float32'))
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "word_ngrams": [tuple, None],
        "char_ngrams": [tuple, None],
        "n_hashes": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 64,
        *,
        word_ngrams: tuple[int, int] | None = (1, 2),
        char_ngrams: tuple[int, int] | None = (3, 5),
        n_hashes: int = 2**15,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_components = n_components
        self.word_ngrams = word_ngrams
        self.char_ngrams = char_ngrams
        self.n_hashes = n_hashes
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> HashedTextEncoder:
        """Learn how rare n-grams are, and their leading components.

        Parameters
        ----------
        X : list of (prompt, response)
            At least one. Texts may be empty.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an item is not a pair of str, there is none, or a parameter is out of its bounds.
        """
        self._validate_params()
        self._check_ngrams()
        texts = [response for _, response in check_items(X, minimum=1)]
        self.__dict__.pop("_ngrams", None)
        *csr, self.idf_ = tfidf(texts, self.word_ngrams, self.char_ngrams, self.n_hashes)
        weights = csr_matrix(tuple(csr), shape=(len(texts), len(self.idf_)))
        if weights.nnz == 0:  # nothing but empty texts, of which an SVD would be 0 / 0
            self.components_ = np.zeros((1, weights.shape[1]), np.float32)
            self.singular_values_ = np.zeros(1, np.float32)
            return self
        svd = TruncatedSVD(min(self.n_components, *weights.shape), random_state=self.random_state)
        n_multiplications = max(weights.shape) * svd.n_components**2  # of a decomposition of its dense matrices
        # nothing divides its share of variance where all texts are the same
        with np.errstate(invalid="ignore", divide="ignore"), threads_for(n_multiplications):
            svd.fit(weights)
        rank = int((svd.singular_values_ > _NEGLIGIBLE * svd.singular_values_[0]).sum())
        self.components_ = np.ascontiguousarray(svd.components_[:rank], np.float32)
        self.singular_values_ = np.ascontiguousarray(svd.singular_values_[:rank], np.float32)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.

        Returns
        -------
        (n_items, n_features_out) float32 array
            One row an item; a row does not depend on the others.

        Raises
        ------
        ValueError
            If an item is not a pair of str.
        """
        check_is_fitted(self)
        items = check_items(X)
        if not hasattr(self, "_ngrams"):
            self._ngrams = self._make_ngrams()
        return self._ngrams([response for _, response in items])

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _check_ngrams(self) -> None:
        if self.word_ngrams is None and self.char_ngrams is None:
            raise ValueError("word_ngrams and char_ngrams are both None: give at least one of them")
        for name in ("word_ngrams", "char_ngrams"):
            ngrams = getattr(self, name)
            if ngrams is not None and not (
                len(ngrams) == 2 and all(isinstance(n, Integral) for n in ngrams) and 1 <= ngrams[0] <= ngrams[1]
            ):
                raise ValueError(
                    f"{name} must be (shortest, longest) with 1 <= shortest <= longest, or None; got {ngrams}"
                )

    def _make_ngrams(self) -> HashedNgrams:
        """What was learnt, in a form that needs no scikit-learn."""
        seen = seen_columns(self.components_)
        return HashedNgrams(self.word_ngrams, self.char_ngrams, self.n_hashes, self.idf_, *seen)

    def __getstate__(self) -> dict[str, Any]:
        """All but what `transform` makes of it, and columns of n-grams that fit never saw."""
        state = {name: value for name, value in super().__getstate__().items() if name != "_ngrams"}
        if "components_" in state:
            state["_columns"], state["components_"] = seen_columns(state["components_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        columns = state.get("_columns")  # which earlier versions did not leave out
        if columns is not None:
            state = {name: value for name, value in state.items() if name != "_columns"}
            state["components_"] = all_columns(columns, state["components_"], len(state["idf_"]))
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def seen_columns(components: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Columns of n-grams that fit saw, and the components there; all others are zero."""
    columns = np.flatnonzero(components.any(0))
    return columns, components[:, columns]


def all_columns(columns: NDArray[np.integer], components: NDArray[Any], n_columns: int) -> NDArray[Any]:
    """Components with the columns that `seen_columns` left out."""
    found = np.zeros((len(components), n_columns), components.dtype)
    found[:, columns] = components
    return found
