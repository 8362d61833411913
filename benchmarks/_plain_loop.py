"""The plain way: one user at a time, gradients by autograd. What the package is timed and checked against.

A stand-in for the paper's reference implementation, leaner than it: no data loaders and no copies of modules.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import logsigmoid

from skmrm.meta.batching import Pairs
from skmrm.meta.selection import Split
from skmrm.meta.training import OuterOptions, learning_rate_factor

__all__ = ["PlainModel", "plain_adapt", "plain_epochs"]


class PlainModel(nn.Module):
    """A linear layer of base functions, and logits of weights on the simplex; adapted by one step of Adam."""

    def __init__(self, bases: Tensor, start: Tensor, inner_lr: float = 1e-3) -> None:
        super().__init__()
        self.bases = nn.Linear(bases.shape[1], bases.shape[0], bias=False, dtype=bases.dtype)
        self.bases.weight.data.copy_(bases)
        self.logits = nn.Parameter(start.clone())
        self.inner_lr = inner_lr

    def forward(self, features: Tensor) -> Tensor:
        """Rewards (n,) of features (n, d)."""
        rewards: Tensor = self.bases(features) @ torch.softmax(self.logits, 0)
        return rewards

    def user_loss(self, logits: Tensor, chosen: Tensor, rejected: Tensor) -> Tensor:
        """Mean Bradley-Terry loss of one user's pairs, features (n_pairs, d) of both sides, under the user's logits."""
        better, worse = (functional_call(self, {"logits": logits}, (side,)) for side in (chosen, rejected))
        return -logsigmoid(better - worse).mean()

    def adapt(self, chosen: Tensor, rejected: Tensor, create_graph: bool) -> Tensor:
        """Logits after one step from a fresh state of Adam."""
        loss = self.user_loss(self.logits, chosen, rejected)
        (gradient,) = torch.autograd.grad(loss, self.logits, create_graph=create_graph)
        return self.logits - self.inner_lr * gradient / ((gradient**2).sqrt() + 1e-8)


def plain_epochs(
    model: PlainModel,
    table: Tensor,
    pairs: Pairs,
    epochs: Sequence[tuple[Split, Sequence[Tensor]]],
    options: OuterOptions,
) -> None:
    """Train in place.

    Parameters
    ----------
    model : PlainModel
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    epochs : sequence of (Split, sequence of int64 Tensor)
        Each epoch's split and its batches of users.
    options : OuterOptions
    """
    leaves = list(model.parameters())
    optimizer = torch.optim.Adam(leaves, lr=options.learning_rate)
    total_steps = options.max_epochs * len(epochs[0][1])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, total_steps, options.warmup)
    )
    offsets = pairs.offsets.tolist()
    for split, batches in epochs:
        for users in batches:
            losses = []
            for user in users.tolist():
                own = slice(offsets[user], offsets[user + 1])
                chosen, rejected = table[pairs.chosen[own]], table[pairs.rejected[own]]
                support, query = split.support[own], split.query[own]
                logits = model.adapt(chosen[support], rejected[support], create_graph=True)
                losses.append(model.user_loss(logits, chosen[query], rejected[query]))
            found = torch.stack(losses)
            with torch.no_grad():
                threshold = torch.quantile(found, 1 - options.robust_ratio)
                weights = torch.sigmoid((found - threshold) / (options.robust_temperature or 1.0))
            optimizer.zero_grad()
            ((weights * found).sum() / weights.sum()).backward()
            torch.nn.utils.clip_grad_norm_(leaves, options.max_gradient_norm)
            optimizer.step()
            schedule.step()


def plain_adapt(model: PlainModel, table: Tensor, pairs: Pairs, users: Sequence[int]) -> Tensor:
    """Weights (len(users), n_bases) of users adapted on all of their pairs, one after the other."""
    offsets = pairs.offsets.tolist()
    found = []
    for user in users:
        own = slice(offsets[user], offsets[user + 1])
        logits = model.adapt(table[pairs.chosen[own]], table[pairs.rejected[own]], create_graph=False)
        found.append(torch.softmax(logits.detach(), 0))
    return torch.stack(found)
