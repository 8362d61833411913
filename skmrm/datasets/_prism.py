"""PRISM: people from many countries rate the answers of language models in their own conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skmrm._support.randomness import RandomState
from skmrm._support.wording import raise_all
from skmrm.datasets._fetch import PathLike, Source, find_files, option_problems
from skmrm.datasets._fetch_pairs import Collected, PairCollector
from skmrm.datasets._fetch_splits import split_by_group
from skmrm.datasets._fetch_tables import read_lines
from skmrm.datasets._simulated import integer_problems
from skmrm.episodes import EpisodeSet
from skmrm.episodes.messages import Conversation

__all__ = ["PRISM_REVISION", "fetch_prism", "parse_prism"]

# A branch: no commit could be confirmed when this was written. The commit that was read is returned as `revision`.
PRISM_REVISION = "main"

_SOURCE = Source(
    "fetch_prism",
    "HannahRoseKirk/prism-alignment",
    {"conversations": "conversations.jsonl", "survey": "survey.jsonl"},
    optional=("survey",),
)
_CONVERSATION = ("user_id", "conversation_id", "conversation_history")

_DESCR = """PRISM alignment data set
------------------------
Who: 1,396 participants of an online study, born in 75 countries.
What: about 8,000 conversations with 21 language models on topics of the participant's choice, most of them about values
and controversies. In the first turn up to four models answer; in later turns the chosen model answers twice. The
participant rates each answer from 1 to 100, and the conversation goes on from the one rated highest.

Pairs: in each turn, the answer that the conversation went on from against each of the others. The prompt is the
conversation so far, as chat messages. The group of a pair is its conversation.
Splits: those of "One Adapts to Any: Meta Reward Modeling for Personalized LLM Alignment" (arXiv 2601.18731): users with
at least six conversations, half of them seen in training; half of each user's conversations to adapt on, half to judge.
The authors' code (https://github.com/ModalityDance/MRM, scripts/preprocess_prism.py and utils.py) says so.

