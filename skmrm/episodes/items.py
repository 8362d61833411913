"""What users pass to be scored or encoded: texts or feature vectors, checked once, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import counted, described, name_some
from skmrm.episodes.dialects import is_message
from skmrm.episodes.features import feature_array
from skmrm.episodes.messages import all_spelt, is_messages, own_prompt, read_text

__all__ = [
    "CheckedItems",
    "Item",
    "check_features",
    "check_items",
    "encodable",
    "is_one_text",
    "responses_to_rank",
    "responses_to_score",
    "several",
]

Item: TypeAlias = tuple[str, str]  # prompt and response


def check_features(X: Any, n_features: int, caller: str, owner: str) -> NDArray[Any]:
    """An (n, n_features) float array of finite numbers, or an error that says what came."""
    rule = f"{caller} of a model fitted on feature vectors takes an array of shape (n, {n_features}); got"
    try:
        features = np.asarray(feature_array(X))
    except ValueError as error:
        raise TypeError(f"{rule} {error}") from error
    if features.ndim != 2:
        raise TypeError(
            f"{rule} {type(X).__name__} of dtype {features.dtype} and shape {features.shape}: pass a single vector as "
            "x[None]"
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
    return features


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
        The same strings in tuples; message lists as `Conversation`, for models without the prompt's messages.

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
    if is_one_text(prompt) and is_one_text(response):
        return [(prompt, response)], True
    if is_one_text(response):
        raise TypeError(
            "score takes one prompt and one response, or sequences of the same length; "
            "got several prompts and one response"
        )
    responses = several(response, "score takes a response, or a sequence of responses")
    is_one = is_one_text(prompt)
    prompts = [prompt] * len(responses) if is_one else several(prompt, "score takes a prompt, or a sequence of them")
    if len(prompts) != len(responses):
        raise ValueError(
            f"score takes as many prompts as responses, got {len(prompts)} prompts and {len(responses)} responses"
        )
    return list(zip(prompts, responses, strict=True)), False


def responses_to_rank(prompt: Any, responses: Any, kind: str) -> Any:
    """What rank(prompt, responses) is to score; feature vectors need no prompt."""
    if kind == "features":
        return responses
    if not is_one_text(prompt):
        raise TypeError(
            f"rank takes one prompt, a str or a list of messages, got {described(prompt)}: rank the responses to each "
            "prompt by themselves, and wrap a message in a list"
        )
    if is_one_text(responses):
        came = "a str" if isinstance(responses, str) else "one list of messages"
        raise TypeError(f"rank takes a sequence of responses, got {came}: wrap it in a list")
    return [(prompt, response) for response in several(responses, "rank takes a sequence of responses")]


def is_one_text(value: Any) -> bool:
    """Whether something is a text, or one list of messages."""
    return isinstance(value, str) or is_messages(value)


def several(values: Any, rule: str) -> list[Any]:
    """Texts or message lists one after the other: of a list, an array, a column; not of what is itself one thing."""
    if is_message(values):
        raise TypeError(f"{rule}; got {described(values)}: wrap a message in a list")
    if isinstance(values, bytes | Set) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{rule}; got {described(values)}: pass a list")
    return list(values)


def _read_items(X: Any, caller: str | None) -> CheckedItems:
    error = ValueError if caller is None else TypeError
    needed = "an encoder needs a list of (prompt, response)"
    if caller is not None:
        needed = f"{caller} of a model fitted on texts takes a list of (prompt, response) pairs"
    if isinstance(X, str | Mapping | Set) or not isinstance(X, Iterable):
        remedy = "" if caller is None else ": for one response call score(prompt, response)"
        raise error(f"{needed}, got {described(X)}{remedy}")
    rows = list(X)
    spelt = all_spelt(response for _, response in filter(_is_pair, rows))
    spelt_prompts = spelt or all_spelt(prompt for prompt, _ in filter(_is_pair, rows))
    read = [_as_item(row, spelt_prompts, spelt) for row in rows]
    unreadable = [place for place, item in enumerate(read) if isinstance(item, ValueError)]
    if unreadable:
        raise ValueError(
            f"messages must be readable; not so in {counted(len(unreadable), 'item')} of {len(rows)}, at "
            f"{name_some(unreadable)} (the first: {read[unreadable[0]]})"
        )
    bad = [place for place, item in enumerate(read) if item is None]
    if bad:
        first = rows[bad[0]]
        shown = "" if caller is None else f"{needed}; item {bad[0]} is {first!r:.80}: "
        raise error(
            f"{shown}each item must be a (prompt, response) of two str or lists of chat messages; not so for "
            f"{counted(len(bad), 'item')} of {len(rows)}, at {name_some(bad)} (the first is {_described(first)}): "
            "write a response without a prompt as ('', response), and a message by itself as [message]"
        )
    items = [item for item in read if isinstance(item, tuple)]
    # What encoders get was read where it came in.
    return CheckedItems(items if caller is None else [own_prompt(*item) for item in items])


def _is_pair(item: Any) -> bool:
    return not isinstance(item, str) and isinstance(item, Sequence | np.ndarray) and len(item) == 2


def _as_item(item: Any, spelt_prompt: bool, spelt: bool) -> Item | ValueError | None:
    """The pair of texts that an item is; None if it is no pair, an error if its messages cannot be read."""
    if type(item) is tuple and not (spelt or spelt_prompt) and tuple(map(type, item)) == (str, str):  # the usual case
        return item
    if not _is_pair(item):
        return None
    try:
        prompt, response = read_text(item[0], spelt=spelt_prompt), read_text(item[1], spelt=spelt)
    except ValueError as error:
        return error
    return None if prompt is None or response is None else (prompt, response)


def _described(item: object) -> str:
    if isinstance(item, tuple | list) and len(item) == 2:
        return " and ".join(described(part) for part in item)
    return described(item) + (f" of length {len(item)}" if isinstance(item, tuple | list) else "")
