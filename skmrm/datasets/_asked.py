"""What a reader of a format is given, and what all readers share: whose a row is, lists and numbers in cells."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from skmrm._support.wording import counted, name_some
from skmrm.episodes import EpisodeSet
from skmrm.episodes.cells import MISSING, is_missing
from skmrm.episodes.dialects import parsed
from skmrm.episodes.files import Columns
from skmrm.episodes.messages import as_conversation
from skmrm.episodes.rules import Problems
from skmrm.exceptions import EpisodeError

__all__ = [
    "EVERYONE",
    "Asked",
    "Owners",
    "Read",
    "conversation_in",
    "left_out",
    "mapping_in",
    "nobody",
    "number_in",
    "read_each",
    "records_in",
    "truth_in",
    "unknown_user",
    "values_in",
]

EVERYONE = "everyone"
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}
# Names under which tables of whatever origin have their users.
_USUAL = (
    *("user_id", "user", "annotator_id", "annotator", "judge", "worker_id", "worker", "rater_id", "rater"),
    *("labeler", "labeller", "evaluator", "participant_id", "respondent"),
)


class Read(NamedTuple):
    """What a reader found, and what is to be said of it."""

    episodes: EpisodeSet
    notes: Sequence[str] = ()


class Owners(NamedTuple):
    """Whose each row is."""

    values: list[Any]
    note: str


@dataclass(frozen=True)
class Asked:
    """A table to be read, and how.

    Attributes
    ----------
    columns : dict of str to list
    user : str or None
        The column of users that the caller named.
    question : str or None
        Which of several questions.
    words : mapping
        What further words for winners mean: "a", "b" or "tie".
    scale : sequence, optional
        Levels of ratings, from the worst.
    min_pairs : int
        Fewest pairs of a user.
    """

    columns: Columns
    user: Hashable | None = None
    question: str | None = None
    words: Mapping[Any, str] = field(default_factory=dict)
    scale: Sequence[Any] | None = None
    min_pairs: int = 1

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return len(next(iter(self.columns.values()), []))

    def owners(self, *own: str, usual: bool = True) -> Owners:
        """Whose each row is: the column that the caller named, that of the format, or one of a usual name.

        Parameters
        ----------
        *own : str
            Columns in which files of this format have their users.
        usual : bool
            Whether a column of a usual name is one of users, too; not where it is of somebody else.
        """
        names = [self.user] if self.user is not None else [*own, *(_USUAL if usual else ())]
        found = [name for name in names if name in self.columns]
        if found:
            return Owners(self.columns[found[0]], f"users are column {found[0]!r}")
        if self.user is not None:
            raise EpisodeError(unknown_user(self.user, self.columns))
        return Owners([EVERYONE] * self.n_rows, nobody())

    def no_question(self) -> None:
        """Refuse a `question` where there are none to choose from."""
        if self.question is not None:
            raise EpisodeError(
                f"question={self.question!r} was asked for, but in this format there is one alone: leave it out"
            )


def left_out(count: int, noun: str, why: str = "") -> list[str]:
    """What to say of so many of something that were not read; nothing of none."""
    return [f"left out: {counted(count, noun)} {why}".rstrip()] if count else []


def nobody() -> str:
    """What to say where nobody is named."""
    return (
        f"no column names users, so that all are one, {EVERYONE!r}: to personalise takes users, name their column with "
        "user='...'"
    )


def unknown_user(name: object, known: Sequence[Any] | Mapping[Any, Any]) -> str:
    """The sentence on a column of users that is not there."""
    close = get_close_matches(str(name), [str(one) for one in known], 1)
    hint = f"; did you mean user={close[0]!r}?" if close else ""
    return f"user={name!r} is not a column of the table, whose columns are {name_some(known, 20)}{hint}"


def values_in(cell: Any) -> list[Any] | None:
    """The list that a cell holds, or spells in JSON; None for anything else."""
    cell = _spelt(cell)
    if isinstance(cell, np.ndarray):
        return cell.tolist() if cell.ndim == 1 else None
    return list(cell) if isinstance(cell, list | tuple) else None


def mapping_in(cell: Any) -> Mapping[str, Any] | None:
    """The object that a cell holds, or spells in JSON; None for anything else."""
    cell = _spelt(cell)
    return cell if isinstance(cell, Mapping) else None


def records_in(cell: Any) -> list[Mapping[str, Any]] | None:
    """The list of objects that a cell holds, also as an object of lists; None for anything else."""
    cell = _spelt(cell)
    if isinstance(cell, Mapping):
        lists = {key: values_in(value) for key, value in cell.items()}
        known = {key: value for key, value in lists.items() if value is not None}
        if len(known) < len(lists) or len({len(value) for value in known.values()}) != 1:
            return None
        return [dict(zip(known, row, strict=True)) for row in zip(*known.values(), strict=True)]
    listed = values_in(cell)
    if listed is None:
        return None
    found = [mapping_in(one) for one in listed]
    return [one for one in found if one is not None] if None not in found else None


def number_in(cell: Any) -> float | None:
    """The number that a cell holds, or spells in a text; None for anything else, and for NaN."""
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, str | Real):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def truth_in(cell: Any) -> bool | None:
    """The truth that a cell holds, or spells; None for anything else."""
    if isinstance(cell, bool | np.bool_):
        return bool(cell)
    word = str(int(cell)) if number_in(cell) in (0, 1) and not isinstance(cell, str) else cell
    return _TRUTHS.get(word.strip().lower()) if isinstance(word, str) else None


def read_each(
    name: str, cells: Sequence[Any], read: Callable[[Any], Any], needed: str, problems: Problems
) -> list[Any]:
    """Read the cells of a column one by one; what is missing or cannot be read (None) goes to `problems`."""
    found = [None if is_missing(cell) else read(cell) for cell in cells]
    bad: dict[str, list[int]] = {}
    for row, (cell, value) in enumerate(zip(cells, found, strict=True)):
        if value is None:
            what = MISSING if is_missing(cell) else f"{cell!r:.60}, where {needed} is needed"
            bad.setdefault(what, []).append(row)
    problems.add_cells(f"column '{name}'", bad)
    return found


def conversation_in(cell: Any) -> Any:
    """The conversation that a cell holds, or spells in JSON; None for anything else."""
    listed = values_in(cell)
    if not listed:
        return None
    try:
        return as_conversation(listed)
    except ValueError:
        return None


def _spelt(cell: Any) -> Any:
    """What a text spells in JSON where that is a list or an object; anything else as it is."""
    return parsed(cell) if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{") else cell
