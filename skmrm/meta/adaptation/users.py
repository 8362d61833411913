"""Adapt and judge many users with one model, in batches of bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from skmrm.meta.adaptation.rule import Adaptation, RuleParameters, inner_rule
from skmrm.meta.basis import (
    Parameters,
)
from skmrm.meta.tensors.pairs import Pairs, length_buckets, pack_users
from skmrm.meta.thresholds import sides_loss

__all__ = ["adapt_users", "mean_by_user", "query_losses", "rule_parameters"]

CACHED_GAPS = 1 << 20  # numbers in one packed batch of gaps on a CPU: 4 MB in float32
MAX_CELLS = 1 << 22  # numbers in one packed batch of gaps elsewhere: 16 MB in float32


def rule_parameters(params: Parameters) -> RuleParameters:
    """The inner rule's own parameters out of all parameters of a model."""
    return {name.removeprefix("rule."): value for name, value in params.items() if name.startswith("rule.")}


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
    rule, rule_params, start = inner_rule(rule), rule_parameters(params), params["start"]
    weights = rule.constrain(start).repeat(pairs.n_users, 1)
    covariances: Tensor | None = None
    # a mixture holds the gaps once for each kind of user
    width = (rewards.shape[1] + 2) * rule.gap_copies
    most = CACHED_GAPS if rewards.device.type == "cpu" else MAX_CELLS
    with torch.no_grad():
        for users in length_buckets(pairs.counts, max(1, most // width)):
            index, present = pack_users(pairs.offsets, users)
            gaps = pairs.gaps(rewards, index)
            if not bool(present.all()):
                gaps *= present.to(gaps.dtype).unsqueeze(-1)
            mask, held = pairs.packed(index, present, gaps.dtype)
            weights[users] = rule.adapt(start, gaps, mask, rule_params, held)
            if with_covariance:
                found = rule.covariance(weights[users], start, gaps, mask, rule_params, held)
                if found is not None:
                    if covariances is None:
                        covariances = found.new_empty(pairs.n_users, *found.shape[1:])
                    covariances[users] = found
    return weights, covariances


def mean_by_user(values: Tensor, pairs: Pairs) -> Tensor:
    """Weighted mean of a value of each pair over each user's pairs, (n_users,); NaN for a user without pairs."""
    total = values.new_zeros(pairs.n_users).index_add_(0, pairs.user, pairs.weighed(values))
    totals = pairs.totals
    return total / torch.where(totals > 0, totals, torch.nan).to(values.dtype)


def query_losses(weights: Tensor, rewards: Tensor, query: Pairs) -> Tensor:
    """Mean log loss of each user's query pairs in nats, (n_users,); NaN for a user without query pairs."""
    margins = query.beyond((query.gaps(rewards) * weights[query.user]).sum(1))
    return mean_by_user(sides_loss(query, margins), query)
