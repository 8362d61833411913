"""A list of `Episode` as one `EpisodeSet`, with every problem of every user found first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import name_some
from skmrm.episodes.arrays import SharedGroups, object_array
from skmrm.episodes.cells import Cells, is_missing, mixed_rows, read_cells, split_prompts
from skmrm.episodes.columns import Coder
from skmrm.episodes.episode import Episode
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.features import is_frame
from skmrm.episodes.from_columns import set_from_features, set_from_texts
from skmrm.episodes.messages import all_spelt
from skmrm.episodes.outcomes import SAID, UNTOLD, Said, joined_said, read_said, said_problems
from skmrm.episodes.rules import Problems
from skmrm.episodes.view import EpisodeView

__all__ = ["common_set", "read_episodes"]

_CELL_RULE = "{} must hold a text, a list of messages or a feature vector for each pair"


@dataclass(eq=False)
class _Read:
    """One episode whose cells are sound; `groups` holds keys, or None where prompts decide.

    Keys are the user's own, unless `shared_groups`.
    """

    user: Any
    kind: str | None
    prompts: NDArray[Any] | None
    chosen: NDArray[Any]
    rejected: NDArray[Any]
    groups: list[Any] | None
    shared_groups: bool = False
    names: tuple[str, ...] | None = None
    said: Said = field(default_factory=dict)


def read_episodes(
    data: Sequence[Episode], shared_groups: bool | Literal["auto"] = "auto"
) -> tuple[EpisodeSet | None, list[str]]:
    """Put episodes together.

    Parameters
    ----------
    data : sequence of Episode
        At least one. Views of one `EpisodeSet` are put together without copying its features.
    shared_groups : bool or "auto"
        Whether a group is one and the same for all users; "auto" says so where prompts are the groups. Views have the
        groups of their set.

    Returns
    -------
    episodes : EpisodeSet or None
        The sound episodes, of the kind that most of them are of; None if there is none.
    problems : list of str
        What is wrong, one sentence for each rule.
    """
    problems = Problems()
    _check_users(data, problems)
    common = common_set(data)
    if common is not None:
        return common[[view._row for view in data if isinstance(view, EpisodeView)]], problems.sentences()
    spelt = all(all_spelt(_cells_of(data, side)) for side in ("chosen", "rejected"))
    spelt_prompts = spelt or all_spelt(_cells_of(data, "prompts"))
    read = [one for episode in data if (one := _read_one(episode, spelt, spelt_prompts, problems)) is not None]
    if shared_groups == "auto" and _n_origins(data) > 1:
        for one in read:
            one.shared_groups = False  # each set has numbered its own
    read = _of_one_width(_of_one_kind(read, problems), problems)
    if not read:
        return None, problems.sentences()
    if all(one.kind != "features" for one in read):
        return _from_texts(read, shared_groups), problems.sentences()
    names = _common_names(read, problems)
    return _from_features(read, shared_groups).named(names), problems.sentences()


def common_set(data: Sequence[Episode]) -> EpisodeSet | None:
    """The set that all of these are views of, if there is one."""
    first = data[0]
    if isinstance(first, EpisodeView) and all(isinstance(e, EpisodeView) and e._set is first._set for e in data):
        return first._set
    return None


def _n_origins(data: Sequence[Episode]) -> int:
    """Number of sets, apart from being parts of one, that views among these are of."""
    sets = [view._set for view in data if isinstance(view, EpisodeView)]
    return len({id(one.features if one.items is None else one.items) for one in sets})


def _check_users(data: Sequence[Episode], problems: Problems) -> None:
    ids = []
    for place, episode in enumerate(data):
        if _is_hashable(episode.user) and not is_missing(episode.user):
            ids.append(episode.user)
        else:
            problems.add("user ids must be hashable and not missing", episode.user, f"episode {place}", "name the user")
    for user, times in Counter(ids).items():
        if times > 1:
            remedy = "join all pairs of a user in one Episode"
            problems.add("each user must come in one episode", user, f"{times} episodes", remedy)


def _of_one_kind(read: list[_Read], problems: Problems) -> list[_Read]:
    """Keep the episodes of the kind that most are of; others are a problem."""
    kinds = Counter(one.kind for one in read if one.kind is not None)
    if len(kinds) < 2:
        return read
    (common, _), (other, _) = kinds.most_common()
    rule = f"all users must bring the same kind of data, and most bring {common}"
    for one in read:
        if one.kind == other:
            problems.add(rule, one.user, other, "bring texts for all users, or features for all")
    return [one for one in read if one.kind != other]


def _of_one_width(read: list[_Read], problems: Problems) -> list[_Read]:
    """Keep the episodes with the number of features that most have; others are a problem."""
    widths = Counter(one.chosen.shape[1] for one in read if one.kind == "features")
    if len(widths) < 2:
        return read
    common = widths.most_common(1)[0][0]
    sound = []
    for one in read:
        if one.kind != "features" or one.chosen.shape[1] == common:
            sound.append(one)
        else:
            rule = f"all users must have the same number of features, and most have {common}"
            problems.add(rule, one.user, str(one.chosen.shape[1]))
    return sound


_ONE_ORDER = "all feature vectors must have the same columns in the same order"


def _names_of(user: Any, chosen: Cells, rejected: Cells, problems: Problems) -> tuple[str, ...] | None:
    """Names of the features of an episode, where data frames brought them."""
    if chosen.names and rejected.names and chosen.names != rejected.names:
        problems.add(_ONE_ORDER, user, f"chosen {name_some(chosen.names)}, rejected {name_some(rejected.names)}")
    return chosen.names or rejected.names


def _common_names(read: list[_Read], problems: Problems) -> tuple[str, ...] | None:
    """The names that most episodes with names have; of others of another order or other names, problems."""
    found = Counter(one.names for one in read if one.names is not None)
    if not found:
        return None
    common = found.most_common(1)[0][0]
    for one in read:
        if one.names not in (None, common):
            problems.add(f"{_ONE_ORDER}, and most have {name_some(common)}", one.user, name_some(one.names or ()))
    return common


def _cells_of(data: Sequence[Episode], side: str) -> Iterator[Any]:
    columns = (getattr(episode, side) for episode in data)
    return chain.from_iterable(
        c for c in columns if isinstance(c, Iterable) and not (hasattr(c, "toarray") or is_frame(c))
    )


def _read_one(episode: Episode, spelt: bool, spelt_prompts: bool, problems: Problems) -> _Read | None:
    before = len(problems)
    user = episode.user
    chosen = _sound("chosen", episode.chosen, spelt, user, problems)
    rejected = _sound("rejected", episode.rejected, spelt, user, problems)
    prompts = None if episode.prompts is None else _sound("prompts", episode.prompts, spelt_prompts, user, problems)
    groups = None if episode.groups is None else _read_groups(episode.groups, user, problems)
    said = _read_said(episode, problems)
    if len(problems) > before or chosen is None or rejected is None:
        return None
    lengths = {"chosen": chosen, "rejected": rejected, "prompts": prompts, "groups": groups} | {
        f"{name}s": column for name, column in said.items()
    }
    _check_pairing(user, {k: v.values if isinstance(v, Cells) else v for k, v in lengths.items()}, problems)
    _check_pair_kinds(user, chosen, rejected, prompts, problems)
    if len(problems) == before and "rating" in said:
        _check_rated(user, chosen.values, rejected.values, said["rating"], problems)
    if len(problems) > before:
        return None
    given = None if prompts is None else prompts.values
    shared = isinstance(episode.groups, SharedGroups)
    kind = chosen.kind
    if kind == "text":
        texts = split_prompts(given, chosen.values, rejected.values)
        return _Read(user, kind, *texts, groups, shared, None, said)
    names = (
        episode._set.feature_names if isinstance(episode, EpisodeView) else _names_of(user, chosen, rejected, problems)
    )
    return _Read(user, kind, given, chosen.values, rejected.values, groups, shared, names, said)


def _sound(name: str, column: Any, spelt: bool, user: Any, problems: Problems) -> Cells | None:
    """Read a column and report what is wrong with it."""
    cells = read_cells(column, spelt=spelt)
    if cells.problem:
        problems.add(f"{name} must be a sequence with one entry for each pair", user, cells.problem)
        return None
    if name == "prompts" and cells.kind == "features":
        problems.add("prompts must be texts or lists of messages", user, "vectors of numbers")
    for what, rows in cells.bad.items():
        problems.add(_CELL_RULE.format(name), user, f"{_pairs(rows)}: {what}", "correct or drop these pairs")
    return cells


def _read_groups(groups: Any, user: Any, problems: Problems) -> list[Any] | None:
    rule = "groups must hold one hashable value for each pair"
    if isinstance(groups, str | bytes | Mapping | Set) or not hasattr(groups, "__len__"):
        problems.add(rule, user, f"a single {type(groups).__name__}")
        return None
    values: list[Any] = object_array(groups if isinstance(groups, np.ndarray) else list(groups)).tolist()
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        problems.add(rule, user, f"{_pairs(missing)}: missing", "give a pair on its own a group of its own")
    unhashable = [row for row, value in enumerate(values) if not _is_hashable(value)]
    if unhashable:
        problems.add(rule, user, f"{_pairs(unhashable)}: a {type(values[unhashable[0]]).__name__}")
    return values


def _read_said(episode: Episode, problems: Problems) -> dict[str, NDArray[Any]]:
    """Columns of what was said of the pairs, those given."""
    found, unread = read_said({name: getattr(episode, f"{name}s") for name in SAID})
    for sentence in unread or said_problems(found, UNTOLD if isinstance(episode, EpisodeView) else 0):
        rule, _, came = sentence.partition(", got ")
        problems.add(rule, episode.user, came)
    return found


def _check_pairing(user: Any, columns: dict[str, Any], problems: Problems) -> None:
    lengths = {name: len(values) for name, values in columns.items() if values is not None}
    if len(set(lengths.values())) > 1:
        detail = ", ".join(f"{n} {name}" for name, n in lengths.items())
        rule = f"{' and '.join([', '.join(list(lengths)[:-1]), list(lengths)[-1]])} must have the same length"
        problems.add(rule, user, detail, "give one of each for each pair")


def _check_pair_kinds(user: Any, chosen: Cells, rejected: Cells, prompts: Cells | None, problems: Problems) -> None:
    rule, remedy = "chosen and rejected must be of one kind", "bring both as texts, as messages, or as features"
    if None in (chosen.kind, rejected.kind):
        return
    if chosen.kind != rejected.kind:
        problems.add(rule, user, f"{chosen.kind} and {rejected.kind}", remedy)
    elif chosen.kind == "features" and chosen.values.shape[1] != rejected.values.shape[1]:
        detail = f"{chosen.values.shape[1]} and {rejected.values.shape[1]}"
        problems.add("chosen and rejected must have the same number of features", user, detail)
    elif chosen.kind == "text" and len(chosen.values) == len(rejected.values):
        rows = mixed_rows(chosen.values, rejected.values)
        if rows:
            problems.add(rule, user, f"{_pairs(rows)}: a text and a list of messages", remedy)


def _check_rated(user: Any, chosen: Any, rejected: Any, rating: NDArray[np.int64], problems: Problems) -> None:
    """A response that was judged alone stands on both sides."""
    apart = [row for row in np.flatnonzero(rating > 0).tolist() if np.any(chosen[row] != rejected[row])]
    if apart:
        rule, remedy = "a rated response must stand alone, as chosen and as rejected", "rate one, or leave the rating 0"
        problems.add(rule, user, f"{_pairs(apart)}: two", remedy)


def _from_texts(read: Sequence[_Read], shared: bool | Literal["auto"]) -> EpisodeSet:
    prompt_coder, response_coder = Coder(), Coder()
    prompt = [prompt_coder.codes(one.chosen if one.prompts is None else one.prompts) for one in read]
    chosen = [response_coder.codes(one.chosen) for one in read]
    rejected = [response_coder.codes(one.rejected) for one in read]
    by_prompt = all(one.groups is None for one in read)
    group, shared = (None, bool(shared)) if by_prompt else _group_column(read, shared)
    return set_from_texts(
        [one.user for one in read],
        _user_column(read),
        np.concatenate(prompt),
        prompt_coder.values,
        np.concatenate(chosen),
        np.concatenate(rejected),
        response_coder.values,
        group,
        shared_groups=shared,
        said=joined_said([(len(one.chosen), one.said) for one in read]),
    )


def _from_features(read: Sequence[_Read], shared: bool | Literal["auto"]) -> EpisodeSet:
    sized = [one for one in read if one.kind == "features"]
    features = np.concatenate([side for one in sized for side in (one.chosen, one.rejected)])
    sizes = np.array([len(one.chosen) for one in read])
    before = np.repeat(np.cumsum(sizes) - sizes, sizes)
    # A user's chosen rows are followed by the same user's rejected rows, so that a user's features lie together.
    chosen = before + np.arange(len(before))
    rejected = chosen + np.repeat(sizes, sizes)
    alone = all(one.groups is None and one.prompts is None for one in read)
    group, shared = (None, False) if alone else _group_column(read, shared)
    ids, user = [one.user for one in read], _user_column(read)
    said = joined_said([(len(one.chosen), one.said) for one in read])
    return set_from_features(ids, user, features, chosen, rejected, group, shared_groups=shared, said=said)


def _user_column(read: Sequence[_Read]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(read)), [len(one.chosen) for one in read])


def _group_column(read: Sequence[_Read], shared: bool | Literal["auto"]) -> tuple[NDArray[np.int64], bool]:
    """Number groups by what they are called, prompts or codes; and whether users share what is called alike."""
    by_name = Coder()
    own = [one.groups is not None and not one.shared_groups for one in read]
    if shared != "auto" or all(own) or not any(own):
        codes = [by_name.codes(_group_keys(one)) for one in read]
        return np.concatenate(codes), not all(own) if shared == "auto" else shared
    # codes of a user's own among prompts, which are shared: only the latter keep their name
    keys = [
        [(place, key) for key in _group_keys(one)] if is_own else _group_keys(one)
        for place, (one, is_own) in enumerate(zip(read, own, strict=True))
    ]
    return np.concatenate([by_name.codes(some) for some in keys]), True


def _group_keys(one: _Read) -> list[Any]:
    if one.groups is not None:
        return one.groups
    if one.prompts is None:
        return [object() for _ in one.chosen]
    return [prompt or object() for prompt in one.prompts]


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _pairs(rows: Sequence[int]) -> str:
    return f"pair {rows[0]}" if len(rows) == 1 else f"pairs {name_some(rows)}"
