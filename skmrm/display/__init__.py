"""How results are shown: one look for notebooks, its twin for terminals, and texts made short."""

from skmrm.display.layout import Listed, Note, Part, Table, as_html, as_markdown, as_text
from skmrm.display.words import shortened, signed, with_interval

__all__ = [
    "Listed",
    "Note",
    "Part",
    "Table",
    "as_html",
    "as_markdown",
    "as_text",
    "shortened",
    "signed",
    "with_interval",
]
