"""One chat message, in any of the dialects that people write, as a role and what was said in it."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import groupby
from typing import Any

import numpy as np

from skmrm._support.wording import described

__all__ = ["is_message", "parsed", "plain_role", "read_message", "spelt_messages"]

_ROLES = ("role", "from", "author", "speaker", "sender")
_CONTENTS = ("content", "value", "text", "message", "parts")
_REASONING = ("reasoning_content", "reasoning", "thinking", "tool_plan")
_PLAIN_PARTS = (None, "text", "input_text", "output_text")
_RESULTS = ("tool_result", "function_call_output")
_KEYS = "'role' and 'content' (or 'from' and 'value')"

_NAMES = {
    "user": ("usr", "human", "prompter", "customer", "client", "person", "questioner"),
    "assistant": ("gpt", "chatgpt", "bot", "chatbot", "model", "ai", "agent", "llm", "bing", "bard", "claude"),
    "system": ("developer", "system_prompt"),
    "tool": ("function", "observation", "ipython", "function_response", "tool_response", "tool_result", "tool_output"),
}
_CALLS = ("function_call", "tool_call", "tool_calls")  # as roles: the assistant's, and what is said is the call
_PLAIN = {other: name for name, others in _NAMES.items() for other in (name, *others)} | dict.fromkeys(
    _CALLS, "assistant"
)


def plain_role(role: str) -> str:
    """The one name of a role: user, assistant, system or tool, whatever a dialect calls it; others stay as they are.

    Examples
    --------
    >>> plain_role("Human"), plain_role("gpt"), plain_role("narrator")
    ('user', 'assistant', 'narrator')
    """
    return role if role in _NAMES else _PLAIN.get(role.strip().lower().replace(" ", "_"), role)


def is_message(value: object) -> bool:
    """Whether a value is a message by itself: a mapping, or an object with a role and a content, as clients have."""
    return isinstance(value, Mapping) or (hasattr(value, "role") and hasattr(value, "content"))


def read_message(message: Any, place: int) -> tuple[str, str]:
    """Role and text of a message.

    Its reasoning and its calls of tools are part of the text, written as most chat templates write them:
    ``<think>`` before the content, a ``<tool_call>`` each behind it, with arguments in alphabetical order. Ids, names
    of speakers and all other keys are left out.

    Parameters
    ----------
    message : mapping, or object with such attributes
        A key of None or NaN counts as left out.
    place : int
        Which message it is, for errors.

    Raises
    ------
    ValueError
        If it has no role, or says nothing, or a part of it is not text.
    """
    if type(message) is dict and len(message) == 2:  # the usual case, a few times faster
        role, content = message.get("role"), message.get("content")
        if type(role) is str and type(content) is str and role in _NAMES:
            return role, content
    if not is_message(message):
        raise ValueError(f"message {place} is {described(message)}; a dict with {_KEYS} is needed")
    role, content = _first(message, _ROLES), _first(message, _CONTENTS)
    role = role.value if isinstance(role, Enum) else role
    said = list(_said(message, role, content, place))
    missing = [key for key, value in (("role", role), ("content", said)) if value is None or value == []]
    if missing:
        keys = f" (its keys are {', '.join(map(repr, message))})" if isinstance(message, Mapping) else ""
        raise ValueError(f"message {place} has no {' and no '.join(map(repr, missing))}{keys}: {_KEYS} are needed")
    if not isinstance(role, str):
        raise ValueError(f"the role of message {place} is {described(role)}; a str is needed")
    return "tool" if _is_result(content) else plain_role(role), "\n\n".join(filter(None, said))


def spelt_messages(text: str) -> list[Any] | None:
    """The messages that a text spells, in JSON or as Python and NumPy print them into CSV; None for any other text."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    found = parsed(text)
    if found is text and "{" in text[:8]:
        try:
            found = literal_eval(text.replace("}\n {", "},\n {"))  # lines between messages, of an array
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return found if isinstance(found, list) and found and all(map(_is_spelt_message, found)) else None


