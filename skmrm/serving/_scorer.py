"""Scoring with an exported model."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping
from dataclasses import replace
from datetime import timedelta
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm._support.threads import one_thread
from skmrm._support.wording import raise_all
from skmrm.episodes.features import check_kept_names, check_names, feature_names
from skmrm.episodes.from_user import read_user_pairs
from skmrm.episodes.history import History
from skmrm.episodes.items import check_features, check_items, responses_to_rank, responses_to_score
from skmrm.episodes.questions import Question, ask, read_candidates
from skmrm.episodes.rules import check_rewards_to_learn, check_scale
from skmrm.episodes.user_features import ColdStart, UserColumns
from skmrm.explanation.moments import MOMENTS
from skmrm.serving._adaptation import posterior, sides_of_choices
from skmrm.serving._bundle import WEIGHTS_FILE, Bundle, Source, open_bundle
from skmrm.serving._inputs import make_inputs, max_length_problems
from skmrm.serving._rewards import ExportedRewards, check_moments
from skmrm.serving._session import make_session

if TYPE_CHECKING:
    from skmrm.explanation import Explanation

__all__ = ["OnnxScorer"]

_RULE = "rule."
_MOST_STEPS = 1_000_000
_OF = {"user": "one user", "users": "users", "model": "a model"}


class _Bar(NamedTuple):
    """What ratings are held against: the bar's base rewards, the cuts between levels, and what levels are called."""

    rewards: NDArray[np.float64]
    cuts: NDArray[np.float64]
    scale: tuple[Any, ...]


def _read_cold(config: Any, effects: NDArray[Any] | None, n_bases: int) -> ColdStart | None:
    if config is None:
        return None
    found = UserColumns(tuple(dict(one) for one in config))
    if effects is not None and (effects.shape != (n_bases, found.n_columns) or not np.isfinite(effects).all()):
        raise ValueError(f"{found.n_columns} user features need finite effects on {n_bases} weights")
    found.transform({}, 1)
    return ColdStart(found, effects)


def _read_bar(config: Any, n_bases: int) -> _Bar | None:
    if config is None:
        return None
    found = _Bar(np.array(config["bar"], float), np.array(config["cuts"], float), tuple(config["scale"]))
    fit = found.rewards.shape == (n_bases,) and found.cuts.shape == (len(found.scale) - 1,) and len(found.scale) > 1
    if not fit or not (np.isfinite(found.rewards).all() and np.isfinite(found.cuts).all()):
        raise ValueError(f"ratings with {len(found.scale)} levels need finite cuts between them, and a bar: {found}")
    return found


