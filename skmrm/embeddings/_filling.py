"""Encode what a store does not hold yet, piece by piece, so that nothing is lost or done twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import ArrayLike

from skmrm._support.progress import Verbose, Watch, unless_few
from skmrm.encoders._encoded import EncodePieces
from skmrm.episodes.items import Item
from skmrm.exceptions import StoreInUseError

__all__ = ["Summary", "fill"]

_STAGE = "encoding"


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


class Fillable(Protocol):
    """What filling needs of an :class:`skmrm.embeddings.EmbeddingStore`."""

    folder: Path
    encoder_: Any

    def check_encoder(self) -> None:
        """Raise if the encoder is another now."""
        ...

    def missing(self, items: Any) -> list[Item]:
        """Which texts are not there."""
        ...

    def chunks(self, items: Any) -> list[list[Item]]:
        """Pieces of the texts that are not there."""
        ...

    def writing(self, *, wait: bool = False) -> AbstractContextManager[Any]:
        """A context in which nobody else writes."""
        ...

    def add(self, items: Any, features: ArrayLike) -> None:
        """Write a piece."""
        ...

    def finish(self) -> None:
        """Write the index."""
        ...


def fill(
    store: Fillable, items: Sequence[Item], encode: EncodePieces, verbose: Verbose = "auto", wait: bool = False
) -> Summary:
    """Encode the texts that a store does not hold yet, a piece after the other.

    Parameters
    ----------
    store : EmbeddingStore
    items : sequence of (prompt, response)
        Texts, perhaps repeated.
    encode : callable
        What encodes pieces, at least one.
    verbose : bool, int or "auto"
        As of :class:`skmrm.encoders.TextEncoder`.
    wait : bool
        Wait while another process writes, rather than to fail.

    Returns
    -------
    Summary
    """
    began = time.perf_counter()
    store.check_encoder()  # what it makes now must not lie beside what it made before
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
            n_texts = sum(map(len, pieces))
            shown = unless_few(verbose, n_texts)
            with Watch("encode", [_STAGE], shown, unit=" texts", level=logging.INFO) as tell:
                tell(_STAGE, 0, n_texts)
                for place, encoded in encode(pieces) if pieces else ():
                    store.add(pieces[place], encoded.features)
                    n_new += len(pieces[place])
                    n_tokens += encoded.n_tokens
                    n_cut += encoded.n_cut
                    tell(_STAGE, n_new, n_texts, note=_counts(n_tokens, n_cut, time.perf_counter() - began))
            store.finish()
    return Summary(len(set(items)), n_new, n_tokens, n_cut, time.perf_counter() - began)


def _counts(n_tokens: int, n_cut: int, seconds: float) -> str:
    if not n_tokens:
        return ""
    return f"{n_tokens / seconds:,.0f} tokens/s" + (f", {n_cut:,} cut" if n_cut else "")
