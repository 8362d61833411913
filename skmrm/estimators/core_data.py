"""Episodes as the tensors that the core fits on, and users' weights as arrays that it adapts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from numpy.typing import NDArray

from skmrm._support.device import resolve_device
from skmrm._support.progress import Verbose, Watch, unless_few
from skmrm._support.tensors import Arrays, as_one_array, as_tensor, as_tensors
from skmrm._support.threads import in_threads
from skmrm.episodes import EpisodeSet
from skmrm.episodes.outcomes import UNTOLD, sides_of
from skmrm.meta.adaptation import Adaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.folds import Split
from skmrm.meta.outer.keeper import KEEPS_NOTHING, Keeper
from skmrm.meta.outer.streaming import Block, StreamedUsers
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.thresholds import first_thresholds
from skmrm.splits.support_query import draw_training_split

__all__ = ["PLAIN", "Choices", "CoreData", "adapt_arrays", "core_data", "make_block", "prior_of", "start_weights"]

_STAGE = "adapting"
_USERS_PER_JOB = 1000  # fewer are not worth a thread
_USERS_PER_STEP = 20_000  # of a thread, after which it is told how far it is
PLAIN = (0, 0)  # strengths that are told apart, and cuts between levels of ratings: choices alone


@dataclass(frozen=True)
class Choices:
    """Columns of choices, as :class:`skmrm.EpisodeSet` has them.

    Attributes
    ----------
    chosen, rejected, user : (n_pairs,) int array
    n_users : int
    outcome, weight : (n_pairs,) array, optional
    group : (n_pairs,) int array, optional
    rating : (n_pairs,) int array, optional
    bar : int
        Row of the bar, behind those of the items; for ratings.
    """

    chosen: NDArray[Any]
    rejected: NDArray[Any]
    user: NDArray[Any]
    n_users: int
    outcome: NDArray[Any] | None = None
    weight: NDArray[Any] | None = None
    group: NDArray[Any] | None = None
    rating: NDArray[Any] | None = None
    bar: int = 0

    @classmethod
    def of(cls, episodes: EpisodeSet) -> Choices:
        """All of a set."""
        own = episodes
        said = own.outcome, own.weight, own.group, own.rating if own.n_rated else None
        return cls(own.chosen, own.rejected, own.user, own.n_users, *said, bar=own.n_items)

    def of_users(self, first: int, last: int) -> Choices:
        """Those of some neighbouring users."""
        own = slice(*np.searchsorted(self.user, [first, last]))
        said = (self.outcome, self.weight, self.group, self.rating)
        outcome, weight, group, rating = (None if column is None else column[own] for column in said)
        ends = self.chosen[own], self.rejected[own]
        return Choices(*ends, self.user[own] - first, last - first, outcome, weight, group, rating, self.bar)

    def pairs(self, n_grades: int, device: torch.device, n_cuts: int = 0) -> tuple[Pairs, NDArray[np.intp] | None]:
        """As sides of so many thresholds and cuts, and which choice each side is of; None where there are none."""
        sides, ends = None, (self.chosen, self.rejected)
        if n_grades > 0:
            outcome = np.full(len(self.user), UNTOLD) if self.outcome is None else self.outcome
            sides = sides_of(outcome, n_grades, self.rating, n_cuts)
            if self.rating is not None:
                ends = self.chosen, np.where(self.rating > 0, self.bar, self.rejected)
            chosen, rejected = (end[sides.pair] for end in ends)
            ends = np.where(sides.turned, rejected, chosen), np.where(sides.turned, chosen, rejected)
        pair = None if sides is None else sides.pair

        def column(values: NDArray[Any] | None, dtype: Any = np.int64) -> torch.Tensor | None:
            if values is None:
                return None
            return torch.from_numpy(np.array(values if pair is None else values[pair], dtype)).to(device)

        user = self.user if pair is None else self.user[pair]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=self.n_users))])
        better, worse, begins = (torch.from_numpy(np.array(one, np.int64)).to(device) for one in (*ends, offsets))
        side = None if sides is None else torch.from_numpy(sides.side).to(device)
        group, weight = column(self.group), column(self.weight, np.float64)
        return Pairs(better, worse, begins, group, weight, side=side, n_cuts=n_cuts), pair


@dataclass(frozen=True)
class CoreData:
    """What the core fits on.

    Attributes
    ----------
    features : Tensor of shape (n_items, d)
        Raw features of every distinct response.
    pairs : Pairs
        Choices of all users.
    draw_split : callable
        Gives a new random group-disjoint support/query split of all pairs.
    generator : torch.Generator
        On the CPU.
    keeper : Keeper
        Of checkpoints.
    others : StreamedUsers or None
        Users whose features are streamed.
    n_own : int
        Last columns of the features that have a scale of their own: statistics of style, each in its unit.
    tell : Tell
        Of where the core is.
    """

    features: torch.Tensor
    pairs: Pairs
    draw_split: Callable[[], Split]
    generator: torch.Generator
    keeper: Keeper
    others: StreamedUsers | None = None
    n_own: int = 0
    tell: Tell = tells_nobody


def core_data(
    episodes: EpisodeSet,
    features: NDArray[Any],
    support_fraction: float | None,
    rng: np.random.Generator,
    device: str,
    keeper: Keeper = KEEPS_NOTHING,
    others: StreamedUsers | None = None,
    n_own: int = 0,
    grades: tuple[int, int] = PLAIN,
) -> CoreData:
    """Columns of an episode set, and features of its items, as tensors; with so many strengths and cuts."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
    block = make_block(episodes, features, support_fraction, rng, device, grades)
    pairs = first_thresholds(block.pairs, grades[0])
    return CoreData(block.features, pairs, block.draw_split, generator, keeper, others, n_own)


