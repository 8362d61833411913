"""One fit from features to parameters: standardise, start, choose how far to personalise, meta-train, refit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .adaptation import Adaptation, GradientAdaptation, MapAdaptation
from .basis import Parameters, base_rewards, init_basis, init_standardisation, standardise
from .batching import Pairs
from .pooled import fit_pooled
from .selection import Setting, Split, choose_ridge, least_personalised, spectral_parameters, validate_settings
from .training import OuterOptions, Trained, meta_train

__all__ = ["FitOptions", "Fitted", "meta_fit", "user_folds"]

RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
DEFAULT_RIDGE = 0.1  # where no users can be left out to choose by
PRIOR_SCALES = (0.5, 1.0, 1.5, 2.0)
TEMPERINGS = (0.0, 0.5)
STEP_SIZES = (0.3, 1.0, 3.0, 10.0)
# A user's reward may be sharper or flatter than the crowd's: prior standard deviation of the pooled reward's own
# weight.
POOLED_SCALE = 0.3
MIN_JUDGED_USERS = 8
ENOUGH_VALIDATION_USERS = 1000


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
class Fitted:
    """Result of a fit.

    Attributes
    ----------
    params : dict of Tensor
        Standardisation, base functions, start and the inner rule's parameters.
    rule : Adaptation
        The inner rule, as chosen.
    ridge : float or None
        L2 penalty of the pooled solution; None without a spectral start.
    selection : list of dict
        Cross-fitted validation loss of every candidate strength of personalisation, the chosen one marked.
    history : list of dict
        One record an epoch of the outer loop.
    n_judged : int
        Users that could be held out to choose by.
    """

    params: Parameters
    rule: Adaptation
    ridge: float | None
    selection: list[dict[str, Any]]
    history: list[dict[str, Any]]
    n_judged: int


def meta_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    options: FitOptions,
    generator: torch.Generator,
    progress: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Fitted:
    """Learn the shared base reward functions and the start and prior of every user's weights.

    Parameters
    ----------
    features : Tensor of shape (n_items, d)
        Raw features of every distinct response.
    pairs : Pairs
        Choices of all users.
    draw_split : callable
        Gives a new random group-disjoint support/query split of all pairs.
    options : FitOptions
    generator : torch.Generator
        On the CPU; draws folds, batches and random starts.
    progress : callable
        Called with the record of each epoch.
    """
    standardisation = init_standardisation(features)
    table = standardise(standardisation, features)
    splits = [draw_split() for _ in range(options.n_splits)]
    judged = _judged_users(pairs, splits)
    folds = user_folds(judged, options.validation_fraction, generator)
    start = _spectral_start if options.spectral_init else _random_start
    found = start(table, pairs, splits, folds, options, generator)

    validated = folds[0] if folds else torch.zeros_like(judged)
    history: list[dict[str, Any]] = []
    params = found.refit
    can_earn = bool(folds) or not options.spectral_init
    if options.outer.max_epochs > 0 and can_earn and int(judged.sum()) > int(validated.sum()):
        trained = meta_train(
            standardisation | found.params,
            found.rule,
            table,
            pairs,
            draw_split,
            ~validated,
            validated,
            splits if folds else [],
            options.outer,
            generator,
            progress,
        )
        history = trained.history
        if not options.spectral_init or _earned_its_place(trained):
            params = trained.params
    return Fitted(standardisation | params, found.rule, found.ridge, found.selection, history, int(judged.sum()))


def user_folds(judged: Tensor, validation_fraction: float, generator: torch.Generator) -> list[Tensor]:
    """Disjoint sets of users to hold out, each a share of those that can be judged.

    One fold where it holds enough users by itself; a full cross-fit where users are few; none where they are too few
    to choose anything by, or where `validation_fraction` is 0.
    """
    users = torch.nonzero(judged).squeeze(1)
    if validation_fraction == 0 or users.numel() < MIN_JUDGED_USERS:
        return []
    shuffled = users[torch.randperm(users.numel(), generator=generator).to(users.device)]
    n_held_out = max(2, round(validation_fraction * users.numel()))
    n_folds = 1 if n_held_out >= ENOUGH_VALIDATION_USERS else max(2, users.numel() // n_held_out)
    chunks = [shuffled[:n_held_out]] if n_folds == 1 else shuffled.tensor_split(n_folds)
    return [torch.zeros_like(judged).index_fill_(0, chunk, True) for chunk in chunks]


@dataclass(frozen=True)
class _Start:
    """Where the outer loop starts (`params`, blind to the validation users) and what is used if it earns nothing."""

    params: Parameters
    refit: Parameters
    rule: Adaptation
    ridge: float | None
    selection: list[dict[str, Any]]


def _judged_users(pairs: Pairs, splits: Sequence[Split]) -> Tensor:
    judged = torch.ones(pairs.n_users, dtype=torch.bool, device=pairs.offsets.device)
    for split in splits:
        judged &= (pairs.where(split.support).counts > 0) & (pairs.where(split.query).counts > 0)
    return judged


def _earned_its_place(trained: Trained) -> bool:
    """Meta-training replaces the spectral start only if it helped validation users by more than one standard error."""
    return trained.gain > trained.gain_error


def _random_start(
    table: Tensor,
    pairs: Pairs,
    splits: Sequence[Split],
    folds: Sequence[Tensor],
    options: FitOptions,
    generator: torch.Generator,
) -> _Start:
    """Random base functions; a user starts with the same weight on each."""
    basis = init_basis(table.shape[1], options.n_bases, options.hidden_layers, generator, table)
    simplex = getattr(options.rule, "simplex", False)
    level = 0.0 if simplex else 1.0 / options.n_bases
    params = basis | {"start": table.new_full((options.n_bases,), level)}
    params |= _named(options.rule.init(options.n_bases, table))
    return _Start(params, params, options.rule, None, [])


def _spectral_start(
    table: Tensor,
    pairs: Pairs,
    splits: Sequence[Split],
    folds: Sequence[Tensor],
    options: FitOptions,
    generator: torch.Generator,
) -> _Start:
    """Pooled Bradley-Terry and the directions in which users differ, their prior chosen on users left out."""
    everyone = torch.ones(pairs.n_users, dtype=torch.bool, device=table.device)
    settings = _candidates(options, table, bool(folds))
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
        rest |= _hidden_layers(table, options, generator)
    return _Start((first or refit) | rest, refit | rest, settings[chosen].rule, ridge, selection)


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
