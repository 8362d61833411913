"""Episodes held against what a model was fitted on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, Protocol

from skmrm.episodes.checked import as_episode_set
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.features import check_names
from skmrm.episodes.from_user import read_user_pairs
from skmrm.episodes.rules import check_scale

__all__ = ["Fitted", "check_episodes", "check_user_pairs"]


class Fitted(Protocol):
    """What a model was fitted on."""

    @property
    def kind(self) -> Literal["text", "features"]:
        """What an item is."""

    @property
    def n_features(self) -> int:
        """Number of features of an item."""

    @property
    def feature_names(self) -> Sequence[str] | None:
        """Names of columns, where they had some."""

    @property
    def scale(self) -> Sequence[Any] | None:
        """Of ratings, where there were some."""


def check_episodes(episodes: Any, fitted: Fitted, caller: str) -> EpisodeSet:
    """Check a set of users, some perhaps without pairs, against what a model was fitted on."""
    if isinstance(episodes, Episode):
        episodes = [episodes]
    n_features = fitted.n_features if fitted.kind == "features" else None
    checked = as_episode_set(episodes, min_pairs=0, kind=fitted.kind, n_features=n_features, context=caller)
    return _as_fitted(checked, fitted).compact()


def check_user_pairs(
    user_pairs: Any, fitted: Fitted, caller: str, columns: Mapping[str, Hashable | None] | None = None
) -> EpisodeSet:
    """Check one user's pairs, in any of the forms that `adapt` takes, against what a model was fitted on."""
    found = read_user_pairs(user_pairs, fitted.kind, fitted.n_features, caller, fitted.scale, columns)
    return _as_fitted(found, fitted)


def _as_fitted(episodes: EpisodeSet, fitted: Fitted) -> EpisodeSet:
    """The same, if its columns are named and its ratings scaled as those of fit."""
    check_scale(episodes, fitted.scale)
    if episodes.n_pairs and fitted.kind == "features":
        check_names(episodes.feature_names, fitted.feature_names, "the model")
    return episodes
