"""Simulated crowds that `make_user_preferences` has none of: few items, items known by name, no common mean.

Everything is drawn by one generator: items have columns, and tastes are weights of factors, of which a share is linear
in the columns and the rest is of each item alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.judging import Users
from skmrm import EpisodeSet, episodes_from_arrays

__all__ = ["CROWDS", "Crowd", "draw_crowd"]

Array = NDArray[np.float64]

_NOISE = 0.3  # of an embedding's columns


@dataclass(frozen=True)
class Crowd:
    """A kind of simulated users, whose rewards are common + taste . factors.

    Attributes
    ----------
    n_items : int
    n_columns : int
        Numeric columns of an item.
    embedding : int
        Columns of an embedding that is seen instead of them; 0 for none.
    identity : bool
        Whether each item has a column of its own besides.
    n_factors : int, optional
        What tastes are for. None for one an item: everybody's own ranking.
    decay : float
        Size of a factor relative to the one before.
    own : float
        Share of the factors' variance, and of the common reward's, that is of each item alone.
    strength : float
        Standard deviation over items of what is a user's own in the reward, in logits.
    common : float
        Of what is common to all.
    camps : bool
        Whether tastes are plus or minus one instead of Gaussian.
    n_train : int
        Users to learn from.
    n_pairs : (int, int)
        Choices of each user to adapt on, and to judge by; no user chooses between the same two items twice.
    same_users : bool
        Whether those who are judged are those who were learnt from, by the choices that they are adapted on, instead of
        others.
    left_out : tuple of str
        Models that take too long here.
    """

    n_items: int
    n_columns: int = 8
    embedding: int = 0
    identity: bool = False
    n_factors: int | None = 8
    decay: float = 1.0
    own: float = 0.0
    strength: float = 2.8
    common: float = 0.0
    camps: bool = False
    n_train: int = 84
    n_pairs: tuple[int, int] = (20, 20)
    same_users: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def n_support(self) -> int:
        """Choices that a user is adapted on."""
        return self.n_pairs[0]

    def users(self, n_judged: int, seed: int) -> Users:
        """Users to learn from and to judge on, of one crowd and over the same items."""
        episodes, _ = draw_crowd(self, self.n_train + (0 if self.same_users else n_judged), seed)
        query = np.arange(episodes.n_pairs) - episodes.offsets[episodes.user] >= self.n_support
        if self.same_users:
            return Users(episodes.take_pairs(~query), episodes, query)
        judged = episodes[self.n_train :]
        return Users(episodes[: self.n_train], judged, query[-judged.n_pairs :])


CROWDS: dict[str, Crowd] = {
    "100 items with identity columns": Crowd(
        100, identity=True, n_factors=4, own=0.5, strength=1.2, common=0.85, n_train=500, n_pairs=(10, 10)
    ),
    "40 rated things with embeddings": Crowd(
        40,
        n_columns=6,
        embedding=96,
        identity=True,
        n_factors=6,
        decay=0.8,
        own=0.5,
        strength=1.4,
        common=0.85,
        n_train=400,
        n_pairs=(30, 30),
    ),
    "100 users of 5 choices on 10 items": Crowd(
        10,
        n_columns=7,
        n_factors=5,
        own=0.5,
        strength=2.0,
        common=0.6,
        n_train=100,
        n_pairs=(5, 25),
        same_users=True,
    ),
    "no common mean": Crowd(300),
    "two opposite camps": Crowd(300, n_factors=1, camps=True),
    "everybody's own ranking": Crowd(20, identity=True, n_factors=None, strength=1.5),
}


def draw_crowd(crowd: Crowd, n_users: int, seed: int) -> tuple[EpisodeSet, Array]:
    """Simulate users, their choices and what these follow.

    Parameters
    ----------
    crowd : Crowd
    n_users : int
    seed : int

    Returns
    -------
    episodes : EpisodeSet
        Of each user, so many choices as `crowd.n_pairs` has together.
    rewards : (n_users, n_items) array
        In logits.
    """
    rng = np.random.default_rng(seed)
    n_items, (linear, alone) = crowd.n_items, np.sqrt([1 - crowd.own, crowd.own])
    columns = rng.normal(size=(n_items, crowd.n_columns))

    def of_items(n: int) -> Array:
        """Draw columns (n_items, n) of unit variance, of which a share is linear in what is seen of the items."""
        weights = rng.normal(size=(crowd.n_columns, n))
        seen = columns @ (weights / np.linalg.norm(weights, axis=0))
        return np.asarray(linear * seen + alone * rng.normal(size=(n_items, n)))

    factors = np.eye(n_items) if crowd.n_factors is None else of_items(crowd.n_factors)
    factors = factors * crowd.decay ** np.arange(factors.shape[1])
    factors *= crowd.strength / np.sqrt((factors**2).sum(1).mean())
    tastes = rng.normal(size=(n_users, factors.shape[1]))
    rewards = crowd.common * of_items(1)[:, 0] + (np.sign(tastes) if crowd.camps else tastes) @ factors.T

    one, two = np.triu_indices(n_items, 1)
    asked = np.concatenate([rng.choice(len(one), sum(crowd.n_pairs), replace=False) for _ in range(n_users)])
    user = np.repeat(np.arange(n_users), sum(crowd.n_pairs))
    first, second = one[asked], two[asked]
    prefers = rng.random(len(user)) < 1 / (1 + np.exp(rewards[user, second] - rewards[user, first]))
    features = columns
    if crowd.embedding:
        mixed = columns @ rng.normal(size=(crowd.n_columns, crowd.embedding)) / np.sqrt(crowd.n_columns)
        features = mixed + _NOISE * rng.normal(size=mixed.shape)
    if crowd.identity:
        features = np.hstack([features, np.eye(n_items)])
    chosen, rejected = np.where(prefers, first, second), np.where(prefers, second, first)
    return episodes_from_arrays(features.astype(np.float32), chosen, rejected, user), rewards
