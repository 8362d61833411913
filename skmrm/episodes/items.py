"""What users pass to be scored: texts or feature vectors, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.arrays import is_bfloat16
from skmrm.episodes.arrays import without_torch
from skmrm.episodes.messages import as_conversation, is_messages

__all__ = ["as_text", "check_features", "check_items", "responses_to_rank", "responses_to_score"]


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


def check_items(X: Any, caller: str) -> list[tuple[str, str]]:
    """A list of (prompt, response) texts, or an error that says what came."""
    form = f"{caller} of a model fitted on texts takes a list of (prompt, response) pairs"
    if isinstance(X, str) or not isinstance(X, Sequence | np.ndarray):
        raise TypeError(f"{form}; got {type(X).__name__}: for one response call score(prompt, response)")
    items = []
    for row, item in enumerate(X):
        if isinstance(item, str) or not isinstance(item, Sequence | np.ndarray) or len(item) != 2:
            raise TypeError(f"{form}; item {row} is {item!r:.80}")
        prompt = as_text(item[0], f"{caller}: prompt of item {row}")
        items.append((prompt, as_text(item[1], f"{caller}: response of item {row}")))
    return items


def as_text(value: Any, what: str) -> str:
    """A text, or a list of chat messages as one."""
    if isinstance(value, str):
        return value
    if is_messages(value):
        return as_conversation(value)
    raise TypeError(f"{what} must be a str or a list of chat messages, got {type(value).__name__}")


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
