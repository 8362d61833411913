"""``skmrm versions``: what is installed."""

from __future__ import annotations

import argparse

from skmrm.cli.parser import CommandParser

__all__ = ["add_arguments", "problems", "run"]


def add_arguments(parser: CommandParser) -> None:
    """Options of the command: none."""
    parser.describe(
        "",
        """
        Print what a report of a bug needs: versions, threads and devices; nothing that names a person or a folder.
        """,
        "skmrm versions",
    )


def problems(options: argparse.Namespace) -> list[str]:
    """Nothing can be wrong."""
    return []


def run(options: argparse.Namespace) -> None:
    """Print."""
    from skmrm._support.versions import show_versions

    show_versions()
