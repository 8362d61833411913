r"""What is minimised: the Bradley-Terry loss of each user, and its robust aggregate over users (RPO).

For a user :math:`u` with weights :math:`w` and pairs with base-reward gaps :math:`g_p = \phi(chosen_p) -
\phi(rejected_p)`,

.. math:: L_u(w) = \frac{\sum_p m_p \, \mathrm{softplus}(\delta_p - w \cdot g_p)}{\sum_p m_p}

where :math:`m_p` is the weight of the pair (0 for padding) and :math:`\delta_p` what its margin is held against
(:mod:`skmrm.meta.thresholds`), 0 for a plain choice. The Robust
Personalization Objective (arXiv 2601.18731) weights each user of a batch by how hard the user is,

.. math:: \omega_u = \sigma\big((L_u - \tau) / \gamma\big), \qquad \tau = \text{the } (1 - \rho) \text{ quantile of } L.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["beyond", "bradley_terry_loss", "normalised", "pair_margins", "pair_sums", "robust_mean", "robust_weights"]


def pair_margins(weights: Tensor, gaps: Tensor) -> Tensor:
    """Reward of the chosen minus reward of the rejected response, in logits.

    Parameters
    ----------
    weights : Tensor of shape (users, bases)
    gaps : Tensor of shape (users, pairs, bases)

    Returns
    -------
    Tensor of shape (users, pairs)
    """
    return torch.bmm(weights.unsqueeze(1), gaps.mT).squeeze(1)  # many times as fast as gaps @ weights for wide gaps


def pair_sums(values: Tensor, gaps: Tensor) -> Tensor:
    """Gaps summed over each user's pairs, weighted by values (users, pairs): (users, bases)."""
    return torch.bmm(values.unsqueeze(1), gaps).squeeze(1)


def beyond(margins: Tensor, threshold: Tensor | None) -> Tensor:
    """Margins less what they are held against, where that is not zero throughout."""
    return margins if threshold is None else margins - threshold.to(margins.dtype)


def normalised(mask: Tensor) -> Tensor:
    """Pair weights that sum to one for each user, and to zero for a user without pairs."""
    total = mask.sum(-1, keepdim=True)
    return mask / (total + (total == 0))


def bradley_terry_loss(weights: Tensor, gaps: Tensor, mask: Tensor, threshold: Tensor | None = None) -> Tensor:
    """Mean negative log likelihood of each user's choices.

    Parameters
    ----------
    weights : Tensor of shape (users, bases)
    gaps : Tensor of shape (users, pairs, bases)
        Base rewards of the chosen minus those of the rejected response.
    mask : Tensor of shape (users, pairs)
        Weight of each pair; 0 for padding.
    threshold : Tensor of shape (users, pairs), optional
        By how many logits the chosen response is better, at least.

    Returns
    -------
    Tensor of shape (users,)
        In nats a pair; 0 for a user without pairs.
    """
    margins = beyond(pair_margins(weights, gaps), threshold)
    return (softplus(-margins) * normalised(mask)).sum(-1)


def robust_weights(losses: Tensor, ratio: float, temperature: float | None) -> Tensor:
    r"""Weight of each user in the outer loss, summing to one; constants to the optimiser.

    Parameters
    ----------
    losses : Tensor of shape (users,)
    ratio : float in (0, 1]
        :math:`\rho`, the share of users regarded as hard.
    temperature : float >= 0 or None
        :math:`\gamma`, in nats. None weights all users alike (the plain mean); 0 keeps only the users at or above
        the threshold.
    """
    losses = losses.detach()
    if temperature is None:
        return torch.full_like(losses, 1 / max(len(losses), 1))
    threshold = _quantile(losses, 1.0 - ratio)
    if temperature == 0:
        hardness = (losses >= threshold).to(losses.dtype)
    else:
        hardness = torch.sigmoid((losses - threshold) / temperature)
    return hardness / hardness.sum()


def robust_mean(losses: Tensor, ratio: float = 1.0, temperature: float | None = None) -> Tensor:
    """Robust aggregate of the users' losses: a mean in which hard-to-learn users count more."""
    return (robust_weights(losses, ratio, temperature) * losses).sum()


def _quantile(values: Tensor, share: float) -> Tensor:
    """As torch.quantile, at a fifth of its overhead."""
    place = share * (len(values) - 1)
    below = min(int(place), len(values) - 1)
    above = min(below + 1, len(values) - 1)
    ordered = values.sort().values
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
