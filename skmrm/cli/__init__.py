"""The command line: ``skmrm fit``, ``adapt``, ``score``, ``report``, ``export``, ``serve`` and ``versions``.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from skmrm.cli.choices import in_options
from skmrm.cli.parser import CommandParser, UsageError, overview, unknown_command

__all__ = ["main"]

# Where each command is, and what it does. A module has ``add_arguments(parser)``, ``problems(options)`` (what can be
# told to be wrong before any work) and ``run(options)``.
COMMANDS = {
    "fit": ("skmrm.cli.fit", "learn from a file of many people's choices what they share"),
    "adapt": ("skmrm.cli.adapt", "turn a handful of a person's choices into that person's reward model"),
    "score": ("skmrm.cli.score", "reward responses as a person would, and rank them"),
    "report": ("skmrm.cli.report", "say whether personalising pays on a file of choices"),
    "export": ("skmrm.cli.export", "write what is served without torch"),
    "serve": ("skmrm.cli.serve", "answer over HTTP, from what export wrote"),
    "versions": ("skmrm.cli.versions", "print what is installed, for a report of a bug"),
}
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of the command line, without the program's name; None takes those that Python was started with.

    Returns
    -------
    int
        What the process should exit with: 0 if all went well, 2 if what came cannot be used, 1 if the work failed, 130
        if it was interrupted. Errors are printed to standard error, all mistakes of a call at once.

    Examples
    --------
    >>> from skmrm.cli import main
    >>> main(["fit", "--help"])
    usage: skmrm fit CHOICES -o MODEL [options]
    ...
    0
    """
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    with _plain_warnings():
        if name in ("-h", "--help"):
            print(overview({command: summary for command, (_, summary) in COMMANDS.items()}))
            return 0
        if name == "--version":
            from skmrm import __version__

            print(f"skmrm {__version__}")
            return 0
        if name not in COMMANDS:
            return _tell("skmrm", unknown_command(name, list(COMMANDS)), BAD_INPUT)
        return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    """What a command ends with, all that can go wrong told in words."""
    module, summary = COMMANDS[name]
    command = f"skmrm {name}"
    show = "--traceback" in arguments
    try:
        found: Any = import_module(module)
        parser = CommandParser(command, summary)
        found.add_arguments(parser)
        options, mistakes = parser.read(arguments)
        if mistakes := [*mistakes, *found.problems(options)]:
            raise UsageError(mistakes)
        found.run(options)
        sys.stdout.flush()
    except SystemExit as end:  # of --help, of what argparse refuses, of a server that cannot start
        return end.code if end.code in (0, BAD_INPUT) else FAILED
    except KeyboardInterrupt:
        return _tell(command, "interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except UsageError as error:
        return _tell(command, f"{error}\n(skmrm {name} --help says what it takes)", BAD_INPUT)
    except Exception as error:
        if show:
            raise
        return _explain(command, error)
    return 0


def _explain(command: str, error: Exception) -> int:
    """Errors of ours say what is wrong with the input; what came from deeper down is named as what it is."""
    if isinstance(error, KeyError) and error.args:  # whose text would be in quotes
        return _tell(command, str(error.args[0]), BAD_INPUT)
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError) and error.strerror:
        return _tell(command, f"{error.filename}: {error.strerror}", BAD_INPUT)
    if isinstance(error, ValueError | TypeError | FileNotFoundError):
        return _tell(command, in_options(str(error)), BAD_INPUT)
    if isinstance(error, ImportError):
        return _tell(command, str(error), FAILED)
    if isinstance(error, MemoryError):
        return _tell(command, f"there is not enough memory for this ({error})", FAILED)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return _tell(command, f"{place}{error.strerror or error}", FAILED)
    what = f"{type(error).__name__}: {error}"
    return _tell(command, f"this went wrong: {what}\n(--traceback shows where, for a report of a bug)", FAILED)


def _tell(command: str, message: str, code: int) -> int:
    print(f"{command}: {message}", file=sys.stderr)
    return code


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as a line of text, without the place in the code that they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        yield
