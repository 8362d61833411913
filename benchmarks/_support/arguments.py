"""What several benchmarks read from their command lines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path

__all__ = ["parts_parser", "positive"]

_QUICK = "small sizes and few repeats: shows that it runs"


def parts_parser(prog: str, description: str, parts: Collection[str], quick: str = _QUICK) -> argparse.ArgumentParser:
    """Make a parser of ``--quick``, ``--only`` some of the parts, and ``--output``.

    Parameters
    ----------
    prog : str
        The module that is run.
    description : str
    parts : collection of str
        All are run unless some are named.
    quick : str
        What a quick run leaves out.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    add = parser.add_argument
    add("--quick", action="store_true", help=quick)
    add("--only", type=names_out_of(parts), default=list(parts), help=f"comma-separated, out of {', '.join(parts)}")
    add("--output", type=Path, help="JSON file for all numbers")
    return parser


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def names_out_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Make a reader of comma-separated names that takes no others."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"must be out of {', '.join(known)}, got {', '.join(unknown)}")
        return names

    return read
