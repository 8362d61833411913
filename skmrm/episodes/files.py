"""Files and folders as columns: CSV, JSON, JSON lines, Parquet, Arrow; what is wrong with one is one clear error."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from skmrm._support.wording import counted, described, name_some
from skmrm.episodes.tables import cells_of, open_table
from skmrm.exceptions import EpisodeError

__all__ = ["Columns", "Opened", "as_table", "open_source"]

Columns = dict[Any, list[Any]]

_SETTINGS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "argilla.json")
_LONGEST_CELL = 2**31 - 1  # characters; csv's own limit is too short for a conversation
_ALIKE = 0.5  # share of columns that two files of one folder have in common, at least


class Opened(NamedTuple):
    """What was brought, as columns of one length.

    Attributes
    ----------
    name : str
        What to call it in messages: the file, or "the table".
    columns : dict of str to list
    """

    name: str
    columns: Columns

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return len(next(iter(self.columns.values()), []))


def open_source(source: Any) -> Opened:
    """Read a file, all files of a folder, or a table that somebody has in memory.

    Parameters
    ----------
    source : path, or any table that :func:`skmrm.episodes_from_frame` takes

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    EpisodeError
        If a file cannot be read, or files of a folder do not belong together.
    TypeError
        If it is no table that can be read.
    ImportError
        If it takes pyarrow, which is not installed.
    """
    if not isinstance(source, str | os.PathLike):
        return Opened("the table", _of_table(source))
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r} to read a table from")
    if not path.is_dir():
        return Opened(path.name, _of_file(path))
    files = _files_of(path)
    parts = {file.relative_to(path).as_posix(): _of_file(file) for file in files}
    return Opened(f"{path.name}/ ({counted(len(parts), 'file')})", _joined(path.name, parts))


def as_table(data: Any, numbers: Iterable[Hashable | None] = ()) -> Any:
    """A table as it is; of the path of a file or folder its columns.

    Cells of CSV are texts: those of `numbers` become numbers, or booleans, where all of a column spell some.
    """
    if not isinstance(data, str | os.PathLike):
        return data
    columns = open_source(data).columns
    return columns | {name: _spelt(columns[name]) for name in numbers if name in columns}


def _spelt(cells: list[Any]) -> list[Any]:
    """Numbers or booleans that all texts of a column spell, empty cells aside; else the texts."""
    if not all(isinstance(cell, str) for cell in cells if cell is not None):
        return cells
    words = {"true": True, "false": False}
    for read in (lambda cell: words[cell.strip().lower()], int, float):
        with suppress(KeyError, ValueError):
            return [None if cell is None else read(cell) for cell in cells]
    return cells


def _of_table(data: Any) -> Columns:
    if type(data).__name__ == "IterableDataset":  # which open_table would read twice
        data = list(data)
    names: list[Hashable] = list(open_table(data, []).names)
    table = open_table(data, names)
    return {name: cells_of(table, name) for name in names}


def _files_of(folder: Path) -> list[Path]:
    """Files of a folder that hold rows: of Parquet and Arrow where there are any, as others then describe these."""
    below = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    files = [path for path in shown if _ending(path) in _READERS and path.name not in _SETTINGS]
    binary = [path for path in files if _ending(path) in (".parquet", ".arrow")]
    if not files:
        came = name_some(path.name for path in shown) or "nothing"
        raise EpisodeError(f"{folder.name} must hold files that end in {_listed_endings()}, found {came}")
    return binary or files


def _joined(folder: str, parts: Mapping[str, Columns]) -> Columns:
    """Rows of several files, one below the other."""
    first, *others = parts
    for other in others:
        ours, theirs = set(parts[first]), set(parts[other])
        if len(ours & theirs) < _ALIKE * len(ours | theirs):
            raise EpisodeError(
                f"files of one folder must have the same columns: in {folder}, {first} has "
                f"{name_some(parts[first], 6)}, and {other} has {name_some(parts[other], 6)}: pass one of them"
            )
    names = dict.fromkeys(name for columns in parts.values() for name in columns)
    lengths = {part: len(next(iter(columns.values()), [])) for part, columns in parts.items()}
    return {
        name: [cell for part, columns in parts.items() for cell in columns.get(name, [None] * lengths[part])]
        for name in names
    }


def _ending(path: Path) -> str:
    """The ending that tells what a file is, without that of a packed one."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _of_file(path: Path) -> Columns:
    kind = _ending(path)
    if kind not in _READERS:
        raise EpisodeError(
            f"{path.name}: a file that ends in {_listed_endings()} is needed, got {kind or 'no ending'!r}"
        )
    what, read = _READERS[kind]
    try:
        return read(path)
    except EpisodeError:
        raise
    except ImportError as error:
        raise ImportError(
            f"{path.name} is read with pyarrow, which is not installed: pip install 'skmrm[text]'"
        ) from error
    except Exception as error:  # those of json, csv, gzip and pyarrow have no common class
        raise EpisodeError(
            f"{path.name} cannot be read as {what} ({type(error).__name__}: {error!s:.200}): it was cut short or "
            "altered, or is something else by that name; make or fetch it again"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    if path.name.lower().endswith(".gz"):
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as packed:
            yield packed
    else:
        with path.open(encoding="utf-8-sig", newline="") as plain:
            yield plain


def _read_csv(path: Path, separator: str = ",") -> Columns:
    """All cells as texts, so that no id becomes a number; empty ones are missing."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with _opened(path) as file:
            head = file.readline()
            file.seek(0)
            if separator == "," and "," not in head and ";" in head:  # as spreadsheets write it in half of Europe
                separator = ";"
            rows = csv.reader(file, delimiter=separator, strict=True)
            names = next(rows, [])
            columns: list[list[Any]] = [[] for _ in names]
            for cells in filter(None, rows):
                if len(cells) > len(names):
                    raise EpisodeError(
                        f"{path.name}: line {rows.line_num} must have {counted(len(names), 'cell')}, as many as there "
                        f"are names of columns, got {len(cells)}: quote texts that contain {separator!r}"
                    )
                for place, column in enumerate(columns):
                    column.append((cells[place] or None) if place < len(cells) else None)
    finally:
        csv.field_size_limit(limit)
    if repeated := [name for name in names if names.count(name) > 1]:
        raise EpisodeError(f"{path.name}: each column needs a name of its own, not so for {name_some(set(repeated))}")
    return dict(zip(names, columns, strict=True))


def _read_json(path: Path) -> Columns:
    with _opened(path) as file:
        text = file.read()
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        if "\n{" not in text.strip():
            raise
        return _of_rows(_lines(path.name, text.splitlines()))  # one object a line, as many a .json is
    return _of_document(path.name, found)


def _read_lines(path: Path) -> Columns:
    with _opened(path) as file:
        return _of_rows(_lines(path.name, file))


def _lines(name: str, lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EpisodeError(
                f"{name}: line {number} is not JSON ({error!s:.100}): the file was cut short or altered, or does not "
                "have one object a line"
            ) from error
        if not isinstance(row, dict):
            raise EpisodeError(f"{name}: line {number} must be a JSON object, got {described(row)}")
        yield row


def _of_document(name: str, found: Any) -> Columns:
    """A JSON document: a list of objects, by itself or under a key, or an object of columns or of rows."""
    if isinstance(found, dict) and found:
        lists = [value for value in found.values() if isinstance(value, list)]
        if len(lists) == len(found) and len(set(map(len, lists))) == 1:
            return dict(found)
        holding = [value for value in lists if value and all(isinstance(row, dict) for row in value)]
        if len(holding) == 1:
            return _of_document(name, holding[0])
        inner = [value for value in found.values() if isinstance(value, dict)]
        if len(inner) == len(found):  # columns of pandas, whose cells are numbered, or rows under their ids
            places = list(inner[0])
            if places and all(place.isdigit() for place in places) and all(list(cells) == places for cells in inner):
                return {key: list(cells.values()) for key, cells in found.items()}
            return _of_rows(inner)
    if isinstance(found, list) and all(isinstance(row, dict) for row in found):
        return _of_rows(found)
    if isinstance(found, list):
        place, stranger = next((place, row) for place, row in enumerate(found) if not isinstance(row, dict))
        raise EpisodeError(f"{name} must hold a list of JSON objects, got {described(stranger)} at place {place} of it")
    raise EpisodeError(f"{name} must hold a list of JSON objects, got {described(found)}")


def _of_rows(rows: Iterable[Mapping[str, Any]]) -> Columns:
    listed: Sequence[Mapping[str, Any]] = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)
    return {name: [row.get(name) for row in listed] for name in names}


def _read_parquet(path: Path) -> Columns:
    import pyarrow.parquet as pq

    return _of_table(pq.ParquetFile(path).read())  # not read_table, to which a folder's name may say more columns


def _read_arrow(path: Path) -> Columns:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:  # a stream, as datasets writes it, or a file with an index
        try:
            return _of_table(pa.ipc.open_stream(file).read_all())
        except pa.ArrowInvalid:
            file.seek(0)
            return _of_table(pa.ipc.open_file(file).read_all())


_READERS: dict[str, tuple[str, Callable[[Path], Columns]]] = {
    ".csv": ("CSV", _read_csv),
    ".tsv": ("CSV with tabs", lambda path: _read_csv(path, "\t")),
    ".json": ("JSON", _read_json),
    ".jsonl": ("JSON lines", _read_lines),
    ".ndjson": ("JSON lines", _read_lines),
    ".parquet": ("Parquet", _read_parquet),
    ".arrow": ("Arrow", _read_arrow),
}


def _listed_endings() -> str:
    return ", ".join(_READERS) + " (or .gz behind these)"
