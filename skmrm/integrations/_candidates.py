"""Candidate completions, scored by their users' rewards, and the best and worst of them as preference pairs."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np

from skmrm._support.wording import counted, described, name_some, raise_all
from skmrm.episodes.items import Item
from skmrm.episodes.messages import is_messages
from skmrm.episodes.tables import Table, cells_of, open_table
from skmrm.integrations._read_texts import read_items
from skmrm.integrations._row_rewards import OnUnknownUser, RowRewards

__all__ = ["best_of_n", "score_dataset"]


def score_dataset(
    dataset: Any,
    model_or_users: Any,
    *,
    user: str = "user_id",
    prompt: str = "prompt",
    completion: str = "completion",
    reward: str = "reward",
    on_unknown_user: OnUnknownUser = "prior",
) -> Any:
    """Add a column of rewards to completions.

    Parameters
    ----------
    dataset : datasets.Dataset, list of dicts, or pandas, polars or pyarrow table
        Rows with a prompt and one completion, or a list of completions; each a text or a list of messages.
    model_or_users : UserModels, UserRewardModel, fitted MetaRewardModel or baseline, or skmrm.serving.OnnxScorer
        Whose rewards; see :class:`skmrm.integrations.trl.UserReward`.
    user, prompt, completion : str, default="user_id", "prompt" and "completion"
        Columns. That of users need not be there where all rows are scored alike.
    reward : str, default="reward"
        The new column: a float or None a row, in logits, or a list of them where a row has several completions.
    on_unknown_user : {"prior", "none", "error"}, default="prior"
        Reward of users who were not adapted: that of the starting weights, with a warning; None; or an error.

    Returns
    -------
    datasets.Dataset, list of dicts, or table
        As came in, which is unchanged.

    Raises
    ------
    TypeError
        If `dataset` or `model_or_users` is none of these.
    ValueError
        If columns are missing or cannot be read, or there is a column `reward` already.
    KeyError
        If users are unknown and may not be.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import load_style_preferences
    >>> from skmrm.integrations.trl import score_dataset
    >>> episodes = load_style_preferences(n_users=30, n_pairs=10, random_state=0).episodes
    >>> model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes)
    >>> rows = score_dataset([{"prompt": "Tea?", "completion": ["Yes.", "No."]}], model)
    >>> list(rows[0]), len(rows[0]["reward"])
    (['prompt', 'completion', 'reward'], 2)
    """
    rewards = RowRewards(model_or_users, on_unknown_user)
    candidates = _Candidates(dataset, rewards, user, prompt, completion, new=reward)
    column = candidates.by_row(candidates.rewards)
    if isinstance(dataset, list | tuple):
        return [{**row, reward: value} for row, value in zip(dataset, column, strict=True)]
    if _is_dataset(dataset):
        return dataset.add_column(reward, column)
    import narwhals as nw

    frame = nw.from_native(dataset, eager_only=True)
    series = nw.new_series(reward, column, backend=nw.get_native_namespace(frame))
    return frame.with_columns(series).to_native()


def best_of_n(
    dataset: Any,
    model_or_users: Any,
    *,
    user: str = "user_id",
    prompt: str = "prompt",
    completion: str = "completion",
    min_margin: float = 0.0,
    on_unknown_user: OnUnknownUser = "prior",
) -> Any:
    """Pair each user's best candidate completion of a prompt with the worst, in TRL's preference format.

    Parameters
    ----------
    dataset : datasets.Dataset, list of dicts, or pandas, polars or pyarrow table
        Rows with a user, a prompt and a list of completions; or with one completion each, where rows of the same user
        and prompt belong together, in any order. Texts, or lists of messages.
    model_or_users : UserModels, UserRewardModel, fitted MetaRewardModel or baseline, or skmrm.serving.OnnxScorer
        Whose rewards; see :class:`skmrm.integrations.trl.UserReward`.
    user, prompt, completion : str, default="user_id", "prompt" and "completion"
        Columns. That of users need not be there where all rows are scored alike.
    min_margin : float, default=0.0
        Pairs whose rewards differ by this much or less, in logits, are left out: by default those that differ by
        nothing, and so say nothing.
    on_unknown_user : {"prior", "none", "error"}, default="prior"
        What decides for users who were not adapted: the starting weights, with a warning; nothing, so that they get no
        pairs; or that is an error.

    Returns
    -------
    datasets.Dataset, list of dicts, or table
        As came in; a row for each user and prompt with a pair, in order of first appearance, with the columns `user`
        (if there is one), ``prompt``, ``chosen``, ``rejected``, and in logits ``score_chosen`` and
        ``score_rejected``. Of candidates of equal reward, the first is taken.

    Raises
    ------
    TypeError
        If `dataset` or `model_or_users` is none of these.
    ValueError
        If columns are missing or cannot be read, or `min_margin` is negative.
    KeyError
        If users are unknown and may not be.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import load_style_preferences
    >>> from skmrm.integrations.trl import best_of_n
    >>> data = load_style_preferences(n_users=30, n_pairs=10, random_state=0)
    >>> model = MetaRewardModel(max_epochs=0, random_state=0).fit(data.episodes)
    >>> rows = [{"prompt": prompt, "completion": response} for prompt, response in data.episodes.items]
    >>> pairs = best_of_n(rows, model)
    >>> list(pairs[0])
    ['prompt', 'chosen', 'rejected', 'score_chosen', 'score_rejected']
    """
    if not min_margin >= 0:
        raise ValueError(f"min_margin must be a number of logits, 0 or more, got {min_margin!r}")
    rewards = RowRewards(model_or_users, on_unknown_user)
    candidates = _Candidates(dataset, rewards, user, prompt, completion)
    pairs = list(candidates.pairs(min_margin))
    candidates.warn_of_single_ones()
    if isinstance(dataset, list | tuple):
        return pairs
    names = [
        *([user] if candidates.users is not None else []),
        "prompt",
        "chosen",
        "rejected",
        "score_chosen",
        "score_rejected",
    ]
    columns = {name: [pair[name] for pair in pairs] for name in names}
    if _is_dataset(dataset):
        from datasets import Dataset

        return Dataset.from_dict(columns)  # also of a streamed one
    import narwhals as nw

    return nw.from_dict(columns, backend=nw.get_native_namespace(dataset)).to_native()


class _Candidates:
    """Completions of a data set, one after the other, with their rewards and where they came from."""

    def __init__(
        self, dataset: Any, rewards: RowRewards, user: str, prompt: str, completion: str, new: str | None = None
    ) -> None:
        table = _open(dataset, [user, prompt, completion])
        _check_names(table, {"prompt": prompt, "completion": completion}, user, rewards.needs_users, new)
        self.user = user
        self.prompts, cells = _column(table, prompt), _column(table, completion)
        self.users = _column(table, user) if user in table.names or not table.names else None
        self.has_lists = bool(cells) and _is_several(cells[0])
        _check_lists(cells, completion, self.has_lists)
        self.completions: list[Any] = [one for cell in cells for one in cell] if self.has_lists else cells
        counts = [len(cell) if self.has_lists else 1 for cell in cells]
        self.row = np.repeat(np.arange(len(cells)), counts).tolist()
        self.items: list[Item] = read_items(
            [self.prompts[row] for row in self.row], self.completions, (prompt, completion)
        )
        who = [self.users[row] for row in self.row] if self.users is not None and rewards.needs_users else None
        self.rewards = rewards(self.items, who)
        if who is not None and rewards.on_unknown_user == "prior":
            _warn_of_unknown(self.users or [], rewards)

    def by_row(self, values: Sequence[Any]) -> list[Any]:
        """Values of completions as cells of the data set's rows."""
        if not self.has_lists:
            return list(values)
        cells: list[list[Any]] = [[] for _ in self.prompts]
        for row, value in zip(self.row, values, strict=True):
            cells[row].append(value)
        return cells

    @cached_property
    def groups(self) -> dict[Hashable, list[int]]:
        """Places of the candidates of one user and prompt."""
        found: dict[Hashable, list[int]] = {}
        for place, row in enumerate(self.row):
            who = self.users[row] if self.users else None
            found.setdefault(row if self.has_lists else (who, self.items[place][0]), []).append(place)
        return found

    def warn_of_single_ones(self) -> None:
        """Say how many prompts of a user come with one candidate, of which there is no best and worst."""
        single = [places[0] for places in self.groups.values() if len(places) == 1]
        if single:
            row = self.row[single[0]]
            remedy = "give each row several completions" if self.has_lists else "give rows of one user the same prompt"
            of_all = f"{len(single)} of {counted(len(self.groups), 'prompt')}"
            warnings.warn(
                f"{of_all} of a user have one candidate and give no pair, the first is row {row}: {remedy}, or leave "
                "them out",
                stacklevel=3,
            )

    def pairs(self, min_margin: float) -> Iterator[dict[str, Any]]:
        """Best and worst of each group, by reward."""
        for places in self.groups.values():
            scored = [(reward, place) for place in places if (reward := self.rewards[place]) is not None]
            if not scored:
                continue
            high, best = max(scored, key=lambda entry: entry[0])
            low, worst = min(scored, key=lambda entry: entry[0])
            if high - low > min_margin:
                row = self.row[best]
                yield {
                    **({self.user: self.users[row]} if self.users else {}),
                    "prompt": self.prompts[row],
                    "chosen": self.completions[best],
                    "rejected": self.completions[worst],
                    "score_chosen": high,
                    "score_rejected": low,
                }


