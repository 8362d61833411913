r"""Low-rank rewards (LoRe): K shared base rewards and every user a mixture of them, learnt jointly.

.. math:: \min_{B, A} \ \mathrm{mean}_u \, L_u(\mathrm{softmax}(a_u)) +
    \tfrac\lambda2 \sum_k \lVert B_k - b \rVert^2 , \qquad
    L_u(w) = \mathrm{mean}_{p \in u} \, \mathrm{softplus}(-w \cdot B g_p)

over the basis B (K, d) and the logits A (users, K), by Adam on batches of users. A new user's weights are the most
likely mixture of the base rewards, which stay as they are (:mod:`skmrm.meta.adaptation.simplex`).

Source: Bose et al. 2025, "LoRe: Personalizing LLMs via Low-Rank Reward Modeling", arXiv 2504.14439. What differs:

- its penalty pulls each base reward towards the head of the reward model that made the features; features in general
  have no head, and the pooled Bradley-Terry solution b takes its place, here and as the centre of the random start;
- :math:`\lambda`, K and the number of epochs are chosen on validation users, adapted as new users are, instead of set;
- a new user's weights solve their convex problem, instead of 500 steps of Adam from a random start, and a user without
  pairs has the mean weights of the training users instead of random ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skmrm.meta.adam import Adam
from skmrm.meta.adaptation.simplex import SimplexAdaptation
from skmrm.meta.basis import Parameters, column_ranks, init_basis
from skmrm.meta.fit import Fitted
from skmrm.meta.folds import CrossFit, Split, cross_fit
from skmrm.meta.objectives import bradley_terry_loss
from skmrm.meta.outer.epochs import user_batches
from skmrm.meta.pooled.choice import POOLED_STAGE, fit_pooled_reward
from skmrm.meta.prior.strength import Setting, validate_settings
from skmrm.meta.tell import Tell, tells_nobody
from skmrm.meta.tensors.pairs import Pairs, pack_users
from skmrm.meta.tensors.tables import rows_times

__all__ = ["STAGES", "LowRankOptions", "lowrank_fit", "train_lowrank"]

STAGES = (POOLED_STAGE, "ridge and size", "training on all users")

N_BASES = (2, 4, 8)
BASIS_RIDGES = (0.3, 0.1, 0.03, 0.01)
DEFAULT_N_BASES = 4  # with which the ridge is chosen; used where nothing can be validated, as is
DEFAULT_BASIS_RIDGE = 0.1
START_SPREAD = 0.3  # of the random start: standard deviation of what it adds to a reward, in logits
# To stop by, weights within a thousandth on two splits do.
STOPPING_TOLERANCE = 1e-4
STOPPING_SPLITS = 2
LOGITS_RATE = 10.0  # weights live on a scale of 1, coefficients of standardised features on one of a tenth and less


@dataclass(frozen=True)
class LowRankOptions:
    """Settings of a fit; see :class:`skmrm.baselines.LowRankRewards` for their meaning."""

    n_bases: int | None = None
    ridge: float | None = None
    users_per_batch: int = 32
    max_epochs: int = 100
    learning_rate: float = 0.02
    patience: int = 20
    validation_fraction: float = 0.2


@dataclass(frozen=True)
class _Trained:
    params: Parameters
    best_epoch: int
    history: list[dict[str, Any]]

    @property
    def loss(self) -> float:
        """Validation loss of the epoch kept."""
        return float(self.history[self.best_epoch]["validation_loss"])


def lowrank_fit(
    features: Tensor,
    pairs: Pairs,
    draw_split: Callable[[], Split],
    options: LowRankOptions,
    generator: torch.Generator,
    n_own: int = 0,
    tell: Tell = tells_nobody,
) -> Fitted:
    """Choose K, the ridge and the number of epochs on users left out; then learn from all users.

    Parameters
    ----------
    features : Tensor of shape (n_items, d)
        Raw features of every distinct response.
    pairs : Pairs
        Choices of all users.
    draw_split : callable
        Gives a random group-disjoint support/query split.
    options : LowRankOptions
    generator : torch.Generator
        On the CPU; draws folds, starts and batches.
    n_own : int
        As of :class:`skmrm.meta.folds.CrossFit`.
    tell : Tell
        Is told of the stages in `STAGES`; of epochs, those of the chosen settings.
    """
    data = cross_fit(features, pairs, draw_split, options.validation_fraction, generator, n_own=n_own)
    pooled = fit_pooled_reward(data, tell=tell)
    data = replace(data, pairs=pooled.data.pairs)
    table = pooled.features.table
    seed = generator.get_state()  # every training starts and draws alike: differences are the settings
    chosen = replace(options, n_bases=options.n_bases or DEFAULT_N_BASES, ridge=options.ridge or DEFAULT_BASIS_RIDGE)
    epochs, selection, history = options.max_epochs, list[dict[str, Any]](), list[dict[str, Any]]()
    if data.folds:
        tell(STAGES[1])
        held_out, without = data.folds[0], pooled.without(data.folds[0])[0]
        chosen, tried = _choose(
            options,
            chosen,
            lambda found: train_lowrank(table, without, data, held_out, found, generator.set_state(seed)),
            tell,
        )
        epochs, history = tried[chosen].best_epoch, tried[chosen].history
        selection = _report(tried, chosen)
        for record in history:
            tell(STAGES[1], len(tried), len(tried), record)
    tell(STAGES[2])
    nobody = torch.zeros(pairs.n_users, dtype=torch.bool, device=features.device)
    final = train_lowrank(table, pooled.solution, data, nobody, chosen, generator.set_state(seed), stop_after=epochs)
    params = pooled.data.standardisation | {
        "bases": final.params["bases"] @ pooled.features.span.T,
        "start": final.params["start"],
    }
    rule, held = SimplexAdaptation(), data.pairs.thresholds
    return Fitted(params, rule, chosen.ridge, selection, history or final.history, data.n_judged, thresholds=held)


def _choose(
    options: LowRankOptions,
    first: LowRankOptions,
    train: Callable[[LowRankOptions], _Trained],
    tell: Tell = tells_nobody,
) -> tuple[LowRankOptions, dict[LowRankOptions, _Trained]]:
    """Settings with the smallest validation loss, and all that were tried: the ridge first, then K at that ridge."""
    tried: dict[LowRankOptions, _Trained] = {}
    ridges = (options.ridge,) if options.ridge else BASIS_RIDGES
    sizes = (options.n_bases,) if options.n_bases else N_BASES

    def best_of(settings: list[LowRankOptions]) -> LowRankOptions:
        for found in settings:
            if found not in tried:
                tried[found] = train(found)
                tell(STAGES[1], len(tried), len(ridges) + len(sizes) - 1)
        return min(settings, key=lambda found: tried[found].loss)

    chosen = best_of([replace(first, ridge=ridge) for ridge in ridges])
    chosen = best_of([replace(chosen, n_bases=size) for size in sizes])
    return chosen, tried


def _report(tried: dict[LowRankOptions, _Trained], chosen: LowRankOptions) -> list[dict[str, Any]]:
    return [
        {
            "setting": f"n_bases={found.n_bases}, ridge={found.ridge:g}",
            "validation_loss": run.loss,
            "epochs": run.best_epoch,
            "chosen": found == chosen,
        }
        for found, run in tried.items()
    ]


def train_lowrank(
    table: Tensor,
    centre: Tensor,
    data: CrossFit,
    held_out: Tensor,
    options: LowRankOptions,
    generator: torch.Generator,
    stop_after: int | None = None,
) -> _Trained:
    """Basis and mean weights of the epoch that is best on the users held out; of the last where nobody is.

    Parameters
    ----------
    table : Tensor of shape (n_items, rank)
        Features that the pooled reward is linear in.
    centre : Tensor of shape (rank,)
        The pooled solution, which the basis starts from and is pulled to.
    data : CrossFit
        Choices of all users, and splits to judge on.
    held_out : bool Tensor of shape (n_users,)
        Users to stop by, not to learn from.
    options : LowRankOptions
        With K and the ridge given.
    generator : torch.Generator
    stop_after : int, optional
        Epochs, instead of ``options.max_epochs``.
    """
    assert options.n_bases is not None
    noise = init_basis(table.shape[1], options.n_bases, generator, centre)["bases"][:, column_ranks(table)]
    basis = Adam({"bases": centre + START_SPREAD * noise})
    mixtures = Adam({"logits": centre.new_zeros(data.pairs.n_users, options.n_bases)})
    learners = torch.nonzero(~held_out & (data.pairs.counts > 0)).squeeze(1)
    best, best_epoch, best_loss = _state(basis, mixtures, learners), 0, math.inf
    history: list[dict[str, Any]] = []
    for epoch in range((options.max_epochs if stop_after is None else stop_after) + 1):
        training_loss = None
        if epoch > 0:
            training_loss = _one_epoch(basis, mixtures, table, centre, data.pairs, learners, options, generator)
        current = _state(basis, mixtures, learners)
        loss = _validation_loss(current, table, data, held_out)
        history.append({"epoch": epoch, "training_loss": training_loss, "validation_loss": loss})
        if loss is None or loss < best_loss:
            best, best_epoch, best_loss = current, epoch, math.inf if loss is None else loss
        elif epoch - best_epoch >= options.patience:
            break
    return _Trained(best, best_epoch, history)


def _one_epoch(
    basis: Adam,
    mixtures: Adam,
    table: Tensor,
    centre: Tensor,
    pairs: Pairs,
    learners: Tensor,
    options: LowRankOptions,
    generator: torch.Generator,
) -> float:
    """Steps of Adam over all learners in batches; their mean loss on the way, in nats a pair."""
    assert options.ridge is not None
    total = 0.0
    for users in user_batches(learners, options.users_per_batch, generator):
        bases, logits = basis.params["bases"].requires_grad_(), mixtures.params["logits"].requires_grad_()
        losses = _mixture_losses(bases, logits, table, pairs, users)
        penalty = 0.5 * options.ridge * ((bases - centre) ** 2).sum()
        d_bases, d_logits = torch.autograd.grad(losses.mean() + penalty, [bases, logits])
        basis.step({"bases": d_bases}, options.learning_rate)
        mixtures.step({"logits": d_logits}, LOGITS_RATE * options.learning_rate)
        total += float(losses.detach().sum())
    return total / max(learners.numel(), 1)


def _mixture_losses(bases: Tensor, logits: Tensor, table: Tensor, pairs: Pairs, users: Tensor) -> Tensor:
    """Loss of each user of a batch, (len(users),); all arithmetic on real pairs only."""
    index, present = pack_users(pairs.offsets, users)
    rows = index[present]
    flat = pairs.gaps(table, rows) @ bases.T
    gaps = flat.new_zeros(*index.shape, bases.shape[0])
    gaps[present] = flat
    return bradley_terry_loss(torch.softmax(logits[users], -1), gaps, *pairs.packed(index, present, flat.dtype))


def _state(basis: Adam, mixtures: Adam, learners: Tensor) -> Parameters:
    """A copy of the basis, and the mean weights of those who were learnt from: the start of a new user."""
    mean = torch.softmax(mixtures.params["logits"][learners], -1).mean(0)
    return {"bases": basis.params["bases"].clone(), "start": mean}


def _validation_loss(params: Parameters, table: Tensor, data: CrossFit, held_out: Tensor) -> float | None:
    """Mean query loss of the users held out, each adapted on its own support; None where nobody is."""
    if not held_out.any():
        return None
    rewards = rows_times(table, params["bases"].T)
    current = Setting("current", SimplexAdaptation(tolerance=STOPPING_TOLERANCE), {})
    splits = data.splits[:STOPPING_SPLITS]
    losses, _ = validate_settings([current], params["start"], rewards, data.pairs, splits, held_out)
    return float(losses.nanmean())
