"""A report on paper: the same few columns as text, as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["as_html", "as_markdown", "as_text"]

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

# Colours and fonts are the notebook's, light or dark. No number is broken, and a table too wide for its place scrolls.
_STYLE = (
    ".skmrm-report div{overflow-x:auto}"
    ".skmrm-report table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".skmrm-report td{white-space:nowrap}"
    ".skmrm-report th,.skmrm-report td{padding:.2em .5em;text-align:right;background:none;color:inherit;"
    "border-bottom:1px solid rgba(127,127,127,.35)}"
    ".skmrm-report small{opacity:.75}"
)


def as_text(verdict: str, rows: Sequence[dict[str, Any]], note: str, warnings: Sequence[str]) -> str:
    """Verdict, table and warnings as plain text."""
    table = [_HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    parts = [verdict, "\n".join(lines), note]
    if warnings:
        parts.append("\n".join(["Warnings:", *(f"- {warning}" for warning in warnings)]))
    return "\n\n".join(parts)


def as_html(verdict: str, rows: Sequence[dict[str, Any]], note: str, warnings: Sequence[str]) -> str:
    """Verdict, table and warnings as HTML, everything escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in _HEADER)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in rows)
    listed = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return (
        f'<div class="skmrm-report"><style>{_STYLE}</style><p><strong>{escape(verdict)}</strong></p>'
        f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<p><small>{escape(note)}</small></p>" + (f"<p>Warnings:</p><ul>{listed}</ul>" if warnings else "") + "</div>"
    )


def as_markdown(verdict: str, rows: Sequence[dict[str, Any]], note: str, warnings: Sequence[str]) -> str:
    """Verdict, table and warnings as Markdown; what no user reaches is no row."""
    cells = [[cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in _cells(row)] for row in rows if row["n_users"]]
    table = [_HEADER, ["---:"] * len(_HEADER), *cells]
    lines = "\n".join(f"| {' | '.join(line)} |" for line in table)
    listed = "\n".join(["Warnings:", "", *(f"- {escape(warning, quote=False)}" for warning in warnings)])
    parts = [f"**{escape(verdict, quote=False)}**", lines, escape(note, quote=False), listed if warnings else ""]
    return "\n\n".join(filter(None, parts))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table; what no user reaches is a dash."""
    size, n_users = row["n_support"], f"{row['n_users']:,}"
    if row["n_users"] == 0:
        return (str(size), n_users, *["-"] * (len(_HEADER) - 2))
    return (
        str(size),
        n_users,
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
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    estimate, low, high = (round(factor * row[name + end], digits) + 0.0 for end in ("", "_low", "_high"))
    return f"{estimate:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
