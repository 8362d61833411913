"""What people saw in a labelling tool: which fields are the prompt and which the responses, by their names."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from skmrm.episodes.cells import is_missing
from skmrm.episodes.verdicts import WORDS, plain

__all__ = ["PROMPTS", "RESPONSES", "Answer", "Seen", "tail_of"]

# How fields begin that hold a prompt, and a response.
PROMPTS = ("prompt", "instruction", "question", "query", "input", "context", "history", "conversation", "system")
RESPONSES = (
    *("response", "reply", "answer", "completion", "output", "generation", "candidate", "option", "summary"),
    *("text", "model", "llm", "chosen", "rejected"),
)


@dataclass(frozen=True)
class Answer:
    """What one person said to one question on one record.

    Attributes
    ----------
    row : int
        Which record.
    user : hashable
    fields : mapping of str to object
        What the person saw.
    question : str
    value : object
        As the tool has it.
    between : tuple of str
        Fields that were compared, where the tool says which.
    """

    row: int
    user: Hashable
    fields: Mapping[str, Any]
    question: str
    value: Any
    between: tuple[str, ...] = ()


class Seen:
    """Which fields of records are the prompt and the responses, and what names of responses mean."""

    def __init__(self, answers: Sequence[Answer], words: Mapping[Any, str]) -> None:
        names = list(dict.fromkeys(name for answer in answers for name in answer.fields))
        self.responses = list(answers[0].between) or [name for name in names if _begins(name, RESPONSES)]
        self.prompts = [name for name in names if name not in self.responses and _begins(name, PROMPTS)]
        self.fields = names
        self._places: dict[Any, int | None] = {}
        two = len(self.responses) == 2
        for place, name in enumerate(self.responses):
            for word in (plain(name), tail_of(name), *(WORDS["ab"[place]] if two else ())):
                self._places.setdefault(word, place)
        self._places |= dict.fromkeys(WORDS["tie"])
        places = {"a": 0, "b": 1, "tie": None}
        self._places |= {self._word(word): places[meaning] for word, meaning in words.items()}

    def knows(self, name: Any) -> bool:
        """Whether a name means one of the responses, or a tie."""
        return self._word(name) in self._places

    def place(self, name: Any) -> int | None:
        """Which response a name means; None for a tie."""
        return self._places[self._word(name)]

    def prompt(self, answer: Answer) -> Any:
        """The prompt of a record, of several fields joined where all are texts."""
        parts = [answer.fields.get(name) for name in self.prompts]
        parts = [part for part in parts if not is_missing(part) and part != ""]
        if len(parts) == 1:
            return parts[0]
        return "\n\n".join(map(str, parts))

    def _word(self, name: Any) -> Any:
        if not isinstance(name, str):
            return name if isinstance(name, Real) else None
        word = plain(name)
        if word not in self._places and _begins(word, RESPONSES):
            return tail_of(word)  # "response 1" of a field reply_1
        return word


def _begins(name: str, words: Sequence[str]) -> bool:
    first = re.match(r"[a-z]*", plain(name))
    return first is not None and first[0].removesuffix("s") in words


def tail_of(name: str) -> str:
    """The number or the letter that a name ends in."""
    found = re.search(r"\d+$|\b[a-z]$", plain(name))
    return found[0] if found else plain(name)
