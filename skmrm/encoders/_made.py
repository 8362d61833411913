"""What a fitted encoder makes of texts, with the counts of those that count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn import config_context

from skmrm.encoders._encoded import CountingEncoder, Encoded
from skmrm.encoders._items import Item
from skmrm.encoders._output import checked_output

__all__ = ["encode_piece", "made_of"]


def made_of(encoder: Any, items: Sequence[Item]) -> tuple[Any, int, int]:
    """Encode texts.

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
            encoded = encoder.encode(list(items))
            return encoded.features, encoded.n_tokens, encoded.n_cut
        return encoder.transform(items), 0, 0


def encode_piece(encoder: Any, items: Sequence[Item]) -> Encoded:
    """Encode texts, and check what comes.

    Raises
    ------
    ValueError
        If what the encoder returns cannot be used.
    """
    output, n_tokens, n_cut = made_of(encoder, items)
    return Encoded(checked_output(output, encoder, len(items)), n_tokens, n_cut)
