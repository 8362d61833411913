r"""The pooled reward, as users left out have chosen it: its ridge, the scales of features, and whether it is linear.

.. math:: r_u(z) = b \cdot z \ \text{ for every user } u, \qquad
    b = \arg\min_b \tfrac1n \textstyle\sum_p \mathrm{softplus}(-b \cdot g_p) + \tfrac\lambda2 \lVert b \rVert^2

with :math:`g_p` the difference of standardised features of pair p. :math:`\lambda` has the smallest log loss on users
that no fit has seen, mean over users, or on new prompts among what is as good for new users (:func:`choose_ridge`). It
is infinite, no shared reward, where users left out lose by the best of them, by more than two standard errors: where
they do not, a reward close to zero does no harm, and may order what is new.

A scale for each column makes all of them count alike, and one scale for all keeps what their spread says: the leading
directions of an embedding say more than the last. Of linear rewards one scale is taken where users left out gain by it,
by more than a standard error (where nothing is shared, neither says anything of taste); one that bends has a scale for
each column.

Nyström features (:mod:`skmrm.meta.pooled.nystroem`) stand beside the features where that helps users left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log
from typing import Any, Literal

import torch
from torch import Tensor

from skmrm.meta.adaptation.users import mean_by_user
from skmrm.meta.folds import CrossFit, first_least
from skmrm.meta.pooled.features import PooledFeatures, PooledReward
from skmrm.meta.pooled.newton import Curvature, fit_pooled, fit_with_thresholds
from skmrm.meta.pooled.nystroem import MAX_LANDMARKS, Nystroem, spread_landmarks
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs
from skmrm.meta.tensors.tables import empty_like, rows_times
from skmrm.meta.thresholds import sides_loss, with_thresholds

__all__ = [
    "DEFAULT_RIDGE",
    "MAX_CELLS",
    "POOLED_STAGE",
    "RIDGES",
    "ChosenRidge",
    "Kernel",
    "PooledFit",
    "choose_nystroem",
    "choose_ridge",
    "fit_pooled_reward",
    "kernel_helps",
    "new_group_losses",
    "new_user_losses",
    "ridge_report",
]

Kernel = Literal["auto", "rbf"] | None

POOLED_STAGE = "pooled reward"
RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
DEFAULT_RIDGE = 0.1  # where no users can be left out to choose by
MAX_SCALED_CELLS = 1 << 25  # of a table that may be held in two scales: an eighth of a gigabyte in single precision
MAX_CELLS = 1 << 27  # of linear and Nyström features, to try the latter on: half a gigabyte in single precision


@dataclass(frozen=True)
class ChosenRidge:
    """A ridge, and how users who were left out fared.

    Attributes
    ----------
    ridge : float
    losses : Tensor of shape (n_ridges, n_users)
        Under each that was tried; NaN for users in no fold or without pairs.
    own : Tensor of shape (n_users,)
        Under this one.
    on_new_groups : Tensor of shape (n_users,) or None
        Under this one, on groups that were left out as well; None where groups are not shared.
    nothing : Tensor of shape (n_users,)
        Where all rewards are zero.
    """

    ridge: float
    losses: Tensor
    own: Tensor
    on_new_groups: Tensor | None
    nothing: Tensor

    @property
    def or_nothing(self) -> ChosenRidge:
        """An infinite ridge in its place if users gain by it; the losses of that one come first."""
        losses = torch.cat([self.nothing.unsqueeze(0), self.losses])
        if _is_gain(self.own - self.nothing):
            return ChosenRidge(inf, losses, self.nothing, None, self.nothing)
        return replace(self, losses=losses)

    def gain_over(self, other: ChosenRidge) -> Tensor:
        """By user, and by user on new groups."""
        gain = other.own - self.own
        if self.on_new_groups is None or other.on_new_groups is None:
            return gain
        return torch.cat([gain, other.on_new_groups - self.on_new_groups])


@dataclass(frozen=True)
class PooledFit:
    """The pooled solution, and how it was chosen.

    Attributes
    ----------
    data : CrossFit
        With the scales of features, and the thresholds of choices, that were chosen.
    features : PooledFeatures
    solution : Tensor of shape (rank,)
        The pooled solution b of all users.
    ridge : float
    selection : list of dict
        Validation loss of each ridge, the chosen one marked.
    """

    data: CrossFit
    features: PooledFeatures
    solution: Tensor
    ridge: float
    selection: list[dict[str, Any]]

    @property
    def reward(self) -> PooledReward:
        """The pooled reward of all users."""
        return self.features.reward(self.solution)

    def without(self, users: Tensor) -> tuple[Tensor, Pairs]:
        """The solution without some users (n_users,) bool, and the pairs of the others with their thresholds."""
        pairs = self.data.pairs
        return fit_with_thresholds(self.features.table, pairs.where(~users[pairs.user]), self.ridge)


def fit_pooled_reward(
    data: CrossFit, ridge: float | None = None, kernel: Kernel = None, tell: Tell = tells_nobody
) -> PooledFit:
    """Choose the ridge where it is None, the scales of features, and whether the reward is linear; then solve on all.

    Parameters
    ----------
    data : CrossFit
    ridge : float > 0, optional
    kernel : {"auto", "rbf"} or None
        Whether Nyström features may or must be there.
    tell : Tell
        Is told of the ridge, the kernel, the scales, and the solution.
    """
    tell(POOLED_STAGE, 0, 4)
    features = PooledFeatures(data.table)
    linear = chosen = None
    value = bent = DEFAULT_RIDGE if ridge is None else ridge
    if data.folds:
        linear = choose_ridge(features.table, data, RIDGES if ridge is None else (ridge,))
        chosen = linear if ridge is not None else linear.or_nothing
        value, bent = chosen.ridge, linear.ridge  # what is shared may be bent, where nothing linear is
    tell(POOLED_STAGE, 1, 4)
    nystroem = choose_nystroem(data, value, bent, kernel)
    tell(POOLED_STAGE, 2, 4)
    if nystroem is not None:
        value, features = bent, PooledFeatures(data.table, nystroem)
    elif linear is not None and ridge is None and data.table.numel() <= MAX_SCALED_CELLS:
        other = data.in_one_scale
        if other is not None:
            tried = PooledFeatures(other.table)
            in_one = choose_ridge(tried.table, other, RIDGES)
            if _is_gain(in_one.gain_over(linear), 1.0):
                data, features, chosen = other, tried, in_one.or_nothing
                value = chosen.ridge
    tell(POOLED_STAGE, 3, 4)
    candidates = (inf, *RIDGES) if ridge is None else (ridge,)
    selection = [] if chosen is None else ridge_report(candidates, chosen.losses, value)
    solution, pairs = fit_with_thresholds(features.table, data.pairs, value)
    tell(POOLED_STAGE, 4, 4)
    return PooledFit(replace(data, pairs=pairs), features, solution, value, selection)


def choose_ridge(table: Tensor, data: CrossFit, ridges: Sequence[float]) -> ChosenRidge:
    """Ridge with the smallest cross-fitted log loss of the pooled model, mean over users.

    Where users share groups (prompts, topics), the training users have judged the very responses that the held-out
    users judge: little ridge lets the model learn those by heart, at the cost of all others. Of the ridges that are as
    good as the best but for noise (two standard errors), the one is taken with the smallest loss of new users on new
    groups.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
        Features that the pooled reward is linear in.
    data : CrossFit
        Each fold's model is fitted on all other users. Without new groups, new users choose alone.
    ridges : sequence of float
        Candidates, from the strongest: the path is warm-started.
    """
    losses = new_user_losses(table, data.pairs, data.folds, ridges)
    best, on_new_groups = first_least(losses.nanmean(1)), None
    if data.new_groups:
        as_good = _as_good(losses, best)
        apart = new_group_losses(table, data, [ridges[i] for i in as_good])
        place = first_least(apart.nanmean(1))
        best, on_new_groups = as_good[place], apart[place]
    return ChosenRidge(ridges[best], losses, losses[best], on_new_groups, _without_reward(data.pairs, losses[best]))


def new_user_losses(table: Tensor, pairs: Pairs, folds: Sequence[Tensor], ridges: Sequence[float]) -> Tensor:
    """Losses (n_ridges, n_users) of each fold's users, of solutions that saw none of them; NaN in no fold."""
    losses = empty_like(table).new_full((len(ridges), pairs.n_users), torch.nan)
    for held_out in folds:
        outside = held_out[pairs.user]
        losses = torch.where(held_out, _path_losses(table, pairs, ~outside, outside, ridges), losses)
    return losses


