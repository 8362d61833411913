"""``skmrm score``: rewards of responses, as a person, many people or the crowd would give them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.cli.choices import FILES
from skmrm.cli.files import (
    kind_of,
    missing_problems,
    open_model,
    output_problems,
    say,
    write_text,
    written_table,
)
from skmrm.cli.fit import add_quiet
from skmrm.cli.parser import CommandParser, UsageError

__all__ = ["add_arguments", "problems", "run"]

_ENDINGS = (".csv", ".tsv", ".jsonl")
_ADDED = ("reward", "rank")


def add_arguments(parser: CommandParser) -> None:
    """Options of the command."""
    parser.describe(
        "MODEL RESPONSES [-o SCORES] [options]",
        """
        Reward responses, and rank those to one prompt: columns reward (in logits, where 1 is odds of 2.7 to 1 between
        two responses) and rank (1 for the best) are added to the rows of RESPONSES.
        """,
        """
        skmrm score ann/ answers.csv -o scores.csv
        skmrm score model/ answers.csv --users team.sqlite --as-user ann -o scores.csv
        skmrm score model/ answers.csv --users team.sqlite --user who > scores.csv
        """,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a person's folder; or a model's, for the crowd's taste or --users; or a bundle"
    )
    parser.add_argument("responses", metavar="RESPONSES", help=f"a file with a row for each response ({FILES})")
    columns = parser.add_argument_group("columns of RESPONSES")
    columns.add_argument("--prompt", metavar="COLUMN", help="what was asked (default: prompt)")
    columns.add_argument("--no-prompt", action="store_true", help="there is no column of prompts")
    columns.add_argument("--response", metavar="COLUMN", default="response", help="the response (default: response)")
    columns.add_argument("--user", metavar="COLUMN", help="with --users: whose taste it is for (default: user_id)")
    users = parser.add_argument_group("whose taste")
    users.add_argument("--users", metavar="FILE", help="people adapted by MODEL, as skmrm adapt wrote them")
    users.add_argument("--as-user", metavar="ID", help="with --users: one person, for all rows")
    result = parser.add_argument_group("result")
    result.add_argument("-o", "--output", metavar="SCORES", help="a .csv, .tsv or .jsonl file (default: print CSV)")
    add_quiet(result)


def problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with a call."""
    inputs = options.model, options.responses, options.users
    problems = missing_problems(*inputs) + output_problems(options.output, _ENDINGS, *inputs)
    if options.users is None and options.as_user is not None:
        problems.append("--as-user goes with --users, the file that the person is in")
    if options.users is None and options.user is not None:
        problems.append("--user goes with --users, the file that people are in")
    if options.user is not None and options.as_user is not None:
        problems.append("--user names a column, --as-user one person for all rows: leave one of them out")
    if options.prompt is not None and options.no_prompt:
        problems.append("--prompt names a column, --no-prompt says that there is none: leave one of them out")
    return problems


def run(options: argparse.Namespace) -> None:
    """Score and write."""
    from skmrm.episodes.files import open_source

    columns = dict(open_source(options.responses).columns)
    prompts, responses = _asked(columns, options)
    rewards = _rewards(options, columns, _items(prompts, responses))
    users = columns.get(options.user or "user_id", []) if _one_a_row(options) else []
    ranks = _ranks(rewards, list(zip(prompts, users, strict=True)) if users else prompts)
    columns |= {"reward": [float(str(reward)) for reward in rewards], "rank": ranks}
    write_text(options.output, written_table(columns, Path(options.output or "-.csv").suffix.lower()))
    if options.output not in (None, "-"):
        say(options, f"wrote {options.output}: {len(rewards):,} responses to {len(set(map(repr, prompts))):,} prompts")


def _one_a_row(options: argparse.Namespace) -> bool:
    return options.users is not None and options.as_user is None


def _asked(columns: dict[Any, list[Any]], options: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Prompts and responses."""
    wanted = {"--response": options.response}
    wanted |= {} if options.no_prompt else {"--prompt": options.prompt or "prompt"}
    wanted |= {"--user": options.user or "user_id"} if _one_a_row(options) else {}
    listed = ", ".join(map(repr, columns)) or "(none)"
    problems = [
        f"{option} {name!r} is not a column of {options.responses}, whose columns are {listed}"
        + (" (--no-prompt where there is none)" if option == "--prompt" and options.prompt is None else "")
        for option, name in wanted.items()
        if name not in columns
    ]
    problems += [f"{options.responses} has a column {name!r}: rename it" for name in _ADDED if name in columns]
    for name in wanted.values():
        empty = [row for row, cell in enumerate(columns.get(name, [])) if cell is None]
        if empty:
            problems.append(
                f"column {name!r} must be filled in each row; {len(empty)} are empty, the first is row {empty[0]}, "
                "counted from 0"
            )
    if problems:
        raise UsageError(problems)
    responses = columns[options.response]
    return [""] * len(responses) if options.no_prompt else columns[wanted["--prompt"]], responses


def _items(prompts: list[Any], responses: list[Any]) -> Any:
    """What scorers take: vectors where responses are such, else pairs of prompt and response."""
    first = responses[0] if responses else None
    if isinstance(first, list | tuple | np.ndarray) and all(isinstance(one, int | float) for one in first):
        return np.array(responses, float)
    return list(zip(prompts, responses, strict=True))


def _rewards(options: argparse.Namespace, columns: dict[Any, list[Any]], items: Any) -> NDArray[Any]:
    kind = kind_of(options.model)
    if options.users is not None and kind != "model":
        raise UsageError([f"--users are people of a model, and {options.model!r} is a {kind}: pass their model"])
    if kind == "bundle":
        from skmrm.serving import OnnxScorer

        scorer = OnnxScorer(options.model)
        if scorer.weights is not None and len(scorer.weights) > 1:
            raise UsageError([f"{options.model!r} is a bundle of many users: pass their model, and --users"])
        return scorer.predict(items)
    if kind == "user":
        from skmrm import UserRewardModel

        return UserRewardModel.load(options.model).predict(items)
    model = open_model(options.model)
    return model.predict(items) if options.users is None else _of_users(model, options, columns, items)


def _of_users(model: Any, options: argparse.Namespace, columns: dict[Any, list[Any]], items: Any) -> NDArray[Any]:
    """Each row as its own user would reward it."""
    from skmrm import UserModels

    users = UserModels.load(options.users, model)
    if options.as_user is not None:
        return users[_known(options.as_user, users)].predict(items)
    rewards = np.empty(len(items), model.predict(items[:1]).dtype)
    places: dict[Any, list[int]] = {}
    for place, user in enumerate(columns[options.user or "user_id"]):
        places.setdefault(_known(user, users), []).append(place)
    for user, rows in users[list(places)].items():
        rewards[places[user]] = rows.predict([items[place] for place in places[user]])
    return rewards


def _known(user: Any, users: Any) -> Any:
    """An id as it was adapted: a number, where a text that spells it is all that a CSV or a command line can say."""
    if user in users or not isinstance(user, str) or not user.isdecimal() or str(int(user)) != user:
        return user
    return int(user) if int(user) in users else user


def _ranks(rewards: NDArray[Any], prompts: Sequence[Any]) -> list[int]:
    """1 for the best among the responses to one prompt; equal rewards share a rank."""
    groups: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(repr(prompt), []).append(place)
    ranks = [0] * len(rewards)
    for places in groups.values():
        ordered = sorted(-rewards[place] for place in places)
        first = {reward: rank for rank, reward in reversed(list(enumerate(ordered, 1)))}
        for place in places:
            ranks[place] = first[-rewards[place]]
    return ranks
