"""Rows into batches of like length, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "batches"]

Rows = NDArray[np.intp]


def batches(
    lengths: Sequence[int] | NDArray[np.integer], batch_tokens: int, sizes: Rows | None = None
) -> Iterator[Rows]:
    """Batches, the longest rows first, so that a lack of memory shows at once.

    Parameters
    ----------
    lengths : (n,) sequence of int
        Tokens of each row; rows without any are left out.
    batch_tokens : int
        Most tokens of a batch, padding included; a row that has more is a batch of its own.
    sizes : (n,) int array, optional
        Texts that a row stands for, each of its length; None is one.

    Yields
    ------
    (n_rows,) int array
    """
    longest = np.asarray(lengths)
    counts = np.ones(len(longest), np.intp) if sizes is None else sizes
    order = np.argsort(-longest, kind="stable")
    order = order[: np.count_nonzero(longest)]
    start = n_texts = 0
    for place, row in enumerate(order):
        n_texts += counts[row]
        if place > start and n_texts * longest[order[start]] > batch_tokens:
            yield order[start:place]
            start, n_texts = place, counts[row]
    if start < len(order):
        yield order[start:]
