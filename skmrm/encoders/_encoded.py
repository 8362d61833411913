"""Encoding with counts: features of texts, how many tokens they took, and how many texts were cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn import config_context

from skmrm.encoders._output import checked_output
from skmrm.episodes.items import Item

__all__ = ["CountingEncoder", "EncodePieces", "Encoded", "encode_counted", "encode_piece", "encode_pieces"]


@dataclass(frozen=True)
class Encoded:
    """Features of texts.

    Attributes
    ----------
    features : (n_items, n_features) float32 array
        One row a text, in the order that they were given in.
    n_tokens : int
        Tokens of all texts as they were encoded, special ones included, padding not.
    n_cut : int
        Texts that were too long, of which a part was not encoded.
    """

    features: NDArray[np.float32]
    n_tokens: int
    n_cut: int


# Pieces to their features, each with its place, in any order.
EncodePieces = Callable[[Sequence[Sequence[Item]]], Iterator[tuple[int, Encoded]]]


@runtime_checkable
class CountingEncoder(Protocol):
    """An encoder that counts: :class:`skmrm.encoders.HFEncoder`.

    An `encode` alone may be anything: that of an encoder with an identity counts.
    """

    @property
    def identity_(self) -> dict[str, Any]:
        """All that decides its numbers."""
        ...

    def encode(self, X: Sequence[Item]) -> Encoded:
        """As `transform`, with counts."""
        ...


def encode_counted(encoder: Any, items: Sequence[Item]) -> tuple[Any, int, int]:
    """Encode texts, with counts where the encoder has them.

    Parameters
    ----------
    encoder : transformer
        Fitted.
    items : sequence of (prompt, response)
        Texts.

    Returns
    -------
    object
        What the encoder returned: an array, a data frame or a sparse matrix.
    int, int
        Tokens, and texts that were cut; 0 of an encoder that does not count.
    """
    with config_context(transform_output="default"):
        if isinstance(encoder, CountingEncoder):
            encoded = encoder.encode(items)
            return encoded.features, encoded.n_tokens, encoded.n_cut
        return encoder.transform(items), 0, 0


def encode_piece(encoder: Any, items: Sequence[Item]) -> Encoded:
    """Encode texts, and check what comes.

    Raises
    ------
    ValueError
        If what the encoder returns cannot be used.
    """
    output, n_tokens, n_cut = encode_counted(encoder, items)
    return Encoded(checked_output(output, encoder, len(items)), n_tokens, n_cut)


def encode_pieces(
    encoder: Any, pieces: Sequence[Sequence[Item]], n_jobs: int | None = None
) -> Iterator[tuple[int, Encoded]]:
    """Encode pieces one after the other, here or in processes of joblib."""
    return enumerate(
        Parallel(n_jobs=n_jobs, return_as="generator")(delayed(encode_piece)(encoder, piece) for piece in pieces)
    )
