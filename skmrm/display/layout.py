"""What is shown of a result, and how: the same few parts as HTML, as text and as Markdown.

Whoever shows something says of what it consists, as plain text; tags are written here alone, and here everything that
came from data is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Listed", "Note", "Part", "Table", "as_html", "as_markdown", "as_text"]

# Fonts and colours are the notebook's, light or dark; what is added is translucent, in scikit-learn's blue of a fitted
# estimator. No number is broken, and a table too wide for its place scrolls. Notebooks align cells by rules of their
# own, which only what is important overrules.
_STYLE = (
    ".skmrm-display{margin:.5em 0;max-width:100%;color:inherit}"
    ".skmrm-display .skmrm-name{display:inline-block;padding:.4em .8em;border-radius:.25em;"
    "background:rgba(100,149,237,.25)}"
    ".skmrm-display p{margin:.5em 0}"
    ".skmrm-display summary{cursor:pointer;margin:.5em 0}"
    ".skmrm-display .skmrm-scroll{overflow-x:auto;max-width:100%;margin:.5em 0}"
    ".skmrm-display table{border-collapse:collapse;table-layout:auto;margin:0;width:auto;"
    "font-variant-numeric:tabular-nums;color:inherit}"
    ".skmrm-display th,.skmrm-display td{padding:.25em .6em;text-align:left!important;vertical-align:top;color:inherit;"
    "background:none;border:1px solid rgba(127,127,127,.3);unicode-bidi:isolate}"
    ".skmrm-display tbody tr:nth-child(odd){background:rgba(127,127,127,.08)}"
    ".skmrm-display tbody tr:nth-child(even){background:none}"
    ".skmrm-display .skmrm-numbers td{text-align:right!important;white-space:nowrap}"
    ".skmrm-display .skmrm-numbers th{text-align:right!important}"
    ".skmrm-display small{opacity:.75}"
)


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes
    ----------
    rows : sequence of sequence of str
    head : sequence of str
        Names of the columns; none for no header.
    title : str
        What comes before it.
    numbers : bool
        Cells are numbers, aligned to the right, and are not broken.
    named : bool
        The first cell of each row is its name.
    folded : bool
        In a notebook, behind its title until somebody asks.
    """

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    title: str = ""
    numbers: bool = False
    named: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Listed:
    """Sentences under a title, a line each."""

    title: str
    lines: Sequence[str]


class Note(str):
    """What is said in small type, one line or several."""

    __slots__ = ()


Part = str | Note | Table | Listed


def as_text(headline: str, parts: Sequence[Part]) -> str:
    """Headline and parts as plain text, an empty line between them."""
    return "\n\n".join([headline, *map(_text_of, parts)])


def as_html(name: str, headline: str, parts: Sequence[Part]) -> str:
    """Parts as HTML under the name of a class, as scikit-learn has it, and a headline if there is one."""
    first = f"<p><strong>{_safe(headline)}</strong></p>" if headline else ""
    body = "".join(map(_html_of, parts))
    named = f'<div class="skmrm-name">{_safe(name)}</div>' if name else ""
    return f'<div class="skmrm-display"><style>{_STYLE}</style>{named}{first}{body}</div>'


def as_markdown(headline: str, parts: Sequence[Part]) -> str:
    """Headline and parts as Markdown, for a card or an issue; HTML in them is text."""
    return "\n\n".join([f"**{escape(headline, quote=False)}**", *map(_markdown_of, parts)])


def _text_of(part: Part) -> str:
    if isinstance(part, Listed):
        return "\n".join([part.title, *(f"- {line}" for line in part.lines)])
    if isinstance(part, str):
        return str(part)
    rows = [part.head, *part.rows] if part.head else part.rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    put = str.rjust if part.numbers else str.ljust
    lines = ["  ".join(map(put, row, widths)) for row in rows]
    return "\n".join([*([part.title] if part.title else []), *(line.rstrip() for line in lines)])


def _markdown_of(part: Part) -> str:
    if isinstance(part, Listed):
        return "\n".join([part.title, "", *(f"- {escape(line, quote=False)}" for line in part.lines)])
    if isinstance(part, str):
        return escape(part, quote=False)
    cells = [[escape(cell, quote=False).replace(" ", "\N{NO-BREAK SPACE}") for cell in row] for row in part.rows]
    rows = [part.head, ["---:" if part.numbers else "---"] * len(part.head), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _html_of(part: Part) -> str:
    if isinstance(part, Note):
        return f"<p><small>{_safe(part)}</small></p>"
    if isinstance(part, str):
        return f"<p>{_safe(part)}</p>"
    if isinstance(part, Listed):
        return f"<p>{_safe(part.title)}</p><ul>{''.join(f'<li>{_safe(line)}</li>' for line in part.lines)}</ul>"
    table = _table(part)
    if part.folded:
        return f"<details><summary>{_safe(part.title)}</summary>{table}</details>"
    return (f"<p>{_safe(part.title)}</p>" if part.title else "") + table


def _table(part: Table) -> str:
    head = "".join(f'<th scope="col">{_safe(cell)}</th>' for cell in part.head)
    first = '<th scope="row">{}</th>' if part.named else "<td>{}</td>"
    rows = [
        "".join((first if place == 0 else "<td>{}</td>").format(_safe(cell)) for place, cell in enumerate(row))
        for row in part.rows
    ]
    kind = ' class="skmrm-numbers"' if part.numbers else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="skmrm-scroll" tabindex="0"><table{kind}>{top}<tbody>{body}</tbody></table></div>'


def _safe(text: str) -> str:
    """No tag, no entity, and nothing that cannot be written as UTF-8."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))
