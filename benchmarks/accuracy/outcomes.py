"""Ties, strengths, ratings and rankings as they are given, against the pairs that one would make of them by hand.

Simulated users judge pairs of responses with logistic noise, and say more than which is better: a fifth to a quarter of
the judgements are ties, or there are five strengths, or four responses are ranked; or they judge single responses, by
thumbs or from one to five, each with a bar and a scale of their own. The same model learns from all of it, and from the
conversion by hand: ties dropped, strengths forgotten, all pairs of a ranking as choices, what a user rated higher over
what the user rated lower. It adapts to new users on ten judgements, and is judged on whether their true preferences are
predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from benchmarks._support.columns import as_columns
from benchmarks.accuracy.judging import Progress, silent
from benchmarks.accuracy.layout import with_interval
from benchmarks.accuracy.verdicts import Verdict
from skmrm import EpisodeSet, MetaRewardModel, episodes_from_arrays
from skmrm.datasets import make_user_preferences
from skmrm.episodes.from_rankings import ranking_weight
from skmrm.metrics import bootstrap_interval, user_accuracies

__all__ = ["KINDS", "Outcome", "judge_outcomes", "outcome_text", "outcome_verdicts", "ranked_exactly"]

N_TRAIN, N_PAIRS, SUPPORT = 300, 20, 10
BAR, SCALE = 1.0, 0.3  # standard deviations of users' bars in logits, and of the logarithms of their scales
RANKED = 4
NEAR = 0.3  # points that rankings as pairs may be below Plackett and Luce's likelihood


@dataclass(frozen=True)
class Kind:
    """What users say.

    Attributes
    ----------
    thresholds : tuple of float
        Of ties and strengths, or the cuts between the levels of ratings.
    by_hand : str
        The conversion that one would do by hand.
    rated : bool
        Whether responses are judged alone.
    """

    thresholds: tuple[float, ...] = ()
    by_hand: str = "ties dropped"
    rated: bool = False

    def says(self, world: _World) -> tuple[Make, Make, float]:
        """What users say, what is made of it by hand, and the share of ties."""
        return (_ratings if self.rated else _pairs if self.thresholds else _rankings)(world, self)


KINDS: dict[str, Kind] = {
    "ties": Kind((1.3,)),
    "ties and five strengths": Kind((0.4, 1.2, 2.0, 3.0, 4.2), "choices alone"),
    "thumbs": Kind((-0.5,), "up over down", rated=True),
    "ratings from 1 to 5": Kind((-3.0, -1.5, 0.0, 2.0), "higher over lower", rated=True),
    "rankings of four": Kind(by_hand="pairs as choices"),
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was found for one kind.

    Attributes
    ----------
    accuracy : dict of str to (n_users,) array
        Of each user, over all seeds: as said, and by hand.
    share_of_ties : float
    thresholds : (n_seeds, n_grades) array
        As fitted.
    """

    accuracy: dict[str, NDArray[np.float64]]
    share_of_ties: float
    thresholds: NDArray[np.float64]


Make = Callable[[NDArray[np.bool_]], EpisodeSet]


class _World:
    """Users, items and what is true of them."""

    def __init__(self, n_judged: int, seed: int, n_train: int) -> None:
        n_users = n_train + n_judged
        data = make_user_preferences(n_users, 1, n_features=20, n_bases=4, n_groups=150, random_state=seed)
        self.features, self.coef, self.n_train = data.episodes.features, data.coef, n_train
        self.base, self.mean, self.spread = data.base_functions, data.mean_weights, data.weights.std(0)
        self.rng = np.random.default_rng(seed)
        self.rewards = self.coef @ self.features.T
        self.user = np.repeat(np.arange(n_users), N_PAIRS)

    def draw(self, size: int) -> NDArray[np.int64]:
        """Distinct items to judge, (n_users * N_PAIRS, size)."""
        return np.argsort(self.rng.random((len(self.user), len(self.features))), axis=1)[:, :size]

    def part_of(self, whole: EpisodeSet, kept: Any = True, of: Any = slice(None)) -> Make:
        """Makes of a mask of judgements the pairs that are made `of` them, of users who judged, some with none left."""

        def make(some: NDArray[np.bool_]) -> EpisodeSet:
            return whole.take_pairs(some[of] & kept)[np.unique(self.user[some])]

        return make

    def right(self, model: MetaRewardModel, support: EpisodeSet) -> NDArray[np.float64]:
        """How often each new user's true preference is predicted, adapted on a support."""
        items = self.draw(2)[self.user >= self.n_train]
        user = self.user[self.user >= self.n_train]
        truth = self.rewards[user, items[:, 0]] - self.rewards[user, items[:, 1]]
        better = np.where(truth > 0, *items.T), np.where(truth > 0, *items.T[::-1])
        users = model.adapt_many(support)
        query = episodes_from_arrays(self.features, *better, user)
        return user_accuracies(users.decision_function(query), user - self.n_train)


