"""Confidence against accuracy: whether probabilities can be taken at their word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skmrm._support.axes import GREY, axes_for, finish, options, pyplot
from skmrm._support.wording import raise_all
from skmrm.metrics import Reliability
from skmrm.model_selection import AdaptationCurve
from skmrm.model_selection.curve import check_curves
from skmrm.model_selection.judged import curves_of
from skmrm.plotting._curves import adapting_on, row_of_size

__all__ = ["ReliabilityDisplay"]

_LARGEST_MARKER = 160.0  # points squared, for a bin that holds half of all pairs or more
_SMALLEST_MARKER = 8.0  # a bin that holds next to nothing is still seen


class ReliabilityDisplay:
    """Share of choices predicted right against the confidence of the predictions, in bins of confidence.

    Make it with :meth:`from_estimator` or :meth:`from_curve`. On the diagonal, probabilities are right; below it the
    model is surer than it should be. The area of a marker grows with the share of choices in its bin: small ones are
    noisy.

    Parameters
    ----------
    reliability : Reliability
        From :func:`skmrm.metrics.reliability`.
    name : str, optional
        Name of the curve, for the legend.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        The curve, through the bins that hold choices.
    markers_ : matplotlib.collections.PathCollection
        The bins.
    diagonal_ : matplotlib.lines.Line2D or None
        Perfect calibration.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    Examples
    --------
    >>> from skmrm.metrics import reliability
    >>> from skmrm.plotting import ReliabilityDisplay
    >>> display = ReliabilityDisplay(reliability([2.0, 2.0, -2.0, 0.1]), name="model").plot()
    >>> display.line_.get_ydata().round(2)
    array([1.  , 0.67])
    """

    def __init__(self, reliability: Reliability, *, name: str | None = None) -> None:
        self.reliability = reliability
        self.name = name

    def plot(
        self, ax: Any = None, *, line_kw: Mapping[str, Any] | None = None, ref_line: bool = True
    ) -> ReliabilityDisplay:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to, such as the ``ax_`` of another display to compare with; None makes a figure.
        line_kw : dict, optional
            For the line (``Axes.plot``).
        ref_line : bool, default=True
            Draw the diagonal; once is enough where several curves share axes.

        Returns
        -------
        ReliabilityDisplay
            Itself.
        """
        self.figure_, self.ax_ = axes_for(ax, "ReliabilityDisplay")
        ax = self.ax_
        self.diagonal_ = None
        if ref_line:
            look = options("line", None, color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
            (self.diagonal_,) = ax.plot([0.5, 1], [0.5, 1], **look)
        found = self.reliability
        filled = found.weight > 0
        error = f"ECE {found.calibration_error:.3f}"
        label = error if self.name is None else f"{self.name} ({error})"
        look = options("line", line_kw, label=label)
        (self.line_,) = ax.plot(found.confidence[filled], found.accuracy[filled], **look)
        area = _LARGEST_MARKER * np.minimum(2 * found.weight[filled], 1)
        self.markers_ = ax.scatter(
            found.confidence[filled],
            found.accuracy[filled],
            np.maximum(area, _SMALLEST_MARKER),
            color=self.line_.get_color(),
            zorder=self.line_.get_zorder(),
        )
        ax.set_xlabel("confidence in the predicted winner")
        ax.set_ylabel("share of choices predicted right")
        finish(ax, title="area: share of choices", loc="upper left")
        return self

    @classmethod
    def from_curve(
        cls,
        curve: AdaptationCurve,
        n_support: int | None = None,
        *,
        name: str | None = None,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
        ref_line: bool = True,
    ) -> ReliabilityDisplay:
        """Draw the reliability that was computed with a curve, at one number of choices.

        Parameters
        ----------
        curve : AdaptationCurve
            Of :func:`skmrm.model_selection.adaptation_curve`.
        n_support : int, optional
            One of its ``support_sizes``; None is all choices.
        name : str, optional
            The default says the number of choices.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw : dict, optional
            As in :meth:`plot`.
        ref_line : bool, default=True
            Draw the diagonal.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        ValueError
            If the curve has no such size, or judges no user at it.
        """
        pyplot("ReliabilityDisplay.from_curve")
        problems = check_curves({"curve": curve})
        raise_all(problems)
        found = curve.reliability[row_of_size(curve, n_support)]
        if not np.any(found.weight > 0):
            raise ValueError(f"no user is judged {adapting_on(n_support)}: ask for a smaller n_support")
        display = cls(found, name=adapting_on(n_support) if name is None else name)
        return display.plot(ax, line_kw=line_kw, ref_line=ref_line)

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        episodes: Any,
        n_support: int | None = None,
        *,
        name: str | None = None,
        curve_kw: Mapping[str, Any] | None = None,
        ax: Any = None,
        line_kw: Mapping[str, Any] | None = None,
        ref_line: bool = True,
    ) -> ReliabilityDisplay:
        """Judge a fitted model on users that it has not seen.

        Parameters
        ----------
        model : fitted estimator
            Such as :class:`skmrm.MetaRewardModel`.
        episodes : EpisodeSet or list of Episode
            Users who were not in fit.
        n_support : int, optional
            Choices to adapt on; None is all.
        name : str, optional
            The default says the number of choices.
        curve_kw : dict, optional
            More arguments of :func:`skmrm.model_selection.adaptation_curve`, such as ``n_splits`` or ``random_state``.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw : dict, optional
            As in :meth:`plot`.
        ref_line : bool, default=True
            Draw the diagonal.

        Returns
        -------
        ReliabilityDisplay
        """
        pyplot("ReliabilityDisplay.from_estimator")
        (curve,) = curves_of([model], episodes, (n_support,), curve_kw)
        return cls.from_curve(curve, n_support, name=name, ax=ax, line_kw=line_kw, ref_line=ref_line)
