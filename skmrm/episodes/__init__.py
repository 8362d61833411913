"""Preference data at the boundary: everything that users bring becomes an `EpisodeSet`, once, and checked."""

from skmrm.episodes.checked import as_episode_set
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.from_arrays import episodes_from_arrays
from skmrm.episodes.from_rankings import episodes_from_rankings
from skmrm.episodes.from_ratings import episodes_from_ratings
from skmrm.episodes.from_tables import episodes_from_frame

__all__ = [
    "Episode",
    "EpisodeSet",
    "as_episode_set",
    "episodes_from_arrays",
    "episodes_from_frame",
    "episodes_from_rankings",
    "episodes_from_ratings",
]
