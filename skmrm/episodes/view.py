"""One user of an `EpisodeSet`, as an `Episode` that reads its pairs when asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.episode import Episode
from skmrm.episodes.summary import FEW, choices_of_set, episode_page

__all__ = ["EpisodeView"]


class EpisodeView:
    """An `Episode` that reads its pairs from one user's row of an `EpisodeSet`, when asked.

    To `isinstance`, and to what `dataclasses` reads and replaces, it is an `Episode`; but the class is none, since it
    holds no fields. Pickling it gives a plain `Episode` of that user alone, not the whole set.
    """

    __slots__ = ("_row", "_set")
    __dataclass_fields__ = Episode.__dataclass_fields__
    __class__ = property(lambda self: Episode)
    __eq__ = Episode.__eq__
    __hash__ = None  # type: ignore[assignment]
    __repr__ = Episode.__repr__

    def __init__(self, episodes: Any, row: int) -> None:
        self._set = episodes
        self._row = row

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

    @property
    def outcomes(self) -> NDArray[np.int64] | None:
        """Ties and strengths of the pairs, (n_pairs,), or None."""
        return self._said("outcome")

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """How often each pair counts, (n_pairs,), or None."""
        return self._said("weight")

    @property
    def times(self) -> NDArray[np.float64] | None:
        """When each pair was said, (n_pairs,), or None."""
        return self._said("time")

    @property
    def ratings(self) -> NDArray[np.int64] | None:
        """Levels of responses that were judged alone, (n_pairs,), 0 for a choice of two, or None."""
        return self._said("rating")

    def _said(self, name: str) -> Any:
        column = getattr(self._set, name)
        return None if column is None else column[self._pairs]

    def _repr_html_(self) -> str:
        pairs = range(len(self._set.user))[self._pairs][:FEW]
        n_features = None if self._set.is_text else self._set.n_features
        said = [f"{name}s" for name in self._set.said]
        return episode_page(self.user, len(self), n_features, said, choices_of_set(self._set, pairs))

    def __reduce__(self) -> tuple[type[Episode], tuple[Any, ...]]:
        return Episode, tuple(getattr(self, name) for name in Episode.__dataclass_fields__)
