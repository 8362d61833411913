"""Exports of labelling tools: Argilla, of both generations, and Label Studio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from skmrm.datasets._answers import read_answers
from skmrm.datasets._asked import (
    Asked,
    Read,
    left_out,
    mapping_in,
    read_each,
    records_in,
    unknown_user,
    values_in,
)
from skmrm.datasets._seen import Answer
from skmrm.episodes.cells import is_missing
from skmrm.episodes.rules import Problems
from skmrm.episodes.verdicts import plain
from skmrm.exceptions import EpisodeError

__all__ = [
    "has_answers",
    "is_annotated",
    "read_argilla_columns",
    "read_argilla_lists",
    "read_argilla_records",
    "read_label_studio",
    "read_label_studio_rows",
]

_RESPONSES = ".responses"
_OF_ROWS = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")  # Label Studio's own columns
_OF_RECORDS = ("id", "_server_id", "status", "external_id", "metadata", "vectors", "inserted_at", "updated_at")
_KINDS = ("selected", "rating", "ranker", "choices", "number")  # what a result of Label Studio has its value under
_SEVERAL = object()  # of buckets, between which there is no order


class _Collected:
    """Answers as they are found, with what was left out and what is wrong."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answers: list[Answer] = []
        self.left_out: Counter[str] = Counter()
        self.problems = Problems()

    def owner(self, user: Any, *shown: Mapping[str, Any]) -> Hashable:
        """Who answered; or what the record says under the name that the caller gave."""
        name = self.asked.user
        if name is None:
            return user if isinstance(user, Hashable) else None
        for fields in shown:
            if name in fields:
                return fields[str(name)] if isinstance(fields[str(name)], Hashable) else None
        raise EpisodeError(unknown_user(name, [key for fields in shown for key in fields]))

    def add(self, answer: Answer, status: Any = None) -> None:
        """Take an answer, unless it was not submitted, or nobody gave it."""
        if status is not None and plain(str(status)) != "submitted":
            self.left_out[f"{status!s:.20} answer"] += 1
        elif is_missing(answer.user):
            self.problems.add_cells(f"answers to {answer.question!r}", {"no id of who gave it": [answer.row]})
        elif not is_missing(answer.value):
            self.answers.append(answer)

    def read(self) -> Read:
        """Episodes of what was found."""
        if self.problems:
            raise EpisodeError(self.problems.sentences())
        read = read_answers(self.answers, self.asked)
        notes = [note for what, count in self.left_out.items() for note in left_out(count, what)]
        whose = "users are annotators" if self.asked.user is None else f"users are {self.asked.user!r} of the records"
        return Read(read.episodes, [*read.notes, *notes, whose])


def read_argilla_records(asked: Asked) -> Read:
    """Records with `fields` and `responses`: of Argilla 2 by question, of Argilla 1 by annotator."""
    found = _Collected(asked)
    fields = read_each("fields", asked.columns["fields"], mapping_in, "an object of fields", found.problems)
    metadata = [mapping_in(cell) or {} for cell in asked.columns.get("metadata", [None] * asked.n_rows)]
    for row, (shown, cell) in enumerate(zip(fields, asked.columns["responses"], strict=True)):
        listed = [] if is_missing(cell) else _record_answers(cell)
        if listed is None:
            found.problems.add_cells("column 'responses'", {f"{cell!r:.60}, where answers are needed": [row]})
        for question, value, user, status in listed or [] if shown is not None else []:
            found.add(Answer(row, found.owner(user, shown, metadata[row]), shown, question, value), status)
    return found.read()


def read_argilla_lists(asked: Asked) -> Read:
    """Argilla 2 as a dataset: columns `q.responses`, `q.responses.users` and `q.responses.status` of each question."""
    found = _Collected(asked)
    questions = [str(name).removesuffix(_RESPONSES) for name in asked.columns if str(name).endswith(_RESPONSES)]
    own = {
        f"{question}{end}"
        for question in questions
        for end in (_RESPONSES, f"{_RESPONSES}.users", f"{_RESPONSES}.status")
    }
    for row, shown in enumerate(_fields(asked, own)):
        for question in questions:
            columns = [asked.columns.get(f"{question}{_RESPONSES}{end}") for end in ("", ".users", ".status")]
            cells = [
                None if column is None or is_missing(column[row]) else values_in(column[row]) for column in columns
            ]
            values, users, statuses = cells[0] or [], cells[1] or [], cells[2] or [None] * len(cells[0] or [])
            if not len(values) == len(users) == len(statuses):
                sizes = f"{len(values)} answers of {len(users)} users with {len(statuses)} statuses"
                found.problems.add_cells(f"column '{question}{_RESPONSES}'", {sizes: [row]})
                continue
            for value, user, status in zip(values, users, statuses, strict=True):
                found.add(Answer(row, found.owner(user, shown), shown, question, value), status)
    return found.read()


def has_answers(cell: Any) -> bool:
    """Whether a cell holds answers as Argilla 1 has them: a list of objects with value, user_id and status."""
    if isinstance(cell, str):
        return False
    entries = records_in(cell)
    return bool(entries) and all({"value", "user_id", "status"} <= set(entry) for entry in entries or [])


