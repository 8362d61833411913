"""Distinct texts in an order of their own, which depends neither on the data's order nor on repetition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.columns import factorize
from skmrm.episodes.items import CheckedItems, Item

__all__ = ["distinct_items"]


def distinct_items(items: CheckedItems) -> tuple[CheckedItems, NDArray[np.intp]]:
    """Distinct items in ascending order, and where each item is among them."""
    codes, distinct = factorize(items)
    order = sorted(range(len(distinct)), key=lambda row: _place(distinct[row]))
    return CheckedItems([distinct[row] for row in order]), np.argsort(order)[codes]


def _place(item: Item) -> tuple[object, ...]:
    """Texts first; of items that read alike, plain texts before conversations, and those by their messages."""
    prompt, response = item
    messages = (getattr(prompt, "messages", ()), getattr(response, "messages", ()))
    return (str.__str__(prompt), str.__str__(response), *messages)
