"""The estimator: parameters, checks and orchestration; the mathematics is in `skmrm.meta`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skmrm._support.progress import Verbose
from skmrm._support.tensors import as_tensors
from skmrm.estimators.checkpoints import Checkpoints
from skmrm.estimators.core_data import CoreData
from skmrm.estimators.estimator import RewardEstimator
from skmrm.meta.adaptation import Adaptation, GradientAdaptation, MapAdaptation
from skmrm.meta.adaptation.mixture import MixturePrior
from skmrm.meta.adaptation.rule import inner_rule
from skmrm.meta.adaptation.users import rule_parameters
from skmrm.meta.fit import Fitted, meta_fit, stages
from skmrm.meta.folds import MIN_JUDGED_USERS
from skmrm.meta.outer.loop import OuterOptions
from skmrm.meta.start import FitOptions

if TYPE_CHECKING:
    import os

    from skmrm.baselines import PooledBradleyTerry
    from skmrm.callbacks import FitCallback
    from skmrm.encoders._cache import Memory
    from skmrm.episodes import Episode, EpisodeSet

__all__ = ["MetaRewardModel"]

# A learnt step size starts here: with base rewards of unit variance, a step that moves a margin by about a tenth.
_INITIAL_STEP_SIZE = 0.1
_MAX_EPOCHS = 20
# The paper's reference setting. All epochs run and the best one on validation users is kept.
_PAPER: dict[str, Any] = {
    "n_bases": 2,
    "adaptation": "gradient",
    "inner_steps": 1,
    "inner_lr": 1e-3,
    "inner_optimizer": "adam",
    "weight_constraint": "simplex",
    "robust_ratio": 0.5,
    "robust_temperature": 0.5,
    "users_per_batch": 2,
    "max_epochs": 200,
    "learning_rate": 1e-3,
    "support_fraction": 0.1,
    "patience": 200,
    "spectral_init": False,
}


class MetaRewardModel(RewardEstimator):
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
    encoder : transformer or str, optional
        Texts to features: anything with scikit-learn's ``fit`` and ``transform`` over a list of (prompt, response), a
        Pipeline included; or the folder or hub id of a reward model, causal language model or sentence encoder
        (:class:`skmrm.encoders.HFEncoder`). The default needs no download: hashed word and character n-grams, reduced.
        Not used for episodes of arrays.
    text_statistics : bool, default=True
        Append interpretable statistics of style (:class:`skmrm.encoders.TextStatistics`) to the encoder's features.
    memory : str, path, joblib.Memory or EmbeddingStore, optional
        Cache encoded texts across calls. A :class:`skmrm.embeddings.EmbeddingStore` brings its encoder along (leave
        `encoder` None), takes up the texts that it lacks, and is not loaded by a fit with `max_memory`.
    user_encoder : transformer, optional
        Makes numbers of the user features that `fit` and `adapt` take, such as a ColumnTransformer; its `transform` is
        given a row for each user. None takes numbers as they are and categories apart.
    n_bases : int or "auto", default="auto"
        K, number of base reward functions, the pooled reward included. "auto" takes one for each direction in which
        users may differ, up to 26, and two where they seem not to; 8 at a random start.
    kernel : {"auto", "rbf"}, default="auto"
        Add Nyström features, a Gaussian kernel around up to 512 of the items, to the linear base reward functions of a
        spectral start. "auto" does where that helps validation users by more than two standard errors; it tries where
        all features take half a gigabyte at most.
    adaptation : {"map", "gradient"} or object, default="map"
        Inner rule: mode of the posterior under Gaussian priors of the weights and kinds of users, a mean over them
        that is weighed on validation users; or `inner_steps` gradient steps, the paper's. An object with the interface
        of :class:`skmrm.meta.adaptation.Adaptation` plugs in another rule.
    inner_steps : int, default=1
        Gradient adaptation: number of steps.
    inner_lr : float, optional
        Gradient adaptation: step size. None chooses it on validation users (with `spectral_init`) and learns it, one
        for each base reward function.
    inner_optimizer : {"sgd", "adam"}, default="sgd"
        Gradient adaptation: plain steps, or Adam's.
    weight_constraint : {"simplex"}, optional
        Gradient adaptation: weights are a softmax, positive with sum one.
    first_order : bool, default=False
        Gradient adaptation: leave out second derivatives in the outer loop.
    robust_ratio : float in (0, 1], default=0.5
        :math:`\rho` of the Robust Personalization Objective: share of users regarded as hard to learn.
    robust_temperature : float or "auto", default="auto"
        :math:`\gamma`, in nats: how gradually users count as hard; 0 keeps only the hardest share. None weights all
        users alike. "auto" is the paper's 0.5 under gradient steps; under MAP, which it harms, and under a rule that is
        plugged in, None.
    users_per_batch : int, default=64
        Users in a step of the outer loop.
    max_epochs : int or "auto", default="auto"
        Epochs of the outer loop, at most; 0 for none. With `spectral_init`, its result is used only if it helped
        validation users by more than two standard errors. "auto" is 20, and 0 under MAP from a spectral start in
        memory, which has learnt what the outer loop would learn.
    learning_rate : float, default=0.001
        Of the outer loop (Adam, 5 % warm-up, cosine decay).
    support_fraction : float, optional
        Share of a user's pairs that are support in the outer loop. None halves them and draws supports of random sizes,
        from one pair up, so that the model is good at any number of pairs.
    validation_fraction : float in [0, 0.5], default=0.2
        Share of users to choose by and to stop by; where they are few, choices are cross-fitted over all users. 0 makes
        no choices: with `spectral_init` the pooled model, without it the last epoch.
    patience : int, default=3
        Epochs without a lower validation loss before the outer loop stops.
    spectral_init : bool or "auto", default="auto"
        Start from the pooled Bradley-Terry model and the directions in which users differ
        (:mod:`skmrm.meta.prior.spectral`), instead of at random. "auto" does so wherever the weights are unconstrained.
    random_state : int, RandomState instance, optional
        The same integer and data give the same bits on one machine.
    n_jobs : int, optional
        Processes that encode texts, and threads that adapt many users, as for joblib.Parallel. None is one process, and
        for thousands of users as many threads as torch may take. Small arithmetic is on one thread.
    max_memory : float, optional
        Gibibytes that features, and what fit makes of them, may take. Where they would take more (a memory map, or
        anything with shape, dtype and slices of rows), a random sample of users that fits is what all choices are made
        on and what the spectral start comes from; all others are streamed from the array in large pieces, to refine the
        pooled reward and in every epoch. Fast if the rows of a user, and of users next to each other, are next to each
        other. A streamed fit has no `kernel`, and warns where it is "rbf". None holds everything.
    device : str, default="auto"
        "auto" (the GPU where there is one), "cpu", "cuda", "cuda:1" ...
    verbose : bool, int or "auto", default="auto"
        "auto" shows where a call is that takes more than two seconds, in a terminal or a notebook, until it is done. 1
        shows a fit at once, wherever stderr goes, and leaves its bar there; 0 shows nothing. What a fit does is also
        told to ``logging.getLogger("skmrm")``.

    Attributes
    ----------
    base_rewards_ : BaseRewards
        Encoder, standardisation and base reward functions.
    encoder_ : transformer or None
        The fitted encoder; None if fitted on arrays.
    start_weights_ : ndarray of shape (n_bases,)
        Weights of a user without choices.
    prior_scale_ : ndarray of shape (n_bases,)
        MAP adaptation: prior standard deviation of each weight over all users.
    prior_centres_ : ndarray of shape (n_components, n_bases)
        MAP adaptation: mean weights of each component of the prior, kinds of users among them; one row, the starting
        weights, where it is one Gaussian around them.
    prior_shares_ : ndarray of shape (n_components,)
        MAP adaptation: share of each component in the prior; they sum to one.
    adaptation_ : Adaptation
        The inner rule, with what was chosen.
    ridge_ : float or None
        L2 penalty of the pooled model of the spectral start: best on validation users; where users share groups, best
        on new groups among the penalties that are as good for validation users. Infinite where nothing is shared.
    selection_ : list of dict
        Validation loss of every prior of how users differ (or step size of a gradient step), with its change against
        "none" and that one's standard error, and the weight it has in the model; under MAP also of their weighted mean,
        on users that the weights were not chosen on. What the model uses is marked as chosen.
    history_ : list of dict
        One record an epoch of the outer loop; epoch 0 is its start.
    kernel_ : "rbf" or None
        Whether the base reward functions have Nyström features.
    pooled_model_ : PooledBradleyTerry
        The pooled model that a spectral start began from; what personalisation has to beat.
    n_features_in_ : int
        Number of features of an item, after encoding.
    feature_names_in_ : ndarray of object of shape (n_features,)
        Names of the columns, where fit was given a data frame of features whose columns have texts as names.
    n_users_ : int
        Number of users seen in fit.
    n_pairs_ : int or None
        Number of pairs seen in fit; None of a model that an earlier version saved.

    See Also
    --------
    skmrm.episodes_from_frame : Read a table of choices.
    skmrm.UserRewardModel : What ``adapt`` returns.
    skmrm.baselines : Models that personalisation has to beat.

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

    _file_kind: ClassVar[str] = "skmrm model"
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("_pooled",)

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        **RewardEstimator._parameter_constraints,
        "user_encoder": [None, HasMethods(["fit", "transform"])],
        "n_bases": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "kernel": [StrOptions({"auto", "rbf"}), None],
        "adaptation": [StrOptions({"map", "gradient"}), HasMethods(["init", "constrain", "adapt", "covariance"])],
        "inner_steps": [Interval(Integral, 0, None, closed="left")],
        "inner_lr": [None, Interval(Real, 0, None, closed="neither")],
        "inner_optimizer": [StrOptions({"sgd", "adam"})],
        "weight_constraint": [None, StrOptions({"simplex"})],
        "first_order": ["boolean"],
        "robust_ratio": [Interval(Real, 0, 1, closed="right")],
        "robust_temperature": [None, Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "users_per_batch": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "support_fraction": [None, Interval(Real, 0, 1, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="both")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "spectral_init": ["boolean", StrOptions({"auto"})],
        "max_memory": [None, Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        text_statistics: bool = True,
        memory: Memory = None,
        user_encoder: Any = None,
        n_bases: int | Literal["auto"] = "auto",
        kernel: Literal["auto", "rbf"] | None = "auto",
        adaptation: Literal["map", "gradient"] | Adaptation = "map",
        inner_steps: int = 1,
        inner_lr: float | None = None,
        inner_optimizer: Literal["sgd", "adam"] = "sgd",
        weight_constraint: Literal["simplex"] | None = None,
        first_order: bool = False,
        robust_ratio: float = 0.5,
        robust_temperature: float | Literal["auto"] | None = "auto",
        users_per_batch: int = 64,
        max_epochs: int | Literal["auto"] = "auto",
        learning_rate: float = 1e-3,
        support_fraction: float | None = None,
        validation_fraction: float = 0.2,
        patience: int = 3,
        spectral_init: bool | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        max_memory: float | None = None,
        device: str = "auto",
        verbose: Verbose = "auto",
    ) -> None:
        self.encoder = encoder
        self.text_statistics = text_statistics
        self.memory = memory
        self.user_encoder = user_encoder
        self.n_bases = n_bases
        self.kernel = kernel
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
        self.max_memory = max_memory
        self.device = device
        self.verbose = verbose

    def fit(
        self,
        episodes: EpisodeSet | list[Episode],
        y: Any = None,
        *,
        user_features: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        callbacks: Sequence[FitCallback] | None = None,
    ) -> MetaRewardModel:
        """Learn what users share, from the choices of many.

        Ctrl-C during the outer loop ends the fit with the best state so far, and a warning says so.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Texts or arrays. A user needs two groups (prompts, conversations or topics) to teach adaptation; users with
            one still count in the pooled model.
        y : None
            Ignored.
        user_features : array of shape (n_users, n_user_features), data frame, or mapping of users to rows, optional
            What is known of the users before their first choice, such as age, language or an embedding of a profile:
            numbers and categories. An array, or a frame without a column "user_id", is aligned with the users of the
            episodes (``episodes.users``); a frame with one, a pandas frame whose index holds users, and a mapping are
            looked up. They move the mean of the prior, as far as that helps users left out (`user_selection_`), and
            `adapt` takes those of new users.
        checkpoint_dir : path, optional
            Folder to keep the outer loop's state in. A fit that ended at any moment, killed or not, goes on from there
            if it is started again with the same episodes and parameters, and ends with the same bits as one that was
            never stopped (on the same machine and number of threads). What comes before the outer loop is computed
            again.
        checkpoint_every : int, default=1
            Epochs from one state kept to the next.
        callbacks : list of FitCallback, optional
            Are told of stages, epochs and what was chosen (:mod:`skmrm.callbacks`): trackers of MLflow, Weights &
            Biases and trackio, or one's own.

        Returns
        -------
        MetaRewardModel
            Itself.

        Raises
        ------
        EpisodeError
            If the episodes break a rule; all mistakes are listed.
        ValueError
            If parameters are out of bounds or contradict each other, or if `checkpoint_dir` holds a checkpoint of
            other data or parameters.
        ModelFileError
            If the checkpoint cannot be read.
        """
        checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir, checkpoint_every)
        return self._fit(
            episodes,
            self._meta_fit,
            callbacks,
            self.support_fraction,
            checkpoints,
            self.max_memory,
            user_features,
        )

    @classmethod
    def paper(cls, **overrides: Any) -> MetaRewardModel:
        """Return an unfitted model in the reference setting of the paper (arXiv 2601.18731).

        Two base reward functions from a random start, weights on the simplex, one step of Adam, two users a batch, 200
        epochs, a tenth of each user's pairs as support, RPO with both parameters 0.5. The reference implementation
        keeps the epoch that is best on test users; this keeps the one that is best on validation users.

        Parameters
        ----------
        **overrides
            Any parameter of the class. The paper's learning rates differ by data set: `inner_lr` and `learning_rate`
            are 1e-3 here, its values for PRISM, and 5e-3 for Reddit TLDR.

        Examples
        --------
        >>> from skmrm import MetaRewardModel
        >>> MetaRewardModel.paper(inner_lr=5e-3, learning_rate=5e-3).n_bases
        2
        """
        return cls(**(_PAPER | overrides))

    @property
    def pooled_model_(self) -> PooledBradleyTerry:
        """The pooled Bradley-Terry model that the spectral start began from: what personalisation has to beat.

        A fitted :class:`skmrm.baselines.PooledBradleyTerry` over the same users and the same encoder.

        Raises
        ------
        AttributeError
            If the start was random, or the model was saved by a version that kept no pooled solution.
        """
        check_is_fitted(self)
        pooled = getattr(self, "_pooled", None)
        if pooled is None:
            raise AttributeError(
                "pooled_model_ exists only after a spectral start; this model keeps no pooled solution: "
                "fit skmrm.baselines.PooledBradleyTerry on the same episodes"
            )
        from skmrm.baselines import PooledBradleyTerry

        learnt = ("encoder", "text_statistics", "memory", "validation_fraction", "random_state")
        shared = (*learnt, "n_jobs", "device", "verbose")
        model = PooledBradleyTerry(kernel=self.kernel_, **{name: getattr(self, name) for name in shared})
        return model._from_solution(pooled, self)

    @property
    def prior_scale_(self) -> NDArray[Any]:
        """Prior standard deviation of each weight over all users, (n_bases,); MAP adaptation only."""
        shares, centres, spread = self._prior("prior_scale_")
        return np.sqrt(shares @ (spread + (centres - self.start_weights_) ** 2))

    @property
    def prior_shares_(self) -> NDArray[Any]:
        """Share of each component in the prior, (n_components,); MAP adaptation only."""
        return self._prior("prior_shares_")[0]

    @property
    def prior_centres_(self) -> NDArray[Any]:
        """Mean weights of each component of the prior, (n_components, n_bases); MAP adaptation only."""
        return self._prior("prior_centres_")[1]

    def _prior(self, name: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Shares, means and variances of the prior's components."""
        check_is_fitted(self)
        params = self._rule_params
        if "rule.logits" in params:
            prior = MixturePrior.of(rule_parameters(as_tensors(params, torch.device("cpu"))))
            shares = prior.weights[prior.prior] * prior.log_shares.exp()
            spread = (prior.factors**2).sum(-1).expand_as(prior.centres)
            return shares.numpy(), self.start_weights_ + prior.centres.numpy(), spread.numpy()
        if "rule.prior_scale" in params:
            scale = params["rule.prior_scale"][None]
            return np.ones(1, scale.dtype), self.start_weights_[None], scale**2
        raise AttributeError(f"{name} exists only under adaptation='map'")

    def _problems(self) -> list[str]:
        problems = []
        if self.weight_constraint == "simplex" and self.adaptation != "gradient":
            problems.append(
                f"weight_constraint='simplex' needs adaptation='gradient', got adaptation={self.adaptation!r}: "
                "change one of them"
            )
        if self.spectral_init != "auto" and self.spectral_init and self._is_constrained():
            simplex = self.weight_constraint == "simplex"
            came = "weight_constraint='simplex'" if simplex else f"adaptation={self.adaptation!r}"
            problems.append(
                f"spectral_init=True needs unconstrained weights, got {came}: pass spectral_init='auto' or False"
            )
        if self.user_encoder is not None and isinstance(self.user_encoder, type):
            problems.append("user_encoder takes an object, got a class: pass user_encoder=Encoder()")
        if isinstance(self.adaptation, type):
            name = self.adaptation.__name__
            problems.append(f"adaptation takes an object, got the class {name}: pass {name}()")
        if self.kernel == "rbf" and not self._spectral():
            problems.append("kernel='rbf' needs a spectral start, got a random start: pass kernel=None")
        return problems + super()._problems()

    def _stages(self) -> list[str]:
        streamed = self.max_memory is not None  # perhaps: it depends on the features
        return stages(replace(self._options(), outer=OuterOptions(max_epochs=self._max_epochs(streamed))), streamed)

    def _meta_fit(self, data: CoreData) -> Fitted:
        options = replace(self._options(), n_own=data.n_own)
        if data.others is not None:
            outer = replace(options.outer, max_epochs=self._max_epochs(streamed=True))
            options = replace(options, kernel=None, outer=outer)
        if data.others is not None and self.kernel == "rbf":
            warnings.warn(
                f"kernel='rbf' needs all features in memory, and max_memory={self.max_memory:g} has a part of them "
                "streamed: the model stays linear. Pass a larger max_memory, None to hold everything, or kernel=None",
                UserWarning,
                stacklevel=5,
            )
        fitted = meta_fit(
            data.features, data.pairs, data.draw_split, options, data.generator, data.tell, data.keeper, data.others
        )
        if fitted.interrupted:
            warnings.warn(
                f"fit was interrupted after {len(fitted.history) - 1} epochs of the outer loop: the best state so far "
                "is kept. To go on, fit again with the same checkpoint_dir; without one, fit from the start",
                UserWarning,
                stacklevel=5,
            )
        if self.validation_fraction > 0 and fitted.n_judged < MIN_JUDGED_USERS:
            warnings.warn(
                f"personalisation cannot be validated: {MIN_JUDGED_USERS} users with pairs in at least two groups are "
                f"needed, got {fitted.n_judged} of {data.pairs.n_users} users; the model is "
                "the pooled one unless told otherwise. Add users, or pass groups that divide each user's pairs"
                + ("" if data.others is None else "; or a larger max_memory, to hold more of the users"),
                UserWarning,
                stacklevel=5,
            )
        return fitted

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

    def _spectral(self) -> bool:
        return not self._is_constrained() if self.spectral_init == "auto" else bool(self.spectral_init)

    def _is_constrained(self) -> bool:
        return self.weight_constraint == "simplex" or inner_rule(self._rule()).is_constrained

    def _max_epochs(self, streamed: bool = False) -> int:
        """Epochs of the outer loop; none where the spectral start has seen all users, and learnt their prior by EM."""
        if self.max_epochs == "auto":
            return 0 if self._spectral() and self.adaptation == "map" and not streamed else _MAX_EPOCHS
        return int(self.max_epochs)

    def _robust_temperature(self) -> float | None:
        if not isinstance(self.robust_temperature, str):
            return self.robust_temperature
        return _PAPER["robust_temperature"] if self.adaptation == "gradient" else None

    def _options(self) -> FitOptions:
        rule = self._rule()
        chosen = self.adaptation == "map" or (self.adaptation == "gradient" and self.inner_lr is None)
        return FitOptions(
            n_bases=None if self.n_bases == "auto" else int(self.n_bases),
            kernel=self.kernel,
            rule=rule,
            choose_strength=chosen,
            spectral_init=self._spectral(),
            validation_fraction=float(self.validation_fraction),
            outer=OuterOptions(
                users_per_batch=int(self.users_per_batch),
                max_epochs=self._max_epochs(),
                learning_rate=float(self.learning_rate),
                robust_ratio=float(self.robust_ratio),
                robust_temperature=self._robust_temperature(),
                patience=int(self.patience),
            ),
        )
