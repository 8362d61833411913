"""Prompts and completions as trainers and data sets hold them: texts (standard) or messages (conversational)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skmrm.episodes.cells import read_cells
from skmrm.episodes.items import Item
from skmrm.episodes.messages import all_spelt, own_prompt
from skmrm.episodes.rules import Problems

__all__ = ["read_items"]


def read_items(prompts: Sequence[Any], completions: Sequence[Any], names: tuple[str, str]) -> list[Item]:
    """Rows of (prompt, completion), of str each; message lists are read as `Conversation`, without the prompt's.

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
    spelt = all_spelt(completions)
    read = (
        _read(prompts, names[0], spelt or all_spelt(prompts), problems),
        _read(completions, names[1], spelt, problems),
    )
    if problems:
        raise ValueError("; ".join(problems.sentences()))
    return [own_prompt(*item) for item in zip(*read, strict=True)]


def _read(column: Sequence[Any], name: str, spelt: bool, problems: Problems) -> list[str]:
    cells = read_cells(column, spelt=spelt)
    if cells.problem or cells.kind == "features":
        problems.add_rule(f"{name} must hold texts or lists of messages, got {cells.problem or 'vectors of numbers'}")
    problems.add_cells(name, cells.bad)
    return [] if cells.kind != "text" else cells.values.tolist()
