"""Tables as text: aligned columns."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["as_columns"]


def as_columns(header: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 2) -> str:
    """Align cells to the right, and the first column to the left."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    aligned = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    return "\n".join((" " * indent + "  ".join(cells)).rstrip() for cells in aligned)
