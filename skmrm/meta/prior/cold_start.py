r"""What is known of users before their first choice: the prior's mean as a linear function of their features.

.. math:: w_u \sim \mathcal N(w_0 + L \Gamma z_u, \; \Sigma), \qquad \Sigma = L L^\top ,

with standardised features z of user u, so that :math:`\Gamma` is in standard deviations of the prior for one of a
feature. It minimises the mean loss of all choices,

.. math:: \frac1n \sum_p \mathrm{softplus}\big(T_p - (w_0 + L \Gamma z_{u_p}) \cdot g_p\big)
    + \tfrac\lambda2 \lVert \Gamma \rVert^2 ,

as w_0 is learnt: what is best for a user of whom nothing else is known. (Losses averaged over the prior, by shrinking
margins as MacKay's approximation has it, give larger effects: worse at 0, 3 and 20 choices on simulated users.) The
ridge is chosen on users left out, where no effect at all can win: it is taken unless another helps by more than a
standard error.

Source: A. Gelman, J. Hill: "Data Analysis Using Regression and Multilevel/Hierarchical Models", Cambridge 2007
(group-level predictors).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.tensors.factors import eigh
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["Effects", "user_effects"]

RIDGES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
N_FOLDS = 5
MIN_USERS = 20  # that tell something about what features do
MAX_STEPS = 60


class Effects(NamedTuple):
    r"""What features of users do to the mean of the prior.

    Attributes
    ----------
    matrix : Tensor of shape (n_bases, n_user_features) or None
        :math:`L \Gamma`; None for no effect.
    selection : list of dict
        Loss of users left out, before their first choice, for each ridge and without an effect; the chosen one marked.
    """

    matrix: Tensor | None
    selection: list[dict[str, Any]]


class _Design(NamedTuple):
    """Choices as what the effects act on: their gaps in units of the prior, and what margins are without any."""

    gaps: Tensor
    offset: Tensor
    weight: Tensor
    user: Tensor
    features: Tensor

    def where(self, users: Tensor) -> _Design:
        keep = users[self.user]
        return _Design(self.gaps[keep], self.offset[keep], self.weight[keep], self.user[keep], self.features)

    def losses(self, effects: Tensor) -> Tensor:
        """Of each choice, in nats."""
        return softplus(-(self.offset + (self.gaps * (self.features @ effects.T)[self.user]).sum(1))) * self.weight


def user_effects(
    pairs: Pairs, generator: torch.Generator, table: Tensor, start: Tensor, covariance: Tensor, features: Tensor
) -> Effects:
    """Choose how far features of users move the mean of the prior, and learn how.

    Parameters
    ----------
    pairs : Pairs
        Choices of the users.
    generator : torch.Generator
        On the CPU; draws the folds.
    table : Tensor of shape (n_items, n_bases)
        Base rewards.
    start : Tensor of shape (n_bases,)
        Mean of the prior.
    covariance : Tensor of shape (n_bases, n_bases)
        Of the prior.
    features : Tensor of shape (n_users, n_user_features)
        Standardised; zero where nothing is known.
    """
    active = torch.nonzero(pairs.counts > 0).squeeze(1)
    if len(active) < MIN_USERS or features.shape[1] == 0:
        return Effects(None, [])
    values, vectors = eigh(covariance.double())
    kept = values > 1e-6 * values.max().clamp_min(1e-30)
    root = vectors[:, kept] * values[kept].sqrt()
    design = _design(table, pairs, start.double(), root, features.double())
    folds = active[torch.randperm(len(active), generator=generator).to(active.device)].tensor_split(N_FOLDS)
    losses = design.offset.new_full((1 + len(RIDGES), pairs.n_users), torch.nan)
    for fold in folds:
        held_out = torch.zeros(pairs.n_users, dtype=torch.bool, device=active.device).index_fill_(0, fold, True)
        learnt, judged = design.where(~held_out), design.where(held_out)
        effects = root.new_zeros(root.shape[1], features.shape[1])
        for row, ridge in enumerate((math.inf, *RIDGES)):
            effects = effects if math.isinf(ridge) else _solve(learnt, ridge, effects)
            losses[row, fold] = _by_user(judged, judged.losses(effects))[fold]
    losses = losses[:, active]
    best = int(losses.mean(1).argmin())
    gain = losses[0] - losses[best]
    if not gain.mean() > gain.std() / len(gain) ** 0.5:
        best = 0
    selection = [
        {
            "setting": "no effect of user features"
            if math.isinf(ridge)
            else f"effect of user features, ridge={ridge:g}",
            "ridge": ridge,
            "validation_loss": float(loss),
            "chosen": row == best,
        }
        for row, (ridge, loss) in enumerate(zip((math.inf, *RIDGES), losses.mean(1), strict=True))
    ]
    if best == 0:
        return Effects(None, selection)
    effects = _solve(design, RIDGES[best - 1], root.new_zeros(root.shape[1], features.shape[1]))
    return Effects(root @ effects, selection)


def _design(table: Tensor, pairs: Pairs, start: Tensor, root: Tensor, features: Tensor) -> _Design:
    gaps = pairs.gaps(table).double()
    margins = pairs.beyond(gaps @ start)
    weight = pairs.shared_weight
    counted = torch.ones_like(margins) if weight is None else weight.double()
    return _Design(gaps @ root, margins, counted, pairs.user, features)


def _solve(design: _Design, ridge: float, start: Tensor) -> Tensor:
    """Effects of the smallest penalised mean loss, by L-BFGS."""
    effects = start.clone().requires_grad_()
    total = design.weight.sum()
    search = torch.optim.LBFGS([effects], max_iter=MAX_STEPS, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        search.zero_grad()
        value = design.losses(effects).sum() / total + ridge / 2 * (effects**2).sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(objective)
    return effects.detach()


def _by_user(design: _Design, losses: Tensor) -> Tensor:
    """Mean loss of each user, (n_users,); NaN for whom there is none."""
    zero = losses.new_zeros(len(design.features))
    return zero.index_add(0, design.user, losses) / zero.index_add(0, design.user, design.weight)
