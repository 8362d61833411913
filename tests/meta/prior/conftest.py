"""Choices of users whose tastes are known."""

import numpy as np
import pytest
import torch

from skmrm.meta.tensors.pairs import Pairs


@pytest.fixture(scope="session")
def crowd():
    """Makes a crowd."""
    return make_crowd


def make_crowd(weights, n_pairs, seed=0, lapse=()):
    """Bradley-Terry choices of users with these weights (n_users, K) over items whose base rewards are Gaussian."""
    rng = np.random.default_rng(seed)
    n_users, rank = weights.shape
    counts = np.full(n_users, n_pairs)
    counts[list(lapse)] = 0
    user = np.repeat(np.arange(n_users), counts)
    rewards = rng.normal(size=(2 * len(user), rank))
    a, b = np.arange(len(user)), np.arange(len(user)) + len(user)
    wins = ((rewards[a] - rewards[b]) * weights[user]).sum(1) + rng.logistic(size=len(user)) > 0
    offsets = np.concatenate([[0], np.cumsum(counts)])
    chosen, rejected = np.where(wins, a, b), np.where(wins, b, a)
    return torch.tensor(rewards), Pairs(torch.tensor(chosen), torch.tensor(rejected), torch.tensor(offsets))
