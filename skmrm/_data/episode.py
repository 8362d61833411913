"""One user's preferences, given by the user or seen in a set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skmrm._data.arrays import same

if TYPE_CHECKING:
    from skmrm._data.episode_set import EpisodeSet

__all__ = ["Episode", "EpisodeView"]


@dataclass(frozen=True, eq=False, repr=False)
class Episode:
    """One user's preferences: what the user chose, and what was rejected for it.

    Nothing is checked here: :func:`skmrm.episodes.as_episode_set` checks all episodes of a call at once.

    Parameters
    ----------
    user : hashable
        The user's id, anything but None and NaN.
    chosen : sequence of str, sequence of message lists, or array of shape (n_pairs, n_features)
        The preferred response of each pair. A message list is a list of ``{"role": ..., "content": ...}``.
    rejected : same kind and length as chosen
        The response it was preferred to. A pair of identical responses is kept: its gap is zero, it says nothing.
    prompts : sequence of str or of message lists, optional
        What each pair answers. None means no prompt for texts, and for message lists that the messages which
        `chosen` and `rejected` share at their start are the prompt. With arrays, whose features already describe the
        prompt, they only group the pairs.
    groups : sequence of hashables, optional
        Pairs of one group never end on both sides of a support/query split. None groups by prompt; without prompts
        each pair is a group of its own.

    Examples
    --------
    >>> episode = Episode("ann", chosen=["Short.", "Yes."], rejected=["Rather long.", "It depends."])
    >>> len(episode)
    2
    >>> episode
    Episode(user='ann', n_pairs=2)
    """

    user: Any
    chosen: Any
    rejected: Any
    prompts: Any = None
    groups: Any = None

    def __len__(self) -> int:
        return len(self.chosen)

    def __repr__(self) -> str:
        try:
            size: Any = len(self)
        except TypeError:
            size = "?"
        return f"Episode(user={self.user!r}, n_pairs={size})"

    def __eq__(self, other: object) -> bool:
        """Whether user, pairs, prompts and groups are the same, cell by cell."""
        if not isinstance(other, Episode):
            return NotImplemented
        names = ("user", "chosen", "rejected", "prompts", "groups")
        return self is other or all(same(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]


class EpisodeView(Episode):
    """An `Episode` that reads its pairs from one user's row of an `EpisodeSet`, when asked.

    Pickling it gives a plain `Episode` of that user alone, not the whole set.
    """

    def __init__(self, episodes: EpisodeSet, row: int) -> None:
        object.__setattr__(self, "_set", episodes)
        object.__setattr__(self, "_row", row)

    _set: EpisodeSet
    _row: int

    @property
    def _pairs(self) -> slice:
        return slice(int(self._set.offsets[self._row]), int(self._set.offsets[self._row + 1]))

    def __len__(self) -> int:
        return int(self._set.pairs_per_user[self._row])

    def _responses(self, rows: NDArray[np.int64]) -> Any:
        if self._set.items is not None:
            return [self._set.items[row][1] for row in rows]
        return np.asarray(self._set.features[rows])

    @property
    def user(self) -> Any:
        """The user's id."""
        return self._set.users[self._row]

    @property
    def chosen(self) -> Any:
        """Texts (a list) or features (n_pairs, n_features) of the preferred responses."""
        return self._responses(self._set.chosen[self._pairs])

    @property
    def rejected(self) -> Any:
        """Texts (a list) or features (n_pairs, n_features) of the rejected responses."""
        return self._responses(self._set.rejected[self._pairs])

    @property
    def prompts(self) -> list[str] | None:
        """Prompts of the pairs, or None where the set holds features only."""
        items = self._set.items
        return None if items is None else [items[row][0] for row in self._set.chosen[self._pairs]]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group codes of the pairs, (n_pairs,) int64."""
        return self._set.group[self._pairs]

    def __reduce__(self) -> tuple[type[Episode], tuple[Any, ...]]:
        return Episode, (self.user, self.chosen, self.rejected, self.prompts, self.groups)
