"""One fit, from features to parameters: standardise, start, meta-train, and keep what helped users left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation
from skmrm.meta.basis import Parameters, base_rewards
from skmrm.meta.folds import Split, cross_fit
from skmrm.meta.outer.keeper import KEEPS_NOTHING, Keeper
from skmrm.meta.outer.loop import Trained, meta_train
from skmrm.meta.outer.streaming import StreamedUsers
from skmrm.meta.start import SPECTRAL_STAGES, FitOptions, random_start, spectral_start
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["Fitted", "apart_from_bar", "meta_fit", "stages"]


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
        The pooled solution on standardised features, and on the kernel at landmarks where there are any; None without a
        spectral start.
    interrupted : bool
        Whether the user ended the outer loop early.
    thresholds : Tensor of shape (n_grades,) or None
        Of ties and strengths, in logits; None where there were plain choices alone. With ratings, their cuts follow.
    pooled_thresholds : Tensor of shape (n_grades,) or None
        Those that go with `pooled`: one reward for all has less to say of each pair, and narrower ties.
    """

    params: Parameters
    rule: Adaptation
    ridge: float | None
    selection: list[dict[str, Any]]
    history: list[dict[str, Any]]
    n_judged: int
    pooled: Tensor | None = None
    interrupted: bool = False
    thresholds: Tensor | None = None
    pooled_thresholds: Tensor | None = None


def meta_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    options: FitOptions,
    generator: torch.Generator,
    tell: Tell = tells_nobody,
    keeper: Keeper = KEEPS_NOTHING,
    others: StreamedUsers | None = None,
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
    tell : Tell
        Is told of the stages of :func:`stages`, as they get on, and of each epoch's record.
    keeper : Keeper
        Is given the outer loop's state after epochs, and goes on from what it has.
    others : StreamedUsers, optional
        Further users, streamed: the pooled reward of a linear spectral start and the outer loop learn from them, too.
    """
    data = cross_fit(
        features,
        pairs,
        draw_split,
        options.validation_fraction,
        generator,
        n_splits=options.n_splits,
        new_groups=options.spectral_init and options.new_groups,
        n_own=options.n_own,
    )
    found = (
        spectral_start(data, options, generator, tell)
        if options.spectral_init
        else random_start(data, options, generator)
    )
    data = found.data
    if others is not None and options.spectral_init:
        tell("streamed users")
        found = found.refined(others)

    validated = data.folds[0] if data.folds else torch.zeros_like(data.judged)
    history: list[dict[str, Any]] = []
    params, interrupted = found.refit, False
    can_earn = bool(data.folds) or not options.spectral_init
    if options.outer.max_epochs > 0 and can_earn and data.n_judged > int(validated.sum()):
        nobody = torch.zeros_like(data.judged)

        def train(start: Parameters, table: Tensor, held_out: Tensor, stop_after: int | None = None) -> Trained:
            return meta_train(
                data.standardisation | start,
                found.rule,
                table,
                data.pairs,
                draw_split,
                ~held_out,
                held_out,
                data.splits if held_out.any() else [],
                options.outer,
                generator,
                tell,
                stop_after,
                keeper,
                "train" if stop_after is None else "repeat",
                others,
            )

        trained = train(found.params, found.table, validated)
        history, interrupted = trained.history, trained.interrupted
        earned = trained.gain > options.required_gain * trained.gain_error
        if not options.spectral_init or (interrupted and earned):
            params = trained.params
        elif earned:
            # the same number of epochs, from a start and on users that leave nobody out
            repeated = train(found.refit, found.refit_table, nobody, trained.best_epoch)
            interrupted = repeated.interrupted
            params = trained.params if interrupted else repeated.params
    params = data.standardisation | params
    if found.pooled is not None:
        params |= found.pooled.parameters(params["bases"])
    pooled = None if found.pooled is None else found.pooled.solution
    return Fitted(
        params,
        found.rule.given,
        found.ridge,
        found.selection,
        history,
        data.n_judged,
        pooled,
        interrupted,
        data.pairs.thresholds,
        found.pooled_thresholds,
    )


def stages(options: FitOptions, streamed: bool = False) -> list[str]:
    """What :func:`meta_fit` tells of, in order; it may leave out the outer loop, where it cannot help."""
    found = [*SPECTRAL_STAGES, *["streamed users"] * streamed] if options.spectral_init else []
    loop = ["outer loop", *["outer loop on all users"] * options.spectral_init]
    return found + loop * (options.outer.max_epochs > 0)


def apart_from_bar(fitted: Fitted, n_cuts: int) -> Fitted:
    """The same over features of items alone, with what rated responses are held against among the parameters.

    Those are ``bar`` (K,), the bar's base rewards, and ``cuts`` (n_cuts,) between the levels of a rating; and of the
    pooled reward, if there is one, ``pooled_bar`` (1,) and ``pooled_cuts``.
    """
    if n_cuts == 0:
        return fitted
    params, pooled, n_features = dict(fitted.params), fitted.pooled, len(fitted.params["mean"])
    at_bar = torch.zeros_like(params["mean"])
    at_bar[-1] = 1.0

    def with_cuts(name: str, thresholds: Tensor | None) -> Tensor | None:
        if thresholds is not None:
            params[f"{name}cuts"] = thresholds[-n_cuts:]
        told = None if thresholds is None else thresholds[:-n_cuts]
        return None if told is None or not told.any() else told  # of choices alone there is none

    params["bar"] = base_rewards(params, at_bar) if "bases" in params else at_bar
    if pooled is not None:
        alone = {"bases": pooled[None, :n_features]}
        if len(pooled) > n_features:
            alone |= {name: params[name] for name in ("kernel.points", "kernel.precision")}
            alone["kernel.out"] = pooled[None, n_features:]
        params["pooled_bar"] = base_rewards(alone, at_bar)
        pooled = torch.cat([pooled[: n_features - 1], pooled[n_features:]])
    for name in ("mean", "scale", "bases", "kernel.points"):
        if name in params:
            params[name] = params[name][..., :-1].contiguous()
    thresholds, pooled_thresholds = with_cuts("", fitted.thresholds), with_cuts("pooled_", fitted.pooled_thresholds)
    return replace(fitted, params=params, pooled=pooled, thresholds=thresholds, pooled_thresholds=pooled_thresholds)