def new_group_losses(table: Tensor, data: CrossFit, ridges: Sequence[float]) -> Tensor:
    """Losses (n_ridges, n_users) of each fold's users on its groups, of solutions that saw neither; NaN without any."""
    losses = empty_like(table).new_full((len(ridges), data.pairs.n_users), torch.nan)
    for held_out, new in zip(data.folds, data.new_groups, strict=True):
        outside = held_out[data.pairs.user]
        loss = _path_losses(table, data.pairs, ~(outside | new), outside & new, ridges)
        losses = torch.where(held_out, loss, losses)
    return losses


def _path_losses(table: Tensor, pairs: Pairs, inside: Tensor, outside: Tensor, ridges: Sequence[float]) -> Tensor:
    """The users' losses (n_ridges, n_users) on the pairs `outside`, of solutions from the pairs `inside`."""
    learnt, judged = pairs.where(inside), pairs.where(outside)
    curvature = Curvature(table, learnt)
    solution: Tensor | None = None
    losses = []
    for ridge in ridges:
        solution = fit_pooled(table, learnt, ridge, curvature=curvature, start=solution)
        reward = rows_times(table, solution)
        learnt = with_thresholds(learnt, learnt.gaps(reward))  # those of the ridge before are near enough for it
        judged = judged.held_against(learnt.thresholds)
        losses.append(mean_by_user(sides_loss(judged, judged.margins(reward)), judged))
    return torch.stack(losses)


