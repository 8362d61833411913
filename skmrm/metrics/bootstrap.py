"""More than noise or not: users are resampled, all their pairs together, and models compared on the same users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.wording import raise_all
from skmrm.metrics.margins import as_floats

__all__ = ["Interval", "bootstrap_interval", "share_helped", "simultaneous_intervals"]

Statistic = Callable[[NDArray[np.float64]], Any]

_ENTRIES_PER_CHUNK = 1 << 20  # bounds the memory of resampling
_NO_CHANGE = 1e-9  # accuracies are ratios of small integers: a smaller difference is round-off


@dataclass(frozen=True)
class Interval:
    """An estimate with a bootstrap confidence interval.

    Attributes
    ----------
    estimate, low, high : float
        Bounds are NaN where there are no two users: of one user nothing can be said about others.
    level : float
        Nominal coverage, 0.95 for a 95 % interval.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def bootstrap_interval(
    values: ArrayLike,
    other: ArrayLike | None = None,
    *,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    n_resamples: int = 2000,
    random_state: Any = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of users, or of its difference between two models.

    Users are resampled, not pairs: pairs of one user are not independent. Two models are compared on the same
    resampled users.

    Parameters
    ----------
    values : array-like of shape (n_users,)
        A metric of each user, such as :func:`user_accuracies`. Users with NaN are left out.
    other : array-like of shape (n_users,), optional
        The same metric of the same users under another model: the interval is of the statistic of `values` minus that
        of `other`.
    statistic : callable, default=mean
        From an (n,) array of users' values to a number, such as :func:`worst_decile`. The mean is fastest.
    level : float, default=0.95
        Between 0 and 1.
    n_resamples : int, default=2000
        At least 1.
    random_state : int, numpy Generator, RandomState, or None, default=0
        Of the resamples. The same integer gives the same interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If shapes differ, values are infinite, numbers are out of bounds, or no user has a value.

    Examples
    --------
    >>> print(bootstrap_interval([0.6, 0.7, 0.8], [0.5, 0.6, 0.7]))
    +0.1000 [+0.1000, +0.1000]
    """
    table = _models_by_users(values, other, ndim=1)
    _check_numbers(level, n_resamples)
    table = table[..., ~np.isnan(table).any((0, 1))]
    if table.size == 0:
        raise ValueError("no user has a value: every entry is NaN or there are none")
    estimate = _difference(table[:, 0], statistic)
    if table.shape[-1] < 2:
        return Interval(estimate, float("nan"), float("nan"), level)
    draws = _resampled(table, statistic, n_resamples, random_state)[0]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level)


def simultaneous_intervals(
    values: ArrayLike,
    other: ArrayLike | None = None,
    *,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    n_resamples: int = 2000,
    random_state: Any = 0,
) -> list[Interval]:
    """Bootstrap intervals of several quantities of the same users, that hold all at once.

    Who looks at many 95 % intervals and quotes the best is wrong more often than in 5 % of the cases. These intervals
    are wider by as much as it takes: with probability `level` each of them covers, so that any may be quoted. They are
    estimates plus and minus a common number of standard errors: the `level` quantile, over resamples of users, of the
    largest deviation among the quantities (max-t). Quantities that go up and down together cost little.

    Parameters
    ----------
    values : array-like of shape (n_quantities, n_users)
        A metric of each user, such as the accuracy after each number of choices. NaN where a user has none.
    other : array-like of shape (n_quantities, n_users), optional
        The same under another model: the intervals are of differences.
    statistic : callable, default=mean
        From an (n,) array of users' values to a number.
    level : float, default=0.95
        Between 0 and 1.
    n_resamples : int, default=2000
        At least 1.
    random_state : int, numpy Generator, RandomState, or None, default=0
        Of the resamples. The same integer gives the same interval.

    Returns
    -------
    list of Interval
        One for each quantity; NaN for one of which no user has a value, NaN bounds where one user alone has.

    Raises
    ------
    ValueError
        If shapes differ, values are infinite, or numbers are out of bounds.

    References
    ----------
    Romano, Wolf, "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing", JASA 100, 2005.

    Examples
    --------
    >>> gains = simultaneous_intervals([[0.6, 0.7, 0.8], [0.9, 0.7, 0.8]], [[0.5, 0.6, 0.7], [0.5, 0.6, 0.7]])
    >>> print(gains[0])
    +0.1000 [+0.1000, +0.1000]
    """
    table = _models_by_users(values, other, ndim=2)
    _check_numbers(level, n_resamples)
    estimates = np.array([_difference(table[:, row], statistic) for row in range(table.shape[1])])
    draws = _resampled(table, statistic, n_resamples, random_state)
    # A resample may hold none of the few users that have a value: it says nothing about that quantity.
    told = np.isfinite(draws)
    count = np.maximum(told.sum(1), 1)
    deviation = np.where(told, draws - estimates[:, None], 0.0)
    error = np.sqrt((deviation**2).sum(1) / count)
    relative = np.abs(deviation) / np.where(error > 0, error, 1.0)[:, None]
    half = np.quantile(relative.max(0, initial=0.0), level) * error
    half[(~np.isnan(table[0])).sum(1) < 2] = np.nan
    return [Interval(float(e), float(e - h), float(e + h), level) for e, h in zip(estimates, half, strict=True)]


def share_helped(values: ArrayLike, other: ArrayLike) -> tuple[float, float]:
    """Shares of users for whom a model is better, and worse, than another.

    Parameters
    ----------
    values, other : array-like of shape (n_users,)
        The same metric, the larger the better, of the same users under the two models. Users with NaN are left out.

    Returns
    -------
    helped, hurt : float
        Fractions of users whose value under the first model is larger, and smaller; the rest are as before. Where
        users are judged on few pairs each, both are large by chance alone: read the mean first.

    Raises
    ------
    ValueError
        If shapes differ, or no user has both values.

    Examples
    --------
    >>> share_helped([0.9, 0.5, 0.5, 0.4], [0.8, 0.5, 0.5, 0.5])
    (0.25, 0.25)
    """
    table = _models_by_users(values, other, ndim=1)[:, 0]
    gain = table[0] - table[1]
    gain = gain[~np.isnan(gain)]
    if gain.size == 0:
        raise ValueError("no user has a value under both models: every entry is NaN or there are none")
    return float((gain > _NO_CHANGE).mean()), float((gain < -_NO_CHANGE).mean())


def _models_by_users(values: ArrayLike, other: ArrayLike | None, ndim: int) -> NDArray[np.float64]:
    """Values as (n_models, n_quantities, n_users), NaN for a user who has no value under one of the models."""
    models = [as_floats(values)] + ([] if other is None else [as_floats(other)])
    if len({model.shape for model in models}) > 1:
        raise ValueError(
            f"a paired comparison needs one value of each model for each user, "
            f"got shapes {models[0].shape} and {models[1].shape}"
        )
    if models[0].ndim != ndim:
        wanted = "(n_users,)" if ndim == 1 else "(n_quantities, n_users)"
        raise ValueError(f"values must have shape {wanted}, got {models[0].shape}")
    table = np.stack([np.atleast_2d(model) for model in models])
    if np.isinf(table).any():
        raise ValueError(
            "values of users must be finite, or NaN where a user has none; "
            f"{int(np.isinf(table).sum())} of {table.size} are infinite: leave these users out"
        )
    return np.where(np.isnan(table).any(0), np.nan, table)


def _check_numbers(level: Any, n_resamples: Any) -> None:
    problems = []
    if not isinstance(level, Real) or not 0 < float(level) < 1:
        problems.append(f"level must lie strictly between 0 and 1, got {level!r}")
    if not isinstance(n_resamples, Integral) or isinstance(n_resamples, bool) or n_resamples < 1:
        problems.append(f"n_resamples must be a positive integer, got {n_resamples!r}")
    raise_all(problems)


def _difference(models: NDArray[np.float64], statistic: Statistic) -> float:
    """Statistic of the first model's users, less that of the second's, where there is one; (n_models, n_users)."""
    missing = np.isnan(models[0])
    known = models[:, ~missing] if missing.any() else models
    if known.size == 0:
        return float("nan")
    found = [float(statistic(model)) for model in known]
    return found[0] if len(found) == 1 else found[0] - found[1]


def _resampled(
    table: NDArray[np.float64], statistic: Statistic, n_resamples: int, random_state: Any
) -> NDArray[np.float64]:
    """Each quantity in each resample of users, (n_quantities, n_resamples); the same users for all quantities."""
    _, n_quantities, n_users = table.shape
    if statistic is not np.mean:
        draws = [
            [_difference(table[:, row, drawn], statistic) for row in range(n_quantities)]
            for chunk in _draw_users(n_users, n_resamples, n_users, random_state)
            for drawn in chunk
        ]
        return np.array(draws).reshape(n_resamples, n_quantities).T
    gain = table[0] if len(table) == 1 else table[0] - table[1]
    known = ~np.isnan(gain)
    gain = np.where(known, gain, 0.0)
    parts = []
    for drawn in _draw_users(n_users, n_resamples, n_users * n_quantities, random_state):
        with np.errstate(invalid="ignore"):
            parts.append(gain[:, drawn].sum(-1) / known[:, drawn].sum(-1))
    return np.concatenate(parts, axis=1)


def _draw_users(n_users: int, n_resamples: int, entries: int, random_state: Any) -> Iterator[NDArray[np.intp]]:
    """Rows of resampled users, (n, n_users) at a time, where one resample takes that many entries of memory."""
    from skmrm._support.randomness import as_generator  # numpy.random, which serving does without

    rng = as_generator(random_state)
    step = max(1, _ENTRIES_PER_CHUNK // max(1, entries))
    for begin in range(0, n_resamples, step):
        yield rng.integers(0, max(1, n_users), (min(step, n_resamples - begin), n_users))
