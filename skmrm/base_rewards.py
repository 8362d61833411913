"""Fitted base reward functions: texts or feature vectors in, base rewards out; what a model and its users share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm._support.arrays import encoded_rows
from skmrm._support.device import resolve_device
from skmrm._support.tensors import as_one_array, as_tensor, as_tensors
from skmrm._support.threads import in_threads
from skmrm._support.wording import counted
from skmrm.episodes import Episode, EpisodeSet
from skmrm.episodes.features import check_names, feature_names
from skmrm.episodes.items import check_features, check_items
from skmrm.episodes.rows import in_memory, row_chunks
from skmrm.exceptions import EpisodeError
from skmrm.meta.basis import Parameters, item_rewards, standardise, with_bar
from skmrm.meta.tensors.tables import n_cached_rows

__all__ = ["BaseRewards", "FeatureRewards", "make_base_rewards"]

# The parameters, (n_bases, ...) each, that base rewards are linear in; all others serve every base reward function.
_READ_OUT = ("bases", "kernel.out")
_NO_ITEMS = (
    "{} takes items, got episodes: predict_proba has the probability of each choice. A scorer of scikit-learn that "
    "compares with labels, such as scoring='accuracy', finds none in episodes: leave scoring out for the mean accuracy "
    "over users, or pass scoring=skmrm.model_selection.adaptation_scorer(...)"
)
_NUMBERS_PER_THREAD = 1 << 24  # of features: fewer are not worth a thread


class BaseRewards:
    """Encoder, standardisation and base reward functions of a fitted model; immutable.

    Parameters
    ----------
    params : mapping of str to array
        Parameters of :mod:`skmrm.meta.basis`: ``mean``, ``scale``, ``bases``, and those of a kernel;
        ``thresholds`` and ``pooled_thresholds``, where fit had ties or strengths; and ``bar``, ``cuts`` and
        ``pooled_cuts``, where it had ratings. What is known of the crowd, for explanations, begins with ``crowd.``:
        ``weights`` of the average user, ``cov`` of the prior, ``moments`` of the responses in fit.
    encoder : fitted transformer or None
        Texts to features; None if the model was fitted on arrays.
    device : str, default="auto"
        Where to compute; "auto" is looked up at each call.
    feature_names : (n_features,) sequence of str, optional
        Of the columns of the data frame that the model was fitted on.
    scale : sequence, optional
        Of ratings, as of :class:`skmrm.EpisodeSet`.
    """

    def __init__(
        self,
        params: Mapping[str, NDArray[Any]],
        encoder: Any,
        device: str = "auto",
        feature_names: Sequence[str] | None = None,
        scale: Sequence[Any] | None = None,
    ) -> None:
        self.params = MappingProxyType(dict(params))
        self.encoder = encoder
        self.device = device
        self.feature_names = None if feature_names is None else tuple(feature_names)
        self.scale = None if scale is None else tuple(scale)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "params": dict(self.params),
            "encoder": self.encoder,
            "device": self.device,
            "feature_names": self.feature_names,
            "scale": self.scale,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_bases={self.n_bases}, n_features={self.n_features}, kind={self.kind!r})"

    def on(self, device: str) -> BaseRewards:
        """Compute the same base reward functions on another device.

        Parameters
        ----------
        device : str
            Where to, as for :class:`skmrm.MetaRewardModel`.

        Returns
        -------
        BaseRewards
            These, if they are there already.
        """
        if device == self.device:
            return self
        return type(self)(self.params, self.encoder, device, self.feature_names, self.scale)

    def knowing(self, crowd: Mapping[str, NDArray[Any]]) -> BaseRewards:
        """Add what is known of the crowd, for explanations.

        Parameters
        ----------
        crowd : mapping of str to array
            Under names that begin with ``crowd.``.

        Returns
        -------
        BaseRewards
            The same base reward functions; these are unchanged.
        """
        return type(self)(dict(self.params) | dict(crowd), self.encoder, self.device, self.feature_names, self.scale)

    @property
    def n_features(self) -> int:
        """Number of features of an item."""
        return len(self.params["mean"])

    @property
    def n_bases(self) -> int:
        """Number of base reward functions."""
        return len(self.params["bases"])

    @property
    def thresholds(self) -> NDArray[np.float64] | None:
        """Of ties and strengths in the population, (n_grades,), in logits; None where fit had plain choices alone."""
        return self.params.get("thresholds")

    def thresholds_of(self, n_pairs: int) -> NDArray[np.float64] | None:
        """Thresholds of a user: without any choice, a user has the reward that all have, and its thresholds.

        Parameters
        ----------
        n_pairs : int
            Number of choices that the user was adapted on.

        Returns
        -------
        ndarray of shape (n_grades,) or None
            In logits; None where fit had plain choices alone.
        """
        return self.params.get("pooled_thresholds", self.thresholds) if n_pairs == 0 else self.thresholds

    @property
    def bar(self) -> NDArray[Any] | None:
        """Base rewards of the bar that rated responses are held against, (n_bases,); None where fit had no ratings."""
        return self.params.get("bar")

    @property
    def cuts(self) -> NDArray[np.float64] | None:
        """Between the levels of a rating, (n_levels - 1,), in logits; None where fit had no ratings."""
        return self.params.get("cuts")

    def cuts_of(self, n_pairs: int) -> NDArray[np.float64] | None:
        """Cuts of a user, as :meth:`thresholds_of`.

        Parameters
        ----------
        n_pairs : int
            Number of choices that the user was adapted on.

        Returns
        -------
        ndarray of shape (n_levels - 1,) or None
            In logits; None where fit had no ratings.
        """
        return self.params.get("pooled_cuts", self.cuts) if n_pairs == 0 else self.cuts

    @property
    def held(self) -> tuple[NDArray[np.float64] | None, int]:
        """Thresholds that choices are adapted to against, cuts behind them, and how many of them are cuts."""
        thresholds, cuts = self.thresholds, self.cuts
        if cuts is None:
            return thresholds, 0
        return np.concatenate([np.zeros(1) if thresholds is None else thresholds, cuts]), len(cuts)

    @property
    def kind(self) -> Literal["text", "features"]:
        """What an item is."""
        return "features" if self.encoder is None else "text"

    def of_episodes(self, episodes: EpisodeSet) -> NDArray[Any]:
        """Compute the base rewards of all items of a set.

        Parameters
        ----------
        episodes : EpisodeSet
            Checked by the caller; features on disk are read a part at a time.

        Returns
        -------
        ndarray of shape (n_items, n_bases)
            In logits per unit of weight.
        """
        if episodes.features is None:
            assert episodes.items is not None
            return self._of_features(encoded_rows(self.encoder, episodes.items))
        if in_memory(episodes.features):
            return self._of_features(episodes.features)
        rewards = np.empty((episodes.n_items, self.n_bases), self.params["mean"].dtype)
        for start, rows in row_chunks(episodes.features):
            rewards[start : start + len(rows)] = self._of_features(rows)
        return rewards

    def of_items(
        self, X: Any, caller: str = "predict", owner: str = "BaseRewards", *, warn: bool = True
    ) -> NDArray[Any]:
        """Compute the base rewards of what a user of the package passes.

        Parameters
        ----------
        X : list of (prompt, response), or array of shape (n, n_features)
            The items.
        caller, owner : str, default="predict" and "BaseRewards"
            The method called and its class, which errors name.
        warn : bool, default=True
            Warn of names of columns that one side alone has.

        Returns
        -------
        ndarray of shape (n, n_bases)
            In logits per unit of weight.

        Raises
        ------
        TypeError, ValueError
            If items are of the wrong kind, number of features or names, or hold NaN or infinity.
        """
        if isinstance(X, EpisodeSet) or (isinstance(X, list) and X and isinstance(X[0], Episode)):
            raise TypeError(_NO_ITEMS.format(caller))
        if self.kind == "features":
            features = check_features(X, self.n_features, caller, owner)
            check_names(feature_names(X), self.feature_names, owner, warn=warn)
            return self._of_features(features)
        items = check_items(X, caller)
        if not items:
            return np.empty((0, self.n_bases), self.params["mean"].dtype)
        return self._of_features(encoded_rows(self.encoder, items))

    def folded(self, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Fold a user's weights into one base reward function, which is the user's reward.

        Parameters
        ----------
        weights : array of shape (n_bases,)
            Of the user.

        Returns
        -------
        dict of str to ndarray
            Its parameters: what depends on the weights in float64, everything else as it is.
        """
        row = np.asarray(weights, np.float64)[None]
        return self._functions | {name: row @ self.params[name] for name in _READ_OUT if name in self.params}

    @property
    def _functions(self) -> dict[str, NDArray[Any]]:
        """Parameters without what is known of the crowd."""
        return {name: value for name, value in self.params.items() if not name.startswith("crowd.")}

    def _of_features(self, features: NDArray[Any]) -> NDArray[Any]:
        place = resolve_device(self.device)
        params, table = as_tensors(self._functions, place), as_tensor(features, place)
        return _finite(as_one_array(in_threads(partial(self._of_rows, params), _parts(table))))

    def _of_rows(self, params: Parameters, rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return item_rewards(params, rows)


class FeatureRewards(BaseRewards):
    """One base reward function for each feature, the feature itself: bases = identity, never stored or multiplied by.

    With ratings, one more that is zero but for the bar.

    Parameters
    ----------
    params : mapping of str to array
        ``mean`` and ``scale``, (n_features,) each; perhaps ``thresholds``.
    encoder : fitted transformer or None
        Texts to features.
    device : str, default="auto"
        Where to compute.
    feature_names : (n_features,) sequence of str, optional
        Of the columns of a data frame.
    scale : sequence, optional
        Of ratings, as of :class:`skmrm.EpisodeSet`.
    """

    @property
    def n_bases(self) -> int:
        """Number of features, and one where there is a bar."""
        return self.n_features + ("bar" in self.params)

    def folded(self, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Fold a user's weights into one base reward function, which is the user's reward.

        Parameters
        ----------
        weights : array of shape (n_bases,)
            Of the user.

        Returns
        -------
        dict of str to ndarray
            Its parameters.
        """
        return self._functions | {"bases": np.asarray(weights, np.float64)[None, : self.n_features]}

    def _of_rows(self, params: Parameters, rows: torch.Tensor) -> torch.Tensor:
        table = standardise(params, rows)
        return with_bar(table)[:-1] if "bar" in params else table


def _finite(found: NDArray[Any]) -> NDArray[Any]:
    """Base rewards as they are, unless features were not finite, or so large that rewards are not."""
    if not np.isfinite(found.sum()):  # a sum is finite wherever all are, up to overflow
        wrong = np.flatnonzero(~np.isfinite(found).all(1))
        if len(wrong):
            raise EpisodeError(
                f"features must be finite, and of the size of those in fit, for rewards to be; not so for "
                f"{counted(len(wrong), 'item')}, the first is item {wrong[0]}: remove NaN, infinity and errors of scale"
            )
    return found


def _parts(table: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rows of a table for each of torch's threads, if they are many; whole chunks, so that no number depends on it."""
    chunk = n_cached_rows(table)
    n_parts = min(torch.get_num_threads(), table.numel() // _NUMBERS_PER_THREAD) if table.device.type == "cpu" else 1
    return table.split(chunk * max(1, -(-len(table) // (chunk * max(1, n_parts)))))


def make_base_rewards(
    params: Mapping[str, NDArray[Any]],
    encoder: Any,
    device: str = "auto",
    feature_names: Sequence[str] | None = None,
    scale: Sequence[Any] | None = None,
) -> BaseRewards:
    """Make base rewards of learnt parameters.

    Parameters
    ----------
    params : mapping of str to array
        As of :class:`BaseRewards`; without ``bases``, the base rewards are the standardised features themselves.
    encoder : fitted transformer or None
        Texts to features.
    device : str, default="auto"
        Where to compute.
    feature_names : (n_features,) sequence of str, optional
        Of the columns of a data frame.
    scale : sequence, optional
        Of ratings, as of :class:`skmrm.EpisodeSet`.

    Returns
    -------
    BaseRewards
        Or `FeatureRewards`.
    """
    kind = BaseRewards if "bases" in params else FeatureRewards
    return kind(params, encoder, device, feature_names, scale)
