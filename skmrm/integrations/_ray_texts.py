"""Texts of a data set of Ray Data, read into this process."""

from __future__ import annotations

from typing import Any

from skmrm._support.wording import described, name_some
from skmrm.episodes import episodes_from_frame
from skmrm.episodes.items import Item
from skmrm.integrations._read_texts import read_items

__all__ = ["read_ray_dataset"]

_RESPONSES = ("prompt", "response")
_PAIRS = ("prompt", "chosen", "rejected")


def read_ray_dataset(ds: Any) -> list[Item]:
    """Distinct (prompt, response) of a ``ray.data.Dataset``.

    Parameters
    ----------
    ds : ray.data.Dataset
        With columns ``prompt`` and ``response``, or ``prompt``, ``chosen`` and ``rejected``: texts, or lists of
        messages. Pairs are read as :func:`skmrm.episodes_from_frame` does.

    Returns
    -------
    list of (prompt, response)
        Of str; message lists are `Conversation`.

    Raises
    ------
    ValueError
        If columns are missing, or cannot be read.
    """
    names = ds.columns() or []
    columns = next((columns for columns in (_PAIRS, _RESPONSES) if set(columns) <= set(names)), None)
    if columns is None:
        raise ValueError(
            "a ray.data.Dataset must have the columns 'prompt' and 'response', or 'prompt', 'chosen' and 'rejected'; "
            f"its columns are {name_some(names, 9) or 'none'}: rename yours with ds.rename_columns"
        )
    cells: dict[str, list[Any]] = {name: [] for name in columns}
    for batch in ds.select_columns(list(columns)).iter_batches(batch_size=None, batch_format="pyarrow"):
        for name in columns:
            cells[name].extend(batch[name].to_pylist())
    if columns == _RESPONSES:
        return list(dict.fromkeys(read_items(cells["prompt"], cells["response"], _RESPONSES)))
    pairs = episodes_from_frame({**cells, "user": [0] * len(cells["prompt"])}, user="user")
    if pairs.items is None:
        raise ValueError(
            "a ray.data.Dataset to encode must hold texts, got vectors of numbers in 'chosen' and 'rejected', "
            f"{described(cells['chosen'][0])} in row 0: features need no encoding"
        )
    return list(pairs.items)
