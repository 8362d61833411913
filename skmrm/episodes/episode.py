"""One user's preferences, as they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skmrm.episodes.arrays import same
from skmrm.episodes.summary import choices_of_episode, episode_page

__all__ = ["Episode"]

_SAID = ("outcomes", "weights", "times", "ratings")


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
        Pairs of one group never end on both sides of a support/query split. They are this user's own, whatever others
        call theirs (``as_episode_set(..., shared_groups=True)`` says otherwise). None groups by prompt, and the same
        prompt of two users is one group; without prompts each pair is a group of its own.
    outcomes : sequence of int, optional
        0 for a tie (which of the two is called chosen does not matter then), 1 for a choice, 2, 3, ... for a stronger
        one. None for choices of which nothing more is known.
    weights : sequence of float > 0, optional
        How often each pair counts; None for once.
    times : sequence of float or datetime, optional
        When each was said.
    ratings : sequence of int, optional
        Levels, from 1, of responses that were judged alone, in `chosen` and again in `rejected`; 0 for a choice of two.

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
    outcomes: Any = None
    weights: Any = None
    times: Any = None
    ratings: Any = None

    def __len__(self) -> int:
        return len(self.chosen)

    def __repr__(self) -> str:
        try:
            size: Any = len(self)
        except TypeError:
            size = "?"
        return f"Episode(user={self.user!r}, n_pairs={size})"

    def _repr_html_(self) -> str | None:
        said = [name for name in _SAID if getattr(self, name) is not None]
        try:
            shape: tuple[int, ...] = getattr(self.chosen, "shape", ())
            n_features = shape[1] if len(shape) == 2 else None
            choices = choices_of_episode(self) if n_features is None else []
            return episode_page(self.user, len(self), n_features, said, choices)
        except Exception:  # nothing was checked yet, and a notebook shows what `repr` says of whatever this is
            return None

    def __eq__(self, other: object) -> bool:
        """Whether user, pairs, prompts, groups and all that was said are the same, cell by cell."""
        if not isinstance(other, Episode):
            return NotImplemented
        names = self.__dataclass_fields__
        return self is other or all(same(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]
