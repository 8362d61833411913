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

from skmrm.meta.adaptation import Adaptation, RuleParameters
from skmrm.meta.batching import Pairs
from skmrm.meta.inference import adapt_users, mean_by_user, query_losses
from skmrm.meta.pooled import Curvature, fit_pooled
from skmrm.meta.tables import rows_times, working

__all__ = [
    "Setting",
    "Split",
    "choose_ridge",
    "least_personalised",
    "new_group_losses",
    "new_user_losses",
    "validate_settings",
]


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
        support, query = (pairs.offsets_where(side).diff() for side in (self.support, self.query))
        return (support > 0) & (query > 0)


@dataclass(frozen=True)
class Setting:
    """An inner rule and its parameters, a candidate of the selection."""

    name: str
    rule: Adaptation
    params: RuleParameters


def choose_ridge(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], ridges: Sequence[float], new_groups: Sequence[Tensor] = ()
) -> tuple[float, list[Tensor], Tensor]:
    """Ridge with the smallest cross-fitted log loss of the pooled model, mean over users.

    Where users share groups (prompts, topics), the training users have judged the very responses that the held-out
    users judge: little ridge lets the model learn those by heart, at the cost of all others. Of the ridges that are as
    good as the best but for noise (two standard errors), the one is taken with the smallest loss of new users on new
    groups.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    folds : sequence of bool Tensor of shape (n_users,)
        Users held out together; each fold's model is fitted on all the others.
    ridges : sequence of float
        Candidates, from the strongest (the path is warm-started).
    new_groups : sequence of bool Tensor of shape (n_pairs,)
        For each fold, pairs of groups that are held out with its users; empty to choose by new users alone.

    Returns
    -------
    ridge : float
    solutions : list of Tensor of shape (d,)
        Each fold's pooled solution at that ridge.
    losses : Tensor of shape (len(ridges), n_users)
        NaN for users in no fold or without pairs.
    """
    paths, losses = new_user_losses(table, pairs, folds, ridges)
    best = int(losses.nanmean(1).argmin())
    as_good = _as_good(losses, best)
    if new_groups and len(as_good) > 1:
        apart = new_group_losses(table, pairs, folds, new_groups, [ridges[i] for i in as_good])
        best = as_good[int(apart.nanmean(1).argmin())]
    return ridges[best], [path[best] for path in paths], losses


def new_user_losses(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], ridges: Sequence[float]
) -> tuple[list[list[Tensor]], Tensor]:
    """Each fold's pooled solutions without its users, and the users' losses (n_ridges, n_users); NaN in no fold."""
    losses = working(table).new_full((len(ridges), pairs.n_users), torch.nan)
    paths = []
    for held_out in folds:
        outside = held_out[pairs.user]
        path, loss = _ridge_path(table, pairs, ~outside, outside, ridges)
        losses = torch.where(held_out, loss, losses)
        paths.append(path)
    return paths, losses


def new_group_losses(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], new_groups: Sequence[Tensor], ridges: Sequence[float]
) -> Tensor:
    """Losses (n_ridges, n_users) of each fold's users on its groups, of solutions that saw neither; NaN without any."""
    losses = working(table).new_full((len(ridges), pairs.n_users), torch.nan)
    for held_out, new in zip(folds, new_groups, strict=True):
        outside = held_out[pairs.user]
        _, loss = _ridge_path(table, pairs, ~(outside | new), outside & new, ridges)
        losses = torch.where(held_out, loss, losses)
    return losses


def _ridge_path(
    table: Tensor, pairs: Pairs, inside: Tensor, outside: Tensor, ridges: Sequence[float]
) -> tuple[list[Tensor], Tensor]:
    """Solutions from the pairs `inside`, and the users' losses (n_ridges, n_users) on the pairs `outside`."""
    learnt, judged = pairs.where(inside), pairs.where(outside)
    curvature = Curvature(table, learnt)
    path: list[Tensor] = []
    losses = []
    for ridge in ridges:
        path.append(fit_pooled(table, learnt, ridge, curvature=curvature, start=path[-1] if path else None))
        reward = rows_times(table, path[-1])
        losses.append(mean_by_user(softplus(reward[judged.rejected] - reward[judged.chosen]), judged))
    return path, torch.stack(losses)


def _as_good(losses: Tensor, best: int) -> list[int]:
    """Settings whose loss is within two standard errors of the best one's, paired over users; the best among them."""
    judged = losses[:, ~losses.isnan().any(0)]
    excess = judged - judged[best]
    error = excess.std(1) / judged.shape[1] ** 0.5
    return torch.nonzero(excess.mean(1) <= 2 * error.nan_to_num(0.0)).squeeze(1).tolist()


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
