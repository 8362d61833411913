"""Where the outer loop starts: at random, or from the pooled model and the directions in which users differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .adaptation import Adaptation, GradientAdaptation, MapAdaptation
from .basis import Parameters, base_rewards, init_basis
from .batching import Pairs
from .pooled import fit_pooled
from .selection import Setting, Split, choose_ridge, least_personalised, spectral_parameters, validate_settings
from .training import OuterOptions

__all__ = ["FitOptions", "Start", "random_start", "spectral_start"]

RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
DEFAULT_RIDGE = 0.1  # where no users can be left out to choose by
PRIOR_SCALES = (0.5, 1.0, 1.5, 2.0)
TEMPERINGS = (0.0, 0.5)
STEP_SIZES = (0.3, 1.0, 3.0, 10.0)
# A user's reward may be sharper or flatter than the crowd's: prior standard deviation of the pooled reward's own
# weight.
POOLED_SCALE = 0.3


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit; see :class:`skmrm.MetaRewardModel` for their meaning."""

    n_bases: int = 8
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
    basis = init_basis(table.shape[1], options.n_bases, options.hidden_layers, generator, table)
    simplex = getattr(options.rule, "simplex", False)
    level = 0.0 if simplex else 1.0 / options.n_bases
    params = basis | {"start": table.new_full((options.n_bases,), level)}
    params |= _named(options.rule.init(options.n_bases, table))
    return Start(params, params, options.rule, None, [])


def spectral_start(
    table: Tensor,
    pairs: Pairs,
    splits: Sequence[Split],
    folds: Sequence[Tensor],
    options: FitOptions,
    generator: torch.Generator,
) -> Start:
    """Pooled Bradley-Terry and the directions in which users differ, their prior chosen on users left out."""
    everyone = torch.ones(pairs.n_users, dtype=torch.bool, device=table.device)
    settings = _candidates(options, table, bool(folds))
    wide, (table, span) = table, _row_space(table)
    chosen, ridge, selection = 0, DEFAULT_RIDGE, []
    first: Parameters | None = None
    if folds:
        ridge, solutions, _ = choose_ridge(table, pairs, folds, RIDGES)
        losses = table.new_full((len(settings), pairs.n_users), torch.nan)
        movement = table.new_zeros(len(settings))
        for held_out, solution in zip(folds, solutions, strict=True):
            params = spectral_parameters(table, pairs, solution, splits, ~held_out, options.n_bases, ridge)
            first = params if first is None else first
            rewards = base_rewards(params, table)
            found, moved = validate_settings(settings, params["start"], rewards, pairs, splits, held_out)
            losses = torch.where(held_out, found, losses)
            movement += moved / len(folds)
        chosen = least_personalised(losses, movement)
        selection = _report(settings, losses, movement, chosen)
    pooled = fit_pooled(table, pairs, ridge)
    refit = spectral_parameters(table, pairs, pooled, splits, everyone, options.n_bases, ridge)
    rest = _named(settings[chosen].params)
    if options.hidden_layers:
        rest |= _hidden_layers(wide, options, generator)
    blind, refit = (found | {"bases": found["bases"] @ span.T} | rest for found in (first or refit, refit))
    return Start(blind, refit, settings[chosen].rule, ridge, selection, span @ pooled)


def _row_space(table: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of the items in an orthonormal basis of what they span, and that basis (d, rank).

    With fewer items than features every solution lies in the items' span, where the ridge is the same: nothing is lost
    by working there.
    """
    n_items, n_features = table.shape
    if n_features <= n_items:
        return table, torch.eye(n_features, dtype=table.dtype, device=table.device)
    span, coordinates = torch.linalg.qr(table.T)
    return coordinates.T.contiguous(), span


def _hidden_layers(table: Tensor, options: FitOptions, generator: torch.Generator) -> Parameters:
    """Hidden layers that contribute nothing yet."""
    basis = init_basis(table.shape[1], options.n_bases, options.hidden_layers, generator, table)
    return {name: value for name, value in basis.items() if name.startswith("hidden.")}


def _candidates(options: FitOptions, table: Tensor, validated: bool) -> list[Setting]:
    """Strengths of personalisation to choose from, "none" first; only "none" where nothing can be validated."""
    rule, n_bases = options.rule, options.n_bases
    profile = table.new_ones(n_bases)
    if not options.choose_strength or not isinstance(rule, MapAdaptation | GradientAdaptation):
        return [Setting("given", rule, rule.init(n_bases, table))]
    if isinstance(rule, MapAdaptation):
        settings = [Setting("none", rule, {"prior_scale": table.new_zeros(n_bases)})]
        profile[0] = POOLED_SCALE
        settings += [
            Setting(
                f"prior_scale={scale:g}, tempering={tempering:g}",
                replace(rule, tempering=tempering),
                {"prior_scale": torch.cat([profile[:1], scale * profile[1:]])},
            )
            for scale in PRIOR_SCALES
            for tempering in TEMPERINGS
        ]
    else:
        settings = [Setting("none", rule, {"step_size": table.new_zeros(n_bases)})]
        profile[0] = POOLED_SCALE**2
        settings += [Setting(f"step_size={size:g}", rule, {"step_size": size * profile}) for size in STEP_SIZES]
    return settings if validated else settings[:1]


def _report(settings: Sequence[Setting], losses: Tensor, movement: Tensor, chosen: int) -> list[dict[str, Any]]:
    judged = losses[:, ~losses.isnan().any(0)]
    change = judged - judged[0]
    return [
        {
            "setting": setting.name,
            "validation_loss": float(judged[i].mean()),
            "change": float(change[i].mean()),
            "standard_error": float(change[i].std() / max(judged.shape[1], 1) ** 0.5),
            "movement": float(movement[i]),
            "chosen": i == chosen,
        }
        for i, setting in enumerate(settings)
    ]


def _named(rule_params: Parameters) -> Parameters:
    return {f"rule.{name}": value for name, value in rule_params.items()}
