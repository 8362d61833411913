"""What several benchmarks read from their command lines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection

__all__ = ["names_out_of", "positive"]


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
