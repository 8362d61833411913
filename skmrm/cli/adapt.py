"""``skmrm adapt``: from a person's choices, or many people's, to their reward models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skmrm.cli.choices import ONE_PERSON, add_choices, choices_problems, read_choices
from skmrm.cli.files import (
    USERS_ENDINGS,
    folder_problems,
    is_users_file,
    missing_problems,
    open_model,
    output_problems,
    say,
)
from skmrm.cli.fit import add_quiet, described
from skmrm.cli.parser import CommandParser

if TYPE_CHECKING:
    from skmrm.episodes import EpisodeSet

__all__ = ["add_arguments", "problems", "run"]


def add_arguments(parser: CommandParser) -> None:
    """Options of the command."""
    parser.describe(
        "MODEL CHOICES -o OUTPUT [options]",
        """
        Turn a handful of a person's choices into that person's reward model. An OUTPUT that ends in .sqlite is a file
        of all people in CHOICES; any other is a folder for one person, and CHOICES then need no column of users.
        """,
        """
        skmrm adapt model/ ann.csv -o ann/
        skmrm adapt model/ team.csv --user who -o team.sqlite
        skmrm adapt model/ monday.csv --user who -o team.sqlite --update
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="the folder that skmrm fit wrote")
    add_choices(parser)
    result = parser.add_argument_group("result")
    result.add_argument("-o", "--output", metavar="OUTPUT", required=True, help="a folder, or a .sqlite file")
    result.add_argument("--update", action="store_true", help="add to what OUTPUT has, in place of writing it anew")
    add_quiet(result)


def problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with a call."""
    target, several = options.output, is_users_file(options.output)
    place = output_problems(target, USERS_ENDINGS, options.choices) if several else folder_problems(target)
    update = missing_problems(target) if options.update else []
    return missing_problems(options.model) + choices_problems(options) + place + update


def run(options: argparse.Namespace) -> None:
    """Adapt and save."""
    several = is_users_file(options.output)
    model = open_model(options.model)
    choices = read_choices(options, one_user=not several, scale=model.rating_scale_)
    whose = " (all taken for one person's)" if choices.users[0] == ONE_PERSON else ""
    say(options, f"read {described(choices)}{whose}")
    (_adapt_many if several else _adapt_one)(model, choices, options)
    say(options, f"{'updated' if options.update else 'wrote'} {options.output}")


def _adapt_many(model: Any, choices: EpisodeSet, options: argparse.Namespace) -> None:
    from skmrm import UserModels

    if options.update:
        UserModels.load(options.output, model).update(choices)
        return
    users = model.adapt_many(choices)
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    users.save(options.output)


def _adapt_one(model: Any, choices: EpisodeSet, options: argparse.Namespace) -> None:
    from skmrm import UserRewardModel

    if choices.n_users > 1:
        raise ValueError(
            f"{options.choices} has choices of {choices.n_users} users, and a folder holds one: "
            f"pass -o {Path(options.output).name or 'users'}.sqlite for a file of all of them"
        )
    user = UserRewardModel.load(options.output).update(choices) if options.update else model.adapt(choices)
    user.save(options.output)
