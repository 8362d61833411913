"""The comparisons that users may be asked for: read from a file, and encoded once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.questions import Candidates, ask, read_candidates
from skmrm.service.errors import StartError
from skmrm.serving import OnnxScorer

__all__ = ["KEY_BYTES", "Comparison", "Pool", "keys_of", "read_pool"]

KEY_BYTES = 8
_KEYS = np.dtype("<u8")
_MOST_SHOWN = 5  # mistakes of a file


class Comparison(NamedTuple):
    """Two responses to a prompt; the key is the same whichever comes first, and tells no text."""

    key: bytes
    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class Pool:
    """Candidates, and which pairs of them may be asked for.

    Attributes
    ----------
    candidates : Candidates
    rewards : (n_items, n_bases) array
        Base rewards of the candidates.
    keys : (n_pairs,) uint64 array
        Of each pair, what is kept of it once it was asked: it outlives the order of the file.
    """

    candidates: Candidates
    rewards: NDArray[Any]
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, items: Sequence[tuple[str, str]], scorer: OnnxScorer) -> "Pool":
        """Of prompts and responses, of which those to one prompt are compared; a StartError if none can be asked."""
        if scorer.kind != "text":
            raise StartError("labelling shows texts, and this bundle takes feature vectors: export a model of texts")
        if scorer.posterior()[1] is None:
            raise StartError(
                "labelling asks what would teach most, and this bundle's model defines no posterior that says so: "
                "export a MetaRewardModel(adaptation='map') that found differences between its users"
            )
        candidates = read_candidates(items, None, scorer.kind, scorer.n_features, "labelling")
        keys = np.array([_key_of(item) for item in items], _KEYS)
        return cls(candidates, scorer.transform(candidates.items), keys[candidates.first] ^ keys[candidates.second])

    def n_left(self, asked: bytes) -> int:
        """How many comparisons were not asked yet."""
        return int(self._is_left(asked).sum())

    def next(self, weights: NDArray[Any], covariance: NDArray[Any], asked: bytes) -> tuple[Comparison, float] | None:
        """The comparison that would teach most of those not asked, and its bits; None where all were asked."""
        left = np.flatnonzero(self._is_left(asked))
        some = replace(self.candidates, first=self.candidates.first[left], second=self.candidates.second[left])
        for question in ask(some, self.rewards, weights, covariance, 1):
            chosen = (some.first == question.first) & (some.second == question.second)
            return self._comparison(int(left[chosen.argmax()])), question.information
        return None

    def find(self, key: bytes) -> Comparison | None:
        """The comparison of a key; None where there is none."""
        found = np.flatnonzero(self.keys == np.frombuffer(key, _KEYS))
        return self._comparison(int(found[0])) if len(found) else None

    def _is_left(self, asked: bytes) -> NDArray[np.bool_]:
        return ~np.isin(self.keys, np.frombuffer(asked, _KEYS))

    def _comparison(self, pair: int) -> Comparison:
        (prompt, first), (_, second) = (
            self.candidates.items[ends[pair]] for ends in (self.candidates.first, self.candidates.second)
        )
        return Comparison(self.keys[pair].tobytes(), prompt, first, second)


def read_pool(file: str | PathLike[str], most_characters: int) -> list[tuple[str, str]]:
    """Prompts and responses of a file of JSON lines, ``{"prompt": "...", "responses": ["...", "..."]}`` each.

    Raises
    ------
    StartError
        If the file cannot be read, or lines of it are something else; the first few are told.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        raise StartError(f"cannot read the pool {file}, a UTF-8 file of JSON lines ({error}): pass one") from error
    items: dict[tuple[str, str], None] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                prompt, responses = _read_line(line, most_characters)
                items |= dict.fromkeys((prompt, response) for response in responses)
            except ValueError as error:
                problems.append(f"line {number} {error}")
    if not problems and not items:
        problems = ["it is empty"]
    if problems:
        more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
        raise StartError(
            'each line of a pool must be {"prompt": "...", "responses": ["...", "..."]}; in '
            f"{file} {'; '.join(problems[:_MOST_SHOWN])}{more}"
        )
    return list(items)


def _read_line(line: str, most_characters: int) -> tuple[str, list[str]]:
    """A prompt and its responses; a ValueError says what the line has instead."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"is a JSON {type(row).__name__}, not an object")
    prompt, responses = row.get("prompt"), row.get("responses")
    if not isinstance(prompt, str):
        raise ValueError(f"has {'no prompt' if prompt is None else 'a prompt that is no text'}")
    if not isinstance(responses, list) or not all(isinstance(response, str) for response in responses):
        raise ValueError(f"has {'no responses' if responses is None else 'responses that are no list of texts'}")
    if len(set(responses)) < 2:
        raise ValueError("has fewer than two different responses")
    if (longest := max(map(len, [prompt, *responses]))) > most_characters:
        raise ValueError(f"has a text of {longest} characters, more than {most_characters}")
    return prompt, responses


def keys_of(asked: bytes) -> list[bytes]:
    """Keys that are kept one after the other."""
    return [asked[start : start + KEY_BYTES] for start in range(0, len(asked), KEY_BYTES)]


def _key_of(item: tuple[str, str]) -> int:
    text = json.dumps(item).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=KEY_BYTES).digest(), "little")
