"""Where the outer loop starts: at random, or from the pooled model and the directions in which users differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .adaptation import Adaptation, MapAdaptation
from .basis import Parameters, init_basis
from .batching import Pairs
from .personal import Personal, PersonalBases
from .pooled import fit_pooled, row_space
from .selection import Split, choose_ridge
from .strength import choose_strength, unvalidated
from .training import OuterOptions

__all__ = ["FitOptions", "Start", "random_start", "spectral_start"]

RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
DEFAULT_RIDGE = 0.1  # where no users can be left out to choose by
RANDOM_BASES = 8  # where their number is left open and the start is random


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit; see :class:`skmrm.MetaRewardModel` for their meaning."""

    n_bases: int | None = None
    hidden_layers: tuple[int, ...] = ()
    rule: Adaptation = field(default_factory=MapAdaptation)
    choose_strength: bool = True
    spectral_init: bool = True
    validation_fraction: float = 0.2
    n_splits: int = 4
    outer: OuterOptions = field(default_factory=OuterOptions)


@dataclass(frozen=True)
class Start:
    """Where the outer loop starts (`params`, blind to the validation users) and what is used if it earns nothing.

    `pooled` is the pooled solution (d,) over the users of `refit`, on standardised features; None at random.
    """

    params: Parameters
    refit: Parameters
    rule: Adaptation
    ridge: float | None
    selection: list[dict[str, Any]]
    pooled: Tensor | None = None


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
    basis = init_basis(table.shape[1], n_bases, options.hidden_layers, generator, table)
    simplex = getattr(options.rule, "simplex", False)
    level = 0.0 if simplex else 1.0 / n_bases
    params = basis | {"start": table.new_full((n_bases,), level)}
    params |= _named(options.rule.init(n_bases, table))
    return Start(params, params, options.rule, None, [])


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
    wide, (table, span) = table, row_space(table)

    def learn(users: Tensor, pooled: Tensor) -> PersonalBases:
        keep = users[pairs.user]
        halves = [split.half[keep] for split in splits]
        return PersonalBases(table, pairs.where(keep), pooled, halves, options.n_bases, ridge, generator)

    chosen, ridge = unvalidated(options.rule, options.choose_strength), DEFAULT_RIDGE
    selection: list[dict[str, Any]] = []
    first: Personal | None = None
    if folds:
        ridge, solutions, _ = choose_ridge(table, pairs, folds, RIDGES, new_groups)
        learnt = [learn(~held_out, solution) for held_out, solution in zip(folds, solutions, strict=True)]
        judged = choose_strength(options.rule, options.choose_strength, learnt, folds, table, pairs, splits)
        chosen, selection = judged.chosen, judged.report()
        first = learnt[0].of_kinds(chosen.n_components)
    pooled = fit_pooled(table, pairs, ridge)
    refit = learn(everyone, pooled).of_kinds(chosen.n_components)
    blind, final = (
        {"bases": found.bases @ span.T, "start": found.start} | _named(chosen.on(found).params)
        for found in (first or refit, refit)
    )
    if options.hidden_layers:
        hidden = _hidden_layers(wide, options, generator)
        blind, final = (found | hidden | _silent(hidden, found["bases"]) for found in (blind, final))
    return Start(blind, final, chosen.rule, ridge, selection, span @ pooled)


def _hidden_layers(table: Tensor, options: FitOptions, generator: torch.Generator) -> Parameters:
    """Hidden layers for any number of base functions."""
    basis = init_basis(table.shape[1], 1, options.hidden_layers, generator, table)
    return {name: value for name, value in basis.items() if name.startswith("hidden.")}


def _silent(hidden: Parameters, bases: Tensor) -> Parameters:
    """Hidden layers contribute nothing yet to these base functions."""
    return {"hidden.out": bases.new_zeros(len(bases), hidden["hidden.out"].shape[1])}


def _named(rule_params: Parameters) -> Parameters:
    return {f"rule.{name}": value for name, value in rule_params.items()}
