r"""Rankings, and the best of several, as pairs.

Under Plackett and Luce's model a ranking is a chain of choices: the best of all, the best of the rest, and so on. As
:math:`k (k - 1) / 2` pairs, each with the weight

.. math:: \frac{4}{k (k - 1)} \sum_{n=2}^k \Big(1 - \frac1n\Big) ,

it tells as much of a reward as that chain does where responses are about alike (the Fisher information is the same: a
stage with n responses left tells :math:`1 / n^2` of each pair, a choice between two tells 1/4). The best of k alone, as
:math:`k - 1` pairs, has the weight :math:`2 / k` by the same account. Pairs of one ranking are not independent: this is
a composite likelihood. On simulated users it predicted preferences 0.0 to 0.2 points worse than Plackett and Luce's
likelihood; with the weight :math:`2 / k`, 0.1 to 0.4, and with none it was too sure of itself.

Source: R. Plackett: "The analysis of permutations", Applied Statistics 24 (1975); C. Varin, N. Reid, D. Firth: "An
overview of composite likelihood methods", Statistica Sinica 21 (2011).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from numbers import Integral
from typing import Any, Literal

import numpy as np

from skmrm._support.wording import name_some
from skmrm.episodes.cells import is_missing
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.files import as_table
from skmrm.episodes.from_tables import episodes_from_frame
from skmrm.episodes.rules import Problems
from skmrm.episodes.tables import cells_of, open_table
from skmrm.exceptions import EpisodeError

__all__ = ["episodes_from_rankings", "ranking_weight"]

_OWN = ("skmrm.group", "skmrm.outcome", "skmrm.weight")  # columns that no table of the caller's has


def episodes_from_rankings(
    data: Any,
    user: Hashable = "user_id",
    prompt: Hashable | None = "prompt",
    responses: Hashable = "responses",
    ranks: Hashable | None = None,
    best: Hashable | None = None,
    *,
    group: Hashable | None = None,
    time: Hashable | None = None,
    shared_groups: bool | Literal["auto"] = "auto",
    min_pairs: int = 1,
) -> EpisodeSet:
    """Read a table of rankings, one row a ranking, into an `EpisodeSet`.

    Parameters
    ----------
    data : data frame, table, dict of columns, list of dicts, or path
        Any table that :func:`skmrm.episodes_from_frame` takes.
    user, prompt : str, default="user_id" and "prompt"
        Columns with users' ids and prompts, as there; ``prompt=None`` if there is none.
    responses : str, default="responses"
        Column with a list of responses in each row: best first, unless `ranks` or `best` says otherwise.
    ranks : str, optional
        Column with a list of numbers in each row, the smallest of the best response; equal ones are a tie, and a
        response without a rank is left out.
    best : str, optional
        Column with the place of the best response in each list, from 0: nothing is known of the others. Not with
        `ranks`.
    group : str, optional
        Column whose values tell groups, which no split divides; None groups by prompt, and by ranking where that is
        empty.
    time : str, optional
        Column with when each ranking was made.
    shared_groups : bool or "auto", default="auto"
        Whether a value of `group` means one group whoever the user is, as of :func:`skmrm.episodes_from_frame`.
    min_pairs : int, default=1
        Fewest pairs that a user may have.

    Returns
    -------
    EpisodeSet
        Pairs of one ranking have the weight with which they tell as much as the ranking does; see
        ``skmrm/episodes/from_rankings.py``.

    Raises
    ------
    TypeError
        If `data` is not a table that can be read.
    EpisodeError
        If columns are not there, or rankings cannot be read; all problems are listed.

    Examples
    --------
    >>> rows = [{"user_id": "ann", "prompt": "Tea?", "responses": ["Yes, please.", "Yes.", "No."]}]
    >>> found = episodes_from_rankings(rows)
    >>> found.n_pairs, found.weight.round(3).tolist()
    (3, [0.778, 0.778, 0.778])
    """
    if ranks is not None and best is not None:
        raise EpisodeError(["ranks and best say the same of a ranking in two ways: pass one of them"])
    roles = {"user": user, "prompt": prompt, "responses": responses, "ranks": ranks, "best": best}
    roles |= {"group": group, "time": time}
    asked = {role: name for role, name in roles.items() if name is not None}
    table = open_table(as_table(data, (ranks, best, time)), list(asked.values()))
    if missing := [f"{role}={name!r}" for role, name in asked.items() if name not in table.names]:
        raise EpisodeError(
            [f"{', '.join(missing)}: no such column in the table, whose columns are {name_some(table.names, 9)}"]
        )
    cells = {role: cells_of(table, name) for role, name in asked.items()}
    problems = Problems()
    columns: dict[str, list[Any]] = {name: [] for name in ("user", "prompt", "chosen", "rejected", "time", *_OWN)}
    for row, listed in enumerate(cells["responses"]):
        order = _order(listed, row, cells, asked, problems)
        asked_for = cells["prompt"][row] if prompt is not None else None
        own_group = cells["group"][row] if group is not None else repr(asked_for) if asked_for else row
        weight = ranking_weight(len(order), best_alone=best is not None)
        for first, second, outcome in _pairs(order, best is not None):
            columns["user"].append(cells["user"][row])
            columns["prompt"].append(asked_for)
            columns["chosen"].append(listed[first])
            columns["rejected"].append(listed[second])
            columns["time"].append(cells["time"][row] if time is not None else None)
            for name, value in zip(_OWN, (own_group, outcome, weight), strict=True):
                columns[name].append(value)
    if problems:
        raise EpisodeError(problems.sentences())
    if not columns["user"]:
        raise EpisodeError(["there is no ranking of two responses or more: at least one is needed"])
    if isinstance(shared_groups, str) and shared_groups == "auto" and group is None:
        shared_groups = True  # equal prompts are one group, and a ranking without one is a group of its own
    return episodes_from_frame(
        columns,
        "user",
        None if prompt is None else "prompt",
        group=_OWN[0],
        outcome=_OWN[1],
        weight=_OWN[2],
        time=None if time is None else "time",
        shared_groups=shared_groups,
        implicit_prompt=False,
        min_pairs=min_pairs,
    )


def ranking_weight(n_responses: int, *, best_alone: bool = False) -> float:
    """Weight of each pair of a ranking of so many responses, or of the best of so many.

    Examples
    --------
    >>> [round(ranking_weight(k), 3) for k in (2, 3, 4, 10)]
    [1.0, 0.778, 0.639, 0.314]
    """
    k = max(n_responses, 2)
    return 2 / k if best_alone else 4 / (k * (k - 1)) * sum(1 - 1 / n for n in range(2, k + 1))


def _order(
    listed: Any, row: int, cells: dict[str, list[Any]], names: dict[str, Hashable], problems: Problems
) -> list[tuple[int, float]]:
    """Places in a list of responses and their ranks, best first; nothing if that cannot be read."""

    def refuse(role: str, came: str) -> list[tuple[int, float]]:
        problems.add_cells(f"column '{names[role]}'", {came: [row]})
        return []

    if isinstance(listed, str | bytes) or not isinstance(listed, Sequence | np.ndarray):
        return refuse("responses", f"a {type(listed).__name__} in place of a list")
    places = range(len(listed))
    if "best" in cells:
        best = cells["best"][row]
        if not isinstance(best, Integral) or not 0 <= int(best) < len(listed):
            return refuse("best", f"{best!r}, no place in its list")
        return [(int(best), 0.0), *((place, 1.0) for place in places if place != best)]
    if "ranks" not in cells:
        return [(place, float(place)) for place in places]
    ranks = cells["ranks"][row]
    if is_missing(ranks) or isinstance(ranks, str) or len(ranks) != len(listed):
        return refuse("ranks", "another number of ranks than of responses")
    known = [(place, float(rank)) for place, rank in zip(places, ranks, strict=True) if not is_missing(rank)]
    return sorted(known, key=lambda one: one[1])


def _pairs(order: list[tuple[int, float]], best_alone: bool) -> Iterator[tuple[int, int, int]]:
    """Better and worse place of each pair, and 0 where they tie, else 1; of the first alone, if no more is known."""
    for (first, rank), (second, other) in combinations(order, 2):
        if not best_alone or first == order[0][0]:
            yield first, second, int(rank != other)
