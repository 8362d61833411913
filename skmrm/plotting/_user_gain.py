"""Gain of each user: whom adapting helps, whom it hurts, and by how much."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.axes import GREY, axes_for, finish, options, pyplot
from skmrm._support.wording import raise_all
from skmrm.episodes.arrays import id_array
from skmrm.metrics.bootstrap import Interval, bootstrap_interval, share_helped
from skmrm.model_selection import AdaptationCurve
from skmrm.model_selection.curve import check_curves
from skmrm.model_selection.judged import baseline_of, curves_of
from skmrm.plotting._curves import adapting_on, row_of_size

__all__ = ["UserGainDisplay"]


class UserGainDisplay:
    """Each user's gain in accuracy over a baseline at one number of choices, largest first.

    Make it with :meth:`from_estimator` or :meth:`from_curves`.

    Parameters
    ----------
    users : array-like of shape (n_users,)
        Ids.
    gains : array-like of shape (n_users,)
        Accuracy of the model minus that of the baseline on each user's unseen choices, as fractions.
    interval : Interval
        Of the mean gain.
    n_support : int or None
        Number of choices adapted on; None is all.
    baseline_name : str, default="the baseline"
        What the gains are over, for labels.

    Attributes
    ----------
    users, gains : ndarray of shape (n_users,)
        Sorted by gain, largest first; ties in the order given.
    helped, hurt : float
        Fractions of users whose gain is above 0, and below it.
    areas_ : list of matplotlib.patches.StepPatch
        Gains, and losses.
    mean_line_ : matplotlib.lines.Line2D
    mean_band_ : matplotlib.patches.Rectangle
        Interval of the mean.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    Notes
    -----
    Users are judged on few choices each, so that gains spread by chance alone, also where adapting does nothing for
    anybody: read the mean and its interval first, and the shape as how much single users can expect to see.

    Examples
    --------
    >>> from skmrm.metrics import bootstrap_interval
    >>> from skmrm.plotting import UserGainDisplay
    >>> gains = [0.1, -0.1, 0.2, 0.0]
    >>> display = UserGainDisplay(users=list("abcd"), gains=gains, interval=bootstrap_interval(gains), n_support=5)
    >>> display.users, display.helped, display.hurt
    (array(['c', 'a', 'd', 'b'], dtype=object), 0.5, 0.25)
    """

    def __init__(
        self,
        *,
        users: Sequence[Hashable] | NDArray[Any],
        gains: ArrayLike,
        interval: Interval,
        n_support: int | None,
        baseline_name: str = "the baseline",
    ) -> None:
        gained = np.asarray(gains, float)
        order = np.argsort(-gained, kind="stable")
        self.users = id_array(users)[order]
        self.gains = gained[order]
        self.helped, self.hurt = share_helped(gained, np.zeros_like(gained))
        self.interval = interval
        self.n_support = n_support
        self.baseline_name = baseline_name

    def plot(
        self, ax: Any = None, *, area_kw: Mapping[str, Any] | None = None, line_kw: Mapping[str, Any] | None = None
    ) -> UserGainDisplay:
        """Draw the gains.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        area_kw, line_kw : dict, optional
            For both areas (``Axes.stairs``) and for the line of the mean (``Axes.axhline``).

        Returns
        -------
        UserGainDisplay
            Itself.
        """
        self.figure_, self.ax_ = axes_for(ax, "UserGainDisplay")
        ax = self.ax_
        points, edges = 100 * self.gains, np.linspace(0, 100, len(self.gains) + 1)
        unchanged = max(1 - self.helped - self.hurt, 0)
        labels = (
            f"helped: {100 * self.helped:.0f} %",
            f"hurt: {100 * self.hurt:.0f} % (as before: {100 * unchanged:.0f} %)",
        )
        self.areas_ = [
            ax.stairs(part, edges, fill=True, **options("area", area_kw, color=colour, alpha=0.75, label=label))
            for part, colour, label in zip((points.clip(min=0), points.clip(max=0)), ("C0", "C1"), labels, strict=True)
        ]
        mean, low, high = (100 * value for value in (self.interval.estimate, self.interval.low, self.interval.high))
        label = f"mean: {mean:+.1f} points, {100 * self.interval.level:g} % [{low:.1f}, {high:.1f}]"
        self.mean_band_ = ax.axhspan(low, high, color=GREY, alpha=0.25, linewidth=0)
        self.mean_line_ = ax.axhline(mean, **options("line", line_kw, color="k", linestyle="--", label=label))
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set_xlim(0, 100)
        ax.set_xlabel(f"{len(self.gains):,} users by gain (% of users)")
        ax.set_ylabel(f"gain in accuracy over {self.baseline_name} (points)")
        finish(ax, title=adapting_on(self.n_support), loc="upper right")
        return self

    @classmethod
    def from_curves(
        cls,
        curve: AdaptationCurve,
        baseline_curve: AdaptationCurve,
        n_support: int | None = None,
        *,
        level: float = 0.95,
        baseline_name: str = "the baseline",
        ax: Any = None,
        area_kw: Mapping[str, Any] | None = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> UserGainDisplay:
        """Compare two curves of the same users at one number of choices.

        Parameters
        ----------
        curve, baseline_curve : AdaptationCurve
            Over the same users and sizes.
        n_support : int, optional
            One of their ``support_sizes``; None is all choices.
        level : float, default=0.95
            Coverage of the interval of the mean: paired percentile bootstrap over users.
        baseline_name : str, default="the baseline"
            For labels.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        area_kw, line_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        UserGainDisplay

        Raises
        ------
        ValueError
            If the curves are not of the same users and sizes, have no such size, or judge no user at it.
        """
        pyplot("UserGainDisplay.from_curves")
        problems = check_curves({"curve": curve, "baseline_curve": baseline_curve})
        raise_all(problems)
        row = row_of_size(curve, n_support)
        return cls._compare(curve, row, baseline_curve, row, level, baseline_name).plot(
            ax, area_kw=area_kw, line_kw=line_kw
        )

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        episodes: Any,
        n_support: int | None = None,
        *,
        baseline: Any = None,
        level: float = 0.95,
        curve_kw: Mapping[str, Any] | None = None,
        ax: Any = None,
        area_kw: Mapping[str, Any] | None = None,
        line_kw: Mapping[str, Any] | None = None,
    ) -> UserGainDisplay:
        """Judge a fitted model and a baseline on users that they have not seen.

        Parameters
        ----------
        model : fitted estimator
            Such as :class:`skmrm.MetaRewardModel`.
        episodes : EpisodeSet or list of Episode
            Users who were not in fit.
        n_support : int, optional
            Choices to adapt on; None is all.
        baseline : fitted estimator, optional
            None takes ``model.pooled_model_`` where there is one, else the model itself before adapting.
        level : float, default=0.95
            Coverage of the interval of the mean.
        curve_kw : dict, optional
            More arguments of :func:`skmrm.model_selection.adaptation_curve`, such as ``n_splits`` or ``random_state``.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        area_kw, line_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        UserGainDisplay

        Raises
        ------
        ValueError
            If no user can be judged at that number of choices.
        """
        pyplot("UserGainDisplay.from_estimator")
        other = baseline_of(model, baseline)
        if other is None:
            (curve,) = curves_of([model], episodes, tuple(dict.fromkeys((0, n_support))), curve_kw)
            row = row_of_size(curve, n_support)
            display = cls._compare(curve, row, curve, 0, level, "the model before adapting")
        else:
            name = "the pooled model" if baseline is None else "the baseline"
            curve, baseline_curve = curves_of([model, other], episodes, (n_support,), curve_kw)
            display = cls._compare(curve, 0, baseline_curve, 0, level, name)
        return display.plot(ax, area_kw=area_kw, line_kw=line_kw)

    @classmethod
    def _compare(
        cls, curve: AdaptationCurve, row: int, baseline: AdaptationCurve, baseline_row: int, level: float, name: str
    ) -> UserGainDisplay:
        """Users that both judge: row of the one against a row of the other."""
        n_support = curve.support_sizes[row]
        values, other = curve.accuracy[row], baseline.accuracy[baseline_row]
        known = ~np.isnan(values - other)
        if not known.any():
            raise ValueError(
                f"no user can be judged {adapting_on(n_support)}: all have fewer to adapt on, or none left to judge; "
                "ask for a smaller n_support"
            )
        return cls(
            users=curve.users[known],
            gains=(values - other)[known],
            interval=bootstrap_interval(values[known], other[known], level=level),
            n_support=n_support,
            baseline_name=name,
        )
