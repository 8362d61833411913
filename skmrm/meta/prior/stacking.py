r"""How far to believe each prior of how users differ: a mean over all candidates, weighed on users left out.

Under prior m, user u's weights are adapted to :math:`\hat w_{um}`, and a new choice has the margin
:math:`x_{pm} = \hat w_{um} \cdot g_p`. Choosing the one prior with the smallest loss is a bet on noise where users are
few, and two priors that are right in different ways are better together than either. So all margins are averaged, with
the weights, the same for everybody, of the smallest log loss on users left out,

.. math:: \min_{\omega \ge 0, \ \sum_m \omega_m = 1} \;
    \mathrm{mean}_u \, \mathrm{mean}_{p \in u} \; \mathrm{softplus}\Big(-\sum_m \omega_m x_{pm}\Big) ,

less a small multiple of :math:`\mathrm{mean}_m \log \omega_m` where users are few, which is convex. "None", the
pooled reward, is among the candidates; and it is all there is if the mean gains next to nothing on users that its
weights were not chosen on.

Weights that move with the evidence of each user's own choices were as good on simulated users and worse on real ones,
whose choices repeat each other.

Source: D. Wolpert: "Stacked generalization", Neural Networks 5 (1992); Y. Yao, A. Vehtari, D. Simpson, A. Gelman:
"Using stacking to average Bayesian predictive distributions", Bayesian Analysis 13 (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skmrm.meta.adaptation import InnerRule, MapAdaptation, RuleParameters
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.folds import CrossFit
from skmrm.meta.prior.directions import BelievedPrior, PriorBases, PriorLearner, mixture_parameters
from skmrm.meta.prior.strength import selection_report
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.factors import cholesky
from skmrm.meta.tensors.pairs import joined
from skmrm.meta.thresholds import sides_loss

__all__ = ["PRIOR_STAGE", "StackOptions", "Stacked", "stack_priors", "stacking_weights"]

PRIOR_STAGE = "how users differ"
# Nats a choice, about a tenth of a point of accuracy: where 80 users were alike chance gave less, six times in eight
# (eight times); where users differ the least gain on eight sets was 0.004.
REQUIRED_GAIN = 0.001
SLACK = 0.5  # standard errors by which it must exceed that: of ten users, chance gives more
N_PARTS = 5  # of users left out, to see what weights gain on users that they were not chosen on
NEGLIGIBLE = 0.02  # a prior believed by less costs more time than it is worth
# Divided by the number of users. The weights themselves are learnt, and of 100 users by heart: 0.3 and more gained 0.7
# points there; 1 cost 0.001 nats where users are many.
PULL = 0.3
BARRIERS = (1e-2, 1e-3, 1e-4, 1e-5)  # nats that keep weights above zero on the way to the smallest loss
MAX_STEPS = 50
GAUSSIANS = ("flat", "wide", "narrow")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class StackOptions:
    """Candidates, for studies of what each brings.

    Attributes
    ----------
    flat, wide, narrow : tuple of float
        Multiples of the standard deviations of each Gaussian.
    kinds : tuple of int
        Numbers of kinds of users.
    required_gain : float
        By which the mean must be better than "none" on users that its weights were not chosen on, in nats a choice.
    """

    flat: tuple[float, ...] = (1.0, 2.0, 4.0)
    wide: tuple[float, ...] = (0.5, 1.0, 2.0)
    narrow: tuple[float, ...] = (1.0, 2.0)
    kinds: tuple[int, ...] = (8,)
    required_gain: float = REQUIRED_GAIN

    @property
    def candidates(self) -> list[Candidate]:
        """All of them, "none" first."""
        gaussians = [Candidate(name, scale) for name in GAUSSIANS for scale in getattr(self, name)]
        return [Candidate("flat", 0.0), *gaussians, *(Candidate("narrow", 1.0, n) for n in self.kinds)]


class Candidate(NamedTuple):
    """A prior of a learner, with so many components, and what its standard deviations are multiplied by."""

    prior: str
    scale: float
    n_components: int = 1

    @property
    def name(self) -> str:
        """For people to read."""
        if self.scale == 0:
            return "none"
        return f"{self.prior}, prior_scale={self.scale:g}" if self.n_components == 1 else f"{self.n_components} kinds"

    def believed(self, learner: PriorLearner, weight: float) -> BelievedPrior:
        """As a learner has it."""
        prior = learner.narrow(self.n_components) if self.prior == "narrow" else getattr(learner, self.prior)
        return BelievedPrior(prior, self.scale, weight)


@dataclass(frozen=True)
class Stacked:
    """Candidates, and how far each is believed.

    Attributes
    ----------
    candidates : list of Candidate
    weights : Tensor of shape (n_candidates,)
    report : list of dict
        One record a candidate, and one of their mean, with its loss on users that its weights were not chosen on.
    """

    candidates: list[Candidate]
    weights: Tensor
    report: list[dict[str, Any]]

    @property
    def personalises(self) -> bool:
        """Whether anything but "none" is believed."""
        return bool((self.weights[1:] > 0).any())

    def under(self, learner: PriorLearner) -> tuple[PriorBases, InnerRule, RuleParameters]:
        """Base functions, the inner rule and its parameters, from what a learner saw."""
        kept = [
            candidate.believed(learner, float(weight))
            for candidate, weight in zip(self.candidates, self.weights, strict=True)
            if weight > 0
        ]
        if all(one.scale == 0 for one in kept):
            found = learner.bases([BelievedPrior(learner.wide, 1.0, 1.0)])
            return found, MapAdaptation(), {"prior_scale": 0 * found.scale}
        found = learner.bases(kept)
        n_components = len(found.mixture["logits"])
        if n_components == 1 and not bool(found.mixture["means"].any()):
            return found, MapAdaptation(), {"prior_scale": found.scale}
        return found, MixtureAdaptation(n_components=n_components), found.mixture


def stack_priors(
    learners: Sequence[PriorLearner], data: CrossFit, options: StackOptions, tell: Tell = tells_nobody
) -> Stacked:
    """Weigh all candidates on the users that each learner has not seen.

    Parameters
    ----------
    learners : sequence of PriorLearner
        For each fold, what all others show.
    data : CrossFit
    options : StackOptions
    tell : Tell
        Is told of each prior that a fold has learnt.
    """
    candidates, judged = options.candidates, []
    n_steps = len(candidates) * (len(learners) + 1)  # and once more on all users
    for place, (learner, fold) in enumerate(zip(learners, data.folds, strict=True)):

        def learnt(n: int, before: int = len(candidates) * place) -> None:
            tell(PRIOR_STAGE, before + n, n_steps)

        judged.append(_judge(candidates, learner, data, fold, learnt))
    tell(PRIOR_STAGE, n_steps - len(candidates), n_steps)
    margins, user, share, cost = (torch.cat(each, -1) for each in zip(*judged, strict=True))
    users, place = torch.unique(user, return_inverse=True)
    n_users = len(users)
    weights = torch.zeros_like(margins[:, 0])
    weights[0] = 1.0
    if n_users < 2:
        return Stacked(candidates, weights, [])

    def losses(margins: Tensor) -> Tensor:
        """Each user's loss, (n_users,)."""
        return margins.new_zeros(n_users).index_add_(0, place, share * (softplus(-margins) + cost))

    each = torch.stack([losses(row) for row in margins])
    part = place % N_PARTS
    gain = torch.zeros_like(each[0])
    whole = stacking_weights(margins, share, PULL / n_users)
    for i in range(N_PARTS):
        outside = part != i
        without = stacking_weights(margins[:, outside], share[outside], PULL / n_users, whole)
        held_out = torch.arange(n_users, device=part.device) % N_PARTS == i
        gain[held_out] = (each[0] - losses(without @ margins))[held_out]
    if gain.mean() > options.required_gain + SLACK * gain.std() / n_users**0.5:
        weights = torch.where(whole < NEGLIGIBLE, 0.0, whole)
        weights /= weights.sum()
    found = torch.cat([margins, (weights @ margins).unsqueeze(0)])
    moved = ((share * (found - found[0]) ** 2).sum(1) / share.sum()).sqrt().tolist()
    alone = (weights == 1).tolist()
    report = selection_report(
        [*(candidate.name for candidate in candidates), "weighted mean"],
        torch.cat([each, (each[0] - gain).unsqueeze(0)]),
        moved,
        [*weights.tolist(), None],
        [*alone, not any(alone)],
    )
    return Stacked(candidates, weights, report)