def _open(dataset: Any, wanted: list[str]) -> Table:
    table = open_table(dataset, wanted)
    if isinstance(dataset, Mapping) or hasattr(dataset, "collect"):
        raise TypeError(
            "a datasets.Dataset, a list of dicts or a pandas, polars or pyarrow table is needed, got "
            f"{described(dataset)}: collect it, or make a table of its columns"
        )
    return table


def _is_dataset(dataset: Any) -> bool:
    return type(dataset).__module__.partition(".")[0] == "datasets"


def _warn_of_unknown(users: Sequence[Any], rewards: RowRewards) -> None:
    unknown = [user for user, known in zip(users, rewards.is_known(users), strict=True) if not known]
    if unknown:
        warnings.warn(
            f"{len(unknown)} of {counted(len(users), 'row')} are of users who were not adapted, "
            f"{name_some(dict.fromkeys(unknown))}: they get the reward before adaptation. Adapt them, or choose "
            "on_unknown_user='none' or 'error'",
            stacklevel=4,
        )


def _check_names(table: Table, needed: dict[str, str], user: str, needs_users: bool, new: str | None) -> None:
    if table.n_rows == 0 and not table.names:
        return  # an empty list has no columns
    needed = {**needed, **({"user": user} if needs_users else {})}
    problems = []
    for role, name in needed.items():
        if name not in table.names:
            close = get_close_matches(name, [other for other in table.names if other not in needed.values()], 1)
            hint = f"; did you mean {role}={close[0]!r}?" if close else ""
            problems.append(f"{role}={name!r} is not a column; the columns are {name_some(table.names, 9)}{hint}")
    if new is not None and new in table.names:
        problems.append(f"there is a column {new!r} already: remove it, or name another by reward")
    raise_all(problems)


def _column(table: Table, name: str) -> list[Any]:
    return cells_of(table, name) if table.n_rows else []


def _is_several(cell: Any) -> bool:
    return isinstance(cell, list | tuple | np.ndarray) and not is_messages(cell)


def _check_lists(cells: list[Any], name: str, has_lists: bool) -> None:
    odd = [row for row, cell in enumerate(cells) if _is_several(cell) != has_lists]
    if odd:
        one, other = ("a list", "one") if has_lists else ("one", "a list")
        raise ValueError(
            f"column {name!r} must hold one completion in each row, or a list of them in each row; row 0 has "
            f"{one}, and rows {name_some(odd)} have {other}: bring all rows into one form"
        )
