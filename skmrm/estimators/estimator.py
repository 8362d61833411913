"""What every reward estimator does once it is fitted: adapt, score, transform, save, export."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skmrm._support.progress import verbose_of
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import Episode, EpisodeSet
from skmrm.episodes.fitted import check_episodes, check_user_pairs
from skmrm.episodes.questions import Question
from skmrm.estimators.fitter import EpisodeFitter
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.estimators.scorer import RewardScorer
from skmrm.estimators.user_model import UserRewardModel
from skmrm.estimators.users import UserModels
from skmrm.export.hub import HubModel
from skmrm.export.sources import Source, model_source
from skmrm.model_selection import adaptation_scorer

if TYPE_CHECKING:
    from typing import Self

    from skmrm.export.card_facts import CardFacts

__all__ = ["RewardEstimator"]


class RewardEstimator(HubModel, RewardScorer, TransformerMixin, EpisodeFitter):
    """A model of many users' rewards over shared base reward functions, which adapts to new users.

    A subclass has parameters, a ``fit`` that calls :meth:`_fit` with its part of the core, and docs.
    """

    # What a saved folder says it holds; only the class that wrote it reads it.
    _file_kind: ClassVar[str]
    # Fitted names that are saved beside the parameters: JSON values, and arrays (left out where None).
    _fitted_values: ClassVar[tuple[str, ...]] = ("ridge_", "selection_", "history_", "n_users_", "n_pairs_")
    _fitted_arrays: ClassVar[tuple[str, ...]] = ()
    _of_persons: ClassVar[bool] = False

    # The first arguments of these methods are the data, under the names of this field; not metadata to be routed.
    __metadata_request__fit = {"episodes": UNUSED}  # noqa: RUF012
    __metadata_request__score = {"prompt": UNUSED, "response": UNUSED}  # noqa: RUF012
    __metadata_request__decision_function = {"pairs": UNUSED}  # noqa: RUF012

    @property
    def base_rewards_(self) -> BaseRewards:
        """Encoder, standardisation and base reward functions; they compute on what `device` is now."""
        check_is_fitted(self)
        return self._base_rewards.on(self.device)

    @property
    def kernel_(self) -> Literal["rbf"] | None:
        """Whether the base reward functions have Nyström features of a Gaussian kernel: "rbf", or None."""
        check_is_fitted(self)
        return "rbf" if "kernel.out" in self.base_rewards_.params else None

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns of the data frame that fit was given, (n_features,) object array of str.

        Data frames that come later have to have the same columns in the same order.

        Raises
        ------
        AttributeError
            If fit was given texts, or features without names.
        """
        check_is_fitted(self)
        if self._base_rewards.feature_names is None:
            raise AttributeError("feature_names_in_ exists only after a fit on a data frame whose columns are texts")
        return np.array(self._base_rewards.feature_names, dtype=object)

    def adapt(
        self,
        user_pairs: Any,
        *,
        user_features: Any = None,
        half_life: float | timedelta | None = None,
        **columns: Hashable | None,
    ) -> UserRewardModel:
        """Turn a handful of a user's choices into that user's reward model.

        Parameters
        ----------
        user_pairs : Episode, list of (prompt, chosen, rejected), list of dicts, table, or pathlib.Path of a file of one
            One user's choices; texts or arrays as in fit. No choices give the starting weights.
        user_features : dict, sequence, or row of a data frame, optional
            What is known of the user, as fit had it of others: moves the mean of the prior. What is missing, and values
            that fit has not seen, count as not known.
        half_life : float > 0 or timedelta, optional
            Time in which a choice loses half of its weight, in the unit of the choices' times (seconds where these are
            dates), counted back from the latest. None lets all count alike.
        **columns : str
            Of a table or a list of dicts, columns that go by other names than ``prompt``, ``chosen``, ``rejected``,
            ``response_a``, ``response_b``, ``winner``, ``response``, ``rating``, ``outcome``, ``weight`` and ``time``,
            as for :func:`skmrm.episodes_from_frame`: ``chosen="better"``. None for a column not to be looked for.

        Returns
        -------
        UserRewardModel
            The model itself is unchanged, to the bit. Its ``update`` adds more choices.

        Raises
        ------
        EpisodeError
            If the pairs break a rule; all mistakes are listed.
        """
        check_is_fitted(self)
        base = self.base_rewards_
        episodes = check_user_pairs(user_pairs, base, "adapt", columns)
        shift = self._inner.shift(user_features, episodes.users.tolist(), "adapt")
        history = self._inner.history_of(base, episodes, shift)
        weights, covariance = self._inner.adapt(base, history.fading(half_life), self.n_jobs)
        own = None if covariance is None else covariance[0]
        return UserRewardModel(base, weights[0], own, episodes.n_pairs, self._inner, history)

    def adapt_many(
        self,
        episodes: EpisodeSet | list[Episode],
        *,
        user_features: Any = None,
        half_life: float | timedelta | None = None,
    ) -> UserModels:
        """Reward models of many users, in one batched computation.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Each user's choices.
        user_features : array of shape (n_users, n_user_features), data frame, or mapping of users to rows, optional
            As of ``fit`` of :class:`skmrm.MetaRewardModel`.
        half_life : float > 0 or timedelta, optional
            As of :meth:`adapt`.

        Returns
        -------
        UserModels
            A mapping from user id to :class:`skmrm.UserRewardModel`. Its ``update`` adds choices and users.
        """
        check_is_fitted(self)
        checked = self._check_episodes(episodes, "adapt_many")
        if len(set(checked.users.tolist())) < checked.n_users:
            raise ValueError("adapt_many takes each user once, got repeated users: join their pairs")
        shift = self._inner.shift(user_features, checked.users.tolist(), "adapt_many")
        return self._adapted(checked, shift, half_life)

    def _adapted(
        self, checked: EpisodeSet, shift: NDArray[Any] | None, half_life: float | timedelta | None = None
    ) -> UserModels:
        """Reward models of checked users, with what is known of them beside their choices."""
        history = self._inner.history_of(self.base_rewards_, checked, shift)
        weights, covariance = self._inner.adapt(
            self.base_rewards_, history.fading(half_life), self.n_jobs, verbose_of(self)
        )
        adapted = checked.users, weights, covariance, checked.pairs_per_user, self.start_weights_
        return UserModels(self.base_rewards_, *adapted, self._inner, history)

    def suggest_pairs(self, candidates: Any, n: int = 1, context: Any = None) -> list[Question]:
        """What to ask a new user first; see :meth:`skmrm.UserRewardModel.suggest_pairs`.

        Parameters
        ----------
        candidates, n, context
            As there.

        Returns
        -------
        list of Question
        """
        return self.adapt([]).suggest_pairs(candidates, n, context)

    def score(self, prompt: Any, response: Any = None) -> Any:
        """Reward before adaptation; or, with episodes alone, mean user-level accuracy after it.

        Parameters
        ----------
        prompt : str, list of chat messages, or a sequence of either; or episodes
            With `response`, what the responses answer. Alone, an EpisodeSet or list of Episode: what scikit-learn's
            model selection passes.
        response : str, or sequence of str, optional
            Responses to score. Ignored with episodes: scikit-learn passes labels here, such as strata of users.

        Returns
        -------
        float or ndarray of shape (n,)
            Rewards in logits. With episodes: each user is adapted on its own support (half its groups) and judged on
            the rest; the mean over users of the share of query pairs predicted right (ties count half), over three
            splits that depend on nothing but the episodes. It is the mean of
            :func:`skmrm.model_selection.adaptation_curve` at all support pairs: users with one group cannot be judged
            and are left out.

        Raises
        ------
        EpisodeError
            If the episodes break a rule, or no user has pairs in two groups.
        """
        check_is_fitted(self)
        if not _looks_like_episodes(prompt):
            if response is not None:
                return self._score_responses(prompt, response)
            raise TypeError(
                "score(episodes) takes an EpisodeSet or a list of Episode and returns accuracy; "
                f"score(prompt, response) takes texts and returns rewards; got {type(prompt).__name__} alone"
            )
        return adaptation_scorer()(self, self._check_episodes(prompt, "score"))

    def transform(self, X: Any) -> NDArray[Any]:
        """Base rewards of responses: a few learnt features.

        As a step of a Pipeline over items, freeze the fitted model (``sklearn.frozen.FrozenEstimator``).

        Parameters
        ----------
        X : list of (prompt, response), array of shape (n, n_features), or episodes
            Episodes give a row for each distinct item.

        Returns
        -------
        ndarray of shape (n, n_bases)
            In logits per unit of weight.
        """
        check_is_fitted(self)
        if _looks_like_episodes(X):
            return self.base_rewards_.of_episodes(self._check_episodes(X, "transform"))
        return self.base_rewards_.of_items(X, "transform", type(self).__name__)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the base rewards: base_reward0, base_reward1, ...

        Parameters
        ----------
        input_features : None
            Ignored.
        """
        check_is_fitted(self)
        return np.array([f"base_reward{i}" for i in range(self.base_rewards_.n_bases)], dtype=object)

    @property
    def thresholds_(self) -> NDArray[np.float64] | None:
        """Thresholds of ties and strengths, (n_grades,), in logits; None if fit had plain choices alone.

        The first is half as wide as ties are: up to there neither response is better; from one to the next is a
        strength. See :mod:`skmrm.meta.thresholds`.
        """
        return self.base_rewards_.thresholds

    @property
    def user_effects_(self) -> NDArray[np.float64] | None:
        """What each user feature, standardised, does to each weight before the first choice, (n_bases, n_columns).

        None if fit had no user features, or they did not help users left out.
        """
        check_is_fitted(self)
        return None if self._cold is None else self._cold.effects

    @property
    def start_weights_(self) -> NDArray[Any]:
        """Weights of a user without choices, (n_bases,)."""
        check_is_fitted(self)
        return self._start_weights

    def save(self, path: Any) -> None:
        """Write the fitted model into a folder: safetensors and JSON, no pickle.

        Parameters
        ----------
        path : str or path
            A folder; made if it is not there.

        Raises
        ------
        ValueError
            If the encoder or the inner rule cannot be written without pickle.
        """
        from skmrm.estimators.saving import save_model

        check_is_fitted(self)
        save_model(self, path)

    @classmethod
    def load(cls, path: Any, device: str = "auto") -> Self:
        """Read a model written by :meth:`save`; nothing in the files is executed.

        Parameters
        ----------
        path : str or path
        device : str
            Where to compute: the parameter of that name, which is not saved.

        Raises
        ------
        ModelFileError
            If a file is missing, truncated, altered, or of a newer schema.
        ValueError
            If this machine does not have the device.
        """
        from skmrm.estimators.saving import load_model

        return load_model(cls, path, device)

    def _sharing_problems(self) -> list[str]:
        from skmrm.export.card_facts import encoder_problems

        check_is_fitted(self)
        return encoder_problems(self.encoder_)

    def _write_files(self, folder: Any, include: frozenset[str]) -> None:
        self.save(folder)

    def _card_facts(self, include: frozenset[str], onnx: bool) -> CardFacts:
        from skmrm.export.card_facts import facts_of_model

        check_is_fitted(self)
        return facts_of_model(self, None if self._cold is None else self._cold.columns, onnx)

    def _repr_html_inner(self) -> str:
        """scikit-learn's diagram; of a fitted estimator with what it was fitted on below."""
        diagram = str(super()._repr_html_inner())
        if not self.__sklearn_is_fitted__():
            return diagram
        from skmrm.estimators.summary import fitted_page

        return diagram + fitted_page(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        shown = dict(super()._repr_mimebundle_(**kwargs))
        return shown | {"text/html": self._repr_html_inner()} if "text/html" in shown else shown

    def _export_source(self) -> Source:
        check_is_fitted(self)
        source = model_source(self.base_rewards_, self.start_weights_, self.adaptation_, self._rule_params)
        cold = self._cold
        if cold is None or cold.encoder is not None:  # which runs where scikit-learn is
            return source
        return source.knowing(cold.columns.columns, cold.effects)

    def _scorer(self) -> tuple[BaseRewards, NDArray[Any]]:
        check_is_fitted(self)
        return self.base_rewards_, self.start_weights_

    @property
    def _inner(self) -> InnerLoop:
        return InnerLoop(self.adaptation_, self._rule_params, self._cold)

    def _check_episodes(self, episodes: Any, context: str) -> EpisodeSet:
        return check_episodes(episodes, self.base_rewards_, context)

    def _read_pairs(self, pairs: Any) -> EpisodeSet:
        """Pairs of any number of users: before adaptation all have the same reward."""
        check_is_fitted(self)
        if _looks_like_episodes(pairs):
            return self._check_episodes(pairs, "predict_proba")
        return super()._read_pairs(pairs)


def _looks_like_episodes(data: Any) -> bool:
    if isinstance(data, EpisodeSet | Episode):
        return True
    return isinstance(data, list | tuple | np.ndarray) and len(data) > 0 and isinstance(data[0], Episode)
