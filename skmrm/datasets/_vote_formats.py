"""Files of choices between two responses: arena votes, MT-Bench, MultiPref, SHP, HH-RLHF, chosen and rejected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skmrm.datasets._asked import (
    Asked,
    Read,
    conversation_in,
    left_out,
    number_in,
    read_each,
    records_in,
    truth_in,
    values_in,
)
from skmrm.datasets._mt_bench import up_to_answer
from skmrm.episodes import episodes_from_frame
from skmrm.episodes.cells import is_missing
from skmrm.episodes.messages import Conversation
from skmrm.episodes.rules import Problems
from skmrm.episodes.verdicts import plain
from skmrm.exceptions import EpisodeError

__all__ = [
    "is_dialogue",
    "read_arena",
    "read_arena_lists",
    "read_dialogues",
    "read_multipref",
    "read_pairs",
    "read_scored_pairs",
    "read_shp",
    "read_votes",
]

_TIES = {"tie (inconsistent)": "tie"}  # of a judge whose verdict changed with the order
_ASPECT = "_pref"  # behind the name of each aspect of MultiPref
_EVALUATORS = "users are the evaluators of annotations"
_VERDICTS = {f"{x} is {how} better": (x, n) for x in "ab" for n, how in enumerate(("slightly", "clearly"), 1)}
_VERDICTS |= {"tie": ("tie", 0)}
_TURN = re.compile(r"(?:\A|\n\n)\s*(Human|Assistant):")
_SPLIT = re.compile(r"_(?:train|validation|test)\Z")


def read_arena(asked: Asked) -> Read:
    """Votes between whole conversations, of Chatbot Arena; or up to the turn that was judged, of MT-Bench."""
    problems = Problems()
    sides = [
        read_each(name, asked.columns[name], conversation_in, "a list of messages", problems)
        for name in ("conversation_a", "conversation_b")
    ]
    turns: list[Any] = [None] * asked.n_rows
    if "turn" in asked.columns:
        turns = read_each("turn", asked.columns["turn"], number_in, "the number of a turn", problems)
    if problems:
        raise EpisodeError(problems.sentences())
    answers = [[_judged(side, turn) for side, turn in zip(cells, turns, strict=True)] for cells in sides]
    return _read_conversations(asked, answers, asked.columns["winner"])


def read_arena_lists(asked: Asked) -> Read:
    """Votes of Chatbot Arena as its competition has them: prompts and responses in lists, a column for each outcome."""
    problems = Problems()
    prompts, *responses = (
        read_each(name, asked.columns[name], _texts_in, "a text, or a list of them", problems)
        for name in ("prompt", "response_a", "response_b")
    )
    outcomes = {"a": "winner_model_a", "b": "winner_model_b", "tie": "winner_tie"}
    cells = [read_each(name, asked.columns[name], truth_in, "0 or 1", problems) for name in outcomes.values()]
    rows = zip(*cells, strict=True)
    winners = [[winner for winner, is_so in zip(outcomes, row, strict=True) if is_so] for row in rows]
    if wrong := [row for row, found in enumerate(winners) if len(found) != 1]:
        problems.add_cells(f"columns {', '.join(map(repr, outcomes.values()))}", {"no 1, or more than one": wrong})
    if problems:
        raise EpisodeError(problems.sentences())
    answers = [[_told(*texts) for texts in zip(prompts, side, strict=True)] for side in responses]
    return _read_conversations(asked, answers, [winner for (winner,) in winners])


def _read_conversations(asked: Asked, answers: Sequence[list[Any]], winners: Sequence[Any]) -> Read:
    """Votes between two conversations each; those of which one has no answer (None) are left out."""
    asked.no_question()
    owners = asked.owners("judge", "evaluation_session_id")
    kept = [row for row, both in enumerate(zip(*answers, strict=True)) if None not in both]
    if not kept:
        raise EpisodeError("no vote is between two conversations that have an answer in the turn that was judged")
    columns: dict[str, Any] = {"user": owners.values, "conversation_a": answers[0], "conversation_b": answers[1]}
    columns |= {"winner": winners, "question_id": asked.columns.get("question_id", range(asked.n_rows))}
    columns = {name: [cells[row] for row in kept] for name, cells in columns.items()}
    # of MT-Bench, which asks all the same; in an arena each vote has a number of its own
    are_shared = len(set(map(str, columns["question_id"]))) < len(kept)
    episodes = episodes_from_frame(
        columns,
        "user",
        None,
        response_a="conversation_a",
        response_b="conversation_b",
        winner="winner",
        words=_TIES | dict(asked.words),
        group="question_id" if are_shared else None,
        shared_groups=True,
        min_pairs=asked.min_pairs,
    )
    return Read(episodes, [*left_out(asked.n_rows - len(kept), "vote", "without an answer"), owners.note])


def read_votes(asked: Asked) -> Read:
    """Votes between two responses, one row a vote."""
    asked.no_question()
    owners = asked.owners()
    names = ("response_a", "response_b", "winner")
    prompt = "prompt" if "prompt" in asked.columns else None
    episodes = episodes_from_frame(
        _columns(asked, [*names, "prompt"]) | {"skmrm.user": owners.values},
        "skmrm.user",
        prompt,
        response_a=names[0],
        response_b=names[1],
        winner=names[2],
        words=_TIES | dict(asked.words),
        min_pairs=asked.min_pairs,
    )
    return Read(episodes, [owners.note])


def read_multipref(asked: Asked) -> Read:
    """Two completions, and lists of annotations with who made each and how much better one is."""
    aspect = (asked.question or "overall").removesuffix(_ASPECT) + _ASPECT
    problems = Problems()
    names = ("text", "completion_a", "completion_b")
    columns: dict[str, list[Any]] = {name: [] for name in ("user", *names, aspect, "strength")}
    owners = asked.owners() if asked.user is not None else None
    unsaid = 0
    for name, row, annotation in _annotations(asked, problems):
        said, user = annotation.get(aspect), annotation.get("evaluator") if owners is None else owners.values[row]
        if is_missing(said) or said == "":
            unsaid += 1
            continue
        verdict = _VERDICTS.get(plain(said)) if isinstance(said, str) else None
        if verdict is None:
            known = f"{said!r:.60} as {aspect}, of which {', '.join(_VERDICTS)} are known"
            problems.add_cells(f"column '{name}'", {known: [row]})
        elif is_missing(user):
            problems.add_cells(f"column '{name}'", {"an annotation without an evaluator": [row]})
        else:
            cells = (asked.columns[column][row] for column in names)
            for column, value in zip(columns.values(), (user, *cells, *verdict), strict=True):
                column.append(value)
    if problems:
        raise EpisodeError(problems.sentences())
    if not columns["user"]:
        raise EpisodeError(f"no annotation says anything as {aspect!r}: pass question='overall', or another aspect")
    episodes = episodes_from_frame(
        columns,
        "user",
        "text",
        response_a="completion_a",
        response_b="completion_b",
        winner=aspect,
        strength="strength",
        min_pairs=asked.min_pairs,
    )
    return Read(
        episodes, [*left_out(unsaid, "annotation", "without a preference"), owners.note if owners else _EVALUATORS]
    )


def _annotations(asked: Asked, problems: Problems) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """The column and the row of each annotation."""
    for name in [name for name in asked.columns if str(name).endswith("_annotations")]:
        cells = [[] if is_missing(cell) else cell for cell in asked.columns[name]]
        for row, listed in enumerate(read_each(name, cells, records_in, "a list of annotations", problems)):
            yield from ((name, row, annotation) for annotation in listed or [])


def read_shp(asked: Asked) -> Read:
    """Pairs of comments under a post, of which readers voted one up more often."""
    asked.no_question()
    problems = Problems()
    owners = asked.owners("domain")
    users, note = owners
    if asked.user is None and "domain" in asked.columns:  # askculinary_train, of one subreddit in three files
        users = [_SPLIT.sub("", user) if isinstance(user, str) else user for user in users]
        note = "users are the communities of column 'domain', as single voters are not named"
    columns = _columns(asked, ["history", "human_ref_A", "human_ref_B", "labels"]) | {"skmrm.user": users}
    strength = "score_ratio" if "score_ratio" in asked.columns else None
    if strength:
        columns[strength] = read_each(strength, asked.columns[strength], number_in, "a number", problems)
    if problems:
        raise EpisodeError(problems.sentences())
    meanings = {1: "a", 0: "b", "1": "a", "0": "b"}
    episodes = episodes_from_frame(
        columns,
        "skmrm.user",
        "history",
        response_a="human_ref_A",
        response_b="human_ref_B",
        winner="labels",
        words=meanings | dict(asked.words),
        strength=strength,
        min_pairs=asked.min_pairs,
    )
    return Read(episodes, [note])


def read_pairs(asked: Asked) -> Read:
    """One row a choice: chosen, rejected, and a prompt or what both share at their start."""
    return _read_chosen(asked, None)


def read_scored_pairs(asked: Asked) -> Read:
    """Choices with a score on each side: their difference is how strong the preference is, and none is a tie."""
    problems = Problems()
    names = ("score_chosen", "score_rejected")
    better, worse = (read_each(name, asked.columns[name], number_in, "a number", problems) for name in names)
    if not problems:
        against = [row for row, (ours, theirs) in enumerate(zip(better, worse, strict=True)) if theirs > ours]
        problems.add_cells("column 'score_chosen'", {"less than in 'score_rejected'": against} if against else {})
    if problems:
        remedy = "or pass format='pairs', which reads no scores"
        raise EpisodeError([f"{sentence}, {remedy}" for sentence in problems.sentences()])
    return _read_chosen(asked, [ours - theirs for ours, theirs in zip(better, worse, strict=True)])


def _read_chosen(asked: Asked, strength: list[float] | None) -> Read:
    asked.no_question()
    owners = asked.owners()
    columns = _columns(asked, ["prompt", "chosen", "rejected"]) | {"skmrm.user": owners.values}
    episodes = episodes_from_frame(
        columns if strength is None else columns | {"skmrm.strength": strength},
        "skmrm.user",
        "prompt" if "prompt" in columns else None,
        strength=None if strength is None else "skmrm.strength",
        min_pairs=asked.min_pairs,
    )
    return Read(episodes, [owners.note])


def is_dialogue(cell: Any) -> bool:
    r"""Whether a text is a whole dialogue of HH-RLHF: turns that begin with "\n\nHuman:" or "\n\nAssistant:"."""
    return isinstance(cell, str) and not isinstance(cell, Conversation) and cell.lstrip().startswith("Human:")


def read_dialogues(asked: Asked) -> Read:
    """Two whole dialogues in one text each, of which the shared turns are the prompt."""
    asked.no_question()
    problems = Problems()
    owners = asked.owners()
    needed = "a dialogue that begins with '\\n\\nHuman:' and has an answer"
    columns = {
        name: read_each(name, asked.columns[name], _turns_of, needed, problems) for name in ("chosen", "rejected")
    }
    if problems:
        raise EpisodeError(problems.sentences())
    episodes = episodes_from_frame(columns | {"user": owners.values}, "user", None, min_pairs=asked.min_pairs)
    return Read(episodes, [owners.note])


def _turns_of(cell: Any) -> Conversation | None:
    if not is_dialogue(cell):
        return None
    _, *parts = _TURN.split(cell)
    messages = [(role, said.strip()) for role, said in zip(parts[::2], parts[1::2], strict=True)]
    return Conversation(messages) if len(messages) > 1 else None


def _judged(conversation: Conversation, turn: float | None) -> Conversation | None:
    """A conversation up to the answer that was judged, the last one if no turn is named; None without one."""
    roles = Counter(role for role, _ in conversation.messages)
    return up_to_answer(conversation, roles["assistant"] if turn is None else int(turn))


def _texts_in(cell: Any) -> list[Any] | None:
    """A text, or the list of texts that it spells; None in a list for what is no text."""
    listed = values_in(cell)
    if listed is None:
        return [cell] if isinstance(cell, str) else None
    return [one if isinstance(one, str) else None for one in listed] or None


def _told(prompts: Sequence[str | None], responses: Sequence[str | None]) -> Conversation | None:
    """Prompts and responses by turns; None if one is missing."""
    if len(prompts) != len(responses) or not all([*prompts, *responses]):
        return None
    turns = [(("user", str(ours)), ("assistant", str(theirs))) for ours, theirs in zip(prompts, responses, strict=True)]
    return Conversation([message for turn in turns for message in turn])


def _columns(asked: Asked, names: Sequence[str]) -> dict[Any, Any]:
    return {name: asked.columns[name] for name in names if name in asked.columns}
