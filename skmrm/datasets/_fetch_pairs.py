"""From rows of a public data set to an `EpisodeSet`: choices are collected one by one and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes import EpisodeSet
from skmrm.episodes.columns import Coder
from skmrm.episodes.from_columns import set_from_texts

__all__ = ["Collected", "PairCollector"]


@dataclass(frozen=True, eq=False)
class Collected:
    """Choices as an `EpisodeSet`, with what does not fit into one.

    Attributes
    ----------
    episodes : EpisodeSet
        Users who were kept, with texts.
    part : (n_pairs,) int array
        Part of the data set from which each pair came: 0 for training, 1 for testing.
    dropped : dict of str to int
        What was left out, and how many of it.
    """

    episodes: EpisodeSet
    part: NDArray[np.int64]
    dropped: dict[str, int]

    def keep_users(self, wanted: Callable[[EpisodeSet, NDArray[np.int64]], NDArray[np.bool_]]) -> Collected:
        """Keep the users for whom a function of episodes and parts says True; the others are counted as dropped."""
        mask = wanted(self.episodes, self.part)
        if not mask.any():
            raise ValueError(
                f"no user is left of {self.episodes.n_users} (dropped: {self.dropped}): each has fewer conversations "
                "or pairs than asked for; lower the minimum, or check that the files are complete"
            )
        part = self.part[mask[self.episodes.user]]
        dropped = self.dropped | {"users with too little": int((~mask).sum())}
        return Collected(self.episodes[mask].compact(), part, dropped)


class PairCollector:
    """Takes choices one by one, in any order, and numbers users, groups and texts as they come.

    Attributes
    ----------
    dropped : Counter
        What was left out, and how many of it.
    """

    def __init__(self) -> None:
        self._coders = {name: Coder() for name in ("user", "group", "prompt", "response")}
        self._rows: list[tuple[int, ...]] = []
        self.dropped: Counter[str] = Counter()

    def add(
        self, user: Hashable, group: Hashable, prompt: str, chosen: str, rejected: str, part: int = 0, outcome: int = 1
    ) -> None:
        """Take one choice; two responses that are the same text are dropped, as a choice between them says nothing."""
        if chosen == rejected:
            self.dropped["pairs of one text"] += 1
            return
        user_code, group_code, prompt_code, response_code = (coder.index for coder in self._coders.values())
        self._rows.append(
            (
                user_code[user],
                group_code[group],
                prompt_code[prompt],
                response_code[chosen],
                response_code[rejected],
                part,
                outcome,
            )
        )

    def collected(self) -> Collected:
        """Put together what came."""
        names = ("user", "group", "prompt", "chosen", "rejected", "part", "outcome")
        columns = dict(zip(names, np.array(self._rows, np.int64).reshape(-1, len(names)).T, strict=True))
        part, outcome = columns.pop("part")[np.argsort(columns["user"], kind="stable")], columns["outcome"]
        values: dict[str, list[Any]] = {name: coder.values for name, coder in self._coders.items()}
        episodes = set_from_texts(
            values["user"],
            columns["user"],
            columns["prompt"],
            values["prompt"],
            columns["chosen"],
            columns["rejected"],
            values["response"],
            columns["group"],
            said={} if (outcome == 1).all() else {"outcome": outcome},
        )
        return Collected(episodes, part, dict(self.dropped))
