"""Columns of a table that say who won, by how much, how often it counts and when: words and numbers to `EpisodeSet`'s.

What people write differs, and what it means must not be guessed: words that are not known are an error that lists what
each known one means, and `words` says what others do.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import name_some
from skmrm.episodes.cells import MISSING, is_missing
from skmrm.episodes.outcomes import MAX_GRADES
from skmrm.episodes.rules import Problems

__all__ = ["WORDS", "levels_of", "plain", "read_grades", "read_numbers", "read_ratings", "read_times", "read_winners"]

# What it means that a column of winners or of outcomes holds one of these, in small letters and without punctuation.
WORDS: dict[str, tuple[str, ...]] = {
    "a": ("a", "model a", "response a", "answer a", "a wins", "a is better", "first", "left"),
    "b": ("b", "model b", "response b", "answer b", "b wins", "b is better", "second", "right"),
    "tie": (
        *("tie", "ties", "tied", "draw", "equal", "same", "about the same", "no preference", "neither"),
        *("both", "both good", "both bad", "bothbad", "tie bothbad"),
    ),
    "chosen": ("chosen", "win", "wins", "better", "preferred"),
}
# What thumbs are called.
THUMBS: dict[bool, tuple[str, ...]] = {
    True: ("up", "thumbs up", "thumb up", "like", "liked", "good", "yes", "true", "positive", "desirable", "👍"),
    False: (
        *("down", "thumbs down", "thumb down", "dislike", "disliked", "bad", "no", "false", "negative", "undesirable"),
        "👎",
    ),
}
_CODES = {"a": 1, "b": -1, "tie": 0, "chosen": 1}
MAX_STRENGTH = 10  # whole numbers up to here are strengths as they are, the same in every set


def read_winners(
    column: str, values: Sequence[Any], words: Mapping[Any, str] | None, meanings: Sequence[str], problems: Problems
) -> NDArray[np.int64]:
    """Who won each pair: 1 the first, -1 the second, 0 neither.

    Parameters
    ----------
    column : str
        Its name.
    values : sequence of str or bool
        True is the first.
    words : mapping, optional
        Further words, to one of the `meanings`.
    meanings : sequence of str
        Keys of `WORDS` that this column may say.
    problems : Problems
        Takes what cannot be read.
    """
    known: dict[Any, str] = {word: meaning for meaning in meanings for word in WORDS[meaning]}
    known |= {plain(word): meaning for word, meaning in (words or {}).items()}
    if wrong := [meaning for meaning in known.values() if meaning not in meanings]:
        problems.add_rule(f"words must say what each word means, one of {name_some(meanings)}, got {name_some(wrong)}")
    codes, missing, strange = np.zeros(len(values), np.int64), [], []
    for row, value in enumerate(values):
        if isinstance(value, bool | np.bool_):
            codes[row] = 1 if value else _CODES[meanings[1]]
        elif is_missing(value):
            missing.append(row)
        elif (meaning := known.get(plain(value))) in _CODES:
            codes[row] = _CODES[str(meaning)]
        else:
            strange.append(row)
    if missing:
        problems.add_cells(f"column '{column}'", {MISSING: missing})
    if strange:
        listed = "; ".join(
            f"{meaning}: {', '.join(str(word) for word, other in known.items() if other == meaning)}"
            for meaning in meanings
        )
        came = _some_of(values[row] for row in strange)
        problems.add_rule(
            f"column '{column}' must say who won, got {came} in {len(strange)} rows; known are {listed}: "
            "pass words={...} with what the others mean"
        )
    return codes


def read_grades(
    column: str, values: Sequence[Any], order: Sequence[Any] | Mapping[Any, int] | None, problems: Problems
) -> NDArray[np.int64]:
    """How strong each preference is, from 1; 0 for a tie.

    Parameters
    ----------
    column : str
        Its name.
    values : sequence of numbers or labels
        Of numbers, whose sign says nothing, zero is a tie. Whole ones up to ten are strengths as they are; others are
        strengths in their order, each one if they are twenty at most, else twenty, equally frequent.
    order : sequence of labels, or mapping of labels to strengths, optional
        From the weakest to the strongest; needed where they are no numbers. Words for a tie are one anywhere.
    problems : Problems
    """
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        problems.add_cells(f"column '{column}'", {MISSING: missing})
        return np.zeros(len(values), np.int64)
    if order is not None:
        ordered = order.items() if isinstance(order, Mapping) else ((label, n) for n, label in enumerate(order, 1))
        ranks = {plain(label): place for label, place in ordered}
    elif all(isinstance(value, Real) for value in values):
        return _grades_of_numbers(np.abs(np.array(values, float)))
    else:
        ranks = {}
    ranks = dict.fromkeys(WORDS["tie"], 0) | ranks
    strange = [row for row, value in enumerate(values) if plain(value) not in ranks]
    if strange or max(ranks.values()) > MAX_GRADES:
        came = _some_of(values[row] for row in strange)
        problems.add_rule(
            f"column '{column}' must hold numbers, or labels of at most {MAX_GRADES} strengths whose order is known, "
            f"got {came}: pass strength_order=[...], from the weakest to the strongest"
        )
        return np.zeros(len(values), np.int64)
    return np.array([ranks[plain(value)] for value in values], np.int64)


def _grades_of_numbers(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers as they are; else the rank among those above zero, or among parts of them where they are many."""
    if bool((values == np.rint(values)).all()) and values.max(initial=0) <= MAX_STRENGTH:
        return values.astype(np.int64)
    levels = levels_of(values[values > 0])
    return np.where(values > 0, np.searchsorted(levels, values, side="right"), 0).astype(np.int64)


