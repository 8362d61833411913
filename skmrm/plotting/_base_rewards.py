"""What each base reward function prefers: statistics it goes with, and the responses it likes most and least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skmrm._support.axes import axes_for, pyplot
from skmrm._support.wording import raise_all
from skmrm.display import shortened, signed
from skmrm.episodes import EpisodeSet, as_episode_set
from skmrm.episodes.fitted import check_episodes
from skmrm.plotting._base_reward_facts import (
    Example,
    correlations,
    effects,
    find_examples,
    item_statistics,
    within_comparisons,
)

__all__ = ["BaseRewardDisplay"]

_LETTER, _LINE = 0.073, 0.148  # inches, of small type
_FEW = 6  # base reward functions, of those that matter
_MATTERS = 0.1  # of the largest effect


class BaseRewardDisplay:
    """Map of the base reward functions: their correlation with readable statistics, and example responses.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    correlations : array-like of shape (n_statistics, n_bases)
        Pearson correlations between -1 and 1, within the responses that were compared with each other.
    statistics : sequence of str
        Name of each row.
    base_rewards : sequence of str
        Name of each column.
    effects : array-like of shape (n_bases,)
        Root mean square of what each base reward function adds to a reward, in logits.
    examples : sequence of Example, default=()
        Highest- and lowest-scored responses.

    Attributes
    ----------
    image_ : matplotlib.image.AxesImage
        The heat map.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        What its colours mean; None where it was left out.
    shown_ : list of int
        Rows of `correlations` that are shown, those with the largest absolute correlation first.
    text_ : matplotlib.text.Text or None
        The example responses, where there are axes for them.
    ax_, examples_ax_ : matplotlib.axes.Axes
        Of the heat map and of the examples; None for no examples.
    figure_ : matplotlib.figure.Figure

    Notes
    -----
    Base reward functions are defined up to sign and mixture: two fits may find the same tastes in other coordinates.
    Read a column as an axis along which users differ, not as one that they like.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> from skmrm.plotting import BaseRewardDisplay
    >>> episodes = make_user_preferences(n_users=60, n_features=5, n_bases=2, random_state=0).episodes
    >>> model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes)
    >>> display = BaseRewardDisplay.from_estimator(model, episodes, n_statistics=3)
    >>> display.to_frame().shape[0], len(display.shown_)
    (5, 3)
    """

    def __init__(
        self,
        *,
        correlations: ArrayLike,
        statistics: Sequence[str],
        base_rewards: Sequence[str],
        effects: ArrayLike,
        examples: Sequence[Example] = (),
    ) -> None:
        self.correlations = np.asarray(correlations, float)
        self.statistics = list(statistics)
        self.base_rewards = list(base_rewards)
        self.effects = np.asarray(effects, float)
        self.examples = list(examples)

    def to_frame(self) -> Any:
        """Correlations as a table.

        Returns
        -------
        pandas.DataFrame
            One row a statistic, all of them, one column a base reward function.
        """
        return _pandas().DataFrame(self.correlations, index=self.statistics, columns=self.base_rewards)

    def examples_to_frame(self) -> Any:
        """Highest- and lowest-scored responses as a table, texts in full.

        Returns
        -------
        pandas.DataFrame
            Columns ``base_reward``, ``side`` ("highest" or "lowest"), ``score`` (logits per unit of weight, above the
            mean of the responses compared with), ``item``, ``prompt`` and ``response``.
        """
        columns = list(Example.__dataclass_fields__)
        rows = [[getattr(example, name) for name in columns] for example in self.examples]
        return _pandas().DataFrame(rows, columns=columns)

    def plot(
        self,
        ax: Any = None,
        *,
        n_statistics: int = 8,
        examples_ax: Any = None,
        colorbar: bool = True,
        image_kw: Mapping[str, Any] | None = None,
    ) -> BaseRewardDisplay:
        """Draw the heat map and, beside it, the examples.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            For the heat map; None makes a figure for both.
        n_statistics : int, default=8
            Rows to show, those with the largest absolute correlation.
        examples_ax : matplotlib.axes.Axes, optional
            For the examples. With `ax` alone they are left out.
        colorbar : bool, default=True
            Draw a bar beside the heat map that says which colour is which correlation.
        image_kw : dict, optional
            For the heat map (``Axes.imshow``).

        Returns
        -------
        BaseRewardDisplay
            Itself.
        """
        if ax is None and examples_ax is None and self.examples:
            ax, examples_ax = self._new_axes(n_statistics)
        self.figure_, self.ax_ = axes_for(ax, "BaseRewardDisplay")
        self.examples_ax_ = examples_ax
        self.shown_ = np.argsort(-np.abs(self.correlations).max(1), kind="stable")[:n_statistics].tolist()
        self._draw_map(self.correlations[self.shown_], image_kw)
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = self.figure_.colorbar(self.image_, ax=self.ax_, label="correlation", ticks=[-1, 0, 1])
            self.colorbar_.outline.set_visible(False)
        self.text_ = None
        if examples_ax is not None:
            examples_ax.set_axis_off()
            where = {"va": "top", "ha": "left", "fontsize": "small", "transform": examples_ax.transAxes}
            self.text_ = examples_ax.text(0, 1, self._example_lines(), **where)
        return self

    def _new_axes(self, n_statistics: int) -> Any:
        lines = self._example_lines().splitlines()
        height = max(3.0, _LINE * len(lines) + 0.5, 0.35 * min(n_statistics, len(self.statistics)) + 1.6)
        widths = (2.7 + 0.75 * len(self.base_rewards), _LETTER * max(map(len, lines)))
        figure = pyplot("BaseRewardDisplay").figure(figsize=(sum(widths), height), layout="constrained")
        return figure.subplots(1, 2, width_ratios=widths)

    def _draw_map(self, table: NDArray[np.float64], image_kw: Mapping[str, Any] | None) -> None:
        look = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "aspect": "auto", **(image_kw or {})}
        ax = self.ax_
        self.image_ = ax.imshow(table, **look)
        for (row, column), value in np.ndenumerate(table):
            colour = "w" if abs(value) > 0.6 else "k"
            ax.text(column, row, signed(value), ha="center", va="center", color=colour, fontsize="small")
        ax.set_yticks(range(len(table)), [self.statistics[row] for row in self.shown_])
        columns = [
            f"{name.removeprefix('base_reward')}\n({effect:.2g})"
            for name, effect in zip(self.base_rewards, self.effects, strict=True)
        ]
        ax.set_xticks(range(len(columns)), columns)
        ax.set_xlabel("base reward function (effect, logits)")
        ax.set_ylabel("correlation with")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)

    def _example_lines(self) -> str:
        parts = []
        for name in self.base_rewards:
            own = [example for example in self.examples if example.base_reward == name]
            lines = [f"{signed(example.score)}  {_shown(example)}" for example in own]
            parts.append("\n".join([f"{name}, highest and lowest:", *lines]))
        return "\n\n".join(parts).replace("$", r"\$")  # a dollar would begin a formula

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        episodes: Any,
        *,
        n_examples: int = 2,
        n_statistics: int = 8,
        n_bases: int | Literal["auto"] | None = "auto",
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
        examples_ax: Any = None,
        colorbar: bool = True,
        image_kw: Mapping[str, Any] | None = None,
    ) -> BaseRewardDisplay:
        """Read a fitted model by what it makes of some responses.

        Parameters
        ----------
        model : fitted MetaRewardModel or baseline
            Whose base reward functions to read.
        episodes : EpisodeSet or list of Episode
            Whose items to score; training users will do. Of texts, the statistics are those of
            :class:`skmrm.encoders.TextStatistics`, of arrays the features themselves.
        n_examples : int, default=2
            Highest, and lowest, responses of each base reward function; 0 for none.
        n_statistics : int, default=8
            As in :meth:`plot`.
        n_bases : int, "auto" or None, default="auto"
            Show so many base reward functions, those with the largest effect. "auto" shows up to six, of those with at
            least a tenth of the largest effect; None shows all that have any.
        feature_names : sequence of str, optional
            Names of the features of a model that was fitted on arrays; the default is those of the data frame that
            it was fitted on, and numbers them where there was none.
        ax, examples_ax : matplotlib.axes.Axes, optional
            Where to, as in :meth:`plot`; None makes a figure.
        colorbar : bool, default=True
            As in :meth:`plot`.
        image_kw : dict, optional
            As in :meth:`plot`.

        Returns
        -------
        BaseRewardDisplay

        Raises
        ------
        ValueError
            If numbers are out of bounds, names do not fit, or no base reward function has any effect.
        """
        pyplot("BaseRewardDisplay.from_estimator")
        check_is_fitted(model)
        is_text = model.encoder_ is not None
        _check_arguments(n_examples, n_statistics, n_bases, is_text, feature_names)
        if feature_names is None:
            feature_names = model.base_rewards_.feature_names
        whole = as_episode_set(episodes, min_pairs=0, context="BaseRewardDisplay.from_estimator")
        checked = check_episodes(whole, model.base_rewards_, "BaseRewardDisplay.from_estimator")
        statistics, statistic_names = item_statistics(checked, is_text, feature_names)
        rewards = within_comparisons(model.base_rewards_.of_episodes(checked), checked)
        effect = effects(model, rewards)
        least = _MATTERS * effect.max(initial=0.0) if n_bases == "auto" else 0.0
        largest = np.argsort(-effect, kind="stable")[: _FEW if n_bases == "auto" else n_bases]
        order = sorted(base for base in largest if effect[base] > 0 and effect[base] >= least)
        if not order:
            raise ValueError("no base reward function has any effect on these items: pass episodes with other items")
        texts = checked.items if is_text else None
        names = [str(name) for name in model.get_feature_names_out()[order]]
        display = cls(
            correlations=correlations(within_comparisons(statistics, checked), rewards[:, order]),
            statistics=statistic_names,
            base_rewards=names,
            effects=effect[order],
            examples=find_examples(rewards[:, order], names, _used_rows(whole), texts, n_examples),
        )
        shown: dict[str, Any] = {"n_statistics": n_statistics, "examples_ax": examples_ax, "colorbar": colorbar}
        return display.plot(ax, image_kw=image_kw, **shown)


def _check_arguments(
    n_examples: int, n_statistics: int, n_bases: Any, is_text: bool, feature_names: Sequence[str] | None
) -> None:
    problems = []
    for name, value, low in (("n_examples", n_examples, 0), ("n_statistics", n_statistics, 1), ("n_bases", n_bases, 1)):
        if name == "n_bases" and (value is None or (isinstance(value, str) and value == "auto")):
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            others = ", 'auto' or None" if name == "n_bases" else ""
            problems.append(f"{name} must be an integer from {low} up{others}, got {value!r}")
    if is_text and feature_names is not None:
        problems.append("feature_names are for models fitted on arrays; this one reads texts: leave them out")
    raise_all(problems)


def _used_rows(episodes: EpisodeSet) -> NDArray[np.intp]:
    """Rows of the items that pairs refer to, those that stay after ``compact``."""
    return np.unique(np.concatenate([episodes.chosen, episodes.rejected])).astype(np.intp)


def _shown(example: Example) -> str:
    return f"item {example.item}" if example.response is None else shortened(example.response)


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("a table needs pandas, which is not installed: pip install 'skmrm[report]'") from error
    return pd
