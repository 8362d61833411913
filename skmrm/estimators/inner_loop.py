"""The inner loop of a fitted model: what users have said in, their weights out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.progress import Verbose
from skmrm._support.tensors import Arrays
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.history import History
from skmrm.episodes.rules import check_rewards_to_learn
from skmrm.episodes.user_features import ColdStart
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
    cold : ColdStart, optional
        What features of users tell.
    """

    rule: Adaptation
    params: Arrays
    cold: ColdStart | None = None

    def history_of(self, base: BaseRewards, episodes: EpisodeSet, shift: NDArray[np.float64] | None = None) -> History:
        """What checked episodes say, in base rewards; and by how much features of users move their priors' means."""
        if episodes.n_pairs == 0:
            nothing = np.empty((0, base.n_bases), self.params["start"].dtype)
            return History(nothing, episodes.user, episodes.n_users, shift=shift)
        rewards = base.of_episodes(episodes)
        check_rewards_to_learn(rewards, episodes, "adapt")
        return replace(History.of(episodes, rewards, base.bar), shift=shift)

    def shift(self, user_features: Any, users: Sequence[Hashable], caller: str) -> NDArray[np.float64] | None:
        """By how much features move the means of these users' priors, (n_users, n_bases); None for not at all."""
        if user_features is None:
            return None
        if self.cold is None:
            raise ValueError(
                f"{caller}: user_features mean nothing to a model that was fitted without: pass them to fit, or leave "
                "them out"
            )
        return self.cold.shift(user_features, users, caller)

    def adapt(
        self, base: BaseRewards, history: History, n_jobs: int | None = None, verbose: Verbose = "auto"
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
        given = self.params, self.rule, table, choices, base.device, n_jobs
        return adapt_arrays(*given, *base.held, shift=history.shift, verbose=verbose)
