"""Simulated users of many kinds, whose tastes are known: what the default gains, and how far it is from an oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from benchmarks.accuracy.crowds import CROWDS, Crowd
from benchmarks.accuracy.gains import Table
from benchmarks.accuracy.judging import Makers, Progress, Size, Users, judge_over_seeds, silent
from benchmarks.accuracy.oracle import BayesOracle, Population, TrueRewards
from benchmarks.accuracy.verdicts import (
    GAP,
    Verdict,
    above_every_baseline,
    near_oracle,
    never_below_any,
    never_below_pooled,
)
from skmrm import EpisodeSet
from skmrm.datasets import make_user_preferences

__all__ = ["FAMILIES", "SIMULATED", "Family", "draw", "judge_family", "planted_claims", "population"]

JUDGED_PAIRS = 60  # of which half are support, so that 20 support pairs are reached
_DEFAULT_PAIRS = (30, 30)


@dataclass(frozen=True)
class Family:
    """A kind of simulated users.

    Attributes
    ----------
    parameters : dict
        Of `make_user_preferences`.
    n_train : int
        Users to learn from.
    train_pairs : (low, high)
        Pairs of each of them.
    signal : bool
        Whether users differ at all.
    gap : float
        Points that the default may be below the Bayes oracle at 20 pairs.
    left_out : tuple of str
        Models that take too long here.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    n_train: int = 300
    train_pairs: tuple[int, int] = _DEFAULT_PAIRS
    signal: bool = True
    gap: float = GAP
    left_out: tuple[str, ...] = ()

    @property
    def n_support(self) -> int:
        """Pairs that a user is adapted on, at most."""
        return JUDGED_PAIRS // 2

    def users(self, n_judged: int, seed: int) -> Users:
        """Users to learn from and others to judge on, with the Bayes oracle and the true rewards."""
        data, train, judged = draw(self, n_judged, seed)
        table = data.episodes.features @ data.base_functions.T
        known = {
            "oracle": BayesOracle(table, population(self.parameters, data.mean_weights)),
            "truth": TrueRewards(data),
        }
        return Users(train, judged, known=known)


FAMILIES: dict[str, Family] = {
    "low rank": Family(),
    "clusters": Family({"family": "clusters", "n_features": 50, "n_bases": 4}),
    "idiosyncratic": Family({"family": "idiosyncratic"}),
    "20 % lapses": Family({"noise": 0.2}),
    "40 % lapses": Family({"noise": 0.4}),
    "no personal signal": Family({"personal_strength": 0.0}, signal=False),
    "strong personal signal": Family({"personal_strength": 4.0}),
    "hard minority of 20 %": Family({"hard_fraction": 0.2}),
    "384 features": Family({"n_features": 384, "n_groups": 300}, gap=4.0),
    "2,000 users of 5 to 20 pairs": Family(
        {"n_features": 64, "n_bases": 8, "n_groups": 300}, n_train=2000, train_pairs=(5, 20), gap=1.2
    ),
}
SIMULATED: dict[str, Family | Crowd] = {**FAMILIES, **CROWDS}


def draw(family: Family, n_judged: int, seed: int) -> tuple[Bunch, EpisodeSet, EpisodeSet]:
    """Simulate users to learn from and others to judge on, of one population and over the same items.

    Parameters
    ----------
    family : Family
    n_judged : int
        Users to judge on, of 60 pairs each.
    seed : int

    Returns
    -------
    data : Bunch
        As of `make_user_preferences`.
    train, judged : EpisodeSet
    """
    data = make_user_preferences(
        n_users=family.n_train + n_judged, n_pairs=JUDGED_PAIRS, random_state=seed, **family.parameters
    )
    episodes = data.episodes
    low, high = family.train_pairs
    kept = np.random.default_rng(seed).integers(low, high, episodes.n_users, endpoint=True)
    place = np.arange(episodes.n_pairs) - episodes.offsets[episodes.user]
    train = episodes.take_pairs(place < kept[episodes.user])[: family.n_train]
    return data, train, episodes[family.n_train :]


def population(parameters: Mapping[str, Any], mean_weights: np.ndarray[Any, Any]) -> Population:
    """Where `make_user_preferences` draws weights from.

    Parameters
    ----------
    parameters : mapping
        What it was called with; its own defaults for the rest.
    mean_weights : (n_bases,) array
        ``data.mean_weights``.
    """
    rank = len(mean_weights)
    norm = parameters.get("personal_strength", 2.5) / np.sqrt(2)
    lapse = parameters.get("noise", 0.0)
    hard = parameters.get("hard_fraction", 0.0)
    centres, shares = mean_weights[None] * np.array([[1.0], [-1.0]]), np.array([1 - hard, hard])
    if hard == 0:
        centres, shares = centres[:1], shares[:1]
    if parameters.get("family") != "clusters":
        return Population(centres, np.full(len(shares), norm / np.sqrt(rank)), shares, lapse)
    kinds = norm * np.sqrt(rank / (rank - 1)) * (np.eye(rank) - 1 / rank)
    means = (centres[:, None] + kinds).reshape(-1, rank)
    return Population(means, np.zeros(len(means)), np.repeat(shares / rank, rank), lapse)


def judge_family(
    family: Family | Crowd,
    models: Makers,
    sizes: Sequence[Size],
    seeds: Sequence[int],
    n_judged: int,
    progress: Progress = silent,
) -> Table:
    """Fit and judge every model, and an oracle where there is one, on users who are drawn anew in every seed.

    Parameters
    ----------
    family : Family or Crowd
    models : mapping of str to callable
        From a seed to an unfitted estimator.
    sizes : sequence of int or None
        Those that are no smaller than a user's whole support are left to None.
    seeds : sequence of int
    n_judged : int
        Users to judge on in every seed.
    progress : callable
        Told what is being done.
    """
    fitted = {name: make for name, make in models.items() if name not in family.left_out}
    reached = [size for size in sizes if size is None or size < family.n_support]

    def users(seed: int) -> Users:
        return family.users(n_judged, seed)

    return judge_over_seeds(users, fitted, reached, seeds, same_people=False, progress=progress)


def planted_claims(family: Family | Crowd, table: Table) -> list[Verdict]:
    """Check what is claimed of a kind of users."""
    verdicts = [never_below_pooled(table), *never_below_any(table)]
    if isinstance(family, Family) and family.signal:
        verdicts += [above_every_baseline(table), near_oracle(table, gap=family.gap)]
    return verdicts
