"""Fit and transform that are done once for the same texts, if there is a cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import joblib
import sklearn
from sklearn import config_context
from sklearn.utils.validation import check_memory

import skmrm
from skmrm.encoders._items import Item

__all__ = ["Memory", "as_memory", "cached_fit", "cached_transform", "digest"]

Memory: TypeAlias = str | os.PathLike[str] | joblib.Memory | None


def as_memory(memory: Memory) -> joblib.Memory | None:
    """Make a place to cache of what users pass.

    Parameters
    ----------
    memory : str, path, joblib.Memory or None
        A folder, or a memory (one without a location caches nothing).

    Returns
    -------
    joblib.Memory or None
        None where nothing is to be cached.
    """
    if memory is None:
        return None
    checked = check_memory(os.fspath(memory) if isinstance(memory, os.PathLike) else memory)
    return checked if getattr(checked, "location", True) is not None else None


def digest(*parts: object) -> str:
    """Hash of values, of the versions of this package and of scikit-learn.

    Parameters
    ----------
    *parts : object
        Anything that can be pickled.

    Returns
    -------
    str
        The same for equal values.
    """
    return str(joblib.hash((skmrm.__version__, sklearn.__version__, parts)))


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
    if memory is None:
        return _fit(encoder, items, "")
    return memory.cache(_fit, ignore=["encoder", "items"])(encoder, items, digest(encoder, items))


def cached_transform(memory: joblib.Memory | None, encoder: Any, items: Sequence[Item], state: str) -> Any:
    """Encode texts, or take what was made of them from the cache.

    Parameters
    ----------
    memory : joblib.Memory or None
        The cache.
    encoder : transformer
        Fitted.
    items : sequence of (prompt, response)
        Texts.
    state : str
        Digest of the encoder.

    Returns
    -------
    object
        What the encoder returned.
    """
    if memory is None:
        return _transform(encoder, items, "")
    return memory.cache(_transform, ignore=["encoder", "items"])(encoder, items, digest(state, items))


# The key stands for the other arguments, so that joblib neither hashes nor writes down every text.
def _fit(encoder: Any, items: Sequence[Item], key: str) -> Any:
    with config_context(transform_output="default"):
        encoder.fit(items)
    return encoder


def _transform(encoder: Any, items: Sequence[Item], key: str) -> Any:
    with config_context(transform_output="default"):
        return encoder.transform(items)