def _without_reward(pairs: Pairs, judged: Tensor) -> Tensor:
    """Each user's loss where all rewards are zero; NaN for who was not judged."""
    if pairs.side is None:
        return torch.where(judged.isnan(), torch.nan, log(2))
    nothing = judged.new_zeros(len(pairs.chosen))
    pairs = with_thresholds(pairs, nothing)
    return torch.where(judged.isnan(), torch.nan, mean_by_user(sides_loss(pairs, pairs.beyond(nothing)), pairs))


def _as_good(losses: Tensor, best: int) -> list[int]:
    """Settings whose loss is within two standard errors of the best one's, paired over users; the best among them."""
    judged = losses[:, ~losses.isnan().any(0)]
    excess = judged - judged[best]
    error = excess.std(1) / judged.shape[1] ** 0.5
    return torch.nonzero(excess.mean(1) <= 2 * error.nan_to_num(0.0)).squeeze(1).tolist()


def ridge_report(ridges: Sequence[float], losses: Tensor, chosen: float) -> list[dict[str, Any]]:
    """One record a ridge, from losses (n_ridges, n_users); NaN for users that were not judged."""
    return [
        {
            "setting": f"ridge={ridge:g}" if isfinite(ridge) else "no shared reward",
            "ridge": ridge,
            "validation_loss": float(loss),
            "chosen": ridge == chosen,
        }
        for ridge, loss in zip(ridges, losses.nanmean(1), strict=True)
    ]


def choose_nystroem(data: CrossFit, ridge: float, bent: float, kernel: Kernel) -> Nystroem | None:
    """Nyström features, if they are wanted and, under "auto", of use; see :func:`kernel_helps`."""
    n_items, n_features = data.table.shape
    too_large = n_items * (n_features + MAX_LANDMARKS) > MAX_CELLS
    if kernel is None or n_items == 0 or (kernel == "auto" and (not data.folds or too_large)):
        return None
    nystroem = spread_landmarks(data.items)
    return None if kernel == "auto" and not kernel_helps(data, nystroem, ridge, bent) else nystroem


def kernel_helps(data: CrossFit, nystroem: Nystroem, ridge: float, bent: float) -> bool:
    """Whether users left out gain by Nyström features at the ridge `bent` over a linear pooled reward at its own.

    By more than two standard errors, as the simpler model is to be kept unless there is reason not to. Where users
    share groups, losses on new groups count as much as those on known ones: a kernel can learn responses by heart. One
    fold decides whether the others are looked at.
    """
    tried = [(PooledFeatures(data.table, more).table, [own]) for more, own in ((None, ridge), (nystroem, bent))]

    def gains(folds: Sequence[Tensor]) -> Tensor:
        without, with_it = (new_user_losses(table, data.pairs, folds, own) for table, own in tried)
        return without - with_it

    gain = gains(data.folds[:1])
    if not gain.nanmean() > 0:  # nor where nobody was judged, of which the mean is NaN
        return False
    gain = torch.cat([gain, gains(data.folds[1:])])
    if data.new_groups:
        without, with_it = (new_group_losses(table, data, own) for table, own in tried)
        gain = torch.cat([gain, without - with_it])
    return _is_gain(gain)


def _is_gain(gains: Tensor, errors: float = 2.0) -> bool:
    """Whether users gain by more than so many standard errors; NaN for whom nobody judged."""
    known = gains[~gains.isnan()]
    return bool(known.mean() > errors * known.std() / known.numel() ** 0.5)
