r"""One reward for the whole crowd: pooled Bradley-Terry whose ridge users left out have chosen.

.. math:: r_u(z) = b \cdot z \ \text{ for every user } u, \qquad
    b = \arg\min_b \tfrac1n \textstyle\sum_p \mathrm{softplus}(-b \cdot g_p) + \tfrac\lambda2 \lVert b \rVert^2

with :math:`g_p` the difference of standardised features of pair p. :math:`\lambda` has the smallest log loss on users
that no fit has seen, mean over users, or on new prompts among what is as good for new users
(:func:`skmrm.meta.selection.choose_ridge`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import RuleParameters
from skmrm.meta.basis import init_standardisation, standardised_table
from skmrm.meta.batching import Pairs
from skmrm.meta.fitting import Fitted, group_folds, user_folds
from skmrm.meta.kernel import Features, Kernel, bent_where_it_helps
from skmrm.meta.pooled import fit_pooled
from skmrm.meta.selection import Split, choose_ridge
from skmrm.meta.starts import DEFAULT_RIDGE, RIDGES

__all__ = ["Crowd", "FixedAdaptation", "crowd_fit", "find_crowd"]

N_SPLITS = 4  # as many as meta_fit draws, so that the same seed holds out the same users


@dataclass(frozen=True)
class FixedAdaptation:
    """No adaptation: every user keeps the start, whatever the pairs."""

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Nothing is learnt."""
        return {}

    def constrain(self, start: Tensor) -> Tensor:
        """Weights are the start."""
        return start

    def adapt(self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters) -> Tensor:
        """The start for each user; see :class:`skmrm.meta.adaptation.Adaptation`."""
        return start.expand(gaps.shape[0], -1)

    def covariance(
        self, weights: Tensor, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters
    ) -> Tensor | None:
        """A reward that ignores its user knows nothing of how sure it is of one."""
        return None


@dataclass(frozen=True)
class Crowd:
    """The pooled solution, and the users, splits and folds that went into its choice.

    Attributes
    ----------
    standardisation : dict of Tensor
        ``mean`` and ``scale``, (d,) each.
    features : Features
    splits : list of Split
    folds : list of bool Tensor of shape (n_users,)
        Users held out together; empty where nothing can be validated.
    solution : Tensor of shape (rank,)
        The pooled solution b of all users.
    blind : list of Tensor of shape (rank,)
        For each fold, the solution without its users.
    ridge : float
    selection : list of dict
        Validation loss of each ridge, the chosen one marked.
    n_judged : int
        Users with pairs on both sides of every split.
    """

    standardisation: dict[str, Tensor]
    features: Features
    splits: list[Split]
    folds: list[Tensor]
    solution: Tensor
    blind: list[Tensor]
    ridge: float
    selection: list[dict[str, Any]]
    n_judged: int


def find_crowd(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    ridge: float | None,
    validation_fraction: float,
    generator: torch.Generator,
    kernel: Kernel = None,
) -> Crowd:
    """Standardise, hold users out, choose the ridge where it is None, and solve on all users.

    Parameters
    ----------
    features : Tensor of shape (n_items, d)
        Raw features of every distinct response.
    pairs : Pairs
        Choices of all users.
    draw_split : callable
        Gives a random group-disjoint support/query split.
    ridge : float > 0 or None
    validation_fraction : float in [0, 0.5]
    generator : torch.Generator
        Draws the folds.
    kernel : {"auto", "rbf"} or None
        Whether the reward may bend around landmarks; see :mod:`skmrm.meta.kernel`.
    """
    standardisation = init_standardisation(features)
    table = standardised_table(standardisation, features)
    found = Features(table)
    splits = [draw_split() for _ in range(N_SPLITS)]
    judged = torch.stack([split.judged(pairs) for split in splits]).all(0)
    folds = user_folds(judged, validation_fraction, generator)
    new_groups = group_folds(pairs, len(folds), generator)
    candidates = RIDGES if ridge is None else (ridge,)
    selection: list[dict[str, Any]] = []
    blind: list[Tensor] = []
    chosen = DEFAULT_RIDGE if ridge is None else ridge
    if folds:
        chosen, blind, losses = choose_ridge(found.table, pairs, folds, candidates, new_groups)
        selection = ridge_report(candidates, losses, chosen)
    found, blind = bent_where_it_helps(table, found, blind, pairs, folds, new_groups, chosen, kernel)
    solution = fit_pooled(found.table, pairs, chosen)
    return Crowd(standardisation, found, splits, folds, solution, blind, chosen, selection, int(judged.sum()))


def crowd_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    ridge: float | None,
    validation_fraction: float,
    generator: torch.Generator,
    kernel: Kernel = None,
) -> Fitted:
    """Pooled Bradley-Terry as a model of one base reward function; see :func:`find_crowd`."""
    crowd = find_crowd(features, pairs, draw_split, ridge, validation_fraction, generator, kernel)
    pooled = crowd.features.pooled(crowd.solution)
    params = crowd.standardisation | crowd_parameters(pooled.span @ pooled.coefficients)
    params |= pooled.parameters(params["bases"])
    return Fitted(params, FixedAdaptation(), crowd.ridge, crowd.selection, [], crowd.n_judged)


def crowd_parameters(solution: Tensor) -> dict[str, Tensor]:
    """The pooled solution as the only base function, of weight 1."""
    return {"bases": solution.unsqueeze(0), "start": solution.new_ones(1)}


def ridge_report(ridges: Sequence[float], losses: Tensor, chosen: float) -> list[dict[str, Any]]:
    """One record a ridge, from losses (n_ridges, n_users); NaN for users that were not judged."""
    return [
        {"setting": f"ridge={ridge:g}", "ridge": ridge, "validation_loss": float(loss), "chosen": ridge == chosen}
        for ridge, loss in zip(ridges, losses.nanmean(1), strict=True)
    ]
