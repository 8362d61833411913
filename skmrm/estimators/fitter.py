"""From episodes to a fitted estimator: checks, encoding, the core, and what is kept of it."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from skmrm._support.device import device_problems
from skmrm._support.progress import Verbose
from skmrm._support.tensors import Arrays, numpy_parameters
from skmrm._support.threads import one_thread, threads_for
from skmrm._support.wording import name_some, raise_all
from skmrm.base_rewards import BaseRewards, make_base_rewards
from skmrm.callbacks import FitCallback, callback_problems
from skmrm.encoders._cache import Memory, as_store
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.episodes.episode_set import in_stored_order
from skmrm.episodes.history import History
from skmrm.episodes.rules import nonfinite_problems
from skmrm.episodes.user_features import ColdStart, UserColumns, encoded_users, read_user_features
from skmrm.estimators.checkpoints import Checkpoints
from skmrm.estimators.core_data import PLAIN, CoreData, core_data, prior_of, start_weights
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.estimators.streaming import Streamed, divide, fits
from skmrm.estimators.telling import told_fit
from skmrm.exceptions import EpisodeError
from skmrm.explanation.moments import kept_moments
from skmrm.meta.adaptation import Adaptation
from skmrm.meta.fit import Fitted, apart_from_bar
from skmrm.meta.outer.keeper import KEEPS_NOTHING, Keeper
from skmrm.meta.prior.cold_start import user_effects
from skmrm.meta.tell import Tell
from skmrm.meta.tensors.pairs import MEDIANS, most_pairs
from skmrm.meta.tensors.tables import products_under

if TYPE_CHECKING:
    from typing import Self

__all__ = ["EpisodeFitter"]

_ENCODE, _USERS = "encode", "features of users"  # stages before and after those of the core


class EpisodeFitter(BaseEstimator):
    """The parameters that every reward estimator has, and the frame of its ``fit``."""

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        "encoder": [None, str, os.PathLike, HasMethods(["fit", "transform"])],
        "text_statistics": ["boolean"],
        "memory": [None, str, os.PathLike, HasMethods(["cache"]), HasMethods(["opened_with", "encoded"])],
        "random_state": ["random_state"],
        "n_jobs": [None, Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "verbose": ["verbose", StrOptions({"auto"})],
    }

    encoder: Any
    text_statistics: bool
    memory: Memory
    random_state: int | np.random.RandomState | None
    n_jobs: int | None
    device: str
    verbose: Verbose

    encoder_: Any
    _base_rewards: BaseRewards
    adaptation_: Adaptation
    ridge_: float | None
    selection_: list[dict[str, Any]]
    history_: list[dict[str, Any]]
    n_features_in_: int
    n_users_: int
    n_pairs_: int | None
    user_selection_: list[dict[str, Any]]
    _cold: ColdStart | None = None
    hub_commit_: str | None = None

    def _fit(
        self,
        episodes: EpisodeSet | list[Episode],
        core: Callable[[CoreData], Fitted],
        callbacks: Sequence[FitCallback] | None = None,
        support_fraction: float | None = None,
        checkpoints: Checkpoints | None = None,
        max_memory: float | None = None,
        user_features: Any = None,
    ) -> Self:
        """Check everything, encode, let the core learn, and keep what it learnt."""
        problems = [] if checkpoints is None else checkpoints.problems()
        self._check_parameters([*problems, *callback_problems(callbacks)])
        found = _read_episodes(episodes)
        known = None if user_features is None else self._known_of_users(user_features, found.users.tolist())
        _warn_of_heavy_users(found)
        first, last = [_ENCODE] * (found.features is None), [_USERS] * (known is not None)
        with told_fit(self, found, [*first, *self._stages(), *last], callbacks or ()) as tell:
            return self._learn(found, known, core, tell, support_fraction, checkpoints, max_memory)

    def _learn(
        self,
        found: EpisodeSet,
        known: tuple[ColdStart, NDArray[np.float64]] | None,
        core: Callable[[CoreData], Fitted],
        tell: Tell,
        support_fraction: float | None,
        checkpoints: Checkpoints | None,
        max_memory: float | None,
    ) -> Self:
        if found.features is None:
            tell(_ENCODE)
        encoder, checked, in_memory = self._in_order(found, max_memory)
        sizes, names, seeds = (checked.n_users, checked.n_pairs), checked.feature_names, self._draw_seeds()
        grades = PLAIN if checked.is_plain else (checked.n_grades, max(0, checked.n_levels - 1))
        scale = checked.scale or tuple(range(1, checked.n_levels + 1)) or None
        if checked.features is None:
            features = np.ascontiguousarray(encoder.fit_transform(checked.items))  # a frame, where set_config wants one
        else:
            features = np.asarray(checked.features) if in_memory else checked.features
        keeper: Keeper = KEEPS_NOTHING
        rng = np.random.default_rng(seeds)
        if checkpoints is not None:
            files = checkpoints.keeper(checked, features, self.get_params(deep=False), seeds)
            rng, keeper = files.draws, files
        others = None
        if max_memory is not None and not in_memory:
            checked, rest = divide(checked, max_memory, rng)
            features = checked.features
            others = Streamed(rest, max_memory, support_fraction, rng, self.device, grades)
        n_own = _n_statistics(encoder)
        data = core_data(checked, features, support_fraction, rng, self.device, keeper, others, n_own, grades)
        data = replace(data, tell=tell)
        with one_thread(), products_under(threads_for):
            fitted = apart_from_bar(core(data), grades[1])
        self._keep(fitted, encoder, sizes, names, scale)
        moments = kept_moments(self._base_rewards, checked, features, n_own)
        self._base_rewards = self._base_rewards.knowing({} if moments is None else moments.as_arrays())
        self._cold = None
        if known is not None:
            tell(_USERS)
            encoded = checked if checked.features is not None else checked.with_features(features)
            self._learn_of_users(known, found.users.tolist(), encoded, data)
        return self

    def _known_of_users(self, user_features: Any, users: list[Any]) -> tuple[ColdStart, NDArray[np.float64]]:
        """How features of users become numbers, and those of these users."""
        given: Any = getattr(self, "user_encoder", None)
        encoder = None if given is None else clone(given).fit(user_features)
        table = user_features if encoder is None else encoded_users(encoder, user_features, len(users), "fit")
        cold = ColdStart(UserColumns.fit(read_user_features(table, users, "fit")), encoder=encoder)
        return cold, cold.numbers(user_features, users, "fit")

    def _learn_of_users(
        self, known: tuple[ColdStart, NDArray[np.float64]], users: list[Any], episodes: EpisodeSet, data: CoreData
    ) -> None:
        """Learn what features of users do to the mean of the prior, from the users in memory."""
        cold, numbers = known
        base, inner = self._base_rewards, InnerLoop(self.adaptation_, self._rule_params)
        rewards = base.of_episodes(episodes)
        history = History.of(episodes, rewards, base.bar)
        nobody = History(history.gaps[:0], history.user[:0], 1)
        _, covariance = inner.adapt(base, nobody)
        if covariance is None:  # the rule has no prior: users as they are found
            covariance = np.cov(inner.adapt(base, history)[0].T)[None]
        row = {user: place for place, user in enumerate(users)}
        held, _ = base.held
        table = rewards if base.bar is None else np.concatenate([rewards, base.bar[None]])
        pairs = data.pairs.held_against(None if held is None else torch.from_numpy(held).to(data.pairs.offsets.device))
        own = numbers[[row[user] for user in episodes.users.tolist()]]
        given = (table, self._start_weights, covariance[0], own)
        tensors = [torch.from_numpy(np.array(one, float)).to(pairs.offsets.device) for one in given]
        bounded = pairs.bounded(most_pairs(pairs.totals))
        found = user_effects(bounded, data.generator, *tensors)
        effects = None if found.matrix is None else found.matrix.cpu().numpy()
        self._cold = replace(cold, effects=effects)
        self.user_selection_ = found.selection

    def _in_order(self, episodes: EpisodeSet, max_memory: float | None) -> tuple[Any, EpisodeSet, bool]:
        """What is to encode texts; the episodes in an order of their own; and whether all features can be held."""
        encoder = None
        if episodes.features is None:
            encoder, episodes = self._with_encoder(episodes.canonical())
        in_memory = max_memory is None or episodes.features is None or fits(episodes, max_memory)
        if not in_memory:
            return encoder, in_stored_order(episodes).in_order_of_rows(), False
        if encoder is not None:
            return encoder, episodes, True
        if problems := list(nonfinite_problems(episodes)):  # written into the caller's array since it was checked
            raise EpisodeError(problems)
        return None, episodes.canonical(), True

    @abstractmethod
    def _stages(self) -> Sequence[str]:
        """All that the core may tell of."""

    def _check_parameters(self, more: Sequence[str] = ()) -> None:
        """Raise one error for all that is wrong with the parameters, and whatever else is known to be wrong."""
        self._validate_params()
        raise_all([*self._problems(), *more])

    def _draw_seeds(self) -> list[int]:
        """Seeds of a fit, from the random state."""
        return check_random_state(self.random_state).randint(2**31, size=4).tolist()

    def _keep(
        self,
        fitted: Fitted,
        encoder: Any,
        sizes: tuple[int, int | None],
        feature_names: Sequence[str] | None = None,
        scale: Sequence[Any] | None = None,
    ) -> Self:
        """Set every attribute of a fitted estimator; sizes are users and pairs."""
        held = {"thresholds": fitted.thresholds, "pooled_thresholds": fitted.pooled_thresholds}
        params = numpy_parameters(fitted.params | {name: one for name, one in held.items() if one is not None})
        self._keep_learnt(params, encoder, fitted.rule, feature_names, scale)
        self.ridge_ = fitted.ridge
        self.selection_ = fitted.selection
        self.history_ = fitted.history
        self.n_users_, self.n_pairs_ = sizes
        self._pooled = None if fitted.pooled is None else fitted.pooled.cpu().numpy()
        return self

    def _keep_learnt(
        self,
        params: Arrays,
        encoder: Any,
        rule: Adaptation,
        feature_names: Sequence[str] | None = None,
        scale: Sequence[Any] | None = None,
    ) -> None:
        """Set what depends on learnt parameters: base reward functions, and how users get their weights on them."""
        self._rule_params = {
            name: value for name, value in params.items() if name == "start" or name.startswith("rule.")
        }
        base = {name: value for name, value in params.items() if name not in self._rule_params}
        self.adaptation_ = rule
        self.encoder_ = encoder
        self.hub_commit_ = None  # what follows is of no commit, whatever was read before
        self._base_rewards = make_base_rewards(base, encoder, self.device, feature_names, scale)
        crowd, covariance = prior_of(self._rule_params, rule, self._base_rewards.n_bases)
        prior = {} if covariance is None else {"crowd.cov": covariance}
        self._base_rewards = self._base_rewards.knowing({"crowd.weights": crowd} | prior)
        self.n_features_in_ = self._base_rewards.n_features
        self._start_weights = start_weights(self._rule_params, rule, self._base_rewards.n_bases)

    def _problems(self) -> list[str]:
        """Contradictions between parameters, and what this machine cannot do."""
        return device_problems(self.device)

    def _with_encoder(self, episodes: EpisodeSet) -> tuple[Any, EpisodeSet]:
        """What is to encode texts; and the episodes, with features that are read when needed if they are in a store."""
        from skmrm.encoders import build_encoder  # scikit-learn's text machinery, not needed for arrays

        encoder = build_encoder(
            self.encoder,
            text_statistics=self.text_statistics,
            memory=self.memory,
            n_jobs=self.n_jobs,
            verbose="auto" if self.verbose else False,  # that of a fit is shown by itself
        )
        if as_store(encoder.memory) is None:
            return encoder, episodes
        return encoder, episodes.with_features(encoder.fit_stored(episodes.items))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_base_rewards")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        tags.no_validation = True
        return tags


def _read_episodes(episodes: Any) -> EpisodeSet:
    try:
        return as_episode_set(episodes, context="fit")
    except TypeError as error:
        raise TypeError(
            f"{error}. Items and labels teach no rewards: where a fitted model is a step over items, freeze it, as in "
            "make_pipeline(sklearn.frozen.FrozenEstimator(model), LogisticRegression())"
        ) from None


def _warn_of_heavy_users(episodes: EpisodeSet) -> None:
    """Name whoever holds more than a tenth of all pairs, and twice what the median user holds, as no person may."""
    counts = episodes.pairs_per_user
    heavy = np.flatnonzero((10 * counts > episodes.n_pairs) & (counts > 2 * np.median(counts)))
    if len(heavy):
        held = ", ".join(f"{counts[row] / episodes.n_pairs:.0%}" for row in heavy[:3])
        warnings.warn(
            f"more than a tenth of the {episodes.n_pairs} pairs are of one user: "
            f"{name_some(episodes.users[row] for row in heavy)} ({held}). If that is not one person but a default id, "
            f"or many people's account, drop it; in what all users share nobody counts for more than {MEDIANS} times "
            "the median user's pairs",
            stacklevel=4,
        )


def _n_statistics(encoder: Any) -> int:
    """How many of an encoder's columns, the last, are statistics of style."""
    statistics = getattr(encoder, "statistics_", None)
    return 0 if statistics is None else len(statistics.get_feature_names_out())
