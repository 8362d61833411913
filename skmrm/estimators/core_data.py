"""Episodes as the tensors that the core fits on, and users' weights as arrays that it adapts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from joblib import effective_n_jobs
from numpy.typing import NDArray

from skmrm._support.device import resolve_device
from skmrm._support.tensors import Arrays, as_one_array, as_tensor, as_tensors
from skmrm._support.threads import in_threads
from skmrm.episodes import EpisodeSet
from skmrm.meta.adaptation import Adaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.folds import Split
from skmrm.meta.outer.keeper import KEEPS_NOTHING, Keeper
from skmrm.meta.outer.streaming import Block, StreamedUsers
from skmrm.meta.tensors.pairs import Pairs
from skmrm.splits.support_query import draw_training_split

__all__ = ["CoreData", "adapt_arrays", "core_data", "make_block", "start_weights"]

_USERS_PER_JOB = 1000  # fewer are not worth a thread


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
    """

    features: torch.Tensor
    pairs: Pairs
    draw_split: Callable[[], Split]
    generator: torch.Generator
    keeper: Keeper
    others: StreamedUsers | None = None
    n_own: int = 0


def core_data(
    episodes: EpisodeSet,
    features: NDArray[Any],
    support_fraction: float | None,
    rng: np.random.Generator,
    device: str,
    keeper: Keeper = KEEPS_NOTHING,
    others: StreamedUsers | None = None,
    n_own: int = 0,
) -> CoreData:
    """Columns of an episode set, and features of its items, as tensors."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
    block = make_block(episodes, features, support_fraction, rng, device)
    return CoreData(block.features, block.pairs, block.draw_split, generator, keeper, others, n_own)


def make_block(
    episodes: EpisodeSet,
    features: NDArray[Any],
    support_fraction: float | None,
    rng: np.random.Generator,
    device: str,
) -> Block:
    """Users with their features and pairs as tensors."""
    place = resolve_device(device)
    user, n_users = episodes.user, episodes.n_users
    return Block(
        as_tensor(features, place),
        _pairs(episodes.chosen, episodes.rejected, user, n_users, place, episodes.group),
        lambda: _draw_split(user, episodes.group, n_users, support_fraction, rng, place),
    )


def adapt_arrays(
    params: Arrays,
    rule: Adaptation,
    rewards: NDArray[Any],
    user: NDArray[Any],
    chosen: NDArray[Any],
    rejected: NDArray[Any],
    n_users: int,
    device: str,
    n_jobs: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Weights (n_users, n_bases) and, where the rule defines them, covariances, from all pairs given.

    Parts of many users are adapted in so many Python threads (torch lets go of Python's lock), each of which computes
    on one: `n_jobs`, and for None as many as torch may take.
    """
    place = resolve_device(device)
    found, table = as_tensors(params, place), as_tensor(rewards, place)

    def adapt(part: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor | None]:
        first, last = part
        own = slice(*np.searchsorted(user, [first, last]))
        pairs = _pairs(chosen[own], rejected[own], user[own] - first, last - first, place)
        return adapt_users(found, rule, table, pairs, with_covariance=True)

    n_threads = effective_n_jobs(n_jobs)
    if n_jobs is None and n_threads == 1 and place.type == "cpu":
        n_threads = torch.get_num_threads()
    n_parts = max(1, min(n_threads, n_users // _USERS_PER_JOB))
    bounds = np.linspace(0, n_users, n_parts + 1).astype(int).tolist()
    parts = in_threads(adapt, list(pairwise(bounds)))
    weights = as_one_array([part[0] for part in parts])
    covariances = [part[1] for part in parts if part[1] is not None]
    return weights, as_one_array(covariances) if covariances else None


def start_weights(params: Arrays, rule: Adaptation, n_bases: int) -> NDArray[Any]:
    """Weights (n_bases,) of a user without pairs, read-only; computed on the CPU, wherever the model is."""
    nothing, rewards = np.empty(0, np.int64), np.empty((0, n_bases), params["start"].dtype)
    weights, _ = adapt_arrays(params, rule, rewards, nothing, nothing, nothing, 1, "cpu")
    weights.flags.writeable = False
    return weights[0]


def _draw_split(
    user: NDArray[Any],
    group: NDArray[Any],
    n_users: int,
    support_fraction: float | None,
    rng: np.random.Generator,
    device: torch.device,
) -> Split:
    """A new random split, as tensors."""
    masks = draw_training_split(user, group, n_users, support_fraction, rng)
    return Split(*(torch.from_numpy(mask).to(device) for mask in masks))


def _pairs(
    chosen: NDArray[Any],
    rejected: NDArray[Any],
    user: NDArray[Any],
    n_users: int,
    device: torch.device,
    *group: NDArray[Any],
) -> Pairs:
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))])
    wanted = (chosen, rejected, offsets, *group)
    columns = (torch.from_numpy(np.array(column, np.int64)).to(device) for column in wanted)
    return Pairs(*columns)
