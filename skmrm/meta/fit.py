"""One fit, from features to parameters: standardise, start, meta-train, and keep what helped users left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation
from skmrm.meta.basis import Parameters, init_standardisation, standardised_table
from skmrm.meta.folds import Split, group_folds, user_folds
from skmrm.meta.outer.keeper import KEEPS_NOTHING, Keeper
from skmrm.meta.outer.loop import Trained, meta_train
from skmrm.meta.outer.streaming import Others
from skmrm.meta.start import FitOptions, random_start, spectral_start
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["Fitted", "meta_fit"]


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


def _earned_its_place(trained: Trained) -> bool:
    """Meta-training replaces the spectral start only if it surely helped the validation users.

    The epoch is the best of several, and best on the same users: one standard error would let noise through (on real
    and noisy judgements it did, and cost a quarter of a point on new users; two did not).
    """
    return trained.gain > 2 * trained.gain_error
