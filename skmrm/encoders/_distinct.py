"""Distinct texts in an order of their own, which depends neither on the data's order nor on repetition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.items import CheckedItems, Item

__all__ = ["distinct_items"]


def distinct_items(items: CheckedItems) -> tuple[CheckedItems, NDArray[np.intp]]:
    """Distinct items in ascending order, and where each item is among them."""
    distinct = CheckedItems(sorted(dict.fromkeys(items), key=_place))
    place = {item: row for row, item in enumerate(distinct)}
    return distinct, np.fromiter((place[item] for item in items), np.intp, len(items))


def _place(item: Item) -> tuple[object, ...]:
    """Texts first; of items that read alike, plain texts before conversations, and those by their messages."""
    prompt, response = item
    messages = (getattr(prompt, "messages", ()), getattr(response, "messages", ()))
    return (str.__str__(prompt), str.__str__(response), *messages)
