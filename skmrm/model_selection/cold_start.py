"""A model that is told of each user what is known before the first choice, as one that needs no telling."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmrm.episodes import EpisodeSet

__all__ = ["Informed"]


class Informed:
    """A fitted model that adapts to users whose features it has been given.

    Parameters
    ----------
    model : fitted estimator
        With user features in fit.
    episodes : EpisodeSet
        The users.
    user_features : object
        Of these users, as ``adapt_many`` of the model takes them.
    """

    def __init__(self, model: Any, episodes: EpisodeSet, user_features: Any) -> None:
        self.model = model
        self.encoder_ = getattr(model, "encoder_", None)
        users = episodes.users.tolist()
        inner = getattr(model, "_inner", None)
        if inner is None:
            raise TypeError(
                f"user_features need a model that takes them, such as MetaRewardModel, got {type(model).__name__}"
            )
        self._shift = inner.shift(user_features, users, "adaptation_curve")
        self._row = {user: row for row, user in enumerate(users)}

    def adapt_many(self, episodes: EpisodeSet) -> Any:
        """Users adapted from the mean that goes with their features."""
        checked = self.model._check_episodes(episodes, "adapt_many")
        if self._shift is None:
            return self.model._adapted(checked, None)
        rows = np.array([self._row[user] for user in checked.users.tolist()], np.intp)
        return self.model._adapted(checked, self._shift[rows])

    @property
    def pooled_model_(self) -> Any:
        """The one reward for everybody that the model has; AttributeError without one."""
        return self.model.pooled_model_