Source: https://huggingface.co/datasets/HannahRoseKirk/prism-alignment
Licence: texts written by participants CC BY 4.0; answers of models CC BY-NC 4.0, and the terms of each provider.
The authors forbid attempts to identify participants, and warn that texts may be offensive.
Cite: H. R. Kirk et al. (2024). The PRISM Alignment Dataset: What Participatory, Representative and Individualised Human
Feedback Reveals About the Subjective and Multicultural Alignment of Large Language Models. NeurIPS. arXiv 2404.16019.
"""


def fetch_prism(
    *,
    data_home: PathLike | None = None,
    data_dir: PathLike | None = None,
    revision: str = PRISM_REVISION,
    download_if_missing: bool = True,
    min_conversations: int = 6,
    min_pairs: int = 1,
    ties: Literal["keep", "choice", "drop"] = "keep",
    n_splits: int = 5,
    random_state: RandomState = 0,
) -> Bunch:
    """Load PRISM: participants' choices between answers of language models (downloads on first use).

    In each turn of a conversation, the answer that it went on from is preferred to each of the others. The prompt is
    the conversation up to the turn, as chat messages, with the answers chosen before. Turns without a prompt, a chosen
    or a rejected answer are left out, of the history too, as in the paper's own code.

    Parameters
    ----------
    data_home : path, optional
        Folder to cache downloads in; None is the Hugging Face Hub's own (``HF_HOME``).
    data_dir : path, optional
        Folder with ``conversations.jsonl`` and, if wanted, ``survey.jsonl``; nothing is then downloaded.
    revision : str, default="main"
        Branch, tag or commit of the Hub repository. Pass a commit to read the same data for ever.
    download_if_missing : bool, default=True
        False reads what is in the cache, or fails.
    min_conversations : int, default=6
        Fewest conversations, with a choice in each, that a user may have; the paper's number is 6.
    min_pairs : int, default=1
        Fewest pairs that a user may have.
    ties : {"keep", "choice", "drop"}, default="keep"
        What pairs of answers are that the participant gave the same score, so that chance decided which of them the
        conversation went on from: ties (outcome 0), choices, as in the paper, or nothing.
    n_splits : int, default=5
        Number of splits to draw.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer gives the same splits.

    Returns
    -------
    Bunch
        episodes : EpisodeSet
            With texts; the group of a pair is its conversation.
        splits : list of PaperSplit
            The paper's, `n_splits` times: half the users seen, half of each user's conversations support.
        users : dict of user to dict, or None
            Answers to the survey, such as age, education and stated preferences; None without ``survey.jsonl``.
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
    Kirk et al. 2024, arXiv 2404.16019 (data); arXiv 2601.18731 (splits).

    Examples
    --------
    >>> from skmrm.datasets import fetch_prism
    >>> data = fetch_prism()  # doctest: +SKIP
    >>> train = data.splits[0].training(data.episodes)  # doctest: +SKIP
    """
    problems = [
        *integer_problems("min_conversations", min_conversations),
        *([] if ties in ("keep", "choice", "drop") else [f'ties must be "keep", "choice" or "drop", got {ties!r}']),
        *option_problems(min_pairs, n_splits, random_state),
    ]
    raise_all(problems, "fetch_prism")
    files = find_files(_SOURCE, data_home, data_dir, revision, download_if_missing)
    pairs = parse_prism(
        read_lines(files, "conversations", _CONVERSATION),
        min_conversations=min_conversations,
        min_pairs=min_pairs,
        ties=ties,
    )
    users = None
    if files.paths["survey"]:
        known = set(pairs.episodes.users)
        users = {row["user_id"]: row for row in read_lines(files, "survey", ["user_id"]) if row["user_id"] in known}
    return Bunch(
        episodes=pairs.episodes,
        splits=split_by_group(pairs.episodes, n_splits, random_state),
        users=users,
        dropped=pairs.dropped,
        revision=files.revision,
        DESCR=_DESCR,
    )


def parse_prism(
    conversations: Iterable[Mapping[str, Any]],
    *,
    min_conversations: int = 6,
    min_pairs: int = 1,
    ties: Literal["keep", "choice", "drop"] = "keep",
) -> Collected:
    """Turn conversations into pairs.

    Parameters
    ----------
    conversations : iterable of mappings
        Rows of ``conversations.jsonl``.
    min_conversations, min_pairs, ties
        As of `fetch_prism`.

    Returns
    -------
    Collected
        Users in order of first appearance.
    """
    pairs = PairCollector()
    counts: Counter[Hashable] = Counter()
    for row in conversations:
        counts[row["user_id"]] += _add_conversation(pairs, row, ties)

    def enough(episodes: EpisodeSet, part: NDArray[np.int64]) -> NDArray[np.bool_]:
        conversations = np.array([counts[user] for user in episodes.users], int)
        return (conversations >= min_conversations) & (episodes.pairs_per_user >= min_pairs)

    return pairs.collected().keep_users(enough)


def _add_conversation(pairs: PairCollector, row: Mapping[str, Any], ties: Literal["keep", "choice", "drop"]) -> bool:
    """Add the pairs of all turns; whether there was a turn with a choice."""
    history: list[tuple[str, str]] = []
    for prompt, chosen, rejected in _turns(row["conversation_history"]):
        if not (prompt and chosen and rejected):
            pairs.dropped["turns without a choice"] += 1
            continue
        history.append(("user", prompt))
        conversation = Conversation(history)
        for answer in rejected:
            score = answer.get("score")
            tied = score is not None and score == chosen.get("score")
            if tied and ties == "drop":
                pairs.dropped["ties"] += 1
                continue
            texts = conversation, chosen["content"], answer["content"]
            outcome = 0 if tied and ties == "keep" else 1
            pairs.add(row["user_id"], row["conversation_id"], *texts, outcome=outcome)
        history.append(("assistant", chosen["content"]))
    if not history:
        pairs.dropped["conversations without a choice"] += 1
    return bool(history)


def _turns(
    history: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[str | None, Mapping[str, Any] | None, list[Mapping[str, Any]]]]:
    """Prompt, chosen answer and other answers of each turn, in order; None for what a turn lacks."""
    turns: dict[int, list[Mapping[str, Any]]] = {}
    for message in history:
        if message.get("content"):
            turns.setdefault(message["turn"], []).append(message)
    for _, messages in sorted(turns.items()):
        prompts = [message["content"] for message in messages if message["role"] == "user"]
        answers = [message for message in messages if message["role"] != "user"]
        # An answer that was chosen as well (it has the same text) is not one that another was preferred to.
        chosen = next((answer for answer in answers if answer.get("if_chosen")), None)
        rejected = [answer for answer in answers if not answer.get("if_chosen")]
        yield (prompts[0] if prompts else None), chosen, rejected