def make_block(
    episodes: EpisodeSet,
    features: NDArray[Any],
    support_fraction: float | None,
    rng: np.random.Generator,
    device: str,
    grades: tuple[int, int] = PLAIN,
) -> Block:
    """Users with their features and pairs as tensors."""
    place = resolve_device(device)
    user, n_users = episodes.user, episodes.n_users
    pairs, pair = Choices.of(episodes).pairs(grades[0], place, grades[1])
    return Block(
        as_tensor(features, place),
        pairs,
        lambda: _draw_split(user, episodes.group, n_users, support_fraction, rng, place, pair),
    )


def adapt_arrays(
    params: Arrays,
    rule: Adaptation,
    rewards: NDArray[Any],
    choices: Choices,
    device: str,
    n_jobs: int | None = None,
    thresholds: NDArray[Any] | None = None,
    n_cuts: int = 0,
    shift: NDArray[Any] | None = None,
    verbose: Verbose = False,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Weights (n_users, n_bases) and, where the rule defines them, covariances, from all choices given.

    Parts of many users are adapted in so many Python threads (torch lets go of Python's lock), each of which computes
    on one: `n_jobs`, and for None as many as torch may take. `thresholds` are those of the population, the last of them
    cuts; of one that never tied and told no strengths, a tie says that neither response is better, and a strength
    nothing. `shift` (n_users, n_bases) is added to the mean of each user's prior.
    """
    place = resolve_device(device)
    found, table = as_tensors(params, place), as_tensor(rewards, place)
    if thresholds is None and choices.outcome is not None and (choices.outcome == 0).any():
        thresholds = np.zeros(1)
    held = None if thresholds is None else torch.from_numpy(np.array(thresholds, np.float64)).to(place)

    def adapt(part: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor | None]:
        pairs, _ = choices.of_users(*part).pairs(0 if held is None else len(held) - n_cuts, place, n_cuts)
        pairs = pairs.held_against(held)
        if shift is None:
            return adapt_users(found, rule, table, pairs, with_covariance=True)
        # what the shift says of each margin is known: what is left to learn is around the mean as it was
        moved = torch.from_numpy(np.array(shift[slice(*part)], np.float64)).to(table)
        pairs = replace(pairs, offset=(pairs.gaps(table) * moved[pairs.user]).sum(1))
        weights, covariance = adapt_users(found, rule, table, pairs, with_covariance=True)
        return weights + moved, covariance

    n_users = choices.n_users
    n_threads = effective_n_jobs(n_jobs)
    if n_jobs is None and n_threads == 1 and place.type == "cpu":
        n_threads = torch.get_num_threads()
    n_parts = max(1, min(n_threads, n_users // _USERS_PER_JOB)) * max(1, round(n_users / n_threads / _USERS_PER_STEP))
    bounds = np.linspace(0, n_users, n_parts + 1).astype(int).tolist()
    # each thread has as many parts as others
    with Watch("adapt", [_STAGE], unless_few(verbose, n_users), unit=" users") as tell:
        tell(_STAGE, 0, n_users)
        parts = in_threads(adapt, list(pairwise(bounds)), n_threads, lambda n: tell(_STAGE, bounds[n], n_users))
    weights = as_one_array([part[0] for part in parts])
    covariances = [part[1] for part in parts if part[1] is not None]
    return weights, as_one_array(covariances) if covariances else None


def start_weights(params: Arrays, rule: Adaptation, n_bases: int) -> NDArray[Any]:
    """Weights (n_bases,) of a user without pairs, read-only; computed on the CPU, wherever the model is."""
    nothing, rewards = np.empty(0, np.int64), np.empty((0, n_bases), params["start"].dtype)
    weights, _ = adapt_arrays(params, rule, rewards, Choices(nothing, nothing, nothing, 1), "cpu")
    weights.flags.writeable = False
    return weights[0]


def prior_of(params: Arrays, rule: Adaptation, n_bases: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Weights (n_bases,) of the average user, whom a choice between equals says nothing of, and their covariance.

    They need not be those of a user without choices, which serve everybody: the pooled reward is fitted to people whose
    tastes cancel out.
    """
    equal, rewards = np.zeros(1, np.int64), np.zeros((1, n_bases), params["start"].dtype)
    weights, covariance = adapt_arrays(params, rule, rewards, Choices(equal, equal, equal, 1), "cpu")
    return weights[0], None if covariance is None else covariance[0]


def _draw_split(
    user: NDArray[Any],
    group: NDArray[Any],
    n_users: int,
    support_fraction: float | None,
    rng: np.random.Generator,
    device: torch.device,
    pair: NDArray[np.intp] | None,
) -> Split:
    """A new random split, as tensors; of sides, whose pairs are given."""
    masks = draw_training_split(user, group, n_users, support_fraction, rng)
    return Split(*(torch.from_numpy(mask if pair is None else mask[pair]).to(device) for mask in masks))
