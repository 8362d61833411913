"""The inner loop of a fitted model: what users have said in, their weights out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.tensors import Arrays
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.history import History
from skmrm.episodes.rules import check_rewards_to_learn
from skmrm.estimators.core_data import Choices, adapt_arrays
from skmrm.meta.adaptation import Adaptation

__all__ = ["InnerLoop"]


@dataclass(frozen=True)
class InnerLoop:
    """An inner rule, and what was meta-learnt for it.

    Attributes
    ----------
    rule : Adaptation
    params : dict of str to array
        ``start``, and the rule's own.
    """

    rule: Adaptation
    params: Arrays

    def history_of(self, base: BaseRewards, episodes: EpisodeSet) -> History:
        """What checked episodes say, in base rewards."""
        if episodes.n_pairs == 0:
            return History(np.empty((0, base.n_bases), self.params["start"].dtype), episodes.user, episodes.n_users)
        rewards = base.of_episodes(episodes)
        check_rewards_to_learn(rewards, episodes, "adapt")
        return History.of(episodes, rewards, base.bar)

    def adapt(
        self, base: BaseRewards, history: History, n_jobs: int | None = None
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Weights (n_users, n_bases), and covariances where the rule defines them, from all that each user said."""
        n = len(history.user)
        nothing = np.zeros((1, base.n_bases), history.gaps.dtype)  # what gaps are differences to
        said = history.said
        choices = Choices(
            np.arange(n),
            np.full(n, n),
            history.user,
            history.n_users,
            said.get("outcome"),
            said.get("weight"),
            rating=said.get("rating"),
            bar=n,
        )
        table = np.concatenate([history.gaps, nothing])
        return adapt_arrays(self.params, self.rule, table, choices, base.device, n_jobs, *base.held)