def _judge(
    candidates: list[Candidate],
    learner: PriorLearner,
    data: CrossFit,
    fold: Tensor,
    learnt: Callable[[int], None] = lambda n: None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Margins (n_candidates, n) of a fold's query pairs over all splits, beyond what they are held against.

    And their users, their shares in the user's loss, and what their thresholds add to it, (n,) each.
    """
    believed = []
    for candidate in candidates[1:]:
        believed.append(candidate.believed(learner, 1 / (len(candidates) - 1)))
        learnt(len(believed))
    believed = [one._replace(prior=prior) for one, prior in zip(believed, learner.to_judge(believed), strict=True)]
    pairs = data.pairs.held_against(learner.pairs.thresholds)
    asked = fold[pairs.user]
    # as many choices as there are, and few; every split's users as users of their own, adapted all at once
    sides = [split.half if number % 2 else split.support for number, split in enumerate(data.splits)]
    support = joined([pairs.where(side & asked) for side in sides])
    query = joined([pairs.where(split.query & asked) for split in data.splits])
    query = query.where((support.counts > 0)[query.user])
    margins = [query.margins(learner.rewards_of(learner.pooled.unsqueeze(0)).squeeze(1))]
    for _, same in groupby(zip(candidates[1:], believed, strict=True), lambda pair: pair[0]._replace(scale=1.0)):
        # those that differ in scale alone are adapted together, in the prior's own few coordinates
        group = [one for _, one in same]
        prior = group[0].prior
        rewards = learner.rewards_of(torch.stack([learner.pooled, prior.mean, *prior.factor.T]))
        identity = torch.eye(rewards.shape[1], dtype=rewards.dtype, device=rewards.device)
        own = replace(prior, mean=identity[1], factor=identity[:, 2:])
        mixture = mixture_parameters([one._replace(prior=own) for one in group], identity)
        rule = _Each(n_components=len(mixture["logits"]), n_priors=len(group))
        params = {"start": identity[0]} | {f"rule.{name}": value for name, value in mixture.items()}
        weights = adapt_users(params, rule, rewards, support)[0].unflatten(1, (len(group), -1))
        gaps = query.gaps(rewards)
        margins += [query.beyond((gaps * one[query.user]).sum(1)) for one in weights.unbind(1)]
    share = query.weighed(1 / (len(data.splits) * query.totals[query.user]).double())
    cost = sides_loss(query, torch.full_like(share, torch.inf))
    return torch.stack(margins).double(), query.user % pairs.n_users, share, cost


@dataclass(frozen=True)
class _Each(MixtureAdaptation):
    """Weights under each prior side by side, (users, n_priors * n_bases)."""

    n_priors: int = 1

    def constrain(self, start: Tensor) -> Tensor:
        return start.repeat(self.n_priors)

    def adapt(
        self, start: Tensor, gaps: Tensor, mask: Tensor, params: RuleParameters, threshold: Tensor | None = None
    ) -> Tensor:
        return self.adapt_each(start, gaps, mask, params, threshold).movedim(0, 1).flatten(1)


def stacking_weights(margins: Tensor, share: Tensor, pull: float = 0.0, near: Tensor | None = None) -> Tensor:
    """Weights (n_candidates,) of the mean margin with the smallest log loss, less a pull towards all alike.

    Parameters
    ----------
    margins : Tensor of shape (n_candidates, n_pairs)
    share : Tensor of shape (n_pairs,)
        How much each pair counts.
    pull : float
        Nats, times the mean logarithm of the weights.
    near : Tensor of shape (n_candidates,), optional
        Weights that are known to be about right.
    """
    share = share / share.sum()
    weights = torch.full_like(margins[:, 0], 1 / len(margins)) if near is None else near
    larger = [barrier for barrier in BARRIERS if barrier > pull and near is None]
    for barrier in (*larger, max(pull, BARRIERS[-1])):
        for _ in range(MAX_STEPS):
            step = _towards_least(weights, margins, share, barrier)
            weights = weights + step
            if float(step.abs().max()) < TOLERANCE:
                break
    return weights


def _towards_least(weights: Tensor, margins: Tensor, share: Tensor, barrier: float) -> Tensor:
    """A Newton step (n_candidates,) of sum zero, which lowers the loss less the barrier times the mean log weight."""

    def objective(weights: Tensor) -> float:
        return float((share * softplus(-(weights @ margins))).sum() - barrier * weights.log().mean())

    wrong = torch.sigmoid(-(weights @ margins))
    gradient = -margins @ (share * wrong) - barrier / len(weights) / weights
    hessian = (margins * (share * wrong * (1 - wrong))) @ margins.T
    hessian.diagonal().add_(barrier / len(weights) / weights**2)
    factor = cholesky(hessian)
    towards, level = torch.cholesky_solve(torch.stack([gradient, torch.ones_like(weights)], 1), factor).unbind(1)
    step = level * (towards.sum() / level.sum()) - towards
    length = min(1.0, 0.9 / max(float((-step / weights).max()), 1e-9))
    value = objective(weights)
    while length > TOLERANCE and objective(weights + length * step) > value:
        length /= 2
    return length * step