def judge_outcomes(kind: Kind, n_judged: int, seeds: Sequence[int], progress: Progress = silent) -> Outcome:
    """Fit and judge what is said, and what is made of it by hand, on the users of each seed."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    thresholds, ties = [], []
    for seed in seeds:
        progress(f"seed {seed}")
        world = _World(n_judged, seed, N_TRAIN)
        said, by_hand, share = kind.says(world)
        ties.append(share)
        for name, make in {"as said": said, kind.by_hand: by_hand}.items():
            seen = make(world.user < world.n_train)
            model = MetaRewardModel(random_state=seed, kernel=None).fit(seen[seen.pairs_per_user > 0])
            support = (world.user >= world.n_train) & (np.tile(np.arange(N_PAIRS), len(world.coef)) < SUPPORT)
            world.rng = np.random.default_rng(seed + 1000)  # the same query for both
            found.setdefault(name, []).append(world.right(model, make(support)))
            fitted = model.base_rewards_.cuts if kind.rated else model.thresholds_
            if name == "as said" and fitted is not None:
                thresholds.append(fitted)
    return Outcome(
        {name: np.concatenate(one) for name, one in found.items()}, float(np.mean(ties)), np.array(thresholds)
    )


def _pairs(world: _World, kind: Kind) -> tuple[Make, Make, float]:
    one, other = world.draw(2).T
    latent = world.rewards[world.user, one] - world.rewards[world.user, other] + world.rng.logistic(size=len(one))
    outcome = np.searchsorted(kind.thresholds, np.abs(latent))
    chosen, rejected = np.where(latent > 0, one, other), np.where(latent > 0, other, one)

    columns = world.features, chosen, rejected, world.user
    whole, plain = episodes_from_arrays(*columns, outcome=outcome), episodes_from_arrays(*columns)
    return world.part_of(whole), world.part_of(plain, outcome > 0), float((outcome == 0).mean())


def _ratings(world: _World, kind: Kind) -> tuple[Make, Make, float]:
    """Each response against a bar, in units of their own; by hand, all pairs of a user's that got different levels."""
    item = world.draw(1)[:, 0]
    n_users = len(world.coef)
    bar = world.rng.normal(size=n_users) * BAR
    scale = np.exp(world.rng.normal(size=n_users) * SCALE)
    margin = scale[world.user] * world.rewards[world.user, item] - bar[world.user]
    rating = 1 + np.searchsorted(kind.thresholds, margin + world.rng.logistic(size=len(item)))
    whole = episodes_from_arrays(world.features, item, item, world.user, rating=rating)

    def by_hand(some: NDArray[np.bool_]) -> EpisodeSet:
        rows = np.flatnonzero(some).reshape(len(np.unique(world.user[some])), -1)
        one, other = (rows[:, place] for place in np.triu_indices(rows.shape[1], 1))
        better = np.where(rating[one] > rating[other], one, other).ravel()
        worse = np.where(rating[one] > rating[other], other, one).ravel()
        apart = rating[better] > rating[worse]
        pairs = episodes_from_arrays(world.features, item[better], item[worse], world.user[better])
        return pairs.take_pairs(apart)

    return world.part_of(whole), by_hand, 0.0


