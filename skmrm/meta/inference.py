"""Adapt and judge many users with one model, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation import Adaptation, RuleParameters
from skmrm.meta.arrays import Array
from skmrm.meta.basis import Parameters, base_rewards, standardise
from skmrm.meta.batching import Pairs, length_buckets, pack_users
from skmrm.meta.tables import n_cached_rows

__all__ = ["adapt_users", "item_rewards", "mean_by_user", "mean_folds", "query_losses", "rule_parameters"]

CACHED_GAPS = 1 << 20  # numbers in one packed batch of gaps on a CPU: 4 MB in float32
MAX_CELLS = 1 << 22  # numbers in one packed batch of gaps elsewhere: 16 MB in float32
_CANCELLATION = 1e-6  # logits that may be lost where a large constant is subtracted


def rule_parameters(params: Parameters) -> RuleParameters:
    """The inner rule's own parameters out of all parameters of a model."""
    return {name.removeprefix("rule."): value for name, value in params.items() if name.startswith("rule.")}


def item_rewards(params: Parameters, features: Tensor) -> Tensor:
    """Base rewards (n_items, n_bases) of raw features (n_items, d), as many rows at a time as the caches hold."""
    rows = n_cached_rows(features)
    rewards = params["mean"].new_empty(features.shape[0], params["bases"].shape[0])
    rewarded = _linear_rewards(params) if set(params).isdisjoint(("hidden.out", "kernel.out")) else None
    for part, chunk in zip(rewards.split(rows), features.split(rows), strict=True):
        if rewarded is None:
            part.copy_(base_rewards(params, standardise(params, chunk)))
        else:
            rewarded(chunk.to(rewards.dtype), part)
    return rewards


def _linear_rewards(params: Parameters) -> Callable[[Tensor, Tensor], Tensor]:
    """How to write linear base rewards of raw features, in one pass over them where the mean folds."""
    matrix, mean = params["bases"] / params["scale"], params["mean"]
    if not mean_folds(matrix, mean, torch.finfo(mean.dtype).eps):
        return lambda chunk, part: torch.mm(chunk - mean, matrix.T, out=part)
    offset = -(matrix @ mean)
    return lambda chunk, part: torch.addmm(offset, chunk, matrix.T, out=part)


def mean_folds(matrix: Array, mean: Array, precision: float) -> bool:
    """Whether W (x - m) may be computed as W x - W m: what cancels costs no more than a millionth of a logit.

    Parameters
    ----------
    matrix : Tensor or array of shape (n_bases, d)
        W, of base rewards from raw features.
    mean : Tensor or array of shape (d,)
    precision : float
        Spacing of the numbers around 1 that will be computed with.
    """
    return precision * float(((matrix * mean) ** 2).sum(1).max()) ** 0.5 <= _CANCELLATION


def adapt_users(
    params: Parameters, rule: Adaptation, rewards: Tensor, pairs: Pairs, with_covariance: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Weights of every user from all of its pairs, without gradients.

    Parameters
    ----------
    params : dict of Tensor
        The model's parameters: ``start`` and the rule's.
    rule : Adaptation
    rewards : Tensor of shape (n_items, n_bases)
        Base rewards of the items that the pairs compare.
    pairs : Pairs
        Support pairs; a user without any keeps the starting weights.
    with_covariance : bool
        Also return each user's posterior covariance, where the rule defines one.

    Returns
    -------
    weights : Tensor of shape (n_users, n_bases)
    covariance : Tensor of shape (n_users, n_bases, n_bases) or None
    """
    rule_params, start = rule_parameters(params), params["start"]
    weights = rule.constrain(start).repeat(pairs.n_users, 1)
    covariances: Tensor | None = None
    # a mixture holds the gaps once for each kind of user
    width = (rewards.shape[1] + 2) * getattr(rule, "n_components", 1)
    most = CACHED_GAPS if rewards.device.type == "cpu" else MAX_CELLS
    with torch.no_grad():
        for users in length_buckets(pairs.counts, max(1, most // width)):
            index, present = pack_users(pairs.offsets, users)
            mask = present.to(rewards.dtype)
            gaps = pairs.gaps(rewards, index)
            if not bool(present.all()):
                gaps *= mask.unsqueeze(-1)
            weights[users] = rule.adapt(start, gaps, mask, rule_params)
            if with_covariance:
                found = rule.covariance(weights[users], start, gaps, mask, rule_params)
                if found is not None:
                    if covariances is None:
                        covariances = found.new_empty(pairs.n_users, *found.shape[1:])
                    covariances[users] = found
    return weights, covariances


def mean_by_user(values: Tensor, pairs: Pairs) -> Tensor:
    """Mean of a value of each pair over each user's pairs, (n_users,); NaN for a user without pairs."""
    total = values.new_zeros(pairs.n_users).index_add_(0, pairs.user, values)
    return total / torch.where(pairs.counts > 0, pairs.counts, torch.nan).to(values.dtype)


def query_losses(weights: Tensor, rewards: Tensor, query: Pairs) -> Tensor:
    """Mean log loss of each user's query pairs in nats, (n_users,); NaN for a user without query pairs."""
    margins = (query.gaps(rewards) * weights[query.user]).sum(1)
    return mean_by_user(softplus(-margins), query)
