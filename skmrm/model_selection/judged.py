"""Fitted models judged on users they never saw, after a handful of their choices: curves, and scorers of scikit-learn.

The splits are those that do not lie: users apart (pass users that were not in fit), and within a user no group on both
sides of support and query. Users who were in fit are another question, asked by name (`known`). Everything is judged
per user, and every user counts alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from skmrm._support.progress import Watch, verbose_of
from skmrm._support.randomness import RandomState
from skmrm._support.wording import counted, described, raise_all
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.exceptions import EpisodeError
from skmrm.metrics import worst_decile
from skmrm.model_selection.cold_start import Informed
from skmrm.model_selection.curve import AdaptationCurve, mean_of_known
from skmrm.model_selection.judging import draw_splits, encoded, judge, judged_users
from skmrm.model_selection.known import join_known, known_problems

__all__ = ["adaptation_curve", "adaptation_scorer", "baseline_of", "curves_of", "read_judged"]

_STAGES = ("encode", "adapt and score")
SUPPORT_SIZES = (0, 1, 3, 5, 10, 20, None)

Metric = Literal["accuracy", "log_loss", "worst_decile"]


def adaptation_curve(
    model: Any,
    episodes: EpisodeSet | Sequence[Episode],
    *,
    support_sizes: Sequence[int | None] = SUPPORT_SIZES,
    n_splits: int = 3,
    support_fraction: float = 0.5,
    query: ArrayLike | None = None,
    known: EpisodeSet | Sequence[Episode] | None = None,
    user_features: Any = None,
    by_time: bool = False,
    random_state: RandomState = 0,
) -> AdaptationCurve:
    """Judge a fitted model on new users after it adapts on none, a few and all of their support pairs.

    In each split, a user's groups are divided into support and query; the user's model is adapted on the first n pairs
    of the support, in random order, and judged on the query. Supports are nested, and the query is the same at every n.
    Users with one group cannot be divided and are left out. Texts are encoded once.

    Parameters
    ----------
    model : fitted estimator
        `MetaRewardModel`, a baseline of :mod:`skmrm.baselines`, or anything with their ``adapt_many``. It is not
        changed.
    episodes : EpisodeSet or list of Episode
        Users that were not in fit; this cannot be checked here. With `known`, new choices of users who were.
    support_sizes : sequence of int or None, default=(0, 1, 3, 5, 10, 20, None)
        Numbers of support pairs, 0 for the model before adaptation, None for all.
    n_splits : int, default=3
        Number of random splits, over which each user's metrics are averaged.
    support_fraction : float, default=0.5
        Share of a user's pairs that are support, between 0 and 1. Not used with `query`.
    query : (n_pairs,) bool array, optional
        The pairs that may be judged; all others are support. Splits then differ in the order of supports only. Such as
        the pairs of held-out groups, from :func:`skmrm.split_users_and_groups`.
    known : EpisodeSet or list of Episode, optional
        Choices that the users of `episodes` made before, such as all that was fitted; others' are not looked at. Users
        are adapted on these alone, and judged on all their pairs of `episodes`, whose groups may be known. Splits then
        differ in the order of supports only. Not with `query`.
    user_features : array of shape (n_users, n_user_features), data frame, or mapping of users to rows, optional
        What is known of these users, for a model that had it in fit; as ``adapt_many`` takes it.
    by_time : bool, default=False
        Adapt on the past, judge on the future: the support is the first `support_fraction` of a user's pairs by their
        `time`, the query what came later, and pairs of one time stay on one side. Adapted on n pairs, a user is adapted
        on the *latest* n before the cut, so that None is all of the past. Later pairs of a group that has earlier ones
        are on neither side, so that no group is on both; where related pairs should rather be judged than left out,
        pass finer groups. There is one such split, whatever `n_splits`. Not with `query` or `known`.
    random_state : int, numpy Generator, RandomState, or None, default=0
        The same integer and episodes give the same splits for every model.

    Returns
    -------
    AdaptationCurve

    Raises
    ------
    EpisodeError
        If no user has pairs on both sides.
    TypeError
        If the model cannot adapt to many users, or the data are not episodes.
    ValueError
        If sizes, splits or the query make no sense, users lack choices in `known`, or `by_time` meets pairs without
        times; all mistakes are listed.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> episodes = make_user_preferences(n_users=60, n_features=5, random_state=0).episodes
    >>> model = MetaRewardModel(n_bases=4, max_epochs=0, random_state=0).fit(episodes[:40])
    >>> curve = adaptation_curve(model, episodes[40:], support_sizes=[0, 10, None])
    >>> curve.accuracy.shape
    (3, 20)
    >>> bool(curve.accuracy[2].mean() > curve.accuracy[0].mean())
    True
    """
    if not callable(getattr(model, "adapt_many", None)):
        raise TypeError(
            f"adaptation_curve takes a fitted model with adapt_many, such as MetaRewardModel, got {described(model)}"
        )
    sizes = tuple(support_sizes)
    checked, query, problems = read_judged(
        episodes, known, query, sizes, n_splits, support_fraction, by_time, context="adaptation_curve"
    )
    raise_all(problems)
    shown = verbose_of(model)
    if user_features is not None:
        model = Informed(model, checked, user_features)
    splits = draw_splits(checked, n_splits, support_fraction, query, random_state, by_time)
    judged = judged_users(splits)
    if not judged.any():
        raise EpisodeError(_nobody_judged(checked, query, by_time))
    with Watch("judge", _STAGES, shown, level=logging.INFO) as tell:
        tell(_STAGES[0])
        ready = encoded(model, checked)
        tell(_STAGES[1], 0, len(sizes) * len(splits))
        return judge(model, ready, splits, judged, sizes, lambda done, total: tell(_STAGES[1], done, total))


@dataclass(frozen=True)
class AdaptationScorer:
    """What :func:`adaptation_scorer` returns: a callable for scikit-learn, larger is better; it can be pickled."""

    metric: Metric
    n_support: int | None
    n_splits: int
    support_fraction: float
    random_state: int

    def __call__(self, estimator: Any, episodes: EpisodeSet | Sequence[Episode], y: Any = None) -> float:
        """Score a fitted estimator on users it was not fitted on; y is ignored."""
        curve = adaptation_curve(
            estimator,
            episodes,
            support_sizes=(self.n_support,),
            n_splits=self.n_splits,
            support_fraction=self.support_fraction,
            random_state=self.random_state,
        )
        accuracy = curve.accuracy[0]
        if np.isnan(accuracy).all():
            raise EpisodeError(
                f"no user has {counted(int(self.n_support or 0), 'support pair')} in any split, the most is "
                f"{curve.n_support.max():g}: ask for a smaller n_support, or None for all"
            )
        if self.metric == "log_loss":
            return -mean_of_known(curve.log_loss[0])
        return worst_decile(accuracy) if self.metric == "worst_decile" else mean_of_known(accuracy)


def adaptation_scorer(
    metric: Metric = "accuracy",
    *,
    n_support: int | None = None,
    n_splits: int = 3,
    support_fraction: float = 0.5,
    random_state: int = 0,
) -> AdaptationScorer:
    """Scorer for GridSearchCV and cross_validate: users adapted on n of their pairs, judged on other groups.

    Parameters
    ----------
    metric : {"accuracy", "log_loss", "worst_decile"}, default="accuracy"
        Mean user-level accuracy, minus the mean log loss, or mean accuracy of the worst tenth of users: the larger the
        better.
    n_support : int, optional
        Number of choices to adapt on; users with fewer are left out. None takes all support pairs.
    n_splits : int, default=3
        Random splits of each user's pairs, over which metrics are averaged.
    support_fraction : float, default=0.5
        Share of a user's pairs that are support, between 0 and 1.
    random_state : int, default=0
        Of the splits: an integer, so that all candidates are judged on the same ones.

    Returns
    -------
    callable
        ``scorer(estimator, episodes, y=None) -> float``; it can be pickled.

    Raises
    ------
    ValueError
        If the metric is unknown, or numbers are out of bounds; all mistakes are listed.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.datasets import make_user_preferences
    >>> episodes = make_user_preferences(n_users=60, n_features=5, random_state=0).episodes
    >>> model = MetaRewardModel(n_bases=4, max_epochs=0, random_state=0)
    >>> cross_val_score(model, episodes, scoring=adaptation_scorer("worst_decile", n_support=5), cv=3).shape
    (3,)
    """
    problems = [
        *_size_problems((n_support,), name="n_support"),
        *_split_problems(None, n_splits, support_fraction, None),
    ]
    if metric not in get_args(Metric):
        problems.append(f"metric must be one of {', '.join(map(repr, get_args(Metric)))}, got {metric!r}")
    if not _is_integer(random_state):
        problems.append(
            f"random_state must be an integer, so that all candidates get the same splits: {random_state!r}"
        )
    raise_all(problems)
    return AdaptationScorer(metric, n_support, n_splits, support_fraction, random_state)


# -- checks ----------------------------------------------------------------------------------------------------------


def read_judged(
    episodes: EpisodeSet | Sequence[Episode],
    known: EpisodeSet | Sequence[Episode] | None,
    query: ArrayLike | None,
    sizes: tuple[Any, ...],
    n_splits: Any,
    support_fraction: Any,
    by_time: bool,
    context: str,
) -> tuple[EpisodeSet, ArrayLike | None, list[str]]:
    """Bring the data of a curve into one set, say which pairs may be judged, and what is wrong, a sentence each."""
    checked = as_episode_set(episodes, min_pairs=0, context=context)
    problems = [*_size_problems(sizes), *_split_problems(checked, n_splits, support_fraction, query)]
    if by_time:
        problems += _time_problems(checked, {"query": query, "known": known})
    if known is None:
        return checked, query, problems
    before = as_episode_set(known, min_pairs=0, context=f"{context}, for known,")
    if query is not None:
        problems.append("query and known exclude each other, got both: all pairs of episodes are judged; leave one out")
    problems += known_problems(checked, before)
    return (checked, query, problems) if problems else (*join_known(checked, before), problems)


def _size_problems(sizes: tuple[Any, ...], name: str = "support_sizes") -> Iterator[str]:
    if not sizes:
        yield f"{name} must not be empty: pass numbers of support pairs, such as (0, 5, None)"
    wrong = [size for size in sizes if size is not None and not (_is_integer(size) and size >= 0)]
    if wrong:
        yield f"{name} must be integers from 0 up, or None for all support pairs, got {', '.join(map(repr, wrong))}"
    repeated = sorted({repr(size) for place, size in enumerate(sizes) if size in sizes[:place]})
    if repeated:
        yield f"{name} must not be repeated, got {', '.join(repeated)} more than once"


def _split_problems(
    episodes: EpisodeSet | None, n_splits: Any, support_fraction: Any, query: ArrayLike | None
) -> Iterator[str]:
    if not _is_integer(n_splits) or n_splits < 1:
        yield f"n_splits must be a positive integer, got {n_splits!r}"
    if not isinstance(support_fraction, Real) or not 0 < float(support_fraction) < 1:
        yield f"support_fraction must lie strictly between 0 and 1, got {support_fraction!r}"
    if query is not None and episodes is not None:
        mask = np.asarray(query)
        if mask.dtype != bool or mask.shape != (episodes.n_pairs,):
            yield f"query must be a boolean mask of shape ({episodes.n_pairs},) over the pairs, got {described(mask)}"


def _time_problems(episodes: EpisodeSet, others: Mapping[str, Any]) -> Iterator[str]:
    if episodes.time is None:
        yield "by_time needs to know when each choice was made, got episodes without times: give all of them a time"
    given = " and ".join(name for name, value in others.items() if value is not None)
    if given:
        yield f"by_time excludes query and known, as time decides what is judged, got {given} as well: leave it out"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _nobody_judged(episodes: EpisodeSet, query: ArrayLike | None, by_time: bool) -> str:
    came = f"of {counted(episodes.n_users, 'user')} with {counted(episodes.n_pairs, 'pair')} none has"
    if query is not None:
        return f"judging needs users with both query pairs and support pairs; {came}: choose another query"
    if by_time:
        return (
            f"judging by time needs users with pairs of at least two times, the later ones of groups not met before; "
            f"{came}: pass finer times or groups, or users with more pairs"
        )
    return (
        f"judging needs users with pairs in at least two groups, one side to adapt on and one to judge; {came}: "
        "pass groups that divide each user's pairs (prompts, conversations or topics), or users with more pairs"
    )


def baseline_of(model: Any, baseline: Any) -> Any:
    """The baseline asked for, else the pooled model that the fit made on its way, else None."""
    return getattr(model, "pooled_model_", None) if baseline is None else baseline


def curves_of(
    models: Sequence[Any], episodes: Any, support_sizes: Sequence[int | None], curve_kw: Mapping[str, Any] | None
) -> list[AdaptationCurve]:
    """Curve of each model over the same users, splits and supports; texts are encoded once for each encoder."""
    given = dict(curve_kw or {})
    raise_all(_keyword_problems(given))
    checked = as_episode_set(episodes, min_pairs=0, context="adaptation_curve").compact()
    sets: dict[int, EpisodeSet] = {}
    curves = []
    stages = [f"model {place}" for place in range(1, len(models) + 1)]
    with Watch("judge", stages, all(map(verbose_of, models)) and "auto") as tell:
        for stage, model in zip(stages, models, strict=True):
            tell(stage)
            encoder = id(getattr(model, "encoder_", None))
            if encoder not in sets:
                sets[encoder] = encoded(model, checked)
            curves.append(adaptation_curve(model, sets[encoder], support_sizes=tuple(support_sizes), **given))
    return curves


def _keyword_problems(curve_kw: dict[str, Any]) -> list[str]:
    problems = []
    if "support_sizes" in curve_kw:
        problems.append("curve_kw must leave out support_sizes: the display has a parameter for numbers of choices")
    if not isinstance(curve_kw.get("random_state", 0), Integral):
        problems.append(
            "curve_kw['random_state'] must be an integer, so that all models are judged on the same splits, "
            f"got {described(curve_kw['random_state'])}"
        )
    return problems
