"""The frame of benchmarks that are a table a part: the machine, tables, one JSON file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks._support.columns import as_columns
from benchmarks._support.files import write_json
from benchmarks._support.machine import print_machine

__all__ = ["Found", "run_parts"]


@dataclass(frozen=True)
class Found:
    """A table: rows of numbers by column, and how to write them."""

    title: str
    columns: dict[str, str]
    rows: list[dict[str, Any]]

    @property
    def header(self) -> list[str]:
        """Column names."""
        return list(self.columns)

    def cells(self) -> list[list[str]]:
        """Numbers as text."""
        return [[format(row[name], form) for name, form in self.columns.items()] for row in self.rows]


def run_parts(
    options: argparse.Namespace, parts: Mapping[str, Callable[[], Found]], note: str, facts: Mapping[str, Any]
) -> int:
    """Run the parts asked for, print a table of each under the machine's name, and write all numbers."""
    here = print_machine()
    print(note)
    results: dict[str, Any] = {"machine": here, **facts, "parts": {}}
    for name in options.only:
        found = parts[name]()
        table = [as_columns(found.header, found.cells())] if found.rows else []
        print("", found.title, *table, sep="\n", flush=True)
        results["parts"][name] = {"title": found.title, "rows": found.rows}
    if options.output is not None:
        write_json(options.output, results)
    return 0
