"""The estimator: parameters, checks and orchestration; the mathematics is in `skmrm.meta`."""

from __future__ import annotations

import os
import warnings
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from joblib import Memory
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skmrm._bridge import adapt_arrays, fit_arrays, resolve_device
from skmrm._data.user_pairs import read_user_pairs
from skmrm.base_rewards import BaseRewards
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.exceptions import EpisodeError
from skmrm.meta.adaptation import Adaptation, GradientAdaptation, MapAdaptation
from skmrm.meta.fitting import MIN_JUDGED_USERS
from skmrm.meta.starts import FitOptions
from skmrm.meta.training import OuterOptions
from skmrm.metrics import user_level_accuracy
from skmrm.splits import support_query_split
from skmrm.user_model import RewardScorer, UserModels, UserRewardModel, check_episodes

__all__ = ["MetaRewardModel"]

# A learnt step size starts here: with base rewards of unit variance, a step that moves a margin by about a tenth.
_INITIAL_STEP_SIZE = 0.1
_SCORING_SPLITS = 3


class MetaRewardModel(RewardScorer, TransformerMixin, BaseEstimator):
    r"""Reward model that adapts to a new user from a handful of choices.

    Each user has their own reward, a weighted sum of a few shared base reward functions,
    :math:`r_u(x) = w_u \cdot \phi(x)`, and prefers a to b with probability
    :math:`\sigma(r_u(a) - r_u(b))` (Bradley-Terry).
    ``fit`` learns the base reward functions :math:`\phi` and the starting weights (and, under MAP adaptation, the
    prior) over many users; ``adapt`` moves the weights to a new user. Rewards are in logits.

    The defaults choose on validation users how far users may move from the pooled model, with "not at all" among the
    choices, so that a data set on which personalisation does not help gets one reward for everybody.

    Parameters
    ----------
    encoder : transformer, optional
        Texts to features: anything with scikit-learn's ``fit`` and ``transform`` over a list of (prompt, response), a
        Pipeline included. The default needs no download: hashed word and character n-grams, reduced. Not used for
        episodes of arrays.
    text_statistics : bool
        Append interpretable statistics of style (:class:`skmrm.encoders.TextStatistics`) to the encoder's features.
    memory : str, path or joblib.Memory, optional
        Cache encoded texts across calls.
    n_bases : int
        K, number of base reward functions.
    hidden_layers : tuple of int
        Widths of hidden layers in the base reward functions; empty for linear ones. With `spectral_init` they start as
        no correction to the linear part, and stay so unless the outer loop helps validation users: give it epochs.
    adaptation : {"map", "gradient"} or object
        Inner rule: mode of the posterior under a Gaussian prior on the weights; or `inner_steps` gradient steps, the
        paper's. An object with the interface of :class:`skmrm.meta.adaptation.Adaptation` plugs in another rule.
    inner_steps : int
        Gradient adaptation: number of steps.
    inner_lr : float, optional
        Gradient adaptation: step size. None chooses it on validation users (with `spectral_init`) and learns it, one
        for each base reward function.
    inner_optimizer : {"sgd", "adam"}
        Gradient adaptation: plain steps, or Adam's.
    weight_constraint : {"simplex"}, optional
        Gradient adaptation: weights are a softmax, positive with sum one.
    first_order : bool
        Gradient adaptation: leave out second derivatives in the outer loop.
    robust_ratio : float in (0, 1]
        :math:`\rho` of the Robust Personalization Objective: share of users regarded as hard to learn.
    robust_temperature : float, optional
        :math:`\gamma`, in nats: how gradually users count as hard; 0 keeps only the hardest share. None weights all
        users alike.
    users_per_batch : int
        Users in a step of the outer loop.
    max_epochs : int
        Epochs of the outer loop, at most. With `spectral_init`, its result is used only if it helped validation users
        by more than two standard errors. 0 for none.
    learning_rate : float
        Of the outer loop (Adam, 5 % warm-up, cosine decay).
    support_fraction : float, optional
        Share of a user's pairs that are support in the outer loop. None halves them and draws supports of random sizes,
        from one pair up, so that the model is good at any number of pairs.
    validation_fraction : float in [0, 0.5]
        Share of users to choose by and to stop by; where they are few, choices are cross-fitted over all users. 0 makes
        no choices: with `spectral_init` the pooled model, without it the last epoch.
    patience : int
        Epochs without a lower validation loss before the outer loop stops.
    spectral_init : bool or "auto"
        Start from the pooled Bradley-Terry model and the directions in which users differ (:mod:`skmrm.meta.spectral`),
        instead of at random. "auto" does so wherever the weights are unconstrained.
    random_state : int, RandomState instance, optional
        The same integer and data give the same bits on one machine.
    n_jobs : int, optional
        Processes that encode texts, as for joblib.Parallel; None is 1. Arithmetic uses torch's own threads.
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda", "cuda:1" ...
    verbose : int
        1 shows progress bars.

    Attributes
    ----------
    base_rewards_ : BaseRewards
        Encoder, standardisation and base reward functions.
    encoder_ : transformer or None
        The fitted encoder; None if fitted on arrays.
    start_weights_ : ndarray of shape (n_bases,)
        Weights of a user without choices.
    prior_scale_ : ndarray of shape (n_bases,)
        MAP adaptation: prior standard deviation of each weight.
    adaptation_ : Adaptation
        The inner rule, with what was chosen.
    ridge_ : float or None
        L2 penalty of the pooled model of the spectral start.
    selection_ : list of dict
        Validation loss of every strength of personalisation, with its standard error against none; the chosen one is
        marked.
    history_ : list of dict
        One record an epoch of the outer loop; epoch 0 is its start.
    n_features_in_ : int
        Number of features of an item, after encoding.
    n_users_ : int
        Number of users seen in fit.

    See Also
    --------
    skmrm.episodes_from_frame : Read a table of choices.
    skmrm.UserRewardModel : What ``adapt`` returns.

    References
    ----------
    "One Adapts to Any: Meta Reward Modeling for Personalized LLM Alignment", arXiv 2601.18731.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> data = make_user_preferences(n_users=60, n_pairs=20, n_features=5, n_bases=2, random_state=0)
    >>> model = MetaRewardModel(random_state=0).fit(data.episodes[:50])
    >>> new_user = data.episodes[55]
    >>> user_model = model.adapt(new_user)
    >>> user_model.predict_proba(new_user).shape
    (20,)
    """

    # The first arguments of these methods are the data, under the names of this field; not metadata to be routed.
    __metadata_request__fit = {"episodes": UNUSED}  # noqa: RUF012
    __metadata_request__score = {"prompt": UNUSED, "response": UNUSED}  # noqa: RUF012
    __metadata_request__decision_function = {"pairs": UNUSED}  # noqa: RUF012

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        "encoder": [None, str, HasMethods(["fit", "transform"])],
        "text_statistics": ["boolean"],
        "memory": [None, str, os.PathLike, HasMethods(["cache"])],
        "n_bases": [Interval(Integral, 1, None, closed="left")],
        "hidden_layers": [tuple, list],
        "adaptation": [StrOptions({"map", "gradient"}), HasMethods(["init", "constrain", "adapt", "covariance"])],
        "inner_steps": [Interval(Integral, 0, None, closed="left")],
        "inner_lr": [None, Interval(Real, 0, None, closed="neither")],
        "inner_optimizer": [StrOptions({"sgd", "adam"})],
        "weight_constraint": [None, StrOptions({"simplex"})],
        "first_order": ["boolean"],
        "robust_ratio": [Interval(Real, 0, 1, closed="right")],
        "robust_temperature": [None, Interval(Real, 0, None, closed="left")],
        "users_per_batch": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "support_fraction": [None, Interval(Real, 0, 1, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="both")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "spectral_init": ["boolean", StrOptions({"auto"})],
        "random_state": ["random_state"],
        "n_jobs": [None, Integral],
        "device": [str],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        text_statistics: bool = True,
        memory: str | os.PathLike[str] | Memory | None = None,
        n_bases: int = 8,
        hidden_layers: tuple[int, ...] = (),
        adaptation: Literal["map", "gradient"] | Adaptation = "map",
        inner_steps: int = 1,
        inner_lr: float | None = None,
        inner_optimizer: Literal["sgd", "adam"] = "sgd",
        weight_constraint: Literal["simplex"] | None = None,
        first_order: bool = False,
        robust_ratio: float = 0.5,
        robust_temperature: float | None = 0.5,
        users_per_batch: int = 64,
        max_epochs: int = 20,
        learning_rate: float = 1e-3,
        support_fraction: float | None = None,
        validation_fraction: float = 0.2,
        patience: int = 3,
        spectral_init: bool | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.text_statistics = text_statistics
        self.memory = memory
        self.n_bases = n_bases
        self.hidden_layers = hidden_layers
        self.adaptation = adaptation
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.inner_optimizer = inner_optimizer
        self.weight_constraint = weight_constraint
        self.first_order = first_order
        self.robust_ratio = robust_ratio
        self.robust_temperature = robust_temperature
        self.users_per_batch = users_per_batch
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.support_fraction = support_fraction
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.spectral_init = spectral_init
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    def fit(self, episodes: EpisodeSet | list[Episode], y: Any = None) -> MetaRewardModel:
        """Learn what users share, from the choices of many.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Texts or arrays. A user needs two groups (prompts, conversations or topics) to teach adaptation; users with
            one still count in the pooled model.
        y : None
            Ignored.

        Returns
        -------
        MetaRewardModel
            Itself.

        Raises
        ------
        EpisodeError
            If the episodes break a rule; all mistakes are listed.
        ValueError
            If parameters are out of bounds or contradict each other.
        """
        self._validate_params()
        self._check_combinations()
        checked = as_episode_set(episodes, context="fit").compact()
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31, size=4))
        encoder, features = self._encode(checked)
        with _EpochBar(self.max_epochs, bool(self.verbose)) as bar:
            params, fitted = fit_arrays(
                features,
                checked.user,
                checked.chosen,
                checked.rejected,
                checked.group,
                checked.n_users,
                self._options(),
                self.support_fraction,
                rng,
                self.device,
                bar.show,
            )
        if self.validation_fraction > 0 and fitted.n_judged < MIN_JUDGED_USERS:
            warnings.warn(
                f"personalisation cannot be validated: {MIN_JUDGED_USERS} users with pairs in at least two groups are "
                f"needed, got {fitted.n_judged} of {checked.n_users} users; the model is "
                "the pooled one unless told otherwise. Add users, or pass groups that divide each user's pairs",
                UserWarning,
                stacklevel=2,
            )
        self.encoder_ = encoder
        self.base_rewards_ = BaseRewards(
            {name: value for name, value in params.items() if name != "start" and not name.startswith("rule.")},
            encoder,
            self.device,
        )
        self.adaptation_ = fitted.rule
        self._rule_params = {
            name: value for name, value in params.items() if name == "start" or name.startswith("rule.")
        }
        self.ridge_ = fitted.ridge
        self.selection_ = fitted.selection
        self.history_ = fitted.history
        self.n_features_in_ = self.base_rewards_.n_features
        self.n_users_ = checked.n_users
        return self

    def adapt(self, user_pairs: Any) -> UserRewardModel:
        """Turn a handful of a user's choices into that user's reward model.

        Parameters
        ----------
        user_pairs : Episode, list of (prompt, chosen, rejected), list of dicts, or table
            One user's choices; texts or arrays as in fit. No choices give the starting weights.

        Returns
        -------
        UserRewardModel
            The model itself is unchanged, to the bit.

        Raises
        ------
        EpisodeError
            If the pairs break a rule; all mistakes are listed.
        """
        check_is_fitted(self)
        base = self.base_rewards_
        episodes = read_user_pairs(user_pairs, base.kind, base.n_features, "adapt")
        weights, covariance = self._adapt_set(episodes)
        return UserRewardModel(base, weights[0], None if covariance is None else covariance[0], episodes.n_pairs)

    def adapt_many(self, episodes: EpisodeSet | list[Episode]) -> UserModels:
        """Reward models of many users, in one batched computation.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Each user's choices.

        Returns
        -------
        UserModels
            A mapping from user id to :class:`UserRewardModel`.
        """
        check_is_fitted(self)
        checked = self._check_episodes(episodes, "adapt_many")
        if len(set(checked.users.tolist())) < checked.n_users:
            raise ValueError("adapt_many takes each user once, got repeated users: join their pairs")
        weights, covariance = self._adapt_set(checked)
        return UserModels(self.base_rewards_, checked.users, weights, covariance, checked.pairs_per_user)

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
            splits that depend on nothing but the episodes.
        """
        check_is_fitted(self)
        if not _looks_like_episodes(prompt):
            if response is not None:
                return self._score_responses(prompt, response)
            raise TypeError(
                "score(episodes) takes an EpisodeSet or a list of Episode and returns accuracy; "
                f"score(prompt, response) takes texts and returns rewards; got {type(prompt).__name__} alone"
            )
        checked = self._check_episodes(prompt, "score")
        if checked.n_pairs == 0:
            raise EpisodeError("score needs at least one pair to judge, got none: pass users with choices")
        rewards = self.base_rewards_.of_episodes(checked)
        accuracies = []
        for seed in range(_SCORING_SPLITS):
            split = support_query_split(checked, random_state=seed)
            support, query = checked.take_pairs(split.support()), checked.take_pairs(split.query)
            weights, _ = self._adapt_rewards(rewards, support)
            gaps = rewards[query.chosen] - rewards[query.rejected]
            margins = np.einsum("pk,pk->p", gaps, weights[query.user])
            accuracies.append(user_level_accuracy(margins, query.user))
        return float(np.mean(accuracies))

    def transform(self, X: Any) -> NDArray[Any]:
        """Base rewards of responses: a few learnt features for any Pipeline.

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
        return self.base_rewards_.of_items(X, "transform")

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
    def start_weights_(self) -> NDArray[Any]:
        """Weights of a user without choices, (n_bases,)."""
        check_is_fitted(self)
        empty = np.empty(0, np.int64)
        rewards = np.empty((0, self.base_rewards_.n_bases), self._rule_params["start"].dtype)
        weights, _ = adapt_arrays(self._rule_params, self.adaptation_, rewards, empty, empty, empty, 1, "cpu")
        return weights[0]

    @property
    def prior_scale_(self) -> NDArray[Any]:
        """Prior standard deviation of each weight, (n_bases,); MAP adaptation only."""
        check_is_fitted(self)
        try:
            return np.abs(self._rule_params["rule.prior_scale"])
        except KeyError:
            raise AttributeError("prior_scale_ exists only under adaptation='map'") from None

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
        from skmrm.persistence import save_model

        check_is_fitted(self)
        save_model(self, path)

    @classmethod
    def load(cls, path: Any) -> MetaRewardModel:
        """Read a model written by :meth:`save`; nothing in the files is executed.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        ModelFileError
            If a file is missing, truncated, altered, or of a newer schema.
        """
        from skmrm.persistence import load_model

        return load_model(path)

    def _scorer(self) -> tuple[BaseRewards, NDArray[Any]]:
        check_is_fitted(self)
        return self.base_rewards_, self.start_weights_

    def _adapt_set(self, episodes: EpisodeSet) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if episodes.n_pairs == 0:
            rewards = np.empty((0, self.base_rewards_.n_bases), self._rule_params["start"].dtype)
        else:
            rewards = self.base_rewards_.of_episodes(episodes)
        return self._adapt_rewards(rewards, episodes)

    def _adapt_rewards(self, rewards: NDArray[Any], episodes: EpisodeSet) -> tuple[NDArray[Any], NDArray[Any] | None]:
        return adapt_arrays(
            self._rule_params,
            self.adaptation_,
            rewards,
            episodes.user,
            episodes.chosen,
            episodes.rejected,
            episodes.n_users,
            self.device,
        )

    def _check_episodes(self, episodes: Any, context: str) -> EpisodeSet:
        return check_episodes(episodes, self.base_rewards_, context)

    def _read_pairs(self, pairs: Any) -> EpisodeSet:
        """Pairs of any number of users: before adaptation all have the same reward."""
        check_is_fitted(self)
        if _looks_like_episodes(pairs):
            return self._check_episodes(pairs, "predict_proba")
        return super()._read_pairs(pairs)

    def _encode(self, episodes: EpisodeSet) -> tuple[Any, NDArray[Any]]:
        if episodes.features is not None:
            return None, np.asarray(episodes.features)
        from skmrm.encoders import build_encoder  # scikit-learn's text machinery, not needed for arrays

        encoder = build_encoder(
            self.encoder,
            text_statistics=self.text_statistics,
            memory=self.memory,
            n_jobs=self.n_jobs,
            verbose=bool(self.verbose),
        )
        assert episodes.items is not None
        return encoder, encoder.fit_transform(episodes.items)

    def _check_combinations(self) -> None:
        """Raise all contradictions between parameters at once."""
        problems = []
        if self.weight_constraint == "simplex" and self.adaptation != "gradient":
            problems.append(
                f"weight_constraint='simplex' needs adaptation='gradient', got adaptation={self.adaptation!r}: "
                "change one of them"
            )
        simplex = self.weight_constraint == "simplex"
        if self.spectral_init is True and (simplex or getattr(self.adaptation, "simplex", False)):
            came = "weight_constraint='simplex'" if simplex else f"adaptation={self.adaptation!r}"
            problems.append(
                f"spectral_init=True needs unconstrained weights, got {came}: pass spectral_init='auto' or False"
            )
        if isinstance(self.adaptation, type):
            name = self.adaptation.__name__
            problems.append(f"adaptation takes an object, got the class {name}: pass {name}()")
        problems += _device_problems(self.device)
        widths: Any = self.hidden_layers
        if any(not isinstance(width, Integral) or width < 1 for width in widths):
            problems.append(f"hidden_layers takes positive integers, got {self.hidden_layers!r}")
        if problems:
            raise ValueError("; ".join(problems))

    def _rule(self) -> Adaptation:
        if not isinstance(self.adaptation, str):
            return self.adaptation
        if self.adaptation == "map":
            return MapAdaptation()
        return GradientAdaptation(
            steps=self.inner_steps,
            step_size=_INITIAL_STEP_SIZE if self.inner_lr is None else float(self.inner_lr),
            learn_step_size=self.inner_lr is None,
            optimizer=self.inner_optimizer,
            simplex=self.weight_constraint == "simplex",
            first_order=self.first_order,
        )

    def _options(self) -> FitOptions:
        rule = self._rule()
        chosen = self.adaptation == "map" or (self.adaptation == "gradient" and self.inner_lr is None)
        free = not getattr(rule, "simplex", False)
        spectral = free if self.spectral_init == "auto" else bool(self.spectral_init)
        return FitOptions(
            n_bases=int(self.n_bases),
            hidden_layers=tuple(int(width) for width in self.hidden_layers),
            rule=rule,
            choose_strength=chosen,
            spectral_init=spectral,
            validation_fraction=float(self.validation_fraction),
            outer=OuterOptions(
                users_per_batch=int(self.users_per_batch),
                max_epochs=int(self.max_epochs),
                learning_rate=float(self.learning_rate),
                robust_ratio=float(self.robust_ratio),
                robust_temperature=self.robust_temperature,
                patience=int(self.patience),
            ),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "base_rewards_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        tags.no_validation = True
        return tags


class _EpochBar:
    """A progress bar over epochs, shown with ``verbose``."""

    def __init__(self, epochs: int, shown: bool) -> None:
        self.epochs, self.shown = epochs, shown
        self.bar: Any = None

    def __enter__(self) -> _EpochBar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, record: dict[str, Any]) -> None:
        if not self.shown:
            return
        if self.bar is None:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.epochs, desc="meta-training", unit="epoch")
            return
        self.bar.update()
        loss = record["validation_loss"]
        self.bar.set_postfix_str("" if loss is None else f"validation loss {loss:.4f}")


def _device_problems(device: str) -> list[str]:
    """What is wrong with a device, known before any work is done on it."""
    import torch

    try:
        kind = resolve_device(device).type
    except RuntimeError:
        return [f"device takes 'auto', 'cpu', 'cuda', 'cuda:1' or another name that torch knows, got {device!r}"]
    if kind == "cuda" and not torch.cuda.is_available():
        return [f"device={device!r} needs a GPU, and torch finds none: pass device='auto' or 'cpu'"]
    return []


def _looks_like_episodes(data: Any) -> bool:
    if isinstance(data, EpisodeSet | Episode):
        return True
    return isinstance(data, list | tuple | np.ndarray) and len(data) > 0 and isinstance(data[0], Episode)
