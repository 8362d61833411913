"""The rules that preference data must meet, and the collector of who breaks which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import counted, name_some
from skmrm.episodes.cells import MISSING
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.messages import Conversation, ends_of, has_front
from skmrm.episodes.rows import row_chunks
from skmrm.exceptions import EpisodeError

__all__ = ["Problems", "check_scale", "set_problems", "shared_groups_problems"]


class Problems:
    """Rules broken so far, each with those who break it, to be raised at once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[_Verbatim] | list[int]] = {}

    def add(self, rule: str, who: object, detail: str = "", remedy: str = "") -> None:
        """Note that somebody breaks a rule.

        Parameters
        ----------
        rule : str
            What must hold.
        who : object
            The user (shown by its repr).
        detail : str
            What came from this user.
        remedy : str
            What to do; the same for all who break the rule.
        """
        label = _Verbatim(f"{who!r} ({detail})" if detail else repr(who))
        self._found.setdefault((rule, remedy), []).append(label)  # type: ignore[arg-type]

    def add_rule(self, sentence: str) -> None:
        """Note that a rule is broken that is not about anybody, once."""
        self._found.setdefault((sentence, ""), [])

    def add_cells(self, column: str, bad: Mapping[str, Sequence[int]], first_row: int = 0) -> None:
        """Note cells of a column that cannot be read: what came in their place, and in which rows from the first on."""
        for what, rows in bad.items():
            came, mend = ("missing values", "fill these rows in") if what == MISSING else (what, "correct these rows")
            rule = f"{column} must be readable in each row, got {came}"
            remedy = f"{mend} or drop them (rows count from 0)"
            self._found.setdefault((rule, remedy), []).extend(first_row + row for row in rows)  # type: ignore[misc]

    def sentences(self) -> list[str]:
        """One sentence for each broken rule: the rule, who breaks it, the remedy."""
        return [
            rule + _breakers(breakers) + (f": {remedy}" if remedy else "")
            for (rule, remedy), breakers in self._found.items()
        ]

    def __len__(self) -> int:
        """How often a rule was broken."""
        return sum(max(1, len(breakers)) for breakers in self._found.values())


