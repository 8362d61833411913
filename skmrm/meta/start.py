"""Where the outer loop starts: at random, or from the pooled reward and the prior of how users differ from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation, InnerRule, MapAdaptation
from skmrm.meta.adaptation.rule import inner_rule
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.basis import Parameters, column_ranks, init_basis
from skmrm.meta.folds import ENOUGH_TO_WEIGH, N_SPLITS, CrossFit
from skmrm.meta.outer.loop import OuterOptions
from skmrm.meta.outer.streaming import StreamedUsers, refine_pooled
from skmrm.meta.pooled.choice import DEFAULT_RIDGE, POOLED_STAGE, Kernel, fit_pooled_reward
from skmrm.meta.pooled.features import PooledReward
from skmrm.meta.pooled.newton import fit_with_thresholds, row_space
from skmrm.meta.prior.directions import PriorLearner, PriorOptions
from skmrm.meta.prior.stacking import PRIOR_STAGE, Stacked, StackOptions, stack_priors
from skmrm.meta.prior.strength import SLACK, JudgedCandidates, choose_candidate, without_validation
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like, rows_times
from skmrm.meta.thresholds import with_thresholds

__all__ = ["SPECTRAL_STAGES", "FitOptions", "Start", "random_start", "spectral_start"]

SPECTRAL_STAGES = (POOLED_STAGE, PRIOR_STAGE)
RANDOM_BASES = 8  # where their number is left open and the start is random


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit; see :class:`skmrm.MetaRewardModel` for the meaning of those that it has.

    Attributes
    ----------
    n_own : int
        As of :class:`skmrm.meta.folds.CrossFit`.
    prior, stack : PriorOptions, StackOptions
    new_groups : bool
        Whether choices look at new groups as well as at new users.
    required_gain : float
        Standard errors by which the outer loop must help validation users to replace a spectral start: the epoch is the
        best of several, and best on the same users, so that one would let noise through (on real and noisy judgements
        it did, and cost a quarter of a point on new users; two did not).
    """

    n_bases: int | None = None
    n_own: int = 0
    kernel: Kernel = None
    rule: Adaptation = field(default_factory=MapAdaptation)
    choose_strength: bool = True
    spectral_init: bool = True
    validation_fraction: float = 0.2
    n_splits: int = N_SPLITS
    outer: OuterOptions = field(default_factory=OuterOptions)
    prior: PriorOptions = field(default_factory=PriorOptions)
    stack: StackOptions = field(default_factory=StackOptions)
    slack: tuple[float, float] = SLACK
    new_groups: bool = True
    required_gain: float = 2.0


@dataclass(frozen=True)
class Start:
    """Where the outer loop starts (`params`, blind to the validation users) and what is used if it earns nothing.

    Their bases are over the columns of `table` and `refit_table`: standardised features, and the kernel term of a
    pooled reward that has one. `pooled` is the one of the users of `refit`, with its thresholds; None at random. `data`
    is in the scales of features that were chosen, its choices with the thresholds that go with `refit`.
    """

    data: CrossFit
    table: Tensor
    params: Parameters
    refit_table: Tensor
    refit: Parameters
    rule: InnerRule
    ridge: float | None
    selection: list[dict[str, Any]]
    pooled: PooledReward | None = None
    pooled_thresholds: Tensor | None = None

    def refined(self, others: StreamedUsers) -> Start:
        """With others' pairs in the pooled solution of `refit`, where it is linear in the features."""
        pooled, ridge, data = self.pooled, self.ridge, self.data
        if pooled is None or ridge is None or math.isinf(ridge) or pooled.kernel is not None:
            return self
        better = replace(pooled, coefficients=refine_pooled(pooled, data.standardisation, data.pairs, others, ridge))
        bases = self.refit["bases"].clone()
        bases[0] = better.solution
        return replace(self, refit=self.refit | {"bases": bases}, pooled=better)


