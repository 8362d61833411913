"""Texts to features as a model uses them: any encoder, statistics of style, each text once, cached, checked."""

from __future__ import annotations

import os
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skmrm._support.arrays import encoded_rows
from skmrm._support.progress import Verbose, Watch, unless_few
from skmrm._support.wording import described
from skmrm.encoders._cache import (
    FeatureStore,
    Memory,
    as_memory,
    as_store,
    cached_encode,
    cached_fit,
    resolve_encoder,
)
from skmrm.encoders._distinct import distinct_items
from skmrm.encoders._identity import identity_of
from skmrm.encoders._output import checked_output, own_names
from skmrm.encoders.hashed._hashed import HashedTextEncoder
from skmrm.encoders.huggingface._transformers import HFEncoder
from skmrm.encoders.style._statistics import TextStatistics
from skmrm.episodes.items import CheckedItems, check_items
from skmrm.episodes.rows import JoinedRows, PlacedRows

__all__ = ["TextEncoder", "build_encoder", "check_encoder", "inner_encoder"]

_STAGE = "encoding"


def build_encoder(
    encoder: Any = None,
    *,
    text_statistics: bool = True,
    memory: Memory = None,
    n_jobs: int | None = None,
    verbose: Verbose = "auto",
) -> TextEncoder:
    """Make the encoder that a model uses, not fitted yet.

    Parameters
    ----------
    encoder : transformer, str or path, optional
        What encodes; None is :class:`HashedTextEncoder`, a str or path a model for :class:`HFEncoder`.
    text_statistics : bool, default=True
        Append the columns of :class:`TextStatistics`.
    memory : str, path, joblib.Memory or EmbeddingStore, optional
        Where to keep encoded texts, as of :class:`TextEncoder`.
    n_jobs : int, optional
        Processes that encode; None is 1.
    verbose : bool, int or "auto", default="auto"
        Whether to show a progress bar, as of :class:`TextEncoder`.

    Returns
    -------
    TextEncoder
        Around `encoder`. A `TextEncoder` is cloned as it is, and the other arguments are not used.

    Raises
    ------
    ValueError
        If `encoder` is nothing that can encode.
    """
    check_encoder(encoder)
    if isinstance(encoder, TextEncoder):
        copy: TextEncoder = clone(encoder)
        return copy.set_params(encoder=resolve_encoder(copy.encoder, copy.memory))
    encoder = resolve_encoder(encoder, memory)
    return TextEncoder(encoder, text_statistics=text_statistics, memory=memory, n_jobs=n_jobs, verbose=verbose)


def inner_encoder(encoder: Any) -> Any:
    """Make what encodes of the parameter `encoder` of a :class:`TextEncoder`: a new one, not fitted."""
    if encoder is None:
        return HashedTextEncoder()
    if isinstance(encoder, str | os.PathLike):
        return HFEncoder(encoder)
    return clone(encoder, safe=False)  # what is no scikit-learn estimator is copied


