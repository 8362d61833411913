"""Every user from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from skmrm._support.progress import Verbose
from skmrm.baselines.shared import RIDGE, warn_unvalidated
from skmrm.callbacks import FitCallback
from skmrm.encoders._cache import Memory
from skmrm.episodes import Episode, EpisodeSet
from skmrm.estimators.core_data import CoreData
from skmrm.estimators.estimator import RewardEstimator
from skmrm.meta.baselines.per_user import STAGES, per_user_fit
from skmrm.meta.fit import Fitted

if TYPE_CHECKING:
    from typing import Self

__all__ = ["PerUserBradleyTerry"]


class PerUserBradleyTerry(RewardEstimator):
    r"""Every user from scratch: Bradley-Terry on the user's own pairs, in feature space.

    .. math:: r_u(x) = w_u \cdot z(x), \qquad w_u = \arg\min_w \textstyle\sum_p \mathrm{softplus}(-w \cdot g_p) +
        \tfrac\lambda2 \lVert w \rVert^2

    with standardised features z and the sum over the user's pairs. Users share the standardisation and the ridge, and
    nothing else; a user without pairs has reward 0 for everything. A user's ``weights_`` are coefficients of the
    standardised features, (n_features,). Rewards are in logits.

    Parameters
    ----------
    encoder : transformer or str, optional
        Texts to features, as of :class:`skmrm.MetaRewardModel`. None needs no download.
    text_statistics : bool, default=True
        Append interpretable statistics of style to the encoder's features.
    memory : str, path, joblib.Memory or EmbeddingStore, optional
        Where encoded texts are kept across calls, as of :class:`skmrm.MetaRewardModel`.
    ridge : float, optional
        :math:`\lambda`, on a sum of losses in nats: the inverse of scikit-learn's C. None chooses it on the training
        users' query pairs, each user fitted on its support; 30 where fewer than 8 users have pairs in two groups.
    random_state : int, RandomState or None
        Of the division of each user's pairs.
    n_jobs : int, optional
        Processes that encode texts and threads that adapt many users; None is 1.
    device : str, default="auto"
        Where to compute: "auto", "cpu", "cuda", "cuda:1", "mps".
    verbose : bool, int or "auto", default="auto"
        Whether a long fit shows where it is, as of :class:`skmrm.MetaRewardModel`.

    Attributes
    ----------
    ridge_ : float
        The ridge used.
    selection_ : list of dict
        Loss of every ridge on query pairs, the chosen one marked.
    base_rewards_, encoder_, start_weights_, adaptation_, history_, n_features_in_, n_users_, n_pairs_
        As of :class:`skmrm.MetaRewardModel`; the base rewards are the standardised features, and there are no epochs.

    Examples
    --------
    >>> from skmrm.baselines import PerUserBradleyTerry
    >>> from skmrm.datasets import make_user_preferences
    >>> data = make_user_preferences(n_users=60, n_pairs=20, n_features=5, random_state=0)
    >>> model = PerUserBradleyTerry(random_state=0).fit(data.episodes[:50])
    >>> model.adapt(data.episodes[55]).weights_.shape
    (5,)
    """

    _file_kind: ClassVar[str] = "skmrm per-user model"

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's convention)
        **RewardEstimator._parameter_constraints,
        "ridge": RIDGE,
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        text_statistics: bool = True,
        memory: Memory = None,
        ridge: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "auto",
        verbose: Verbose = "auto",
    ) -> None:
        self.encoder = encoder
        self.text_statistics = text_statistics
        self.memory = memory
        self.ridge = ridge
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
        """Fit the encoder and the standardisation, and choose the ridge.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Texts or arrays. Users with two groups (prompts, conversations or topics) choose the ridge.
        y : None
            Ignored.
        callbacks : list of FitCallback, optional
            As of :class:`skmrm.MetaRewardModel`.

        Returns
        -------
        PerUserBradleyTerry
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
        ridge = None if self.ridge is None else float(self.ridge)
        fitted = per_user_fit(data.features, data.pairs, data.draw_split, ridge, data.generator, data.tell)
        warn_unvalidated(fitted, data, ridge is None)
        return fitted
