"""An explanation on paper: the same few columns as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from skmrm.explanation.effects import Effect

__all__ = ["as_html", "as_text", "effect_rows", "label_of", "response_rows"]

_LETTERS = 72  # of a response that is shown
_Rows = list[tuple[str, ...]]

# Colours and fonts are the notebook's, light or dark.
_STYLE = (
    ".skmrm-explanation table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".skmrm-explanation td,.skmrm-explanation th{padding:.2em .5em;text-align:left;background:none;color:inherit;"
    "border-bottom:1px solid rgba(127,127,127,.35)}"
    ".skmrm-explanation small{opacity:.75}"
)


def label_of(effect: Effect) -> str:
    """An effect in two lines."""
    return f"{effect.words}\n{effect.per}".replace("$", r"\$")  # a dollar would begin a formula


def effect_rows(effects: Sequence[Effect], level: float | None, *, likely: bool = False) -> _Rows:
    """A header, and a row for each effect, in the direction that the user likes better, and how likely that is."""
    rows: _Rows = [("", _header(level), "", "crowd", *(["likely"] if likely else []))]
    for effect in effects:
        sign = 1 if effect.effect >= 0 else -1
        ends = sorted((sign * effect.low, sign * effect.high))
        chance = [f"{100 * effect.probability:.0f} %"] if likely else []
        own = _interval(abs(effect.effect), *ends)
        rows.append((effect.words, own, effect.per, _number(sign * effect.crowd), *chance))
    return rows


def response_rows(responses: Sequence[Any], level: float | None) -> _Rows:
    """A header, and a row for each response, shortened."""
    rows: _Rows = [(_header(level), "")]
    for one in responses:
        text = f"item {one.item}" if one.response is None else _shortened(one.response)
        rows.append((_interval(one.difference, one.low, one.high), text))
    return rows


def as_text(headline: str, tables: Sequence[tuple[str, _Rows]], notes: Sequence[str]) -> str:
    """Headline, tables and notes as plain text."""
    parts = [headline]
    for title, rows in tables:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        parts.append("\n".join([title, *lines] if title else lines))
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def as_html(headline: str, tables: Sequence[tuple[str, _Rows]], notes: Sequence[str]) -> str:
    """Headline, tables and notes as HTML, everything escaped."""
    parts = [f"<p><strong>{escape(headline)}</strong></p>"]
    for title, (head, *rows) in tables:
        parts.append(f"<p>{escape(title)}</p>" if title else "")
        first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(f"<table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>")
    if notes:
        parts.append(f"<p><small>{escape(' '.join(notes))}</small></p>")
    return f'<div class="skmrm-explanation"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _header(level: float | None) -> str:
    return "logits" if level is None else f"logits [{100 * level:g} %]"


def _interval(value: float, low: float, high: float) -> str:
    return _number(value) if low != low else f"{_number(value)} [{_bound(low)}, {_bound(high)}]"  # NaN is not itself


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # a rounded -0.0 is 0.0


def _bound(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"


def _shortened(text: str) -> str:
    return textwrap.shorten(text, _LETTERS, placeholder=" …")
