"""Where the outer loop starts: at random, or from the pooled model and the directions in which users differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .adaptation import Adaptation, GradientAdaptation, MapAdaptation
from .basis import Parameters, init_basis
from .batching import Pairs
from .mixture import MixtureAdaptation
from .personal import Personal, PersonalBases
from .pooled import fit_pooled, row_space
from .selection import Setting, Split, choose_ridge, least_personalised, validate_settings
from .training import OuterOptions

__all__ = ["FitOptions", "Start", "random_start", "spectral_start"]

RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
DEFAULT_RIDGE = 0.1  # where no users can be left out to choose by
PRIOR_SCALES = (0.5, 1.0, 1.5, 2.0)
TEMPERINGS = (0.0, 0.5)
STEP_SIZES = (0.3, 1.0, 3.0, 10.0)
KINDS = (4, 8)
KIND_SCALES = (0.5, 1.0)
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

    candidates, more = _candidates(options, bool(folds))
    chosen, ridge, selection = candidates[0], DEFAULT_RIDGE, []
    first: Personal | None = None
    if folds:
        ridge, solutions, _ = choose_ridge(table, pairs, folds, RIDGES)
        learnt = [learn(~held_out, solution) for held_out, solution in zip(folds, solutions, strict=True)]
        judged = _judge(candidates, learnt, folds, table, pairs, splits)
        if more and judged.movement[judged.best] > 0:
            judged = judged.extended(_judge(more, learnt, folds, table, pairs, splits))
        chosen = judged.candidates[judged.best]
        selection = judged.report()
        first = learnt[0].of_kinds(chosen.n_components)
    pooled = fit_pooled(table, pairs, ridge)
    refit = learn(everyone, pooled).of_kinds(chosen.n_components)
    blind, final = (
        {"bases": found.bases @ span.T, "start": found.start} | _named(chosen.on(found).params)
        for found in (first or refit, refit)
    )
    if options.hidden_layers:
        hidden = _hidden_layers(wide, len(refit.bases), options, generator)
        blind, final = blind | hidden, final | hidden
    return Start(blind, final, chosen.rule, ridge, selection, span @ pooled)


def _hidden_layers(table: Tensor, n_bases: int, options: FitOptions, generator: torch.Generator) -> Parameters:
    """Hidden layers that contribute nothing yet."""
    basis = init_basis(table.shape[1], n_bases, options.hidden_layers, generator, table)
    return {name: value for name, value in basis.items() if name.startswith("hidden.")}


@dataclass(frozen=True)
class _Candidate:
    """A strength of personalisation; with no strength, the inner rule as it was given."""

    name: str
    rule: Adaptation
    strength: float | None = None
    n_components: int = 1

    def on(self, found: Personal) -> Setting:
        """The rule's parameters for given base functions."""
        if self.strength is None:
            return Setting(self.name, self.rule, self.rule.init(len(found.bases), found.bases))
        parameter = "step_size" if isinstance(self.rule, GradientAdaptation) else "prior_scale"
        params = {parameter: self.strength * found.profile}
        return Setting(self.name, self.rule, params | (found.kinds if self.n_components > 1 else {}))


@dataclass(frozen=True)
class _Judged:
    """Cross-fitted losses (n_candidates, n_users) and movements (n_candidates,) of candidates."""

    candidates: list[_Candidate]
    losses: Tensor
    movement: Tensor

    @property
    def best(self) -> int:
        """The candidate to take."""
        return least_personalised(self.losses, self.movement)

    def extended(self, other: _Judged) -> _Judged:
        """With further candidates."""
        losses, movement = torch.cat([self.losses, other.losses]), torch.cat([self.movement, other.movement])
        return _Judged(self.candidates + other.candidates, losses, movement)

    def report(self) -> list[dict[str, Any]]:
        """One record a candidate."""
        judged = self.losses[:, ~self.losses.isnan().any(0)]
        change = judged - judged[0]
        return [
            {
                "setting": candidate.name,
                "validation_loss": float(judged[i].mean()),
                "change": float(change[i].mean()),
                "standard_error": float(change[i].std() / max(judged.shape[1], 1) ** 0.5),
                "movement": float(self.movement[i]),
                "chosen": i == self.best,
            }
            for i, candidate in enumerate(self.candidates)
        ]


def _judge(
    candidates: list[_Candidate],
    learnt: Sequence[PersonalBases],
    folds: Sequence[Tensor],
    table: Tensor,
    pairs: Pairs,
    splits: Sequence[Split],
) -> _Judged:
    """Judge candidates on each fold's users with what was learnt without them."""
    losses = table.new_full((len(candidates), pairs.n_users), torch.nan)
    movement = table.new_zeros(len(candidates))
    for n_components in sorted({candidate.n_components for candidate in candidates}):
        rows = [i for i, candidate in enumerate(candidates) if candidate.n_components == n_components]
        for held_out, personal in zip(folds, learnt, strict=True):
            found = personal.of_kinds(n_components)
            settings = [candidates[i].on(found) for i in rows]
            rewards = table @ found.bases.T
            loss, moved = validate_settings(settings, found.start, rewards, pairs, splits, held_out)
            losses[rows] = torch.where(held_out, loss, losses[rows])
            movement[rows] += moved / len(folds)
    return _Judged(candidates, losses, movement)


def _candidates(options: FitOptions, validated: bool) -> tuple[list[_Candidate], list[_Candidate]]:
    """Strengths of personalisation, "none" first, alone where nothing can be validated; and kinds, if any helps."""
    rule = options.rule
    if not options.choose_strength or not isinstance(rule, MapAdaptation | GradientAdaptation):
        return [_Candidate("given", rule)], []
    none = _Candidate("none", rule, 0.0)
    if not validated:
        return [none], []
    if isinstance(rule, GradientAdaptation):
        return [none, *(_Candidate(f"step_size={size:g}", rule, size) for size in STEP_SIZES)], []
    gaussian = [
        _Candidate(f"prior_scale={scale:g}, tempering={kappa:g}", replace(rule, tempering=kappa), scale)
        for scale in PRIOR_SCALES
        for kappa in TEMPERINGS
    ]
    kinds = [
        _Candidate(f"{n} kinds, prior_scale={scale:g}", MixtureAdaptation(n_components=n), scale, n)
        for n in KINDS
        for scale in KIND_SCALES
    ]
    return [none, *gaussian], kinds


def _named(rule_params: Parameters) -> Parameters:
    return {f"rule.{name}": value for name, value in rule_params.items()}
