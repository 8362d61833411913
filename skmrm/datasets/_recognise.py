"""The formats that `read_preferences` knows, and how it tells them apart: adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from skmrm._support.wording import name_some
from skmrm.datasets import _labelling_tools as tools
from skmrm.datasets import _score_formats as scores
from skmrm.datasets import _vote_formats as votes
from skmrm.datasets._asked import Asked, Read, mapping_in, records_in
from skmrm.episodes.cells import is_missing
from skmrm.episodes.files import Columns
from skmrm.exceptions import EpisodeError

__all__ = ["FORMATS", "Format", "format_names", "recognised"]


@dataclass(frozen=True)
class Format:
    """A form in which files come.

    Attributes
    ----------
    name : str
        What callers call it; several forms may share one.
    needs : tuple of str
        Columns that there must be, or patterns of their names ("*.responses").
    read : callable
        From what was asked to episodes.
    cells : dict of str to (callable, str)
        Of some of these columns, whether a cell is such as this format has, and what that is in words.
    because : str
        What it is told by beside the names of columns, where another format has the same.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[Asked], Read]
    cells: Mapping[str, tuple[Callable[[Any], bool], str]] | None = None
    because: str = ""

    def missing(self, columns: Columns) -> list[str]:
        """Needed columns that are not there."""
        return [need for need in self.needs if not any(_fits(name, need) for name in columns)]

    def strange(self, columns: Columns) -> list[str]:
        """Columns whose first cell is not such as this format has, with what it has, in words."""
        return [
            f"{needed} in column {need!r}"
            for need, (is_fit, needed) in (self.cells or {}).items()
            if not any(is_fit(_first(columns[name])) for name in columns if _fits(name, need))
        ]


def _is_object(cell: Any) -> bool:
    return mapping_in(cell) is not None


def _are_objects(cell: Any) -> bool:
    return not _is_object(cell) and records_in(cell) is not None


_OBJECT = _is_object, "an object"
_OBJECTS = _are_objects, "a list of objects"
_ANNOTATIONS = tools.is_annotated, "a list of annotations with a result each"
_ANSWERS = tools.has_answers, "a list of answers with value, user_id and status"
_DIALOGUE = votes.is_dialogue, "a dialogue that begins with '\\n\\nHuman:'"

# The first that fits is taken: those that ask for more come before those that ask for less.
FORMATS: tuple[Format, ...] = (
    Format(
        "label_studio", ("data", "annotations"), tools.read_label_studio, {"data": _OBJECT, "annotations": _ANNOTATIONS}
    ),
    Format("label_studio", ("annotation_id", "annotator", "lead_time"), tools.read_label_studio_rows),
    Format("argilla", ("fields", "responses"), tools.read_argilla_records, {"fields": _OBJECT}),
    Format("argilla", ("*.responses", "*.responses.users"), tools.read_argilla_lists),
    Format("argilla", ("*",), tools.read_argilla_columns, {"*": _ANSWERS}, "answers with value, user_id and status"),
    Format("multipref", ("text", "completion_a", "completion_b", "*_annotations"), votes.read_multipref),
    Format("prism", ("user_id", "conversation_id", "conversation_history"), scores.read_prism),
    Format(
        "prism",
        ("user_id", "conversation_id", "turn", "user_prompt", "model_response", "score", "if_chosen"),
        scores.read_prism_utterances,
    ),
    Format("oasst", ("message_tree_id", "prompt"), scores.read_oasst_trees, {"prompt": _OBJECT}),
    Format("oasst", ("message_id", "parent_id", "text", "role", "rank"), scores.read_oasst),
    Format("shp", ("history", "human_ref_A", "human_ref_B", "labels"), votes.read_shp),
    Format("ultrafeedback", ("instruction", "completions"), scores.read_ultrafeedback, {"completions": _OBJECTS}),
    Format("ultrafeedback", ("instruction", "generations", "ratings"), scores.read_generations),
    Format("ultrafeedback", ("chosen", "rejected", "score_chosen", "score_rejected"), votes.read_scored_pairs),
    Format("arena", ("conversation_a", "conversation_b", "winner"), votes.read_arena),
    Format(
        "arena",
        ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
        votes.read_arena_lists,
    ),
    Format("votes", ("response_a", "response_b", "winner"), votes.read_votes),
    Format("kto", ("prompt", "completion", "label"), scores.read_kto),
    Format(
        "hh_rlhf",
        ("chosen", "rejected"),
        votes.read_dialogues,
        {"chosen": _DIALOGUE, "rejected": _DIALOGUE},
        ", each a dialogue in one text",
    ),
    Format("pairs", ("chosen", "rejected"), votes.read_pairs),
)


def format_names() -> list[str]:
    """Names of formats, each once."""
    return list(dict.fromkeys(form.name for form in FORMATS))


def recognised(columns: Columns, name: str = "auto") -> tuple[Format, str]:
    """The format of a table, and why: the first that fits, among those of a name unless that is "auto".

    Raises
    ------
    EpisodeError
        If none does, with the nearest one and what it lacks.
    """
    if name != "auto" and name not in format_names():
        close = get_close_matches(str(name), format_names(), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise EpisodeError(
            f'format must be "auto" or one of {", ".join(map(repr, format_names()))}, got {name!r}{hint}'
        )
    forms = [form for form in FORMATS if name in ("auto", form.name)]
    for form in forms:
        if not form.missing(columns) and not form.strange(columns):
            return form, _reason(form, columns)
    nearest = max(reversed(forms), key=lambda form: _nearness(form, columns))  # of equals the one that asks for less
    short = f"for which it lacks {_listed(list(_lacks(nearest, columns)))}"
    fit = f"format {name!r}, {short}"
    if name == "auto":
        fit = f"a known format ({', '.join(format_names())}), the nearest of which is {nearest.name!r}, {short}"
    raise EpisodeError(
        f"the table must have {fit}; its columns are {name_some(columns, 20)}: rename columns, or read any table with "
        "skmrm.episodes_from_frame, which takes their names"
    )


def _reason(form: Format, columns: Columns) -> str:
    found = [next(str(name) for name in columns if _fits(name, need)) for need in form.needs if need != "*"]
    named = f"columns {_listed(found)}" if found else ""
    return f"it has {named}{form.because}"


def _lacks(form: Format, columns: Columns) -> Iterator[str]:
    missing = form.missing(columns)
    if not missing:
        yield from form.strange(columns)
        return
    for need in missing:
        close = get_close_matches(need.lower(), [str(name).lower() for name in columns], 1)
        hint = next((f" (is it {str(name)!r}?)" for name in columns if close and str(name).lower() == close[0]), "")
        yield f"column {need!r}{hint}"


def _nearness(form: Format, columns: Columns) -> tuple[float, int]:
    """How much of what a format needs is there, by its name or by half nearly so; then how little is missing."""
    missing = form.missing(columns)
    if "*" in form.needs:
        return -1.0, 0
    names = [str(name).lower() for name in columns]
    close = sum(bool(get_close_matches(need.lower(), names, 1)) for need in missing)
    share = 1 - len(missing) / len(form.needs)
    return share + 0.5 * close / len(form.needs), -len(missing)


def _fits(name: Any, need: str) -> bool:
    return fnmatchcase(name, need) if isinstance(name, str) else need == "*"


def _first(cells: Sequence[Any]) -> Any:
    """The first cell that is not missing, nor an empty list."""
    filled = (cell for cell in cells if not is_missing(cell))
    return next((cell for cell in filled if not hasattr(cell, "__len__") or len(cell) > 0), None)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
