"""Simulated users who weigh reward models in their own ways, and what they choose (PersonalLLM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skmrm.datasets._simulated import user_ids
from skmrm.episodes import EpisodeSet
from skmrm.episodes.columns import factorize, number

__all__ = ["N_RESPONSES", "REWARD_MODELS", "ScoredAnswers", "simulate_personal_llm"]

N_RESPONSES = 8
REWARD_MODELS = (
    "beaver_7b",
    "gemma_2b",
    "gemma_7b",
    "llama3_sfairx",
    "mistral_raft",
    "mistral_ray",
    "mistral_weqweasdas",
    "oasst_deberta_v3",
    "oasst_pythia_1b",
    "oasst_pythia_7b",
)


@dataclass(frozen=True, eq=False)
class ScoredAnswers:
    """Prompts of one part with the scores of their answers.

    Attributes
    ----------
    prompts : list of str
        The prompts.
    answers : list of list of str
        Eight a prompt.
    scores : (n_prompts, 8, n_models) float64 array
        As they come, on each reward model's own scale.
    n_dropped : int
        Prompts with a text or a score missing.
    """

    prompts: list[str]
    answers: list[list[str]]
    scores: NDArray[np.float64]
    n_dropped: int


def simulate_personal_llm(
    train: ScoredAnswers,
    test: ScoredAnswers,
    n_users: int,
    n_pairs: int | tuple[int, int],
    n_test_pairs: int,
    alpha: float,
    rng: np.random.Generator,
) -> Bunch:
    """Draw users and let them choose.

    Parameters
    ----------
    train, test : ScoredAnswers
        The two parts.
    n_users, n_pairs, n_test_pairs, alpha
        As of `fetch_personal_llm`.
    rng : numpy.random.Generator
        Source of randomness; advanced.

    Returns
    -------
    Bunch
        What `fetch_personal_llm` returns of them, and ``part``: 0 for training pairs, 1 for test pairs.
    """
    short = [f"{name} part" for name, answers in (("train", train), ("test", test)) if not answers.prompts]
    if short:
        raise ValueError(f"fetch_personal_llm needs prompts with all texts and scores, got none in the {short[0]}")
    every = train.scores.reshape(-1, len(REWARD_MODELS))
    scores = np.concatenate([train.scores, test.scores]) - every.mean(0)
    scores /= np.where(every.std(0) > 0, every.std(0), 1.0)
    weights = rng.dirichlet(np.full(len(REWARD_MODELS), float(alpha)), size=n_users)

    columns = _draw_pairs(len(train.prompts), len(test.prompts), n_users, n_pairs, n_test_pairs, rng)
    user, prompt, first, second = (columns[name] for name in ("user", "prompt", "first", "second"))
    gap = np.einsum("pm,pm->p", weights[user], scores[prompt, first] - scores[prompt, second])
    columns["chosen"], columns["rejected"] = np.where(gap > 0, (first, second), (second, first))
    decided = gap != 0
    texts = ScoredAnswers(train.prompts + test.prompts, train.answers + test.answers, scores, 0)
    episodes, items = _episodes({name: values[decided] for name, values in columns.items()}, texts, n_users)
    n_dropped = train.n_dropped + test.n_dropped
    return Bunch(
        episodes=episodes,
        part=columns["part"][decided],
        weights=weights,
        scores=scores.reshape(-1, len(REWARD_MODELS))[items],
        reward_models=list(REWARD_MODELS),
        dropped={"prompts without all texts and scores": n_dropped, "ties": int((~decided).sum())},
    )


def _draw_pairs(
    n_train: int,
    n_test: int,
    n_users: int,
    n_pairs: int | tuple[int, int],
    n_test_pairs: int,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Who meets which prompt and which two of its answers, user by user; test prompts are numbered after the others."""
    low, high = (n_pairs, n_pairs) if isinstance(n_pairs, int | np.integer) else n_pairs
    counts = np.stack([rng.integers(low, high, n_users, endpoint=True), np.full(n_users, n_test_pairs)], axis=1)
    user = np.repeat(np.arange(n_users), counts.sum(1))
    part = np.repeat(np.tile([0, 1], n_users), counts.reshape(-1))
    known, new = (rng.integers(n, size=len(user)) for n in (n_train, n_test))
    first = rng.integers(N_RESPONSES, size=len(user))
    second = (first + rng.integers(1, N_RESPONSES, size=len(user))) % N_RESPONSES
    prompt = np.where(part == 0, known, n_train + new)
    return {"user": user, "part": part, "prompt": prompt, "first": first, "second": second}


def _episodes(
    columns: Mapping[str, NDArray[np.int64]], texts: ScoredAnswers, n_users: int
) -> tuple[EpisodeSet, NDArray[np.int64]]:
    """The choices over the answers that were met, and which of all answers those are."""
    prompt = columns["prompt"]
    answers = np.stack([columns["chosen"], columns["rejected"]], axis=1) + N_RESPONSES * prompt[:, None]
    code, place = number(answers.reshape(-1))
    items = answers.reshape(-1)[place]
    listed = [divmod(item, N_RESPONSES) for item in items.tolist()]
    group, _ = factorize(texts.prompts)  # a prompt may occur twice, in both parts too
    episodes = EpisodeSet(
        users=user_ids(n_users),
        user=columns["user"],
        chosen=code[0::2].copy(),
        rejected=code[1::2].copy(),
        group=group[prompt],
        items=[(texts.prompts[row], texts.answers[row][answer]) for row, answer in listed],
        shared_groups=True,
    )
    return episodes, items
