"""Arrays in, arrays out: the one place where numpy meets the torch core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmrm.meta.adaptation import Adaptation
from skmrm.meta.batching import Pairs
from skmrm.meta.fitting import Fitted, meta_fit
from skmrm.meta.inference import adapt_users, item_rewards
from skmrm.meta.selection import Split
from skmrm.meta.starts import FitOptions
from skmrm.splits import draw_support_query, random_places

__all__ = ["adapt_arrays", "base_rewards_of", "fit_arrays", "resolve_device"]

Arrays = Mapping[str, NDArray[Any]]

# Pairs of one user that an epoch or a validation looks at, at most; drawn anew each time.
MAX_PAIRS_PER_USER = 512


def resolve_device(device: str) -> torch.device:
    """Turn "auto" into the GPU where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def fit_arrays(
    features: NDArray[Any],
    user: NDArray[Any],
    chosen: NDArray[Any],
    rejected: NDArray[Any],
    group: NDArray[Any],
    n_users: int,
    options: FitOptions,
    support_fraction: float | None,
    rng: np.random.Generator,
    device: str,
    progress: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, NDArray[Any]], Fitted]:
    """Fit on the columns of an episode set; parameters come back as numpy arrays."""
    place = resolve_device(device)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
    fitted = meta_fit(
        _tensor(features, place),
        _pairs(chosen, rejected, user, n_users, place),
        lambda: _draw_split(user, group, n_users, support_fraction, rng, place),
        options,
        generator,
        progress,
    )
    return {name: value.detach().cpu().numpy() for name, value in fitted.params.items()}, fitted


def base_rewards_of(params: Arrays, features: NDArray[Any], device: str) -> NDArray[Any]:
    """Base rewards (n_items, n_bases) of raw features (n_items, n_features)."""
    place = resolve_device(device)
    with torch.no_grad():
        rewards = item_rewards(_tensors(params, place), _tensor(features, place))
    return rewards.cpu().numpy()


def adapt_arrays(
    params: Arrays,
    rule: Adaptation,
    rewards: NDArray[Any],
    user: NDArray[Any],
    chosen: NDArray[Any],
    rejected: NDArray[Any],
    n_users: int,
    device: str,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Weights (n_users, n_bases) and, where the rule defines them, covariances, from all pairs given."""
    place = resolve_device(device)
    weights, covariance = adapt_users(
        _tensors(params, place),
        rule,
        _tensor(rewards, place),
        _pairs(chosen, rejected, user, n_users, place),
        with_covariance=True,
    )
    return weights.cpu().numpy(), None if covariance is None else covariance.cpu().numpy()


def _draw_split(
    user: NDArray[Any],
    group: NDArray[Any],
    n_users: int,
    support_fraction: float | None,
    rng: np.random.Generator,
    device: torch.device,
) -> Split:
    """A random split; without a fraction, halves with supports of 1 to all pairs, sizes uniform in their logarithm."""
    query, order = draw_support_query(user, group, n_users, 0.5 if support_fraction is None else support_fraction, rng)
    available = np.bincount(user[~query], minlength=n_users)
    size = available
    if support_fraction is None:
        size = np.floor((available + 1) ** rng.random(n_users)).astype(np.int64)
    few = _at_most(user, n_users, MAX_PAIRS_PER_USER, rng)
    support = (order >= 0) & (order < size[user]) & few
    return Split(*(torch.from_numpy(mask).to(device) for mask in (support, query & few, ~query)))


def _at_most(user: NDArray[Any], n_users: int, limit: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask that keeps a random `limit` pairs of each user with more."""
    counts = np.bincount(user, minlength=n_users)
    keep = np.ones(len(user), bool)
    rows = np.flatnonzero((counts > limit)[user])
    keep[rows] = random_places(user[rows], n_users, rng) < limit
    return keep


def _pairs(
    chosen: NDArray[Any], rejected: NDArray[Any], user: NDArray[Any], n_users: int, device: torch.device
) -> Pairs:
    offsets = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))])
    columns = (torch.from_numpy(np.array(column, np.int64)).to(device) for column in (chosen, rejected, offsets))
    return Pairs(*columns)


def _tensors(params: Arrays, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: _tensor(value, device) for name, value in params.items()}


def _tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Share memory where torch can (not with read-only or reversed arrays); half precision becomes single."""
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array).to(device)
