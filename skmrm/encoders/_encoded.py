"""What an encoder made of texts, and how much there was of them: for progress lines that say more than a percentage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skmrm.encoders._items import Item

__all__ = ["CountingEncoder", "Encoded"]


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


@runtime_checkable
class CountingEncoder(Protocol):
    """An encoder that counts: :class:`skmrm.encoders.HFEncoder`.

    An `encode` alone may be anything: that of an encoder with an identity counts.
    """

    @property
    def identity_(self) -> dict[str, Any]:
        """All that decides its numbers."""
        ...

    def encode(self, X: list[Item]) -> Encoded:
        """As `transform`, with counts."""
        ...
