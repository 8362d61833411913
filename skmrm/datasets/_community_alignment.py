"""Community Alignment: annotators in five countries choose between four answers, turn by turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState
from skmrm._support.wording import raise_all
from skmrm.datasets._fetch import PathLike, Source, find_files, option_problems
from skmrm.datasets._fetch_pairs import Collected, PairCollector
from skmrm.datasets._fetch_splits import split_by_group
from skmrm.datasets._fetch_tables import read_columns
from skmrm.episodes import EpisodeSet
from skmrm.episodes.messages import Conversation

__all__ = ["COMMUNITY_ALIGNMENT_REVISION", "fetch_community_alignment", "parse_community_alignment"]

# Version 1.1; the commit that public code which reads community_alignment.csv pins.
COMMUNITY_ALIGNMENT_REVISION = "97343c7f6399fcbea430ed0f37c1768281a78d56"

_SOURCE = Source(
    "fetch_community_alignment", "facebook/community-alignment-dataset", {"conversations": "community_alignment.csv"}
)
_TURNS = ("first", "second", "third", "fourth")
_RESPONSES = ("response_a", "response_b", "response_c", "response_d")
_PEOPLE = ("age", "gender", "education_level", "political", "ethnicity", "country")
_USER_COLUMNS = {f"annotator_{name}": name for name in _PEOPLE}
_COLUMNS = (
    "conversation_id",
    "assigned_lang",
    "annotator_id",
    *_USER_COLUMNS,
    *(f"{turn}_turn_{what}" for turn in _TURNS for what in ("prompt", *_RESPONSES, "preferred_response")),
)
_MISSING = {None, "", "EMPTY STRING"}

_DESCR = """Community Alignment
-------------------
Who: more than 3,500 annotators in Brazil, France, India, Italy and the United States.
What: each chose the best of four answers of a language model, in up to four turns of a conversation. First prompts are
the annotator's own or given, and many annotators share the given ones. Answers were sampled so as to differ in values.

Pairs: in each turn, the preferred answer against each of the three others. The prompt is the conversation so far, as
chat messages. The group of a pair is its first prompt, which keeps conversations whole.
Splits: half the users seen in training; half of each user's groups to adapt on, half to judge. The authors give none
for personalisation; these are made as for PRISM in arXiv 2601.18731.

Source: https://huggingface.co/datasets/facebook/community-alignment-dataset
Licence: CC BY 4.0. Prompts by annotators do not reflect the position of Meta; texts may be offensive.
Cite: L. H. Zhang et al. (2025). Cultivating Pluralism In Algorithmic Monoculture: The Community Alignment Dataset.
arXiv 2507.09650.
"""


def fetch_community_alignment(
    *,
    data_home: PathLike | None = None,
    data_dir: PathLike | None = None,
    revision: str = COMMUNITY_ALIGNMENT_REVISION,
    download_if_missing: bool = True,
    language: str | None = None,
    min_pairs: int = 1,
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Load Community Alignment: annotators' choices between four answers, turn by turn (downloads on first use).

    In each turn the preferred answer is preferred to each of the others. Prompts are the conversation up to the turn,
    as chat messages, with the answers preferred before. A conversation ends at the first turn that lacks a prompt or a
    preferred answer.

    Parameters
    ----------
    data_home : path, optional
        Folder to cache downloads in; None is the Hugging Face Hub's own (``HF_HOME``).
    data_dir : path, optional
        Folder with ``community_alignment.csv``; nothing is then downloaded.
    revision : str, default="97343c7f6399fcbea430ed0f37c1768281a78d56"
        Branch, tag or commit of the Hub repository.
    download_if_missing : bool, default=True
        False reads what is in the cache, or fails.
    language : str, optional
        Keep conversations assigned to one language: "en", "fr", "it", "hi" or "pt". None keeps all.
    min_pairs : int, default=1
        Fewest pairs that a user may have.
    n_splits : int, default=5
        Number of splits to draw.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer gives the same splits.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            With texts; the group of a pair is the first prompt of its conversation.
        splits : list of PaperSplit
            `n_splits` times: half the users seen, half of each user's groups support.
        users : dict of user to dict
            Age, gender, education_level, political, ethnicity and country, as given; None where not stated.
        dropped : dict of str to int
            What was left out, and how many of it.
        revision : str or None
            Commit that was read; None for `data_dir`.
        DESCR : str
            Where the data come from, licences, and what to cite.

    Raises
    ------
    OSError
        If the data cannot be downloaded or found.
    ValueError
        If parameters are out of bounds (all are listed), no conversation is in `language`, or the files are not of the
        known schema.

    References
    ----------
    Zhang et al. 2025, arXiv 2507.09650.

    Examples
    --------
    >>> from skmrm.datasets import fetch_community_alignment
    >>> data = fetch_community_alignment(language="en", min_pairs=50)  # doctest: +SKIP
    """
    raise_all(option_problems(min_pairs, n_splits, random_state), "fetch_community_alignment")
    files = find_files(_SOURCE, data_home, data_dir, revision, download_if_missing)
    table = read_columns(files, "conversations", _COLUMNS)
    languages = sorted({name for name in table["assigned_lang"] if name})
    if language is not None and language not in languages:
        listed = ", ".join(map(repr, languages))
        raise ValueError(f"fetch_community_alignment: language must be one of {listed}, or None, got {language!r}")
    pairs = parse_community_alignment(table, language=language, min_pairs=min_pairs)
    return Bunch(
        episodes=pairs.episodes,
        splits=split_by_group(pairs.episodes, n_splits, random_state),
        users=_people(table, set(pairs.episodes.users)),
        dropped=pairs.dropped,
        revision=files.revision,
        DESCR=_DESCR,
    )


