"""Prompts and completions as trainers and data sets hold them: texts (standard) or messages (conversational)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skmrm.episodes.cells import read_cells
from skmrm.episodes.items import Item
from skmrm.episodes.messages import is_messages
from skmrm.episodes.rules import Problems

__all__ = ["read_items"]


def read_items(prompts: Sequence[Any], completions: Sequence[Any], names: tuple[str, str]) -> list[Item]:
    """Rows of (prompt, completion), of str each; message lists are read as `Conversation`.

    Parameters
    ----------
    prompts, completions : sequence of str, or of lists of messages
        As many of the one as of the other.
    names : (str, str)
        What they are called, for messages.

    Raises
    ------
    ValueError
        If rows cannot be read; all problems are listed.
    """
    problems = Problems()
    if len(prompts) != len(completions):
        problems.add_rule(
            f"{names[0]} and {names[1]} must have the same length, got {len(prompts)} and {len(completions)}: give one "
            "of each a row"
        )
    columns = [_read(column, name, problems) for column, name in zip((prompts, completions), names, strict=True)]
    if problems:
        raise ValueError("; ".join(problems.sentences()))
    return list(zip(*columns, strict=True))


def _read(column: Sequence[Any], name: str, problems: Problems) -> list[str]:
    cells = read_cells([_with_contents(cell) for cell in column])
    if cells.problem or cells.kind == "features":
        problems.add_rule(f"{name} must hold texts or lists of messages, got {cells.problem or 'vectors of numbers'}")
    problems.add_cells(name, cells.bad)
    return [] if cells.kind != "text" else cells.values.tolist()


def _with_contents(cell: Any) -> Any:
    """Messages that call tools and say nothing, as messages with an empty content."""
    if not is_messages(cell) or isinstance(cell, str):
        return cell
    return [_said(message) for message in cell]


def _said(message: Mapping[str, Any]) -> Mapping[str, Any]:
    silent = message.get("content") is None and message.get("tool_calls")
    return {**message, "content": ""} if silent else message
