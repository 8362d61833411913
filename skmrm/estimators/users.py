"""Many adapted users over one table of weights."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import name_some
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import EpisodeSet
from skmrm.episodes.arrays import id_array
from skmrm.episodes.fitted import check_episodes
from skmrm.episodes.history import History
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.estimators.scorer import thresholds_by_pair
from skmrm.estimators.user_model import WHY_GONE, UserRewardModel, frozen
from skmrm.export import OnnxExport
from skmrm.export.sources import Source, users_source
from skmrm.metrics import outcome_probabilities
from skmrm.metrics.margins import sigmoid
from skmrm.metrics.ratings import rated_margins, rated_outcomes

__all__ = ["UserModels"]


class UserModels(OnnxExport, Mapping[Hashable, UserRewardModel]):
    """Adapted users as a mapping from user id to :class:`UserRewardModel`, over one table of weights.

    Attributes
    ----------
    users_ : ndarray of object of shape (n_users,)
    weights_ : ndarray of shape (n_users, n_bases)
    weights_cov_ : ndarray of shape (n_users, n_bases, n_bases) or None
    n_pairs_ : ndarray of int of shape (n_users,)
    start_weights_ : ndarray of shape (n_bases,) or None
        Weights of a user without choices, under the model that these users were adapted with; None if not given.
    """

    def __init__(
        self,
        base: BaseRewards,
        users: NDArray[Any],
        weights: NDArray[Any],
        covariance: NDArray[Any] | None,
        n_pairs: NDArray[Any],
        start_weights: NDArray[Any] | None = None,
        inner: InnerLoop | None = None,
        history: History | None = None,
    ) -> None:
        self._base = base
        self._inner = inner
        self._history = history
        self.users_ = users
        self.weights_ = frozen(weights)
        self.weights_cov_ = None if covariance is None else frozen(covariance)
        self.n_pairs_ = frozen(n_pairs)
        self.start_weights_ = None if start_weights is None else frozen(start_weights)
        self._row = {user: row for row, user in enumerate(users.tolist())}

    def __getitem__(self, user: Hashable) -> UserRewardModel:
        try:
            row = self._row[user]
        except KeyError:
            raise KeyError(
                f"no user {user!r} among {len(self)} adapted users ({name_some(self._row)}): adapt it first"
            ) from None
        covariance = None if self.weights_cov_ is None else self.weights_cov_[row]
        history = None if self._history is None else self._history.take(np.array([row]))
        n_pairs = int(self.n_pairs_[row])
        return UserRewardModel(self._base, self.weights_[row], covariance, n_pairs, self._inner, history)

    def update(self, episodes: Any, *, half_life: float | timedelta | None = None) -> UserModels:
        """Learn from more choices of these users, and of new ones: the same as adapting all on everything they said.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            New choices, of some of the users or of others.
        half_life : float > 0 or timedelta, optional
            As for :meth:`skmrm.MetaRewardModel.adapt_many`; of users without new choices nothing changes.

        Returns
        -------
        UserModels
            New users behind the others. This one is unchanged.

        Raises
        ------
        ValueError
            If earlier choices were not kept, or a user comes twice.
        EpisodeError
            If the pairs break a rule, or have no times where `half_life` needs them.
        """
        if self._inner is None or self._history is None:
            raise ValueError(f"update needs the users' earlier choices, and they {WHY_GONE}")
        checked = check_episodes(episodes, self._base, "update")
        new = self._inner.history_of(self._base, checked)
        named = checked.users.tolist()
        if len(set(named)) < len(named):
            raise ValueError("update takes each user once, got repeated users: join their pairs")
        more = [user for user in named if user not in self._row]
        row = self._row | {user: place for place, user in enumerate(more, len(self))}
        rows = np.array([row[user] for user in named], np.intp)
        history = self._history.joined(new, rows, len(row))
        weights, covariance = self._inner.adapt(self._base, history.take(rows).fading(half_life))
        return UserModels(
            self._base,
            np.concatenate([self.users_, id_array(more)]),
            _put(self.weights_, rows, weights, len(row)),
            None
            if covariance is None or self.weights_cov_ is None
            else _put(self.weights_cov_, rows, covariance, len(row)),
            history.pairs_per_user,
            self.start_weights_,
            self._inner,
            history,
        )

    def compact(self) -> UserModels:
        """The same users without earlier choices, K numbers each: smaller, and no longer to be updated.

        Returns
        -------
        UserModels
        """
        adapted = self.users_, self.weights_, self.weights_cov_, self.n_pairs_, self.start_weights_
        return UserModels(self._base, *adapted, self._inner)

    def decision_function(self, episodes: Any) -> NDArray[Any]:
        """Reward of the chosen minus reward of the rejected response, each pair under its own user's model.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted, all or some.

        Returns
        -------
        ndarray of shape (n_pairs,)
            In logits, in the order of the set's pairs; positive where the model agrees with the choice, or with the
            side of the bar that a rating is on.

        Raises
        ------
        KeyError
            If users were not adapted.
        """
        checked, rows = self._checked(episodes, "decision_function")
        if checked.n_pairs == 0:
            return np.empty(0, self.weights_.dtype)
        rewards, bar, rating = self._base.of_episodes(checked), self._base.bar, checked.rating
        other = rewards[checked.rejected]
        if rating is not None and bar is not None:
            other = np.where(rating[:, None] > 0, bar, other)
        margins = np.einsum("pk,pk->p", rewards[checked.chosen] - other, self.weights_[rows])
        cuts, unknown = (self._base.cuts_of(n_pairs) for n_pairs in (1, 0))
        if rating is None or cuts is None or unknown is None:
            return margins
        known = rated_margins(margins, rating, cuts)
        return np.where(self.n_pairs_[rows] > 0, known, rated_margins(margins, rating, unknown))

    def _checked(self, episodes: Any, caller: str) -> tuple[EpisodeSet, NDArray[np.intp]]:
        """The episodes, all of whose users were adapted, and the row of each pair's user, (n_pairs,)."""
        checked = check_episodes(episodes, self._base, caller)
        unknown = [user for user in checked.users.tolist() if user not in self._row]
        if unknown:
            raise KeyError(f"users {name_some(unknown)} were not adapted: pass them to adapt_many first")
        return checked, np.array([self._row[user] for user in checked.users.tolist()], np.intp)[checked.user]

    def predict_proba(self, episodes: Any) -> NDArray[Any]:
        """Probability of each choice under its own user's model.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode

        Returns
        -------
        ndarray of shape (n_pairs,)
            Between 0 and 1.
        """
        return sigmoid(self.decision_function(episodes))

    def predict_outcomes(self, episodes: Any) -> NDArray[np.float64]:
        """Probability of win, tie and loss of each pair's first response, under its own user's model.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode

        Returns
        -------
        ndarray of shape (n_pairs, 3)
            Rows sum to 1.
        """
        return outcome_probabilities(self.decision_function(episodes), self.held_against(episodes))

    def held_against(self, episodes: Any) -> NDArray[np.float64] | None:
        """Thresholds of each pair: those of the population; of users without choices those of one reward for all.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted.

        Returns
        -------
        ndarray of shape (n_pairs, n_grades) or None
            In logits; None where fit had plain choices alone. Of ratings, the cuts on their side of the bar.
        """
        checked, rows = self._checked(episodes, "held_against")
        known, unknown = (thresholds_by_pair(self._base, checked, n_pairs) for n_pairs in (1, 0))
        if known is None or unknown is None:
            return None
        return np.where(self.n_pairs_[rows, None] > 0, known, unknown)

    def outcomes_of(self, episodes: Any) -> NDArray[np.int64] | None:
        """What was said of each pair, as an outcome of its margin; of ratings, the levels that they are off the middle.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Pairs of users that were adapted.

        Returns
        -------
        ndarray of int of shape (n_pairs,) or None
            0 for a tie; None where all are plain choices.
        """
        checked, _ = self._checked(episodes, "outcomes_of")
        cuts = self._base.cuts
        if checked.rating is None or cuts is None:
            return checked.outcome
        return rated_outcomes(checked.rating, checked.outcome, len(cuts) + 1)

    @property
    def thresholds_(self) -> NDArray[np.float64] | None:
        """Of ties and strengths in the population, (n_grades,), in logits; None where fit had plain choices alone."""
        return self._base.thresholds

    def _export_source(self) -> Source:
        return users_source(self._base, self.weights_)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __repr__(self) -> str:
        return f"UserModels(n_users={len(self)}, n_bases={self.weights_.shape[1]})"


def _put(array: NDArray[Any], rows: NDArray[np.intp], values: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """A copy with so many rows, of which some have other values."""
    found = np.empty((n_rows, *array.shape[1:]), array.dtype)
    found[: len(array)] = array
    found[rows] = values
    return found
