"""Texts to token ids, as the model's family reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skmrm.encoders.huggingface._chat import rendered
from skmrm.episodes.items import Item, encodable

__all__ = ["Reader", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts.

    Attributes
    ----------
    inputs : dict of str to list of list of int
        ``input_ids``, one list a text, and what else the tokenizer makes (``token_type_ids``); no padding.
    n_cut : int
        Texts of which a part is left out.
    """

    inputs: dict[str, list[list[int]]]
    n_cut: int

    @property
    def ids(self) -> list[list[int]]:
        """Token ids alone."""
        return self.inputs["input_ids"]


@dataclass(frozen=True)
class Reader:
    """How a model reads a (prompt, response).

    Attributes
    ----------
    tokenizer
        Of transformers.
    reads : {"response", "conversation"}
        The response alone, cut as the tokenizer cuts; or prompt and response in the chat template (without one, the
        one text right behind the other), where the beginning is cut but for the token that begins each text.
    max_length : int
        Most tokens of a text.
    chat_template : str or None
        In place of the tokenizer's own.
    padding_id : int or None
        Token that a conversation does not end in: transformers' classifiers take it for padding wherever it comes from,
        and read out the token before.
    """

    tokenizer: Any
    reads: Literal["response", "conversation"]
    max_length: int
    chat_template: str | None = None
    padding_id: int | None = None

    def __call__(self, items: Sequence[Item]) -> Tokens:
        """Token ids of each item."""
        if self.reads == "response":
            return self._responses([encodable(response) for _, response in items])
        return self._conversations(items)

    def _responses(self, texts: list[str]) -> Tokens:
        found = self.tokenizer(texts, truncation=True, max_length=self.max_length, return_attention_mask=False)
        inputs = {name: list(rows) for name, rows in found.items()}
        longest = [row for row, ids in enumerate(inputs["input_ids"]) if len(ids) == self.max_length]
        if found.encodings is not None:
            n_cut = sum(bool(found.encodings[row].overflowing) for row in longest)
        else:  # tokenizers in Python do not tell what they cut
            whole = [self.tokenizer(texts[row], verbose=False)["input_ids"] for row in longest]
            n_cut = sum(len(ids) > self.max_length for ids in whole)
        return Tokens(inputs, n_cut)

    def _conversations(self, items: Sequence[Item]) -> Tokens:
        texts, has_template = rendered(self.tokenizer, items, self.chat_template)
        # A template writes special tokens itself: those of the tokenizer would double them.
        found = self.tokenizer(
            texts, add_special_tokens=not has_template, return_attention_mask=False, verbose=False, truncation=False
        )
        whole = [self._ended(ids) for ids in found["input_ids"]]
        return Tokens({"input_ids": [self._cut(ids) for ids in whole]}, sum(len(i) > self.max_length for i in whole))

    def _ended(self, ids: list[int]) -> list[int]:
        end = len(ids)
        while self.padding_id is not None and end > 1 and ids[end - 1] == self.padding_id:
            end -= 1
        return ids[:end]

    def _cut(self, ids: list[int]) -> list[int]:
        """The end of a text that is too long, behind the token that begins texts: networks lean on that one."""
        if len(ids) <= self.max_length:
            return ids
        first = ids[:1] if ids[0] == self.tokenizer.bos_token_id and self.max_length > 1 else []
        return first + ids[len(ids) - self.max_length + len(first) :]