def parse_community_alignment(
    table: Mapping[str, list[Any]], *, language: str | None = None, min_pairs: int = 1
) -> Collected:
    """Turn conversations into pairs.

    Parameters
    ----------
    table : mapping of str to list
        Columns of ``community_alignment.csv``, one row a conversation.
    language : str, optional
        The assigned language to keep.
    min_pairs : int
        Fewest pairs of a user.

    Returns
    -------
    Collected
        Users in order of first appearance.
    """
    pairs = PairCollector()
    names = [name for name in _COLUMNS if name not in _USER_COLUMNS]
    for values in zip(*(table[name] for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        if language is None or row["assigned_lang"] == language:
            _add_conversation(pairs, row)

    def enough(episodes: EpisodeSet, part: NDArray[np.int64]) -> NDArray[np.bool_]:
        return episodes.pairs_per_user >= min_pairs

    return pairs.collected().keep_users(enough)


def _add_conversation(pairs: PairCollector, row: Mapping[str, Any]) -> None:
    history: list[tuple[str, str]] = []
    for turn in _TURNS:
        prompt, preferred = row[f"{turn}_turn_prompt"], row[f"{turn}_turn_preferred_response"]
        if prompt in _MISSING and preferred in _MISSING:
            break
        chosen = row[f"{turn}_turn_{preferred}"] if preferred in _RESPONSES else None
        if prompt in _MISSING or chosen in _MISSING:
            pairs.dropped["turns without a prompt or a preferred answer"] += 1
            break
        history.append(("user", prompt))
        conversation = Conversation(history)
        for rejected in _others(row, turn, preferred):
            if rejected in _MISSING:
                pairs.dropped["answers without text"] += 1
            else:
                pairs.add(row["annotator_id"], row["first_turn_prompt"], conversation, str(chosen), rejected)
        history.append(("assistant", str(chosen)))


def _others(row: Mapping[str, Any], turn: str, preferred: str) -> Iterable[Any]:
    return [row[f"{turn}_turn_{name}"] for name in _RESPONSES if name != preferred]


def _people(table: Mapping[str, list[Any]], known: set[Any]) -> dict[Any, dict[str, Any]]:
    """What each annotator said of themselves; the first row of each."""
    people: dict[Any, dict[str, Any]] = {}
    for user, *values in zip(table["annotator_id"], *(table[name] for name in _USER_COLUMNS), strict=True):
        if user in known and user not in people:
            people[user] = dict(zip(_USER_COLUMNS.values(), values, strict=True))
    return people
