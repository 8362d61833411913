"""Polis: people agree or disagree with short statements that others of their community made."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState, as_generator
from skmrm._support.wording import name_some, raise_all
from skmrm.datasets._fetch import PathLike, Source, find_files
from skmrm.datasets._fetch_pairs import Collected, PairCollector
from skmrm.datasets._fetch_splits import split_by_part
from skmrm.datasets._fetch_tables import read_columns
from skmrm.datasets._simulated import integer_problems, random_state_problems

__all__ = ["POLIS_REVISION", "fetch_polis", "parse_polis"]

POLIS_REVISION = "0bc2ce0f32c673f68da20b57bce15c457aa787b5"

_BOWLING_GREEN = "american-assembly.bowling-green"
_SOURCE = Source(
    "fetch_polis",
    "compdemocracy/openData",
    {"votes": "participants-votes.csv", "comments": "comments.csv", "summary": "summary.csv"},
    optional=("summary",),
    url="https://raw.githubusercontent.com/compdemocracy/openData/{revision}",
)
# Of Bowling Green at POLIS_REVISION.
_SHA256 = {
    "participants-votes.csv": "63c6e30c36d9f5338516f3a0c77b08e3518c20b707b321e26c54cd6218a2ab4d",
    "comments.csv": "b5d72fbb1b15d66c624da51849aef3d5691358b6ec646035b9ca41c6b9f936f0",
    "summary.csv": "35cd93ea32bdc0926351ca093de981ef1af9043fc563d837ef082d509cb89141",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of a folder or a revision: part of an address and of a path
_VOTES = {"1": 1, "-1": -1, "0": 0, "": 0, None: 0}
_CASE_STUDIES = "https://compdemocracy.org/case-studies"

_DESCR = f"""Polis open data
---------------
Who: people who took part in an online conversation of their community. By default residents of Bowling Green and Warren
County, Kentucky, in 2018: 2,031 people and 896 statements about what should change there.
What: each reads short statements by other participants, one at a time, and agrees, disagrees or passes.

Pairs: a statement that a person agreed with is preferred to one that the same person disagreed with; passes say
nothing. The prompt is the question put to all. Changes made: votes turned into pairs, people with few votes left out,
statements of the same wording merged, white space in statements collapsed, statements split in two halves at random,
the same for everybody. No pair crosses the halves, and the half is the group of a pair.
Splits: half the people seen in training; one half of the statements to adapt on, the other, of which nobody's pairs are
learnt from, to judge.

