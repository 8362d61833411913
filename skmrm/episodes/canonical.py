"""An order of users, pairs and items that does not depend on how they came, so that no draw does.

Who was asked about which items together says mostly who is who: keys go from items to pairs, from pairs to groups and
to users, and back to items, a few times (colour refinement, as in tests of isomorphic graphs). They are the same
whatever was answered, and whatever the items are known by: texts, features of any unit and precision. Where that leaves
users or pairs alike, as responses that occur once may be, it is their answers that decide; then the items: first a
score of their numbers, which rounding hardly moves, then a digest. All this is the same if every choice is turned
round; only what even that leaves alike, as opposite choices of one user may be, goes by which item was chosen. Users
whom all leave alike are in the order of a digest of their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.columns import factorize, inverse, number, number_rows
from skmrm.episodes.keys import Keys, Rows, mixed, text_keys

__all__ = ["CanonicalOrder", "Choices", "canonical_order"]

_ROUNDS = 3  # reach from a pair to those that share an item with one that shares an item with one that shares an item


@dataclass(frozen=True)
class Choices:
    """The columns of an `EpisodeSet`, groups numbered over all users."""

    users: NDArray[np.object_]
    user: NDArray[np.intp]
    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    group: NDArray[np.int64]
    said: tuple[NDArray[Any], ...] = ()  # of each pair, beside which response was chosen
    tied: NDArray[np.bool_] | None = None  # pairs of which neither was

    @property
    def said_keys(self) -> Keys:
        """A key of what was said of each pair, (n_pairs,); zero for nothing."""
        found = np.zeros(len(self.user), np.uint64)
        for column in self.said:
            found = mixed(found + np.ascontiguousarray(column + 0.0, np.float64).view(np.uint64))
        return found


@dataclass(frozen=True)
class CanonicalOrder:
    """Where what comes first, second ... stands in a set.

    Attributes
    ----------
    users : (n_users,) int array
        Rows of users. Users whom nothing else tells apart are in the order of a digest of their ids.
    pairs : (n_pairs,) int array
        Rows of pairs, user by user in that order, and within a user group by group.
    same_as : (n_items,) int array
        For each item the first one that equals it: mostly itself.
    """

    users: NDArray[np.intp]
    pairs: NDArray[np.intp]
    same_as: NDArray[np.int64]


def canonical_order(choices: Choices, items: Sequence[tuple[str, str]] | None, features: Any) -> CanonicalOrder:
    """Order a set.

    Parameters
    ----------
    choices : Choices
    items : sequence of (prompt, response), optional
    features : (n_items, n_features) array in memory, int, or None
        Looked at where there are no texts, or texts do not tell the items apart. Their number alone takes the rows in
        which items stand for what they hold.
    """
    used = np.unique(np.concatenate([choices.chosen, choices.rejected]))
    content = _Content(used, items, features)
    graph = _Graph(choices, content.same_as)
    alike = np.ones(len(content.same_as), np.uint64)  # of which sums and mixtures are no longer one; of zero they are
    ties = [graph.keys(alike, answers=False)]
    if not graph.tells_apart(ties[0]):
        scores, keys = content.scores(), content.keys()
        ties += [graph.keys(alike), graph.sums(scores), graph.keys(keys)]
        if not graph.tells_apart(ties[-1]):
            ties += [graph.sums(scores, sign=-1), graph.keys(keys, both_ways=False)]
    ties.reverse()  # to np.lexsort, the last one counts most
    order = np.lexsort((_digests(choices.users, ties), *(keys.users for keys in ties)))
    of_pairs = (keys.pairs for keys in ties)
    of_groups = (keys.groups[graph.group] for keys in ties)
    pairs = np.lexsort((*of_pairs, graph.group, *of_groups, inverse(order)[choices.user]))
    return CanonicalOrder(order, pairs, content.same_as)


class _Content:
    """What the items hold, and which are equal: those in `used`, ascending rows."""

    def __init__(self, used: NDArray[np.int64], items: Sequence[tuple[str, str]] | None, features: Any) -> None:
        n_items = len(items) if items is not None else features if isinstance(features, int) else len(features)
        self.same_as = np.arange(n_items)
        self._used, self._features = used, features
        self._texts = None if items is None else [items[row] for row in used.tolist()]
        if self._texts is not None and features is not None and len(set(self._texts)) < len(self._texts):
            self._texts = None
        if self._texts is not None:
            codes, _ = factorize(self._texts)
            first = number(codes)[1]
        elif isinstance(features, int):
            return
        else:
            codes, first = number_rows(features, used)
        self.same_as[used] = used[first][codes]

    @property
    def _distinct(self) -> NDArray[np.int64]:
        return np.unique(self.same_as[self._used])

    def scores(self) -> NDArray[np.int64]:
        """Score of each item, (n_items,); zero for texts."""
        found = np.zeros(len(self.same_as), np.int64)
        if self._texts is None and not isinstance(self._features, int):
            found[self._distinct] = Rows(self._features, self._distinct).scores()
        return found

    def keys(self) -> Keys:
        """Key of each item, (n_items,)."""
        found = np.zeros(len(self.same_as), np.uint64)
        if self._texts is not None:
            found[self._used] = text_keys(f"{len(prompt)} {prompt}{response}" for prompt, response in self._texts)
        elif isinstance(self._features, int):
            found = mixed(self.same_as.astype(np.uint64))
        else:
            columns = mixed(np.arange(1, self._features.shape[1] + 1, dtype=np.uint64))
            rows = Rows(self._features, self._distinct)
            found[self._distinct] = rows.keys(columns, rows.inverse_scale())
        return found


class _Keys(NamedTuple):
    pairs: NDArray[Any]
    groups: NDArray[Any]
    users: NDArray[Any]


class _Graph:
    """Items, pairs of them, groups of pairs, users.

    Attributes
    ----------
    group : (n_pairs,) int array
        Each user's own groups, numbered over all users. What they share with others' is another key of theirs.
    """

    def __init__(self, choices: Choices, same_as: NDArray[np.int64]) -> None:
        self._user, self._n_users = choices.user, len(choices.users)
        self._ends = same_as[choices.chosen], same_as[choices.rejected]
        code, first = number(choices.group)
        self._n_shared, self._said = len(first), choices.said_keys
        self._won = np.ones(len(self._user), np.uint64) if choices.tied is None else (~choices.tied).astype(np.uint64)
        self.group, first = number(self._user * self._n_shared + code)
        self._owner, self._shared = self._user[first], code[first]

    def keys(self, items: Keys, *, answers: bool = True, both_ways: bool = True) -> _Keys:
        """Keys after some rounds from those of items; the same if all choices are turned round.

        Without `answers`, the same whatever the choices were; not `both_ways`, others if all are turned round.
        """
        if not (answers and both_ways):
            return self._refined(items, *self._ends, answers)
        found = (self._refined(items, *ends, answers) for ends in (self._ends, self._ends[::-1]))
        return _Keys(*(mixed(ours) + mixed(theirs) for ours, theirs in zip(*found, strict=True)))

    def sums(self, scores: NDArray[np.int64], sign: int = 1) -> _Keys:
        """Scores of items, summed over those of each pair, group and user; of sign -1, chosen less rejected."""
        pairs = scores[self._ends[0]] + np.where(self._won, sign, 1) * scores[self._ends[1]]
        groups = np.zeros(len(self._owner), np.int64)
        np.add.at(groups, self.group, pairs)
        users = np.zeros(self._n_users, np.int64)
        np.add.at(users, self._owner, groups)
        return _Keys(pairs, groups, users)

    def tells_apart(self, keys: _Keys) -> bool:
        """Whether no two users and no two pairs have the same keys."""
        pairs = mixed(keys.pairs + mixed(keys.groups[self.group] + mixed(keys.users[self._user])))
        return len(np.unique(keys.users)) == self._n_users and len(np.unique(pairs)) == len(pairs)

    def _refined(self, items: Keys, better: NDArray[np.int64], worse: NDArray[np.int64], answers: bool) -> _Keys:
        for _ in range(_ROUNDS):
            pairs, groups, users = self._from_items(items, better, worse, answers)
            shared = np.zeros(self._n_shared, np.uint64)
            np.add.at(shared, self._shared, mixed(groups + users[self._owner]))
            pairs = mixed(pairs + mixed(groups + mixed(shared)[self._shared])[self.group] + users[self._user])
            items = mixed(items)
            np.add.at(items, better, pairs)
            np.add.at(items, worse, np.where(self._won, mixed(pairs), pairs) if answers else pairs)
        return self._from_items(items, better, worse, answers)

    def _from_items(self, items: Keys, better: NDArray[np.int64], worse: NDArray[np.int64], answers: bool) -> _Keys:
        mine, theirs = mixed(items)[better], mixed(items[worse] + (self._won if answers else np.uint64(0)))
        pairs = mixed(mine + theirs + self._said if answers else mine + theirs)
        groups = np.zeros(len(self._owner), np.uint64)
        np.add.at(groups, self.group, pairs)
        users = np.zeros(self._n_users, np.uint64)
        np.add.at(users, self._owner, mixed(groups))
        return _Keys(pairs, groups, users)


def _tied(keys: Keys) -> NDArray[np.intp]:
    """Places of keys that occur more than once."""
    codes, _ = number(keys)
    return np.flatnonzero(np.bincount(codes)[codes] > 1)


def _digests(ids: NDArray[np.object_], ties: Sequence[_Keys]) -> Keys:
    """Digests of the ids of users whose keys are alike; zero for the others."""
    total = np.zeros(len(ids), np.uint64)
    for keys in ties:
        total = mixed(total + keys.users.astype(np.uint64))
    tied = _tied(total)
    found = np.zeros(len(ids), np.uint64)
    found[tied] = text_keys(map(repr, ids[tied].tolist()))
    return found
