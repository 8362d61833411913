"""Files of scores and rankings: UltraFeedback, OASST, PRISM, and the thumbs of KTO."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skmrm.datasets._asked import (
    Asked,
    Read,
    left_out,
    mapping_in,
    number_in,
    read_each,
    records_in,
    truth_in,
    values_in,
)
from skmrm.datasets._prism import parse_prism
from skmrm.episodes import episodes_from_rankings, episodes_from_ratings
from skmrm.episodes.cells import is_missing
from skmrm.episodes.files import Columns
from skmrm.episodes.messages import Conversation
from skmrm.episodes.rules import Problems
from skmrm.exceptions import EpisodeError

__all__ = [
    "read_generations",
    "read_kto",
    "read_oasst",
    "read_oasst_trees",
    "read_prism",
    "read_prism_utterances",
    "read_ultrafeedback",
]

_OVERALL = "overall_score"


def read_ultrafeedback(asked: Asked) -> Read:
    """Several completions of an instruction, each with scores; those of one row are a ranking with ties."""
    score = asked.question or _OVERALL
    problems = Problems()
    lists = read_each("completions", asked.columns["completions"], _completions, "a list with responses", problems)
    known = dict.fromkeys(name for listed in lists for one in listed or [] for name in _scores_of(one))
    if not problems and score not in known:
        raise EpisodeError(f"question={score!r} is no score of a completion, which has {', '.join(known) or 'none'}")
    responses = [[one["response"] for one in listed or []] for listed in lists]
    scores = [[_scores_of(one).get(score) for one in listed or []] for listed in lists]
    return _read_ranked(asked, responses, scores, problems)


def read_generations(asked: Asked) -> Read:
    """Lists of generations and of their ratings, side by side, as distilabel writes them."""
    asked.no_question()
    problems = Problems()
    responses, ratings = (
        read_each(name, asked.columns[name], read, f"a list of {what}", problems)
        for name, read, what in (("generations", _texts_in, "texts"), ("ratings", values_in, "numbers"))
    )
    scores = [[number_in(rating) for rating in listed or []] for listed in ratings]
    return _read_ranked(asked, responses, scores, problems)


def read_oasst(asked: Asked) -> Read:
    """Messages, one a row, of which replies to one message are ranked, over all who ranked them."""
    asked.no_question()
    names = ("message_id", "parent_id", "text", "role", "rank")
    said = {name: [None if is_missing(cell) else cell for cell in asked.columns[name]] for name in names}
    rows = {str(one): row for row, one in enumerate(said["message_id"]) if one is not None}
    replies: dict[str, list[int]] = {}
    for row, (parent, role, rank) in enumerate(zip(said["parent_id"], said["role"], said["rank"], strict=True)):
        if parent is not None and role == "assistant" and number_in(rank) is not None:
            replies.setdefault(str(parent), []).append(row)
    problems = Problems()
    read_each("text", said["text"], _text_in, "a text", problems)
    if orphans := [row for parent, places in replies.items() if parent not in rows for row in places]:
        problems.add_cells("column 'parent_id'", {"a message that is not there": orphans})
    # user_id of these files is who wrote a message, not who ranked it
    owners = asked.owners(usual=False)
    if problems:
        raise EpisodeError(problems.sentences())
    columns: dict[str, list[Any]] = {name: [] for name in ("user", "prompt", "responses", "ranks")}
    for parent, places in replies.items():
        columns["user"].append(owners.values[rows[parent]])
        columns["prompt"].append(_thread(parent, rows, said))
        columns["responses"].append([said["text"][row] for row in places])
        columns["ranks"].append([number_in(said["rank"][row]) for row in places])
    if not columns["user"]:
        raise EpisodeError("no two replies of the assistant to one message have a rank: a file with ranks is needed")
    episodes = episodes_from_rankings(columns, "user", "prompt", "responses", "ranks", min_pairs=asked.min_pairs)
    return Read(episodes, [owners.note])


def read_oasst_trees(asked: Asked) -> Read:
    """Trees of messages, one a row."""
    problems = Problems()
    trees = read_each("prompt", asked.columns["prompt"], mapping_in, "a message with its replies", problems)
    if problems:
        raise EpisodeError(problems.sentences())
    messages = [message for tree in trees for message in _branches(tree, None)]
    names = dict.fromkeys([*("message_id", "parent_id", "text", "role", "rank"), *(n for m in messages for n in m)])
    columns: Columns = {name: [message.get(name) for message in messages] for name in names if name != "replies"}
    return read_oasst(Asked(columns, asked.user, asked.question, asked.words, asked.scale, asked.min_pairs))


def read_prism(asked: Asked) -> Read:
    """Conversations, in each turn of which one of several answers was chosen, and all were scored."""
    asked.no_question()
    problems = Problems()
    histories = read_each("conversation_history", asked.columns["conversation_history"], _history, _HISTORY, problems)
    owners = asked.owners("user_id")
    rows = zip(owners.values, asked.columns["conversation_id"], histories, strict=True)
    names = ("user_id", "conversation_id", "conversation_history")
    return _parsed_prism(asked, [dict(zip(names, row, strict=True)) for row in rows], owners.note, problems)


def read_prism_utterances(asked: Asked) -> Read:
    """Answers of conversations, one a row, each with its turn, its prompt and whether it was chosen."""
    asked.no_question()
    problems = Problems()
    owners = asked.owners("user_id")
    turns = read_each("turn", asked.columns["turn"], number_in, "the number of a turn", problems)
    chosen = read_each("if_chosen", asked.columns["if_chosen"], truth_in, "true or false", problems)
    said = {
        name: read_each(
            name, ["" if is_missing(cell) else cell for cell in asked.columns[name]], _text_in, "a text", problems
        )
        for name in ("user_prompt", "model_response")
    }
    histories: dict[Any, list[dict[str, Any]]] = {}
    users: dict[Any, Any] = {}
    for row, (name, score) in enumerate(zip(asked.columns["conversation_id"], asked.columns["score"], strict=True)):
        users[str(name)] = owners.values[row]
        asking = {"turn": turns[row], "role": "user", "content": said["user_prompt"][row]}
        answer = {"turn": turns[row], "role": "model", "content": said["model_response"][row]}
        answer |= {"score": number_in(score), "if_chosen": chosen[row]}
        histories.setdefault(str(name), []).extend([asking, answer])
    rows = [
        {"user_id": users[name], "conversation_id": name, "conversation_history": history}
        for name, history in histories.items()
    ]
    return _parsed_prism(asked, rows, owners.note, problems)


def read_kto(asked: Asked) -> Read:
    """One completion a row, and whether somebody liked it."""
    asked.no_question()
    problems = Problems()
    owners = asked.owners()
    labels = read_each("label", asked.columns["label"], truth_in, "true or false", problems)
    if problems:
        raise EpisodeError(problems.sentences())
    columns = {name: asked.columns[name] for name in ("prompt", "completion")}
    episodes = episodes_from_ratings(
        columns | {"skmrm.user": owners.values, "label": labels},
        "skmrm.user",
        response="completion",
        rating="label",
        min_pairs=asked.min_pairs,
    )
    return Read(episodes, [owners.note])


_HISTORY = "a list of messages with turn, role and content"


def _history(cell: Any) -> list[Mapping[str, Any]] | None:
    messages = records_in(cell)
    if not messages:
        return None
    fit = all(
        number_in(one.get("turn")) is not None
        and isinstance(one.get("role"), str)
        and isinstance(one.get("content"), str | None)
        for one in messages
    )
    return [{**one, "turn": number_in(one["turn"])} for one in messages] if fit else None


def _text_in(cell: Any) -> str | None:
    return cell if isinstance(cell, str) else None


def _id(cell: Any) -> str | int | None:
    return cell if isinstance(cell, str | int) else None


def _completions(cell: Any) -> list[Mapping[str, Any]] | None:
    found = records_in(cell)
    return found if found and all(isinstance(one.get("response"), str) for one in found) else None


def _texts_in(cell: Any) -> list[str] | None:
    found = values_in(cell)
    return found if found and all(isinstance(one, str) for one in found) else None


def _parsed_prism(asked: Asked, rows: list[dict[str, Any]], note: str, problems: Problems) -> Read:
    for name in ("user_id", "conversation_id"):
        read_each(name, [row[name] for row in rows], _id, "an id", problems)
    if problems:
        raise EpisodeError(problems.sentences())
    found = parse_prism(rows, min_conversations=1, min_pairs=asked.min_pairs)
    dropped = [f"left out: {count} {what}" for what, count in found.dropped.items() if count]
    return Read(found.episodes, [*dropped, note])


def _read_ranked(asked: Asked, responses: list[Any], scores: list[Any], problems: Problems) -> Read:
    """Rows of responses with scores, the highest of the best; those without one are left out."""
    if uneven := [
        row for row, (a, b) in enumerate(zip(responses, scores, strict=True)) if len(a or []) != len(b or [])
    ]:
        problems.add_cells("column 'ratings'", {"another number of ratings than of generations": uneven})
    read_each("instruction", asked.columns["instruction"], lambda cell: cell, "a text", problems)
    if problems:
        raise EpisodeError(problems.sentences())
    owners = asked.owners()
    columns = {
        "skmrm.user": owners.values,
        "instruction": asked.columns["instruction"],
        "responses": responses,
        "ranks": [[None if score is None else -score for score in listed] for listed in scores],
    }
    unscored = sum(score is None for listed in scores for score in listed)
    episodes = episodes_from_rankings(
        columns, "skmrm.user", "instruction", "responses", "ranks", min_pairs=asked.min_pairs
    )
    return Read(episodes, [*left_out(unscored, "response", "without a score"), owners.note])


def _scores_of(completion: Mapping[str, Any]) -> dict[str, float]:
    """Scores of a completion of UltraFeedback: its own numbers, and the rating of each aspect."""
    own = {name: number_in(value) for name, value in completion.items()}
    aspects = mapping_in(completion.get("annotations")) or {}
    own |= {name: number_in((mapping_in(value) or {}).get("Rating")) for name, value in aspects.items()}
    return {name: value for name, value in own.items() if value is not None}


def _thread(name: str, rows: Mapping[str, int], said: Mapping[str, list[Any]]) -> Conversation:
    """The conversation from its first message to the one of this name."""
    messages: list[tuple[str, str]] = []
    seen: set[str] = set()
    while name in rows and name not in seen:
        seen.add(name)
        row = rows[name]
        messages.append((str(said["role"][row]), said["text"][row]))
        name = str(said["parent_id"][row])
    return Conversation(messages[::-1])


def _branches(message: Mapping[str, Any], parent: Any) -> Iterator[dict[str, Any]]:
    """A message and all below it."""
    waiting: list[tuple[Mapping[str, Any], Any]] = [(message, parent)]
    while waiting:
        one, parent = waiting.pop(0)
        yield {**one, "parent_id": parent}
        waiting += [(reply, one.get("message_id")) for reply in records_in(one.get("replies")) or []]
