"""Files of choices: which columns say what, and how they become episodes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from skmrm.cli.files import missing_problems
from skmrm.cli.parser import CommandParser

if TYPE_CHECKING:
    from skmrm.episodes import EpisodeSet

__all__ = ["FILES", "ONE_PERSON", "add_choices", "choices_problems", "in_options", "read_choices"]

ONE_PERSON = "the user"  # whose rows are that name nobody
FILES = "csv, tsv, json, jsonl, parquet or arrow, also packed as .gz"
_PAIRS = ("chosen", "rejected", "outcome", "strength", "strength_order")
_VOTES = ("response_a", "response_b", "winner")
_RATINGS = ("response", "rating", "scale")
_SAID = ("group", "weight", "time")
_ARGUMENT = re.compile(rf"(?<![\w-])({'|'.join(('user', 'prompt', *_PAIRS, *_VOTES, *_RATINGS, *_SAID))})=('[^']*')")
_REMEDIES = {
    "words={...} with what the others mean": "--word WORD=MEANING for each of the others",
    "strength_order=[...], from the weakest to the strongest": "--strength-order WEAKEST,...,STRONGEST",
    "scale=[worst, ..., best]": "--scale WORST,...,BEST",
    "pass prompt=None if": "pass --no-prompt if",
    "or read any table with skmrm.episodes_from_frame, which takes their names": "or leave --format out and name them",
}
_NUMBERS = ("outcome", "strength", "weight", "time")  # what a CSV has as texts


def add_choices(parser: CommandParser) -> None:
    """Options that say how a file of choices is read."""
    parser.add_argument("choices", metavar="CHOICES", help=f"a file with a row for each choice ({FILES}), or a folder")
    group = parser.add_argument_group("columns of CHOICES")
    for name, default, what in (
        ("user", "user_id", "who chose"),
        ("prompt", "prompt", "what was asked"),
        ("chosen", "chosen", "the response that was preferred"),
        ("rejected", "rejected", "the one that it was preferred to"),
    ):
        group.add_argument(f"--{name}", metavar="COLUMN", help=f"{what} (default: {default})")
    group.add_argument("--no-prompt", action="store_true", help="there is no column of prompts")
    group.add_argument("--response-a", metavar="COLUMN", help="votes: the first response, in place of chosen")
    group.add_argument("--response-b", metavar="COLUMN", help="votes: the second one")
    group.add_argument("--winner", metavar="COLUMN", help="votes: which one won, or 'tie'")
    group.add_argument("--response", metavar="COLUMN", help="ratings: a response by itself, in place of chosen")
    group.add_argument("--rating", metavar="COLUMN", help="ratings: its stars, score or thumb")
    group.add_argument("--scale", metavar="WORST,...,BEST", help="ratings: their levels, where these are words")
    group.add_argument(
        "--word",
        metavar="WORD=MEANING",
        action="append",
        help="what a word means: a, b, tie or chosen",
    )
    group.add_argument("--outcome", metavar="COLUMN", help="whether there is a winner at all: 0 for a tie")
    group.add_argument("--strength", metavar="COLUMN", help="how much better the chosen response is")
    group.add_argument("--strength-order", metavar="WEAKEST,...", help="its labels in order, where these are words")
    group.add_argument("--weight", metavar="COLUMN", help="how often a choice counts")
    group.add_argument("--time", metavar="COLUMN", help="when it was made")
    group.add_argument(
        "--group",
        metavar="COLUMN",
        action="append",
        help="a topic, say, that keeps choices together (default: prompt)",
    )
    group.add_argument("--shared-groups", action="store_true", help="a group means the same for everybody")
    tools = parser.add_argument_group("files of labelling tools and public data sets")
    tools.add_argument("--format", metavar="NAME", help="'auto', or a name such as label_studio, argilla or arena")
    tools.add_argument("--question", metavar="NAME", help="which question to read, where people were asked several")


def read_choices(
    options: argparse.Namespace, *, one_user: bool = False, scale: Sequence[Any] | None = None
) -> EpisodeSet:
    """The choices in a file.

    Parameters
    ----------
    options : Namespace
        Of `add_choices`.
    one_user : bool
        Whether rows need no column of users.
    scale : sequence, optional
        Levels of ratings, of the model that the choices are for.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    EpisodeError
        If it cannot be read; all problems are listed.
    """
    if options.format is not None:
        return _recognised(options, scale)
    from skmrm.episodes.files import as_table
    from skmrm.episodes.from_tables import name_problems
    from skmrm.exceptions import EpisodeError

    columns = dict(as_table(options.choices, _names(options, _NUMBERS)))
    user = options.user or "user_id"
    if one_user and user not in columns:
        if problems := list(name_problems(list(columns), _asked(options))):  # before there is a column of no file
            raise EpisodeError(problems)
        columns[user] = [ONE_PERSON] * len(next(iter(columns.values()), []))
    return _of_columns(columns, user, options, scale)


def _recognised(options: argparse.Namespace, scale: Sequence[Any] | None) -> EpisodeSet:
    from skmrm.datasets import read_preferences

    with redirect_stdout(sys.stderr):  # where all is told that is no result
        return read_preferences(
            options.choices,
            options.format,
            user=options.user,
            question=options.question,
            words=dict(_words(options.word)),
            scale=_levels(options.scale) or scale,
        )


def _of_columns(
    columns: dict[Any, list[Any]], user: str, options: argparse.Namespace, scale: Sequence[Any] | None
) -> EpisodeSet:
    from skmrm.episodes import episodes_from_frame, episodes_from_ratings

    named: dict[str, Any] = {name: getattr(options, name) for name in _SAID}
    named["shared_groups"] = options.shared_groups or "auto"
    prompt = None if options.no_prompt else options.prompt or "prompt"
    if options.rating is not None:
        response = options.response or "response"
        named["scale"] = _levels(options.scale) or scale
        return episodes_from_ratings(columns, user, prompt, response, options.rating, **named)
    named |= {name: getattr(options, name) for name in (*_VOTES, "outcome", "strength")}
    named |= {"strength_order": _levels(options.strength_order), "words": dict(_words(options.word))}
    return episodes_from_frame(
        columns, user, prompt, options.chosen or "chosen", options.rejected or "rejected", **named
    )


def _asked(options: argparse.Namespace) -> dict[str, Hashable]:
    """Columns that are read, by what is in them; without that of users."""
    sides = ["response"] if options.rating is not None else ["chosen", "rejected"]
    sides = [] if _names(options, _VOTES) else sides
    default = dict.fromkeys(sides if options.no_prompt else ["prompt", *sides])
    given = {role: getattr(options, role) for role in (*default, *_VOTES, "rating", *_NUMBERS)}
    return {role: name or role for role, name in given.items() if name is not None or role in default}


def _names(options: argparse.Namespace, roles: Sequence[str]) -> list[str]:
    return [name for role in roles if (name := getattr(options, role)) is not None]


def _words(listed: list[str] | None) -> Iterator[tuple[str, str]]:
    for said in listed or []:
        word, _, meaning = said.rpartition("=")
        yield word, meaning


def _levels(text: str | None) -> list[Any] | None:
    """Levels in order, as numbers where all of them are."""
    return None if text is None else _as_numbers([level.strip() for level in text.split(",")])


def _as_numbers(words: Sequence[str]) -> list[Any]:
    """Words that are all numbers as numbers, whole ones as int; others as they are."""
    try:
        read = [float(word) for word in words]
    except ValueError:
        return list(words)
    return [int(one) if one.is_integer() else one for one in read]


def choices_problems(options: argparse.Namespace) -> list[str]:
    """Options that do not go together, and a file that is not there."""
    given = {name for name in (*_PAIRS, *_VOTES, *_RATINGS, *_SAID, "prompt") if getattr(options, name) is not None}
    given |= {name for name in ("no_prompt", "shared_groups") if getattr(options, name)}
    kinds = {"pairs": given & set(_PAIRS), "votes": given & set(_VOTES), "ratings": given & set(_RATINGS)}
    problems = missing_problems(options.choices)
    if options.format is not None and (unread := given - {"scale"}):
        problems.append(f"--format reads columns by itself, without {_options(unread)}: leave out one of them")
    elif sum(map(bool, kinds.values())) > 1:
        said = "; ".join(f"{_options(names)} of {kind}" for kind, names in kinds.items() if names)
        problems.append(f"a row is one of a pair, a vote or a rating, got {said}: pass those of one kind")
    if options.format is None and options.question is not None:
        problems.append("--question goes with --format")
    if options.format is None and kinds["ratings"] and options.rating is None:
        problems.append(f"{_options(kinds['ratings'])} goes with --rating, the column of stars, scores or thumbs")
    if wrong := [said for said in options.word or [] if "=" not in said]:
        problems.append(f"--word says what a word means, such as --word draw=tie, got {', '.join(wrong)}")
    if "prompt" in given and "no_prompt" in given:
        problems.append("--prompt names a column, --no-prompt says that there is none: leave one of them out")
    return problems


def in_options(message: str) -> str:
    """What Python's callers are told, for those who pass options: ``user='who'`` as ``--user 'who'``."""
    for asked, option in _REMEDIES.items():
        message = message.replace(asked, option)
    return _ARGUMENT.sub(lambda found: f"--{found[1].replace('_', '-')} {found[2]}", message)


def _options(names: set[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
