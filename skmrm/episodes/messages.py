"""Chat messages as texts: a transcript that still remembers the messages it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from skmrm.episodes.dialects import is_message, parsed, plain_role, read_message, spelt_messages

__all__ = [
    "Conversation",
    "all_spelt",
    "as_conversation",
    "ends_of",
    "extract_prompt",
    "has_front",
    "is_messages",
    "own_prompt",
    "read_text",
    "split_pair",
]

_ASKING = ("system", "user")
_FEW_WORDS = 4
# "Human: ", "### User:", "<|im_start|>user", "[INST]"
_MARKER = re.compile(
    r"[\W_]*(?:im_start\W+)?(?:user|human|prompter|assistant|system)\W*[:>\n]|\W*(?:s\W+)?inst\]", re.IGNORECASE
)
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
        Two strings a message. Roles of all dialects are called user, assistant, system or tool.

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
        pairs = tuple([(plain_role(str(role)), str(content)) for role, content in messages])
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
        True for a `Conversation` and for a list, tuple or array of messages (see `is_message`), at least one.
    """
    if isinstance(value, Conversation):
        return True
    if isinstance(value, np.ndarray) and (value.ndim != 1 or value.dtype != object):
        return False
    if not isinstance(value, list | tuple | np.ndarray) or len(value) == 0:
        return False
    return set(map(type, value)) == {dict} or all(map(is_message, value))


def as_conversation(messages: Any) -> Conversation:
    """Read a list of chat messages, of whatever dialect: see :func:`skmrm.episodes.dialects.read_message`.

    Parameters
    ----------
    messages : sequence of mappings with "role" and "content", or of other messages

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
    return Conversation([read_message(message, place) for place, message in enumerate(messages)])


def read_text(value: Any, *, spelt: bool = False) -> str | None:
    """A text or a list of messages as a str; None for what is neither.

    Parameters
    ----------
    value : object
        What the user gave.
    spelt : bool
        Whether a text that spells messages is read as these: where all of a column do, see `all_spelt`. Beside
        such responses, a prompt that spells a list of one text is that text.

    Raises
    ------
    ValueError
        If messages cannot be read.
    """
    if isinstance(value, Conversation):
        return value
    if isinstance(value, str):
        return _read_spelt(value) if spelt else value
    for method in ("as_py", "to_list"):  # a cell of arrow, and a list among those of polars
        if hasattr(value, method):
            return read_text(getattr(value, method)(), spelt=spelt)
    return as_conversation(value) if is_messages(value) else None


def all_spelt(cells: Iterable[Any]) -> bool:
    """Whether cells are texts that spell messages (see `spelt_messages`), each of them, and there is one.

    A text that spells something else, or stands among others that spell nothing, is what somebody said.
    """
    texts = iter(cells)
    first = next(texts, None)
    return _is_spelt(first) and all(map(_is_spelt, texts))


def split_pair(prompt: str | None, chosen: Conversation, rejected: Conversation) -> tuple[str, str, str]:
    """Find the prompt of a pair of message lists: the one given, or what both share at their start.

    As TRL does, the shared start is taken where no prompt was given, and where the prompt is a text but the responses
    begin with the same messages of the user or the system (the prompt once more). Where only one response repeats the
    prompt, or both repeat one that was given as messages, each is cut by itself, if that leaves both with one prompt.

    Parameters
    ----------
    prompt : str or None
        The prompt given.
    chosen, rejected : Conversation
        The responses.

    Returns
    -------
    prompt, chosen, rejected : str
        The prompt is empty where there is none.
    """
    if not isinstance(prompt, Conversation):
        shared, *answers = map(Conversation, extract_prompt(chosen.messages, rejected.messages))
        if prompt is None or (shared.messages and shared.messages[0][0] in _ASKING):
            return shared if shared.messages else "", answers[0], answers[1]
    of_chosen, better = own_prompt(prompt, chosen)
    of_rejected, worse = own_prompt(prompt, rejected)
    if _turns(of_chosen) != _turns(of_rejected):
        return prompt, chosen, rejected
    return max((of_chosen, of_rejected), key=lambda own: isinstance(own, Conversation)), better, worse


def own_prompt(prompt: str, response: str) -> tuple[str, str]:
    """Move the prompt that the messages of a response begin with to where it belongs.

    A prompt of messages is looked for at the start, behind messages of the system or not. Where it is a text, or empty,
    messages that begin with the user's or the system's hold their own prompt: all up to the user's last one.

    Parameters
    ----------
    prompt, response : str
        Whatever is no `Conversation` holds no prompt.

    Returns
    -------
    prompt, response : str
        As they came where there is nothing to move, or nothing would be left.
    """
    if not isinstance(response, Conversation):
        return prompt, response
    said = response.messages
    if isinstance(prompt, Conversation):
        first = next((i for i, (role, _) in enumerate(said) if role != "system"), 0)
        starts = [start for start in {0, first} if said[start : start + len(prompt.messages)] == prompt.messages]
        end = max(starts, default=-len(prompt.messages)) + len(prompt.messages)
    else:
        asked = [i for i, (role, _) in enumerate(said) if role == "user"] if said and said[0][0] in _ASKING else []
        end = max(asked, default=-1) + 1
    if not 0 < end < len(said):
        return prompt, response
    return Conversation(said[:end]), Conversation(said[end:])


def ends_of(response: Conversation) -> str:
    """Which role begins the messages of a response; and which ends them, should it be one that answers nothing."""
    if not response.messages:
        return "with nothing"
    first, last = response.messages[0][0], response.messages[-1][0]
    return f"with {first!r}" + (f" and ends with {last!r}" if last in _ASKING else "")


def has_front(prompt: str, response: str) -> bool:
    """Whether a plain text, not one of messages, begins with the name of a role, or its prompt once more.

    A short prompt that is no question says little: "Hi" is answered by "Hi there".
    """
    if isinstance(response, Conversation):
        return False
    if _MARKER.match(response):
        return True
    asked = prompt.strip()
    if not asked.endswith(("?", ":")) and len(asked.split()) < _FEW_WORDS:
        return False
    said = response.lstrip()
    return said.startswith(asked) and not said[len(asked) : len(asked) + 1].isalnum()


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


def _read_spelt(text: str) -> str:
    messages = spelt_messages(text)
    if messages is not None:
        return as_conversation(messages)
    found = parsed(text) if text.startswith("[") else None
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str) else text


def _is_spelt(cell: Any) -> bool:
    return isinstance(cell, str) and not isinstance(cell, Conversation) and spelt_messages(cell) is not None


def _turns(prompt: str) -> tuple[tuple[str, str], ...]:
    return prompt.messages if isinstance(prompt, Conversation) else (("user", prompt),)


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
