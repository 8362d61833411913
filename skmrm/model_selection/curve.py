"""Accuracy against number of choices, as data; and two models compared user by user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.progress import Watch
from skmrm._support.wording import counted, described, raise_all
from skmrm.display import Note, Table, as_html, with_interval
from skmrm.metrics import (
    Interval,
    Reliability,
    bootstrap_interval,
    share_helped,
    simultaneous_intervals,
    worst_decile,
)

__all__ = ["AdaptationCurve", "Comparison", "check_curves", "compare", "mean_by_size", "mean_of_known"]

_STAGES = ("accuracy", "worst tenth", "log loss")


@dataclass(frozen=True, eq=False, repr=False)
class AdaptationCurve:
    """How well users are predicted after adapting on none, some and all of their support pairs.

    Made by :func:`skmrm.model_selection.adaptation_curve`. Two models' curves on the same episodes and `random_state`
    are over the same users, splits and supports, so that differences are paired.

    Attributes
    ----------
    users : ndarray of object of shape (n_users,)
        Ids of the users who are judged: those with both a support and a query pair.
    support_sizes : tuple of int or None
        Numbers of support pairs; None stands for all.
    accuracy : ndarray of shape (n_sizes, n_users)
        Share of each user's query pairs predicted right, a mean over splits; NaN where a user has fewer support pairs
        than asked for in every split.
    log_loss : ndarray of shape (n_sizes, n_users)
        Mean negative log likelihood of a query pair, in nats; NaN likewise.
    reliability : tuple of Reliability
        Confidence against accuracy for each size, over the pairs of all splits, users counting alike.
    n_support : ndarray of shape (n_users,)
        Number of support pairs that each user has, a mean over splits.
    decisive : ndarray of shape (n_sizes, n_users) or None
        Accuracy over those query pairs that are no ties, which count half in `accuracy`; None if there is no tie.
    """

    users: NDArray[np.object_]
    support_sizes: tuple[int | None, ...]
    accuracy: NDArray[np.float64]
    log_loss: NDArray[np.float64]
    reliability: tuple[Reliability, ...]
    n_support: NDArray[np.float64]
    decisive: NDArray[np.float64] | None = None

    def to_frame(self) -> Any:
        """Summary over users, one row a number of support pairs.

        Returns
        -------
        pandas.DataFrame
            Index ``n_support`` (integers, and "all"); columns n_users, accuracy, worst_decile and calibration_error
            (fractions), log_loss (nats a pair). NaN for a number that no user reaches. With ties also
            decisive_accuracy.
        """
        return frame_by_size(self._rows(), self.support_sizes)

    def _rows(self) -> list[dict[str, Any]]:
        rows = [
            {
                "n_users": int((~np.isnan(accuracy)).sum()),
                "accuracy": mean_of_known(accuracy),
                "worst_decile": float("nan") if np.isnan(accuracy).all() else worst_decile(accuracy),
                "log_loss": mean_of_known(log_loss),
                "calibration_error": found.calibration_error,
            }
            for accuracy, log_loss, found in zip(self.accuracy, self.log_loss, self.reliability, strict=True)
        ]
        if self.decisive is not None:
            for row, values in zip(rows, self.decisive, strict=True):
                row["decisive_accuracy"] = mean_of_known(values)
        return rows

    def __repr__(self) -> str:
        return f"AdaptationCurve(n_users={len(self.users)}, support_sizes={self.support_sizes})"

    def _repr_html_(self) -> str:
        rows = [
            (
                _size(size),
                f"{row['n_users']:,}",
                *(f"{row[name]:.3f}" for name in ("accuracy", "worst_decile", "log_loss", "calibration_error")),
            )
            for size, row in zip(self.support_sizes, self._rows(), strict=True)
            if row["n_users"]
        ]
        head = ("choices", "users", "accuracy", "worst tenth", "log loss", "ECE")
        note = (
            "Means over users, on pairs of other groups. Accuracies and the calibration error (ECE) are fractions, log "
            "loss is in nats a pair."
        )
        return as_html("AdaptationCurve", "", [Table(rows, head, numbers=True), Note(note)])


@dataclass(frozen=True, repr=False)
class Comparison:
    """One number of choices: a model against a baseline on the same users.

    Attributes
    ----------
    n_support : int or None
        Number of support pairs; None for all.
    n_users : int
        Users who have as many.
    gain : Interval
        Mean over users of the accuracy of the model minus that of the baseline, a fraction.
    worst_decile_gain : Interval
        Worst-decile accuracy of the model minus that of the baseline, a fraction. The tenth may be other users.
    log_loss_change : Interval
        Mean over users of the difference in log loss, in nats a pair; negative is better.
    helped, hurt : float
        Fractions of users whose accuracy is higher, and lower, than under the baseline.
    """

    n_support: int | None
    n_users: int
    gain: Interval
    worst_decile_gain: Interval
    log_loss_change: Interval
    helped: float
    hurt: float

    def __repr__(self) -> str:
        said = "; ".join(f"{name} {value}" for name, value in self._facts()[2:])
        return f"Comparison({_size(self.n_support)} choices, {counted(self.n_users, 'user')}: {said})"

    def _repr_html_(self) -> str:
        return as_html("Comparison", "", [Table(self._facts(), named=True)])

    def _facts(self) -> list[tuple[str, str]]:
        points = {"gain in points": self.gain, "of the worst tenth": self.worst_decile_gain}
        return [
            ("choices", _size(self.n_support)),
            ("users", f"{self.n_users:,}"),
            *((name, _shown(one, 100, 1)) for name, one in points.items()),
            ("log loss change", _shown(self.log_loss_change, 1, 3)),
            ("helped", f"{100 * self.helped:.0f} %"),
            ("hurt", f"{100 * self.hurt:.0f} %"),
        ]


def compare(
    curve: AdaptationCurve,
    baseline: AdaptationCurve,
    level: float = 0.95,
    *,
    simultaneous: bool = False,
    random_state: Any = 0,
) -> list[Comparison]:
    """Compare two models on the same users, splits and supports, with bootstrap intervals over users.

    Parameters
    ----------
    curve, baseline : AdaptationCurve
        Of two models, on the same episodes, sizes and `random_state`.
    level : float, default=0.95
        Between 0 and 1.
    simultaneous : bool, default=False
        False: each interval covers by itself. True: the intervals of a metric cover at all sizes at once
        (:func:`skmrm.metrics.simultaneous_intervals`), so that any size may be quoted.
    random_state : int, numpy Generator, or None, default=0
        Of the bootstrap.

    Returns
    -------
    list of Comparison
        One for each size, in the order of the curves; NaN for a size that no user reaches.

    Raises
    ------
    ValueError
        If the curves are over other users, sizes or splits.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> from skmrm.model_selection import adaptation_curve, compare
    >>> episodes = make_user_preferences(n_users=60, n_features=5, random_state=0).episodes
    >>> models = [MetaRewardModel(n_bases=k, max_epochs=0, random_state=0).fit(episodes[:40]) for k in (4, 1)]
    >>> curves = [adaptation_curve(model, episodes[40:], support_sizes=[10]) for model in models]
    >>> (row,) = compare(*curves)
    >>> row.n_support, row.n_users, row.gain.low > 0
    (10, 20, True)
    """
    raise_all(check_curves({"curve": curve, "baseline": baseline}))
    shared: dict[str, Any] = {"level": level, "simultaneous": simultaneous, "random_state": random_state}
    with Watch("compare", _STAGES) as tell:
        tell(_STAGES[0])
        gains = _intervals(curve.accuracy, baseline.accuracy, **shared)
        tell(_STAGES[1])
        worst = _intervals(curve.accuracy, baseline.accuracy, statistic=worst_decile, **shared)
        tell(_STAGES[2])
        losses = _intervals(curve.log_loss, baseline.log_loss, **shared)
    rows = []
    for row, n_support in enumerate(curve.support_sizes):
        n_users = int((~np.isnan(curve.accuracy[row] + baseline.accuracy[row])).sum())
        shares = share_helped(curve.accuracy[row], baseline.accuracy[row]) if n_users else (np.nan, np.nan)
        rows.append(Comparison(n_support, n_users, gains[row], worst[row], losses[row], *shares))
    return rows


def _size(n_support: int | None) -> str:
    return "all" if n_support is None else str(n_support)


def _shown(interval: Interval, factor: float, digits: int) -> str:
    return with_interval(factor * interval.estimate, factor * interval.low, factor * interval.high, digits)


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean over the users who have a value; NaN if none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def frame_by_size(rows: list[dict[str, Any]], support_sizes: tuple[int | None, ...]) -> Any:
    """Rows as a pandas DataFrame, indexed by number of support pairs."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("a table needs pandas, which is not installed: pip install 'skmrm[report]'") from error
    sizes = ["all" if size is None else size for size in support_sizes]
    return pd.DataFrame(rows, index=pd.Index(sizes, name="n_support", dtype=object))


