"""How far to let users move from the pooled reward by an inner rule that has one strength: candidates, judged.

Under gradient adaptation: not at all, or by one of several step sizes. (Under MAP, priors are weighed instead:
:mod:`skmrm.meta.prior.stacking`.)

Everything is cross-fitted: each user's loss comes from a fit that never saw the user. Choosing the setting with the
smallest loss is itself noisy, so the least personalised setting within a standard error of the best is taken (Breiman
et al. 1984's rule, on paired differences): a whole one for "no adaptation", so that who personalises has a reason, and
half of one among the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation, InnerRule, RuleParameters
from skmrm.meta.adaptation.users import adapt_users, query_losses
from skmrm.meta.folds import CrossFit, Split, first_least
from skmrm.meta.prior.directions import BelievedPrior, PriorBases, PriorLearner
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like

__all__ = [
    "SLACK",
    "Candidate",
    "JudgedCandidates",
    "Setting",
    "choose_candidate",
    "least_personalised",
    "selection_report",
    "validate_settings",
    "without_validation",
]

SLACK = (1.0, 0.5)  # standard errors within which "none", and any less personalised candidate, is as good as the best


@dataclass(frozen=True)
class Candidate:
    """A strength of personalisation; with no strength, the inner rule as it was given."""

    name: str
    rule: InnerRule
    strength: float | None = None

    @property
    def personalises(self) -> bool:
        """Whether users may move."""
        return self.strength != 0

    def under(self, learner: PriorLearner) -> tuple[PriorBases, InnerRule, RuleParameters]:
        """Base functions, the rule and its parameters, from what a learner saw."""
        prior = learner.bases([BelievedPrior(learner.wide, 1.0, 1.0)])
        if self.strength is None or self.rule.strength is None:
            return prior, self.rule, self.rule.init(len(prior.bases), prior.bases)
        return prior, self.rule, {self.rule.strength: self.strength * prior.scale}


@dataclass(frozen=True)
class JudgedCandidates:
    """Cross-fitted losses (n_candidates, n_users) and movements (n_candidates,) of candidates."""

    candidates: list[Candidate]
    losses: Tensor
    movement: Tensor
    slack: tuple[float, float]

    @property
    def personalises(self) -> bool:
        """Whether users may move under the candidate to take."""
        return self.candidates[self._best].personalises

    def under(self, learner: PriorLearner) -> tuple[PriorBases, InnerRule, RuleParameters]:
        """What the candidate to take makes of a learner."""
        return self.candidates[self._best].under(learner)

    @property
    def _best(self) -> int:
        return least_personalised(self.losses, self.movement, self.slack)

    @property
    def report(self) -> list[dict[str, Any]]:
        """One record a candidate."""
        judged, best = self.losses[:, ~self.losses.isnan().any(0)], self._best
        chosen = [i == best for i in range(len(self.candidates))]
        names = [candidate.name for candidate in self.candidates]
        return selection_report(names, judged, self.movement.tolist(), list(map(float, chosen)), chosen)


def selection_report(
    names: Sequence[str],
    losses: Tensor,
    movement: Sequence[float],
    weights: Sequence[float | None],
    chosen: Sequence[bool],
) -> list[dict[str, Any]]:
    """One record a setting, from losses (n_settings, n_users) of users left out, "none" or what is given first."""
    change = losses - losses[0]
    return [
        {
            "setting": name,
            "validation_loss": float(losses[i].mean()),
            "change": float(change[i].mean()),
            "standard_error": float(change[i].std() / max(losses.shape[1], 1) ** 0.5),
            "movement": movement[i],
            "weight": weights[i],
            "chosen": chosen[i],
        }
        for i, name in enumerate(names)
    ]


def without_validation(rule: InnerRule, choose: bool) -> Candidate:
    """What to take where no user can be left out: the rule as given, or no adaptation where it was to be chosen."""
    return Candidate("none", rule, 0.0) if choose and rule.strengths else Candidate("given", rule)


def choose_candidate(
    rule: InnerRule,
    choose: bool,
    learners: Sequence[PriorLearner],
    data: CrossFit,
    slack: tuple[float, float] = SLACK,
) -> JudgedCandidates:
    """Judge every candidate: each fold's users, with what was learnt without them.

    Parameters
    ----------
    rule : InnerRule
    choose : bool
        False takes the rule as it is, and only reports its losses.
    learners : sequence of PriorLearner
        For each fold, what all others show.
    data : CrossFit
    slack : (float, float)
    """
    first = without_validation(rule, choose)
    more = rule.strengths if first.strength is not None else ()
    candidates = [first, *(Candidate(f"{rule.strength}={factor:g}", rule, factor) for factor in more)]
    losses = empty_like(data.table).new_full((len(candidates), data.pairs.n_users), torch.nan)
    movement = losses.new_zeros(len(candidates))
    for held_out, learner in zip(data.folds, learners, strict=True):
        found = [candidate.under(learner) for candidate in candidates]
        settings = [Setting(one.name, own, params) for one, (_, own, params) in zip(candidates, found, strict=True)]
        prior = found[0][0]
        rewards = learner.rewards_of(prior.bases)
        loss, moved = validate_settings(settings, prior.start, rewards, data.pairs, data.splits, held_out)
        losses = torch.where(held_out, loss, losses)
        movement += moved / len(data.folds)
    return JudgedCandidates(candidates, losses, movement, slack)


@dataclass(frozen=True)
class Setting:
    """An inner rule and its parameters, a candidate of the selection."""

    name: str
    rule: Adaptation
    params: RuleParameters


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


def least_personalised(losses: Tensor, movement: Tensor, slack: tuple[float, float] = SLACK) -> int:
    """Index of the least personalised setting that is as good as the best but for noise.

    That is, by default, within half a standard error of the best, and a whole one for a setting that moves nobody.

    Parameters
    ----------
    losses : Tensor of shape (n_settings, n_users)
        NaN for users that were not judged.
    movement : Tensor of shape (n_settings,)
    slack : (float, float)
        Standard errors, for a setting that moves nobody and for any other.
    """
    judged = losses[:, ~losses.isnan().any(0)]
    n_users = judged.shape[1]
    if n_users < 2:
        return first_least(movement)
    best = first_least(judged.mean(1))
    excess = judged - judged[best]
    errors = torch.where(movement > 0, slack[1], slack[0]).to(excess)
    tolerated = excess.mean(1) <= errors * excess.std(1) / n_users**0.5
    return first_least(torch.where(tolerated, movement, torch.inf))
