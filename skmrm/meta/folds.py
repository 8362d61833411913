"""Who is held out to choose by: splits of each user's pairs, folds of users, and of the groups that go with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skmrm.meta.basis import Parameters, init_standardisation, one_scale, standardised_table, with_bar
from skmrm.meta.tensors.pairs import Pairs, most_pairs
from skmrm.meta.tensors.tables import map_rows

__all__ = [
    "ENOUGH_TO_WEIGH",
    "ENOUGH_VALIDATION_USERS",
    "MIN_GROUP_FOLDS",
    "MIN_JUDGED_USERS",
    "CrossFit",
    "Split",
    "cross_fit",
    "first_least",
    "group_folds",
    "user_folds",
]

MIN_JUDGED_USERS = 8
MIN_GROUP_FOLDS = 4  # so that most groups are left to learn from
ENOUGH_VALIDATION_USERS = 1000
ENOUGH_TO_WEIGH = 300  # a handful of priors, each of which has to be learnt without them
N_SPLITS = 4  # that choices are made on
ROUNDING = 1e-6  # of losses: what differs by less is one choice, and rounding must not choose


@dataclass(frozen=True)
class Split:
    """One random support/query split of every user's pairs, which share no group.

    Attributes
    ----------
    support, query : bool Tensor of shape (n_pairs,)
        Pairs to adapt on and to judge on; a pair may be in neither.
    half : bool Tensor of shape (n_pairs,)
        The whole support side, of which `support` may be a part.
    """

    support: Tensor
    query: Tensor
    half: Tensor

    def judged(self, pairs: Pairs) -> Tensor:
        """Users with at least one support and one query pair, (n_users,) bool."""
        support, query = (pairs.offsets_where(side).diff() for side in (self.support, self.query))
        return (support > 0) & (query > 0)


@dataclass(frozen=True)
class CrossFit:
    """What a fit learns from, and who is held out to choose by.

    Attributes
    ----------
    standardisation : dict of Tensor
        ``mean`` and ``scale``, (d,) each.
    table : Tensor of shape (n_items, d)
        Standardised features; with ratings, the bar is the last item, and the last feature tells it from the others.
    pairs : Pairs
        Choices of all users; nobody counts for more than `most_pairs` in what all share.
    splits : list of Split
        Fixed, to judge on.
    judged : bool Tensor of shape (n_users,)
        Users with pairs on both sides of every split.
    folds : list of bool Tensor of shape (n_users,)
        Users held out together; empty where nothing can be validated.
    new_groups : list of bool Tensor of shape (n_pairs,)
        For each fold, pairs of groups that are held out with its users; empty where groups are not shared.
    n_own : int
        Last columns that have a scale of their own in any case.
    """

    standardisation: Parameters
    table: Tensor
    pairs: Pairs
    splits: list[Split]
    judged: Tensor
    folds: list[Tensor]
    new_groups: list[Tensor]
    n_own: int = 0

    @property
    def items(self) -> Tensor:
        """Rows of the table that are of items, not of the bar."""
        return self.table[:-1] if self.pairs.n_cuts else self.table

    @property
    def in_one_scale(self) -> CrossFit | None:
        """The same with one scale for all columns but the last `n_own`; None where that changes nothing."""
        scale = one_scale(self.standardisation, self.n_own)
        change = torch.where(scale.isfinite(), self.standardisation["scale"] / scale, 1.0)
        if torch.allclose(change, torch.ones_like(change), rtol=1e-3):
            return None
        table = map_rows(self.table, lambda rows: rows * change, self.table.dtype)
        return replace(self, standardisation=self.standardisation | {"scale": scale}, table=table)

    def to_weigh(self, n_users: int) -> CrossFit:
        """The same, for choices that cost a fit of all that users differ in, with as many folds as hold so many users.

        Those are one fold, learnt without once, where more users are left to learn from than that.
        """
        held = torch.tensor([int(fold.sum()) for fold in self.folds]).cumsum(0)
        folds = self.folds[: int((held < n_users).sum()) + 1]
        if len(folds) > 1 and 2 * held[len(folds) - 1] < self.n_judged:
            folds = [torch.stack(folds).any(0)]
        return replace(self, folds=folds, new_groups=[])

    @property
    def n_judged(self) -> int:
        """How many users could be held out."""
        return int(self.judged.sum())


def cross_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    validation_fraction: float,
    generator: torch.Generator,
    *,
    n_splits: int = N_SPLITS,
    new_groups: bool = True,
    n_own: int = 0,
) -> CrossFit:
    """Standardise, draw the splits to judge on, and hold users out; the prelude of every fit.

    Parameters
    ----------
    features : Tensor of shape (n_items, d)
        Raw features of every distinct response.
    pairs : Pairs
        Choices of all users.
    draw_split : callable
        Gives a new random group-disjoint support/query split of all pairs.
    validation_fraction : float in [0, 0.5]
        Share of users in a fold; 0 holds nobody out.
    generator : torch.Generator
        On the CPU; draws the folds.
    n_splits : int
    new_groups : bool
        Whether groups are to be held out as well.
    n_own : int
        As of :class:`CrossFit`.
    """
    standardisation = init_standardisation(features)
    table = standardised_table(standardisation, features)
    if pairs.n_cuts:
        table, n_own = with_bar(table), n_own + 1
        more = {"mean": 0.0, "scale": 1.0}
        standardisation = {
            name: torch.cat([one, one.new_full((1,), more[name])]) for name, one in standardisation.items()
        }
    splits = [draw_split() for _ in range(n_splits)]
    judged = torch.stack([split.judged(pairs) for split in splits]).all(0)
    folds = user_folds(judged, validation_fraction, generator)
    groups = group_folds(pairs, len(folds), generator) if new_groups else []
    return CrossFit(
        standardisation, table, pairs.bounded(most_pairs(pairs.totals)), splits, judged, folds, groups, n_own
    )


def first_least(values: Tensor) -> int:
    """Place of the first of those values that are the smallest but for rounding; NaN is larger than any."""
    least = values.nan_to_num(torch.inf).min()
    return int(torch.nonzero(values <= least + ROUNDING * least.abs())[0]) if least.isfinite() else 0


def user_folds(judged: Tensor, validation_fraction: float, generator: torch.Generator) -> list[Tensor]:
    """Disjoint sets of users to hold out, each a share of those that can be judged.

    A full cross-fit where users are few; of many, as many folds as hold enough users to choose by; none where users are
    too few to choose anything by, or where `validation_fraction` is 0.
    """
    users = torch.nonzero(judged).squeeze(1)
    if validation_fraction == 0 or users.numel() < MIN_JUDGED_USERS:
        return []
    shuffled = users[torch.randperm(users.numel(), generator=generator).to(users.device)]
    n_held_out = max(2, round(validation_fraction * users.numel()))
    if users.numel() < ENOUGH_VALIDATION_USERS:
        chunks = shuffled.tensor_split(max(2, users.numel() // n_held_out))
    else:
        chunks = shuffled.split(n_held_out)[: -(-ENOUGH_VALIDATION_USERS // n_held_out)]
    return [torch.zeros_like(judged).index_fill_(0, chunk, True) for chunk in chunks]


def group_folds(pairs: Pairs, n_folds: int, generator: torch.Generator) -> list[Tensor]:
    """For each fold of users, pairs (n_pairs,) bool of groups to hold out with it, so that both are new.

    None where groups are not known, or where most pairs are of a group that only their own user has met: whoever is new
    then brings new groups.
    """
    if pairs.group is None or n_folds == 0 or pairs.chosen.numel() == 0:
        return []
    group = torch.unique(pairs.group, return_inverse=True)[1]
    met = torch.unique(group * pairs.n_users + pairs.user)
    n_users_of = torch.bincount(met.div(pairs.n_users, rounding_mode="floor"))
    if float((n_users_of[group] > 1).float().mean()) < 0.5:
        return []
    fold = torch.randperm(len(n_users_of), generator=generator).to(group.device) % max(n_folds, MIN_GROUP_FOLDS)
    return [fold[group] == i for i in range(n_folds)]
