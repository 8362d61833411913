"""Asking the most telling question: how many it takes, next to questions at random.

New users of a fitted model are asked one comparison after the other, chosen from a pool by what their answers so far
say of them, and adapted after each answer. They are judged on comparisons that they could not be asked. There are
planted tastes on feature vectors, with a large pool, with a small one, and with tastes in as many directions as there
are features; the bundled corpus, whose simulated users may be asked about any two answers to a prompt of one half of
the prompts, and are judged on the other half; and real residents, who may be asked about any statement that they agreed
with against any that they disagreed with in one half of the statements, and are judged on the other half.

Questions are chosen at random; where the model is least sure who wins (uncertainty sampling); or where the answer is
expected to tell most of the user, as `suggest_pairs` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks._support.columns import as_columns
from benchmarks.accuracy.judging import Progress, silent
from benchmarks.accuracy.layout import with_interval
from benchmarks.accuracy.text_features import Encode, HashedFeatures
from benchmarks.accuracy.verdicts import Verdict
from skmrm import EpisodeSet, MetaRewardModel, split_users
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.episodes.information import expected_information
from skmrm.metrics import Interval, bootstrap_interval

__all__ = [
    "CONTENDERS",
    "SIMULATED_PEOPLE",
    "People",
    "ask_residents",
    "judge_questions",
    "question_text",
    "question_verdicts",
]

N_QUESTIONS = 20
SHOWN = (0, 3, 5, 8, 12, 20)
ENOUGH = 12  # questions that should teach what 20 random ones teach
N_TRAIN, N_JUDGED, N_POOL = 300, 150, 300
FEW = 30  # candidates of a small pool
HELPED = ("planted", "bundled corpus", "polis")  # where it should be so; elsewhere it should do no harm
MIN_POOL = 25  # comparisons that a resident can be asked, at least

Score = Callable[[NDArray[Any], NDArray[Any], np.random.Generator], NDArray[Any]]

# From mean and variance of the gaps that may be asked, how much each is worth.
CONTENDERS: dict[str, Score] = {
    "random": lambda mean, variance, rng: rng.random(len(mean)),
    "least sure": lambda mean, variance, rng: -np.abs(mean),
    "most telling": lambda mean, variance, rng: expected_information(mean, variance),
}


@dataclass(frozen=True, eq=False)
class People:
    """Users of a fitted model, what they can be asked, and what they are judged on.

    Attributes
    ----------
    model : MetaRewardModel
        Fitted on others.
    features : (n_items, n_features) array
    users : list
        Ids; the same id in two seeds is one person.
    pools : list of (n_pairs, 2) int array
        Items of the comparisons that each may be asked.
    answers : list of (n_pairs,) bool array
        Whether the first one wins.
    queries : list of (n_pairs, 2) int array
        Comparisons to judge on, the better item first.
    """

    model: MetaRewardModel
    features: NDArray[Any]
    users: list[Any]
    pools: list[NDArray[Any]]
    answers: list[NDArray[np.bool_]]
    queries: list[NDArray[Any]]

    def interview(self, score: Score, seed: int, n_questions: int = N_QUESTIONS) -> NDArray[np.float64]:
        """Accuracy of each user after 0, 1, ... questions, (n_questions + 1, n_users)."""
        rng = np.random.default_rng(seed)
        rewards = self.model.transform(self.features)
        asked: list[list[int]] = [[] for _ in self.users]
        accuracy = np.empty((n_questions + 1, len(self.users)))
        for done in range(n_questions + 1):
            adapted = self.model.adapt_many(self._said(asked))
            weights, covariance = adapted.weights_, adapted.weights_cov_
            for user, query in enumerate(self.queries):
                margins = (rewards[query[:, 0]] - rewards[query[:, 1]]) @ weights[user]
                accuracy[done, user] = (margins > 0).mean() + (margins == 0).mean() / 2
            if done == n_questions:
                break
            for user, pool in enumerate(self.pools):
                gaps = rewards[pool[:, 0]] - rewards[pool[:, 1]]
                variance = np.einsum("pk,pk->p", gaps @ covariance[user], gaps).clip(0)
                worth = np.asarray(score(gaps @ weights[user], variance, rng), float)
                worth[asked[user]] = -np.inf
                asked[user].append(int(worth.argmax()))
        return accuracy

    def _said(self, asked: list[list[int]]) -> EpisodeSet:
        user = np.repeat(np.arange(len(asked)), [len(places) for places in asked])
        ends = np.zeros((len(user), 2), np.int64)
        if len(user):
            pairs = np.concatenate([pool[places] for pool, places in zip(self.pools, asked, strict=True)])
            first = np.concatenate([answer[places] for answer, places in zip(self.answers, asked, strict=True)])
            ends = np.where(first[:, None], pairs, pairs[:, ::-1])
        return EpisodeSet(
            users=list(range(len(asked))),
            user=user,
            chosen=ends[:, 0],
            rejected=ends[:, 1],
            group=np.arange(len(user)),
            features=self.features,
        )


def ask_planted(seed: int, n_pool: int = N_POOL, n_bases: int = 4) -> People:
    """Tastes in some directions among twenty, over pairs of items at random; judged on other pairs, without noise."""
    data = make_user_preferences(N_TRAIN + N_JUDGED, 20, n_features=20, n_bases=n_bases, random_state=seed)
    model = MetaRewardModel(random_state=seed, kernel=None).fit(data.episodes[:N_TRAIN])
    features = np.asarray(data.episodes.features)
    rng = np.random.default_rng(seed)
    queries, pools = rng.integers(0, len(features), (2, N_JUDGED, N_POOL, 2))
    pools = pools[:, :n_pool]
    return _simulated(model, features, data.coef[N_TRAIN:] @ features.T, pools, queries, seed)


def ask_bundled(seed: int) -> People:
    """Simulated tastes for style in the bundled texts: any two answers to a prompt, judged on other prompts."""
    data = load_style_preferences(N_TRAIN + N_JUDGED, 30, random_state=seed)
    train, items = data.episodes[:N_TRAIN], data.episodes.items
    features = HashedFeatures()(items, train).table
    model = MetaRewardModel(random_state=seed).fit(train.with_features(features))
    answers: dict[str, list[int]] = {}
    for place, (prompt, _) in enumerate(items):
        answers.setdefault(prompt, []).append(place)
    prompts = np.random.default_rng(seed).permutation(sorted(answers))
    asked, judged = (
        np.array([pair for prompt in half for pair in combinations(answers[prompt], 2)])
        for half in np.array_split(prompts, 2)
    )
    rewards = data.rewards[N_TRAIN:]
    return _simulated(model, features, rewards, [asked] * N_JUDGED, [judged] * N_JUDGED, seed)


SIMULATED_PEOPLE: dict[str, Callable[[int], People]] = {
    "planted": ask_planted,
    f"planted, {FEW} candidates": partial(ask_planted, n_pool=FEW),
    "planted, 20 directions": partial(ask_planted, n_bases=20),
    "bundled corpus": ask_bundled,
}


def ask_residents(episodes: EpisodeSet, encode: Encode, seed: int) -> People:
    """Half of the people to learn from; the others may be asked in one half of the statements."""
    train, judged = split_users(episodes, 0.5, random_state=seed)
    features = encode(episodes.items, train).table
    train, judged = train.with_features(features), judged.with_features(features)
    model = MetaRewardModel(random_state=seed).fit(train)
    halves = np.unique(judged.group)
    users: list[Any] = []
    pools, queries = [], []
    for user in range(judged.n_users):
        if len(users) == N_JUDGED:
            break
        own = np.arange(judged.offsets[user], judged.offsets[user + 1])
        in_half = judged.group[own] == halves[(user + seed) % len(halves)]
        support, query = own[in_half], own[~in_half]
        pool = np.stack(
            np.meshgrid(np.unique(judged.chosen[support]), np.unique(judged.rejected[support])), axis=-1
        ).reshape(-1, 2)
        if len(pool) >= MIN_POOL and len(query):
            users.append(judged.users[user])
            pools.append(pool)
            queries.append(np.stack([judged.chosen[query], judged.rejected[query]], axis=1))
    return People(model, features, users, pools, [np.ones(len(pool), bool) for pool in pools], queries)


def _simulated(
    model: MetaRewardModel,
    features: NDArray[Any],
    rewards: NDArray[Any],
    pools: Sequence[NDArray[Any]],
    queries: Sequence[NDArray[Any]],
    seed: int,
) -> People:
    """Answers are drawn from true rewards (n_users, n_items); what is judged is the true preference."""
    rng = np.random.default_rng(seed + 1000)
    answers, better = [], []
    for own, pool, query in zip(rewards, pools, queries, strict=True):
        answers.append(rng.random(len(pool)) < expit(own[pool[:, 0]] - own[pool[:, 1]]))
        wins = own[query[:, 0]] > own[query[:, 1]]
        apart = own[query[:, 0]] != own[query[:, 1]]
        better.append(np.where(wins[:, None], query, query[:, ::-1])[apart])
    return People(model, features, [(seed, user) for user in range(len(pools))], list(pools), answers, better)


def judge_questions(
    people: Callable[[int], People], seeds: Sequence[int], progress: Progress = silent
) -> dict[str, NDArray[np.float64]]:
    """Accuracy of each person, a mean over seeds, after 0, 1, ... questions of each contender."""
    users: list[Any] = []
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in CONTENDERS}
    for seed in seeds:
        progress(f"seed {seed}")
        asked = people(seed)
        users += asked.users
        for name, score in CONTENDERS.items():
            found[name].append(asked.interview(score, seed))
    row = {user: place for place, user in enumerate(dict.fromkeys(users))}
    person = np.array([row[user] for user in users])
    count = np.bincount(person)
    each = {name: np.concatenate(tables, axis=1) for name, tables in found.items()}
    return {name: np.array([np.bincount(person, one) / count for one in table]) for name, table in each.items()}


def questions_needed(accuracy: NDArray[np.float64], random: NDArray[np.float64]) -> Interval:
    """How many questions reach what all random ones reach, (n_questions + 1, n_users) each; one more if none does."""

    def needed(users: NDArray[np.float64]) -> int:
        drawn = users.astype(int)
        reached = accuracy[:, drawn].mean(1) >= random[-1, drawn].mean()
        return int(reached.argmax()) if reached.any() else len(accuracy)

    return bootstrap_interval(np.arange(accuracy.shape[1]), statistic=needed)


def question_text(found: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> str:
    """A row a contender and population."""
    rows = []
    for name, contenders in found.items():
        random = contenders["random"]
        for contender, accuracy in contenders.items():
            rows.append([name, contender, *(f"{100 * accuracy[size].mean():.1f}" for size in SHOWN)])
            rows[-1] += [_count(questions_needed(accuracy, random)), with_interval(_gain(accuracy, random, ENOUGH))]
    header = ["people", "questions", *map(str, SHOWN), f"as {N_QUESTIONS} random", f"over random at {ENOUGH}, points"]
    return as_columns(header, rows)


def question_verdicts(found: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Iterator[Verdict]:
    """What is claimed of the most telling questions."""
    for name, contenders in found.items():
        random, telling = contenders["random"], contenders["most telling"]
        needed = questions_needed(telling, random)
        if name in HELPED:
            claim = f"{name}: {ENOUGH} telling questions reach what {N_QUESTIONS} random ones do"
            yield Verdict(needed.estimate <= ENOUGH, claim, _count(needed))
        gains = {size: _gain(telling, random, size) for size in SHOWN[1:]}
        worst = min(gains, key=lambda size: gains[size][2])
        claim = f"{name}: telling questions are at no number below random ones beyond noise"
        yield Verdict(gains[worst][2] >= 0, claim, f"{with_interval(gains[worst])} at {worst}")


def _gain(accuracy: NDArray[np.float64], random: NDArray[np.float64], size: int) -> tuple[float, float, float]:
    gain = bootstrap_interval(accuracy[size], random[size])
    return gain.estimate, gain.low, gain.high


def _count(needed: Interval) -> str:
    low, estimate, high = (
        f">{N_QUESTIONS}" if value > N_QUESTIONS else f"{value:.0f}"
        for value in (needed.low, needed.estimate, needed.high)
    )
    return f"{estimate} [{low}, {high}]"
