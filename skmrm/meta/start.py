"""Where the outer loop starts: at random, or from the pooled model and the directions in which users differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation, MapAdaptation
from skmrm.meta.basis import Parameters, init_basis
from skmrm.meta.folds import Split
from skmrm.meta.outer.loop import OuterOptions
from skmrm.meta.outer.streaming import Others, refine_pooled
from skmrm.meta.pooled.choice import DEFAULT_RIDGE, RIDGES, Kernel, bent_where_it_helps, choose_ridge
from skmrm.meta.pooled.features import Features, Pooled
from skmrm.meta.pooled.newton import fit_pooled
from skmrm.meta.prior.directions import Personal, PersonalBases
from skmrm.meta.prior.strength import choose_strength, unvalidated
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import working

__all__ = ["FitOptions", "Start", "random_start", "spectral_start"]

RANDOM_BASES = 8  # where their number is left open and the start is random


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit; see :class:`skmrm.MetaRewardModel` for their meaning."""

    n_bases: int | None = None
    hidden_layers: tuple[int, ...] = ()
    kernel: Kernel = None
    rule: Adaptation = field(default_factory=MapAdaptation)
    choose_strength: bool = True
    spectral_init: bool = True
    validation_fraction: float = 0.2
    n_splits: int = 4
    outer: OuterOptions = field(default_factory=OuterOptions)


@dataclass(frozen=True)
class Start:
    """Where the outer loop starts (`params`, blind to the validation users) and what is used if it earns nothing.

    Their bases are over the columns of `table` and `refit_table`: standardised features, and the bend of a pooled
    reward that bends. `pooled` is the one of the users of `refit`; None at random.
    """

    table: Tensor
    params: Parameters
    refit_table: Tensor
    refit: Parameters
    rule: Adaptation
    ridge: float | None
    selection: list[dict[str, Any]]
    pooled: Pooled | None = None

    def refined(self, standardisation: Parameters, pairs: Pairs, others: Others) -> Start:
        """With others' pairs in the pooled solution of `refit`, where it is linear in features of full rank."""
        pooled, ridge = self.pooled, self.ridge
        if pooled is None or ridge is None or pooled.bend is not None or pooled.span.shape[0] != pooled.span.shape[1]:
            return self
        bases = self.refit["bases"].clone()
        bases[0] = refine_pooled(pooled.coefficients, standardisation, pooled.table, pairs, others, ridge)
        better = replace(pooled, coefficients=bases[0])
        return replace(self, refit=self.refit | {"bases": bases}, pooled=better)


def random_start(
    table: Tensor,
    pairs: Pairs,
    splits: Sequence[Split],
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    options: FitOptions,
    generator: torch.Generator,
) -> Start:
    """Random base functions; a user starts with the same weight on each."""
    n_bases = options.n_bases or RANDOM_BASES
    like = working(table)
    basis = init_basis(table.shape[1], n_bases, options.hidden_layers, generator, like)
    simplex = getattr(options.rule, "simplex", False)
    level = 0.0 if simplex else 1.0 / n_bases
    params = basis | {"start": like.new_full((n_bases,), level)}
    params |= _named(options.rule.init(n_bases, like))
    return Start(table, params, table, params, options.rule, None, [])


def spectral_start(
    table: Tensor,
    pairs: Pairs,
    splits: Sequence[Split],
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    options: FitOptions,
    generator: torch.Generator,
) -> Start:
    """Pooled Bradley-Terry and the prior of how users differ from it, its strength chosen on users left out."""
    everyone = torch.ones(pairs.n_users, dtype=torch.bool, device=table.device)
    features = Features(table)
    ridge, solutions = DEFAULT_RIDGE, list[Tensor]()
    if folds:
        ridge, solutions, _ = choose_ridge(features.table, pairs, folds, RIDGES, new_groups)
    features, solutions = bent_where_it_helps(
        table, features, solutions, pairs, folds, new_groups, ridge, options.kernel
    )
    without = [features.pooled(solution) for solution in solutions]
    pooled = features.pooled(fit_pooled(features.table, pairs, ridge))

    def learn(users: Tensor, pooled: Pooled) -> PersonalBases:
        keep = users[pairs.user]
        halves = [split.half[keep] for split in splits]
        return PersonalBases(
            pooled.table, pairs.where(keep), pooled.coefficients, halves, options.n_bases, ridge, generator
        )

    chosen = unvalidated(options.rule, options.choose_strength)
    selection: list[dict[str, Any]] = []
    blind: tuple[Pooled, Personal] | None = None
    if folds:
        learnt = [learn(~held_out, found) for held_out, found in zip(folds, without, strict=True)]
        judged = choose_strength(options.rule, options.choose_strength, learnt, folds, pairs, splits)
        chosen, selection = judged.chosen, judged.report()
        blind = without[0], learnt[0].of_kinds(chosen.n_components)
    final = pooled, learn(everyone, pooled).of_kinds(chosen.n_components)
    hidden = _hidden_layers(table, options, generator) if options.hidden_layers else {}

    def parameters(pooled: Pooled, found: Personal) -> Parameters:
        bases = found.bases @ pooled.span.T
        quiet = _silent(hidden, bases) if hidden else {}
        return {"bases": bases, "start": found.start} | _named(chosen.on(found).params) | hidden | quiet

    first = blind or final
    return Start(
        table=first[0].wide(table),
        params=parameters(*first),
        refit_table=pooled.wide(table),
        refit=parameters(*final),
        rule=chosen.rule,
        ridge=ridge,
        selection=selection,
        pooled=pooled,
    )


def _hidden_layers(table: Tensor, options: FitOptions, generator: torch.Generator) -> Parameters:
    """Hidden layers for any number of base functions."""
    basis = init_basis(table.shape[1], 1, options.hidden_layers, generator, working(table))
    return {name: value for name, value in basis.items() if name.startswith("hidden.")}


def _silent(hidden: Parameters, bases: Tensor) -> Parameters:
    """Hidden layers contribute nothing yet to these base functions."""
    return {"hidden.out": bases.new_zeros(len(bases), hidden["hidden.out"].shape[1])}


def _named(rule_params: Parameters) -> Parameters:
    return {f"rule.{name}": value for name, value in rule_params.items()}
