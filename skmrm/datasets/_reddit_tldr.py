"""Reddit TL;DR: OpenAI's labellers choose between two summaries of a post."""

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
from skmrm.datasets._fetch_splits import split_by_part
from skmrm.datasets._fetch_tables import read_columns
from skmrm.datasets._simulated import integer_problems
from skmrm.episodes import EpisodeSet

__all__ = ["REDDIT_TLDR_REVISION", "fetch_reddit_tldr", "parse_reddit_tldr"]

# The repository itself holds a script, which the datasets library no longer runs; this branch holds what the script
# makes, as Parquet, kept up by the Hub. A branch: the commit that was read is returned as `revision`.
REDDIT_TLDR_REVISION = "refs/convert/parquet"

_SOURCE = Source(
    "fetch_reddit_tldr",
    "openai/summarize_from_feedback",
    {"train": "comparisons/train/*.parquet", "validation": "comparisons/validation/*.parquet"},
)
_COLUMNS = ("info", "summaries", "choice", "worker")

_DESCR = """Reddit TL;DR comparisons
------------------------
Who: labellers employed for "Learning to summarize from human feedback", known by an id.
What: each chose the better of two summaries of a Reddit post, written by people or by language models.

Pairs: the prompt is the post, the responses are the summaries. The group of a pair is its post. Comparisons of
summaries of news articles, of which the validation part has some, are left out.
Splits: those of "One Adapts to Any: Meta Reward Modeling for Personalized LLM Alignment" (arXiv 2601.18731): workers of
both parts, half of them seen in training with 150 (or 100) comparisons each, the others adapted on 50; all are judged
on their comparisons of the validation part. The authors' code (https://github.com/ModalityDance/MRM,
scripts/preprocess_reddit.py, scripts/train_on_reddit.sh and utils.py) says so.

Source: https://huggingface.co/datasets/openai/summarize_from_feedback (configuration "comparisons")
Licence: the card states none; see https://github.com/openai/summarize-from-feedback. Posts are their authors'.
Cite: N. Stiennon et al. (2020). Learning to summarize from human feedback. NeurIPS. arXiv 2009.01325.
"""


def fetch_reddit_tldr(
    *,
    data_home: PathLike | None = None,
    data_dir: PathLike | None = None,
    revision: str = REDDIT_TLDR_REVISION,
    download_if_missing: bool = True,
    seen_limit: int | None = 150,
    unseen_limit: int | None = 50,
    min_pairs: int = 1,
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Load Reddit TL;DR: labellers' choices between two summaries of a post (downloads on first use).

    Parameters
    ----------
    data_home : path, optional
        Folder to cache downloads in; None is the Hugging Face Hub's own (``HF_HOME``).
    data_dir : path, optional
        Folder with ``comparisons/train/*.parquet`` and ``comparisons/validation/*.parquet``; nothing is then
        downloaded.
    revision : str, default="refs/convert/parquet"
        Branch, tag or commit of the Hub repository that holds Parquet files. Pass a commit to read the same data for
        ever.
    download_if_missing : bool, default=True
        False reads what is in the cache, or fails.
    seen_limit, unseen_limit : int or None, default=150 and 50
        Number of training comparisons of a seen and of an unseen worker, drawn anew in each split; None takes all. The
        paper has 150 or 100 for seen workers, and 50 for unseen ones.
    min_pairs : int, default=1
        Fewest training comparisons that a worker may have. Workers without any of either part are left out.
    n_splits : int, default=5
        Number of splits to draw.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer gives the same splits.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            With texts: all comparisons of both parts. The group of a pair is its post.
        splits : list of PaperSplit
            The paper's, `n_splits` times: half the workers seen; training comparisons are support, validation
            comparisons query. Training comparisons of a post that the worker also has in the validation part are in
            neither.
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
        If parameters are out of bounds (all are listed), or the files are not of the known schema.

    References
    ----------
    Stiennon et al. 2020, arXiv 2009.01325 (data); arXiv 2601.18731 (splits).

    Examples
    --------
    >>> from skmrm.datasets import fetch_reddit_tldr
    >>> data = fetch_reddit_tldr(seen_limit=100)  # doctest: +SKIP
    """
    limits = {"seen_limit": seen_limit, "unseen_limit": unseen_limit}
    problems = [
        *(line for name, value in limits.items() if value is not None for line in integer_problems(name, value)),
        *option_problems(min_pairs, n_splits, random_state),
    ]
    raise_all(problems, "fetch_reddit_tldr")
    files = find_files(_SOURCE, data_home, data_dir, revision, download_if_missing)
    pairs = parse_reddit_tldr(
        read_columns(files, "train", _COLUMNS), read_columns(files, "validation", _COLUMNS), min_pairs=min_pairs
    )
    return Bunch(
        episodes=pairs.episodes,
        splits=split_by_part(
            pairs.episodes,
            pairs.part,
            n_splits,
            random_state,
            seen_limit=seen_limit,
            unseen_limit=unseen_limit,
        ),
        dropped=pairs.dropped,
        revision=files.revision,
        DESCR=_DESCR,
    )


def parse_reddit_tldr(
    train: Mapping[str, list[Any]], validation: Mapping[str, list[Any]], *, min_pairs: int = 1
) -> Collected:
    """Turn comparisons into pairs.

    Parameters
    ----------
    train, validation : mappings of str to list
        Columns ``info``, ``summaries``, ``choice`` and ``worker`` of each part.
    min_pairs : int
        Fewest training pairs of a user.

    Returns
    -------
    Collected
        Users who have pairs of both parts.
    """
    pairs = PairCollector()
    for part, table in enumerate((train, validation)):
        _add_comparisons(pairs, zip(*(table[name] for name in _COLUMNS), strict=True), part)

    def enough(episodes: EpisodeSet, part: NDArray[np.int64]) -> NDArray[np.bool_]:
        n_train, n_validation = (np.bincount(episodes.user[part == p], minlength=episodes.n_users) for p in (0, 1))
        return (n_train >= min_pairs) & (n_validation > 0)

    return pairs.collected().keep_users(enough)


def _add_comparisons(pairs: PairCollector, rows: Iterable[tuple[Any, ...]], part: int) -> None:
    for info, summaries, choice, worker in rows:
        if not info.get("post"):
            pairs.dropped["comparisons without a Reddit post"] += 1
        elif not worker or choice not in (0, 1) or not all(summary.get("text") for summary in summaries):
            pairs.dropped["comparisons without a worker, a choice or two summaries"] += 1
        else:
            chosen, rejected = summaries[choice]["text"], summaries[1 - choice]["text"]
            pairs.add(worker, info.get("id") or info["post"], info["post"], chosen, rejected, part)
