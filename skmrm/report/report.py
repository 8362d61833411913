"""Is it worth personalising? One call that judges a fitted model on new users and says what it found, in words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skmrm._support.arrays import plain
from skmrm._support.progress import Watch, verbose_of
from skmrm._support.randomness import RandomState, as_generator
from skmrm._support.wording import raise_all
from skmrm.display import as_html, as_markdown, as_text
from skmrm.episodes import Episode, EpisodeSet
from skmrm.metrics import bootstrap_interval
from skmrm.model_selection import adaptation_curve
from skmrm.model_selection.curve import AdaptationCurve, Comparison, compare, frame_by_size, mean_of_known
from skmrm.model_selection.judged import SUPPORT_SIZES, read_judged
from skmrm.model_selection.judging import draw_splits, encoded, judged_users
from skmrm.report.drift import Drift, find_drift, word_drift
from skmrm.report.layout import report_parts
from skmrm.report.verdict import MIN_USERS, word_verdict
from skmrm.report.warnings import find_warnings, mute_pairs

__all__ = ["PersonalizationReport", "personalization_report"]

_STAGES = ("encode", "model", "reference", "intervals", "verdict")


@dataclass(frozen=True, eq=False, repr=False)
class PersonalizationReport:
    """What :func:`skmrm.personalization_report` found; ``print`` it, or show it in a notebook.

    Attributes
    ----------
    verdict : str
        Whether adapting helps, with how many choices, and how many users, in words; by time also whether old choices
        still help.
    warnings : list of str
        What makes gains or intervals doubtful.
    comparisons : list of Comparison
        The model against the reference, one for each number of choices.
    curve, baseline_curve : AdaptationCurve
        Of the model, and of the reference: the same users, splits and supports.
    reference : str
        What the model is compared with, in words.
    ties : str
        How many pairs were ties, and what was done with them, in words; empty if there is none.
    drift : Drift or None
        By time, all of the past against its latest half: `gain` in accuracy and `log_loss_change`, with intervals. None
        otherwise, and with too few users or a model that does not adapt.
    """

    verdict: str
    warnings: list[str]
    comparisons: list[Comparison]
    curve: AdaptationCurve
    baseline_curve: AdaptationCurve
    reference: str
    ties: str = ""
    drift: Drift | None = None

    @property
    def table(self) -> Any:
        """One row a number of choices: a pandas DataFrame.

        Index ``n_support`` (integers, and "all"); columns n_users, accuracy, baseline_accuracy, gain,
        worst_decile_gain, log_loss_change (these three also with ``_low`` and ``_high``), helped, hurt and
        calibration_error; with ties also decisive_accuracy, over all other pairs.
        Accuracies, gains and shares are fractions, log loss is in nats a pair. Intervals of a column hold for all its
        rows at once.
        """
        rows = [{name: value for name, value in row.items() if name != "n_support"} for row in self._rows()]
        return frame_by_size(rows, self.curve.support_sizes)

    @property
    def level(self) -> float:
        """Coverage of all intervals, a fraction."""
        return self.comparisons[0].gain.level

    def to_dict(self) -> dict[str, Any]:
        """What the report says, as values of JSON.

        Returns
        -------
        dict
            ``verdict``, ``reference``, ``level``, ``ties``, ``warnings``, and ``rows``: a dict for each number of
            choices (``n_support``, "all" for all) with the columns of :attr:`table`, None where no user is judged.
        """
        rows = [
            {name: None if isinstance(value, float) and isnan(value) else plain(value) for name, value in row.items()}
            for row in self._rows()
        ]
        said = {"verdict": self.verdict, "reference": self.reference, "level": self.level, "ties": self.ties}
        return {**said, "warnings": list(self.warnings), "rows": rows}

    def plot(self, ax: Any = None, *, gain: bool = False) -> Any:
        """Draw what adapting does against number of choices, with intervals that hold for all of them at once.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to; None makes a figure.
        gain : bool, default=False
            False: the accuracy of the model and that of the reference. True: their difference, in points, with the
            very intervals of the table; bands of accuracies that overlap say little about it.

        Returns
        -------
        skmrm.plotting.AdaptationCurveDisplay
        """
        from skmrm.plotting import AdaptationCurveDisplay

        shared: dict[str, Any] = {"level": self.level, "simultaneous": True}
        if not gain:
            curves = {"adapted": self.curve, self.reference: self.baseline_curve}
            return AdaptationCurveDisplay.from_curves(curves, ax=ax, **shared)
        gains = np.array([[row.gain.estimate, row.gain.low, row.gain.high] for row in self.comparisons])
        estimate, low, high = 100 * gains.T[:, None]
        return AdaptationCurveDisplay(
            names=["adapted"],
            support_sizes=self.curve.support_sizes,
            estimate=estimate,
            low=low,
            high=high,
            n_users=[row.n_users for row in self.comparisons],
            relative_to=self.reference,
            **shared,
        ).plot(ax)

    def to_markdown(self, *, names: bool = True) -> str:
        """Verdict, table, note and warnings, for a card, an issue or a page.

        Parameters
        ----------
        names : bool, default=True
            Whether warnings may name users.

        Returns
        -------
        str
        """
        told = self.warnings if names else [getattr(one, "unnamed", one) for one in self.warnings]
        return as_markdown(self.verdict, report_parts(self._rows(), self._note(), told))

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for place, row in enumerate(self.comparisons):
            intervals = {
                name + end: getattr(getattr(row, name), part)
                for name in ("gain", "worst_decile_gain", "log_loss_change")
                for end, part in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            }
            rows.append(
                {
                    "n_support": "all" if row.n_support is None else row.n_support,
                    "n_users": row.n_users,
                    "accuracy": mean_of_known(self.curve.accuracy[place]),
                    "baseline_accuracy": mean_of_known(self.baseline_curve.accuracy[place]),
                    **intervals,
                    "helped": row.helped,
                    "hurt": row.hurt,
                    "calibration_error": self.curve.reliability[place].calibration_error,
                }
            )
            if self.curve.decisive is not None:
                rows[-1]["decisive_accuracy"] = mean_of_known(self.curve.decisive[place])
        return rows

    def _note(self) -> str:
        level = f"{100 * self.level:g} %"
        held = f"{level} intervals over users hold for all rows of a column at once."
        note = f"Reference: {self.reference}. {held}\nECE: expected calibration error of the model."
        if _is_flat(self.baseline_curve):
            note += (
                "\nThe reference prefers no response to another: 0.500 is a coin's accuracy, for every user alike, so "
                "that nobody under it can be worse off than the mean."
            )
        return f"{note}\n{self.ties}" if self.ties else note

    def __repr__(self) -> str:
        return as_text(self.verdict, report_parts(self._rows(), self._note(), self.warnings))

    def _repr_html_(self) -> str:
        parts = report_parts(self._rows(), self._note(), self.warnings)
        return as_html(type(self).__name__, self.verdict, parts)


def personalization_report(
    model: Any,
    episodes: EpisodeSet | Sequence[Episode],
    *,
    baseline: Any = None,
    support_sizes: Sequence[int | None] = SUPPORT_SIZES,
    n_splits: int = 3,
    support_fraction: float = 0.5,
    query: ArrayLike | None = None,
    known: EpisodeSet | Sequence[Episode] | None = None,
    user_features: Any = None,
    by_time: bool = False,
    level: float = 0.95,
    random_state: RandomState = 0,
) -> PersonalizationReport:
    """Say whether adapting to users helps on these data, with how many choices, and for how many users.

    Nothing is fitted. Each user is adapted on some of their pairs and judged on pairs of other groups, as in
    :func:`skmrm.model_selection.adaptation_curve`, and compared with the reference on the same pairs.

    The verdict does not pick the best of many numbers. It opens with the largest number of choices that at least half
    of the users reach (all of them, if None is among `support_sizes`), whatever its outcome. Intervals cover at all
    numbers of choices at once (:func:`skmrm.metrics.simultaneous_intervals`), so that "helps from n choices on" is as
    safe a statement as a single one: with probability `level`, nothing that the verdict calls a help or a harm is
    noise. With fewer than 10 users it calls nothing so.

    Parameters
    ----------
    model : fitted estimator
        `MetaRewardModel`, or anything with its ``adapt_many``. It is not changed.
    episodes : EpisodeSet or list of Episode
        Users that were not in fit; this cannot be checked here. With `known`, new choices of users who were.
    baseline : fitted estimator, optional
        What to compare with, adapted on the same pairs. The default is the model's ``pooled_model_``, one reward for
        everybody, where there is one, and otherwise the model before adaptation. The report says which.
    support_sizes : sequence of int or None, default=(0, 1, 3, 5, 10, 20, None)
        Numbers of choices to adapt on, None for all support pairs.
    n_splits : int, default=3
        Number of random splits, over which each user's metrics are averaged.
    support_fraction : float, default=0.5
        Share of a user's pairs that are support, between 0 and 1. Not used with `query`.
    query : (n_pairs,) bool array, optional
        The pairs that may be judged; all others are support.
    known : EpisodeSet or list of Episode, optional
        For people who were in fit and come back: choices that the users of `episodes` made before, such as all that
        was fitted; others' are not looked at. Users are adapted on these alone, and judged on all their pairs of
        `episodes`, whose groups may be known. Not with `query`.
    user_features : array of shape (n_users, n_user_features), data frame, or mapping of users to rows, optional
        What is known of the users, for a model that had it in fit: the model adapts from there, and the report says
        what it brings before the first choice.
    by_time : bool, default=False
        Adapt on the past and judge on the future, as in :func:`skmrm.model_selection.adaptation_curve`; n choices are
        the latest n. The verdict ends with whether old choices still help: all of the past against the latest half of
        it, on the same later pairs, by accuracy and log loss. Not with `query` or `known`.
    level : float, default=0.95
        Coverage of the intervals, between 0 and 1.
    random_state : int, numpy Generator, RandomState, or None, default=0
        Of the splits and the bootstrap. With the same integer, curves are those of
        :func:`skmrm.model_selection.adaptation_curve`.

    Returns
    -------
    PersonalizationReport

    Raises
    ------
    EpisodeError
        If no user has pairs on both sides.
    TypeError
        If a model cannot adapt to many users, or the data are not episodes.
    ValueError
        If sizes, splits, the query or the level make no sense, users lack choices in `known`, or `by_time` meets pairs
        without times; all mistakes are listed.

    Examples
    --------
    >>> from skmrm import MetaRewardModel, personalization_report
    >>> from skmrm.datasets import make_user_preferences
    >>> episodes = make_user_preferences(n_users=100, n_features=5, random_state=0).episodes
    >>> model = MetaRewardModel(n_bases=4, max_epochs=0, random_state=0).fit(episodes[:60])
    >>> report = personalization_report(model, episodes[60:], support_sizes=[0, 3, 10])
    >>> print(report.verdict)
    Adapting on 10 choices helps: ...
    """
    sizes = tuple(support_sizes)
    checked, query, problems = read_judged(
        episodes, known, query, sizes, n_splits, support_fraction, by_time, context="personalization_report"
    )
    if not 0 < level < 1:
        problems.append(f"level must lie strictly between 0 and 1, got {level!r}")
    raise_all(problems)
    reference, name = _reference(model, baseline)
    # One integer, so that both models get the same splits whatever the source of randomness; one that was given stays,
    # so that the curves are those of adaptation_curve.
    given = isinstance(random_state, int | np.integer)
    seed: Any = random_state if given else int(as_generator(random_state).integers(2**32))
    with Watch("report", _STAGES, verbose_of(model), level=logging.INFO) as tell:
        tell("encode")
        ready = encoded(model, checked)
        shared = getattr(reference, "encoder_", None) is getattr(model, "encoder_", None)
        settings: dict[str, Any] = {
            "support_sizes": sizes,
            "n_splits": n_splits,
            "support_fraction": support_fraction,
            "query": query,
            "by_time": by_time,
            "random_state": seed,
        }
        tell("model")
        curve = adaptation_curve(model, ready, user_features=user_features, **settings)
        tell("reference")
        baseline_curve = adaptation_curve(reference, ready if shared else checked, **settings)
        tell("intervals")
        comparisons = compare(curve, baseline_curve, level, simultaneous=True, random_state=seed)
        tell("verdict")
        splits = draw_splits(checked, n_splits, support_fraction, query, seed, by_time)
        adaptive, mute = _adapts(model, ready), mute_pairs(checked, splits)
        verdict = word_verdict(
            comparisons,
            reference=name,
            adaptive=adaptive,
            n_judged=len(curve.users),
            median_support=float(np.median(curve.n_support)),
            mute=mute,
            in_fit=known is not None,
        )
        drift = None
        if by_time and adaptive and not mute and len(curve.users) >= MIN_USERS:
            drift = find_drift(model, ready, splits[0], judged_users(splits), level, seed)
            verdict = f"{verdict} {word_drift(drift)}"
        warnings = find_warnings(checked, splits, comparisons, query is not None, known is not None, by_time)
        ties = _word_ties(checked, curve, getattr(model, "thresholds_", None) is not None)
        if user_features is not None:
            first = settings | {"support_sizes": (0,)}
            told, untold = (adaptation_curve(model, ready, user_features=one, **first) for one in (user_features, None))
            ties = " ".join(filter(None, [ties, _word_features(told, untold, level, seed)]))
        return PersonalizationReport(verdict, warnings, comparisons, curve, baseline_curve, name, ties, drift)


def _is_flat(curve: AdaptationCurve) -> bool:
    """Whether a model gave each user's chosen and rejected responses the same rewards: half right, for everybody."""
    shares = curve.accuracy if curve.decisive is None else curve.decisive
    known = shares[~np.isnan(shares)]
    return len(curve.users) >= MIN_USERS and known.size > 0 and bool(np.all(known == 0.5))


