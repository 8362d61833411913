"""The outer loop: what all users share, learnt by gradient steps through each user's adaptation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adaptation import Adaptation
from .basis import Parameters, base_rewards
from .batching import Pairs
from .epochs import pack_epoch, user_batches
from .inference import rule_parameters
from .outer_step import Adam, batch_gradient
from .selection import Setting, Split, validate_settings

__all__ = ["OuterOptions", "Trained", "learning_rate_factor", "meta_train"]

FIXED = ("mean", "scale")


@dataclass(frozen=True)
class OuterOptions:
    """Settings of the outer loop; see :class:`skmrm.MetaRewardModel` for their meaning."""

    users_per_batch: int = 64
    max_epochs: int = 20
    learning_rate: float = 1e-3
    warmup: float = 0.05
    max_gradient_norm: float = 1.0
    robust_ratio: float = 1.0
    robust_temperature: float | None = None
    patience: int = 3


@dataclass(frozen=True)
class Trained:
    """What the outer loop returns: the best parameters, and whether and how they came to be.

    Attributes
    ----------
    params : dict of Tensor
        Of the epoch with the smallest validation loss; of the last epoch where there are no validation users.
    history : list of dict
        One an epoch; epoch 0 is the state before training.
    best_epoch : int
        The epoch whose parameters these are.
    gain : float
        Mean decrease of the validation users' loss since epoch 0, in nats.
    gain_error : float
        Its standard error over users.
    """

    params: Parameters
    history: list[dict[str, Any]]
    best_epoch: int
    gain: float
    gain_error: float


def learning_rate_factor(step: int, total_steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then half a cosine down to zero."""
    warmup_steps = int(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total_steps - warmup_steps)))


def meta_train(
    params: Parameters,
    rule: Adaptation,
    table: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    trained: Tensor,
    validated: Tensor,
    validation_splits: list[Split],
    options: OuterOptions,
    generator: torch.Generator,
    progress: Callable[[dict[str, Any]], None] = lambda record: None,
    stop_after: int | None = None,
) -> Trained:
    """Minimise the robust aggregate of the users' query losses over all shared parameters.

    Parameters
    ----------
    params : dict of Tensor
        Where to start; not changed.
    rule : Adaptation
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
        All users' pairs.
    draw_split : callable
        Gives a new random support/query split of all pairs, once an epoch.
    trained, validated : bool Tensor of shape (n_users,)
        Users to learn from and users to stop by.
    validation_splits : list of Split
        Fixed splits for the validation users.
    options : OuterOptions
    generator : torch.Generator
        Order of the users.
    progress : callable
        Called with each epoch's record.
    stop_after : int, optional
        Stop after so many epochs of the schedule, to repeat on all users what validation users were needed to stop.
    """
    learnt = {name: value for name, value in params.items() if name not in FIXED and value.is_floating_point()}
    adam = Adam(learnt)
    current = params | adam.params
    total_steps = options.max_epochs * math.ceil(int(trained.sum()) / options.users_per_batch)
    validate = _Validation(rule, table, pairs, validation_splits, validated)

    first = validate(current)
    best, best_losses, best_epoch = adam.values.clone(), first, 0
    history = [_record(0, None, first, 0.0)]
    progress(history[0])
    for epoch in range(1, (options.max_epochs if stop_after is None else stop_after) + 1):
        split = draw_split()
        learners = torch.nonzero(trained & split.judged(pairs)).squeeze(1)
        counts = pairs.where(split.support | split.query).counts
        batches = list(user_batches(learners, options.users_per_batch, generator, counts))
        total, rate = table.new_zeros((), dtype=params["start"].dtype), 0.0
        with torch.no_grad():
            for batch in pack_epoch(pairs, split, batches, params["start"].dtype):
                rate = options.learning_rate * learning_rate_factor(adam.n_steps, total_steps, options.warmup)
                losses, gradient = batch_gradient(
                    current, rule, table, batch, options.robust_ratio, options.robust_temperature
                )
                adam.step(gradient, rate, options.max_gradient_norm)
                total += losses.sum()
        found = validate(current)
        history.append(_record(epoch, float(total) / max(learners.numel(), 1), found, rate))
        progress(history[-1])
        if first.isnan().all() or float(found.nanmean()) < float(best_losses.nanmean()):
            best, best_losses, best_epoch = adam.values.clone(), found, epoch
        elif epoch - best_epoch >= options.patience:
            break
    gain = (first - best_losses)[~(first - best_losses).isnan()]
    error = float(gain.std() / gain.numel() ** 0.5) if gain.numel() > 1 else math.inf
    adam.values.copy_(best)
    return Trained(params | adam.params, history, best_epoch, float(gain.mean()) if gain.numel() else math.nan, error)


class _Validation:
    """Query loss of the validation users, (n_users,), NaN of all others; reads no item but theirs."""

    def __init__(self, rule: Adaptation, table: Tensor, pairs: Pairs, splits: list[Split], users: Tensor) -> None:
        self._rule, self._users = rule, users
        asked = users[pairs.user] if splits else torch.zeros_like(pairs.chosen, dtype=torch.bool)
        own = pairs.where(asked)
        items, places = torch.unique(torch.cat([own.chosen, own.rejected]), return_inverse=True)
        self._table, self._items = table, items
        chosen, rejected = places.tensor_split(2)
        self._pairs = Pairs(chosen, rejected, own.offsets)
        self._splits = [Split(split.support[asked], split.query[asked], split.half[asked]) for split in splits]

    def __call__(self, params: Parameters) -> Tensor:
        if not self._splits:
            return params["start"].new_full((self._pairs.n_users,), torch.nan)
        current = Setting("current", self._rule, rule_parameters(params))
        with torch.no_grad():
            rewards = base_rewards(params, self._table[self._items].to(params["bases"].dtype))
            losses, _ = validate_settings([current], params["start"], rewards, self._pairs, self._splits, self._users)
        return losses[0]


def _record(epoch: int, training_loss: float | None, validation: Tensor, learning_rate: float) -> dict[str, Any]:
    known = validation[~validation.isnan()]
    return {
        "epoch": epoch,
        "training_loss": training_loss,
        "validation_loss": float(known.mean()) if known.numel() else None,
        "learning_rate": learning_rate,
    }
