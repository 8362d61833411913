"""Options: argparse, made to list all mistakes of a call at once, and to end each page of help with an example."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from textwrap import dedent
from typing import Any, NoReturn

__all__ = ["CommandParser", "UsageError", "number", "overview", "unknown_command", "whole"]


class UsageError(ValueError):
    """A call that cannot be understood, or asks for what cannot be; all that is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        listed = problems[0] if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
        super().__init__((f"{len(problems)} mistakes in this call:" if len(problems) > 1 else "") + listed)


class _Refused(str):
    """Stands in place of a value that cannot be read, and says why, until all mistakes are told together."""

    __slots__ = ()


def whole(at_least: int) -> Callable[[str], Any]:
    """A type for argparse: a whole number."""

    def read(text: str) -> Any:
        good = text.lstrip("-").isdecimal() and int(text) >= at_least
        return int(text) if good else _Refused(f"takes a whole number of {at_least} or more, got {text!r}")

    return read


def number(above: float, below: float) -> Callable[[str], Any]:
    """A type for argparse: a number strictly between two."""

    def read(text: str) -> Any:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        fits = above < value < below
        return value if fits else _Refused(f"takes a number between {above:g} and {below:g}, got {text!r}")

    return read


class CommandParser(argparse.ArgumentParser):
    """The options of one command.

    Parameters
    ----------
    command : str
        As it is typed: "skmrm fit".
    summary : str
        What it does, in a line.
    """

    def __init__(self, command: str, summary: str) -> None:
        super().__init__(
            prog=command,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)

    def describe(self, usage: str, description: str, example: str) -> None:
        """Say how the command is called, what it does in full, and show an example at the end of its help."""
        self.usage = f"{self.prog} {usage}"
        self.description = dedent(description).strip()
        self.epilog = "example:\n" + "\n".join(f"  {line}" for line in dedent(example).strip().splitlines())

    def read(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Read a call: what was asked for, and options and values of it that cannot be right."""
        options, strange = self.parse_known_intermixed_args(list(arguments))
        known = [name for action in self._actions for name in action.option_strings]
        problems = [
            f"there is no option {word}{_meant(word.partition('=')[0], known)}"
            if word.startswith("-")
            else f"one argument too many: {word!r} (put quotes around a name with blanks in it)"
            for word in strange
        ]
        for action in self._actions:
            values = getattr(options, action.dest, None)
            refused = [one for one in (values if isinstance(values, list) else [values]) if isinstance(one, _Refused)]
            problems += [f"{action.option_strings[-1]} {one}" for one in refused]
        return options, problems

    def error(self, message: str) -> NoReturn:
        """Raise, in place of printing a usage and leaving."""
        raise UsageError([message])


def _meant(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unknown_command(name: str, commands: Sequence[str]) -> str:
    """What to say of a command that is not there."""
    return f"there is no command {name!r}{_meant(name, commands)} (known are {', '.join(commands)}; skmrm --help)"


def overview(commands: Mapping[str, str]) -> str:
    """The first page of help."""
    width = max(map(len, commands))
    listed = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in commands.items())
    return f"""\
usage: skmrm COMMAND ...

Personalised reward models, from files of choices between responses.

commands:
{listed}

skmrm COMMAND --help says what a command takes; skmrm --version says which version this is.

example:
  skmrm report choices.csv --user who      does it pay?
  skmrm fit choices.csv --user who -o model/
  skmrm adapt model/ ann.csv -o ann/
  skmrm score ann/ answers.csv -o scores.csv"""
