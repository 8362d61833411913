"""Tables of many users for other tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skmrm._support.files import PARTIAL, move_into_place

__all__ = ["write_parquet"]


def write_parquet(path: Path, parts: Iterable[Mapping[str, Any]]) -> None:
    """Write columns, given in parts of rows, into a Parquet file; see :meth:`skmrm.UserModels.to_parquet`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("to_parquet needs pyarrow, which is not installed: pip install pyarrow") from error
    writer, partial = None, path.with_name(path.name + PARTIAL)
    try:
        for part in parts:
            try:
                users = pa.array(part["user"].tolist(), None if writer is None else writer.schema.field("user").type)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise ValueError(
                    f"to_parquet needs ids of users of one kind, such as texts, as Arrow's columns are ({error}): "
                    "convert them, or write them yourself from to_frame()"
                ) from error
            table = pa.table({**part, "user": users})
            writer = writer or pq.ParquetWriter(partial, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()
        writer = None
        move_into_place(partial, path)
    finally:
        if writer is not None:
            writer.close()
        partial.unlink(missing_ok=True)
