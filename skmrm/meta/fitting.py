"""One fit, from features to parameters: standardise, start, meta-train, and keep what helped users left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation
from skmrm.meta.basis import Parameters, init_standardisation, standardised_table
from skmrm.meta.batching import Pairs
from skmrm.meta.checkpoints import KEEPS_NOTHING, Keeper
from skmrm.meta.kernel import unfolded
from skmrm.meta.selection import Split
from skmrm.meta.starts import FitOptions, random_start, spectral_start
from skmrm.meta.streaming import Others
from skmrm.meta.training import OuterOptions, Trained, meta_train

__all__ = ["Fitted", "group_folds", "meta_continue", "meta_fit", "user_folds"]

MIN_JUDGED_USERS = 8
MIN_GROUP_FOLDS = 4  # so that most groups are left to learn from
ENOUGH_VALIDATION_USERS = 1000


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
    pooled : Tensor of shape (d,) or (d + m,) or None
        The pooled solution on standardised features, and on bumps at landmarks where there are any; None without a
        spectral start.
    interrupted : bool
        Whether the user ended the outer loop early.
    """

    params: Parameters
    rule: Adaptation
    ridge: float | None
    selection: list[dict[str, Any]]
    history: list[dict[str, Any]]
    n_judged: int
    pooled: Tensor | None = None
    interrupted: bool = False


def meta_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    options: FitOptions,
    generator: torch.Generator,
    progress: Callable[[dict[str, Any]], None] = lambda record: None,
    keeper: Keeper = KEEPS_NOTHING,
    others: Others | None = None,
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
    keeper : Keeper
        Is given the outer loop's state after epochs, and goes on from what it has.
    others : Others, optional
        Further users, streamed: the pooled reward of a linear spectral start and the outer loop learn from them, too.
    """
    standardisation = init_standardisation(features)
    table = standardised_table(standardisation, features)
    splits = [draw_split() for _ in range(options.n_splits)]
    judged = torch.stack([split.judged(pairs) for split in splits]).all(0)
    folds = user_folds(judged, options.validation_fraction, generator)
    start = spectral_start if options.spectral_init else random_start
    new_groups = group_folds(pairs, len(folds), generator) if options.spectral_init else []
    found = start(table, pairs, splits, folds, new_groups, options, generator)
    if others is not None:
        found = found.refined(standardisation, pairs, others)

    validated = folds[0] if folds else torch.zeros_like(judged)
    history: list[dict[str, Any]] = []
    params, interrupted = found.refit, False
    can_earn = bool(folds) or not options.spectral_init
    if options.outer.max_epochs > 0 and can_earn and int(judged.sum()) > int(validated.sum()):
        nobody = torch.zeros_like(judged)

        def train(start: Parameters, table: Tensor, held_out: Tensor, stop_after: int | None = None) -> Trained:
            return meta_train(
                standardisation | start,
                found.rule,
                table,
                pairs,
                draw_split,
                ~held_out,
                held_out,
                splits if held_out.any() else [],
                options.outer,
                generator,
                progress if stop_after is None else lambda record: None,
                stop_after,
                keeper,
                "train" if stop_after is None else "repeat",
                others,
            )

        trained = train(found.params, found.table, validated)
        history, interrupted = trained.history, trained.interrupted
        if not options.spectral_init or (interrupted and _earned_its_place(trained)):
            params = trained.params
        elif _earned_its_place(trained):
            # the same number of epochs, from a start and on users that leave nobody out
            repeated = train(found.refit, found.refit_table, nobody, trained.best_epoch)
            interrupted = repeated.interrupted
            params = trained.params if interrupted else repeated.params
    params = standardisation | params
    if found.pooled is not None:
        params |= found.pooled.parameters(params["bases"])
    pooled = None if found.pooled is None else found.pooled.plain
    n_judged = int(judged.sum())
    return Fitted(params, found.rule, found.ridge, found.selection, history, n_judged, pooled, interrupted)


def meta_continue(
    params: Parameters,
    rule: Adaptation,
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    options: OuterOptions,
    generator: torch.Generator,
) -> tuple[Parameters, dict[str, Any] | None]:
    """One epoch of the outer loop over further users, from what others have taught.

    Parameters
    ----------
    params : dict of Tensor
        Of a fitted model.
    rule : Adaptation
    features : Tensor of shape (n_items, d)
        Raw features.
    pairs, draw_split, generator
        As of :func:`meta_fit`.
    options : OuterOptions
        Its number of epochs does not count.

    Returns
    -------
    params : dict of Tensor
    record : dict or None
        Of the epoch; None if no user has pairs on both sides of a split to learn from.
    """
    split = draw_split()
    everyone = split.judged(pairs)
    if not everyone.any():
        return params, None
    table, wide, fold = unfolded(params, standardised_table(params, features))
    nobody = torch.zeros_like(everyone)
    one = replace(options, max_epochs=1)
    trained = meta_train(wide, rule, table, pairs, lambda: split, everyone, nobody, [], one, generator)
    return params | trained.params | fold(trained.params["bases"]), trained.history[-1]


def user_folds(judged: Tensor, validation_fraction: float, generator: torch.Generator) -> list[Tensor]:
    """Disjoint sets of users to hold out, each a share of those that can be judged.

    A full cross-fit where users are few; of many, as many folds as hold enough users to choose by; none where users are
    too few to choose anything by, or where `validation_fraction` is 0.
    """
    users = torch.nonzero(judged).squeeze(1)
    if validation_fraction == 0 or users.numel() < MIN_JUDGED_USERS:
        return []
    shuffled = users[torch.randperm(users.numel(), generator=generator).to(users.device)]
    n_held_out = max(2, round(validation_fraction * users.numel()))
    if users.numel() < ENOUGH_VALIDATION_USERS:
        chunks = shuffled.tensor_split(max(2, users.numel() // n_held_out))
    else:
        chunks = shuffled.split(n_held_out)[: -(-ENOUGH_VALIDATION_USERS // n_held_out)]
    return [torch.zeros_like(judged).index_fill_(0, chunk, True) for chunk in chunks]


def group_folds(pairs: Pairs, n_folds: int, generator: torch.Generator) -> list[Tensor]:
    """For each fold of users, pairs (n_pairs,) bool of groups to hold out with it, so that both are new.

    None where groups are not known, or where most pairs are of a group that only their own user has met: whoever is new
    then brings new groups.
    """
    if pairs.group is None or n_folds == 0 or pairs.chosen.numel() == 0:
        return []
    group = torch.unique(pairs.group, return_inverse=True)[1]
    met = torch.unique(torch.stack([group, pairs.user]), dim=1)[0]
    n_users_of = torch.bincount(met)
    if float((n_users_of[group] > 1).float().mean()) < 0.5:
        return []
    fold = torch.randperm(len(n_users_of), generator=generator).to(group.device) % max(n_folds, MIN_GROUP_FOLDS)
    return [fold[group] == i for i in range(n_folds)]


def _earned_its_place(trained: Trained) -> bool:
    """Meta-training replaces the spectral start only if it surely helped the validation users.

    The epoch is the best of several, and best on the same users: one standard error would let noise through (on real
    and noisy judgements it did, and cost a quarter of a point on new users; two did not).
    """
    return trained.gain > 2 * trained.gain_error
