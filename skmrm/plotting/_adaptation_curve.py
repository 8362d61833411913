"""Accuracy against number of choices: whether adapting helps, and how many choices it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.axes import GREY, axes_for, finish, options, pyplot
from skmrm._support.wording import raise_all
from skmrm.model_selection import AdaptationCurve
from skmrm.model_selection.curve import check_curves, mean_by_size
from skmrm.model_selection.judged import SUPPORT_SIZES, baseline_of, curves_of
from skmrm.plotting._curves import Metric, argument_problems, size_name

__all__ = ["AdaptationCurveDisplay"]

_MARKERS = "os^Dv"
_METRICS = {
    "accuracy": "accuracy on unseen choices (fraction)",
    "log_loss": "log loss on unseen choices (nats)",
}
_GAINS = {
    "accuracy": "gain in accuracy over {} (points)",
    "log_loss": "change in log loss from {} (nats, lower is better)",
}
_UNITS = {"accuracy": 100.0, "log_loss": 1.0}  # differences of accuracies are drawn in points


class AdaptationCurveDisplay:
    """How good models are on unseen choices, against the number of choices they adapted on.

    Make it with :meth:`from_estimator` or :meth:`from_curves`; all parameters are stored as attributes.

    Parameters
    ----------
    names : sequence of str
        Name of each curve.
    support_sizes : sequence of int or None
        Numbers of choices; None is all.
    estimate, low, high : array-like of shape (n_curves, n_sizes)
        Mean over users and its interval: fractions for accuracy (points for a gain), nats for log loss. NaN where no
        user has so many choices.
    n_users : array-like of int of shape (n_sizes,)
        Users judged at each size.
    metric : {"accuracy", "log_loss"}, default="accuracy"
    relative_to : str, optional
        Name of the model that the values are differences from; None for the values themselves.
    level : float, default=0.95
        Nominal coverage of the intervals.
    simultaneous : bool, default=False
        Whether the intervals of a curve hold at all sizes at once, or each by itself.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        One a curve, over the numbers of choices that any user reaches.
    fill_between_ : list of matplotlib.collections.PolyCollection
        Their bands.
    zero_line_ : matplotlib.lines.Line2D or None
        No difference; None without `relative_to`.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    See Also
    --------
    skmrm.model_selection.adaptation_curve : Compute a curve.

    Notes
    -----
    Bands of two models that overlap say little about their difference, since both are judged on the same users: use
    `relative_to`, which is paired.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> from skmrm.plotting import AdaptationCurveDisplay
    >>> episodes = make_user_preferences(n_users=60, n_features=5, random_state=0).episodes
    >>> model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes[:40])
    >>> display = AdaptationCurveDisplay.from_estimator(model, episodes[40:], support_sizes=(0, 5, None))
    >>> display.lines_[0].get_xydata().shape
    (3, 2)
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        support_sizes: Sequence[int | None],
        estimate: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        n_users: ArrayLike,
        metric: Metric = "accuracy",
        relative_to: str | None = None,
        level: float = 0.95,
        simultaneous: bool = False,
    ) -> None:
        self.names = list(names)
        self.support_sizes = tuple(support_sizes)
        self.estimate = np.asarray(estimate, float)
        self.low = np.asarray(low, float)
        self.high = np.asarray(high, float)
        self.n_users = np.asarray(n_users)
        self.metric = metric
        self.relative_to = relative_to
        self.level = level
        self.simultaneous = simultaneous

    def plot(
        self,
        ax: Any = None,
        *,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
    ) -> AdaptationCurveDisplay:
        """Draw the curves, at the numbers of choices that any user reaches.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw, fill_between_kw : dict, optional
            For the lines (``Axes.plot``) and their bands (``Axes.fill_between``).

        Returns
        -------
        AdaptationCurveDisplay
            Itself.

        Raises
        ------
        ValueError
            If no user is judged at any number of choices.
        """
        reached = np.flatnonzero(self.n_users)
        if reached.size == 0:
            raise ValueError("no user is judged at any of the sizes: ask for smaller support_sizes")
        self.figure_, self.ax_ = axes_for(ax, "AdaptationCurveDisplay")
        ax = self.ax_
        place = np.arange(len(reached))
        edge = 0 if len(reached) > 1 else 6  # a band over a single place has no area: its edge is what is seen
        self.zero_line_ = None
        if self.relative_to is not None:
            self.zero_line_ = ax.axhline(0, color=GREY, linestyle="--", linewidth=1, label=self.relative_to)
        self.lines_, self.fill_between_ = [], []
        for row, name in enumerate(self.names):
            look = options("line", line_kw, marker=_MARKERS[row % len(_MARKERS)], label=name)
            (line,) = ax.plot(place, self.estimate[row, reached], **look)
            area = options("area", fill_between_kw, alpha=0.2, linewidth=edge, color=line.get_color())
            self.lines_.append(line)
            self.fill_between_.append(ax.fill_between(place, self.low[row, reached], self.high[row, reached], **area))
        self._label(ax, reached)
        return self

    def _label(self, ax: Any, reached: NDArray[np.intp]) -> None:
        ticks = [size_name(self.support_sizes[row]) for row in reached]
        n_users = self.n_users[reached]
        users = f"{n_users.max():,} users"
        if np.ptp(n_users) > 0:  # sizes are over other users: say so where it is seen
            ticks = [f"{tick}\n({n:,})" for tick, n in zip(ticks, n_users, strict=True)]
            users = "users judged in brackets"
        beyond = [size_name(size) for size, n in zip(self.support_sizes, self.n_users, strict=True) if n == 0]
        users += f"; nobody has {', '.join(beyond)}" if beyond else ""
        ax.set_xticks(range(len(ticks)), ticks)
        ax.set_xlabel(f"choices adapted on; {users}")
        names = _METRICS if self.relative_to is None else _GAINS
        ax.set_ylabel(names[self.metric].format(self.relative_to))
        together = ",\nat all sizes at once" if self.simultaneous else ""
        finish(ax, title=f"mean over users, {100 * self.level:g} % interval{together}")

    @classmethod
    def from_curves(
        cls,
        curves: Mapping[str, AdaptationCurve],
        *,
        metric: Metric = "accuracy",
        relative_to: str | None = None,
        level: float = 0.95,
        simultaneous: bool = False,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
    ) -> AdaptationCurveDisplay:
        """Draw curves that were computed before.

        Parameters
        ----------
        curves : dict of str to AdaptationCurve
            From names to curves over the same users and sizes.
        metric : {"accuracy", "log_loss"}, default="accuracy"
            What to draw.
        relative_to : str, optional
            Name of a curve to draw the others' differences from, user by user: in points of accuracy, or nats.
        level : float, default=0.95
            Coverage of the intervals: bootstrap over users.
        simultaneous : bool, default=False
            False: each interval covers by itself (:func:`skmrm.metrics.bootstrap_interval`). True: those of a curve
            cover at all sizes at once (:func:`skmrm.metrics.simultaneous_intervals`), so that any size may be quoted.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw, fill_between_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        AdaptationCurveDisplay

        Raises
        ------
        ValueError
            If curves are not of the same users and sizes, or an argument is out of its range, with all mistakes
            listed; or if no user is judged at any size.
        """
        pyplot("AdaptationCurveDisplay.from_curves")
        names = list(curves) if isinstance(curves, Mapping) else []
        raise_all([*check_curves(curves), *argument_problems(names, metric, relative_to, level)])
        values = {name: np.asarray(getattr(curve, metric), float) for name, curve in curves.items()}
        known = ~np.any([np.isnan(value) for value in values.values()], axis=0)
        reference = None if relative_to is None else values.pop(relative_to)
        unit = 1.0 if relative_to is None else _UNITS[metric]
        bands = unit * np.array(
            [mean_by_size(value, reference, known, level, simultaneous) for value in values.values()]
        )
        display = cls(
            names=list(values),
            support_sizes=next(iter(curves.values())).support_sizes,
            estimate=bands[..., 0],
            low=bands[..., 1],
            high=bands[..., 2],
            n_users=known.sum(1),
            metric=metric,
            relative_to=relative_to,
            level=level,
            simultaneous=simultaneous,
        )
        return display.plot(ax, line_kw=line_kw, fill_between_kw=fill_between_kw)

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        episodes: Any,
        *,
        baseline: Any = None,
        support_sizes: Sequence[int | None] = SUPPORT_SIZES,
        metric: Metric = "accuracy",
        relative_to: str | None = None,
        level: float = 0.95,
        simultaneous: bool = False,
        curve_kw: Mapping[str, Any] | None = None,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
        fill_between_kw: Mapping[str, Any] | None = None,
    ) -> AdaptationCurveDisplay:
        """Judge a fitted model, and a baseline, on users that it has not seen.

        Parameters
        ----------
        model : fitted estimator
            Such as :class:`skmrm.MetaRewardModel`. Its curve is named "adapted".
        episodes : EpisodeSet or list of Episode
            Users who were not in fit.
        baseline : fitted estimator, optional
            None takes ``model.pooled_model_`` where there is one. Its curve is named "pooled", one that is passed
            "baseline".
        support_sizes : sequence of int or None, default=(0, 1, 3, 5, 10, 20, None)
            Numbers of choices; None is all.
        metric : {"accuracy", "log_loss"}, default="accuracy"
            What to draw.
        relative_to : str, optional
            Name of a curve to draw the other's difference from, as in :meth:`from_curves`.
        level : float, default=0.95
            Coverage of the intervals.
        simultaneous : bool, default=False
            Whether the intervals of a curve cover at all sizes at once, as in :meth:`from_curves`.
        curve_kw : dict, optional
            More arguments of :func:`skmrm.model_selection.adaptation_curve`, such as ``n_splits`` or ``random_state``.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw, fill_between_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        AdaptationCurveDisplay

        Raises
        ------
        ValueError
            As in :meth:`from_curves`.
        """
        pyplot("AdaptationCurveDisplay.from_estimator")
        other, name = baseline_of(model, baseline), "pooled" if baseline is None else "baseline"
        models = {"adapted": model} if other is None else {"adapted": model, name: other}
        raise_all(argument_problems(list(models), metric, relative_to, level))
        curves = dict(zip(models, curves_of(list(models.values()), episodes, support_sizes, curve_kw), strict=True))
        return cls.from_curves(
            curves,
            metric=metric,
            relative_to=relative_to,
            level=level,
            simultaneous=simultaneous,
            ax=ax,
            line_kw=line_kw,
            fill_between_kw=fill_between_kw,
        )
