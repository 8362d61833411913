"""What is known of users before their first choice: with and without it, and next to who knows what it truly tells.

Simulated users whose taste is to a share a linear function of five numbers, among three more that tell nothing. The
same model is fitted with these features and without; new users are judged on their true preferences before any choice,
and after a few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks._support.columns import as_columns
from benchmarks.accuracy.judging import Progress, silent
from benchmarks.accuracy.layout import with_interval
from benchmarks.accuracy.verdicts import Verdict
from skmrm import EpisodeSet, MetaRewardModel, episodes_from_arrays
from skmrm.metrics import bootstrap_interval

__all__ = ["SHARES", "judge_profiles", "profile_text", "profile_verdicts"]

SHARES = (0.5, 0.25, 0.0)  # of the variance of users' tastes that features explain
SIZES = (0, 3, 10)
N_TRAIN, N_PAIRS, N_ITEMS, N_COLUMNS, N_TOLD, N_IDLE = 300, 20, 400, 10, 5, 3
NEAR = 0.3  # points that useless features may cost
Accuracy = dict[str, NDArray[np.float64]]


def judge_profiles(share: float, n_judged: int, seeds: Sequence[int], progress: Progress = silent) -> Accuracy:
    """Accuracy of each new user, (n_sizes, n_users): without features, with them, and knowing what they tell."""
    found: dict[str, list[NDArray[np.float64]]] = {"without": [], "with": [], "knowing": []}
    for seed in seeds:
        progress(f"seed {seed}")
        rng = np.random.default_rng(seed)
        n_users = N_TRAIN + n_judged
        features, known = rng.normal(size=(N_ITEMS, N_COLUMNS)), rng.normal(size=(n_users, N_TOLD + N_IDLE))
        effect = rng.normal(size=(N_TOLD, N_COLUMNS)) / N_TOLD**0.5
        mean = np.where(np.arange(N_COLUMNS) < 3, 0.7, 0.0)
        told = mean + share**0.5 * known[:, :N_TOLD] @ effect
        taste = told + (1 - share) ** 0.5 * rng.normal(size=(n_users, N_COLUMNS))
        episodes = _choices(features, taste, rng)
        train, new = episodes[:N_TRAIN], episodes[N_TRAIN:]
        gaps = np.subtract(*rng.normal(size=(2, 500, N_COLUMNS)))
        truth = taste[N_TRAIN:] @ gaps.T > 0
        plain, informed = (
            MetaRewardModel(random_state=seed, kernel=None).fit(train, user_features=one)
            for one in (None, known[:N_TRAIN])
        )
        for name, model, own in (("without", plain, None), ("with", informed, known[N_TRAIN:])):
            first = [new.take_pairs(np.arange(new.n_pairs) % N_PAIRS < size) for size in SIZES]
            rows = []
            for support in first:
                users = model.adapt_many(support, user_features=own)
                rewards = users.weights_ @ model.transform(gaps).T - users.weights_ @ model.transform(0 * gaps).T
                rows.append(((rewards > 0) == truth).mean(1))
            found[name].append(np.array(rows))
        found["knowing"].append(np.tile(((told[N_TRAIN:] @ gaps.T > 0) == truth).mean(1), (len(SIZES), 1)))
    return {name: np.concatenate(parts, axis=1) for name, parts in found.items()}


def _choices(features: NDArray[np.float64], taste: NDArray[np.float64], rng: np.random.Generator) -> EpisodeSet:
    user = np.repeat(np.arange(len(taste)), N_PAIRS)
    one = rng.integers(0, N_ITEMS, len(user))
    other = (one + rng.integers(1, N_ITEMS, len(user))) % N_ITEMS
    gap = ((features[one] - features[other]) * taste[user]).sum(1)
    ahead = gap + rng.logistic(size=len(user)) > 0
    return episodes_from_arrays(features, np.where(ahead, one, other), np.where(ahead, other, one), user)


def profile_text(found: Mapping[float, Accuracy]) -> str:
    """A row a share and a number of choices."""
    rows = []
    for share, one in found.items():
        for place, size in enumerate(SIZES):
            gain = bootstrap_interval(one["with"][place], one["without"][place])
            cells = [f"{100 * one[name][place].mean():.1f}" for name in ("without", "with")]
            knowing = f"{100 * one['knowing'][0].mean():.1f}" if size == 0 else "-"
            rows.append(
                [f"{share:.0%}", str(size), *cells, with_interval((gain.estimate, gain.low, gain.high)), knowing]
            )
    header = [
        "explained",
        "choices",
        "without, %",
        "with features, %",
        "gain, points [95 %]",
        "knowing what they tell, %",
    ]
    return as_columns(header, rows)


def profile_verdicts(found: Mapping[float, Accuracy]) -> list[Verdict]:
    """What is claimed: half of what there is to gain before the first choice, and no loss where there is nothing."""
    claims = []
    for share, one in found.items():
        gain = bootstrap_interval(one["with"][0], one["without"][0])
        written = with_interval((gain.estimate, gain.low, gain.high))
        if share > 0:
            wanted = (one["knowing"][0].mean() - one["without"][0].mean()) / 2
            claim = f"features that explain {share:.0%}: half of what there is to gain, {100 * wanted:.1f} points"
            claims.append(Verdict(gain.low > wanted, claim, written))
        else:
            worst = min(
                bootstrap_interval(with_it, without).high
                for with_it, without in zip(one["with"], one["without"], strict=True)
            )
            claims.append(Verdict(100 * worst >= -NEAR, "features that tell nothing: no loss beyond noise", written))
    return claims
