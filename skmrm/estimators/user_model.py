"""One adapted user."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from skmrm.base_rewards import BaseRewards
from skmrm.episodes.fitted import check_user_pairs
from skmrm.episodes.history import History
from skmrm.episodes.questions import Question, ask, read_candidates
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.estimators.scorer import RewardScorer
from skmrm.estimators.user_rows import frozen
from skmrm.export.hub import HubModel
from skmrm.export.sources import Source, user_source

if TYPE_CHECKING:
    from skmrm.explanation import Explanation
    from skmrm.export.card_facts import CardFacts
    from skmrm.export.huggingface import UserRewardModelForSequenceClassification

__all__ = ["WHY_GONE", "UserRewardModel"]


class UserRewardModel(HubModel, RewardScorer):
    """One user's reward model; made by ``adapt`` of :class:`skmrm.MetaRewardModel` or of a baseline, never changed.

    It keeps what the user said as gaps of base rewards, a few numbers a choice and no text, for :meth:`update`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_bases,)
        The user's weights on the base reward functions.
    weights_cov_ : ndarray of shape (n_bases, n_bases) or None
        Posterior covariance of the weights under MAP adaptation (Laplace approximation); None where the model defines
        no posterior: under gradient adaptation, and for baselines.
    n_pairs_ : int
        Number of choices it was adapted on.
    """

    __slots__ = ("_base", "_history", "_inner", "hub_commit_", "n_pairs_", "weights_", "weights_cov_")

    _hub_options: ClassVar[frozenset[str]] = frozenset({"history"})

    _base: BaseRewards
    _inner: InnerLoop | None
    _history: History | None
    weights_: NDArray[Any]
    weights_cov_: NDArray[Any] | None
    n_pairs_: int

    def __init__(
        self,
        base: BaseRewards,
        weights: NDArray[Any],
        covariance: NDArray[Any] | None,
        n_pairs: int,
        inner: InnerLoop | None = None,
        history: History | None = None,
    ) -> None:
        adapted = {"weights_": weights, "weights_cov_": covariance, "n_pairs_": n_pairs}
        self.__setstate__({"_base": base, "_inner": inner, "_history": history, **adapted})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"a UserRewardModel never changes; cannot set {name!r}: call model.adapt(user_pairs) for a new one"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a UserRewardModel never changes; cannot delete {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in UserRewardModel.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        earlier = {"_inner": None, "_history": None, "hub_commit_": None}  # which earlier versions did not have
        for name, value in (earlier | state).items():
            object.__setattr__(self, name, frozen(value) if isinstance(value, np.ndarray) else value)

    def update(
        self, user_pairs: Any, *, half_life: float | timedelta | None = None, **columns: Hashable | None
    ) -> UserRewardModel:
        """Learn from more of this user's choices: the same as adapting on all of them, the earlier ones included.

        Parameters
        ----------
        user_pairs : Episode, list of (prompt, chosen, rejected), list of dicts, or table
            New choices, as for :meth:`skmrm.MetaRewardModel.adapt`.
        half_life : float > 0 or timedelta, optional
            Time in which a choice loses half of its weight, as for :meth:`skmrm.MetaRewardModel.adapt`. It is not
            remembered: pass it each time.
        **columns : str
            Names of a table's columns, as for :meth:`skmrm.MetaRewardModel.adapt`.

        Returns
        -------
        UserRewardModel
            This one is unchanged.

        Raises
        ------
        ValueError
            If earlier choices were not kept: by :meth:`compact`, or by an earlier version that saved the user.
        EpisodeError
            If the pairs break a rule, or have no times where `half_life` needs them.
        """
        if self._inner is None or (self._history is None and self.n_pairs_ > 0):
            raise ValueError(f"update needs the user's earlier choices, and they {WHY_GONE}")
        new = self._inner.history_of(self._base, check_user_pairs(user_pairs, self._base, "update", columns))
        history = new if self._history is None else self._history.joined(new)
        weights, covariance = self._inner.adapt(self._base, history.fading(half_life))
        own = None if covariance is None else covariance[0]
        return UserRewardModel(self._base, weights[0], own, len(history.user), self._inner, history)

    def compact(self) -> UserRewardModel:
        """The same user without earlier choices, K numbers each: smaller, and no longer to be updated.

        Returns
        -------
        UserRewardModel
        """
        return UserRewardModel(self._base, self.weights_, self.weights_cov_, self.n_pairs_, self._inner)

    def score(self, prompt: Any, response: Any) -> Any:
        """Reward of a response under this user's weights.

        Parameters
        ----------
        prompt : str, list of chat messages, or a sequence of either
            What the responses answer.
        response : str, or a sequence of str
            With one prompt and several responses, each is scored as an answer to that prompt.

        Returns
        -------
        float or ndarray of shape (n,)
            In logits.

        Raises
        ------
        TypeError
            If the model was fitted on feature vectors.
        """
        return self._score_responses(prompt, response)

    def predict_std(self, X: Any) -> NDArray[Any]:
        """Posterior standard deviation of the rewards: how unsure the model still is about this user.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)
            Responses to judge.

        Returns
        -------
        ndarray of shape (n,)
            In logits, of the deviation from the mean reward of X (rewards have no natural zero).

        Raises
        ------
        ValueError
            If the model defines no posterior: under gradient adaptation, and for baselines.
        """
        if self.weights_cov_ is None:
            raise ValueError(_NO_POSTERIOR.format("predict_std"))
        rewards = self._base.of_items(X, "predict_std", type(self).__name__)
        if len(rewards) == 0:
            return np.empty(0, rewards.dtype)
        rewards = rewards - rewards.mean(0)
        return np.sqrt(np.einsum("nk,kl,nl->n", rewards, self.weights_cov_, rewards).clip(min=0))

    def suggest_pairs(self, candidates: Any, n: int = 1, context: Any = None) -> list[Question]:
        """Comparisons whose answers would teach most about this user.

        Parameters
        ----------
        candidates : sequence of str, of (prompt, response) or of (prompt, response, response), or array
            Responses to the prompt `context`; or with their prompts, of which those to one prompt are compared; or
            pairs to choose from. With feature vectors, an array of shape (n_candidates, n_features), or of pairs
            (n_pairs, 2, n_features). Of more than a million pairs as many are looked at.
        n : int, default=1
            How many questions, at most; none repeats what another asks.
        context : str, list of messages, or sequence of hashables, optional
            With texts, the prompt. With feature vectors, what tells which candidates belong together (n_candidates,);
            None lets all be compared.

        Returns
        -------
        list of Question
            The most telling first: named tuples of prompt, both responses, their places among the candidates, and the
            expected information in bits.

        Raises
        ------
        ValueError
            If the model defines no posterior: under gradient adaptation, and for baselines.

        Examples
        --------
        >>> from skmrm import MetaRewardModel
        >>> from skmrm.datasets import make_user_preferences
        >>> data = make_user_preferences(n_users=60, n_features=5, random_state=0)
        >>> model = MetaRewardModel(random_state=0).fit(data.episodes[:50])
        >>> user = model.adapt(data.episodes[55])
        >>> question = user.suggest_pairs(data.episodes.features[:40])[0]
        >>> 0 <= question.first < 40 and 0 < question.information < 1
        True
        """
        if self.weights_cov_ is None:
            raise ValueError(_NO_POSTERIOR.format("suggest_pairs"))
        base = self._base
        found = read_candidates(candidates, context, base.kind, base.n_features, type(self).__name__)
        rewards = base.of_items(found.items, "suggest_pairs", type(self).__name__)
        return ask(found, rewards, self.weights_, self.weights_cov_, n)

    def explain(self, items: Any = None, n: int = 5, *, level: float = 0.95) -> Explanation:
        """Say what this user likes more or less than the crowd, how sure that is, and from how many choices.

        The crowd is the average user, whose weights are the mean of the prior. Of texts, the difference between the
        two rewards is put in terms of the statistics of style (:class:`skmrm.encoders.TextStatistics`), of feature
        vectors in terms of their columns: by least squares over responses, within those to one prompt (of features in
        fit or in episodes, within those that were compared). Statistics that say the same as one before are left out,
        and only effects whose interval excludes zero are stated.

        Parameters
        ----------
        items : list of (prompt, response), array of shape (n_items, n_features), or episodes, optional
            Responses to look at; those that gain most and lose most against the crowd are shown. None takes the
            moments that the model kept of the responses in fit; their texts it did not keep.
        n : int, default=5
            How many effects, gains and losses to state at most.
        level : float, default=0.95
            Coverage of each interval, between 0 and 1.

        Returns
        -------
        Explanation
            Text when printed, a table in a notebook; ``plot``, ``to_frame``. "Nothing yet" if nothing can be stated.

        Raises
        ------
        ValueError
            If the model kept no moments (an encoder without statistics, more than 256 features) and there are no items,
            or parameters are out of bounds.

        Examples
        --------
        >>> from skmrm import MetaRewardModel
        >>> from skmrm.datasets import make_user_preferences
        >>> episodes = make_user_preferences(n_users=61, n_pairs=60, n_features=3, random_state=0).episodes
        >>> model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes[:60])
        >>> found = model.adapt(episodes[60]).explain()
        >>> [effect.words for effect in found.stated], found.n_choices
        (['higher feature 0', 'higher feature 1'], 60)
        """
        from skmrm.explanation.explain import User, explain

        return explain(User(self._base, self.weights_, self.weights_cov_, self.n_pairs_), items, n, level)

    def save(self, path: Any) -> None:
        """Write the user's model into a folder: safetensors and JSON, no pickle, no user id.

        Parameters
        ----------
        path : str or path
            A folder; made if it is not there.
        """
        from skmrm.estimators.saving import save_user

        save_user(self, path)

    @classmethod
    def load(cls, path: Any, device: str = "auto") -> UserRewardModel:
        """Read a user's model written by :meth:`save`; nothing in the files is executed.

        Parameters
        ----------
        path : str or path
            The folder.
        device : str, default="auto"
            Where to compute, as for :class:`skmrm.MetaRewardModel`.

        Raises
        ------
        ModelFileError
            If a file is missing, truncated, altered, or of a newer schema.
        ValueError
            If this machine does not have the device.
        """
        from skmrm.estimators.saving import load_user

        return load_user(cls, path, device)

    def to_hf(self) -> UserRewardModelForSequenceClassification:
        """Make a model of transformers of this user's reward model, which loads wherever a reward model does.

        Encoder, pooling, standardisation and base reward functions become one network from token ids to a logit, with
        the user's weights folded in. ``save_pretrained`` writes it with its tokenizer; see
        ``skmrm/export/huggingface.py`` for how to load it.

        Returns
        -------
        transformers.PreTrainedModel
            With ``num_labels=1``, for inference, on the CPU. It shares nothing with this model.

        Raises
        ------
        ImportError
            If transformers is not installed (``pip install 'skmrm[text]'``).
        ValueError
            If rewards do not come from token ids alone: another encoder than `HFEncoder`, or statistics of style
            beside it; all reasons are listed.
        """
        try:
            import transformers  # noqa: F401
        except ImportError as error:
            raise ImportError("to_hf needs transformers: pip install 'skmrm[text]'") from error
        from skmrm.export.huggingface import to_hf

        return to_hf(self)

    def _sharing_problems(self) -> list[str]:
        from skmrm.export.card_facts import encoder_problems

        return encoder_problems(self._base.encoder)

    def _write_files(self, folder: Any, include: frozenset[str]) -> None:
        (self if "history" in include else self.compact()).save(folder)

    def _card_facts(self, include: frozenset[str], onnx: bool) -> CardFacts:
        from skmrm.export.card_facts import facts_of_user

        return facts_of_user(self._base, self.n_pairs_, include, onnx)

    @property
    def thresholds_(self) -> NDArray[np.float64] | None:
        """Of ties and strengths in the population, (n_grades,), in logits; None where fit had plain choices alone."""
        return self._base.thresholds

    @property
    def _n_choices(self) -> int:
        return self.n_pairs_

    def _export_source(self) -> Source:
        return user_source(self._base, self.weights_)

    def _scorer(self) -> tuple[BaseRewards, NDArray[Any]]:
        return self._base, self.weights_

    def __repr__(self) -> str:
        return f"UserRewardModel(n_pairs={self.n_pairs_}, n_bases={len(self.weights_)})"

    def _repr_html_(self) -> str:
        from skmrm.estimators.summary import user_page

        return user_page(self)


_NO_POSTERIOR = (
    "{} needs a posterior over the user's weights, and the model that this user was adapted with defines none "
    "(gradient adaptation and the baselines do not): fit MetaRewardModel(adaptation='map')"
)
WHY_GONE = "were dropped by compact(), or not kept by an earlier version: adapt on all choices once more"