def random_start(data: CrossFit, options: FitOptions, generator: torch.Generator) -> Start:
    """Random base functions; a user starts with the same weight on each."""
    n_bases, rule = options.n_bases or RANDOM_BASES, inner_rule(options.rule)
    like = empty_like(data.table)
    bases = init_basis(data.table.shape[1], n_bases, generator, like)["bases"][:, column_ranks(data.table)]
    params = {"bases": bases} | {"start": rule.random_start(n_bases, like)} | _named(rule.init(n_bases, like))
    if data.pairs.side is not None:
        data = replace(data, pairs=fit_with_thresholds(row_space(data.table)[0], data.pairs, DEFAULT_RIDGE)[1])
    return Start(data, data.table, params, data.table, params, rule, None, [])


def spectral_start(data: CrossFit, options: FitOptions, generator: torch.Generator, tell: Tell = tells_nobody) -> Start:
    """Pooled Bradley-Terry and the prior of how users differ from it, its strength chosen on users left out."""
    found = fit_pooled_reward(data, None, options.kernel, tell)
    data = found.data
    tell(PRIOR_STAGE)
    seed = generator.initial_seed()

    def learner(users: Tensor, pooled: PooledReward, pairs: Pairs, fold: int) -> PriorLearner:
        keep = users[data.pairs.user]
        return PriorLearner(
            pooled.table,
            pairs,
            pooled.coefficients,
            [split.half[keep] for split in data.splits],
            options.n_bases,
            found.ridge,
            (seed, fold),
            options.prior,
        )

    rule = inner_rule(options.rule)
    some = data.to_weigh(ENOUGH_TO_WEIGH)
    others = [found.without(held_out) for held_out in some.folds]
    rewards = [found.features.reward(solution) for solution, _ in others]
    learners = [learner(~some.folds[fold], rewards[fold], pairs, fold) for fold, (_, pairs) in enumerate(others)]
    everyone = torch.ones(data.pairs.n_users, dtype=torch.bool, device=data.table.device)
    final = learner(everyone, found.reward, data.pairs, len(data.folds))
    judged: Stacked | JudgedCandidates | None = None
    if data.folds:
        if options.choose_strength and rule.is_gaussian:
            judged = stack_priors(learners, some, options.stack, tell)
        else:
            judged = choose_candidate(rule, options.choose_strength, learners, some, options.slack)
    chosen = without_validation(rule, options.choose_strength) if judged is None else judged

    def parameters(pooled: PooledReward, learner: PriorLearner) -> tuple[Parameters, InnerRule]:
        prior, rule, rule_params = chosen.under(learner)
        bases = prior.bases @ pooled.span.T
        return {"bases": bases, "start": prior.start} | _named(rule_params), rule

    refit, rule = parameters(found.reward, final)
    if chosen.personalises and data.pairs.side is not None:
        known = data.pairs.held_against(final.pairs.thresholds)
        data = replace(data, pairs=_as_adapted(known, refit, rule, found.reward, data.table))
    trains = bool(data.folds) and options.outer.max_epochs > 0
    first = parameters(rewards[0], learners[0])[0] if trains else refit
    return Start(
        data=data,
        table=(rewards[0] if trains else found.reward).columns(data.table),
        params=first,
        refit_table=found.reward.columns(data.table),
        refit=refit,
        rule=rule,
        ridge=found.ridge,
        selection=[] if judged is None else judged.report,
        pooled=found.reward,
        pooled_thresholds=found.data.pairs.thresholds,
    )


def _as_adapted(pairs: Pairs, params: Parameters, rule: InnerRule, pooled: PooledReward, table: Tensor) -> Pairs:
    """The pairs with the thresholds that are best for users' adapted rewards.

    Those that came with the prior are of a few sweeps of EM, after which users are not yet as far apart as they are: on
    simulated users 7 % too small, with as many choices as one likes, and 3 % then.
    """
    users = torch.nonzero(pairs.counts > 0).squeeze(1)
    some = torch.zeros(pairs.n_users, dtype=torch.bool, device=users.device)
    some[users[:: max(1, len(users) // ENOUGH_TO_WEIGH)]] = True
    few = pairs.where(some[pairs.user])
    rewards = rows_times(pooled.columns(table), params["bases"].T)
    weights, _ = adapt_users(params, rule, rewards, few)
    return pairs.held_against(with_thresholds(few, (few.gaps(rewards) * weights[few.user]).sum(1)).thresholds)


def _named(rule_params: Parameters) -> Parameters:
    return {f"rule.{name}": value for name, value in rule_params.items()}
