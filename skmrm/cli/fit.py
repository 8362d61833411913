"""``skmrm fit``: from a file of many people's choices to a folder with a fitted model."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from skmrm.cli.choices import add_choices, choices_problems, read_choices
from skmrm.cli.files import folder_problems, say
from skmrm.cli.parser import CommandParser, whole

if TYPE_CHECKING:
    from skmrm import MetaRewardModel
    from skmrm.episodes import EpisodeSet

__all__ = ["add_arguments", "add_fitting", "add_quiet", "described", "problems", "run", "unfitted"]


def add_arguments(parser: CommandParser) -> None:
    """Options of the command."""
    parser.describe(
        "CHOICES -o MODEL [options]",
        """
        Learn from a file of many people's choices what they share: a few base reward functions, and how people differ.
        How far anybody may move from the crowd is chosen on people left out, and "not at all" is among the choices.
        """,
        """
        skmrm fit choices.csv --user who -o model/
        skmrm fit votes.jsonl --user judge --response-a left --response-b right --winner vote -o model/
        """,
    )
    add_choices(parser)
    add_fitting(parser)
    result = parser.add_argument_group("result")
    result.add_argument("-o", "--output", metavar="MODEL", required=True, help="the folder to write the model into")
    add_quiet(result)


def add_fitting(parser: CommandParser) -> None:
    """Options of whatever fits."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--encoder",
        metavar="NAME",
        help="a folder or hub id of a sentence encoder, reward model or language model "
        "(default: hashed n-grams, without any download)",
    )
    group.add_argument("--memory", metavar="FOLDER", help="keep encoded texts there, so that they are encoded once")
    group.add_argument("--random-state", metavar="N", type=whole(0), default=0, help="seed of all draws (default: 0)")
    group.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")


def add_quiet(group: Any) -> None:
    """The option to say nothing but results."""
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but results and errors")


def unfitted(options: argparse.Namespace) -> MetaRewardModel:
    """The model that was asked for."""
    from skmrm import MetaRewardModel
    from skmrm._support.device import device_problems
    from skmrm._support.wording import raise_all

    raise_all(device_problems(options.device))
    return MetaRewardModel(
        encoder=options.encoder,
        memory=options.memory,
        random_state=options.random_state,
        device=options.device,
        verbose=int(sys.stderr.isatty() and not options.quiet),
    )


def problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with a call."""
    return choices_problems(options) + folder_problems(options.output)


def run(options: argparse.Namespace) -> None:
    """Fit and save."""
    choices = read_choices(options)
    say(options, f"read {described(choices)}")
    model = unfitted(options)
    began = time.perf_counter()
    model.fit(choices)
    say(options, f"fitted in {time.perf_counter() - began:.0f} s: {what_was_learnt(model)}")
    model.save(options.output)
    say(options, f"wrote {options.output}")


def described(choices: EpisodeSet) -> str:
    """How much there is, in words."""
    from skmrm._support.wording import counted

    ties = f", {choices.n_ties} of them {'a tie' if choices.n_ties == 1 else 'ties'}" if choices.n_ties else ""
    what = "rating" if choices.n_rated == choices.n_pairs else "choice"
    return f"{counted(choices.n_pairs, what)} of {counted(choices.n_users, 'user')}{ties}"


def what_was_learnt(model: MetaRewardModel) -> str:
    """Whether, and in how many ways, people differ under a fitted model, in words."""
    n_ways = int((model.prior_scale_ > 0).sum())
    if n_ways == 0:
        return "people do not differ measurably, and everybody gets the reward of the crowd"
    return f"people differ measurably, in up to {n_ways} way{'s' if n_ways > 1 else ''}"