def parsed(value: Any) -> Any:
    """What a text spells in JSON; any other text, or value, as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _is_spelt_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(_first(value, _ROLES), str) and any(key in value for key in _CONTENTS)


def _said(message: Any, role: Any, content: Any, place: int) -> Iterator[str]:
    """What a message says, one text after the other."""
    reasoning = _first(message, _REASONING)
    if not isinstance(reasoning, bool):  # a switch, in some sets
        yield from map(_thought, filter(None, _texts(reasoning, place)))
    yield from _calls(content) if _is_call(role) else _texts(content, place)
    yield from _texts(_get(message, "refusal"), place)
    for key in ("tool_calls", "function_call"):
        yield from _calls(_get(message, key))


def _texts(content: Any, place: int) -> Iterator[str]:
    """A content as texts: of a str itself; of parts what lies between calls and thoughts is one text."""
    if content is None or isinstance(content, str):
        yield from () if content is None else (str(content),)
        return
    if _get(content, "type") is not None or isinstance(_get(content, "text"), str):
        content = [content]  # a part by itself
    if not isinstance(content, list | tuple | np.ndarray):
        raise ValueError(f"the content of message {place} is {described(content)}; a str is needed")
    if len(content) == 0:
        yield ""
    for is_plain, parts in groupby(content, _is_plain):
        texts = [_part(part, place) for part in parts]
        yield from ["\n".join(texts)] if is_plain else texts


def _is_plain(part: Any) -> bool:
    return isinstance(part, str) or _get(part, "type") in _PLAIN_PARTS


def _part(part: Any, place: int) -> str:
    if isinstance(part, str):
        return str(part)
    kind, text = _get(part, "type"), _get(part, "text")
    if kind in _PLAIN_PARTS and isinstance(text, str):
        return text
    if kind in ("thinking", "reasoning") and isinstance(thought := _first(part, (kind, "text")), str):
        return _thought(thought)
    if kind == "refusal" and isinstance(refusal := _get(part, kind), str):
        return refusal
    if kind in ("tool_use", *_CALLS):
        return "\n\n".join(_calls([part]))
    if kind in _RESULTS:
        return "\n\n".join(_texts(_first(part, ("content", "output")), place))
    raise ValueError(
        f"message {place} has a part of type {kind or type(part).__name__!r}; only text can be scored: "
        "drop the part, or describe it in words"
    )


def _is_call(role: Any) -> bool:
    return isinstance(role, str) and role.strip().lower() in _CALLS


def _is_result(content: Any) -> bool:
    """Whether a message's parts are results of tools, which one dialect lets the user say."""
    is_list = isinstance(content, list | tuple | np.ndarray) and len(content) > 0
    return is_list and all(_get(part, "type") in _RESULTS for part in content)


def _thought(text: str) -> str:
    return f"<think>\n{text}\n</think>"


def _calls(calls: Any) -> Iterator[str]:
    """Calls of tools as texts; equal ones read alike whether objects, dicts or JSON, and in whatever order of keys."""
    calls = parsed(calls)
    if isinstance(calls, np.ndarray):
        calls = calls.tolist()
    for call in map(parsed, calls if isinstance(calls, list | tuple) else [calls]):
        if _ordered(call) not in (None, "", {}, []):
            yield f"<tool_call>\n{_call(call)}\n</tool_call>"


def _call(call: Any) -> str:
    if isinstance(call, str):
        return call
    function = _get(call, "function")
    owner = call if function is None or isinstance(function, str) else function
    name = function if isinstance(function, str) else _get(owner, "name")
    if name is None:
        return _json(call)
    arguments = parsed(_first(owner, ("arguments", "args", "input", "parameters")))
    if arguments is None or (isinstance(arguments, str) and not arguments):
        arguments = {}
    return f'{{"name": {_json(str(name))}, "arguments": {_json(arguments)}}}'


def _json(value: Any) -> str:
    return json.dumps(_ordered(value), ensure_ascii=False, default=str)


def _ordered(value: Any) -> Any:
    """Keys in order, without those of None, with which tables fill up what a row does not have."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _ordered(value[key]) for key in sorted(value, key=str) if _get(value, key) is not None}
    if isinstance(value, list | tuple):
        return [_ordered(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # which a column of numbers makes 1.0
    fields = getattr(value, "__dict__", None)  # of clients' objects
    return _ordered(fields) if fields else value


def _first(owner: Any, keys: Sequence[str]) -> Any:
    return next((value for key in keys if (value := _get(owner, key)) is not None), None)


def _get(owner: Any, key: str) -> Any:
    if isinstance(owner, Mapping):
        value = owner.get(key)
    else:
        value = None if isinstance(owner, str | list | tuple | np.ndarray) else getattr(owner, key, None)
    return None if isinstance(value, float) and value != value else value  # NaN is how pandas fills up