def read_argilla_columns(asked: Asked) -> Read:
    """Argilla 1 as a dataset: a column of answers for each question."""
    found = _Collected(asked)
    questions = [name for name, cells in asked.columns.items() if any(map(has_answers, cells))]
    for row, shown in enumerate(_fields(asked, set(questions))):
        metadata = mapping_in(asked.columns["metadata"][row]) if "metadata" in asked.columns else None
        for question in questions:
            cell = asked.columns[question][row]
            entries = [] if is_missing(cell) else records_in(cell)
            if entries is None or (entries and not has_answers(cell)):
                found.problems.add_cells(f"column '{question}'", {f"{cell!r:.60}, where answers are needed": [row]})
                continue
            for entry in entries:
                user = found.owner(entry["user_id"], shown, metadata or {})
                found.add(Answer(row, user, shown, str(question), entry["value"]), entry["status"])
    return found.read()


def is_annotated(cell: Any) -> bool:
    """Whether a cell holds annotations of Label Studio, or none yet."""
    entries = [] if is_missing(cell) else records_in(cell)
    return entries is not None and all("result" in entry for entry in entries)


def read_label_studio(asked: Asked) -> Read:
    """Tasks with their `data` and `annotations`; cancelled ones do not count, and neither do predictions."""
    found = _Collected(asked)
    data = read_each("data", asked.columns["data"], mapping_in, "an object of what was shown", found.problems)
    for row, (shown, cell) in enumerate(zip(data, asked.columns["annotations"], strict=True)):
        if not is_annotated(cell):
            found.problems.add_cells("column 'annotations'", {f"{cell!r:.60}, where annotations are needed": [row]})
        if shown is None or is_missing(cell) or not is_annotated(cell):
            continue
        for annotation in records_in(cell) or []:
            if annotation.get("was_cancelled"):
                found.left_out["cancelled annotation"] += 1
                continue
            by = annotation.get("completed_by")
            user = found.owner(by.get("id", by.get("email")) if isinstance(by, Mapping) else by, shown)
            for question, value, between in _results(annotation["result"], shown):
                if value is _SEVERAL:
                    found.left_out["ranking in several buckets"] += 1
                else:
                    found.add(Answer(row, user, shown, question, value, between))
    return found.read()


def read_label_studio_rows(asked: Asked) -> Read:
    """Label Studio's JSON_MIN and CSV: one annotation a row, what was shown beside what was said."""
    found = _Collected(asked)
    names = [name for name in asked.columns if name not in _OF_ROWS]
    for row in range(asked.n_rows):
        shown = {str(name): asked.columns[name][row] for name in names}
        user = found.owner(asked.columns["annotator"][row], shown)
        for name in names:
            value = asked.columns[name][row]
            said = _value_of(mapping_in(value) or value)
            found.add(Answer(row, user, shown, str(name), None if said is _SEVERAL else said))
    return found.read()


def _record_answers(cell: Any) -> list[tuple[str, Any, Any, Any]] | None:
    """Question, value, user and status of each answer in the `responses` of a record."""
    by_question = mapping_in(cell)
    if by_question is not None:
        lists = {str(question): records_in(entries) for question, entries in by_question.items()}
        return [
            (question, entry.get("value"), entry.get("user_id"), entry.get("status"))
            for question, entries in lists.items()
            for entry in entries or []
        ]
    by_user = records_in(cell)
    if by_user is None:
        return None
    return [
        (str(question), (mapping_in(given) or {}).get("value"), entry.get("user_id"), entry.get("status"))
        for entry in by_user
        for question, given in (mapping_in(entry.get("values")) or {}).items()
    ]


def _fields(asked: Asked, answered: set[Any]) -> Iterator[dict[str, Any]]:
    """What each record shows: all columns but those of answers and suggestions."""
    names = [
        name
        for name in asked.columns
        if name not in answered
        and name not in _OF_RECORDS
        and "suggestion" not in str(name).replace("-", ".").split(".")
    ]
    for row in range(asked.n_rows):
        yield {str(name): asked.columns[name][row] for name in names}


def _results(results: Any, shown: Mapping[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Question and value of each part of an annotation, and the two fields compared, where it names them."""
    for result in records_in(results) or []:
        value = mapping_in(result.get("value"))
        if value is None:
            continue
        compared: Sequence[str] = [name.strip() for name in str(result.get("to_name", "")).split(",")]
        between = tuple(compared) if len(compared) == 2 and all(name in shown for name in compared) else ()
        yield str(result.get("from_name", result.get("type"))), _value_of(value), between


def _value_of(value: Any) -> Any:
    """What was said, None for nothing; of a ranking, the list of its one bucket."""
    if not isinstance(value, Mapping):
        return value
    said = next((value[kind] for kind in _KINDS if kind in value), None if set(value) & {"text", "start"} else value)
    if isinstance(said, Mapping):
        buckets = [listed for listed in map(values_in, said.values()) if listed]
        return buckets[0] if len(buckets) == 1 else _SEVERAL if buckets else None
    return said
