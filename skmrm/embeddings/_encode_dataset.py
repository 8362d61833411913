"""Encode the texts of a data set that a store does not hold yet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from skmrm._support.progress import Verbose
from skmrm.embeddings._filling import Summary, fill
from skmrm.embeddings._store import EmbeddingStore
from skmrm.encoders._encoded import encode_pieces
from skmrm.episodes import Episode, EpisodeSet, as_episode_set, episodes_from_frame
from skmrm.episodes.items import Item, check_items
from skmrm.episodes.messages import own_prompt

__all__ = ["encode_dataset", "read_texts"]


def encode_dataset(ds: Any, store: EmbeddingStore, *, verbose: Verbose = "auto") -> Summary:
    """Encode the texts of a data set that a store does not hold yet.

    It may be stopped at any moment, by Ctrl-C or a kill: pieces that were written stay, and another call goes on with
    the rest. The same texts then give the same files, byte for byte, as far as the encoder gives the same numbers.
    Nothing is encoded, nor a network loaded, if all texts are there.

    Parameters
    ----------
    ds : EpisodeSet, list of Episode, list of (prompt, response), or table
        Where the texts are: episodes; pairs of texts or lists of messages; or a table as
        :func:`skmrm.episodes_from_frame` reads it, with its names of columns.
    store : EmbeddingStore
        With an encoder.
    verbose : bool, int or "auto", default="auto"
        "auto" draws a progress bar in a terminal or a notebook after two seconds, with tokens per second and the number
        of texts that were cut. 1 draws it wherever stderr goes, and leaves it there; 0 draws none.

    Returns
    -------
    Summary
        How many texts there are, how many of them were encoded now, and how fast.

    Raises
    ------
    ValueError
        If `ds` cannot be read, the store has no encoder, another process is writing to it, or what the encoder returns
        cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from skmrm.embeddings import EmbeddingStore, encode_dataset
    >>> from skmrm.encoders import HashedTextEncoder
    >>> texts = [("Tea?", "Yes, please."), ("Tea?", "No."), ("Tea?", "Perhaps later.")]
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = EmbeddingStore(folder.name, HashedTextEncoder(n_components=2).fit(texts))
    >>> summary = encode_dataset(texts, store, verbose=False)
    >>> summary.n_items, summary.n_new, len(store), store.features(texts).shape
    (3, 3, 3, (3, 2))
    >>> folder.cleanup()
    """
    return fill(store, read_texts(ds), partial(encode_pieces, store.encoder_), verbose)


def read_texts(ds: Any) -> list[Item]:
    """The texts of whatever users bring, repeated ones included."""
    if isinstance(ds, Episode):
        ds = [ds]
    is_list = isinstance(ds, list | tuple) or (isinstance(ds, np.ndarray) and ds.dtype == object)
    if isinstance(ds, EpisodeSet) or (is_list and len(ds) > 0 and isinstance(ds[0], Episode)):
        episodes = as_episode_set(ds, min_pairs=0, kind="text", context="encode_dataset").compact()
        return episodes.items or []
    if is_list and not (len(ds) > 0 and isinstance(ds[0], Mapping)):
        return [own_prompt(*item) for item in check_items(ds)]
    return episodes_from_frame(ds).items or []
