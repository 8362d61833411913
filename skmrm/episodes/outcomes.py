"""What is said beside a choice, or in place of one: ties, strengths and ratings; how often it counts, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm.episodes.arrays import index_column, value_column
from skmrm.exceptions import EpisodeError

__all__ = ["MAX_GRADES", "SAID", "UNTOLD", "Said", "Sides", "joined_said", "read_said", "said_problems", "sides_of"]

UNTOLD = -1  # of an outcome: a choice, and nothing of how strong it is
SAID = ("outcome", "weight", "time", "rating")
MAX_GRADES = 20  # strengths, or levels of a rating; a scale of more values says less with each
_WHOLE = ("outcome", "rating")
Said = Mapping[str, NDArray[Any]]  # columns (n_pairs,) under these names, those that are there


def read_said(given: Mapping[str, ArrayLike | None]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Columns of what was said, read-only, and what is wrong with them."""
    found: dict[str, NDArray[Any]] = {}
    problems: list[str] = []
    for name, values in given.items():
        if values is None:
            continue
        try:
            found[name] = index_column(values, name, np.int64) if name in _WHOLE else value_column(values, name)
        except EpisodeError as error:
            problems += error.problems
        except (TypeError, ValueError) as error:
            problems.append(f"column '{name}' must hold one number for each pair ({error})")
    return found, problems


def said_problems(said: Said, lowest: int = 0) -> Iterator[str]:
    """Numbers that mean nothing, one sentence a column; outcomes are from the `lowest`.

    That of a choice of unknown strength is for columns of a set alone, as others mean a choice of the other response.
    """
    rules = {
        "outcome": (f"0 for a tie, or a strength from 1 to {MAX_GRADES}", "turn round what was chosen and rejected"),
        "weight": ("numbers above zero", "drop pairs that are not to count"),
        "time": ("a date or a number for each pair", "fill these in, or leave the column out"),
        "rating": (
            f"0 for a choice of two, or a level from 1 to {MAX_GRADES}",
            "read ratings with episodes_from_ratings",
        ),
    }
    for name, column in said.items():
        fit = np.isfinite(column)
        if name in _WHOLE:
            fit &= (column >= (lowest if name == "outcome" else 0)) & (column <= MAX_GRADES)
        if name == "weight":
            fit &= column > 0
        wrong = np.flatnonzero(~fit)
        if len(wrong):
            rule, remedy = rules[name]
            place = f"{column[wrong[0]]} at pair {wrong[0]}" + (f" ({len(wrong)} in all)" if len(wrong) > 1 else "")
            yield f"column '{name}' must hold {rule}, got {place}: {remedy}"


def joined_said(parts: Sequence[tuple[int, Said]]) -> dict[str, NDArray[Any]]:
    """What was said in several sets of so many pairs: choices, weights of 1 and no ratings, where a set has none.

    Choices beside ones whose strength was told are of unknown strength. Times are left out unless all sets have them.
    """
    found: dict[str, NDArray[Any]] = {}
    for name in SAID:
        has = [name in said for n_pairs, said in parts if n_pairs > 0]
        if not any(has) or (name == "time" and not all(has)):
            continue
        unsaid, dtype = int(name != "rating"), np.int64 if name in _WHOLE else np.float64
        if name == "outcome" and max(int(said[name].max(initial=1)) for _, said in parts if name in said) > 1:
            unsaid = UNTOLD
        found[name] = np.concatenate([said.get(name, np.full(n_pairs, unsaid, dtype)) for n_pairs, said in parts])
    return found


class Sides(NamedTuple):
    """Outcomes as choices of two; see :mod:`skmrm.meta.thresholds`.

    Attributes
    ----------
    pair : (n,) int array, ascending
        Which pair it is of.
    turned : (n,) bool array
        Whether the pair's rejected response, or the bar that a response was held against, is the one that is ahead.
    side : (n,) int array
        Which side of which threshold, a place in ``concatenate([t, -t])``.
    """

    pair: NDArray[np.intp]
    turned: NDArray[np.bool_]
    side: NDArray[np.int64]


def sides_of(
    outcome: NDArray[np.int64], n_grades: int, rating: NDArray[np.int64] | None = None, n_cuts: int = 0
) -> Sides:
    """One or two sides of each outcome, where so many strengths are told apart; larger ones count as the largest.

    Where there is a rating, it is of its level, above so many cuts at most. A choice of unknown strength is beyond the
    first threshold.

    Examples
    --------
    >>> sides_of(np.array([0, 1, 2]), 2)
    Sides(pair=array([0, 0, 1, 1, 2]), turned=array([False,  True, False,  True, False]), side=array([2, 2, 0, 3, 1]))
    """
    rated = np.zeros(len(outcome), bool) if rating is None else rating > 0
    first = np.where(rated, n_grades, 0)  # of the thresholds that it is held against
    last = np.where(rated, n_grades + n_cuts, n_grades)
    untold = ~rated & (outcome == UNTOLD)
    above = np.where(rated, n_grades + (0 if rating is None else rating) - 1, np.abs(outcome))
    above = np.minimum(above, last)  # so many thresholds are below it
    both = (above < last) & ((above > first) | ~rated) & ~untold
    pair = np.repeat(np.arange(len(above)), 1 + both)
    turned = rated[pair] & (above == first)[pair]  # the lowest level has no other side
    turned[1:] |= pair[1:] == pair[:-1]
    place, n_held = above[pair], n_grades + n_cuts
    lower = np.where(place == 0, n_held, place - 1)
    return Sides(pair, turned, np.where(turned, n_held + place, lower))
