"""Encode what a store does not hold yet, piece by piece, so that nothing is lost or done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from skmrm.encoders._encoded import Encoded, encode_piece
from skmrm.encoders._items import Item, check_items
from skmrm.episodes import Episode, EpisodeSet, as_episode_set, episodes_from_frame
from skmrm.episodes.messages import as_conversation, is_messages
from skmrm.exceptions import StoreInUseError

if TYPE_CHECKING:
    from skmrm.embeddings._store import EmbeddingStore

__all__ = ["EncodePieces", "Summary", "encode_dataset", "encode_missing", "encode_pieces", "read_texts"]

# Pieces to what was made of them, each with its place, in any order.
EncodePieces = Callable[[Sequence[Sequence[Item]]], Iterator[tuple[int, Encoded]]]


@dataclass(frozen=True, repr=False)
class Summary:
    """What a call of :func:`encode_dataset` did.

    Attributes
    ----------
    n_items : int
        Distinct texts asked for.
    n_new : int
        Texts that were encoded; the others were there.
    n_tokens : int
        Tokens of the new texts; 0 if the encoder does not count.
    n_cut : int
        New texts of which a part was not encoded, since they were too long.
    seconds : float
        Of the whole call.
    """

    n_items: int
    n_new: int
    n_tokens: int
    n_cut: int
    seconds: float

    def __repr__(self) -> str:
        parts = [f"{self.n_items:,} texts", f"{self.n_new:,} new"]
        if self.n_tokens:
            parts += [f"{self.n_tokens:,} tokens at {self.n_tokens / self.seconds:,.0f} a second"]
            parts += [f"{self.n_cut:,} cut"]
        return f"Summary({', '.join(parts)}, {self.seconds:.1f} s)"


def encode_dataset(ds: Any, store: EmbeddingStore, *, verbose: bool = True) -> Summary:
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
    verbose : bool
        Show a progress bar, with tokens per second and the number of texts that were cut.

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
    return encode_missing(ds, store, partial(encode_pieces, store.encoder_), verbose)


def encode_missing(
    ds: Any, store: EmbeddingStore, encode: EncodePieces, verbose: bool = True, wait: bool = False
) -> Summary:
    """As :func:`encode_dataset`, with pieces that may be encoded anywhere.

    Parameters
    ----------
    ds, store, verbose
        As of :func:`encode_dataset`.
    encode : callable
        What encodes pieces, at least one.
    wait : bool
        Wait while another process writes, rather than to fail.

    Returns
    -------
    Summary
    """
    began = time.perf_counter()
    items = read_texts(ds)
    missing = store.missing(items)
    n_new = n_tokens = n_cut = 0
    if missing and store.encoder_ is None:
        raise ValueError(
            f"{len(missing)} texts are not in the store {store.folder}, which was opened for reading: open it with its "
            "encoder, EmbeddingStore(folder, encoder)"
        )
    if not missing:
        with suppress(StoreInUseError):  # whoever is writing will finish it
            store.finish()
    else:
        with store.writing(wait=wait):
            pieces = store.chunks(missing)  # not those that another process added while this one waited
            with tqdm(total=sum(map(len, pieces)), desc="encoding", unit=" texts", disable=not verbose) as bar:
                for place, encoded in encode(pieces) if pieces else ():
                    store.add(pieces[place], encoded.features)
                    n_new += len(pieces[place])
                    n_tokens += encoded.n_tokens
                    n_cut += encoded.n_cut
                    bar.set_postfix_str(_counts(n_tokens, n_cut, time.perf_counter() - began), refresh=False)
                    bar.update(len(pieces[place]))
            store.finish()
    return Summary(len(set(items)), n_new, n_tokens, n_cut, time.perf_counter() - began)


def encode_pieces(
    encoder: Any, pieces: Sequence[Sequence[Item]], n_jobs: int | None = None
) -> Iterator[tuple[int, Encoded]]:
    """Encode pieces one after the other, here or in processes of joblib."""
    made = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(encode_piece)(encoder, piece) for piece in pieces)
    return enumerate(made)


def read_texts(ds: Any) -> list[Item]:
    """The texts of whatever users bring, repeated ones included."""
    if isinstance(ds, Episode):
        ds = [ds]
    is_list = isinstance(ds, list | tuple) or (isinstance(ds, np.ndarray) and ds.dtype == object)
    if isinstance(ds, EpisodeSet) or (is_list and len(ds) > 0 and isinstance(ds[0], Episode)):
        episodes = as_episode_set(ds, min_pairs=0, kind="text", context="encode_dataset").compact()
        return episodes.items or []
    if is_list and not (len(ds) > 0 and isinstance(ds[0], Mapping)):
        return check_items([_with_conversations(item) for item in ds])
    return episodes_from_frame(ds).items or []


def _with_conversations(item: Any) -> Any:
    """An item whose lists of messages are read; anything else is for `check_items` to judge."""
    if not isinstance(item, list | tuple | np.ndarray) or len(item) != 2:
        return item
    return tuple([as_conversation(part) if is_messages(part) else part for part in item])


def _counts(n_tokens: int, n_cut: int, seconds: float) -> str:
    if not n_tokens:
        return ""
    return f"{n_tokens / seconds:,.0f} tokens/s" + (f", {n_cut:,} cut" if n_cut else "")
