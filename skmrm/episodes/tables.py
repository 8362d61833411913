"""Tables of every kind behind one small interface: names, number of rows, chunks of a column."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skmrm._support.progress import Watch
from skmrm._support.wording import described, name_some
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.features import numbered_columns
from skmrm.exceptions import EpisodeError

__all__ = ["RenamedTable", "Table", "cells_of", "open_table"]

_STAGE = "reading"
ROWS_PER_CHUNK = 1 << 14  # bounds the number of Python objects alive at once


class Table(Protocol):
    """What reading needs of a table."""

    names: list[Any]
    n_rows: int

    def chunks(self, name: Hashable) -> Iterator[Sequence[Any] | NDArray[Any]]:
        """Cells of a column, `ROWS_PER_CHUNK` rows at a time; a 2-D array where cells are vectors of numbers."""
        ...


def open_table(data: Any, wanted: Sequence[Hashable]) -> Table:
    """Tell what kind of table it is.

    Parameters
    ----------
    data : any of the kinds that `episodes_from_frame` takes
        The table.
    wanted : sequence of hashables
        Columns that will be read, those that may not be there included.

    Returns
    -------
    Table
        Ready to be read.

    Raises
    ------
    TypeError
        If it is none of these kinds, with what to do about the kind it is.
    EpisodeError
        If wanted columns of a dict differ in length, or are no columns.
    """
    if isinstance(data, EpisodeSet | Episode):
        raise TypeError(f"a table is needed, got {described(data)}, which needs no reading: pass it on as it is")
    if _is_of(data, "DatasetDict", "IterableDatasetDict"):
        splits = name_some(data)
        raise TypeError(
            f"a table is needed, got a {type(data).__name__} with splits {splits}: pass one, as data['train']"
        )
    if _is_of(data, "IterableDataset"):
        return _RowList(_streamed(data, wanted))
    if _is_of(data, "Dataset"):
        present = [name for name in data.column_names if name in set(wanted)]
        arrow = data.select_columns(present).with_format("arrow")[:]
        return _Frame(arrow, wanted, list(data.column_names), len(data))
    if isinstance(data, Mapping):
        return _ColumnDict(data, wanted)
    if isinstance(data, list | tuple):
        return _RowList(data)
    return _Frame(data, wanted)


def cells_of(table: Table, name: Hashable) -> list[Any]:
    """All cells of a column at once, for one of short cells; long texts are better read in chunks."""
    return [cell for chunk in table.chunks(name) for cell in chunk]


class _Frame:
    """A data frame of any library that narwhals knows."""

    def __init__(
        self, data: Any, wanted: Sequence[Hashable], names: list[Any] | None = None, n_rows: int | None = None
    ) -> None:
        import narwhals as nw

        data, own_names = numbered_columns(data)
        if type(data).__name__ == "RecordBatchReader":
            data = data.read_all()
        try:
            self._frame: Any = nw.from_native(data)
        except TypeError as error:
            raise TypeError(
                f"a table is needed, got {described(data)}: pass a pandas, polars or pyarrow table, a "
                "datasets.Dataset, a list of dicts or a dict of columns"
            ) from error
        if isinstance(self._frame, nw.LazyFrame):  # only what is read is computed
            names = self._frame.collect_schema().names()
            self._frame = self._frame.select([name for name in names if name in set(wanted)]).collect()
        own_names = list(self._frame.columns) if own_names is None else own_names
        self._column = dict(zip(own_names, self._frame.columns, strict=True))
        if repeated := [name for name, times in Counter(own_names).items() if times > 1 and name in wanted]:
            raise EpisodeError(f"a column to be read needs a name of its own, not so for {name_some(repeated)}: rename")
        self.names = own_names if names is None else names
        self.n_rows = len(self._frame) if n_rows is None else n_rows

    def chunks(self, name: Hashable) -> Iterator[Sequence[Any] | NDArray[Any]]:
        series = self._frame[self._column[name]]
        matrix = self._matrix(series)
        if matrix is not None:
            yield from _sliced(matrix)
            return
        for start in range(0, self.n_rows, ROWS_PER_CHUNK):
            yield series[start : start + ROWS_PER_CHUNK].to_list()

    def _matrix(self, series: Any) -> NDArray[Any] | None:
        """Vectors of numbers as a matrix, without a Python object for each number; None if cells are anything else."""
        import narwhals as nw

        dtype = series.dtype
        if not isinstance(dtype, nw.List | nw.Array) or series.null_count():
            return None
        inner = dtype.inner() if isinstance(dtype.inner, type) else dtype.inner
        if not inner.is_numeric() or self.n_rows == 0:
            return None
        if isinstance(dtype, nw.List):
            lengths = series.list.len()
            if lengths.n_unique() != 1 or lengths[0] == 0:
                return None
        if self._frame.implementation.is_polars():
            flat = series.to_native().explode().to_numpy()
        else:
            flat = series.to_arrow().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat).reshape(self.n_rows, -1)


class _ColumnDict:
    """A dict of columns, of which only those wanted are looked at."""

    def __init__(self, data: Mapping[Any, Any], wanted: Sequence[Hashable]) -> None:
        self._columns = {name: _as_column(data[name]) for name in dict.fromkeys(wanted) if name in data}
        strangers = [name for name, column in self._columns.items() if column is None]
        lengths = {name: len(column) for name, column in self._columns.items() if column is not None}
        problems = []
        if strangers:
            kinds = {type(data[name]).__name__ for name in strangers}
            problems.append(
                f"a dict must hold a column (a list or an array) under each key; not so for {name_some(strangers)} "
                f"({', '.join(sorted(kinds))}): wrap the dict in a list if it is a single row"
            )
        if len(set(lengths.values())) > 1:
            problems.append(f"columns must have the same length, got {lengths}")
        if problems:
            raise EpisodeError(problems)
        self.names = list(data)
        self.n_rows = next(iter(lengths.values()), 0)

    def chunks(self, name: Hashable) -> Iterator[Sequence[Any] | NDArray[Any]]:
        return _sliced(self._columns[name])


class _RowList:
    """A list of dicts."""

    def __init__(self, data: Sequence[Any]) -> None:
        strangers = [place for place, row in enumerate(data) if not isinstance(row, Mapping)]
        if strangers:
            first = data[strangers[0]]
            remedy = "pass it on as it is" if isinstance(first, Episode) else "give each row its column names"
            place = f"at place {name_some(strangers)}"
            raise TypeError(f"a list of dicts is needed, got {described(first)} {place} of the list: {remedy}")
        self._rows = data
        self.names = list(dict.fromkeys(key for row in data for key in row))
        self.n_rows = len(data)

    def chunks(self, name: Hashable) -> Iterator[Sequence[Any] | NDArray[Any]]:
        for start in range(0, self.n_rows, ROWS_PER_CHUNK):
            yield [row.get(name) for row in self._rows[start : start + ROWS_PER_CHUNK]]


class RenamedTable:
    """A table some of whose columns go by other names, and some by none.

    Parameters
    ----------
    table : Table
    new : mapping of hashable to hashable or None
        Name in the table of each new name; None hides a column of that name.
    """

    def __init__(self, table: Table, new: Mapping[Any, Any]) -> None:
        self._table = table
        taken = {*new, *new.values()}
        self._own = {name: name for name in table.names if name not in taken}
        self._own |= {name: own for name, own in new.items() if own is not None}
        self.names = list(self._own)
        self.n_rows = table.n_rows

    def chunks(self, name: Hashable) -> Iterator[Sequence[Any] | NDArray[Any]]:
        """Cells of a column, some rows at a time."""
        return self._table.chunks(self._own[name])


def _streamed(data: Any, wanted: Sequence[Hashable]) -> list[dict[Any, Any]]:
    """Rows of a streamed dataset, of each what is wanted; others by name alone."""
    names, rows = set(wanted), list[dict[Any, Any]]()
    with Watch("read", [_STAGE], unit=" rows") as tell:
        for row in data:
            rows.append({name: cell if name in names else None for name, cell in row.items()})
            if len(rows) % 1000 == 0:
                tell(_STAGE, len(rows), 0)
    return rows


def _sliced(column: Any) -> Iterator[Any]:
    for start in range(0, len(column), ROWS_PER_CHUNK):
        chunk = column[start : start + ROWS_PER_CHUNK]
        yield chunk.tolist() if isinstance(chunk, np.ndarray) and chunk.ndim == 1 else chunk


def _as_column(column: Any) -> Any:
    """Something that can be sliced, or None."""
    if isinstance(column, list | tuple | np.ndarray):
        return None if isinstance(column, np.ndarray) and column.ndim == 0 else column
    if isinstance(column, str | bytes | Mapping) or not hasattr(column, "__len__"):
        return None
    if getattr(column, "ndim", 1) == 2:
        return np.asarray(column)
    for method in ("to_pylist", "to_list", "tolist"):  # arrow, data frame libraries, tensors
        if hasattr(column, method):
            return getattr(column, method)()
    return list(column)


def _is_of(data: Any, *names: str) -> bool:
    # Whoever holds one of its objects has imported it; nobody else should pay for the import.
    module = sys.modules.get("datasets")
    return any(isinstance(data, kind) for name in names if isinstance(kind := getattr(module, name, None), type))
