"""Answers that people gave in a labelling tool: which are choices, rankings or ratings, and of which responses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skmrm._support.wording import name_some
from skmrm.datasets._asked import Asked, Read, mapping_in, number_in, records_in, values_in
from skmrm.datasets._seen import PROMPTS, RESPONSES, Answer, Seen, tail_of
from skmrm.episodes import EpisodeSet, episodes_from_frame, episodes_from_rankings, episodes_from_ratings
from skmrm.episodes.cells import is_missing
from skmrm.episodes.rules import Problems
from skmrm.episodes.verdicts import THUMBS, WORDS, plain
from skmrm.exceptions import EpisodeError

__all__ = ["read_answers"]

_THUMBS = {word for words in THUMBS.values() for word in words}


def read_answers(answers: Sequence[Answer], asked: Asked) -> Read:
    """Read the answers to one question: the one asked for, or the only one that tells what somebody prefers.

    Raises
    ------
    EpisodeError
        If there is no such question, or more than one, or answers cannot be read.
    """
    by_question: dict[str, list[Answer]] = {}
    for answer in [*answers, *_joined_ratings(answers, asked)]:
        by_question.setdefault(answer.question, []).append(answer)
    kinds = {question: _kind_of(given, asked) for question, given in by_question.items()}
    question = _chosen_question(kinds, answers, asked)
    problems = Problems()
    seen = Seen(by_question[question], asked.words)
    episodes = _READERS[kinds[question]](by_question[question], seen, asked, problems)
    notes = [f"question {question!r}, a {kinds[question]}"]
    if not seen.prompts:
        notes.append(f"no field is a prompt, whose name begins with {', '.join(PROMPTS[:3])} or the like")
    return Read(episodes, notes)


def _joined_ratings(answers: Sequence[Answer], asked: Asked) -> list[Answer]:
    """Ratings of several responses of a record, each a question of its own (rating_1, rating_2), as rankings."""
    found: dict[tuple[int, Hashable, str], list[dict[str, Any]]] = {}
    shown: dict[tuple[int, Hashable, str], Answer] = {}
    for answer in answers:
        rating, tail = number_in(answer.value), tail_of(answer.question)
        stem = plain(answer.question).removesuffix(tail).strip()
        if rating is None or not stem:
            continue
        seen = Seen([answer], asked.words)
        if len(seen.responses) > 1 and seen.knows(tail):
            key = answer.row, answer.user, stem
            found.setdefault(key, []).append({"value": tail, "rank": -rating})
            shown[key] = answer
    return [replace(shown[key], question=key[2], value=entries) for key, entries in found.items() if len(entries) > 1]


def _chosen_question(kinds: Mapping[str, str], answers: Sequence[Answer], asked: Asked) -> str:
    fit = [question for question, kind in kinds.items() if kind]
    listed = ", ".join(f"{question!r} ({kinds[question] or 'neither'})" for question in kinds)
    if asked.question is not None:
        if asked.question in fit:
            return asked.question
        raise EpisodeError(
            f"question={asked.question!r} must name a choice, a ranking or a rating, of {listed or 'none'}"
        )
    if len(fit) == 1:
        return fit[0]
    if fit:
        raise EpisodeError(
            f"several questions tell what people prefer, {listed}: pass question={fit[0]!r}, or another one"
        )
    if not answers:
        raise EpisodeError("no answer was submitted: at least one is needed")
    raise EpisodeError(
        "a question is needed that is a choice between responses (their names, or words such as "
        f"{name_some(WORDS['a'])}), a ranking of them, or a rating of a single one, got {listed}; "
        + _fields(Seen(answers, asked.words))
    )


def _kind_of(answers: Sequence[Answer], asked: Asked) -> str:
    """Whether answers to a question are choices, rankings or ratings; empty for anything else, such as remarks."""
    seen = Seen(answers, asked.words)
    values = [_single(answer.value) for answer in answers]
    orders = [(answer, _order_in(answer.value) or []) for answer in answers]
    if any(len(order) > 1 and _text_of(order[0][0], answer, seen, _items(answer)) for answer, order in orders):
        return "ranking"
    if len(seen.responses) > 1:
        return "choice" if 2 * sum(map(seen.knows, values)) >= len(values) else ""
    if all(number_in(value) is not None or isinstance(value, bool | np.bool_) for value in values):
        return "rating"
    words = [plain(value) for value in values if isinstance(value, str)]
    labels = _THUMBS if asked.scale is None else {plain(str(label)) for label in asked.scale}
    return "rating" if 2 * sum(word in labels for word in words) >= len(values) else ""


def _single(value: Any) -> Any:
    """A value that stands alone in a list, as choices do, by itself."""
    listed = values_in(value)
    return listed[0] if listed is not None and len(listed) == 1 else value


def _order_in(value: Any) -> list[tuple[str, float]] | None:
    """Names and ranks, the smallest of the best, of a ranking in one of the forms in which tools write them."""
    listed = values_in(value)
    if listed and all(isinstance(name, str) for name in listed):
        return [(name, float(rank)) for rank, name in enumerate(listed)]
    entries = records_in(value)
    if not entries or not all("value" in entry for entry in entries):
        return None
    ranks = [number_in(entry.get("rank", place)) for place, entry in enumerate(entries)]
    named = zip((str(entry["value"]) for entry in entries), ranks, strict=True)
    return [(name, rank) for name, rank in named if rank is not None]


def _read_choices(answers: Sequence[Answer], seen: Seen, asked: Asked, problems: Problems) -> EpisodeSet:
    """Which of two responses is better, or which of several is the best."""
    columns: dict[str, list[Any]] = {name: [] for name in ("user", "prompt", "responses", "winner")}
    for answer in answers:
        value = _single(answer.value)
        if not seen.knows(value):
            known = (
                f"{value!r:.60}, where one of {name_some(seen.responses, 9)}, a word for these or for a tie, is needed"
            )
            problems.add_cells(f"answers to {answer.question!r}", {known: [answer.row]})
            continue
        row = (answer.user, seen.prompt(answer), _responses(answer, seen, problems), seen.place(value))
        for column, cell in zip(columns.values(), row, strict=True):
            column.append(cell)
    _raise(problems)
    if len(seen.responses) > 2:
        decided = [row for row, place in enumerate(columns["winner"]) if place is not None]  # ties say nothing of pairs
        columns = {name: [cells[row] for row in decided] for name, cells in columns.items()}
        return episodes_from_rankings(columns, "user", "prompt", best="winner", min_pairs=asked.min_pairs)
    columns["response_a"], columns["response_b"] = map(list, zip(*columns.pop("responses"), strict=True))
    columns["winner"] = ["tie" if place is None else "ab"[place] for place in columns["winner"]]
    return episodes_from_frame(
        columns,
        "user",
        response_a="response_a",
        response_b="response_b",
        winner="winner",
        min_pairs=asked.min_pairs,
    )


def _read_rankings(answers: Sequence[Answer], seen: Seen, asked: Asked, problems: Problems) -> EpisodeSet:
    columns: dict[str, list[Any]] = {name: [] for name in ("user", "prompt", "responses", "ranks")}
    for answer in answers:
        order = _order_in(answer.value)
        items = _items(answer)
        found = {} if order is None else {name: _text_of(name, answer, seen, items) for name, _ in order}
        if order is None or None in found.values():
            strange = [name for name, text in found.items() if text is None] or [answer.value]
            what = f"{strange[0]!r:.60}, which is none of {name_some([*seen.responses, *items], 9)}"
            problems.add_cells(f"answers to {answer.question!r}", {what: [answer.row]})
            continue
        row = (answer.user, seen.prompt(answer), list(found.values()), [dict(order)[name] for name in found])
        for column, cell in zip(columns.values(), row, strict=True):
            column.append(cell)
    _raise(problems)
    return episodes_from_rankings(columns, "user", "prompt", ranks="ranks", min_pairs=asked.min_pairs)


def _read_ratings(answers: Sequence[Answer], seen: Seen, asked: Asked, problems: Problems) -> EpisodeSet:
    if not seen.responses:
        raise EpisodeError(f"a response is needed that was rated; {_fields(seen)}")
    columns = {
        "user": [answer.user for answer in answers],
        "prompt": [seen.prompt(answer) for answer in answers],
        "response": [_responses(answer, seen, problems)[0] for answer in answers],
        "rating": [_single(answer.value) for answer in answers],
    }
    _raise(problems)
    return episodes_from_ratings(columns, "user", scale=asked.scale, min_pairs=asked.min_pairs)


_READERS: dict[str, Callable[[Sequence[Answer], Seen, Asked, Problems], EpisodeSet]] = {
    "choice": _read_choices,
    "ranking": _read_rankings,
    "rating": _read_ratings,
}


def _responses(answer: Answer, seen: Seen, problems: Problems) -> list[Any]:
    found = [answer.fields.get(name) for name in seen.responses]
    for name, text in zip(seen.responses, found, strict=True):
        if is_missing(text):
            problems.add_cells(f"field {name!r}", {"missing": [answer.row]})
    return found


def _items(answer: Answer) -> dict[str, str]:
    """Texts of a list of items with ids, as Label Studio ranks them."""
    items: dict[str, str] = {}
    for cell in answer.fields.values():
        for item in records_in(cell) or [] if mapping_in(cell) is None else []:
            text = next(
                (item[key] for key in ("body", "text", "html", "title") if isinstance(item.get(key), str)), None
            )
            if "id" in item and text is not None:
                items[str(item["id"])] = text
    return items


def _text_of(name: str, answer: Answer, seen: Seen, items: Mapping[str, str]) -> Any:
    if name in items:
        return items[name]
    place = seen.place(name) if seen.knows(name) else None
    return None if place is None else answer.fields.get(seen.responses[place])


def _fields(seen: Seen) -> str:
    return (
        f"responses are fields whose names begin with {', '.join(RESPONSES[:5])} or the like, here "
        f"{name_some(seen.responses) or 'none'} of {name_some(seen.fields, 9)}: rename fields, or make a table for "
        "skmrm.episodes_from_frame"
    )


def _raise(problems: Problems) -> None:
    if problems:
        raise EpisodeError(problems.sentences())