Source: https://github.com/compdemocracy/openData
Licence: CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). Attribution, as they ask for it: Data was gathered
using the Polis software (compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with Attribution to The
Computational Democracy Project. The data and more information about how the data was collected can be found at the
following link: {_CASE_STUDIES}/2018-kentucky
Cite: C. Small et al. (2021). Polis: Scaling Deliberation by Mapping High Dimensional Opinion Spaces. RECERCA 26(2).
doi 10.6035/recerca.5516.
"""


def fetch_polis(
    *,
    conversation: str = _BOWLING_GREEN,
    data_home: PathLike | None = None,
    data_dir: PathLike | None = None,
    revision: str = POLIS_REVISION,
    download_if_missing: bool = True,
    max_pairs: int = 30,
    min_statements: int = 3,
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Load a conversation of Polis: which statements people agree with (downloads on first use).

    Statements are split in two halves at random, the same for everybody. Within a half, a statement that a person
    agreed with is preferred to one that the person disagreed with. Statements of the same wording are one; whoever
    agreed with it once and disagreed with it another time said nothing of it.

    Parameters
    ----------
    conversation : str, default="american-assembly.bowling-green"
        Folder of the repository. The default is a conversation of residents of Bowling Green, Kentucky.
    data_home : path, optional
        Folder to cache downloads in; None is ``skmrm`` in ``XDG_CACHE_HOME``, or in ``~/.cache``.
    data_dir : path, optional
        Folder with ``participants-votes.csv``, ``comments.csv`` and, for the prompt, ``summary.csv`` of any
        conversation, exported by Polis; nothing is then downloaded, and `conversation` is not looked at.
    revision : str, default="0bc2ce0f32c673f68da20b57bce15c457aa787b5"
        Branch, tag or commit of the repository. Downloads of the default one are compared with known digests, for
        the default conversation.
    download_if_missing : bool, default=True
        False reads what is in the cache, or fails.
    max_pairs : int, default=30
        Most pairs of a person in each half, drawn at random without repetition.
    min_statements : int, default=3
        People need this many statements that they agreed with, and this many that they disagreed with, in each half.
    n_splits : int, default=5
        Number of splits to draw.
    random_state : int, numpy Generator, RandomState, or None, default=0
        Of the halves, the pairs and the splits. The same integer gives the same.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            With texts; the group of a pair is the half of its statements, which all people share.
        splits : list of PaperSplit
            `n_splits` times: half the people seen; pairs of the one half of the statements are support, those of the
            other query, for everybody.
        dropped : dict of str to int
            What was left out, and how many of it.
        revision : str or None
            What was read; None for `data_dir`.
        DESCR : str
            Where the data come from, licence with attribution, and what to cite.

    Raises
    ------
    OSError
        If the data cannot be downloaded or found.
    ValueError
        If parameters are out of bounds (all are listed), nobody has statements enough, or the files are not of the
        known schema.

    References
    ----------
    Small et al. 2021, doi 10.6035/recerca.5516.

    Examples
    --------
    >>> from skmrm.datasets import fetch_polis
    >>> data = fetch_polis()  # doctest: +SKIP
    >>> brexit = fetch_polis(conversation="brexit-consensus")  # doctest: +SKIP
    """
    problems = [
        *_name_problems("conversation", conversation),
        *_name_problems("revision", revision),
        *integer_problems("max_pairs", max_pairs),
        *integer_problems("min_statements", min_statements),
        *integer_problems("n_splits", n_splits, low=0),
        *random_state_problems(random_state),
    ]
    raise_all(problems, "fetch_polis")
    known = _SHA256 if (conversation, revision) == (_BOWLING_GREEN, POLIS_REVISION) else {}
    source = replace(_SOURCE, url=f"{_SOURCE.url}/{conversation}", sha256=known)
    files = find_files(source, data_home, data_dir, revision, download_if_missing)
    rng = as_generator(random_state)
    pairs = parse_polis(
        read_columns(files, "votes", ["participant"], others=True),
        read_columns(files, "comments", ["comment-id", "comment-body"]),
        prompt=_read_question(files.paths["summary"]),
        max_pairs=max_pairs,
        min_statements=min_statements,
        random_state=rng,
    )
    return Bunch(
        episodes=pairs.episodes,
        splits=split_by_part(pairs.episodes, pairs.part, n_splits, rng),
        dropped=pairs.dropped,
        revision=files.revision,
        DESCR=_DESCR
        if conversation == _BOWLING_GREEN
        else _DESCR.replace(f"{_CASE_STUDIES}/2018-kentucky", _CASE_STUDIES),
    )


def parse_polis(
    votes: Mapping[str, list[Any]],
    comments: Mapping[str, list[Any]],
    *,
    prompt: str = "",
    max_pairs: int = 30,
    min_statements: int = 3,
    random_state: RandomState = 0,
) -> Collected:
    """Turn votes into pairs.

    Parameters
    ----------
    votes : mapping of str to list
        Columns of ``participants-votes.csv``: ``participant``, and one for each statement, called by its id, with "1"
        (agree), "-1" (disagree), "0" (pass) or None (unseen). Others are not looked at.
    comments : mapping of str to list
        Columns ``comment-id`` and ``comment-body`` of ``comments.csv``.
    prompt : str
        The question put to all.
    max_pairs, min_statements, random_state
        As of `fetch_polis`.

    Returns
    -------
    Collected
        People in order of first appearance; the part of a pair is its half.
    """
    rng = as_generator(random_state)
    pairs = PairCollector()
    texts, table = _statements(votes, comments, pairs)
    half = rng.permutation(len(texts)) % 2
    for person, row in zip(votes["participant"], table, strict=True):
        sides = [[np.flatnonzero((row == vote) & (half == which)) for vote in (1, -1)] for which in (0, 1)]
        if min(len(side) for both in sides for side in both) < min_statements:
            pairs.dropped["people with too few statements agreed or disagreed with"] += 1
            continue
        for which, (agreed, disagreed) in enumerate(sides):
            n_pairs = len(agreed) * len(disagreed)
            for drawn in rng.choice(n_pairs, min(max_pairs, n_pairs), replace=False):
                chosen, rejected = agreed[drawn // len(disagreed)], disagreed[drawn % len(disagreed)]
                pairs.add(person, which, prompt, texts[chosen], texts[rejected], which)
    return pairs.collected().keep_users(lambda episodes, part: episodes.pairs_per_user > 0)


def _statements(
    votes: Mapping[str, list[Any]], comments: Mapping[str, list[Any]], pairs: PairCollector
) -> tuple[list[str], NDArray[np.int8]]:
    """Distinct texts, ascending, so that no draw depends on the order of the file; and (n_people, n_texts) votes."""
    voted = [name for name in votes if name.isdecimal()]
    bodies = dict(zip(comments["comment-id"], comments["comment-body"], strict=True))
    ids: dict[str, list[str]] = {}
    for name in voted:
        ids.setdefault(" ".join((bodies.get(name) or "").split()), []).append(name)
    pairs.dropped["statements without text"] += len(ids.pop("", []))
    pairs.dropped["statements of the same wording"] += sum(map(len, ids.values())) - len(ids)
    texts = sorted(ids)
    table = np.zeros((len(votes["participant"]), len(texts)), np.int8)
    for place, text in enumerate(texts):
        table[:, place] = np.sign(sum(_read_votes(name, votes[name]) for name in ids[text]))
    return texts, table


def _read_votes(name: str, cells: list[Any]) -> NDArray[np.int8]:
    unknown = set(cells) - _VOTES.keys()
    if unknown:
        raise ValueError(
            f"fetch_polis: votes on statement {name} must be '1', '-1', '0' or empty, got "
            f"{name_some(sorted(unknown))}: read the participants-votes.csv of an export of Polis"
        )
    return np.fromiter(map(_VOTES.__getitem__, cells), np.int8, len(cells))


def _read_question(summary: list[Path]) -> str:
    """Topic and description of a conversation; empty without ``summary.csv``, whose lines are a name and a value."""
    lines: dict[str, str] = {}
    for path in summary:
        with path.open(encoding="utf-8", newline="") as file:
            lines |= {line[0]: line[1] for line in csv.reader(file) if len(line) == 2}
    topic, question = (" ".join(lines.get(name, "").split()) for name in ("topic", "conversation-description"))
    end = "." if topic and question and topic[-1].isalnum() else ""
    return f"{topic}{end} {question}".strip()


def _name_problems(parameter: str, value: object) -> list[str]:
    """A sentence about what cannot be a folder's name, or a revision's."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return []
    return [f"{parameter} must be a name of letters, digits, '.', '_' and '-', got {value!r}"]
