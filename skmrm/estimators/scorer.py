"""Scoring under some weights: the methods that a model, before adaptation, and its users have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.threads import one_thread
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.fitted import check_user_pairs
from skmrm.episodes.items import responses_to_rank, responses_to_score
from skmrm.metrics import outcome_probabilities
from skmrm.metrics.margins import sigmoid
from skmrm.metrics.ratings import level_probabilities, middle_of, rated_margins, rated_thresholds

__all__ = ["RewardScorer", "thresholds_by_pair"]


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
        episodes = self._read_pairs(pairs)
        held = thresholds_by_pair(self._scorer()[0], episodes, self._n_choices)
        return outcome_probabilities(self._margins(episodes), held)

    @property
    def _n_choices(self) -> int:
        """How many choices the weights are from."""
        return 0

    def predict_ratings(self, X: Any) -> NDArray[np.float64]:
        """Probability of each level of a rating, were each response judged alone.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_levels)
            From the worst level to the best, as ``rating_scale_`` of the model names them; rows sum to 1.

        Raises
        ------
        AttributeError
            If the model was fitted without ratings.
        """
        base, weights = self._scorer()
        cuts = base.cuts_of(self._n_choices)
        if base.bar is None or cuts is None:
            raise AttributeError(
                "predict_ratings exists only after a fit on ratings, such as episodes_from_ratings reads"
            )
        return level_probabilities(self.predict(X) - _weighed(base.bar[None], weights), cuts)

    @property
    def bar_(self) -> float | None:
        """Reward of a response in the middle of the rating scale, in logits: more is good enough; None without ratings.

        Of thumbs, up is as likely as down there. Rewards have a zero of their own only in this.
        """
        base, weights = self._scorer()
        cuts = base.cuts_of(self._n_choices)
        if base.bar is None or cuts is None:
            return None
        return float(_weighed(base.bar[None], weights)[0]) + middle_of(cuts)

    @property
    def rating_scale_(self) -> tuple[Any, ...] | None:
        """What each level of a rating begins at, or is called, worst first; None if fit had no ratings."""
        return self._scorer()[0].scale

    def decision_function(self, pairs: Any) -> NDArray[Any]:
        """Reward of the chosen minus reward of the rejected response of each pair.

        Parameters
        ----------
        pairs : Episode, EpisodeSet, list of (prompt, chosen, rejected), list of dicts, or table
            One user's pairs.

        Returns
        -------
        ndarray of shape (n_pairs,)
            In logits; positive where the model agrees with the choice. Of a rating, by how much the response is above
            :attr:`bar_`, or below it where the rating is.
        """
        return self._margins(self._read_pairs(pairs))

    def _margins(self, episodes: EpisodeSet) -> NDArray[Any]:
        base, weights = self._scorer()
        if episodes.n_pairs == 0:
            return np.empty(0, weights.dtype)
        rewards = _weighed(base.of_episodes(episodes), weights)
        margins = rewards[episodes.chosen] - rewards[episodes.rejected]
        cuts = base.cuts_of(self._n_choices)
        if episodes.rating is None or base.bar is None or cuts is None:
            return margins
        over = rewards[episodes.chosen] - _weighed(base.bar[None], weights)
        return rated_margins(np.where(episodes.rating > 0, over, margins), episodes.rating, cuts)

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


def thresholds_by_pair(base: BaseRewards, episodes: EpisodeSet, n_choices: int) -> NDArray[np.float64] | None:
    """What pairs are held against, (n_grades,) or (n_pairs, n_grades), for a user with so many choices."""
    thresholds, cuts = base.thresholds_of(n_choices), base.cuts_of(n_choices)
    if episodes.rating is None or cuts is None:
        return thresholds
    return rated_thresholds(episodes.rating, thresholds, cuts)


def _weighed(base_rewards: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Rewards (n,) of base rewards (n, n_bases) under some weights."""
    with one_thread():
        return base_rewards @ weights
