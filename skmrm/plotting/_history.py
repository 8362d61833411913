"""Losses of the outer loop, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skmrm._support.axes import GREY, axes_for, finish, options, pyplot

__all__ = ["TrainingHistoryDisplay"]


class TrainingHistoryDisplay:
    """Training and validation loss of each epoch of the outer loop.

    Make it with :meth:`from_estimator` or :meth:`from_history`.

    Parameters
    ----------
    epoch : array-like of int of shape (n_epochs,)
        Epoch 0 is the start.
    training_loss, validation_loss : array-like of shape (n_epochs,)
        Mean over users of their log loss after adapting, in nats; NaN where unknown.

    Attributes
    ----------
    kept_epoch : int
        The epoch of which the outer loop keeps the parameters: that of the lowest validation loss, the earliest of
        equals; the last one without validation users.
    lines_ : list of matplotlib.lines.Line2D
        Training loss, and validation loss where there is any.
    kept_line_ : matplotlib.lines.Line2D
        Marks the kept epoch.
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    Notes
    -----
    The two losses are not on one footing: supports are drawn at random sizes in training, and are half of a user's
    groups in validation. Compare each with itself. After a spectral start, the fit uses the kept epoch only if it beats
    epoch 0 on validation users by more than two standard errors; otherwise the model is that of epoch 0.

    Examples
    --------
    >>> from skmrm.plotting import TrainingHistoryDisplay
    >>> TrainingHistoryDisplay(epoch=[0, 1, 2], training_loss=[float("nan"), 0.6, 0.5],
    ...                        validation_loss=[0.69, 0.62, 0.64]).kept_epoch
    1
    """

    def __init__(self, *, epoch: ArrayLike, training_loss: ArrayLike, validation_loss: ArrayLike) -> None:
        self.epoch = np.asarray(epoch)
        self.training_loss = np.asarray(training_loss, float)
        self.validation_loss = np.asarray(validation_loss, float)

    @property
    def kept_epoch(self) -> int:
        """Epoch of which the outer loop keeps the parameters."""
        if np.isnan(self.validation_loss).all():
            return int(self.epoch[-1])
        return int(self.epoch[np.nanargmin(self.validation_loss)])

    def plot(self, ax: Any = None, *, line_kw: Mapping[str, Any] | None = None) -> TrainingHistoryDisplay:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw : dict, optional
            For the lines (``Axes.plot``).

        Returns
        -------
        TrainingHistoryDisplay
            Itself.
        """
        self.figure_, self.ax_ = axes_for(ax, "TrainingHistoryDisplay")
        ax = self.ax_
        validated = not np.isnan(self.validation_loss).all()
        (training,) = ax.plot(self.epoch, self.training_loss, **options("line", line_kw, marker="o", label="training"))
        self.lines_ = [training]
        if validated:
            look = options("line", line_kw, marker="s", label="validation")
            self.lines_ += ax.plot(self.epoch, self.validation_loss, **look)
        reason = "lowest validation loss" if validated else "the last; no validation users"
        label = f"epoch {self.kept_epoch}: {reason}"
        self.kept_line_ = ax.axvline(self.kept_epoch, color=GREY, linestyle="--", linewidth=1, label=label, zorder=0)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("epoch of the outer loop (0: start)")
        ax.set_ylabel("log loss after adapting (nats)")
        finish(ax)
        return self

    @classmethod
    def from_history(
        cls, history: Sequence[Mapping[str, Any]], *, ax: Any = None, line_kw: Mapping[str, Any] | None = None
    ) -> TrainingHistoryDisplay:
        """Draw a history as ``history_`` of a fitted model holds it.

        Parameters
        ----------
        history : list of dict
            With ``epoch``, ``training_loss`` and ``validation_loss``; a loss is None where unknown.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        TrainingHistoryDisplay

        Raises
        ------
        ValueError
            If the history is empty: the outer loop did not run.
        """
        pyplot("TrainingHistoryDisplay.from_history")
        if not history:
            raise ValueError(
                "a training history needs at least one epoch, got none: the outer loop did not run, because "
                "max_epochs=0, validation_fraction=0 after a spectral start, too few users had two groups of pairs, or "
                "the model is a baseline that has no epochs"
            )
        columns = {
            name: [np.nan if record[name] is None else record[name] for record in history]
            for name in ("epoch", "training_loss", "validation_loss")
        }
        return cls(**columns).plot(ax, line_kw=line_kw)

    @classmethod
    def from_estimator(
        cls, model: Any, *, ax: Any = None, line_kw: Mapping[str, Any] | None = None
    ) -> TrainingHistoryDisplay:
        """Draw the history of a fitted model.

        Parameters
        ----------
        model : fitted MetaRewardModel or LowRankRewards
            Whose outer loop ran.
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        line_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        TrainingHistoryDisplay

        Raises
        ------
        ValueError
            If the outer loop did not run.
        """
        from sklearn.utils.validation import check_is_fitted

        pyplot("TrainingHistoryDisplay.from_estimator")
        check_is_fitted(model)
        return cls.from_history(getattr(model, "history_", None) or [], ax=ax, line_kw=line_kw)
