"""The outer loop: what all users share, learnt by gradient steps through each user's adaptation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adaptation import Adaptation
from .basis import Parameters, base_rewards
from .batching import Pairs, pack_users
from .inference import rule_parameters
from .objectives import bradley_terry_loss, robust_mean
from .selection import Setting, Split, validate_settings

__all__ = ["OuterOptions", "Trained", "batch_losses", "learning_rate_factor", "meta_train", "user_batches"]

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


def user_batches(users: Tensor, users_per_batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffled users in batches; the last may be smaller."""
    yield from users[torch.randperm(users.numel(), generator=generator)].split(users_per_batch)


def batch_losses(
    params: Parameters, rule: Adaptation, table: Tensor, pairs: Pairs, split: Split, users: Tensor
) -> Tensor:
    """Query loss of each user of a batch after adaptation on its support: (len(users),), differentiable.

    Parameters
    ----------
    params : dict of Tensor
    rule : Adaptation
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
        Only pairs in the support or the query of `split`.
    split : Split
        Masks over the columns of `pairs`.
    users : int64 Tensor
    """
    index, present = pack_users(pairs.offsets, users)
    rows = index[present]
    flat = base_rewards(params, table[pairs.chosen[rows]]) - base_rewards(params, table[pairs.rejected[rows]])
    gaps = flat.new_zeros(*index.shape, flat.shape[-1])
    gaps[present] = flat
    support = (split.support[index] & present).to(flat.dtype)
    query = (split.query[index] & present).to(flat.dtype)
    weights = rule.adapt(params["start"], gaps, support, rule_parameters(params))
    return bradley_terry_loss(weights, gaps, query)


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
    leaves = {
        name: value.clone().requires_grad_(value.is_floating_point()) if name not in FIXED else value
        for name, value in params.items()
    }
    learnt = [value for name, value in leaves.items() if name not in FIXED]
    optimizer = torch.optim.Adam(learnt, lr=options.learning_rate)
    total_steps = options.max_epochs * math.ceil(int(trained.sum()) / options.users_per_batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, total_steps, options.warmup)
    )

    def validation() -> Tensor:
        if not validation_splits:
            return table.new_full((pairs.n_users,), torch.nan)
        current = Setting("current", rule, rule_parameters(leaves))
        with torch.no_grad():
            rewards = base_rewards(leaves, table)
            losses, _ = validate_settings([current], leaves["start"], rewards, pairs, validation_splits, validated)
        return losses[0]

    first = validation()
    best_losses, best_epoch = first, 0
    best = {name: value.detach().clone() for name, value in leaves.items()}
    history = [_record(0, None, first, 0.0)]
    progress(history[0])
    for epoch in range(1, (options.max_epochs if stop_after is None else stop_after) + 1):
        split = draw_split()
        used = split.support | split.query
        epoch_pairs = pairs.where(used)
        split = Split(split.support[used], split.query[used], split.half[used])
        learners = torch.nonzero(trained & split.judged(epoch_pairs)).squeeze(1)
        total, seen = 0.0, 0
        for users in user_batches(learners, options.users_per_batch, generator):
            optimizer.zero_grad(set_to_none=True)
            losses = batch_losses(leaves, rule, table, epoch_pairs, split, users)
            robust_mean(losses, options.robust_ratio, options.robust_temperature).backward()
            torch.nn.utils.clip_grad_norm_(learnt, options.max_gradient_norm)
            optimizer.step()
            schedule.step()
            total, seen = total + float(losses.detach().sum()), seen + users.numel()
        current = validation()
        history.append(_record(epoch, total / max(seen, 1), current, float(schedule.get_last_lr()[0])))
        progress(history[-1])
        improves = first.isnan().all() or float(current.nanmean()) < float(best_losses.nanmean())
        if improves:
            best_losses, best_epoch = current, epoch
            best = {name: value.detach().clone() for name, value in leaves.items()}
        elif epoch - best_epoch >= options.patience:
            break
    gain = (first - best_losses)[~(first - best_losses).isnan()]
    error = float(gain.std() / gain.numel() ** 0.5) if gain.numel() > 1 else math.inf
    return Trained(best, history, best_epoch, float(gain.mean()) if gain.numel() else math.nan, error)


def _record(epoch: int, training_loss: float | None, validation: Tensor, learning_rate: float) -> dict[str, Any]:
    known = validation[~validation.isnan()]
    return {
        "epoch": epoch,
        "training_loss": training_loss,
        "validation_loss": float(known.mean()) if known.numel() else None,
        "learning_rate": learning_rate,
    }
