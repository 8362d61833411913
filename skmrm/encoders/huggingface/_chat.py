"""Prompt and response as one text: in the chat template of a model, or one behind the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from skmrm._support.wording import counted, name_some
from skmrm.episodes.items import Item, encodable
from skmrm.episodes.messages import Conversation

__all__ = ["rendered"]

Message = dict[str, str]

_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>['"])(?P<form>.*?)(?P=quote)\s*\)""")  # as transformers has it
_DAY = date(2024, 7, 26)  # which templates of Llama 3 name where there is no clock


def rendered(tokenizer: Any, items: Sequence[Item], chat_template: str | None) -> tuple[list[str], bool]:
    """One text for each item.

    Parameters
    ----------
    tokenizer
        Of transformers.
    items : sequence of (prompt, response)
        A plain prompt is what the user says, a plain response what the assistant answers; a `Conversation` has
        messages of its own.
    chat_template : str or None
        In place of the tokenizer's own.

    Returns
    -------
    texts : list of str
    has_template : bool
        Whether special tokens are in the texts already.

    Raises
    ------
    ValueError
        If the template refuses some conversations, naming the first few.
    """
    if chat_template is None and tokenizer.chat_template is None:
        return [encodable(str(prompt) + str(response)) for prompt, response in items], False
    template = _on_one_day(tokenizer.get_chat_template(chat_template))
    found = [_rendered(tokenizer, item, template) for item in items]
    refused = [row for row, text in enumerate(found) if isinstance(text, Exception)]
    if refused:
        first = found[refused[0]]
        raise ValueError(
            f"the chat template must take each conversation; it refuses {counted(len(refused), 'item')} of "
            f"{len(items)}, at {name_some(refused)} (the first with {type(first).__name__}: {first}): change the "
            "messages, or pass a chat_template that takes them"
        )
    return [str(text) for text in found], True


def _rendered(tokenizer: Any, item: Item, template: str) -> str | Exception:
    try:
        text: str = tokenizer.apply_chat_template(_messages(item), chat_template=template, tokenize=False)
    except Exception as error:  # templates raise what they like
        return error
    return text


def _on_one_day(template: str) -> str:
    """A template that would write today's date into each text, which is another text tomorrow, with one date."""
    return _TODAY.sub(lambda call: repr(_DAY.strftime(call["form"])), template)


def _messages(item: Item) -> list[Message]:
    prompt, response = item
    return [*_turns(prompt, "user"), *_turns(response, "assistant")]


def _turns(text: str, role: str) -> list[Message]:
    turns = text.messages if isinstance(text, Conversation) else [(role, text)]
    return [{"role": who, "content": encodable(said)} for who, said in turns]
