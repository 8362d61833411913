"""What may make a report say more, or other things, than the data allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import counted, name_some
from skmrm.episodes import EpisodeSet
from skmrm.episodes.rows import in_memory
from skmrm.model_selection.curve import Comparison
from skmrm.model_selection.judging import judged_users
from skmrm.report.verdict import percent, size_key
from skmrm.splits import SupportQuery

__all__ = ["NamesUsers", "find_warnings", "mute_pairs"]

_RELIABLE_USERS = 30
_PAIRS_AT_A_TIME = 1 << 14  # of which features are compared
_MIN_ANSWERS = 5  # two people may well agree on fewer pairs


class NamesUsers(str):
    """A warning that names users; `unnamed` is the same for people who may not know their ids."""

    unnamed: str

    @classmethod
    def of(cls, before: str, names: str, after: str) -> NamesUsers:
        """Names stand in brackets between two parts."""
        made = cls(f"{before} ({names}){after}")
        made.unnamed = before + after
        return made


def find_warnings(
    episodes: EpisodeSet,
    splits: list[SupportQuery],
    comparisons: Sequence[Comparison],
    asked_query: bool,
    in_fit: bool = False,
    by_time: bool = False,
) -> list[str]:
    """Look for what makes gains or intervals doubtful.

    Parameters
    ----------
    episodes : EpisodeSet
        All users, those who are not judged included.
    splits : list of SupportQuery
        Those that the curves were judged on.
    comparisons : sequence of Comparison
        One for each number of choices.
    asked_query : bool
        Whether the query was given rather than drawn by groups.
    in_fit : bool
        Whether the query is what users chose after the fit: no groups divide it from the support.
    by_time : bool
        Whether the query is what came later.

    Returns
    -------
    list of str
        A sentence or two each: what was found, what it does, the remedy.
    """
    judged = judged_users(splits)
    return [
        *_few_users(int(judged.sum())),
        *_left_out(judged, asked_query, by_time),
        *(_on_neither_side(splits, judged) if by_time else []),
        *_sizes_of_few(comparisons, int(judged.sum())),
        *_pairs_of_one_response(episodes, judged),
        *([] if in_fit else [*_groups_of_one(episodes), *_groups_on_both_sides(episodes, splits, judged)]),
        *_items_on_both_sides(episodes, splits, judged, in_fit),
        *_identical_users(episodes, judged),
    ]


def _few_users(n_judged: int) -> Iterator[str]:
    if n_judged == 1:
        yield "1 user is judged: nothing can be said of other users, and intervals mean nothing. Add users"
    elif n_judged < _RELIABLE_USERS:
        yield (
            f"{n_judged} users are judged: intervals over fewer than {_RELIABLE_USERS} users are unreliable, mostly "
            "too narrow. Add users, or judge more of them (test_size)"
        )


def _left_out(judged: NDArray[np.bool_], asked_query: bool, by_time: bool) -> Iterator[str]:
    if not judged.all():
        lack = "query pairs or support pairs" if asked_query else "pairs in at least two groups"
        lack = "pairs of at least two times, the later ones of new groups" if by_time else lack
        yield f"{(~judged).sum()} of {len(judged)} users are not judged, for lack of {lack}"


def _on_neither_side(splits: list[SupportQuery], judged: NDArray[np.bool_]) -> Iterator[str]:
    share = float((~(splits[0].query | splits[0].support()))[judged[splits[0].user]].mean())
    if share > 0:
        yield (
            f"{percent(share)} of pairs are left out: they are later ones of a group that has earlier ones. Pass finer "
            "groups if they should be judged"
        )


def _sizes_of_few(comparisons: Sequence[Comparison], n_judged: int) -> Iterator[str]:
    few = [row for row in sorted(comparisons, key=size_key) if 0 < row.n_users < n_judged / 2]
    if few:
        listed = ", ".join(f"{row.n_support} ({row.n_users} users)" for row in few)
        yield (
            f"Few of the {n_judged} users have so many support pairs: {listed}. These rows are about other users than "
            "the rest, and the verdict leaves them out"
        )


def mute_pairs(episodes: EpisodeSet, splits: list[SupportQuery]) -> str:
    """Name the pairs of which every one holds the same response twice, in all splits: all, or those of one side."""
    says = _tells_apart(episodes)
    of_judged = judged_users(splits)[episodes.user]
    if not says[of_judged].any():
        return "pairs"
    for name, sides in (("query pairs", [s.query for s in splits]), ("support pairs", [s.support() for s in splits])):
        if not any(says[side & of_judged].any() for side in sides):
            return name
    return ""


def _tells_apart(episodes: EpisodeSet) -> NDArray[np.bool_]:
    """Mask of ratings, and of pairs whose responses differ: other items, and other features where these are at hand."""
    says = np.asarray(episodes.chosen != episodes.rejected)
    rated = np.zeros(len(says), bool) if episodes.rating is None else episodes.rating > 0
    if episodes.items is not None or not in_memory(episodes.features):
        return says | rated
    for start in range(0, episodes.n_pairs, _PAIRS_AT_A_TIME):
        some = slice(start, start + _PAIRS_AT_A_TIME)
        sides = (episodes.features[column[some]] for column in (episodes.chosen, episodes.rejected))
        says[some] &= np.not_equal(*sides).any(1)
    return says | rated


def _pairs_of_one_response(episodes: EpisodeSet, judged: NDArray[np.bool_]) -> Iterator[str]:
    says, of_judged = _tells_apart(episodes), judged[episodes.user]
    share = float((~says[of_judged]).mean())
    if share > 0:
        told = np.bincount(episodes.user[says], minlength=episodes.n_users) > 0
        silent = int((judged & ~told).sum())
        users = f", and {counted(silent, 'user')} of {judged.sum()} brought no other" if silent else ""
        yield (
            f"{percent(share)} of pairs hold the same response twice{users}: they say nothing, and count half right "
            "under every model, which draws all gains towards 0. Leave them out"
        )


def _groups_of_one(episodes: EpisodeSet) -> Iterator[str]:
    if len(np.unique(episodes.group)) == episodes.n_pairs:
        yield (
            "Every pair is a group of its own, so that nothing keeps related pairs on one side of support and query. "
            "Pass groups (prompts, conversations or topics), unless no two pairs have anything in common"
        )


def _groups_on_both_sides(episodes: EpisodeSet, splits: list[SupportQuery], judged: NDArray[np.bool_]) -> Iterator[str]:
    share = _share_known(episodes, splits, judged, [np.unique(episodes.group, return_inverse=True)[1]])
    if share > 0:
        yield (
            f"{percent(share)} of query pairs are of a group that the same user's support has pairs of, too: gains may "
            "come from what pairs of a group share. Choose the query by whole groups"
        )


def _items_on_both_sides(
    episodes: EpisodeSet, splits: list[SupportQuery], judged: NDArray[np.bool_], in_fit: bool
) -> Iterator[str]:
    share = _share_known(episodes, splits, judged, [episodes.chosen, episodes.rejected])
    if share > 0:
        together = "Pass groups that keep all pairs of a response together"
        remedy = "Judge choices between other responses, unless these will come again" if in_fit else together
        yield (
            f"{percent(share)} of query pairs hold a response that is in the same user's support, too: gains may come "
            f"from remembering responses rather than from taste. {remedy}"
        )


def _share_known(
    episodes: EpisodeSet,
    splits: list[SupportQuery],
    judged: NDArray[np.bool_],
    codes: list[NDArray[np.int64]],
) -> float:
    """Share of query pairs one of whose codes (items, groups) is among those of the same user's support pairs."""
    width = max((int(code.max(initial=0)) for code in codes), default=0) + 1
    keys = np.stack([episodes.user * width + code for code in codes])
    of_judged = judged[episodes.user]
    known, total = 0, 0
    for split in splits:
        query = split.query & of_judged
        known += int(np.isin(keys[:, query], keys[:, split.support()]).any(0).sum())
        total += int(query.sum())
    return known / total


def _identical_users(episodes: EpisodeSet, judged: NDArray[np.bool_]) -> Iterator[str]:
    order = np.lexsort((episodes.rejected, episodes.chosen, episodes.user))
    answers = np.stack([episodes.chosen[order], episodes.rejected[order]], axis=1)
    by_answers = defaultdict(list)
    for row in np.flatnonzero(judged & (episodes.pairs_per_user >= _MIN_ANSWERS)):
        by_answers[answers[episodes.offsets[row] : episodes.offsets[row + 1]].tobytes()].append(row)
    twins = [row for rows in by_answers.values() if len(rows) > 1 for row in rows]
    if twins:
        names = name_some(episodes.users[sorted(twins)].tolist())
        yield NamesUsers.of(
            f"{len(twins)} users made the same choices on the same pairs as another user",
            names,
            ": intervals count them as independent people. If they are duplicates or bots, keep one of each",
        )
