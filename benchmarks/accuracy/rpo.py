"""What the Robust Personalization Objective does for the worst tenth of users, and what it costs on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from benchmarks._support.columns import as_columns
from benchmarks.accuracy.gains import Interval
from benchmarks.accuracy.judging import Makers, Progress, Size, Users, fit_and_judge, silent
from benchmarks.accuracy.layout import size_name, with_interval
from benchmarks.accuracy.planted import Family, draw
from benchmarks.accuracy.verdicts import Verdict
from skmrm import MetaRewardModel
from skmrm.metrics import worst_decile
from skmrm.model_selection import AdaptationCurve

__all__ = ["COMPARISONS", "Effect", "Outer", "compare_outer", "effect_text", "mean_over_seeds", "raises_worst"]

MEASURES = ("worst tenth", "hard users", "mean")


@dataclass(frozen=True)
class Outer:
    """An outer loop with RPO against the same one with a plain mean.

    Attributes
    ----------
    family : Family
        The users: with a minority whose taste opposes the crowd's.
    model : dict
        Parameters of `MetaRewardModel` that both have.
    ratio, temperature : float
        Of RPO.
    claim : int or None
        The number of support pairs at which RPO is claimed to raise the worst tenth; None claims nothing.
    """

    family: Family
    model: Mapping[str, Any]
    ratio: float = 0.5
    temperature: float = 0.5
    claim: int | None = None


@dataclass(frozen=True)
class Effect:
    """Accuracies under the plain mean, and what RPO changes, at each number of support pairs.

    Attributes
    ----------
    sizes : list of int or None
    n_seeds : int
    plain : dict of str to list of float
        For each of `MEASURES`, a mean over seeds; a fraction.
    change : dict of str to list
        RPO less plain: estimate, low and high of a 95 % interval over seeds; fractions.
    """

    sizes: list[int | None]
    n_seeds: int
    plain: dict[str, list[float]]
    change: dict[str, list[Interval]]


def compare_outer(
    outer: Outer,
    sizes: Sequence[Size],
    seeds: Sequence[int],
    n_judged: int,
    progress: Progress = silent,
) -> Effect:
    """Train both ways on the same users, and judge on the same new ones, in every seed.

    A seed has users, items, supports and starting values of its own, so that intervals over seeds hold for other users
    and for another training run too.

    Parameters
    ----------
    outer : Outer
    sizes : sequence of int or None
    seeds : sequence of int
        At least two.
    n_judged : int
        Users to judge on in every seed.
    progress : callable
        Told what is being done.
    """
    models: Makers = {
        "plain": lambda seed: _model(outer, seed, robust=False),
        "robust": lambda seed: _model(outer, seed, robust=True),
    }
    found: dict[str, list[list[list[float]]]] = {name: [] for name in models}
    for seed in seeds:
        progress(f"seed {seed}")
        data, train, judged = draw(outer.family, n_judged, seed)
        hard = set(data.episodes.users[data.hard])
        curves, _ = fit_and_judge(models, Users(train, judged), sizes, seed)
        for name, curve in curves.items():
            found[name].append(_measures(curve, hard))
    plain, robust = (np.array(found[name]) for name in ("plain", "robust"))  # (seeds, measures, sizes)
    return Effect(
        sizes=list(sizes),
        n_seeds=len(seeds),
        plain={measure: plain[:, row].mean(0).tolist() for row, measure in enumerate(MEASURES)},
        change={
            measure: [mean_over_seeds(column) for column in (robust - plain)[:, row].T]
            for row, measure in enumerate(MEASURES)
        },
    )


def mean_over_seeds(values: ArrayLike) -> Interval:
    """Mean of one number a seed, with Student's 95 % interval."""
    known = np.asarray(values, float)
    centre = float(known.mean())
    half = float(student.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return (centre, centre - half, centre + half)


def raises_worst(outer: Outer, effect: Effect) -> Verdict | None:
    """Check that RPO raises the accuracy of the worst tenth where that is claimed."""
    if outer.claim is None:
        return None
    row = effect.sizes.index(outer.claim)
    change, cost = effect.change["worst tenth"][row], effect.change["mean"][row]
    return Verdict(
        passed=change[1] > 0,
        claim=f"RPO raises the worst tenth at {size_name(outer.claim)}",
        found=f"{with_interval(change)}; the mean {with_interval(cost)}",
    )


def effect_text(effect: Effect) -> str:
    """Write an effect, one row a number of support pairs."""
    header = ["pairs", *(f"{measure}, %" for measure in MEASURES), *(f"{measure}: RPO - plain" for measure in MEASURES)]
    rows = [
        [
            size_name(size),
            *(f"{100 * effect.plain[measure][row]:.1f}" for measure in MEASURES),
            *(with_interval(effect.change[measure][row]) for measure in MEASURES),
        ]
        for row, size in enumerate(effect.sizes)
    ]
    return as_columns(header, rows)


# One gradient step, the paper's inner loop, from a random start, with as many epochs as it takes to converge: RPO
# lowers the weights that users start from, so that a step takes those who disagree further.
_ONE_STEP = {
    "spectral_init": False,
    "adaptation": "gradient",
    "inner_steps": 1,
    "n_bases": 8,
    "learning_rate": 0.03,
    "max_epochs": 100,
    "patience": 100,
}
_MINORITY = Family({"hard_fraction": 0.2, "shared_strength": 2.5, "personal_strength": 1.0})

COMPARISONS: dict[str, Outer] = {
    "one gradient step, the hardest half": Outer(_MINORITY, _ONE_STEP, temperature=0.0, claim=3),
    "one gradient step, the paper's RPO": Outer(_MINORITY, _ONE_STEP),
    "one gradient step, the hardest half, weaker opposition": Outer(
        Family({"hard_fraction": 0.2}), _ONE_STEP, temperature=0.0
    ),
    "MAP adaptation, the hardest half": Outer(
        _MINORITY, _ONE_STEP | {"adaptation": "map", "max_epochs": 30}, temperature=0.0
    ),
}


def _model(outer: Outer, seed: int, *, robust: bool) -> MetaRewardModel:
    objective = {"robust_ratio": outer.ratio, "robust_temperature": outer.temperature if robust else None}
    return MetaRewardModel(**outer.model, **objective, random_state=seed)


def _measures(curve: AdaptationCurve, hard: set[Any]) -> list[list[float]]:
    """Each of `MEASURES` at each size, over the users who have so many pairs."""
    is_hard = np.array([user in hard for user in curve.users])
    return [
        [worst_decile(row) for row in curve.accuracy],
        [float(np.nanmean(row[is_hard])) if is_hard.any() else float("nan") for row in curve.accuracy],
        [float(np.nanmean(row)) for row in curve.accuracy],
    ]
