"""How far, and in what manner, to let users move from the pooled reward: candidates, judged on users left out.

Under MAP adaptation: not at all; a Gaussian prior, stretched or shrunk, the likelihood tempered or not; and, if one of
these helps, several kinds of users. Under gradient adaptation: not at all, or by one of several step sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adaptation import Adaptation, GradientAdaptation, MapAdaptation
from skmrm.meta.batching import Pairs
from skmrm.meta.mixture import MixtureAdaptation
from skmrm.meta.personal import Personal, PersonalBases
from skmrm.meta.selection import Setting, Split, least_personalised, validate_settings
from skmrm.meta.tables import rows_times, working

__all__ = ["Candidate", "Judged", "choose_strength", "unvalidated"]

PRIOR_SCALES = (0.5, 1.0, 1.5, 2.0)
TEMPERINGS = (0.0, 0.5)
STEP_SIZES = (0.3, 1.0, 3.0, 10.0)
KINDS = (4, 8)
MORE_KINDS = 16  # where the most of them are best
KIND_SCALES = (0.5, 1.0)


@dataclass(frozen=True)
class Candidate:
    """A strength of personalisation; with no strength, the inner rule as it was given."""

    name: str
    rule: Adaptation
    strength: float | None = None
    n_components: int = 1

    def on(self, found: Personal) -> Setting:
        """The rule's parameters for given base functions."""
        if self.strength is None:
            return Setting(self.name, self.rule, self.rule.init(len(found.bases), found.bases))
        parameter = "step_size" if isinstance(self.rule, GradientAdaptation) else "prior_scale"
        params = {parameter: self.strength * found.profile}
        return Setting(self.name, self.rule, params | (found.kinds if self.n_components > 1 else {}))


@dataclass(frozen=True)
class Judged:
    """Cross-fitted losses (n_candidates, n_users) and movements (n_candidates,) of candidates."""

    candidates: list[Candidate]
    losses: Tensor
    movement: Tensor

    @property
    def chosen(self) -> Candidate:
        """The candidate to take."""
        return self.candidates[self._best]

    @property
    def moves(self) -> bool:
        """Whether it personalises at all."""
        return bool(self.movement[self._best] > 0)

    def __add__(self, other: Judged) -> Judged:
        """With further candidates."""
        losses, movement = torch.cat([self.losses, other.losses]), torch.cat([self.movement, other.movement])
        return Judged(self.candidates + other.candidates, losses, movement)

    @property
    def _best(self) -> int:
        return least_personalised(self.losses, self.movement)

    def report(self) -> list[dict[str, Any]]:
        """One record a candidate."""
        judged = self.losses[:, ~self.losses.isnan().any(0)]
        change, best = judged - judged[0], self._best
        return [
            {
                "setting": candidate.name,
                "validation_loss": float(judged[i].mean()),
                "change": float(change[i].mean()),
                "standard_error": float(change[i].std() / max(judged.shape[1], 1) ** 0.5),
                "movement": float(self.movement[i]),
                "chosen": i == best,
            }
            for i, candidate in enumerate(self.candidates)
        ]


def unvalidated(rule: Adaptation, choose: bool) -> Candidate:
    """What to take where no user can be left out: the rule as given, or no adaptation where it was to be chosen."""
    return Candidate("none", rule, 0.0) if choose and _has_strength(rule) else Candidate("given", rule)


def choose_strength(
    rule: Adaptation,
    choose: bool,
    learnt: Sequence[PersonalBases],
    folds: Sequence[Tensor],
    pairs: Pairs,
    splits: Sequence[Split],
) -> Judged:
    """Judge every candidate; the kinds of users only as long as there is reason to.

    Parameters
    ----------
    rule : Adaptation
        The inner rule.
    choose : bool
        False takes the rule as it is, and only reports its losses.
    learnt : sequence of PersonalBases
        For each fold, what all others show.
    folds : sequence of bool Tensor of shape (n_users,)
        Users held out together.
    pairs : Pairs
    splits : sequence of Split
        Fixed splits to judge on.
    """

    def judge(candidates: list[Candidate]) -> Judged:
        return _judge(candidates, learnt, folds, pairs, splits)

    judged = judge(_candidates(rule, choose))
    if not choose or not isinstance(rule, MapAdaptation) or not judged.moves:
        return judged
    for n_components in KINDS:
        judged += judge(_kinds(n_components))
    return judged + judge(_kinds(MORE_KINDS)) if judged.chosen.n_components == max(KINDS, default=0) else judged


def _has_strength(rule: Adaptation) -> bool:
    return isinstance(rule, MapAdaptation | GradientAdaptation)


def _candidates(rule: Adaptation, choose: bool) -> list[Candidate]:
    """Strengths of personalisation, "none" first."""
    first = unvalidated(rule, choose)
    if first.strength is None:
        return [first]
    if isinstance(rule, GradientAdaptation):
        return [first, *(Candidate(f"step_size={size:g}", rule, size) for size in STEP_SIZES)]
    assert isinstance(rule, MapAdaptation)
    return [
        first,
        *(
            Candidate(f"prior_scale={scale:g}, tempering={kappa:g}", replace(rule, tempering=kappa), scale)
            for scale in PRIOR_SCALES
            for kappa in TEMPERINGS
        ),
    ]


def _kinds(n: int) -> list[Candidate]:
    rule = MixtureAdaptation(n_components=n)
    return [Candidate(f"{n} kinds, prior_scale={scale:g}", rule, scale, n) for scale in KIND_SCALES]


def _judge(
    candidates: list[Candidate],
    learnt: Sequence[PersonalBases],
    folds: Sequence[Tensor],
    pairs: Pairs,
    splits: Sequence[Split],
) -> Judged:
    """Judge candidates on each fold's users with what was learnt without them."""
    losses = working(learnt[0].table).new_full((len(candidates), pairs.n_users), torch.nan)
    movement = losses.new_zeros(len(candidates))
    for n_components in sorted({candidate.n_components for candidate in candidates}):
        rows = [i for i, candidate in enumerate(candidates) if candidate.n_components == n_components]
        for held_out, personal in zip(folds, learnt, strict=True):
            found = personal.of_kinds(n_components)
            settings = [candidates[i].on(found) for i in rows]
            rewards = rows_times(personal.table, found.bases.T)
            loss, moved = validate_settings(settings, found.start, rewards, pairs, splits, held_out)
            losses[rows] = torch.where(held_out, loss, losses[rows])
            movement[rows] += moved / len(folds)
    return Judged(candidates, losses, movement)