class OnnxScorer:
    """An exported reward model, scored with onnxruntime on a CPU; neither torch nor scikit-learn is imported.

    What ``export_onnx`` of a user's model wrote scores for that user. What ``export_onnx`` of a model or of many
    adapted users wrote has one graph for all users, and `weights` say whose reward is wanted. Rewards are in logits: a
    difference of 1 is odds of e, and only differences under one user's weights mean anything.

    One scorer serves many threads at a time. onnxruntime writes no telemetry files: ``ORT_DISABLE_TELEMETRY=1`` is set
    before it is imported, unless the environment already has a value for it.

    Parameters
    ----------
    bundle : path, mapping of str to bytes, or bytes
        The folder that ``export_onnx`` wrote; or its files by name; or the bytes of a zip archive of it.
    intra_op_threads : int, default=1
        Threads of one call; 0 takes all cores. Services run better on few threads a call and several calls at a time.
    max_length : int, optional
        Tokens of a text that are read, at most; None takes what the model was exported with. Only for graphs that
        contain a transformer.
    max_batch : int, optional
        Rows computed on at a time, which bounds memory; None takes 32 texts for a transformer, else 4,096 rows.

    Attributes
    ----------
    config : mapping
        What the bundle says of itself: ``units``, ``encoder``, ``certificate`` and so on.
    kind : {"text", "features"}
        What is scored.
    n_features, n_bases : int
        Features of an item, and base reward functions.
    weights : ndarray of shape (n_users, n_bases) or None
        Users' weights, in the order of ``UserModels.users_``; of a model's bundle one row, the weights of a user
        without choices. None where one user's weights are part of the graph.

    Raises
    ------
    ModelFileError
        If a file is missing or was altered, the schema is not known, or the graph refers to files that are not the
        bundle's.
    ValueError
        If a parameter is out of its bounds.

    See Also
    --------
    skmrm.UserRewardModel.export_onnx, skmrm.UserModels.export_onnx, skmrm.MetaRewardModel.export_onnx

    Examples
    --------
    >>> import tempfile
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> from skmrm.serving import OnnxScorer
    >>> data = make_user_preferences(n_users=60, n_pairs=20, n_features=5, n_bases=2, random_state=0)
    >>> user_model = MetaRewardModel(random_state=0).fit(data.episodes[:50]).adapt(data.episodes[55])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     certificate = user_model.export_onnx(folder)
    ...     scorer = OnnxScorer(folder)
    >>> scorer.predict(data.episodes[55].chosen).shape
    (20,)
    """

    config: Mapping[str, Any]

    def __init__(
        self,
        bundle: Source,
        *,
        intra_op_threads: int = 1,
        max_length: int | None = None,
        max_batch: int | None = None,
    ) -> None:
        _check_parameters(intra_op_threads, max_length, max_batch)
        opened = open_bundle(bundle)
        with opened.reading():
            problems = max_length_problems(opened.config["encoder"], max_length)
        raise_all(problems)
        arrays: dict[str, NDArray[Any]] = {}
        with opened.reading():
            if WEIGHTS_FILE in opened.config["files"]:
                from safetensors.numpy import load

                arrays = load(opened[WEIGHTS_FILE])
            kept = {name: content for name, content in opened.contents.items() if name != WEIGHTS_FILE}
            self._open(replace(opened, contents=kept), arrays, (intra_op_threads, max_length, max_batch))
            self._try_out()

    def _open(
        self, opened: Bundle, arrays: dict[str, NDArray[Any]], options: tuple[int, int | None, int | None]
    ) -> None:
        """Get ready to score with a checked bundle and the numbers of its weights file."""
        self._state: tuple[Any, ...] = (opened, arrays, options)
        intra_op_threads, max_length, max_batch = options
        self.config = MappingProxyType(opened.config)
        self._of = _OF[opened.config["scorer"]]
        self.kind: Literal["text", "features"] = "features" if opened.config["encoder"] is None else "text"
        self.n_features = int(opened.config["n_features"])
        self.n_bases = int(opened.config["n_bases"])
        self._dtype = np.dtype(opened.config["dtype"])
        self._bar = _read_bar(opened.config.get("ratings"), self.n_bases)
        self._inputs = make_inputs(opened, max_length, max_batch)
        self._arrays = arrays
        self._cold = _read_cold(opened.config.get("user_columns"), arrays.get("user.effects"), self.n_bases)
        self.weights = arrays.get("weights")
        if self.weights is not None:
            self.weights.flags.writeable = False
        self._session = make_session(opened, intra_op_threads)

    @classmethod
    def from_pretrained(
        cls,
        repo_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        intra_op_threads: int = 1,
        max_length: int | None = None,
        max_batch: int | None = None,
    ) -> OnnxScorer:
        """Open what ``push_to_hub(..., onnx=True)`` pushed to the Hugging Face Hub.

        Only the files of a bundle are fetched, each once: they stay in the Hub's cache, and are found there without a
        network (``HF_HUB_OFFLINE=1``).

        Parameters
        ----------
        repo_or_folder : str or path
            A folder, if there is one of that name; or a repository, such as "anna/style-scorer".
        revision : str, optional
            Branch, tag or commit; None is the main branch as it is now. With a commit the same is read for ever.
        token : str or bool, optional
            Of private repositories; None takes that of the login.
        cache_dir : path, optional
            None is the Hub's own cache (``HF_HOME``).
        local_files_only : bool, default=False
            Take what the cache has, and ask nobody.
        intra_op_threads : int, default=1
            Threads of one call, as of the class.
        max_length, max_batch : int, optional
            Tokens of a text that are read, and rows computed on at a time; as of the class.

        Returns
        -------
        OnnxScorer
            Its `hub_commit` is the commit that was read; None of a folder.

        Raises
        ------
        ImportError
            If huggingface_hub is not installed (``pip install 'skmrm[hub]'``), and there is no such folder.
        OSError
            If the repository or the revision does not exist, may not be read, or cannot be reached.
        ModelFileError
            If it holds something else, or files are truncated or were altered.
        """
        from skmrm.serving._hub import BUNDLE, Place, fetch

        place = Place(os.fspath(repo_or_folder), revision, token)
        folder, commit = fetch(place, BUNDLE, cache_dir, local_files_only)
        made = cls(folder, intra_op_threads=intra_op_threads, max_length=max_length, max_batch=max_batch)
        opened, *rest = made._state
        made._state = (replace(opened, commit=commit), *rest)
        return made

    @property
    def hub_commit(self) -> str | None:
        """The commit on the Hub that this was read from; None of anything else."""
        return self._state[0].commit

    @property
    def thresholds(self) -> NDArray[np.float64] | None:
        """Of ties and strengths in the population, (n_grades,), in logits; None where fit had plain choices alone."""
        found = self.config.get("thresholds")
        return None if found is None else np.array(found, float)

    @property
    def rating_scale(self) -> tuple[Any, ...] | None:
        """What each level of a rating begins at, or is called, worst first; None where fit had no ratings."""
        return None if self._bar is None else self._bar.scale

    def __getstate__(self) -> tuple[Any, ...]:
        """The bundle's files, so that a copy needs none but those of a large graph, which are mapped where they lie."""
        return self._state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._open(*state)

    def _try_out(self) -> None:
        """Score an item and adapt on a pair, for an error now and not when somebody asks, if files do not fit."""
        check_kept_names(self.config.get("feature_names"), self.n_features)
        weights = None if self.weights is None else np.zeros(self.n_bases)
        item = np.zeros((1, self.n_features), self._dtype) if self.kind == "features" else [("", "a")]
        rewards = self._run(item, "rewards", weights)
        if rewards.shape != (1,) or rewards.dtype != self._dtype:
            raise ValueError(f"one item has rewards of shape {rewards.shape} and dtype {rewards.dtype}")
        if self.weights is not None and self.weights.shape[1:] != (self.n_bases,):
            raise ValueError(f"weights of shape {self.weights.shape} for {self.n_bases} base reward functions")
        rule = self.config["adaptation"] or {}
        if rule.get("steps", 0) > _MOST_STEPS:
            raise ValueError(f"an inner rule of {rule['steps']} steps would not end")
        if "kind" in rule:
            self._posterior(self._nothing)
        check_moments(self._arrays, self._n_statistics, self.n_bases)

    def predict(self, X: Any, *, weights: Any = None) -> NDArray[Any]:
        """Rewards of responses.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)
            Texts (or lists of chat messages) or feature vectors, whichever the model was fitted on.
        weights : array of shape (n_bases,) or (n, n_bases), optional
            Whose reward: one user's weights, or a row for each row of X. None is the user of a user's bundle, and of a
            model's bundle a user without choices.

        Returns
        -------
        ndarray of shape (n,)
            In logits; float32 for texts, the dtype of fit's features for arrays.

        Raises
        ------
        TypeError
            If X is not of the model's kind.
        ValueError
            If the number of features is wrong, or a feature or weight is NaN or infinite.
        """
        return self._run(self._checked(X, "predict"), "rewards", weights)

    def score(self, prompt: Any, response: Any, *, weights: Any = None) -> Any:
        """Reward of a response.

        Parameters
        ----------
        prompt : str, list of chat messages, or a sequence of either
            What the responses answer.
        response : str, or a sequence of str
            With one prompt and several responses, each is scored as an answer to that prompt.
        weights : array of shape (n_bases,) or (n, n_bases), optional
            As for :meth:`predict`.

        Returns
        -------
        float or ndarray of shape (n,)
            In logits.

        Raises
        ------
        TypeError
            If the model was fitted on feature vectors.
        """
        items, is_one = responses_to_score(prompt, response, self.kind)
        rewards = self.predict(items, weights=weights)
        return float(rewards[0]) if is_one else rewards

    def rank(self, prompt: Any, responses: Any, *, weights: Any = None) -> NDArray[np.intp]:
        """Order responses to a prompt, best first.

        Parameters
        ----------
        prompt : str or list of chat messages
            For a model fitted on arrays: None.
        responses : sequence of str, or array of shape (n, n_features)
            What to order.
        weights : array of shape (n_bases,), optional
            As for :meth:`predict`.

        Returns
        -------
        ndarray of int of shape (n,)
            Indices into `responses`; ties keep their order.
        """
        rewards = self.predict(responses_to_rank(prompt, responses, self.kind), weights=weights)
        return np.argsort(-rewards, kind="stable")

    def transform(self, X: Any) -> NDArray[Any]:
        """Base rewards of responses; of bundles for many users.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)
            Responses.

        Returns
        -------
        ndarray of shape (n, n_bases)
            In logits per unit of weight.

        Raises
        ------
        TypeError
            If the bundle is of one user: its graph has the user's weights folded in.
        """
        self._need_shared("transform")
        return self._run(self._checked(X, "transform"), "base_rewards", np.zeros(self.n_bases))

    def adapt(
        self,
        user_pairs: Any,
        *,
        user_features: Any = None,
        earlier: History | None = None,
        half_life: float | timedelta | None = None,
        **columns: Hashable | None,
    ) -> NDArray[np.float64]:
        """Turn a handful of a user's choices into that user's weights; of bundles that a model exported.

        Parameters
        ----------
        user_pairs : Episode, list of (prompt, chosen, rejected), list of dicts, or table
            One user's choices, as for :meth:`skmrm.MetaRewardModel.adapt`. No choices give the starting weights.
        user_features : dict, or sequence, optional
            What is known of the user, as for :meth:`skmrm.MetaRewardModel.adapt`; None for what came with `earlier`.
        earlier : History, optional
            What the user said before, as :meth:`history` gave it: the weights are those of all choices together.
        half_life : float > 0 or timedelta, optional
            As for :meth:`skmrm.MetaRewardModel.adapt`.
        **columns : str
            Names of a table's columns, as for :meth:`skmrm.MetaRewardModel.adapt`.

        Returns
        -------
        ndarray of float64 of shape (n_bases,)
            What `weights` of the other methods takes. The scorer itself is unchanged.

        Raises
        ------
        EpisodeError
            If the pairs break a rule; all mistakes are listed.
        TypeError
            If the bundle cannot adapt: it is of users, or its inner rule is none that numpy has.
        """
        history = self.history(user_pairs, user_features=user_features, earlier=earlier, **columns)
        return self._posterior(history.fading(half_life))[0]

    def history(
        self,
        user_pairs: Any,
        *,
        user_features: Any = None,
        earlier: History | None = None,
        **columns: Hashable | None,
    ) -> History:
        """What a user said as numbers to keep, a few a choice and no text; for :meth:`adapt` to go on from.

        Parameters
        ----------
        user_pairs : Episode, list of (prompt, chosen, rejected), list of dicts, or table
            As for :meth:`adapt`.
        user_features : dict, or sequence, optional
            As for :meth:`adapt`.
        earlier : History, optional
            What the user said before.
        **columns : str
            As for :meth:`adapt`.

        Returns
        -------
        History
            Earlier choices first. ``to_bytes`` and ``from_bytes`` keep it.

        Raises
        ------
        EpisodeError, TypeError
            As :meth:`adapt`.
        ValueError
            If `earlier` is of another model.
        """
        rule = self.config["adaptation"]
        if rule is None or "kind" not in rule:
            reason = "it was exported from users, not from a model" if rule is None else rule["reason"]
            raise TypeError(f"this bundle cannot adapt ({reason}): export the model that adapts its users")
        if earlier is not None and earlier.gaps.shape[1:] != (self.n_bases,):
            raise ValueError(
                f"earlier choices must be over this bundle's {self.n_bases} base reward functions, got gaps of shape "
                f"{earlier.gaps.shape}: those of another model mean nothing here"
            )
        episodes = read_user_pairs(user_pairs, self.kind, self.n_features, "adapt", self.rating_scale, columns)
        check_scale(episodes, self.rating_scale)
        self._check_names(episodes.feature_names)
        items = episodes.items if self.kind == "text" else episodes.features
        base = self.transform(items) if episodes.n_pairs else np.empty((0, self.n_bases), self._dtype)
        check_rewards_to_learn(base, episodes, "adapt")
        new = replace(
            History.of(episodes, base, None if self._bar is None else self._bar.rewards),
            shift=self._shift(user_features),
        )
        return new if earlier is None else earlier.joined(new)

    def posterior(self, earlier: History | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """What is known of a user's weights.

        Parameters
        ----------
        earlier : History, optional
            What the user said, as :meth:`history` gave it; None for nothing.

        Returns
        -------
        weights : ndarray of float64 of shape (n_bases,)
            As of :meth:`adapt`.
        covariance : ndarray of float64 of shape (n_bases, n_bases), or None
            None where the inner rule defines no posterior.

        Raises
        ------
        TypeError
            If the bundle cannot adapt.
        ValueError
            If `earlier` is of another model.
        """
        return self._posterior(self.history([], earlier=earlier))

    def suggest_pairs(
        self, candidates: Any, n: int = 1, context: Any = None, *, earlier: History | None = None
    ) -> list[Question]:
        """Comparisons whose answers would teach most about a user, as of :meth:`skmrm.UserRewardModel.suggest_pairs`.

        Parameters
        ----------
        candidates : sequence of str, of (prompt, response) or of (prompt, response, response), or array
            Responses, or pairs of them, to choose from, as there.
        n : int, default=1
            How many questions, at most.
        context : str, list of messages, or sequence of hashables, optional
            With texts, the prompt. With feature vectors, what tells which candidates belong together.
        earlier : History, optional
            What the user said so far, as :meth:`history` gave it; None for nothing.

        Returns
        -------
        list of Question

        Raises
        ------
        TypeError
            If the bundle cannot adapt.
        ValueError
            If its inner rule defines no posterior.
        """
        weights, covariance = self.posterior(earlier)
        if covariance is None:
            raise ValueError(
                f"suggest_pairs needs a posterior, and the bundle's inner rule, {self.config['adaptation']['kind']!r}, "
                "defines none: export a MetaRewardModel(adaptation='map')"
            )
        found = read_candidates(candidates, context, self.kind, self.n_features, type(self).__name__)
        rewards = self.transform(found.items) if len(found.first) else np.empty((0, self.n_bases))
        return ask(found, rewards, weights, covariance, n)

    def _shift(self, user_features: Any) -> NDArray[np.float64] | None:
        """By how much features of a user move the mean of the prior, (1, n_bases)."""
        if user_features is None:
            return None
        if self._cold is None:
            raise ValueError(
                "adapt: user_features mean nothing to this bundle, whose model was fitted without, or with a "
                "user_encoder: leave them out"
            )
        return self._cold.shift(user_features, ["the user"], "adapt")

    def explain(
        self, items: Any = None, n: int = 5, *, earlier: History | None = None, level: float = 0.95
    ) -> Explanation:
        """What a user likes more or less than the crowd, as of :meth:`skmrm.UserRewardModel.explain`.

        Parameters
        ----------
        items : list of (prompt, response), array of shape (n_items, n_features), or episodes, optional
            As there; None takes moments of the responses in fit, which the bundle of a model has. Episodes of feature
            vectors need scipy.
        n : int, default=5
            How many effects, gains and losses to state at most.
        earlier : History, optional
            What the user said, as :meth:`history` gave it; None for nothing.
        level : float, default=0.95
            Coverage of each interval, between 0 and 1.

        Returns
        -------
        Explanation

        Raises
        ------
        TypeError
            If the bundle cannot adapt.
        ValueError
            If the bundle has no moments and there are no items, or parameters are out of bounds.
        """
        from skmrm.explanation.explain import User, explain

        history = self.history([], earlier=earlier)
        user = User(self._rewards, *self._posterior(history), len(history.gaps))
        return explain(user, items, n, level)

    @property
    def _nothing(self) -> History:
        """A choice between equals, which says nothing: its posterior is the prior, and so the crowd's."""
        return History(np.zeros((1, self.n_bases)), np.zeros(1, np.intp), 1)

    @property
    def _rewards(self) -> ExportedRewards:
        """Base rewards, and what is known of the crowd."""
        crowd, covariance = self._posterior(self._nothing)
        known = {name: value for name, value in self._arrays.items() if name in MOMENTS} | {"crowd.weights": crowd}
        return ExportedRewards(
            self.kind,
            self.n_features,
            self.n_bases,
            self.config.get("feature_names"),
            self.rating_scale,
            known if covariance is None else known | {"crowd.cov": covariance},
            lambda items, caller: self._run(self._checked(items, caller), "base_rewards", np.zeros(self.n_bases)),
        )

    @property
    def _n_statistics(self) -> int:
        """How many columns have a name: those of feature vectors, or statistics of style."""
        if self.kind == "features":
            return self.n_features
        from skmrm.encoders.style._style import STATISTICS

        return len(STATISTICS)

    def _posterior(self, history: History) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Weights from all that a user said, and their covariance where the rule defines one."""
        learnt = {name.removeprefix(_RULE): value for name, value in self._arrays.items() if name.startswith(_RULE)}
        said = history.said
        cuts = None if self._bar is None else self._bar.cuts
        choices = history.gaps, said.get("outcome"), said.get("weight"), self.thresholds, said.get("rating"), cuts
        sides, shift = sides_of_choices(*choices), np.zeros(self.n_bases) if history.shift is None else history.shift[0]
        if history.shift is not None:  # what features say of a margin is known
            sides = sides._replace(held=sides.held - sides.gaps @ shift)
        with one_thread():
            found, covariance = posterior({**self.config["adaptation"], **learnt}, self._arrays["start"], sides)
        return found + shift, covariance

    def _checked(self, X: Any, caller: str) -> Any:
        if self.kind == "text":
            return check_items(X, caller)
        if type(X) is np.ndarray and X.dtype == self._dtype and X.ndim == 2 and X.shape[1] == self.n_features:
            return X  # finite or not is seen by the rewards, which are fewer
        features = check_features(X, self.n_features, caller, type(self).__name__).astype(self._dtype)
        self._check_names(feature_names(X))
        return features

    def _check_names(self, names: tuple[str, ...] | None) -> None:
        """Columns of a data frame must be those of fit; of arrays, which requests are made of, nothing is said."""
        check_names(names, self.config.get("feature_names"), type(self).__name__, warn=False)

    def _run(self, items: Any, output: str, weights: Any) -> NDArray[Any]:
        chosen = self._weights(weights, len(items))
        parts = []
        for rows, feed in self._inputs.batches(items):
            if chosen is not None:
                feed["weights"] = chosen if len(chosen) == 1 else chosen[rows]
            parts.append((rows, self._session.run([output], feed)[0]))
        in_order = len(parts) == 1 and isinstance(parts[0][0], slice)
        found = parts[0][1] if in_order else self._joined(parts, len(items), output)
        # NaN or infinity in a row of features makes its reward so, in which it is cheaper to find; rewards that are
        # merely large may seem so, and do no harm.
        if self.kind == "features" and not math.isfinite(np.vdot(found, found)):
            check_features(items, self.n_features, "predict", type(self).__name__)
        return found

    def _joined(self, parts: list[tuple[Any, NDArray[Any]]], n_rows: int, output: str) -> NDArray[Any]:
        found = np.empty((n_rows, self.n_bases) if output == "base_rewards" else n_rows, self._dtype)
        for rows, values in parts:
            found[rows] = values
        return found

    def _weights(self, weights: Any, n_rows: int) -> NDArray[Any] | None:
        """Weights (1, n_bases) or (n_rows, n_bases) for the graph, None where it has them."""
        if self.weights is None:
            if weights is not None:
                raise TypeError("weights: this bundle is of one user, whose weights are in its graph: leave them out")
            return None
        if weights is None:
            if self.config["scorer"] != "model":
                raise TypeError(
                    f"weights: this bundle is of {len(self.weights)} users: say whose reward is wanted, with "
                    "weights=scorer.weights[row], rows in the order of UserModels.users_"
                )
            return self.weights
        chosen = np.asarray(weights)
        if chosen.shape not in ((self.n_bases,), (n_rows, self.n_bases)) or chosen.dtype.kind not in "fiu":
            raise ValueError(
                f"weights must be numbers of shape ({self.n_bases},), or ({n_rows}, {self.n_bases}) for the {n_rows} "
                f"rows of X, got dtype {chosen.dtype} and shape {chosen.shape}"
            )
        if not np.isfinite(chosen).all():
            raise ValueError("weights must be finite, got NaN or infinity: adapt the user again")
        return chosen.reshape(-1, self.n_bases).astype(self._dtype, copy=False)

    def _need_shared(self, caller: str) -> None:
        if self.weights is None:
            raise TypeError(
                f"{caller}: this bundle is of one user, whose weights are folded into its graph: "
                "export the model, or the users"
            )

    def __repr__(self) -> str:
        return f"OnnxScorer(of {self._of}, kind={self.kind!r}, n_features={self.n_features}, n_bases={self.n_bases})"


def _check_parameters(intra_op_threads: Any, max_length: Any, max_batch: Any) -> None:
    problems = []
    if not isinstance(intra_op_threads, Integral) or int(intra_op_threads) < 0:
        problems.append(f"intra_op_threads must be an int of at least 0 (all cores), got {intra_op_threads!r}")
    if max_length is not None and not isinstance(max_length, Integral):
        problems.append(f"max_length must be an int, or None, got {max_length!r}")
    if max_batch is not None and (not isinstance(max_batch, Integral) or int(max_batch) < 1):
        problems.append(f"max_batch must be an int of at least 1, or None, got {max_batch!r}")
    raise_all(problems)
