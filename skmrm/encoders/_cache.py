"""Fit and transform that are done once for the same texts, where there is a cache or a store."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import joblib
from sklearn import config_context
from sklearn.utils.validation import check_memory

from skmrm._support.progress import Verbose
from skmrm.encoders._encoded import encode_counted
from skmrm.encoders._identity import digest, identity_of
from skmrm.episodes.items import Item
from skmrm.episodes.rows import PlacedRows

__all__ = [
    "FeatureStore",
    "Memory",
    "as_memory",
    "as_store",
    "cached_encode",
    "cached_fit",
    "resolve_encoder",
]


class FeatureStore(Protocol):
    """What an encoder needs of an :class:`skmrm.embeddings.EmbeddingStore`, which rests on this package."""

    folder: Path
    encoder_: Any

    @property
    def n_features(self) -> int:
        """Number of columns."""
        ...

    def opened_with(self, encoder: Any) -> FeatureStore:
        """The store with another handle of its encoder."""
        ...

    def encoded(self, items: Any, *, n_jobs: int | None = None, verbose: Verbose = False) -> PlacedRows:
        """Features of texts, those encoded first that are not there."""
        ...


Memory: TypeAlias = str | os.PathLike[str] | joblib.Memory | FeatureStore | None


def as_memory(memory: Memory) -> joblib.Memory | None:
    """Make a place to cache of what users pass.

    Parameters
    ----------
    memory : str, path, joblib.Memory, EmbeddingStore or None
        A folder, or a memory (one without a location caches nothing). A store is no cache, see `as_store`.

    Returns
    -------
    joblib.Memory or None
        None where nothing is to be cached.
    """
    if memory is None or as_store(memory) is not None:
        return None
    checked = check_memory(os.fspath(memory) if isinstance(memory, os.PathLike) else memory)
    return checked if getattr(checked, "location", True) is not None else None


def as_store(memory: Memory) -> FeatureStore | None:
    """The embedding store that users passed, if they passed one."""
    return cast("FeatureStore", memory) if hasattr(memory, "opened_with") else None


def resolve_encoder(encoder: Any, memory: Memory) -> Any:
    """The encoder, or that of a store where none was given: it has to be known where the store is not."""
    store = as_store(memory)
    return store.encoder_ if encoder is None and store is not None else encoder


def cached_fit(memory: joblib.Memory | None, encoder: Any, items: Sequence[Item]) -> Any:
    """Fit an encoder, or take the fitted one from the cache.

    Parameters
    ----------
    memory : joblib.Memory or None
        The cache.
    encoder : transformer
        Not fitted; fitted in place if the cache holds nothing.
    items : sequence of (prompt, response)
        Texts.

    Returns
    -------
    transformer
        Fitted.
    """
    if memory is None or not _can_be_pickled(encoder):
        return _fit(encoder, items, "")
    return memory.cache(_fit, ignore=["encoder", "items"])(encoder, items, digest(identity_of(encoder), items))


def cached_encode(
    memory: joblib.Memory | None, encoder: Any, items: Sequence[Item], state: dict[str, Any]
) -> tuple[Any, int, int]:
    """Encode texts, or take their features from the cache.

    Parameters
    ----------
    memory : joblib.Memory or None
        The cache.
    encoder : transformer
        Fitted.
    items : sequence of (prompt, response)
        Texts.
    state : dict
        Identity of the encoder.

    Returns
    -------
    object, int, int
        As of :func:`skmrm.encoders._encoded.encode_counted`.
    """
    if memory is None:
        return encode_counted(encoder, items)
    return memory.cache(_encode, ignore=["encoder", "items"])(encoder, items, digest(state, items))


def _can_be_pickled(encoder: Any) -> bool:
    """Whether a cache can hold it: not with a function of a notebook, whose features can be kept all the same."""
    try:
        pickle.dumps(encoder)
    except Exception:
        return False
    return True


# The key stands for the other arguments, so that joblib neither hashes nor writes down every text.
def _fit(encoder: Any, items: Sequence[Item], key: str) -> Any:
    with config_context(transform_output="default"):
        encoder.fit(items)
    return encoder


def _encode(encoder: Any, items: Sequence[Item], key: str) -> tuple[Any, int, int]:
    return encode_counted(encoder, items)
