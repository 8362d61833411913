"""The plain way: one user at a time. What the package is timed and checked against.

For the paper's rule a stand-in for its reference implementation, leaner than it: gradients by autograd, no data loaders
and no copies of modules. For MAP two: gradients by autograd and LBFGS, as one would change that implementation; and the
textbook's Newton method by formula (iteratively reweighted least squares), in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import logsigmoid

from skmrm.meta.basis import Parameters
from skmrm.meta.folds import Split
from skmrm.meta.outer.loop import OuterOptions, learning_rate_factor
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["PlainModel", "plain_adapt", "plain_epochs", "plain_map_adapt", "plain_map_by_autograd"]


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


def plain_map_by_autograd(params: Parameters, table: Tensor, pairs: Pairs, users: Sequence[int]) -> Tensor:
    """Modes of the posterior (len(users), n_bases), as :func:`plain_map_adapt` finds them, without its formulas."""
    start, scale = params["start"], params["rule.prior_scale"]
    return torch.stack([_plain_lbfgs(gaps, start, scale) for gaps in _gaps_of_each(params, table, pairs, users)])


def plain_map_adapt(
    params: Parameters, table: Tensor, pairs: Pairs, users: Sequence[int], with_covariance: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Modes of the posterior of users adapted on all of their pairs, one after the other.

    Parameters
    ----------
    params : dict of Tensor
        ``bases``, ``start`` and ``rule.prior_scale``.
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    users : sequence of int
    with_covariance : bool
        Also return the inverse of the Hessian at the mode.

    Returns
    -------
    weights : Tensor of shape (len(users), n_bases)
    covariance : Tensor of shape (len(users), n_bases, n_bases) or None
    """
    start, precision = params["start"], params["rule.prior_scale"] ** -2
    weights, covariances = [], []
    for gaps in _gaps_of_each(params, table, pairs, users):
        mode = _plain_newton(gaps, start, precision)
        weights.append(mode)
        if with_covariance:
            covariances.append(torch.linalg.inv(_plain_hessian(torch.sigmoid(-(gaps @ mode)), gaps, precision)))
    return torch.stack(weights), torch.stack(covariances) if with_covariance else None


def _gaps_of_each(params: Parameters, table: Tensor, pairs: Pairs, users: Sequence[int]) -> Iterator[Tensor]:
    """Gaps of base rewards (n_pairs, n_bases) of one user after the other."""
    offsets = pairs.offsets.tolist()
    for user in users:
        own = slice(offsets[user], offsets[user + 1])
        yield (table[pairs.chosen[own]] - table[pairs.rejected[own]]) @ params["bases"].T


def _plain_lbfgs(gaps: Tensor, start: Tensor, scale: Tensor) -> Tensor:
    """Until LBFGS stops by itself."""
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=50, tolerance_change=1e-6, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -logsigmoid(gaps @ weights).sum() + 0.5 * (((weights - start) / scale) ** 2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weights.detach()


def _plain_newton(gaps: Tensor, start: Tensor, precision: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Whole steps until one moves no weight by more than the tolerance; its error is of the order of its square."""
    weights = start
    for _ in range(50):
        chance = torch.sigmoid(-(gaps @ weights))
        gradient = (weights - start) * precision - gaps.T @ chance
        step = torch.linalg.solve(_plain_hessian(chance, gaps, precision), gradient)
        weights = weights - step
        if step.abs().max() <= tolerance:
            break
    return weights


def _plain_hessian(chance: Tensor, gaps: Tensor, precision: Tensor) -> Tensor:
    return torch.diag(precision) + (gaps.T * (chance * (1 - chance))) @ gaps
