"""Candidates for a comparison, in any of the forms that users pass, and the pairs of them that may be asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import described
from skmrm.episodes.arrays import is_missing
from skmrm.episodes.columns import factorize
from skmrm.episodes.information import telling_pairs
from skmrm.episodes.items import check_features, check_items, is_one_text, several

__all__ = ["Candidates", "Question", "ask", "read_candidates"]

MOST_PAIRS = 1_000_000  # of which all are looked at; of more, so many drawn at random


class Question(NamedTuple):
    """A comparison to show to a user.

    Attributes
    ----------
    prompt : str or None
        What both answer; None for feature vectors.
    response_a, response_b : str or (n_features,) array
    first, second : int
        Their places among the candidates (of pairs, the place of the pair, and the same).
    information : float
        What the answer is expected to tell of the user's rewards, in bits; 1 at most.
    """

    prompt: Any
    response_a: Any
    response_b: Any
    first: int
    second: int
    information: float


@dataclass(frozen=True)
class Candidates:
    """Items, and which of them may be compared.

    Attributes
    ----------
    items : list of (prompt, response), or (n_items, n_features) array
    first, second : (n_pairs,) int array
        Rows of `items`.
    places : (n_items,) int array
        Where the caller had them.
    """

    items: Any
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    places: NDArray[np.intp]

    def question(self, pair: int, information: float) -> Question:
        """One of the pairs, to be shown."""
        a, b = int(self.first[pair]), int(self.second[pair])
        places = int(self.places[a]), int(self.places[b])
        if isinstance(self.items, np.ndarray):
            return Question(None, self.items[a], self.items[b], *places, information)
        return Question(self.items[a][0], self.items[a][1], self.items[b][1], *places, information)


def read_candidates(candidates: Any, context: Any, kind: str, n_features: int, owner: str) -> Candidates:
    """Check candidates, and find the pairs that belong together.

    Parameters
    ----------
    candidates : sequence of str, of (prompt, response) or of (prompt, response, response), or array
        With texts, responses to the prompt `context`; or with their prompts, of which those to one prompt are compared;
        or given pairs. With feature vectors, an array of shape (n, n_features), or of pairs (n, 2, n_features).
    context : str, list of messages, or (n,) sequence of hashables
        The prompt of all; of feature vectors, what tells which belong together, None for all.
    kind : {"text", "features"}
        What the model was fitted on.
    n_features : int
    owner : str
        Class that asks, for messages.
    """
    if kind == "features":
        return _of_features(candidates, context, n_features, owner)
    if context is not None:
        if not is_one_text(context):
            raise TypeError(
                f"context must be the prompt of all candidates, a text or messages, got {described(context)}"
            )
        listed: list[Any] = [(context, response) for response in several(candidates, "suggest_pairs takes candidates")]
    else:
        listed = several(candidates, "suggest_pairs takes candidates")
    if listed and all(isinstance(row, tuple | list) and len(row) == 3 for row in listed):
        ends = [(row[0], response) for row in listed for response in row[1:]]
        items = check_items(ends, "suggest_pairs")
        pairs = np.arange(len(listed))
        return Candidates(items, 2 * pairs, 2 * pairs + 1, np.repeat(pairs, 2))
    items = check_items(listed, "suggest_pairs")
    group, _ = factorize([prompt for prompt, _ in items]) if items else (np.empty(0, np.int64), [])
    return Candidates(items, *_pairs_within(group), np.arange(len(items)))


def _of_features(candidates: Any, context: Any, n_features: int, owner: str) -> Candidates:
    if getattr(candidates, "ndim", 2) == 3 and np.shape(candidates)[1] == 2:
        flat = np.reshape(candidates, (-1, np.shape(candidates)[2]))
        pairs = np.arange(len(candidates))
        features = check_features(flat, n_features, "suggest_pairs", owner)
        return Candidates(features, 2 * pairs, 2 * pairs + 1, np.repeat(pairs, 2))
    features = check_features(candidates, n_features, "suggest_pairs", owner)
    group = np.zeros(len(features), np.int64)
    if context is not None:
        codes: Sequence[Any] = list(context) if not isinstance(context, str) else [context]
        if len(codes) != len(features) or any(map(is_missing, codes)):
            raise ValueError(
                f"context must tell of each of {len(features)} candidates what it belongs to, got {len(codes)}: "
                "give each a number or a name, or leave it out where all may be compared"
            )
        group, _ = factorize(codes)
    return Candidates(features, *_pairs_within(group), np.arange(len(features)))


def _pairs_within(group: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """All pairs of candidates of one group, or a million of them."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group) if len(group) else np.empty(0, np.int64)
    behind = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(group)) - 1  # of each, those after it in its group
    total = int(behind.sum())
    if total <= MOST_PAIRS:
        first = np.repeat(np.arange(len(group)), behind)
        second = first + 1 + np.arange(total) - np.repeat(np.cumsum(behind) - behind, behind)
        return order[first], order[second]
    drawn = np.sort(np.random.default_rng(0).choice(total, MOST_PAIRS, replace=False))
    ends = np.cumsum(behind)
    first = np.searchsorted(ends, drawn, side="right")
    return order[first], order[first + 1 + drawn - (ends - behind)[first]]


def ask(
    candidates: Candidates,
    rewards: NDArray[Any],
    weights: NDArray[Any],
    covariance: NDArray[Any],
    n: int,
) -> list[Question]:
    """The n most telling questions, from base rewards (n_items, n_bases) of the candidates and a posterior."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"suggest_pairs: n must be a positive integer, got {n!r}")
    if len(candidates.first) == 0:
        return []
    posterior = np.asarray(weights, float), np.asarray(covariance, float)
    pairs, told = telling_pairs(rewards, *posterior, candidates.first, candidates.second, int(n))
    return [candidates.question(pair, nats / math.log(2)) for pair, nats in zip(pairs, told, strict=True)]
