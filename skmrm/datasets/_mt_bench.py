"""MT-Bench: experts choose between answers of two chatbots, in the first and in the second turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState
from skmrm._support.wording import raise_all
from skmrm.datasets._fetch import PathLike, Source, find_files, option_problems
from skmrm.datasets._fetch_pairs import Collected, PairCollector
from skmrm.datasets._fetch_splits import split_by_group
from skmrm.datasets._fetch_tables import read_columns
from skmrm.episodes.messages import Conversation, as_conversation, split_pair

__all__ = ["MT_BENCH_REVISION", "fetch_mt_bench_judgments", "parse_mt_bench_judgments", "up_to_answer"]

MT_BENCH_REVISION = "409e7c9842d35d9b23c30bf136449aa48d064f04"

_SOURCE = Source(
    "fetch_mt_bench_judgments",
    "lmsys/mt_bench_human_judgments",
    {"human": "data/human-*.parquet", "gpt4_pair": "data/gpt4_pair-*.parquet"},
)
_COLUMNS = ("question_id", "winner", "judge", "conversation_a", "conversation_b", "turn")

_DESCR = """MT-Bench human judgments
------------------------
Who: graduate students with expertise in the topics of the questions, and authors of the paper, known by a number; on
demand GPT-4, a judge of its own.
What: 3,355 votes between answers of two of six models (GPT-4, GPT-3.5, Claude v1, Vicuna 13B, Alpaca 13B, LLaMA 13B) to
80 questions of two turns each. A vote is for a model, in one of the turns, or a tie.

Pairs: the answer of the winner in the turn that was judged against the other's. The prompt is what both conversations
share at their start, as chat messages; in the second turn the models' own first answers, with the question that
followed, stand before theirs. The group of a pair is its question, which all judges share. A tie is a pair of
outcome 0.
Splits: half the judges seen in training; half of each judge's questions to adapt on, half to judge. The authors give
none for personalisation; these are made as for PRISM in arXiv 2601.18731.

Source: https://huggingface.co/datasets/lmsys/mt_bench_human_judgments
Licence: CC BY 4.0
Cite: L. Zheng et al. (2023). Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena. NeurIPS Datasets and Benchmarks.
arXiv 2306.05685.
"""


def fetch_mt_bench_judgments(
    *,
    data_home: PathLike | None = None,
    data_dir: PathLike | None = None,
    revision: str = MT_BENCH_REVISION,
    download_if_missing: bool = True,
    include_gpt4: bool = False,
    min_pairs: int = 1,
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Load MT-Bench judgments: experts' choices and ties between answers of two chatbots (downloads on first use).

    The prompt of a pair is what both conversations share at their start, the responses are the rest of each up to the
    answer in the turn that was judged.

    Parameters
    ----------
    data_home : path, optional
        Folder to cache downloads in; None is the Hugging Face Hub's own (``HF_HOME``).
    data_dir : path, optional
        Folder with ``data/human-*.parquet`` and, for GPT-4, ``data/gpt4_pair-*.parquet``; nothing is then downloaded.
    revision : str, default="409e7c9842d35d9b23c30bf136449aa48d064f04"
        Branch, tag or commit of the Hub repository.
    download_if_missing : bool, default=True
        False reads what is in the cache, or fails.
    include_gpt4 : bool, default=False
        Whether GPT-4 is a judge among the people.
    min_pairs : int, default=1
        Fewest pairs that a judge may have.
    n_splits : int, default=5
        Number of splits to draw.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer gives the same splits.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            With texts; users are judges, and the group of a pair is its question, which all judges share.
        splits : list of PaperSplit
            `n_splits` times: half the judges seen, half of each judge's questions support.
        n_ties : int
            Votes for neither, which are pairs of outcome 0.
        dropped : dict of str to int
            What was left out, and how many of it.
        revision : str or None
            Commit that was read; None for `data_dir`.
        DESCR : str
            Where the data come from, licence, and what to cite.

    Raises
    ------
    OSError
        If the data cannot be downloaded or found.
    ValueError
        If parameters are out of bounds (all are listed), or the files are not of the known schema.

    References
    ----------
    Zheng et al. 2023, arXiv 2306.05685.

    Examples
    --------
    >>> from skmrm.datasets import fetch_mt_bench_judgments
    >>> data = fetch_mt_bench_judgments(min_pairs=10)  # doctest: +SKIP
    """
    raise_all(option_problems(min_pairs, n_splits, random_state), "fetch_mt_bench_judgments")
    parts = {name: _SOURCE.parts[name] for name in ("human", *(["gpt4_pair"] if include_gpt4 else []))}
    files = find_files(replace(_SOURCE, parts=parts), data_home, data_dir, revision, download_if_missing)
    pairs = parse_mt_bench_judgments(*(read_columns(files, part, _COLUMNS) for part in parts), min_pairs=min_pairs)
    return Bunch(
        episodes=pairs.episodes,
        splits=split_by_group(pairs.episodes, n_splits, random_state),
        n_ties=pairs.episodes.n_ties,
        dropped=pairs.dropped,
        revision=files.revision,
        DESCR=_DESCR,
    )


def parse_mt_bench_judgments(*tables: Mapping[str, list[Any]], min_pairs: int = 1) -> Collected:
    """Turn votes into pairs.

    Parameters
    ----------
    *tables : mappings of str to list
        Columns ``question_id``, ``winner``, ``judge``, ``conversation_a``, ``conversation_b`` and ``turn``.
    min_pairs : int
        Fewest pairs of a judge.

    Returns
    -------
    Collected
        Judges in order of first appearance.
    """
    pairs = PairCollector()
    for table in tables:
        for values in zip(*(table[name] for name in _COLUMNS), strict=True):
            _add_vote(pairs, *values)
    return pairs.collected().keep_users(lambda episodes, part: episodes.pairs_per_user >= min_pairs)


def _add_vote(pairs: PairCollector, question: Any, winner: Any, judge: Any, a: Any, b: Any, turn: Any) -> None:
    # "tie", and "tie (inconsistent)" of GPT-4, whose verdict changed with the order
    tied = str(winner).startswith("tie")
    first, second = up_to_answer(a, turn), up_to_answer(b, turn)
    if judge is None or not (tied or winner in ("model_a", "model_b")) or first is None or second is None:
        pairs.dropped["votes without a judge, a winner or an answer"] += 1
        return
    chosen, rejected = (second, first) if winner == "model_b" else (first, second)
    pairs.add(judge, question, *split_pair(None, chosen, rejected), outcome=0 if tied else 1)


def up_to_answer(messages: Sequence[Any] | None, turn: Any) -> Conversation | None:
    """A conversation up to the answer of a turn, counted from 1; None if it has no such answer."""
    said = as_conversation(messages or []).messages
    answers = [place for place, (role, content) in enumerate(said) if role == "assistant"]
    if turn not in range(1, len(answers) + 1) or not said[answers[turn - 1]][1]:
        return None
    return Conversation(said[: answers[turn - 1] + 1])
