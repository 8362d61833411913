"""What users pass to be scored or encoded: texts or feature vectors, checked once, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skmrm._support.arrays import is_bfloat16
from skmrm._support.wording import counted, described, name_some
from skmrm.episodes.arrays import without_torch
from skmrm.episodes.messages import as_conversation, is_messages

__all__ = [
    "CheckedItems",
    "Item",
    "check_features",
    "check_items",
    "encodable",
    "responses_to_rank",
    "responses_to_score",
]

Item: TypeAlias = tuple[str, str]  # prompt and response


def check_features(X: Any, n_features: int, caller: str, owner: str) -> NDArray[Any]:
    """An (n, n_features) float array of finite numbers, or an error that says what came."""
    X = without_torch(X)
    try:
        features = np.asarray(X)
    except ValueError:
        features = np.asarray(X, dtype=object)
    if (features.dtype.kind not in "fiu" and not is_bfloat16(features.dtype)) or features.ndim != 2:
        raise TypeError(
            f"{caller} of a model fitted on feature vectors takes an array of shape (n, {n_features}); "
            f"got {type(X).__name__} of dtype {features.dtype} and shape {features.shape}: encode texts with the "
            "same encoder as for fit, and pass a single vector as x[None]"
        )
    if features.shape[1] != n_features:
        raise ValueError(
            f"{caller}: X has {features.shape[1]} features, but {owner} is expecting {n_features} features as in fit: "
            "use the encoder that made the features of fit"
        )
    finite = np.isfinite(features).all(1)
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise ValueError(f"{caller}: features must be finite; {len(rows)} rows are not, the first is row {rows[0]}")
    return features.astype(np.float64) if features.dtype.kind in "iu" else features


class CheckedItems(list[Item]):
    """Items that were checked where they came in, and so are passed on without another look."""

    __slots__ = ()


def check_items(X: Any, caller: str | None = None, *, minimum: int = 0) -> CheckedItems:
    """Check that texts are (prompt, response) pairs, once: what this returned comes back as it is.

    Parameters
    ----------
    X : iterable of (prompt, response)
        A str (a subclass will do, and is kept) or a list of chat messages each.
    caller : str, optional
        The method of a model that was called, for the message; None for an encoder.
    minimum : int
        Fewest items that are enough.

    Returns
    -------
    list of (prompt, response)
        The same strings in tuples; message lists as `Conversation`.

    Raises
    ------
    TypeError, of encoders ValueError
        If `X` is no collection of such pairs, naming the first few that are not.
    ValueError
        If there are too few, or messages cannot be read.
    """
    items = X if isinstance(X, CheckedItems) else _read_items(X, caller)
    if len(items) < minimum:
        raise ValueError(f"at least {counted(minimum, 'item')} is needed, got {len(items)}: pass some texts")
    return items


def encodable(text: str) -> str:
    """Put a question mark for each half of a surrogate pair (a cut emoji, say), which UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode("utf-8")


def responses_to_score(prompt: Any, response: Any, kind: str) -> tuple[list[tuple[Any, Any]], bool]:
    """What score(prompt, response) is to score, each response with its prompt, and whether it is one response."""
    if kind == "features":
        raise TypeError(
            "score(prompt, response) needs a model fitted on texts; this one was fitted on feature vectors: "
            "call predict(X) with an array of shape (n, n_features)"
        )
    if _is_one_text(prompt) and _is_one_text(response):
        return [(prompt, response)], True
    if _is_one_text(response):
        raise TypeError(
            "score takes one prompt and one response, or sequences of the same length; "
            "got several prompts and one response"
        )
    responses = list(response)
    prompts = [prompt] * len(responses) if _is_one_text(prompt) else list(prompt)
    if len(prompts) != len(responses):
        raise ValueError(
            f"score takes as many prompts as responses, got {len(prompts)} prompts and {len(responses)} responses"
        )
    return list(zip(prompts, responses, strict=True)), False


def responses_to_rank(prompt: Any, responses: Any, kind: str) -> Any:
    """What rank(prompt, responses) is to score; feature vectors need no prompt."""
    if kind == "features":
        return responses
    if isinstance(responses, str):
        raise TypeError("rank takes a sequence of responses, got a str")
    return [(prompt, response) for response in responses]


def _is_one_text(value: Any) -> bool:
    return isinstance(value, str) or is_messages(value)


def _read_items(X: Any, caller: str | None) -> CheckedItems:
    error = ValueError if caller is None else TypeError
    needed = "an encoder needs a list of (prompt, response)"
    if caller is not None:
        needed = f"{caller} of a model fitted on texts takes a list of (prompt, response) pairs"
    if isinstance(X, str | Mapping) or not isinstance(X, Iterable):
        remedy = "" if caller is None else ": for one response call score(prompt, response)"
        raise error(f"{needed}, got {described(X)}{remedy}")
    rows = list(X)
    read = [_as_item(row) for row in rows]
    bad = [place for place, item in enumerate(read) if item is None]
    if bad:
        first = rows[bad[0]]
        shown = "" if caller is None else f"{needed}; item {bad[0]} is {first!r:.80}: "
        raise error(
            f"{shown}each item must be a (prompt, response) of two str or lists of chat messages; not so for "
            f"{counted(len(bad), 'item')} of {len(rows)}, at {name_some(bad)} (the first is {_described(first)}): "
            "write a response without a prompt as ('', response)"
        )
    return CheckedItems([item for item in read if item is not None])


def _as_item(item: Any) -> Item | None:
    """The pair of texts that an item is, or None."""
    if isinstance(item, str) or not isinstance(item, Sequence | np.ndarray) or len(item) != 2:
        return None
    prompt, response = _as_text(item[0]), _as_text(item[1])
    return None if prompt is None or response is None else (prompt, response)


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return as_conversation(value) if is_messages(value) else None


def _described(item: object) -> str:
    if isinstance(item, tuple | list) and len(item) == 2:
        return " and ".join(described(part) for part in item)
    return described(item) + (f" of length {len(item)}" if isinstance(item, tuple | list) else "")
