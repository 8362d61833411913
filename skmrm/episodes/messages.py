"""Chat messages as texts: a transcript that still remembers the messages it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from skmrm._support.wording import described

__all__ = ["Conversation", "as_conversation", "extract_prompt", "is_messages"]

_Sequence = TypeVar("_Sequence", str, tuple[Any, ...], list[Any])


class Conversation(str):
    """A transcript of chat messages: a str to text encoders, messages to chat templates.

    The text of a single message by the user or the assistant is its content; anything longer, or with another role,
    is one ``role: content`` paragraph a message.

    Two conversations are equal when their messages are equal, not when they read alike, and a conversation never
    equals a plain str: use ``str(conversation)`` to compare texts. So distinct message lists stay distinct items, and
    remain so in a dict or an embedding cache.

    Parameters
    ----------
    messages : sequence of (role, content)
        Two strings a message.

    Attributes
    ----------
    messages : tuple of (role, content)
        The messages.

    Examples
    --------
    >>> print(Conversation([("system", "Be brief."), ("user", "Why?")]))
    system: Be brief.
    <BLANKLINE>
    user: Why?
    >>> str(Conversation([("user", "Why?")]))
    'Why?'
    """

    messages: tuple[tuple[str, str], ...]

    def __new__(cls, messages: Sequence[tuple[str, str]]) -> Conversation:
        """Make the transcript of (role, content) pairs."""
        pairs = tuple([(str(role), str(content)) for role, content in messages])
        conversation = super().__new__(cls, _transcript(pairs))
        conversation.messages = pairs
        return conversation

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Conversation) and self.messages == other.messages)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.messages)

    def __reduce__(self) -> tuple[type[Conversation], tuple[tuple[tuple[str, str], ...]]]:
        return type(self), (self.messages,)


def is_messages(value: object) -> bool:
    """Whether a value is a list of chat messages, or one that was already read.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bool
        True for a `Conversation` and for a list, tuple or array of mappings, at least one.
    """
    if isinstance(value, Conversation):
        return True
    if isinstance(value, np.ndarray) and (value.ndim != 1 or value.dtype != object):
        return False
    if not isinstance(value, list | tuple | np.ndarray) or len(value) == 0:
        return False
    return set(map(type, value)) == {dict} or all(isinstance(message, Mapping) for message in value)


def as_conversation(messages: Any) -> Conversation:
    """Read a list of chat messages.

    Parameters
    ----------
    messages : sequence of mappings with "role" and "content"
        Content is a str, or a list of ``{"type": "text", "text": ...}`` parts, whose texts are joined. Other keys are
        ignored.

    Returns
    -------
    Conversation
        The transcript, with its messages.

    Raises
    ------
    ValueError
        If a message lacks a role or a content, or a part is not text (an image, say).
    """
    if isinstance(messages, Conversation):
        return messages
    return Conversation([_read_message(message, place) for place, message in enumerate(messages)])


def extract_prompt(chosen: _Sequence, rejected: _Sequence) -> tuple[_Sequence, _Sequence, _Sequence]:
    """Split what two responses share at their start from what differs: TRL's implicit prompt.

    For sequences of messages the cut is between messages; for strings it is between words, and a space at the cut
    goes to the responses. No response is left empty: two responses that are equal, or of which one continues
    the other, keep at least their last common message or word.

    Parameters
    ----------
    chosen, rejected : str, or list or tuple of messages
        The preferred and the rejected response, each with its prompt.

    Returns
    -------
    prompt, chosen, rejected
        Of the type that came in.

    Examples
    --------
    >>> extract_prompt("The sky is blue.", "The sky is black.")
    ('The sky is', ' blue.', ' black.')
    """
    cut = _word_cut(chosen, str(rejected)) if isinstance(chosen, str) else _message_cut(chosen, rejected)
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _message_cut(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    limit = max(min(len(chosen), len(rejected)) - 1, 0)
    return next((i for i in range(limit) if chosen[i] != rejected[i]), limit)


def _word_cut(chosen: str, rejected: str) -> int:
    limit = max(min(len(chosen), len(rejected)) - 1, 0)
    cut = _common_prefix(chosen, rejected, limit)
    # Inside a word of either response: go back to where that word begins.
    if _inside_word(chosen, cut) or _inside_word(rejected, cut):
        while cut > 0 and not chosen[cut - 1].isspace():
            cut -= 1
    if cut > 0 and chosen[cut - 1] == " ":
        cut -= 1
    return cut


def _inside_word(text: str, cut: int) -> bool:
    return 0 < cut < len(text) and not text[cut - 1].isspace() and not text[cut].isspace()


def _common_prefix(a: str, b: str, limit: int) -> int:
    low, high = 0, limit  # a[:low] == b[:low] always; compared in slices, which is fast on long texts
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _transcript(messages: tuple[tuple[str, str], ...]) -> str:
    if len(messages) == 1 and messages[0][0] in ("user", "assistant"):
        return messages[0][1]
    return "\n\n".join([f"{role}: {content}" for role, content in messages])


def _read_message(message: Any, place: int) -> tuple[str, str]:
    if type(message) is dict:  # the usual case, a few times faster
        role, content = message.get("role"), message.get("content")
        if type(role) is str and type(content) is str:
            return role, content
    if not isinstance(message, Mapping):
        raise ValueError(f"message {place} is {described(message)}; a dict with 'role' and 'content' is needed")
    missing = [key for key in ("role", "content") if message.get(key) is None]
    if missing:
        keys = ", ".join(repr(key) for key in message)
        raise ValueError(f"message {place} has no {' and no '.join(map(repr, missing))} (its keys are {keys})")
    return str(message["role"]), _read_content(message["content"], place)


def _read_content(content: Any, place: int) -> str:
    if isinstance(content, str):
        return str(content)
    if not isinstance(content, list | tuple | np.ndarray):
        raise ValueError(f"the content of message {place} is {described(content)}; a str is needed")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                f"message {place} has a part of type {kind!r}; only text can be scored: "
                "drop the part, or describe it in words"
            )
        texts.append(part["text"])
    return "\n".join(texts)
