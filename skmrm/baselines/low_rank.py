"""Every user a mixture of a few shared rewards (LoRe)."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from skmrm._support.progress import Verbose
from skmrm.baselines.shared import FRACTION, RIDGE, warn_unvalidated
from skmrm.callbacks import FitCallback
from skmrm.encoders._cache import Memory
from skmrm.episodes import Episode, EpisodeSet
from skmrm.estimators.core_data import CoreData
from skmrm.estimators.estimator import RewardEstimator
from skmrm.meta.baselines.lowrank import STAGES, LowRankOptions, lowrank_fit
from skmrm.meta.fit import Fitted

if TYPE_CHECKING:
    from typing import Self

__all__ = ["LowRankRewards"]


class LowRankRewards(RewardEstimator):
    r"""Low-rank rewards (LoRe): every user a mixture of K shared rewards.

    .. math:: r_u(x) = w_u \cdot B z(x), \qquad w_u \ge 0, \ \textstyle\sum_k w_{uk} = 1

    The basis B (K, d) and the training users' weights are learnt jointly by maximum likelihood; ``adapt`` finds the
    most likely weights for a new user's pairs, with the basis as it is. A user without pairs has the training users'
    mean weights. :mod:`skmrm.meta.baselines.lowrank` has the objective, and lists what differs from the paper. Rewards
    are in logits.

    Parameters
    ----------
    encoder : transformer or str, optional
        Texts to features, as of :class:`skmrm.MetaRewardModel`. None needs no download.
    text_statistics : bool, default=True
        Append interpretable statistics of style to the encoder's features.
    memory : str, path, joblib.Memory or EmbeddingStore, optional
        Where encoded texts are kept across calls, as of :class:`skmrm.MetaRewardModel`.
    n_bases : int, optional
        K. None chooses 2, 4 or 8 on validation users, after the ridge.
    ridge : float, optional
        L2 penalty on how far each base reward moves from the pooled Bradley-Terry solution, on a mean loss in nats a
        pair. None chooses 0.3, 0.1, 0.03 or 0.01 on validation users.
    users_per_batch : int, default=32
        Users in a step of Adam.
    max_epochs : int, default=100
        Epochs, at most; as many as served validation users best.
    learning_rate : float, default=0.02
        Of Adam, for the basis; ten times that for the logits of the weights.
    validation_fraction : float in [0, 0.5], default=0.2
        Share of users to choose by and to stop by. 0, or fewer than 8 users with pairs in two groups: all epochs, 4
        base rewards and a ridge of 0.1 unless they are given.
    patience : int, default=20
        Epochs without a lower validation loss before training stops.
    random_state : int, RandomState or None
        Of the folds of users, the first weights and the order of users.
    n_jobs : int, optional
        Processes that encode texts and threads that adapt many users; None is 1.
    device : str, default="auto"
        Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
    verbose : bool, int or "auto", default="auto"
        Whether a long fit shows where it is, as of :class:`skmrm.MetaRewardModel`.

    Attributes
    ----------
    ridge_ : float
        The ridge used. The number of bases is ``len(start_weights_)``.
    selection_ : list of dict
        Validation loss of every candidate, and its best number of epochs; the chosen one is marked.
    history_ : list of dict
        One record an epoch of the chosen candidate; epoch 0 is its start.
    base_rewards_, encoder_, start_weights_, adaptation_, n_features_in_, n_users_, n_pairs_
        As of :class:`skmrm.MetaRewardModel`.

    References
    ----------
    Bose et al. 2025, "LoRe: Personalizing LLMs via Low-Rank Reward Modeling", arXiv 2504.14439.

    Examples
    --------
    >>> from skmrm.baselines import LowRankRewards
    >>> from skmrm.datasets import make_user_preferences
    >>> data = make_user_preferences(n_users=60, n_pairs=20, n_features=5, random_state=0)
    >>> model = LowRankRewards(n_bases=2, ridge=0.01, random_state=0).fit(data.episodes[:50])
    >>> float(model.adapt(data.episodes[55]).weights_.sum().round(6))
    1.0
    """

    _file_kind: ClassVar[str] = "skmrm low-rank model"

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        **RewardEstimator._parameter_constraints,
        "n_bases": [None, Interval(Integral, 1, None, closed="left")],
        "ridge": RIDGE,
        "users_per_batch": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": FRACTION,
        "patience": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        text_statistics: bool = True,
        memory: Memory = None,
        n_bases: int | None = None,
        ridge: float | None = None,
        users_per_batch: int = 32,
        max_epochs: int = 100,
        learning_rate: float = 0.02,
        validation_fraction: float = 0.2,
        patience: int = 20,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "auto",
        verbose: Verbose = "auto",
    ) -> None:
        self.encoder = encoder
        self.text_statistics = text_statistics
        self.memory = memory
        self.n_bases = n_bases
        self.ridge = ridge
        self.users_per_batch = users_per_batch
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    def fit(
        self,
        episodes: EpisodeSet | list[Episode],
        y: Any = None,
        *,
        callbacks: Sequence[FitCallback] | None = None,
    ) -> Self:
        """Learn the shared rewards, from the choices of many.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Texts or arrays. A validation user needs two groups (prompts, conversations or topics).
        y : None
            Ignored.
        callbacks : list of FitCallback, optional
            As of :class:`skmrm.MetaRewardModel`.

        Returns
        -------
        LowRankRewards
            Itself.

        Raises
        ------
        EpisodeError
            If the episodes break a rule; all mistakes are listed.
        ValueError
            If parameters are out of bounds.
        """
        return self._fit(episodes, self._core, callbacks)

    def _stages(self) -> Sequence[str]:
        return STAGES

    def _core(self, data: CoreData) -> Fitted:
        options = LowRankOptions(
            n_bases=None if self.n_bases is None else int(self.n_bases),
            ridge=None if self.ridge is None else float(self.ridge),
            users_per_batch=int(self.users_per_batch),
            max_epochs=int(self.max_epochs),
            learning_rate=float(self.learning_rate),
            patience=int(self.patience),
            validation_fraction=float(self.validation_fraction),
        )
        given = data.features, data.pairs, data.draw_split
        fitted = lowrank_fit(*given, options, data.generator, data.n_own, data.tell)
        warn_unvalidated(fitted, data, self.validation_fraction > 0)
        return fitted
