"""The outer loop: what all users share, learnt by gradient steps through each user's adaptation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adam import Adam
from skmrm.meta.adaptation import Adaptation
from skmrm.meta.adaptation.users import rule_parameters
from skmrm.meta.basis import Parameters, base_rewards
from skmrm.meta.folds import Split
from skmrm.meta.outer.epochs import pack_epoch, user_batches
from skmrm.meta.outer.keeper import KEEPS_NOTHING, Keeper
from skmrm.meta.outer.step import batch_gradient, gaps_in_turn, without_autograd
from skmrm.meta.outer.streaming import StreamedUsers
from skmrm.meta.prior.strength import Setting, validate_settings
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import map_rows

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
    interrupted : bool
        Whether the user ended it early.
    """

    params: Parameters
    history: list[dict[str, Any]]
    best_epoch: int
    gain: float
    gain_error: float
    interrupted: bool = False


def learning_rate_factor(step: int, total_steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then half a cosine down to zero."""
    warmup_steps = int(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * done))


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
    tell: Tell = tells_nobody,
    stop_after: int | None = None,
    keeper: Keeper = KEEPS_NOTHING,
    stage: str = "train",
    others: StreamedUsers | None = None,
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
    tell : Tell
        Is told of each epoch and its record; of a repetition, of the epochs alone.
    stop_after : int, optional
        Stop after so many epochs of the schedule, to repeat on all users what validation users were needed to stop.
    keeper : Keeper
        Is given the state after epochs, and goes on from what it has of the `stage`.
    stage : str
        Name of this training among those of a fit.
    others : StreamedUsers, optional
        Further users to learn from, streamed in every epoch after those in memory.

    Notes
    -----
    An interrupt (Ctrl-C) ends the training after the last whole epoch.
    """
    learnt = {name: value for name, value in params.items() if name not in FIXED and value.is_floating_point()}
    adam = Adam(learnt)
    current = params | adam.params
    sizes = [int(trained.sum()), *([] if others is None else others.block_sizes)]
    total_steps = options.max_epochs * sum(math.ceil(size / options.users_per_batch) for size in sizes)
    validate = _Validation(rule, table, pairs, validation_splits, validated)
    known = keeper.load(stage)
    if known is None:
        first = validate(current)
        state = OuterState(adam.values.clone(), first, first, 0, [_record(0, None, first, 0.0)])
    else:
        state = OuterState.restored(*known, adam, generator)
    name, n_epochs = "outer loop", options.max_epochs
    if stop_after is not None:
        name, n_epochs = "outer loop on all users", stop_after
    for record in state.history:
        tell(name, record["epoch"], n_epochs, record if stop_after is None else None)

    def learn(table: Tensor, pairs: Pairs, split: Split, users: Tensor) -> tuple[Tensor | float, float, int]:
        """Learn from some users: their summed losses, the last learning rate, how many they were."""
        learners = torch.nonzero(users & split.judged(pairs)).squeeze(1)
        counts = pairs.offsets_where(split.support | split.query).diff()
        batches = list(user_batches(learners, options.users_per_batch, generator, counts))
        total: Tensor | float = 0.0
        rate = 0.0
        with without_autograd(rule):
            packed = pack_epoch(pairs, split, batches, adam.values.dtype)
            gaps = gaps_in_turn(table, packed)
            for batch in packed:
                rate = options.learning_rate * learning_rate_factor(adam.n_steps, total_steps, options.warmup)
                # nothing here holds a batch's gaps when those of the next are made, where they lay
                losses, gradient = batch_gradient(
                    current, rule, table, batch, options.robust_ratio, options.robust_temperature, next(gaps)
                )
                adam.step(gradient, rate, options.max_gradient_norm)
                total = total + losses.sum()
        return total, rate, len(learners)

    def one_epoch() -> None:
        total, rate, n_users = learn(table, pairs, draw_split(), trained)
        for place, block in enumerate(() if others is None else others.blocks(), 1):
            tell(name, state.epoch + place / len(sizes), n_epochs)
            held = block.pairs.held_against(pairs.thresholds)
            everyone = torch.ones(block.pairs.n_users, dtype=torch.bool, device=table.device)
            more, rate, n = learn(block.table(params), held, block.draw_split(), everyone)
            total, n_users = total + more, n_users + n
        found = validate(current)
        state.add(_record(len(state.history), float(total) / max(n_users, 1), found, rate), found, adam.values)

    try:
        while state.epoch < n_epochs and state.epoch - state.best_epoch < options.patience:
            one_epoch()
            if keeper.due(state.epoch):
                keeper.save(stage, *state.kept(adam, generator))
            tell(name, state.epoch, n_epochs, state.history[-1] if stop_after is None else None)
    except KeyboardInterrupt:
        state.interrupted = True
    adam.values.copy_(state.best)
    return state.result(params | adam.params)


@dataclass
class OuterState:
    """Where the outer loop stands after an epoch.

    Attributes
    ----------
    best : Tensor
        Parameters, as one vector, of the epoch with the smallest validation loss; of the last one without validation.
    best_losses, first_losses : Tensor of shape (n_users,)
        Validation losses of that epoch, and before training.
    best_epoch : int
    history : list of dict
    interrupted : bool
    """

    best: Tensor
    best_losses: Tensor
    first_losses: Tensor
    best_epoch: int
    history: list[dict[str, Any]]
    interrupted: bool = False

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history) - 1

    def add(self, record: dict[str, Any], losses: Tensor, values: Tensor) -> None:
        """Take in an epoch."""
        self.history.append(record)
        if self.first_losses.isnan().all() or float(losses.nanmean()) < float(self.best_losses.nanmean()):
            self.best, self.best_losses, self.best_epoch = values.clone(), losses, self.epoch

    def kept(self, adam: Adam, generator: torch.Generator) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that another process needs to go on to the same bits."""
        tensors = {"best": self.best, "best_losses": self.best_losses, "first_losses": self.first_losses}
        tensors |= {"values": adam.values, "first": adam.first, "second": adam.second}
        tensors["generator"] = generator.get_state()
        return tensors, {"best_epoch": self.best_epoch, "history": self.history, "n_steps": adam.n_steps}

    @classmethod
    def restored(
        cls, tensors: dict[str, Tensor], facts: dict[str, Any], adam: Adam, generator: torch.Generator
    ) -> OuterState:
        """The inverse of `kept`: sets the optimiser and the generator as well."""
        for name in ("values", "first", "second"):
            getattr(adam, name).copy_(tensors[name])
        adam.n_steps = facts["n_steps"]
        generator.set_state(tensors["generator"].cpu())
        here = adam.values.device
        best, best_losses, first = (tensors[name].to(here) for name in ("best", "best_losses", "first_losses"))
        return cls(best, best_losses, first, facts["best_epoch"], list(facts["history"]))

    def result(self, params: Parameters) -> Trained:
        """What the outer loop returns, given the best parameters by name."""
        gain = self.first_losses - self.best_losses
        gain = gain[~gain.isnan()]
        error = float(gain.std() / gain.numel() ** 0.5) if gain.numel() > 1 else math.inf
        mean = float(gain.mean()) if gain.numel() else math.nan
        return Trained(params, self.history, self.best_epoch, mean, error, self.interrupted)


class _Validation:
    """Query loss of the validation users, (n_users,), NaN of all others; reads no item but theirs."""

    def __init__(self, rule: Adaptation, table: Tensor, pairs: Pairs, splits: list[Split], users: Tensor) -> None:
        self._rule, self._users = rule, users
        asked = users[pairs.user] if splits else torch.zeros_like(pairs.chosen, dtype=torch.bool)
        own = pairs.where(asked)
        items, places = torch.unique(torch.cat([own.chosen, own.rejected]), return_inverse=True)
        self._table, self._items = table, items
        chosen, rejected = places.tensor_split(2)
        self._pairs = replace(own, chosen=chosen, rejected=rejected)
        self._splits = [Split(split.support[asked], split.query[asked], split.half[asked]) for split in splits]

    def __call__(self, params: Parameters) -> Tensor:
        if not self._splits:
            return params["start"].new_full((self._pairs.n_users,), torch.nan)
        current = Setting("current", self._rule, rule_parameters(params))
        with torch.no_grad():
            rewards = map_rows(self._table[self._items], lambda rows: base_rewards(params, rows))
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
