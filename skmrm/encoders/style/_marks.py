"""What the characters and lines of a text tell: punctuation, mark-up, and slips of the pen."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MARKS", "SHAPE", "count_marks", "count_shape"]

_Counts = dict[str, NDArray[np.float64]]

_STRINGS: dict[str, tuple[str, ...]] = {
    "commas": (",", "，", "、"),
    "exclamations": ("!", "！"),
    "questions": ("?", "？"),
    "quotations": ('"', "“", "”", "«", "»"),
    "parentheses": ("(", "[", "（"),
    "colons": (":", ";", "："),
    "dashes": (" - ", "--", "–", "—"),
    "ellipses": ("...", "…"),
    "emphases": ("**", "__"),
    "code_marks": ("`",),
    "links": ("://", "www."),
}
_NO_SPACE_AFTER = re.compile(r"[,.!?;:](?=[^\W\d_]{2})")
_SPACE_BEFORE = re.compile(r" [,.!?;:](?=\s|$)")
_EMOJI = re.compile("[\U0001f1e6-\U0001faff\u2600-\u27bf\u2b50\u2b55]")
MARKS = (*_STRINGS, "emojis", "spacing_slips")

SHAPE = ("lines", "sentences", "list_items", "headings", "lowercase_starts", "unfinished")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•‣]|\(?\d{1,3}[.)]|\(?[a-z]\))\s+\S")
_HEADING = re.compile(r"\s*(?:#{1,6}\s+\S|\*\*[^*]+\*\*:?\s*$)")
# Every end of a sentence becomes a full stop, and what may stand between it and the space after it goes.
_ENDS = str.maketrans(dict.fromkeys("!?…", ".") | dict.fromkeys("。！？", ". ") | dict.fromkeys("\"'”’»)]*_", ""))
_AROUND = " \t.,;:-–—*#>•‣+([{`“‘«¿¡"
_FINAL = tuple(".!?…。！？\"'”’»)]}*`:")


def count_marks(texts: Sequence[str]) -> _Counts:
    """Count punctuation and other marks.

    Parameters
    ----------
    texts : sequence of str
        n texts.

    Returns
    -------
    dict of str to (n,) float64 array
        Occurrences of each of `MARKS`.
    """
    rows = [_marks(text) for text in texts]
    return dict(zip(MARKS, np.array(rows, dtype=float).reshape(len(rows), len(MARKS)).T, strict=True))


def _marks(text: str) -> list[int]:
    count = text.count
    row = [sum(map(count, strings)) for strings in _STRINGS.values()]
    row.append(0 if text.isascii() else len(_EMOJI.findall(text)))
    row.append(len(_NO_SPACE_AFTER.findall(text)) + len(_SPACE_BEFORE.findall(text)))
    return row


def count_shape(texts: Sequence[str]) -> _Counts:
    """Count lines and sentences, and those of a special kind.

    Parameters
    ----------
    texts : sequence of str
        n texts.

    Returns
    -------
    dict of str to (n,) float64 array
        Occurrences of each of `SHAPE`; "unfinished" is 0 or 1.
    """
    rows = [_shape(text) for text in texts]
    return dict(zip(SHAPE, np.array(rows, dtype=float).reshape(len(rows), len(SHAPE)).T, strict=True))


def _shape(text: str) -> tuple[int, ...]:
    lines = [line for line in text.splitlines() if line.strip()]
    starts = [start for line in lines for start in _sentence_starts(line)]
    return (
        len(lines),
        len(starts),
        sum(_LIST_ITEM.match(line) is not None for line in lines),
        sum(_HEADING.match(line) is not None for line in lines if "#" in line or "**" in line),
        sum(start.islower() for start in starts),
        int(bool(lines) and not lines[-1].rstrip().endswith(_FINAL)),
    )


def _sentence_starts(line: str) -> list[str]:
    """First character of each sentence of a line; a number alone, as before the text of a list item, is none."""
    pieces = (piece.strip(_AROUND) for piece in line.translate(_ENDS).split(". "))
    return [piece[0] for piece in pieces if piece and not piece.isdigit()]
