r"""Weights on the simplex, fitted to a user's pairs alone: the most likely mixture of the base rewards.

.. math:: w_u = \arg\min_{w \in \Delta} \frac{\sum_p m_p \, \mathrm{softplus}(T_p - w \cdot g_p)}{\sum_p m_p},
    \qquad \Delta = \{w \ge 0, \ \textstyle\sum_k w_k = 1\}.

The problem is convex, and its optimum has exact zeros: a few pairs put most users on a face of the simplex.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skmrm.meta.adaptation.rule import InnerRule, RuleParameters
from skmrm.meta.objectives import beyond, normalised, pair_margins
from skmrm.meta.tensors.factors import eigh

__all__ = ["SimplexAdaptation", "project_to_simplex"]


def project_to_simplex(points: Tensor) -> Tensor:
    """Nearest point of the simplex to each row, by sorting (Held, Wolfe and Crowder 1974).

    Parameters
    ----------
    points : Tensor of shape (..., n_bases)
    """
    # the projection does not change when a row moves by a constant; near zero, 1 is not lost to rounding
    points = points - points.amax(-1, keepdim=True)
    ordered = points.sort(-1, descending=True).values
    ranks = torch.arange(1, points.shape[-1] + 1, dtype=points.dtype, device=points.device)
    level = (ordered.cumsum(-1) - 1) / ranks
    support = (ordered > level).sum(-1, keepdim=True)
    return (points - level.gather(-1, support - 1)).clamp_min(0)


@dataclass(frozen=True)
class SimplexAdaptation(InnerRule):
    """Maximum likelihood on the simplex, to convergence, by accelerated projected gradient.

    Each user's step size is the inverse of a bound on the curvature of the user's own loss, and momentum starts anew
    where it points uphill (O'Donoghue and Candès 2015), so that there is nothing to tune. The start is used by users
    without pairs; where pairs leave a direction undecided, weights stay at the start's. No gradient flows through it.

    Parameters
    ----------
    max_steps : int > 0
        Steps at most.
    tolerance : float > 0, optional
        Stop when a step changes no weight by more; the default is 1e-10 in double and 1e-6 in single precision.
    """

    max_steps: int = 2000
    tolerance: float | None = None

    @property
    def is_constrained(self) -> bool:
        """Weights live on the simplex."""
        return True

    def init(self, n_bases: int, like: Tensor) -> RuleParameters:
        """Nothing is learnt."""
        return {}

    def constrain(self, start: Tensor) -> Tensor:
        """The start lies on the simplex."""
        return start

    @torch.no_grad()
    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        """Most likely weights; see :class:`skmrm.meta.adaptation.Adaptation`."""
        tolerance = self.tolerance or (1e-10 if gaps.dtype == torch.float64 else 1e-6)
        share = normalised(mask)
        step = _step_sizes(gaps, share)
        weights = start.expand(gaps.shape[0], -1)
        ahead, age = weights, torch.ones_like(step)
        for _ in range(self.max_steps):
            pull = torch.sigmoid(-beyond(pair_margins(ahead, gaps), threshold)) * share
            moved = project_to_simplex(ahead + step * torch.einsum("up,upk->uk", pull, gaps))
            uphill = ((ahead - moved) * (moved - weights)).sum(-1, keepdim=True) > 0
            age = torch.where(uphill, 1.0, age)
            older = 0.5 * (1 + (1 + 4 * age**2).sqrt())
            change = (moved - ahead).abs().max() if moved.numel() else 0.0
            ahead = torch.where(uphill, moved, moved + (age - 1) / older * (moved - weights))
            weights, age = moved, older
            if change <= tolerance:
                break
        return torch.where(step > 0, weights, start)  # without pairs to the bit, which the projection rounds

    def covariance(
        self,
        weights: Tensor,
        start: Tensor,
        gaps: Tensor,
        mask: Tensor,
        params: RuleParameters,
        threshold: Tensor | None = None,
    ) -> Tensor | None:
        """Maximum likelihood defines no posterior."""
        return None


def _step_sizes(gaps: Tensor, share: Tensor) -> Tensor:
    """Inverse of the largest curvature that each user's loss can have, (users, 1); 0 for a user without pairs.

    Within the simplex only differences between base rewards count: what they have in common, often most of them, is
    taken off first, or steps would be far too short.
    """
    gaps = gaps - gaps.mean(-1, keepdim=True)
    curvature = 0.25 * eigh(gaps.transpose(-1, -2) @ (share.unsqueeze(-1) * gaps))[0][..., -1:]
    return torch.where(curvature > 0, 1 / curvature, 0.0)
