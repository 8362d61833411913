"""What an explanation says: effects, responses, and how sure the model is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from skmrm._support.axes import GREY, axes_for
from skmrm._support.wording import counted
from skmrm.display import Note, Part, as_html, as_text
from skmrm.explanation.effects import Effect
from skmrm.explanation.layout import effect_table, label_of, response_table

__all__ = ["Explanation", "ResponseDifference"]


@dataclass(frozen=True)
class ResponseDifference:
    """A response that a user likes more, or less, than the crowd does.

    Attributes
    ----------
    item : int
        Its place among the items that were passed, each counted once.
    prompt, response : str or None
        Its texts; None where items are arrays.
    difference : float
        The user's reward less the crowd's, in logits, both above the mean of the responses that it is compared with:
        those to its prompt, or all.
    low, high : float
        Interval; NaN where the model defines no posterior.
    """

    item: int
    prompt: str | None
    response: str | None
    difference: float
    low: float
    high: float


@dataclass(frozen=True, repr=False)
class Explanation:
    """What one user likes more or less than the crowd; ``print`` it, or show it in a notebook.

    Made by :meth:`skmrm.UserRewardModel.explain`.

    Attributes
    ----------
    effects : list of Effect
        Of each statistic of style, or of each feature: those that are stated first, in the order of how much they
        explain.
    gains, losses : list of ResponseDifference
        Responses that gain most and lose most against the crowd, of those passed.
    n_choices : int
        How many choices of the user the model has learnt from.
    n_items : int
        Over how many responses effects were computed.
    level : float or None
        Coverage of each interval, a fraction; None where the model defines no posterior, and there are none.
    settled : float or None
        How sure the model is: share of what it did not know of the user's rewards beforehand that the choices have
        settled (prior variance that they removed), a fraction; None without a posterior.
    explained : float or None
        Share of the difference between the user's reward and the crowd's, over these responses, that the stated
        effects explain (R squared); None where none is stated.
    explainable : float or None
        Share that all statistics explain together; None where there are too few responses to tell, too.
    adaptive : bool
        Whether the model found any differences between users.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import load_style_preferences
    >>> episodes = load_style_preferences(n_users=101, n_pairs=80).episodes
    >>> model = MetaRewardModel(random_state=0).fit(episodes[:100])
    >>> model.adapt(episodes[100]).explain(n=3)
    After 80 choices, this user likes more than the crowd does
    ...
    fewer words such as “you” ... for none instead of one in 100 words ...
    >>> print(model.adapt([]).explain())
    Nothing yet: without choices the model knows no more of this user than of the crowd.
    """

    effects: list[Effect]
    gains: list[ResponseDifference]
    losses: list[ResponseDifference]
    n_choices: int
    n_items: int
    level: float | None
    settled: float | None
    explained: float | None
    explainable: float | None
    adaptive: bool = True

    @property
    def stated(self) -> list[Effect]:
        """The effects that the model is sure enough of to state, those that explain most first."""
        return [effect for effect in self.effects if effect.stated]

    @property
    def leanings(self) -> list[Effect]:
        """More effects, likely but not sure, those that explain most first; beside few choices, often all there are."""
        return [effect for effect in self.effects if effect.leaning]

    def to_frame(self) -> Any:
        """Effects as a table, those that are stated and all others.

        Returns
        -------
        pandas.DataFrame
            Columns ``statistic``, ``effect``, ``low``, ``high``, ``crowd`` (all in logits, for one step more),
            ``probability`` (of its sign), ``stated``, ``leaning``, ``words`` and ``per`` (the direction that the user
            likes better, and its step).
        """
        return _frame(self.effects, Effect)

    def responses_to_frame(self) -> Any:
        """Responses that gain most, then those that lose most, texts in full.

        Returns
        -------
        pandas.DataFrame
            Columns ``item``, ``prompt``, ``response``, ``difference``, ``low`` and ``high``.
        """
        return _frame([*self.gains, *self.losses[::-1]], ResponseDifference)

    def plot(self, ax: Any = None) -> Any:
        """Draw the stated effects as bars with their intervals, and paler those that are likely, if not sure.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        _, ax = axes_for(ax, "Explanation.plot")
        shown = [*self.stated, *self.leanings]
        ax.spines[["top", "right"]].set_visible(False)
        if not shown:
            ax.set_axis_off()
            ax.text(0.5, 0.5, self.headline, ha="center", va="center", wrap=True, transform=ax.transAxes)
            return ax
        sizes, places = [abs(effect.effect) for effect in shown], range(len(shown))
        for place, effect in enumerate(shown):
            ax.barh(place, sizes[place], height=0.6, color="C0", alpha=0.75 if effect.stated else 0.3)
        if self.level is not None:
            half = [abs(effect.high - effect.low) / 2 for effect in shown]
            ax.errorbar(sizes, places, xerr=half, fmt="none", ecolor=GREY, elinewidth=1, capsize=3)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_yticks(places, [label_of(effect) for effect in shown])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlabel("more than the crowd (logits)")
        ax.set_title(f"after {counted(self.n_choices, 'choice')}", loc="left", fontsize="medium")
        return ax

    @property
    def headline(self) -> str:
        """The first sentence."""
        after = f"fter {counted(self.n_choices, 'choice')}"
        if not self.adaptive:
            return "Nothing: the model found no differences between users, and gives all of them the crowd's reward."
        if self.stated:
            return f"A{after}, this user likes more than the crowd does"
        if self.gains or self.losses:
            return f"A{after}, this user differs from the crowd, in nothing that the statistics have a word for."
        if self.n_choices == 0:
            return "Nothing yet: without choices the model knows no more of this user than of the crowd."
        sure = "" if self.level is None else f" that the model is {100 * self.level:g} % sure of"
        return f"Nothing yet: a{after} there is no difference from the crowd{sure}."

    def _notes(self) -> list[str]:
        notes = []
        if self.stated:
            by_all = "" if self.explainable is None else f"; all statistics together explain {_share(self.explainable)}"
            differs = f"how the user's reward differs from the crowd's over {counted(self.n_items, 'response')}"
            notes.append(f"This explains {_share(self.explained)} of {differs}{by_all}.")
        if self.level is None and (self.stated or self.gains or self.losses):
            notes.append("How sure this is cannot be said: the model defines no posterior, as adaptation='map' does.")
        elif self.settled is not None and self.adaptive and self.n_choices:
            before = f"{_share(self.settled)} of what the model did not know of this user's rewards beforehand"
            notes.append(f"{counted(self.n_choices, 'choice')} settled {before}.")
        return notes

    def _parts(self) -> list[Part]:
        parts: list[Part] = []
        if self.stated:
            parts.append(effect_table(self.stated, self.level, ""))
        if self.leanings:
            besides = "Likely besides" if self.stated else "Likely so far"
            parts.append(effect_table(self.leanings, self.level, f"{besides}, but not sure:", likely=True))
        for title, responses in (("Gains most", self.gains), ("Loses most", self.losses)):
            if responses:
                parts.append(response_table(responses, self.level, f"{title} against the crowd:"))
        notes = self._notes()
        return [*parts, *([Note("\n".join(notes))] if notes else [])]

    def __repr__(self) -> str:
        return as_text(self.headline, self._parts())

    def _repr_html_(self) -> str:
        return as_html(type(self).__name__, self.headline, self._parts())


def _share(value: float | None) -> str:
    percent = 100 * (value or 0.0)
    return "under 1 %" if 0 < percent < 1 else f"{percent:.0f} %"


def _frame(rows: list[Any], kind: Any) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("a table needs pandas, which is not installed: pip install 'skmrm[report]'") from error
    columns = [field.name for field in fields(kind)]
    return pd.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=columns)
