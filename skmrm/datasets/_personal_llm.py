"""PersonalLLM: simulated users whose tastes are mixtures of ten reward models, over real prompts and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState, as_generator
from skmrm._support.wording import raise_all
from skmrm.datasets._fetch import PathLike, Source, find_files, option_problems
from skmrm.datasets._fetch_splits import split_by_part
from skmrm.datasets._fetch_tables import read_columns
from skmrm.datasets._personal_llm_users import N_RESPONSES, REWARD_MODELS, ScoredAnswers, simulate_personal_llm
from skmrm.datasets._simulated import integer_problems, pair_count_problems

__all__ = ["PERSONAL_LLM_REVISION", "fetch_personal_llm", "read_scores"]

# The Hub's own Parquet copy, whose layout is the same for every data set. A branch: no commit could be confirmed when
# this was written. The commit that was read is returned as `revision`.
PERSONAL_LLM_REVISION = "refs/convert/parquet"

_SOURCE = Source(
    "fetch_personal_llm",
    "namkoong-lab/PersonalLLM",
    {"train": "*/train/*.parquet", "test": "*/test/*.parquet"},
)
_TEXTS = [f"response_{place}" for place in range(1, N_RESPONSES + 1)]
_SCORES = [f"{text}_{model}" for text in _TEXTS for model in REWARD_MODELS]
_SEEN = 2 / 3  # 1,000 of 1,500, as in LoRe's code

_DESCR = """PersonalLLM
-----------
Users: SIMULATED. No person made any of these choices.
Texts: about 10,400 open-ended prompts, 1,000 of them for testing, each with eight answers of strong language models.
Tastes: ten public reward models scored every answer. Scores are standardised, model by model. A user is a weighting of
the models, drawn from a symmetric Dirichlet distribution, and prefers the answer of the higher weighted score, without
noise.

Pairs: each user meets prompts at random, and two of the eight answers to each. The group of a pair is its prompt.
Splits: two thirds of the users seen in training; pairs of training prompts to adapt on, pairs of test prompts to judge.

Source: https://huggingface.co/datasets/namkoong-lab/PersonalLLM
Licence: see the card; answers are under the terms of each model's provider.
Cite: T. P. Zollo, A. W. T. Siah, N. Ye, A. Li, H. Namkoong (2025). PersonalLLM: Tailoring LLMs to Individual
Preferences. ICLR. arXiv 2409.20296.
"""


def fetch_personal_llm(
    *,
    data_home: PathLike | None = None,
    data_dir: PathLike | None = None,
    revision: str = PERSONAL_LLM_REVISION,
    download_if_missing: bool = True,
    n_users: int = 1500,
    n_pairs: int | tuple[int, int] = (25, 50),
    n_test_pairs: int = 50,
    alpha: float = 0.1,
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Load PersonalLLM: real prompts and answers, and simulated users who mix reward models (downloads on first use).

    The reward of an answer for user u is ``weights[u] @ scores``, where scores are those of ten public reward models,
    each with mean 0 and variance 1 over the answers to training prompts, and weights are Dirichlet. Of two answers the
    one of the higher reward is preferred. An equal reward is dropped.

    Parameters
    ----------
    data_home : path, optional
        Folder to cache downloads in; None is the Hugging Face Hub's own (``HF_HOME``).
    data_dir : path, optional
        Folder with ``default/train/*.parquet`` and ``default/test/*.parquet``; nothing is then downloaded.
    revision : str, default="refs/convert/parquet"
        Branch, tag or commit of the Hub repository that holds Parquet files. Pass a commit to read the same data for
        ever.
    download_if_missing : bool, default=True
        False reads what is in the cache, or fails.
    n_users : int, default=1500
        Number of simulated users.
    n_pairs : int or (low, high), default=(25, 50)
        Pairs of each user over training prompts; for a tuple, each user's number is drawn from low to high, both
        included.
    n_test_pairs : int, default=50
        Pairs of each user over test prompts.
    alpha : float, default=0.1
        Concentration of the Dirichlet distribution: small for users who each follow one reward model, large for users
        who all follow the mean. LoRe's code has 0.1, PersonalLLM's 0.01 and more.
    n_splits : int, default=5
        Number of splits to draw.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer gives the same users, choices and splits.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            With texts: all pairs over training and test prompts. The group of a pair is its prompt.
        splits : list of PaperSplit
            `n_splits` times: two thirds of the users seen; pairs over training prompts are support, pairs over test
            prompts query.
        weights : (n_users, 10) array
            True weights of each user; they sum to 1.
        scores : (n_items, 10) array
            Standardised scores of ``episodes.items``.
        reward_models : list of str
            Names of the reward models, as in the column names of the data set.
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
    Zollo et al. 2025, arXiv 2409.20296 (data, users); Bose et al. 2025, arXiv 2504.14439 (seen and unseen users).

    Examples
    --------
    >>> from skmrm.datasets import fetch_personal_llm
    >>> data = fetch_personal_llm(n_users=300, alpha=0.05)  # doctest: +SKIP
    """
    problems = [
        *integer_problems("n_users", n_users),
        *pair_count_problems(n_pairs),
        *integer_problems("n_test_pairs", n_test_pairs),
        *([] if _is_positive(alpha) else [f"alpha must be a finite number above 0, got {alpha!r}"]),
        *option_problems(1, n_splits, random_state),
    ]
    raise_all(problems, "fetch_personal_llm")
    files = find_files(_SOURCE, data_home, data_dir, revision, download_if_missing)
    train, test = (read_scores(read_columns(files, part, ["prompt", *_TEXTS, *_SCORES])) for part in ("train", "test"))
    rng = as_generator(random_state)
    data = simulate_personal_llm(train, test, n_users, n_pairs, n_test_pairs, alpha, rng)
    part = data.pop("part")
    splits = split_by_part(data.episodes, part, n_splits, rng, seen_fraction=_SEEN)
    return Bunch(**data, splits=splits, revision=files.revision, DESCR=_DESCR)


def read_scores(table: Mapping[str, list[Any]]) -> ScoredAnswers:
    """Read one part of the data set; prompts with a text or a score missing are dropped.

    Parameters
    ----------
    table : mapping of str to list
        Columns ``prompt``, ``response_1`` to ``response_8``, and ``response_<i>_<reward model>``.

    Returns
    -------
    ScoredAnswers
        Complete prompts, in order.
    """
    n_prompts = len(table["prompt"])
    scores = np.array([table[name] for name in _SCORES], float).T.reshape(n_prompts, N_RESPONSES, -1)
    texts = list(zip(table["prompt"], *(table[name] for name in _TEXTS), strict=True))
    kept = np.isfinite(scores).all(axis=(1, 2)) & np.array([all(row) for row in texts], bool)
    rows = [texts[row] for row in np.flatnonzero(kept)]
    return ScoredAnswers(
        prompts=[row[0] for row in rows],
        answers=[list(row[1:]) for row in rows],
        scores=scores[kept],
        n_dropped=int((~kept).sum()),
    )


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 < float(value) < np.inf