def _word_ties(episodes: EpisodeSet, curve: AdaptationCurve, models_ties: bool) -> str:
    """How many pairs were ties or ratings, and what was done with them; nothing if there is none."""
    said = []
    if episodes.n_ties:
        known = (
            "log loss is over win, tie and loss (and strengths)"
            if models_ties
            else "log loss leaves them out, as nobody tied in fit"
        )
        said.append(
            f"{episodes.n_ties} of {episodes.n_pairs} pairs are ties: users adapt on them, accuracy counts them half, "
            f"{known}."
        )
    if episodes.n_rated:
        half = ", and half for ratings on it" if episodes.n_levels % 2 else ""
        said.append(
            f"{episodes.n_rated} of {episodes.n_pairs} pairs are ratings: accuracy asks whether they are above or "
            f"below the middle of the scale{half}, log loss which level they are."
        )
    if said and curve.decisive is not None and (episodes.n_ties or episodes.n_levels % 2):
        largest = -1 if None not in curve.support_sizes else curve.support_sizes.index(None)
        alone = mean_of_known(curve.decisive[largest])
        said.append(f"Over all other pairs the accuracy of the last row is {alone:.3f}.")
    return " ".join(said)


def _word_features(told: AdaptationCurve, untold: AdaptationCurve, level: float, seed: int) -> str:
    """What features of users bring before the first choice."""
    gain = bootstrap_interval(told.accuracy[0], untold.accuracy[0], level=level, random_state=seed)
    low, high = (f"{100 * end:+.1f}" for end in (gain.low, gain.high))
    return (
        f"Before the first choice, accuracy is {mean_of_known(told.accuracy[0]):.3f} with user features and "
        f"{mean_of_known(untold.accuracy[0]):.3f} without: {100 * gain.estimate:+.1f} points [{low}, {high}]."
    )


class _BeforeAdaptation:
    """A model as it is before any choice, whatever it is asked to adapt to."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.encoder_ = getattr(model, "encoder_", None)

    def adapt_many(self, episodes: EpisodeSet) -> Any:
        return self.model.adapt_many(episodes.take_pairs(np.zeros(episodes.n_pairs, bool)))


def _reference(model: Any, baseline: Any) -> tuple[Any, str]:
    """What to compare with, and its name in words."""
    if baseline is not None:
        return baseline, f"the baseline ({type(baseline).__name__})"
    pooled = getattr(model, "pooled_model_", None)
    return (_BeforeAdaptation(model), "the model before adaptation") if pooled is None else (pooled, "one pooled model")


def _adapts(model: Any, episodes: EpisodeSet) -> bool:
    """Whether adapting on all there is changes any margin."""
    adapted = model.adapt_many(episodes).decision_function(episodes)
    before = _BeforeAdaptation(model).adapt_many(episodes).decision_function(episodes)
    return not np.allclose(adapted, before, rtol=1e-5, atol=1e-6)