def levels_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distinct values in order; of more than `MAX_GRADES`, the least of each of so many parts of equal frequency.

    As many as may be: simulated users' tastes are told better by twenty than by eleven, seven or five.
    """
    levels = np.unique(values)
    shares = np.arange(MAX_GRADES) / MAX_GRADES
    return levels if len(levels) <= MAX_GRADES else np.unique(np.quantile(values, shares))


def read_ratings(
    column: str, values: Sequence[Any], scale: Sequence[Any] | None, problems: Problems
) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """Levels of ratings, from 1, and what each level begins at or is called.

    Parameters
    ----------
    column : str
        Its name.
    values : sequence of bool, number or str
    scale : sequence of numbers or labels, optional
        From the worst level to the best: what each begins at, or is called. None finds out: booleans and words for
        thumbs are two levels; of numbers, each is one if they are few, with all between where they are whole, else
        twenty are made, equally frequent.
    problems : Problems
    """
    levels = np.ones(len(values), np.int64)
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    if missing := [row for row, value in enumerate(values) if is_missing(value)]:
        problems.add_cells(f"column '{column}'", {MISSING: missing})
        return levels, ()
    thumbs = {plain(word): up for up, words in THUMBS.items() for word in words}
    found = None if scale is None else tuple(one.item() if isinstance(one, np.generic) else one for one in scale)
    if found is not None and not 2 <= len(found) <= MAX_GRADES:
        problems.add_rule(f"scale must have 2 to {MAX_GRADES} levels, from the worst to the best, got {found!r:.80}")
        return levels, ()
    if found is not None and not all(isinstance(level, Real) for level in found):
        places = {plain(label): place for place, label in enumerate(found, 1)}
        strange = [value for value in values if plain(value) not in places]
        if strange:
            came = _some_of(strange)
            problems.add_rule(f"column '{column}' must hold levels of the scale {name_some(found, 9)}, got {came}")
            return levels, found
        return np.array([places[plain(value)] for value in values], np.int64), found
    numbers = [_as_number(value, thumbs) for value in values]
    strange = [value for value, number in zip(values, numbers, strict=True) if number is None]
    if strange:
        came = _some_of(strange)
        problems.add_rule(
            f"column '{column}' must hold numbers, True or False, words for thumbs ({', '.join(map(repr, thumbs))}), "
            f"or labels whose order is known, got {came} in {len(strange)} rows: pass scale=[worst, ..., best]"
        )
        return levels, ()
    rated = np.array(numbers, float)
    if found is None:
        are_thumbs = all(isinstance(value, bool | np.bool_) or plain(value) in thumbs for value in values)
        found = (False, True) if are_thumbs else _scale_of(rated)
    starts = np.array(found, float)
    if (starts[1:] <= starts[:-1]).any() or not np.isfinite(rated).all():
        problems.add_rule(
            f"scale and column '{column}' must hold finite numbers, the scale's ascending, got {found!r:.80}"
        )
        return levels, ()
    off = (rated < starts[0]) | (rated > starts[-1])
    if off.any() and bool((np.diff(starts) == 1).all()):  # of levels that are numbers, another number is a mistake
        came = name_some(dict.fromkeys(rated[off].tolist()))
        problems.add_rule(f"column '{column}' must hold ratings from {found[0]} to {found[-1]}, got {came}: pass scale")
    return np.searchsorted(starts, rated, side="right").clip(1).astype(np.int64), found


def _scale_of(rated: NDArray[np.float64]) -> tuple[float, ...]:
    """Where each level begins: every whole number where they are, each distinct one if few, else parts as frequent."""
    low, high = rated.min(initial=np.inf), rated.max(initial=-np.inf)
    if bool((rated == np.rint(rated)).all()) and high - low < MAX_GRADES:
        return tuple(range(int(low), int(max(high, low + 1)) + 1))
    return tuple(levels_of(rated).tolist())


def _as_number(value: Any, thumbs: Mapping[str, bool]) -> float | None:
    """A number, one in a text, or 1 and 0 for words of thumbs."""
    if isinstance(value, Real | np.bool_):
        return float(value)
    if plain(value) in thumbs:
        return float(thumbs[plain(value)])
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def read_numbers(column: str, values: Sequence[Any], problems: Problems) -> NDArray[np.float64]:
    """A column of numbers."""
    wrong: dict[str, list[int]] = {}
    found = np.ones(len(values))
    for row, value in enumerate(values):
        if is_missing(value):
            wrong.setdefault(MISSING, []).append(row)
        elif isinstance(value, Real):
            found[row] = float(value)
        else:
            wrong.setdefault(f"a {type(value).__name__}", []).append(row)
    problems.add_cells(f"column '{column}'", wrong)
    return found


def read_times(column: str, values: Sequence[Any], problems: Problems) -> NDArray[np.float64]:
    """A column of dates, in seconds since 1970 (UTC where they name no zone), or of numbers, as they are."""
    wrong: dict[str, list[int]] = {}
    found = np.zeros(len(values))
    for row, value in enumerate(values):
        if is_missing(value):
            wrong.setdefault(MISSING, []).append(row)
            continue
        try:
            found[row] = _seconds(value)
        except (TypeError, ValueError, OverflowError):
            wrong.setdefault(f"{value!r:.40}, which is no date", []).append(row)
    problems.add_cells(f"column '{column}'", wrong)
    return found


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        value = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", value))  # which Python 3.10 does not read
    if isinstance(value, np.datetime64):
        return float(value.astype("datetime64[us]").astype(np.int64)) / 1e6
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)).timestamp()
    return float(value)


def _some_of(values: Iterable[Any]) -> str:
    """A few distinct values, hashable or not."""
    return name_some({repr(value): value for value in values}.values())


def plain(word: Any) -> Any:
    """A word in small letters, without what stands around or between its parts; a sign alone as it is.

    A list or the like, which is no word, is what it looks like, as words are looked up.
    """
    if not isinstance(word, str) or not any(map(str.isalnum, word)):
        return word if isinstance(word, Hashable) else repr(word)
    letters: Iterable[str] = (letter if letter.isalnum() else " " for letter in word.strip().lower())
    return " ".join("".join(letters).split())
