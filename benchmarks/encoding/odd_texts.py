"""The encoders that need no download on texts that nobody wrote: what a character costs, next to prose."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.encoding.real_texts import real_texts
from skmrm.encoders import HashedTextEncoder, TextStatistics

__all__ = ["odd", "odd_texts"]

# A service takes texts from anybody: whatever is repeated here, a character may cost little more than one of prose.
_REPEATED = {
    "one letter": "x",
    "one digit": "7",
    "CJK without spaces": "漢字仮名",
    "short words": "a ",
    "spaces": " ",
    "line breaks": "\n",
    "lines of a letter": "a\n",
    "full stops": ". ",
    "punctuation": "!?;:,.",
    "list items": "1. ",
    "open markup": "**a",
    "code fences": "```\n",
    "apostrophes": "a'",
    "combining marks": "e\u0301\u0302",
    "emoji": "👩\u200d🚀",
}


def odd_texts(n_characters: int) -> dict[str, str]:
    """Texts of the same length by name, prose first."""
    texts, _ = real_texts(10_000)
    draw = random.Random(0)
    return {
        "prose": " ".join(texts)[:n_characters],
        "a word of random letters": "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=n_characters)),
        **{name: (part * n_characters)[:n_characters] for name, part in _REPEATED.items()},
    }


def odd(folder: Path, quick: bool) -> Found:
    """What a character of any text costs."""
    length = 2000 if quick else 20_000
    texts = odd_texts(length)
    hashed = HashedTextEncoder().fit([("", text) for text in real_texts(200)[0]])
    encoders = {"hashed n-grams": hashed.transform, "statistics": TextStatistics().transform}
    rows: list[dict[str, str | float]] = [{"text": name} for name in texts]
    for encoder, encode in encoders.items():
        seconds = in_turn(
            {name: partial(encode, [("", text)]) for name, text in texts.items()}, repeats=1 if quick else 9
        )
        for row, name in zip(rows, texts, strict=True):
            row[f"{encoder}, ms"] = 1e3 * seconds[name]
            row[f"{encoder}, times prose"] = seconds[name] / seconds["prose"]
    columns = dict(zip(rows[0], ["", ".1f", ".2f", ".1f", ".2f"], strict=True))
    return Found(f"odd: texts of {length:,} characters, one at a time", columns, rows)
