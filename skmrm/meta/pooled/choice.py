r"""One reward for the whole crowd: pooled Bradley-Terry whose ridge users left out have chosen.

.. math:: r_u(z) = b \cdot z \ \text{ for every user } u, \qquad
    b = \arg\min_b \tfrac1n \textstyle\sum_p \mathrm{softplus}(-b \cdot g_p) + \tfrac\lambda2 \lVert b \rVert^2

with :math:`g_p` the difference of standardised features of pair p. :math:`\lambda` has the smallest log loss on users
that no fit has seen, mean over users, or on new prompts among what is as good for new users
(:func:`skmrm.meta.pooled.choice.choose_ridge`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation.users import mean_by_user
from skmrm.meta.basis import init_standardisation, standardised_table
from skmrm.meta.folds import Split, group_folds, user_folds
from skmrm.meta.pooled.bumps import MAX_LANDMARKS, Landmarks, choose_landmarks
from skmrm.meta.pooled.features import Features
from skmrm.meta.pooled.newton import Curvature, fit_pooled
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import rows_times, working

__all__ = [
    "DEFAULT_RIDGE",
    "MAX_CELLS",
    "RIDGES",
    "Crowd",
    "Kernel",
    "bent_where_it_helps",
    "bumps_help",
    "choose_ridge",
    "find_crowd",
    "find_landmarks",
    "new_group_losses",
    "new_user_losses",
]

N_SPLITS = 4  # as many as meta_fit draws, so that the same seed holds out the same users


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
        Whether the reward may bend around landmarks; see :mod:`skmrm.meta.pooled.bumps`.
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


def ridge_report(ridges: Sequence[float], losses: Tensor, chosen: float) -> list[dict[str, Any]]:
    """One record a ridge, from losses (n_ridges, n_users); NaN for users that were not judged."""
    return [
        {"setting": f"ridge={ridge:g}", "ridge": ridge, "validation_loss": float(loss), "chosen": ridge == chosen}
        for ridge, loss in zip(ridges, losses.nanmean(1), strict=True)
    ]


Kernel = Literal["auto", "rbf"] | None


MAX_CELLS = 1 << 27  # of features and bumps side by side, to try bumps on: half a gigabyte in single precision


def bent_where_it_helps(
    table: Tensor,
    features: Features,
    solutions: list[Tensor],
    pairs: Pairs,
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    ridge: float,
    kernel: Kernel,
) -> tuple[Features, list[Tensor]]:
    """Features with bumps and each fold's pooled solution over them, or those without as they came.

    Parameters are those of :func:`find_landmarks`, and the features and solutions without bumps.
    """
    landmarks = find_landmarks(table, pairs, folds, new_groups, ridge, kernel)
    if landmarks is None:
        return features, solutions
    bent = Features(table, landmarks)
    return bent, [path[0] for path in new_user_losses(bent.table, pairs, folds, [ridge])[0]]


def find_landmarks(
    table: Tensor,
    pairs: Pairs,
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    ridge: float,
    kernel: Kernel,
) -> Landmarks | None:
    """Landmarks, if bumps are wanted and, under "auto", of use; see :func:`bumps_help`."""
    n_items, n_features = table.shape
    too_large = n_items * (n_features + MAX_LANDMARKS) > MAX_CELLS
    if kernel is None or n_items == 0 or (kernel == "auto" and (not folds or too_large)):
        return None
    landmarks = choose_landmarks(table)
    if kernel == "auto" and not bumps_help(table, landmarks, pairs, folds, new_groups, ridge):
        return None
    return landmarks


def bumps_help(
    table: Tensor,
    landmarks: Landmarks,
    pairs: Pairs,
    folds: Sequence[Tensor],
    new_groups: Sequence[Tensor],
    ridge: float,
) -> bool:
    """Whether the pooled reward of users left out gains by bumps, at the ridge of the linear one.

    By more than two standard errors, as the simpler model is to be kept unless there is reason not to. Where users
    share groups, losses on new groups count as much as those on known ones: bumps can learn responses by heart. One
    fold decides whether the others are looked at.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    landmarks : Landmarks
    pairs : Pairs
    folds : sequence of bool Tensor of shape (n_users,)
        Users held out together.
    new_groups : sequence of bool Tensor of shape (n_pairs,)
        For each fold, pairs of groups that are held out with its users; empty where groups are not shared.
    ridge : float
    """
    tables = [Features(table, bent).table for bent in (None, landmarks)]

    def gains(folds: Sequence[Tensor]) -> Tensor:
        plain, bent = (new_user_losses(features, pairs, folds, [ridge])[1] for features in tables)
        return _known(plain - bent)

    gain = gains(folds[:1])
    if not gain.mean() > 0:  # nor where nobody was judged, of which the mean is NaN
        return False
    gain = torch.cat([gain, gains(folds[1:])])
    if new_groups:
        plain, bent = (new_group_losses(features, pairs, folds, new_groups, [ridge]) for features in tables)
        gain = torch.cat([gain, _known(plain - bent)])
    return bool(gain.mean() > 2 * gain.std() / gain.numel() ** 0.5)


def _known(values: Tensor) -> Tensor:
    return values[~values.isnan()]


def choose_ridge(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], ridges: Sequence[float], new_groups: Sequence[Tensor] = ()
) -> tuple[float, list[Tensor], Tensor]:
    """Ridge with the smallest cross-fitted log loss of the pooled model, mean over users.

    Where users share groups (prompts, topics), the training users have judged the very responses that the held-out
    users judge: little ridge lets the model learn those by heart, at the cost of all others. Of the ridges that are as
    good as the best but for noise (two standard errors), the one is taken with the smallest loss of new users on new
    groups.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Standardised features.
    pairs : Pairs
    folds : sequence of bool Tensor of shape (n_users,)
        Users held out together; each fold's model is fitted on all the others.
    ridges : sequence of float
        Candidates, from the strongest (the path is warm-started).
    new_groups : sequence of bool Tensor of shape (n_pairs,)
        For each fold, pairs of groups that are held out with its users; empty to choose by new users alone.

    Returns
    -------
    ridge : float
    solutions : list of Tensor of shape (d,)
        Each fold's pooled solution at that ridge.
    losses : Tensor of shape (len(ridges), n_users)
        NaN for users in no fold or without pairs.
    """
    paths, losses = new_user_losses(table, pairs, folds, ridges)
    best = int(losses.nanmean(1).argmin())
    as_good = _as_good(losses, best)
    if new_groups and len(as_good) > 1:
        apart = new_group_losses(table, pairs, folds, new_groups, [ridges[i] for i in as_good])
        best = as_good[int(apart.nanmean(1).argmin())]
    return ridges[best], [path[best] for path in paths], losses


def new_user_losses(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], ridges: Sequence[float]
) -> tuple[list[list[Tensor]], Tensor]:
    """Each fold's pooled solutions without its users, and the users' losses (n_ridges, n_users); NaN in no fold."""
    losses = working(table).new_full((len(ridges), pairs.n_users), torch.nan)
    paths = []
    for held_out in folds:
        outside = held_out[pairs.user]
        path, loss = _ridge_path(table, pairs, ~outside, outside, ridges)
        losses = torch.where(held_out, loss, losses)
        paths.append(path)
    return paths, losses


def new_group_losses(
    table: Tensor, pairs: Pairs, folds: Sequence[Tensor], new_groups: Sequence[Tensor], ridges: Sequence[float]
) -> Tensor:
    """Losses (n_ridges, n_users) of each fold's users on its groups, of solutions that saw neither; NaN without any."""
    losses = working(table).new_full((len(ridges), pairs.n_users), torch.nan)
    for held_out, new in zip(folds, new_groups, strict=True):
        outside = held_out[pairs.user]
        _, loss = _ridge_path(table, pairs, ~(outside | new), outside & new, ridges)
        losses = torch.where(held_out, loss, losses)
    return losses