def _rankings(world: _World, kind: Kind) -> tuple[Make, Make, float]:
    items = world.draw(RANKED)
    utility = world.rewards[world.user[:, None], items] + world.rng.gumbel(size=items.shape)
    ranked = np.take_along_axis(items, np.argsort(-utility, axis=1), axis=1)
    pairs = np.array(list(combinations(range(RANKED), 2)))

    ends = ranked[:, pairs].reshape(-1, 2)
    judgement = np.repeat(np.arange(len(items)), len(pairs))
    columns = world.features, *ends.T, world.user[judgement], judgement
    weighted = episodes_from_arrays(*columns, weight=np.full(len(ends), ranking_weight(RANKED)))
    return world.part_of(weighted, of=judgement), world.part_of(episodes_from_arrays(*columns), of=judgement), 0.0


def ranked_exactly(n_users: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy of users adapted on five rankings of four: as weighted pairs, and by Plackett and Luce's likelihood.

    Both under the population's own base functions and Gaussian prior, so that only the likelihoods differ.
    """
    world = _World(n_users, seed, n_train=0)
    table = world.features @ world.base.T
    items = world.draw(RANKED)
    utility = world.rewards[world.user[:, None], items] + world.rng.gumbel(size=items.shape)
    ranked = np.take_along_axis(items, np.argsort(-utility, axis=1), axis=1)
    found: list[list[float]] = [[], []]
    query = world.draw(2)
    for user in range(n_users):
        own = np.flatnonzero(world.user == user)
        rows = table[ranked[own[:5]]]
        gaps = np.concatenate([rows[:, a] - rows[:, b] for a, b in combinations(range(RANKED), 2)])

        def pairwise(a: NDArray[Any], gaps: NDArray[Any] = gaps) -> float:
            return float(
                np.logaddexp(0, -gaps @ (world.mean + world.spread * a)).sum() * ranking_weight(RANKED) + a @ a / 2
            )

        def exact(a: NDArray[Any], rows: NDArray[Any] = rows) -> float:
            reward = rows @ (world.mean + world.spread * a)
            rest = sum((logsumexp(reward[:, place:], axis=1) - reward[:, place]).sum() for place in range(RANKED - 1))
            return float(rest + a @ a / 2)

        ends = query[own]
        truth = np.subtract(*world.rewards[user, ends.T])
        for place, cost in enumerate((pairwise, exact)):
            weights = world.mean + world.spread * minimize(cost, np.zeros(len(world.mean))).x
            predicted = np.subtract(*(table[side] @ weights for side in ends.T))
            found[place].append(float((np.sign(predicted) == np.sign(truth)).mean()))
    return np.array(found[0]), np.array(found[1])


def outcome_text(found: Mapping[str, Outcome]) -> str:
    """A row a kind."""
    rows = []
    for name, one in found.items():
        said, by_hand = one.accuracy.values()
        gain = bootstrap_interval(said, by_hand)
        fitted = " ".join(f"{value:.2f}" for value in one.thresholds.mean(0)) if one.thresholds.size else "-"
        planted = " ".join(f"{value:g}" for value in KINDS[name].thresholds) or "-"
        cells = [f"{100 * one.share_of_ties:.0f}", f"{100 * said.mean():.2f}", f"{100 * by_hand.mean():.2f}"]
        rows.append([name, *cells, with_interval((gain.estimate, gain.low, gain.high)), planted, fitted])
    header = ["what is said", "ties, %", "as said, %", "by hand, %", "gain, points [95 %]", "thresholds", "as fitted"]
    return as_columns(header, rows)


def outcome_verdicts(
    found: Mapping[str, Outcome], rankings: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> list[Verdict]:
    """What is claimed of them."""
    claims = []
    for name, one in found.items():
        said, by_hand = one.accuracy.values()
        gain = bootstrap_interval(said, by_hand)
        written = with_interval((gain.estimate, gain.low, gain.high))
        if KINDS[name].thresholds:
            claims.append(Verdict(gain.low > 0, f"{name}: above what is made of them by hand", written))
        else:
            claims.append(Verdict(gain.high >= 0, f"{name}: not below what is made of them by hand", written))
    short = bootstrap_interval(*rankings)
    claim = f"rankings as pairs: within {NEAR:g} points of Plackett and Luce's likelihood"
    written = with_interval((short.estimate, short.low, short.high))
    claims.append(Verdict(100 * short.high >= -NEAR, claim, written))
    return claims