class _Verbatim(str):
    """A label that shows itself as it is where others show their repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _breakers(breakers: list[_Verbatim] | list[int]) -> str:
    if not breakers:
        return ""
    if isinstance(breakers[0], int):
        return f" ({counted(len(breakers), 'row')}: {name_some(breakers)})"
    return f"; not so for {name_some(breakers)}"


def shared_groups_problems(shared_groups: Any) -> list[str]:
    """What is wrong with the parameter of that name: a sentence, or none."""
    if isinstance(shared_groups, bool | np.bool_) or (isinstance(shared_groups, str) and shared_groups == "auto"):
        return []
    return [
        'shared_groups must be "auto", True (a group means the same for all users) or False (each user has their own), '
        f"got {shared_groups!r}"
    ]


def check_scale(episodes: EpisodeSet, scale: Sequence[Any] | None) -> None:
    """Raise an error if there are ratings, and the model that is to read them had none in fit, or of another scale."""
    if not episodes.n_rated:
        return
    if scale is None:
        raise EpisodeError(
            f"ratings need a model that was fitted on some, got {counted(episodes.n_rated, 'rating')}: what a user "
            "expects of a response is learnt from those of others. Fit with ratings, or adapt on choices"
        )
    if tuple(episodes.scale or scale) != tuple(scale) or episodes.n_levels > len(scale):
        raise EpisodeError(
            f"ratings must be on the scale of fit, {name_some(scale, 9)}, got {episodes.n_levels} levels, "
            f"{name_some(episodes.scale or ('of no scale',), 9)}: pass scale=model.rating_scale_ to the reader"
        )


def set_problems(
    episodes: EpisodeSet,
    *,
    min_pairs: int = 1,
    min_groups: int = 1,
    n_features: int | None = None,
    kind: str | None = None,
    context: str | None = "fit",
) -> Iterator[str]:
    """Check what a well-formed set holds against what a method needs.

    Parameters
    ----------
    episodes : EpisodeSet
        The data.
    min_pairs, min_groups : int
        Fewest pairs, and fewest groups, of a user.
    n_features : int, optional
        Number of features needed.
    kind : {"text", "features"}, optional
        What the items must have.
    context : str or None
        The method, for the messages; None where the caller's own `min_pairs` rules.

    Yields
    ------
    str
        One sentence a problem.
    """
    if episodes.n_users == 0:
        yield f"{context or 'an EpisodeSet'} needs at least one user, got none"
        return
    yield from _count_problems(episodes, min_pairs, min_groups, context)
    if kind == "text" and episodes.n_items and not episodes.is_text:
        yield f"{context} needs texts, as fit had them, got features only: pass prompts and responses"
    if kind == "features" and episodes.n_items and episodes.n_features is None:
        yield f"{context} needs feature arrays, as fit had them, got texts: encode them, or use an encoder in fit"
    if None not in (n_features, episodes.n_features) and n_features != episodes.n_features:
        yield f"expected {n_features} features as in fit, got {episodes.n_features}"
    if not episodes.is_checked:
        one_sided = list(_one_sided_problems(episodes))
        nonfinite = list(nonfinite_problems(episodes))
        yield from one_sided + nonfinite
        if not one_sided and not nonfinite:
            episodes.mark_checked()


def _one_sided_problems(episodes: EpisodeSet) -> Iterator[str]:
    """Pairs in which one response alone holds its prompt, or a message more, which would tell the winner."""
    if episodes.items is None or episodes.n_pairs == 0:
        return
    if Conversation in {type(text) for _, text in episodes.items}:
        yield from _message_problems(episodes)
    yield from _front_problems(episodes)


def _message_problems(episodes: EpisodeSet) -> Iterator[str]:
    rule = "the messages of chosen and rejected must begin and end alike, or their roles tell which was chosen"
    remedy = "pass the prompt as prompt, and in both responses the answer alone"
    items = episodes.items or []
    ends = np.array([ends_of(text) if isinstance(text, Conversation) else "" for _, text in items])
    problems = Problems()
    for who, count, pair in _by_user(episodes, np.flatnonzero(ends[episodes.chosen] != ends[episodes.rejected])):
        came = f"chosen begins {ends[episodes.chosen[pair]]}, rejected {ends[episodes.rejected[pair]]}"
        problems.add(rule, who, f"{counted(count, 'pair')}: {came}", remedy)
    yield from problems.sentences()


def _front_problems(episodes: EpisodeSet) -> Iterator[str]:
    items = episodes.items or []
    front = np.array([has_front(*item) for item in items])
    chosen, rejected = front[episodes.chosen], front[episodes.rejected]
    pairs = np.flatnonzero(chosen != rejected)
    if 2 * len(pairs) < episodes.n_pairs:  # some answers do repeat the question
        return
    who, _, pair = next(_by_user(episodes, pairs))
    shown = items[(episodes.chosen if chosen[pair] else episodes.rejected)[pair]][1]
    yield (
        "chosen and rejected must both begin with the prompt or the name of a role, or neither, or it tells which was "
        f"chosen; not so in {len(pairs)} of {counted(episodes.n_pairs, 'pair')}, the first of {who!r} ({shown!r:.60}): "
        "pass the prompt as prompt, and in both responses the answer alone"
    )


def _by_user(episodes: EpisodeSet, pairs: NDArray[np.intp]) -> Iterator[tuple[Any, int, int]]:
    """Users of some pairs, each with how many they are and the first."""
    users, first, counts = np.unique(episodes.user[pairs], return_index=True, return_counts=True)
    for user, place, count in zip(users, first, counts, strict=True):
        yield episodes.users[user], int(count), int(pairs[place])


def _count_problems(episodes: EpisodeSet, min_pairs: int, min_groups: int, context: str | None) -> Iterator[str]:
    problems = Problems()
    counts = episodes.pairs_per_user
    purpose = f"for {context}" if context else "(min_pairs)"
    remedy = "add pairs, or drop these users" if context else "add pairs, drop these users, or pass a lower min_pairs"
    for row in np.flatnonzero(counts < min_pairs):
        rule = f"each user needs at least {counted(min_pairs, 'pair')} {purpose}"
        problems.add(rule, episodes.users[row], counted(counts[row], "pair"), remedy)
    if min_groups > 1:
        groups = _groups_per_user(episodes)
        for row in np.flatnonzero((groups < min_groups) & (counts >= max(1, min_pairs))):
            rule = (
                f"each user needs pairs of at least {counted(min_groups, 'group')} (prompt, conversation or topic) "
                f"{purpose}, so that support and query share none"
            )
            detail = f"{counted(counts[row], 'pair')} in {counted(groups[row], 'group')}"
            problems.add(rule, episodes.users[row], detail, "drop these users, or group more finely")
    yield from problems.sentences()


def _groups_per_user(episodes: EpisodeSet) -> NDArray[np.intp]:
    order = np.lexsort((episodes.group, episodes.user))
    user, group = episodes.user[order], episodes.group[order]
    new = np.ones(len(user), bool)
    new[1:] = (user[1:] != user[:-1]) | (group[1:] != group[:-1])
    return np.bincount(user[new], minlength=episodes.n_users)


_FINITE = "remove or replace NaN and infinity (missing and masked values count as NaN)"


def nonfinite_problems(episodes: EpisodeSet) -> Iterator[str]:
    """Pairs whose features are NaN or infinite, one sentence for all."""
    if episodes.features is None:
        return
    rows = _nonfinite_rows(episodes.features)
    pairs = np.flatnonzero(np.isin(episodes.chosen, rows) | np.isin(episodes.rejected, rows))
    if len(pairs) == 0:  # rows that no pair refers to may hold anything
        return
    problems = Problems()
    for who, count, pair in _by_user(episodes, pairs):
        bad = episodes.chosen[pair] if episodes.chosen[pair] in rows else episodes.rejected[pair]
        place = f"{counted(count, 'pair')}, the first with row {bad} of the features"
        problems.add("features must be finite", who, place, _FINITE)
    yield from problems.sentences()


# Beside ten times as many logits, single precision does not hold one.
LARGEST_REWARD = 1e6


def check_rewards_to_learn(rewards: NDArray[Any], episodes: EpisodeSet, caller: str) -> None:
    """Refuse to learn weights from base rewards (n_items, n_bases) that features far from those of fit give."""
    if rewards.size == 0 or max(float(rewards.max()), -float(rewards.min())) <= LARGEST_REWARD:
        return
    rows = np.flatnonzero(np.abs(rewards).max(1) > LARGEST_REWARD)
    problems = Problems()
    for who, count, pair in _by_user(
        episodes, np.flatnonzero(np.isin(episodes.chosen, rows) | np.isin(episodes.rejected, rows))
    ):
        place = f"{counted(count, 'pair')}, the first as pair {pair - int(episodes.offsets[episodes.user[pair]])}"
        rule = (
            f"{caller} needs features of the size of those in fit, and these give base rewards of over a million logits"
        )
        problems.add(rule, who, place, "scale them as for fit, or correct what is missing or mistaken")
    if problems:
        raise EpisodeError(problems.sentences())


def _nonfinite_rows(features: Any) -> NDArray[np.intp]:
    """Rows with NaN or infinity, looked for a chunk at a time so that a memory map is streamed."""
    found = [np.empty(0, np.intp)]
    for start, chunk in row_chunks(features):
        # The sum is finite wherever all entries are (up to overflow), and far cheaper than a look at each.
        with np.errstate(all="ignore"):
            suspicious = np.flatnonzero(~np.isfinite(chunk.sum(axis=1)))
        found.append(start + suspicious[~np.isfinite(chunk[suspicious]).all(axis=1)])
    return np.concatenate(found)
