"""Keys of texts: a hash of what an item says, by which its features are found again without the text."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.items import Item
from skmrm.episodes.messages import Conversation

__all__ = ["KEY_BYTES", "content_keys", "sortable"]

KEY_BYTES = 16  # two of a billion texts share a key with a chance of one in 10^21


def content_keys(items: Sequence[Item]) -> NDArray[np.uint8]:
    """Hash items.

    Parameters
    ----------
    items : sequence of (prompt, response)
        A plain text and a conversation are never the same, whatever they read like.

    Returns
    -------
    (n_items, KEY_BYTES) uint8 array
        Equal for equal items, whatever the machine.
    """
    keys = b"".join([blake2b(_framed(p) + _framed(r), digest_size=KEY_BYTES).digest() for p, r in items])
    return np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES)


def sortable(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """The same keys as one value each, (n,), that numpy compares byte by byte."""
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}")[:, 0]


def _framed(part: str) -> bytes:
    """What a text says with its kind and all lengths before it, so that no two parts are spelt alike."""
    is_messages = isinstance(part, Conversation)
    texts = chain.from_iterable(part.messages) if isinstance(part, Conversation) else (part,)
    spelt = [str.encode(text, "utf-8", "surrogatepass") for text in texts]
    sizes = [len(spelt), *map(len, spelt)]
    return b"".join([b"m" if is_messages else b"t", *(size.to_bytes(8, "little") for size in sizes), *spelt])
