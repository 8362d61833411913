"""Rows into batches of like length, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "batches"]

Rows = NDArray[np.intp]


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[Rows]:
    """Batches, the longest rows first, so that a lack of memory shows at once.

    Parameters
    ----------
    lengths : (n,) sequence of int
        Tokens of each row; rows without any are left out.
    batch_tokens : int
        Most tokens of a batch, padding included; a row that has more is a batch of its own.

    Yields
    ------
    (n_rows,) int array
    """
    order = np.argsort(-np.asarray(lengths, np.intp), kind="stable")
    order = order[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        stop = start + max(1, batch_tokens // lengths[order[start]])
        yield order[start:stop]
        start = stop