def _intervals(
    values: NDArray[np.float64],
    other: NDArray[np.float64] | None,
    *,
    statistic: Callable[[NDArray[np.float64]], Any] = np.mean,
    level: float,
    simultaneous: bool,
    random_state: Any = 0,
) -> list[Interval]:
    """One interval for each row, which hold all at once or each by itself; NaN for a row that no user has."""
    shared: dict[str, Any] = {"statistic": statistic, "level": level, "random_state": random_state}
    if simultaneous:
        return simultaneous_intervals(values, other, **shared)
    others = [None] * len(values) if other is None else other
    return [
        Interval(np.nan, np.nan, np.nan, level)
        if np.isnan(one if two is None else one + two).all()
        else bootstrap_interval(one, two, **shared)
        for one, two in zip(values, others, strict=True)
    ]


def check_curves(curves: Any) -> list[str]:
    """What keeps some named curves from being compared with each other."""
    if not isinstance(curves, Mapping) or not curves:
        return [f"curves must be a dict from names to AdaptationCurve, with at least one, got {described(curves)}"]
    strangers = {name: curve for name, curve in curves.items() if not isinstance(curve, AdaptationCurve)}
    if strangers:
        name, curve = next(iter(strangers.items()))
        return [f"curves must be AdaptationCurve, as adaptation_curve returns, got {described(curve)} for {name!r}"]
    remedy = "compute all curves with the same episodes, support_sizes, n_splits and random_state"
    first, *others = curves.values()
    problems = []
    if any(other.support_sizes != first.support_sizes for other in others):
        listed = "; ".join(f"{name!r}: {curve.support_sizes}" for name, curve in curves.items())
        problems.append(f"curves must have the same support_sizes, got {listed}: {remedy}")
    if any(not np.array_equal(other.users, first.users) for other in others):
        listed = ", ".join(f"{name!r}: {len(curve.users)} users" for name, curve in curves.items())
        problems.append(f"curves must be of the same users in the same order, got others ({listed}): {remedy}")
    elif any(not np.allclose(other.n_support, first.n_support) for other in others):
        problems.append(f"curves must be over the same splits, got other numbers of support pairs: {remedy}")
    return problems


def mean_by_size(
    values: NDArray[np.float64],
    other: NDArray[np.float64] | None,
    known: NDArray[np.bool_],
    level: float,
    simultaneous: bool,
) -> NDArray[np.float64]:
    """Mean over the known users at each size, of the values or of their difference, with its interval.

    Columns are the estimate, low and high, (n_sizes, 3); NaN at a size that no user reaches.
    """
    table = np.full((len(known), 3), np.nan)
    reached = np.flatnonzero(known.any(1))
    values = np.where(known, values, np.nan)[reached]
    other = None if other is None else other[reached]
    found = _intervals(values, other, level=level, simultaneous=simultaneous)
    table[reached] = np.reshape([(interval.estimate, interval.low, interval.high) for interval in found], (-1, 3))
    return table
