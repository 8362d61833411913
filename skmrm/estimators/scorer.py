"""Scoring under some weights: the methods that a model, before adaptation, and its users have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.threads import one_thread
from skmrm.base_rewards import BaseRewards, check_user_pairs
from skmrm.episodes import EpisodeSet
from skmrm.episodes.items import responses_to_rank, responses_to_score
from skmrm.metrics import outcome_probabilities
from skmrm.metrics.margins import sigmoid

__all__ = ["RewardScorer"]


class RewardScorer(ABC):
    """Scoring with some weights over shared base reward functions.

    Rewards are in logits: a difference of 1 is odds of e. They have no natural zero, and only differences under one
    user's weights mean anything.
    """

    @abstractmethod
    def _scorer(self) -> tuple[BaseRewards, NDArray[Any]]:
        """Base reward functions and the weights (n_bases,) to score with."""

    def predict(self, X: Any) -> NDArray[Any]:
        """Rewards of responses.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)
            Texts (or lists of chat messages) for a model fitted on texts, feature vectors for one fitted on arrays.

        Returns
        -------
        ndarray of shape (n,)
            In logits; float32 for texts, the dtype of fit's features for arrays.
        """
        base, weights = self._scorer()
        return _weighed(base.of_items(X, "predict", type(self).__name__), weights)

    def predict_proba(self, pairs: Any) -> NDArray[Any]:
        r"""Probability that the first response of each pair is preferred, :math:`\sigma(r(chosen) - r(rejected))`.

        That is, where one must be; :meth:`predict_outcomes` has ties.

        Parameters
        ----------
        pairs : Episode, EpisodeSet, list of (prompt, chosen, rejected), list of dicts, or table
            One user's pairs.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Between 0 and 1.
        """
        return sigmoid(self.decision_function(pairs))

    def predict_outcomes(self, pairs: Any) -> NDArray[np.float64]:
        """Probability that the first response of each pair is preferred, that neither is, and that the second one is.

        Parameters
        ----------
        pairs : Episode, EpisodeSet, list of (prompt, chosen, rejected), list of dicts, or table
            One user's pairs.

        Returns
        -------
        ndarray of shape (n_pairs, 3)
            Win, tie and loss; rows sum to 1. Ties are as frequent as in fit, and impossible if nobody tied there.
        """
        return outcome_probabilities(self.decision_function(pairs), self._held())

    def _held(self) -> NDArray[np.float64] | None:
        """Thresholds that pairs are held against."""
        return self._scorer()[0].thresholds_of(0)

    def decision_function(self, pairs: Any) -> NDArray[Any]:
        """Reward of the chosen minus reward of the rejected response of each pair.

        Parameters
        ----------
        pairs : Episode, EpisodeSet, list of (prompt, chosen, rejected), list of dicts, or table
            One user's pairs.

        Returns
        -------
        ndarray of shape (n_pairs,)
            In logits; positive where the model agrees with the choice.
        """
        base, weights = self._scorer()
        episodes = self._read_pairs(pairs)
        if episodes.n_pairs == 0:
            return np.empty(0, weights.dtype)
        rewards = _weighed(base.of_episodes(episodes), weights)
        return rewards[episodes.chosen] - rewards[episodes.rejected]

    def _read_pairs(self, pairs: Any) -> EpisodeSet:
        base, _ = self._scorer()
        return check_user_pairs(pairs, base, "predict_proba")

    def rank(self, prompt: Any, responses: Any) -> NDArray[np.intp]:
        """Order responses to a prompt, best first.

        Parameters
        ----------
        prompt : str or list of chat messages
            For a model fitted on arrays: None.
        responses : sequence of str, or array of shape (n, n_features)

        Returns
        -------
        ndarray of int of shape (n,)
            Indices into `responses`; ties keep their order.
        """
        base, _ = self._scorer()
        return np.argsort(-self.predict(responses_to_rank(prompt, responses, base.kind)), kind="stable")

    def _score_responses(self, prompt: Any, response: Any) -> Any:
        """Reward of one response (a float), or of several, each to its prompt (an array)."""
        base, _ = self._scorer()
        items, is_one = responses_to_score(prompt, response, base.kind)
        rewards = self.predict(items)
        return float(rewards[0]) if is_one else rewards


def _weighed(base_rewards: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Rewards (n,) of base rewards (n, n_bases) under some weights."""
    with one_thread():
        return base_rewards @ weights
