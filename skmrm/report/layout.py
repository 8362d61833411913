"""A report as its parts: a few columns, a note and the warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skmrm.display import Listed, Note, Part, Table, with_interval

__all__ = ["report_parts"]

_HEADER = (
    "choices",
    "users",
    "accuracy",
    "reference",
    "gain, points",
    "worst tenth, points",
    "log loss change",
    "helped",
    "hurt",
    "ECE",
)


def report_parts(rows: Sequence[dict[str, Any]], note: str, warnings: Sequence[str]) -> list[Part]:
    """Table, note and warnings; from which number of choices there is nobody is said in the note."""
    unreached = [row["n_support"] for row in rows if row["n_users"] == 0]
    if unreached:
        note = f"{note}\nNo user has {min(unreached)} choices to adapt on."
    shown = Table([_cells(row) for row in rows if row["n_users"]], _HEADER, numbers=True)
    return [shown, Note(note), *([Listed("Warnings:", warnings)] if warnings else [])]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    return (
        str(row["n_support"]),
        f"{row['n_users']:,}",
        f"{row['accuracy']:.3f}",
        f"{row['baseline_accuracy']:.3f}",
        _interval(row, "gain", 100, 1),
        _interval(row, "worst_decile_gain", 100, 1),
        _interval(row, "log_loss_change", 1, 3),
        f"{100 * row['helped']:.0f} %",
        f"{100 * row['hurt']:.0f} %",
        f"{row['calibration_error']:.3f}",
    )


def _interval(row: dict[str, Any], name: str, factor: float, digits: int) -> str:
    estimate, low, high = (factor * row[name + end] for end in ("", "_low", "_high"))
    return with_interval(estimate, low, high, digits)
