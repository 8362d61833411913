"""The inner loop of a fitted model: what users have said in, their weights out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.tensors import Arrays
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.history import History
from skmrm.episodes.rules import check_rewards_to_learn
from skmrm.episodes.user_features import UserColumns, read_user_features
from skmrm.estimators.core_data import Choices, adapt_arrays
from skmrm.meta.adaptation import Adaptation

__all__ = ["ColdStart", "InnerLoop", "encoded_users"]


@dataclass(frozen=True)
class ColdStart:
    """What features of users do to the mean of the prior.

    Attributes
    ----------
    columns : UserColumns
        How features become numbers.
    effects : (n_bases, n_columns) array or None
        Of each number on each weight; None if none was found to help.
    encoder : fitted transformer or None
        What makes the columns, where it was given.
    """

    columns: UserColumns
    effects: NDArray[np.float64] | None = None
    encoder: Any = None

    def numbers(self, user_features: Any, users: Sequence[Hashable], caller: str) -> NDArray[np.float64]:
        """Standardised features (n_users, n_columns)."""
        if self.encoder is not None:
            user_features = encoded_users(self.encoder, user_features, len(users), caller)
        return self.columns.transform(read_user_features(user_features, users, caller), len(users))


def encoded_users(encoder: Any, user_features: Any, n_users: int, caller: str) -> NDArray[Any]:
    """What a fitted transformer makes of the features of so many users, as an array."""
    found = encoder.transform(user_features)
    found = np.asarray(found.toarray() if hasattr(found, "toarray") else found, float)
    if found.ndim != 2 or len(found) != n_users:
        raise ValueError(
            f"{caller}: user_encoder must make a row of each of {n_users} users, got an array of shape {found.shape}: "
            "pass user_features with a row for each, in the order of the users"
        )
    return found


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
        numbers = self.cold.numbers(user_features, users, caller)
        return None if self.cold.effects is None else numbers @ self.cold.effects.T

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
        rules = self.params, self.rule
        return adapt_arrays(*rules, table, choices, base.device, n_jobs, *base.held, shift=history.shift)
