"""Choices that only users left out can make: the ridge, and how far to let users move from the pooled model.

Everything is cross-fitted: each user's loss comes from a fit that never saw the user. Choosing the setting with the
smallest loss is itself noisy, so the least personalised setting within a standard error of the best is taken (Breiman
et al. 1984's rule, on paired differences): a whole one for "no adaptation", so that who personalises has a reason, and
half of one among the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .adaptation import Adaptation, RuleParameters
from .batching import Pairs
from .inference import adapt_users, mean_by_user, query_losses
from .pooled import Curvature, fit_pooled

__all__ = ["Setting", "Split", "choose_ridge", "least_personalised", "validate_settings"]


@dataclass(frozen=True)
class Split:
    """One random support/query split of every user's pairs, which share no group.

    Attributes
    ----------
    support, query : bool Tensor of shape (n_pairs,)
        Pairs to adapt on and to judge on; a pair may be in neither.
    half : bool Tensor of shape (n_pairs,)
        The whole support side, of which `support` may be a part.
    """

    support: Tensor
    query: Tensor
    half: Tensor

    def judged(self, pairs: Pairs) -> Tensor:
        """Users with at least one support and one query pair, (n_users,) bool."""
        return (pairs.where(self.support).counts > 0) & (pairs.where(self.query).counts > 0)


@dataclass(frozen=True)
class Setting:
    """An inner rule and its parameters, a candidate of the selection."""

    name: str
    rule: Adaptation
    params: RuleParameters


def choose_ridge(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], ridges: Sequence[float]
) -> tuple[float, list[Tensor], Tensor]:
    """Ridge with the smallest cross-fitted log loss of the pooled model, mean over users.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    folds : sequence of bool Tensor of shape (n_users,)
        Users held out together; each fold's model is fitted on all the others.
    ridges : sequence of float
        Candidates, from the strongest (the path is warm-started).

    Returns
    -------
    ridge : float
    solutions : list of Tensor of shape (d,)
        Each fold's pooled solution at that ridge.
    losses : Tensor of shape (len(ridges), n_users)
        NaN for users in no fold or without pairs.
    """
    losses = table.new_full((len(ridges), pairs.n_users), torch.nan)
    paths = []
    for held_out in folds:
        inside = pairs.where(~held_out[pairs.user])
        outside = pairs.where(held_out[pairs.user])
        curvature = Curvature(table, inside)
        path: list[Tensor] = []
        for i, ridge in enumerate(ridges):
            solution = fit_pooled(table, inside, ridge, curvature=curvature, start=path[-1] if path else None)
            path.append(solution)
            reward = table @ solution
            loss = mean_by_user(softplus(reward[outside.rejected] - reward[outside.chosen]), outside)
            losses[i] = torch.where(held_out, loss, losses[i])
        paths.append(path)
    best = int(losses.nanmean(1).argmin())
    return ridges[best], [path[best] for path in paths], losses


def validate_settings(
    settings: Sequence[Setting], start: Tensor, rewards: Tensor, pairs: Pairs, splits: Sequence[Split], users: Tensor
) -> tuple[Tensor, Tensor]:
    """Query loss of each user under each setting, adapted on the user's own support.

    Parameters
    ----------
    settings : sequence of Setting
    start : Tensor of shape (n_bases,)
    rewards : Tensor of shape (n_items, n_bases)
    pairs : Pairs
    splits : sequence of Split
        Losses are averaged over them.
    users : bool Tensor of shape (n_users,)
        The users to judge.

    Returns
    -------
    losses : Tensor of shape (len(settings), n_users)
        In nats a pair; NaN for users not asked for or without a support and a query.
    movement : Tensor of shape (len(settings),)
        How personalised a setting is: root mean square of what adaptation adds to a pair's gap, in logits.
    """
    losses = rewards.new_zeros(len(settings), pairs.n_users)
    movement = rewards.new_zeros(len(settings))
    asked = users[pairs.user]
    for split in splits:
        support, query = pairs.where(split.support & asked), pairs.where(split.query & asked)
        judged = (support.counts > 0) & (query.counts > 0)
        gaps = query.gaps(rewards)
        for i, setting in enumerate(settings):
            params = {"start": start} | {f"rule.{name}": value for name, value in setting.params.items()}
            weights, _ = adapt_users(params, setting.rule, rewards, support)
            losses[i] += torch.where(judged, query_losses(weights, rewards, query), torch.nan)
            added = (gaps * (weights - setting.rule.constrain(start))[query.user]).sum(1)
            movement[i] += (added**2).mean().sqrt() if added.numel() else 0.0
    return losses / len(splits), movement / len(splits)


def least_personalised(losses: Tensor, movement: Tensor) -> int:
    """Index of the least personalised setting that is as good as the best but for noise.

    That is within half a standard error of the best, and a whole one for a setting that moves nobody.

    Parameters
    ----------
    losses : Tensor of shape (n_settings, n_users)
        NaN for users that were not judged.
    movement : Tensor of shape (n_settings,)
    """
    judged = losses[:, ~losses.isnan().any(0)]
    n_users = judged.shape[1]
    if n_users < 2:
        return int(movement.argmin())
    best = int(judged.mean(1).argmin())
    excess = judged - judged[best]
    slack = torch.where(movement > 0, 0.5, 1.0).to(excess)
    tolerated = excess.mean(1) <= slack * excess.std(1) / n_users**0.5
    return int(torch.where(tolerated, movement, torch.inf).argmin())
