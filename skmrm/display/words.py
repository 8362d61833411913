"""Numbers and texts as they are shown."""

from __future__ import annotations

__all__ = ["shortened", "signed", "with_interval"]

_LETTERS = 72  # of a text that is shown
_PER_LETTER = 8  # characters looked at: white space is joined, and the rest of a long text is not read


def shortened(text: object, letters: int = _LETTERS) -> str:
    """One line of a text: its first words, and an ellipsis where there are more."""
    whole = str(text)
    start = whole[: _PER_LETTER * letters]
    line = " ".join(start.split())
    if len(line) <= letters and len(start) == len(whole):
        return line
    words = line[: letters - 1].rpartition(" ")[0] or line[: letters - 2]  # one long word is cut
    return f"{words} …".lstrip()


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; a rounded -0.0 is +0.0."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def with_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A number with its sign and its interval; without one where that is not known."""
    if low != low:  # NaN is not itself
        return signed(value, digits)
    ends = ", ".join(f"{round(end, digits) + 0.0:.{digits}f}" for end in (low, high))
    return f"{signed(value, digits)} [{ends}]"
