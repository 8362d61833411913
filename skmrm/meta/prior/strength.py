"""How far, and in what manner, to let users move from the pooled reward: candidates, judged on users left out.

Under MAP adaptation: not at all; a Gaussian prior, stretched or shrunk; and, if one of these helps, several kinds of
users. Under gradient adaptation: not at all, or by one of several step sizes.

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
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.users import adapt_users, query_losses
from skmrm.meta.folds import CrossFit, Split, first_least
from skmrm.meta.prior.directions import PriorBases, PriorLearner
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like, rows_times

__all__ = [
    "Candidate",
    "ChoiceOptions",
    "JudgedCandidates",
    "Setting",
    "choose_candidate",
    "least_personalised",
    "validate_settings",
    "without_validation",
]

KIND_SCALES = (0.5, 1.0)


@dataclass(frozen=True)
class ChoiceOptions:
    """Settings of the choice, for studies of what each part brings.

    Attributes
    ----------
    kinds : tuple of int
        Numbers of kinds of users that are tried.
    more_kinds : int
        Tried where the most of `kinds` are best.
    slack : (float, float)
        Standard errors within which "none", and any less personalised candidate, is taken in place of the best.
    """

    kinds: tuple[int, ...] = (4, 8)
    more_kinds: int = 16
    slack: tuple[float, float] = (1.0, 0.5)


DEFAULT_CHOICE = ChoiceOptions()


@dataclass(frozen=True)
class Candidate:
    """A strength of personalisation; with no strength, the inner rule as it was given."""

    name: str
    rule: InnerRule
    strength: float | None = None
    n_components: int = 1

    def under(self, prior: PriorBases) -> Setting:
        """The rule with its parameters, for the base functions of a prior."""
        if self.strength is None or self.rule.strength is None:
            return Setting(self.name, self.rule, self.rule.init(len(prior.bases), prior.bases))
        params = {self.rule.strength: self.strength * prior.scale}
        return Setting(self.name, self.rule, params | (prior.mixture if self.n_components > 1 else {}))


@dataclass(frozen=True)
class JudgedCandidates:
    """Cross-fitted losses (n_candidates, n_users) and movements (n_candidates,) of candidates."""

    candidates: list[Candidate]
    losses: Tensor
    movement: Tensor
    slack: tuple[float, float]

    @property
    def chosen(self) -> Candidate:
        """The candidate to take."""
        return self.candidates[self._best]

    @property
    def moves(self) -> bool:
        """Whether it personalises at all."""
        return bool(self.movement[self._best] > 0)

    def __add__(self, other: JudgedCandidates) -> JudgedCandidates:
        """With further candidates."""
        losses, movement = torch.cat([self.losses, other.losses]), torch.cat([self.movement, other.movement])
        return JudgedCandidates(self.candidates + other.candidates, losses, movement, self.slack)

    @property
    def _best(self) -> int:
        return least_personalised(self.losses, self.movement, self.slack)

    def report(self) -> list[dict[str, Any]]:
        """One record a candidate."""
        judged = self.losses[:, ~self.losses.isnan().any(0)]
        change, best = judged - judged[0], self._best
        return [
            {
                "setting": candidate.name,
                "validation_loss": float(judged[i].mean()),
                "change": float(change[i].mean()),
                "standard_error": float(change[i].std() / max(judged.shape[1], 1) ** 0.5),
                "movement": float(self.movement[i]),
                "chosen": i == best,
            }
            for i, candidate in enumerate(self.candidates)
        ]


def without_validation(rule: InnerRule, choose: bool) -> Candidate:
    """What to take where no user can be left out: the rule as given, or no adaptation where it was to be chosen."""
    return Candidate("none", rule, 0.0) if choose and rule.strengths else Candidate("given", rule)


def choose_candidate(
    rule: InnerRule,
    choose: bool,
    learners: Sequence[PriorLearner],
    data: CrossFit,
    options: ChoiceOptions = DEFAULT_CHOICE,
) -> JudgedCandidates:
    """Judge every candidate; the kinds of users only as long as there is reason to.

    Parameters
    ----------
    rule : InnerRule
    choose : bool
        False takes the rule as it is, and only reports its losses.
    learners : sequence of PriorLearner
        For each fold, what all others show.
    data : CrossFit
    options : ChoiceOptions
    """

    def judge(candidates: list[Candidate]) -> JudgedCandidates:
        return JudgedCandidates(candidates, *_judge(candidates, learners, data), options.slack)

    judged = judge(_candidates(rule, choose))
    if not choose or not rule.is_gaussian or not judged.moves:
        return judged
    for n_components in options.kinds:
        judged += judge(_kinds(n_components))
    most = max(options.kinds, default=0)
    return judged + judge(_kinds(options.more_kinds)) if judged.chosen.n_components == most else judged


def _candidates(rule: InnerRule, choose: bool) -> list[Candidate]:
    """Strengths of personalisation, "none" first."""
    first = without_validation(rule, choose)
    if first.strength is None:
        return [first]
    return [first, *(Candidate(f"{rule.strength}={factor:g}", rule, factor) for factor in rule.strengths)]


def _kinds(n: int) -> list[Candidate]:
    rule = MixtureAdaptation(n_components=n)
    return [Candidate(f"{n} kinds, prior_scale={scale:g}", rule, scale, n) for scale in KIND_SCALES]


def _judge(candidates: list[Candidate], learners: Sequence[PriorLearner], data: CrossFit) -> tuple[Tensor, Tensor]:
    """Losses and movements of candidates: each fold's users, with what was learnt without them."""
    losses = empty_like(learners[0].table).new_full((len(candidates), data.pairs.n_users), torch.nan)
    movement = losses.new_zeros(len(candidates))
    for n_components in sorted({candidate.n_components for candidate in candidates}):
        rows = [i for i, candidate in enumerate(candidates) if candidate.n_components == n_components]
        for held_out, learner in zip(data.folds, learners, strict=True):
            prior = learner.learn(n_components)
            settings = [candidates[i].under(prior) for i in rows]
            rewards = rows_times(learner.table, prior.bases.T)
            loss, moved = validate_settings(settings, prior.start, rewards, data.pairs, data.splits, held_out)
            losses[rows] = torch.where(held_out, loss, losses[rows])
            movement[rows] += moved / len(data.folds)
    return losses, movement


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


def least_personalised(losses: Tensor, movement: Tensor, slack: tuple[float, float] = DEFAULT_CHOICE.slack) -> int:
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
