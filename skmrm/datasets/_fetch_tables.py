"""Reading the files of public data sets, and saying so when they are not what they were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from skmrm._support.wording import name_some
from skmrm.datasets._fetch import Files

__all__ = ["read_columns", "read_lines"]

_CSV_BLOCK = 1 << 26  # bytes; a row of a CSV file, with all its texts, must fit into one block


def read_lines(files: Files, part: str, required: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read JSON objects, one a line.

    Parameters
    ----------
    files : Files
        What was found.
    part : str
        Which part of it to read.
    required : sequence of str
        Keys that every object must have.

    Yields
    ------
    dict
        One object; blank lines are skipped.

    Raises
    ------
    ValueError
        If a line is not a JSON object, or lacks a key.
    """
    for path in files.paths[part]:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read_object(files, path, number, line, required)


def read_columns(files: Files, part: str, required: Sequence[str], *, others: bool = False) -> dict[str, list[Any]]:
    """Read some columns, or all, of Parquet or CSV files, one after the other.

    Parameters
    ----------
    files : Files
        What was found.
    part : str
        Which part of it to read.
    required : sequence of str
        The columns that there must be.
    others : bool
        Whether to read all that a single CSV file has beside those, too.

    Returns
    -------
    dict of str to list
        Values of each column, over the rows of all files; None where missing. In CSV files, empty cells are missing
        and everything else is text.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    ValueError
        If a column is missing.
    """
    _require_pyarrow(files)
    columns: dict[str, list[Any]] = {name: [] for name in required}
    for path in files.paths[part]:
        is_csv = path.suffix == ".csv"
        table = _read_csv(files, path, required, others) if is_csv else _read_parquet(files, path, required)
        for name in table.column_names:
            columns.setdefault(name, []).extend(table.column(name).to_pylist())
    return columns


def _read_object(files: Files, path: Path, number: int, line: str, required: Sequence[str]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{files.source.loader}: line {number} of {path} is not JSON ({error}): the download was cut short, or it "
            "is a web page in place of the file; delete it and fetch it again"
        ) from error
    if not isinstance(row, dict):
        raise ValueError(f"{files.source.loader}: line {number} of {path} must be a JSON object, got {line.strip()!r}")
    if not row.keys() >= set(required):
        raise ValueError(_changed(files, f"line {number} of {path.name}", required, row))
    return row


def _read_parquet(files: Files, path: Path, required: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    if set(required) - set(names):
        raise ValueError(_changed(files, path.name, required, names))
    return pq.read_table(path, columns=list(required))


def _read_csv(files: Files, path: Path, required: Sequence[str], others: bool) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    read = csv.ReadOptions(block_size=_CSV_BLOCK)
    parse = csv.ParseOptions(newlines_in_values=True)
    names = csv.open_csv(path, read_options=read, parse_options=parse).schema.names
    if set(required) - set(names):
        raise ValueError(_changed(files, path.name, required, names))
    wanted = names if others else list(required)
    convert = csv.ConvertOptions(
        include_columns=wanted,
        column_types=dict.fromkeys(wanted, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    return csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)


def _changed(files: Files, where: str, required: Sequence[str], came: Iterable[str]) -> str:
    names = list(came)
    missing = [name for name in required if name not in names]
    return (
        f"{files.source.loader}: {where} must have {len(required)} columns; {name_some(missing, limit=10)} missing, "
        f"it has {name_some(names, limit=20)}: the schema of {files.origin} is not the one that this loader was "
        "written for; pass another revision"
    )


def _require_pyarrow(files: Files) -> None:
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{files.source.loader} reads files with pyarrow, which is not installed: pip install 'skmrm[text]'"
        ) from error