def _ridge_path(
    table: Tensor, pairs: Pairs, inside: Tensor, outside: Tensor, ridges: Sequence[float]
) -> tuple[list[Tensor], Tensor]:
    """Solutions from the pairs `inside`, and the users' losses (n_ridges, n_users) on the pairs `outside`."""
    learnt, judged = pairs.where(inside), pairs.where(outside)
    curvature = Curvature(table, learnt)
    path: list[Tensor] = []
    losses = []
    for ridge in ridges:
        path.append(fit_pooled(table, learnt, ridge, curvature=curvature, start=path[-1] if path else None))
        reward = rows_times(table, path[-1])
        losses.append(mean_by_user(softplus(reward[judged.rejected] - reward[judged.chosen]), judged))
    return path, torch.stack(losses)


def _as_good(losses: Tensor, best: int) -> list[int]:
    """Settings whose loss is within two standard errors of the best one's, paired over users; the best among them."""
    judged = losses[:, ~losses.isnan().any(0)]
    excess = judged - judged[best]
    error = excess.std(1) / judged.shape[1] ** 0.5
    return torch.nonzero(excess.mean(1) <= 2 * error.nan_to_num(0.0)).squeeze(1).tolist()


RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


DEFAULT_RIDGE = 0.1  # where no users can be left out to choose by
