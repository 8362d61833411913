"""``skmrm serve``: the service of :mod:`skmrm.service`."""

from __future__ import annotations

import argparse

from skmrm.cli.files import missing_problems
from skmrm.cli.parser import CommandParser
from skmrm.service.command import add_arguments as add_service_arguments
from skmrm.service.command import run

__all__ = ["add_arguments", "problems", "run"]


def add_arguments(parser: CommandParser) -> None:
    """Options of the service."""
    parser.describe(
        "BUNDLE --database FILE [options]",
        """
        Answer over HTTP from a bundle that skmrm export wrote of a model: adapt, update, score, rank, explain, forget.
        What users say is kept in a database. With --label, people compare responses on a page in their browser.
        """,
        """
        skmrm serve bundle/ --database users.sqlite
        skmrm serve bundle/ --database users.sqlite --label --pool pool.jsonl
        """,
    )
    add_service_arguments(parser, "bundle")


def problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with a call."""
    return missing_problems(options.bundle, options.pool)
