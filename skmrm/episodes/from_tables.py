"""Preference tables as an `EpisodeSet`: data frames, datasets, lists of dicts, dicts of columns."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skmrm.episodes.cells import MISSING, Cells, is_missing, mixed_rows, read_cells, split_prompts
from skmrm.episodes.columns import Coder, factorize
from skmrm.episodes.episode_set import EpisodeSet
from skmrm.episodes.files import as_table
from skmrm.episodes.from_columns import set_from_features, set_from_texts
from skmrm.episodes.messages import all_spelt
from skmrm.episodes.outcomes import Said, said_problems
from skmrm.episodes.rules import Problems, set_problems, shared_groups_problems
from skmrm.episodes.tables import Table, cells_of, open_table
from skmrm.episodes.verdicts import read_grades, read_numbers, read_ratings, read_times, read_winners
from skmrm.exceptions import EpisodeError

__all__ = ["episodes_from_frame", "name_problems", "read_table"]

_NUMBERS = ("outcome", "strength", "weight", "time", "rating")  # what columns of numbers say


def episodes_from_frame(
    data: Any,
    user: Hashable = "user_id",
    prompt: Hashable | None = "prompt",
    chosen: Hashable = "chosen",
    rejected: Hashable = "rejected",
    group: Hashable | Sequence[Hashable] | None = None,
    *,
    response_a: Hashable | None = None,
    response_b: Hashable | None = None,
    winner: Hashable | None = None,
    outcome: Hashable | None = None,
    strength: Hashable | None = None,
    strength_order: Sequence[Any] | Mapping[Any, int] | None = None,
    weight: Hashable | None = None,
    time: Hashable | None = None,
    words: Mapping[Any, str] | None = None,
    shared_groups: bool | Literal["auto"] = "auto",
    implicit_prompt: bool = True,
    min_pairs: int = 1,
) -> EpisodeSet:
    """Read a table of choices, one row a pair, into an `EpisodeSet`.

    Responses may be texts, lists of chat messages (``[{"role": ..., "content": ...}, ...]``, or another dialect) or
    feature vectors, all rows alike. TRL's preference formats are read as they are: standard and conversational, with an
    explicit or an implicit prompt.

    Parameters
    ----------
    data : pandas or polars DataFrame, pyarrow Table, datasets.Dataset, list of dicts, dict of columns, or path
        The table, or the path of a file of one (CSV, TSV, JSON, JSON lines, Parquet or Arrow, packed with gzip or not)
        or of a folder of such files. Columns go by their names, whatever these are: in pandas numbers, where a file has
        no header, and tuples of several levels.
    user : str, default="user_id"
        Column with users' ids: strings, numbers, or anything hashable. "001" and 1 are two users: of a path to a CSV
        file all ids are strings; with ``pandas.read_csv`` pass ``dtype=str`` unless all are plain numbers.
    prompt : str or None, default="prompt"
        Column with prompts (texts or lists of messages). None if there is none: then the start that chosen and
        rejected share is the prompt (message by message; in texts word by word), unless `implicit_prompt` is False.
        A text prompt beside message lists that begin with the prompt themselves is read from those lists; a prompt of
        messages that they repeat is cut from them. With feature vectors, prompts only group the pairs.
    chosen, rejected : str, default="chosen" and "rejected"
        Columns with the preferred response and the one it was preferred to. Rows in which both are equal are kept:
        their gap is zero, so that they say nothing.
    group : str or sequence of str, optional
        Column or columns whose values tell groups: pairs of one group never end on both sides of a support/query
        split. None groups by prompt; pairs with an empty prompt are groups of their own.
    response_a, response_b, winner : str, optional
        In place of `chosen` and `rejected`, as in votes of an arena: columns with both responses, and which one won.
        Words such as "model_a", "b", "tie" and "tie (bothbad)" are known, in any spelling; True is the first. That both
        are bad is a tie.
    outcome : str, optional
        Column that says whether there is a winner at all: numbers as of :class:`skmrm.EpisodeSet` (0 for a tie, 1 for a
        choice), or words such as "tie" and "chosen".
    strength : str, optional
        Column with how strongly the better response was preferred: numbers, of which zero is a tie and the sign says
        nothing, or labels. Whole numbers up to ten are strengths as they are; of others, up to twenty distinct ones
        are a strength each, and of more, twenty are made, equally frequent.
    strength_order : sequence or mapping, optional
        Labels of `strength` from the weakest to the strongest; or which strength each is, 0 for a tie.
    weight : str, optional
        Column with how often each pair counts.
    time : str, optional
        Column with when each pair was said: dates, texts of dates (ISO 8601), or numbers in any unit.
    words : mapping, optional
        What further words of `winner` ("a", "b", "tie") or of `outcome` ("chosen", "tie") mean.
    shared_groups : bool or "auto", default="auto"
        Whether a group is one and the same for all users: True for topics, items or questions that all were asked
        about. "auto" says so of prompts, where equal texts are one group, and takes the values of `group` columns for
        each user's own, as numbers of conversations are. False takes prompts for each user's own as well.
    implicit_prompt : bool, default=True
        With ``prompt=None``, whether to look for a shared start; False takes responses whole.
    min_pairs : int, default=1
        Fewest pairs that a user may have.

    Returns
    -------
    EpisodeSet
        Users in order of first appearance; a user's pairs in the order of the rows. Equal responses to equal prompts
        are one item, and so are equal feature vectors.

    Raises
    ------
    TypeError
        If `data` is not a table that can be read.
    FileNotFoundError
        If there is no such file.
    EpisodeError
        If columns are not there, cells are missing or cannot be read, or users have too few pairs; all problems are
        listed.

    Examples
    --------
    >>> rows = [
    ...     {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."},
    ...     {"user_id": "bo", "prompt": "Tea?", "chosen": "No.", "rejected": "Yes."},
    ... ]
    >>> episodes_from_frame(rows)
    EpisodeSet(n_users=2, n_pairs=2, n_items=2, texts)

    >>> votes = {"user_id": ["ann"], "prompt": ["Tea?"], "answer_1": ["Yes."], "answer_2": ["No."], "vote": ["tie"]}
    >>> episodes_from_frame(votes, response_a="answer_1", response_b="answer_2", winner="vote").outcome
    array([0])
    """
    verdict = {"winner": winner, "outcome": outcome, "strength": strength, "weight": weight, "time": time}
    problems = _mode_problems(response_a, response_b, winner, outcome)
    if winner is not None:
        chosen, rejected = response_a, response_b
    sides = ("chosen", "rejected") if winner is None else ("response_a", "response_b")
    roles = {"user": user, "prompt": prompt, sides[0]: chosen, sides[1]: rejected, **verdict}
    if problems:
        raise EpisodeError(problems)
    table, groups, asked, shared = asked_columns(data, roles, group, shared_groups)
    episodes = read_table(
        table,
        user,
        prompt,
        chosen,
        rejected,
        groups,
        shared_groups=shared,
        implicit_prompt=implicit_prompt,
        verdicts=Verdicts({role: asked[role] for role in verdict if role in asked}, strength_order, words),
    )
    problems = list(set_problems(episodes, min_pairs=min_pairs, context=None))
    if problems:
        raise EpisodeError(problems)
    return episodes.distinct()


def asked_columns(
    data: Any, roles: Mapping[str, Hashable | None], group: Any, shared_groups: bool | Literal["auto"]
) -> tuple[Table, list[Any], dict[str, Hashable], bool]:
    """The table, columns that tell groups, all columns asked for, under their roles, and whether users share groups.

    Raises
    ------
    TypeError
        If `data` is not a table that can be read.
    EpisodeError
        If columns are not there, or there are no rows.
    """
    asked = {role: name for role, name in roles.items() if name is not None}
    data = as_table(data, [roles.get(role) for role in _NUMBERS])
    table = open_table(data, [*asked.values(), *_group_names(group, ())])
    groups = _group_names(group, table.names)
    asked |= {"group": groups[0]} if len(groups) == 1 else {f"group[{i}]": name for i, name in enumerate(groups)}
    problems = shared_groups_problems(shared_groups)
    problems += name_problems(table.names, asked) if table.names else []
    if problems or table.n_rows == 0:
        raise EpisodeError(problems or ["the table has no rows: at least one is needed"])
    shared = groups in ([], [roles["prompt"]]) if shared_groups == "auto" else bool(shared_groups)
    return table, groups, asked, shared


class Verdict(NamedTuple):
    """What columns beside the responses say, as of `EpisodeSet`; which pairs the second won; the scale of ratings."""

    said: dict[str, NDArray[Any]]
    turned: NDArray[np.bool_] | None
    scale: tuple[Any, ...] | None


@dataclass(frozen=True)
class Verdicts:
    """Columns beside the responses; see `episodes_from_frame`.

    Attributes
    ----------
    names : mapping of str to hashable
        Their names in the table, under "winner", "outcome", "strength", "weight", "time", "rating" and "level", those
        that are there; the last is of a rating that has been read, 0 for a choice.
    strength_order, words
    scale
        Of ratings, as of `episodes_from_ratings`.
    """

    names: Mapping[str, Hashable] = field(default_factory=dict)
    strength_order: Sequence[Any] | Mapping[Any, int] | None = None
    words: Mapping[Any, str] | None = None
    scale: Sequence[Any] | None = None

    def read(self, table: Table, problems: Problems) -> Verdict:
        """Columns as `EpisodeSet` has them, and what goes with them."""
        cells = {role: cells_of(table, name) for role, name in self.names.items()}
        called = {role: str(name) for role, name in self.names.items()}
        said: dict[str, NDArray[Any]] = {}
        turned = scale = None
        if "rating" in cells:
            said["rating"], scale = read_ratings(called["rating"], cells["rating"], self.scale, problems)
        if "level" in cells:
            said["rating"], scale = (
                np.array(cells["level"], np.int64),
                None if self.scale is None else tuple(self.scale),
            )
        if "strength" in cells:
            said["outcome"] = read_grades(called["strength"], cells["strength"], self.strength_order, problems)
        if "winner" in cells:
            won = read_winners(called["winner"], cells["winner"], self.words, ("a", "b", "tie"), problems)
            turned, known = won < 0, np.abs(won)
        elif "outcome" in cells:
            known = self._outcomes(cells["outcome"], called["outcome"], problems)
        if "winner" in cells or "outcome" in cells:
            said["outcome"] = np.where(known == 0, 0, np.maximum(said["outcome"], 1)) if "outcome" in said else known
        if "weight" in cells:
            said["weight"] = read_numbers(called["weight"], cells["weight"], problems)
        if "time" in cells:
            said["time"] = read_times(called["time"], cells["time"], problems)
        return Verdict(said, turned, scale)

    def _outcomes(self, values: list[Any], name: str, problems: Problems) -> NDArray[np.int64]:
        numbers = [value for value in values if isinstance(value, Real) and not isinstance(value, bool)]
        if len(numbers) < len(values) or not all(float(value).is_integer() for value in numbers):
            return read_winners(name, values, self.words, ("chosen", "tie"), problems)
        return np.array(values, np.int64)


JUST_CHOICES = Verdicts()


def _mode_problems(
    response_a: Hashable | None, response_b: Hashable | None, winner: Hashable | None, outcome: Hashable | None
) -> list[str]:
    """Names of columns that do not go together."""
    given = [name is not None for name in (response_a, response_b, winner)]
    if any(given) and not all(given):
        return ["response_a, response_b and winner name three columns that go together: pass all of them, or none"]
    if winner is not None and outcome is not None:
        return ["winner says of ties as well: leave outcome out, or pass chosen, rejected and outcome"]
    return []


def read_table(
    table: Table,
    user: Hashable | None,
    prompt: Hashable | None,
    chosen: Hashable,
    rejected: Hashable,
    groups: Sequence[Hashable] = (),
    *,
    shared_groups: bool = True,
    implicit_prompt: bool = True,
    cut_texts: bool = True,
    nameless: str = "",
    verdicts: Verdicts = JUST_CHOICES,
) -> EpisodeSet:
    """Read a table with the columns asked for and a row at least, not held against the rules for sets.

    Parameters
    ----------
    table : Table
        As `open_table` gives it.
    user, prompt, chosen, rejected, groups
        Columns, as for `episodes_from_frame`. Without `user`, all rows are of one user, called `nameless`.
    shared_groups : bool
        Whether groups, or prompts where there are none, are compared across users.
    implicit_prompt : bool
        Without `prompt`, whether the start that responses share is one.
    cut_texts : bool
        Whether it is one in plain texts, too, or in lists of messages only.
    verdicts : Verdicts
        Columns that say more than that the chosen response is the better one.

    Raises
    ------
    EpisodeError
        If cells are missing or cannot be read; all problems are listed.
    """
    problems = Problems()
    one_user = np.zeros(table.n_rows, np.int64), [nameless]
    user_code, ids = one_user if user is None else _read_ids(table, user, problems)
    group_code = _read_groups(table, groups, problems) if groups else None
    pairs = _PairReader(prompt, chosen, rejected, implicit_prompt, cut_texts, problems)
    pairs.read(table)
    said, turned, scale = verdicts.read(table, problems)
    unfit = [*problems.sentences(), *([] if problems else said_problems(said))]
    if unfit:
        raise EpisodeError(unfit)
    found = pairs.assemble(ids, user_code, group_code, shared_groups, said, turned)
    return found if scale is None else found._with(scale=scale)


class _PairReader:
    """Reads prompts and responses chunk by chunk: numbers texts, keeping only distinct ones, and stacks features."""

    def __init__(
        self,
        prompt: Hashable | None,
        chosen: Hashable,
        rejected: Hashable,
        implicit: bool,
        cut_texts: bool,
        problems: Problems,
    ) -> None:
        self.names = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        self.implicit, self.cut_texts = implicit, cut_texts
        self.problems = problems
        self.spelt: dict[str, bool] = {}
        self.prompts, self.responses = Coder(), Coder()
        self.prompt: list[NDArray[np.int64]] = []
        self.chosen: list[NDArray[Any]] = []
        self.rejected: list[NDArray[Any]] = []

    def read(self, table: Table) -> None:
        """Read all chunks; what is wrong goes to `problems`."""
        columns = {role: table.chunks(name) for role, name in self.names.items() if name is not None}
        start, kinds, widths = 0, set(), set()
        for chunks in zip(*columns.values(), strict=True):
            if start == 0:
                self._find_spelt(table, dict(zip(columns, chunks, strict=True)))
            cells = {role: self._cells(role, chunk, start) for role, chunk in zip(columns, chunks, strict=True)}
            chosen, rejected = cells["chosen"], cells["rejected"]
            kinds |= {chosen.kind, rejected.kind} - {None}
            if kinds == {"features"}:
                widths |= {side.values.shape[1] for side in (chosen, rejected) if side.values.ndim == 2}
            self._check_messages(chosen, rejected, start)
            start += len(chunks[0])
            if not self.problems and len(kinds) == 1 and len(widths) < 2:
                self._add(cells.get("prompt"), chosen, rejected)
        columns_named = f"columns '{self.names['chosen']}' and '{self.names['rejected']}'"
        if len(kinds) > 1:
            self.problems.add_rule(f"{columns_named} must hold texts only or features only, got both: bring one kind")
        if len(widths) > 1:
            self.problems.add_rule(f"{columns_named} must have the same number of features, got {sorted(widths)}")

    def assemble(
        self,
        ids: list[Any],
        user: NDArray[np.int64],
        group: NDArray[np.int64] | None,
        shared: bool,
        said: Said,
        turned: NDArray[np.bool_] | None,
    ) -> EpisodeSet:
        """Put everything that was read together; `turned` are pairs whose rejected response is the better one."""
        prompt = np.concatenate(self.prompt) if self.prompt else None
        if self.chosen[0].ndim == 2:
            features = np.concatenate([*self.chosen, *self.rejected])
            rows = np.arange(len(user))
            group = prompt if group is None else group
            shared &= group is not None
            ends = _turned(rows, rows + len(rows), turned)
            return set_from_features(ids, user, features, *ends, group, shared_groups=shared, said=said)
        assert prompt is not None
        chosen, rejected = _turned(np.concatenate(self.chosen), np.concatenate(self.rejected), turned)
        texts = prompt, self.prompts.values, chosen, rejected, self.responses.values
        return set_from_texts(ids, user, *texts, group, shared_groups=shared, said=said)

    def _find_spelt(self, table: Table, first: Mapping[str, Any]) -> None:
        """See which columns hold messages as texts: responses both or none; one look where the first cell is none."""

        def spells(role: str) -> bool:
            name = str(self.names[role])
            return all_spelt(first[role][:1]) and all_spelt(cell for chunk in table.chunks(name) for cell in chunk)

        responses = spells("chosen") and spells("rejected")
        self.spelt = {role: responses or (role == "prompt" and spells(role)) for role in first}

    def _cells(self, role: str, chunk: Any, start: int) -> Cells:
        name = str(self.names[role])
        cells = read_cells(chunk, spelt=self.spelt[role])
        if cells.problem:
            self.problems.add_rule(
                f"column '{name}' must hold texts, lists of messages or feature vectors, got {cells.problem}"
            )
        if role == "prompt" and cells.kind == "features":
            self.problems.add_rule(f"column '{name}' must hold texts or lists of messages, got vectors of numbers")
        self.problems.add_cells(f"column '{name}'", cells.bad, start)
        return cells

    def _check_messages(self, chosen: Cells, rejected: Cells, start: int) -> None:
        if chosen.kind == rejected.kind == "text":
            rows = mixed_rows(chosen.values, rejected.values)
            if rows:
                names = f"column '{self.names['chosen']}' and '{self.names['rejected']}'"
                self.problems.add_cells(names, {"a text on one side and a list of messages on the other": rows}, start)

    def _add(self, prompt: Cells | None, chosen: Cells, rejected: Cells) -> None:
        given = None if prompt is None else prompt.values
        if chosen.kind == "features":
            self.chosen.append(chosen.values)
            self.rejected.append(rejected.values)
            if given is not None:
                self.prompt.append(self.prompts.codes([text or object() for text in given]))
            return
        a, b = chosen.values, rejected.values
        if given is not None or self.implicit:
            given, a, b = split_prompts(given, a, b, cut_texts=self.cut_texts)
        else:
            given = np.full(len(a), "", object)
        self.prompt.append(self.prompts.codes(given))
        self.chosen.append(self.responses.codes(a))
        self.rejected.append(self.responses.codes(b))


def _turned(
    first: NDArray[np.int64], second: NDArray[np.int64], turned: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The better and the worse one of each pair."""
    if turned is None:
        return first, second
    return np.where(turned, second, first), np.where(turned, first, second)


def _read_ids(table: Table, name: Hashable, problems: Problems) -> tuple[NDArray[np.int64], list[Any]]:
    """Give each distinct id of a column a code."""
    coder = Coder()
    try:
        codes = np.concatenate([coder.codes(chunk) for chunk in table.chunks(name)])
    except TypeError as error:
        problems.add_rule(f"column '{name}' must hold hashable values, as strings and numbers are: {error}")
        return np.zeros(table.n_rows, np.int64), []
    missing = [code for code, value in enumerate(coder.index) if is_missing(value)]
    if missing:
        problems.add_cells(f"column '{name}'", {MISSING: np.flatnonzero(np.isin(codes, missing)).tolist()})
    return codes, coder.values


def _read_groups(table: Table, names: Sequence[Hashable], problems: Problems) -> NDArray[np.int64]:
    """Give each combination of values of some columns a code."""
    codes = np.zeros(table.n_rows, np.int64)
    for name in names:
        more, values = _read_ids(table, name, problems)
        codes = factorize(codes * max(1, len(values)) + more)[0]
    return codes


def _group_names(group: Any, names: Sequence[Hashable]) -> list[Any]:
    """Names of the columns that tell groups: a tuple is one name where the table has it, else it lists names."""
    one = isinstance(group, tuple) and group in names
    if one or isinstance(group, str) or not isinstance(group, Iterable):
        return [] if group is None else [group]
    return list(group)


def name_problems(names: Sequence[Hashable], asked: dict[str, Hashable]) -> Iterator[str]:
    """Columns that are not there, each with what was probably meant."""
    missing = {role: name for role, name in asked.items() if name not in names}
    listed = ", ".join(repr(name) for name in names)
    for role, name in missing.items():
        spare = {str(other): other for other in names if other not in asked.values()}
        close = get_close_matches(str(name), list(spare), 1)
        hint = f"; did you mean {role}={spare[close[0]]!r}?" if close else ""
        if role == "prompt" and not close:
            hint = "; pass prompt=None if chosen and rejected hold the prompt, or if there is none"
        yield f"{role}={name!r} is not a column of the table, whose columns are {listed}{hint}"
    sides = [role for role in ("chosen", "response_a", "rejected", "response_b") if role in asked]
    if len(sides) == 2 and asked[sides[0]] == asked[sides[1]]:
        yield f"{sides[0]} and {sides[1]} must be two columns, got {asked[sides[0]]!r} for both"
