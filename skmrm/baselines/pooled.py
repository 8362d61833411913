"""One reward for all users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skmrm._support.progress import Verbose
from skmrm.baselines.shared import FRACTION, RIDGE, warn_unvalidated
from skmrm.callbacks import FitCallback
from skmrm.encoders._cache import Memory
from skmrm.episodes import Episode, EpisodeSet
from skmrm.estimators.core_data import CoreData
from skmrm.estimators.estimator import RewardEstimator
from skmrm.meta.adaptation.fixed import FixedAdaptation
from skmrm.meta.baselines.pooled import STAGES, pooled_fit, pooled_parameters
from skmrm.meta.fit import Fitted

if TYPE_CHECKING:
    from typing import Self

__all__ = ["PooledBradleyTerry"]


class PooledBradleyTerry(RewardEstimator):
    r"""One reward for all users: Bradley-Terry on everybody's pairs together.

    .. math:: r_u(x) = b \cdot z(x), \qquad b = \arg\min_b \tfrac1n \textstyle\sum_p \mathrm{softplus}(-b \cdot g_p) +
        \tfrac\lambda2 \lVert b \rVert^2

    with standardised features z and :math:`g_p = z(chosen_p) - z(rejected_p)`. ``adapt`` gives this reward whatever the
    pairs. Rewards are in logits.

    Parameters
    ----------
    encoder : transformer or str, optional
        Texts to features, as of :class:`skmrm.MetaRewardModel`. None needs no download.
    text_statistics : bool, default=True
        Append interpretable statistics of style to the encoder's features.
    memory : str, path, joblib.Memory or EmbeddingStore, optional
        Where encoded texts are kept across calls, as of :class:`skmrm.MetaRewardModel`.
    ridge : float, optional
        :math:`\lambda`, on a mean loss in nats a pair. None chooses it on validation users; where users share groups
        (prompts), on new groups among the penalties that are as good for validation users.
    kernel : {"auto", "rbf"}, optional
        Add Nyström features to the linear reward: a Gaussian kernel around up to 512 of the items. "auto" does where
        that helps validation users by more than two standard errors.
    validation_fraction : float in [0, 0.5], default=0.2
        Share of users to choose by, cross-fitted where they are few. 0, or fewer than 8 users with pairs in two
        groups: a ridge of 0.1 unless it is given.
    random_state : int, RandomState or None
        Of the folds of users, and of the landmarks.
    n_jobs : int, optional
        Processes that encode texts and threads that adapt many users; None is 1.
    device : str, default="auto"
        Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
    verbose : bool, int or "auto", default="auto"
        Whether a long fit shows where it is, as of :class:`skmrm.MetaRewardModel`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        In logits per unit of the raw features; of a linear reward (`kernel`) only.
    ridge_ : float
        The ridge used; infinite for no shared reward, where any is worse than a coin for validation users.
    selection_ : list of dict
        Validation loss of every ridge, the chosen one marked.
    base_rewards_, encoder_, start_weights_, adaptation_, history_, n_features_in_, n_users_, n_pairs_
        As of :class:`skmrm.MetaRewardModel`, with one base reward function of weight 1, and no epochs.

    References
    ----------
    Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs: I. The Method of Paired Comparisons".

    Examples
    --------
    >>> from skmrm.baselines import PooledBradleyTerry
    >>> from skmrm.datasets import make_user_preferences
    >>> data = make_user_preferences(n_users=60, n_pairs=20, n_features=5, random_state=0)
    >>> model = PooledBradleyTerry(random_state=0).fit(data.episodes)
    >>> model.coef_.shape
    (5,)
    """

    _file_kind: ClassVar[str] = "skmrm pooled model"

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        **RewardEstimator._parameter_constraints,
        "ridge": RIDGE,
        "kernel": [StrOptions({"auto", "rbf"}), None],
        "validation_fraction": FRACTION,
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        text_statistics: bool = True,
        memory: Memory = None,
        ridge: float | None = None,
        kernel: Literal["auto", "rbf"] | None = None,
        validation_fraction: float = 0.2,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "auto",
        verbose: Verbose = "auto",
    ) -> None:
        self.encoder = encoder
        self.text_statistics = text_statistics
        self.memory = memory
        self.ridge = ridge
        self.kernel = kernel
        self.validation_fraction = validation_fraction
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
        """Learn the reward that serves all users best.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Texts or arrays.
        y : None
            Ignored.
        callbacks : list of FitCallback, optional
            As of :class:`skmrm.MetaRewardModel`.

        Returns
        -------
        PooledBradleyTerry
            Itself.

        Raises
        ------
        EpisodeError
            If the episodes break a rule; all mistakes are listed.
        ValueError
            If parameters are out of bounds.
        """
        return self._fit(episodes, self._core, callbacks)

    @property
    def coef_(self) -> NDArray[Any]:
        """Coefficients of the raw features, (n_features,), in logits."""
        check_is_fitted(self)
        params = self.base_rewards_.params
        if self.kernel_ is not None:
            raise AttributeError("coef_ exists only for a linear reward, this one has a kernel: fit with kernel=None")
        return params["bases"][0] / params["scale"]

    def _stages(self) -> Sequence[str]:
        return STAGES

    def _core(self, data: CoreData) -> Fitted:
        ridge = None if self.ridge is None else float(self.ridge)
        fraction = float(self.validation_fraction)
        given = data.features, data.pairs, data.draw_split
        fitted = pooled_fit(*given, ridge, fraction, data.generator, self.kernel, data.n_own, data.tell)
        warn_unvalidated(fitted, data, self.validation_fraction > 0 and ridge is None)
        return fitted

    def _from_solution(self, solution: NDArray[Any], source: RewardEstimator) -> Self:
        """Become the pooled model of a solution that another fit came by.

        It is over standardised features (d,), or over those and Nyström features (d + m,).
        """
        base = source.base_rewards_
        shared = {name: torch.from_numpy(np.array(base.params[name])) for name in ("mean", "scale")}
        linear, nystroem = np.split(solution, [base.n_features])
        params = shared | pooled_parameters(torch.from_numpy(np.array(linear)))
        if len(nystroem):
            kernel = ("kernel.points", "kernel.precision")
            params |= {name: torch.from_numpy(np.array(base.params[name])) for name in kernel}
            params["kernel.out"] = torch.from_numpy(np.array(nystroem[None]))
        thresholds, cuts = base.thresholds_of(0), base.cuts_of(0)
        held = None if thresholds is None else torch.from_numpy(np.array(thresholds))
        if cuts is not None:
            params |= {"cuts": torch.from_numpy(np.array(cuts))}
            params |= {"bar": torch.from_numpy(np.array(base.params["pooled_bar"]))}
        sizes = source.n_users_, getattr(source, "n_pairs_", None)  # which pickles of earlier versions did not count
        fitted = Fitted(params, FixedAdaptation(), source.ridge_, [], [], 0, thresholds=held)
        return self._keep(fitted, base.encoder, sizes, base.feature_names, base.scale)