class TextEncoder(TransformerMixin, BaseEstimator):
    """Encode texts with any encoder, and append statistics of their style.

    Every distinct (prompt, response) of a call is encoded once, in an order of its own, so that neither the order of
    items nor their repetition changes a number. An encoder must therefore treat each item by itself in `transform`.

    Parameters
    ----------
    encoder : transformer, str or path, optional
        Anything with scikit-learn's ``fit`` and ``transform`` over a list of (prompt, response), a Pipeline included.
        It is cloned. It may return an array, a data frame or a sparse matrix. A str or path is the folder or hub id of
        a model of transformers, for :class:`HFEncoder` with its defaults; None is :class:`HashedTextEncoder` with its.
    text_statistics : bool, default=True
        Append the columns of :class:`TextStatistics`.
    memory : str, path, joblib.Memory or EmbeddingStore, optional
        Where to keep what `encoder` makes of texts (statistics are quick, and not kept): fitting on the same texts
        with the same parameters, and encoding the same texts with the same fitted encoder, is then done once; an
        encoder whose code or files were edited is another, and one that nobody can look into is refused. The cache
        holds pickles: use a folder that only you can write to. A :class:`skmrm.embeddings.EmbeddingStore` keeps
        rows of any texts together, without pickle; texts that it lacks are added, by one process at a time. Its encoder
        is the one that encodes: `encoder` must be None or equal it, and is not fitted on the texts.
    chunk_size : int, default=4096
        Texts given to the encoder at a time. It bounds memory and sets the steps of the progress bar and of the cache;
        it does not change the numbers.
    n_jobs : int, optional
        Processes among which the chunks are divided, as for joblib.Parallel; None is 1. Fitting is not divided.
    verbose : bool, int or "auto", default="auto"
        "auto" draws a progress bar in a terminal or a notebook, where encoding takes more than two seconds, with the
        number of texts that were too long and cut, where the encoder counts them; it is gone when all are encoded. 1
        draws it wherever stderr goes, and leaves it there; 0 draws none.

    Attributes
    ----------
    encoder_ : transformer
        The fitted encoder.
    statistics_ : TextStatistics or None
        What appends the statistics.
    n_features_out_ : int
        Number of columns.

    Examples
    --------
    >>> from operator import itemgetter
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> words = CountVectorizer(preprocessor=itemgetter(1))  # of each (prompt, response) the response
    >>> encoder = TextEncoder(words, text_statistics=False)
    >>> encoder.fit_transform([("Tea?", "Yes, yes."), ("Tea?", "No."), ("Tea?", "Yes, yes.")])
    array([[0., 1., 1.],
           [1., 0., 0.],
           [0., 1., 1.]], dtype=float32)
    >>> encoder.get_feature_names_out()
    array(['No', 'Yes', 'yes'], dtype=object)
    """

    n_features_out_: int

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        "encoder": "no_validation",
        "text_statistics": ["boolean"],
        "memory": [None, str, os.PathLike, HasMethods(["cache"]), HasMethods(["opened_with", "encoded"])],
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [None, Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose", StrOptions({"auto"})],
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        text_statistics: bool = True,
        memory: Memory = None,
        chunk_size: int = 4096,
        n_jobs: int | None = None,
        verbose: Verbose = "auto",
    ) -> None:
        self.encoder = encoder
        self.text_statistics = text_statistics
        self.memory = memory
        self.chunk_size = chunk_size
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> TextEncoder:
        """Fit the encoder on the distinct texts.

        Parameters
        ----------
        X : list of (prompt, response)
            At least one.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the texts are not pairs of str, a parameter is out of its bounds, `encoder` is nothing that can encode,
            or what it returns cannot be used.
        """
        distinct, _ = self._fit(X)
        if as_store(self.memory) is None:  # one text shows how many columns there are, and that they will do
            self._encode_chunk(CheckedItems(distinct[:1]), self._identity())
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Fit the encoder and encode the same texts.

        Parameters
        ----------
        X : list of (prompt, response)
            At least one.
        y : None
            Not used.

        Returns
        -------
        (n_items, n_features_out) float32 array
            What `fit` and `transform`, one after the other, give.

        Raises
        ------
        ValueError
            As in `fit`.
        """
        distinct, row = self._fit(X)
        return self._encode(distinct)[row]

    def fit_stored(self, X: Any) -> PlacedRows:
        """As `fit_transform`, with `memory` a store: its rows, not read yet.

        Parameters
        ----------
        X : list of (prompt, response)
            At least one. What the store lacks is encoded.

        Returns
        -------
        array-like of shape (n_items, n_features_out)
            Read from the store when it is sliced. Statistics are computed now, and held in memory.

        Raises
        ------
        ValueError
            As in `fit`; or if `memory` is no store.
        """
        store = as_store(self.memory)
        if store is None:
            raise ValueError(
                f"fit_stored needs an EmbeddingStore as memory, got {described(self.memory)}: call fit_transform"
            )
        distinct, row = self._fit(X)
        return self._stored(store, distinct).taken(row)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        X : list of (prompt, response)
            Texts.

        Returns
        -------
        (n_items, n_features_out) float32 array
            The columns of the encoder, then the statistics.

        Raises
        ------
        ValueError
            If the texts are not pairs of str, or what the encoder returns cannot be used.
        """
        check_is_fitted(self, "n_features_out_")
        distinct, row = distinct_items(check_items(X))
        return self._encode(distinct)[row]

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        (n_features_out,) object array of str
            The encoder's own names where it has some, else ``text0``, ``text1`` and so on; then
            ``statistics__log_words`` and so on.
        """
        check_is_fitted(self, "n_features_out_")
        statistics = [] if self.statistics_ is None else list(self.statistics_.get_feature_names_out())
        n_encoded = self.n_features_out_ - len(statistics)
        names = own_names(self.encoder_, n_encoded) or [f"text{column}" for column in range(n_encoded)]
        return np.array([*names, *(f"statistics__{name}" for name in statistics)], dtype=object)

    def _fit(self, X: Any) -> tuple[CheckedItems, NDArray[np.intp]]:
        self._validate_params()
        check_encoder(self.encoder)
        distinct, row = distinct_items(check_items(X, minimum=1))
        for learnt in ("n_features_out_", "_opened"):
            self.__dict__.pop(learnt, None)
        self.statistics_ = TextStatistics() if self.text_statistics else None
        store = as_store(self.memory)
        if store is None:
            self.encoder_ = cached_fit(as_memory(self.memory), inner_encoder(self.encoder), distinct)
        else:
            self._opened = store.opened_with(self.encoder)
            self.encoder_ = self._opened.encoder_
            self.n_features_out_ = store.n_features + self._statistics(CheckedItems(distinct[:1])).shape[1]
        return distinct, row

    def _stored(self, store: FeatureStore, distinct: CheckedItems) -> PlacedRows:
        """Rows of the store, with statistics beside them, of texts that are encoded where it lacks them."""
        if not hasattr(self, "_opened") or self._opened.folder != store.folder:  # the store came after fit
            self._opened = store.opened_with(self.encoder_)
        features = self._opened.encoded(distinct, n_jobs=self.n_jobs, verbose=self.verbose)
        return features if self.statistics_ is None else JoinedRows(features, self._statistics(distinct))

    def _encode(self, distinct: CheckedItems) -> NDArray[np.float32]:
        """One row for each item, encoded a chunk at a time, by several processes where asked for."""
        if (store := as_store(self.memory)) is not None:
            return np.asarray(self._stored(store, distinct), np.float32)
        starts = range(0, len(distinct), self.chunk_size)
        chunks = [CheckedItems(distinct[start : start + self.chunk_size]) for start in starts]
        if not chunks:
            return np.empty((0, self.n_features_out_), np.float32)
        with Watch("encode", [_STAGE], unless_few(self.verbose, len(distinct)), unit=" texts") as tell:
            tell(_STAGE, 0, len(distinct))
            return self._encode_chunks(distinct, chunks, tell)

    def _encode_chunks(self, distinct: CheckedItems, chunks: list[CheckedItems], tell: Watch) -> NDArray[np.float32]:
        identity = self._identity()
        first = self._encode_chunk(chunks[0], identity)  # here, to learn how many columns there are
        table = np.empty((len(distinct), first[0].shape[1]), np.float32)
        others = Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(self._encode_chunk)(chunk, identity) for chunk in chunks[1:]
        )
        start = n_cut = 0
        for features, n_cut_now in chain([first], others):
            table[start : start + len(features)] = features
            start += len(features)
            n_cut += n_cut_now
            tell(_STAGE, start, len(distinct), note=f"{n_cut:,} cut" if n_cut else "")
        return table

    def _identity(self) -> dict[str, Any]:
        """What the fitted encoder is made of now, where features are kept; whoever holds it may have changed it."""
        return {} if as_memory(self.memory) is None else identity_of(self.encoder_)

    def _encode_chunk(self, chunk: CheckedItems, identity: dict[str, Any]) -> tuple[NDArray[np.float32], int]:
        """Features, and the number of texts that were cut."""
        statistics = self._statistics(chunk)
        width = self.n_features_out_ - statistics.shape[1] if hasattr(self, "n_features_out_") else None
        output, _, n_cut = cached_encode(as_memory(self.memory), self.encoder_, chunk, identity)
        features = np.hstack([checked_output(output, self.encoder_, len(chunk), width), statistics])
        self.n_features_out_ = features.shape[1]
        return features, n_cut

    def _statistics(self, chunk: CheckedItems) -> NDArray[np.float32]:
        if self.statistics_ is None:
            return np.empty((len(chunk), 0), np.float32)
        return encoded_rows(self.statistics_, chunk)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def check_encoder(encoder: Any) -> None:
    """Say what users may pass as an encoder, if they passed something else."""
    if encoder is None or isinstance(encoder, str | os.PathLike):
        return
    rule = (
        "encoder must be None (hashed n-grams), the folder or hub id of a model of transformers, or a "
        "transformer: fit and transform over a list of (prompt, response)"
    )
    if isinstance(encoder, type):
        raise ValueError(f"{rule}; got the class {encoder.__name__}: pass an instance, {encoder.__name__}()")
    missing = [method for method in ("fit", "transform") if not hasattr(encoder, method)]
    if missing:
        raise ValueError(f"{rule}; got {described(encoder)} without {' and '.join(missing)}: add what is missing")
