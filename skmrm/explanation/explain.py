"""From a user's weights and some responses to an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from math import erfc, nan, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import raise_all
from skmrm.encoders.style._style import STATISTICS, style_statistics
from skmrm.episodes import Episode, EpisodeSet
from skmrm.episodes.fitted import Fitted, check_episodes
from skmrm.episodes.items import check_items
from skmrm.explanation.effects import LEANING, Difference, Effect, Regression, regress
from skmrm.explanation.explanation import Explanation, ResponseDifference
from skmrm.explanation.moments import Moments, moments_of, parts_of, parts_of_prompts, within_parts
from skmrm.explanation.words import WORDS, Words, words_of_feature

__all__ = ["Rewards", "User", "explain"]


class Rewards(Fitted, Protocol):
    """Base reward functions, live (:class:`skmrm.base_rewards.BaseRewards`) or exported."""

    @property
    def params(self) -> Mapping[str, NDArray[Any]]:
        """What is known of the crowd among them, under names that begin with ``crowd.``."""

    @property
    def n_bases(self) -> int:
        """How many there are."""

    def of_items(self, X: Any, caller: str, owner: str) -> NDArray[Any]:
        """Base rewards (n, n_bases) of what users pass."""

    def of_episodes(self, episodes: EpisodeSet) -> NDArray[Any]:
        """Base rewards (n_items, n_bases) of all items of a checked set."""


class User(NamedTuple):
    """What is known of a user.

    Attributes
    ----------
    base : Rewards
    weights : ndarray of shape (n_bases,)
    covariance : ndarray of shape (n_bases, n_bases) or None
    n_choices : int
    """

    base: Rewards
    weights: NDArray[Any]
    covariance: NDArray[Any] | None
    n_choices: int


class _Responses(NamedTuple):
    """Responses to explain a user by: base rewards within parts, and texts where there are some."""

    rewards: NDArray[np.float64]
    texts: list[tuple[str, str]] | None


def explain(user: User, items: Any = None, n: int = 5, level: float = 0.95) -> Explanation:
    """What a user likes more or less than the crowd; see :meth:`skmrm.UserRewardModel.explain`."""
    problems = []
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        problems.append(f"n must be an integer from 1 up, got {n!r}")
    if not isinstance(level, float | np.floating) or not 0 < level < 1:
        problems.append(f"level must lie strictly between 0 and 1, got {level!r}")
    raise_all(problems, "explain")
    base = user.base
    if "crowd.weights" not in base.params:
        raise ValueError(
            "explain needs to know the crowd, which users saved by an earlier version do not: adapt the user again"
        )
    moments, responses = _of_fit(base) if items is None else _of_items(base, items)
    crowd = base.params["crowd.weights"].astype(float)
    difference = _difference(user, crowd)
    width = NormalDist().inv_cdf(0.5 + level / 2)
    words = _words(base, moments)
    found = regress(moments, difference, crowd, n, width, np.array([one.step for one in words.values()]))
    gains, losses = ([], []) if responses is None else _extremes(responses, difference, n, width)
    return Explanation(
        effects=_effects(words, found, width),
        gains=gains,
        losses=losses,
        n_choices=user.n_choices,
        n_items=moments.n_items,
        level=None if difference.covariance is None else float(level),
        settled=_settled(base, moments, difference),
        explained=found.explained if found.stated else None,
        explainable=found.explainable if found.stated and moments.n_free > 2 * len(moments.statistics) else None,
        adaptive=bool(base.params.get("crowd.cov", np.ones(1)).any()),
    )


def _difference(user: User, crowd: NDArray[np.float64]) -> Difference:
    """Of a user without choices there is none, and the prior is all there is to know."""
    if user.n_choices == 0:
        return Difference(np.zeros_like(crowd), user.base.params.get("crowd.cov", user.covariance))
    covariance = None if user.covariance is None else user.covariance.astype(float)
    return Difference(user.weights.astype(float) - crowd, covariance)


def _of_fit(base: Rewards) -> tuple[Moments, None]:
    moments = Moments.of_arrays(base.params, base.n_bases)
    if moments is None:
        lack = "an encoder without statistics of style" if base.kind == "text" else "as many features as these"
        what = "a list of (prompt, response)" if base.kind == "text" else "an array of features"
        raise ValueError(
            f"explain() looks at the statistics of the responses in fit, which are kept of models with up to 256 named "
            f"columns alone, and not of {lack}: pass some responses, explain(items), {what} or an EpisodeSet"
        )
    return moments, None


def _of_items(base: Rewards, items: Any) -> tuple[Moments, _Responses]:
    """Moments over the items that were passed."""
    rewards, statistics, part, texts = _read(base, items)
    if len(part) < 2:
        raise ValueError(f"explain compares responses with each other and needs 2 or more, got {len(part)}")
    return moments_of(statistics, rewards, part), _Responses(within_parts(rewards, part), texts)


def _read(base: Rewards, items: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.intp], Any]:
    """Base rewards (n, n_bases), statistics (n, m), parts (n,), and texts where there are some."""
    texts: list[tuple[str, str]] | None = None
    if _is_episodes(items):
        checked = check_episodes(items, base, "explain")
        rewards = base.of_episodes(checked)
        if checked.items is None:
            return rewards, np.asarray(checked.features), parts_of(checked), None
        texts = list(checked.items)
    elif base.kind == "features":
        rewards = base.of_items(items, "explain", "UserRewardModel")
        return rewards, np.asarray(items, float), np.zeros(len(rewards), np.intp), None
    else:
        texts = list(dict.fromkeys(check_items(items, "explain")))
        rewards = base.of_items(texts, "explain", "UserRewardModel")
    return rewards, style_statistics(texts), parts_of_prompts([prompt for prompt, _ in texts]), texts


def _is_episodes(items: Any) -> bool:
    if isinstance(items, EpisodeSet | Episode):
        return True
    return isinstance(items, list | tuple) and len(items) > 0 and isinstance(items[0], Episode)


def _settled(base: Rewards, moments: Moments, difference: Difference) -> float | None:
    """Share of the prior variance of differences between responses that a user's choices have removed."""
    prior = base.params.get("crowd.cov")
    if prior is None or difference.covariance is None:
        return None
    before = float(np.sum(moments.rewards * prior))
    return min(1.0, max(0.0, 1.0 - float(np.sum(moments.rewards * difference.covariance)) / before)) if before else 0.0


def _effects(words: dict[str, Words], found: Regression, width: float) -> list[Effect]:
    """All that is known of each statistic: those that are stated first, then the rest in their order."""
    first = [*found.stated, *found.leaning]
    rest = [row for row in range(len(found.effect)) if row not in first and not np.isnan(found.effect[row])]
    names, effects = list(words), []
    for row in [*first, *rest]:
        own = words[names[row]]
        effect, deviation, crowd = (own.step * float(one[row]) for one in (found.effect, found.deviation, found.crowd))
        said = (own.more, own.for_more) if effect >= 0 else (own.less, own.for_less)
        low, high = effect - width * deviation, effect + width * deviation
        likely = _probability(effect, deviation)
        leaning = row in found.leaning and likely >= LEANING
        effects.append(Effect(names[row], effect, low, high, crowd, likely, row in found.stated, leaning, *said))
    return effects


def _probability(effect: float, deviation: float) -> float:
    """That an effect has the sign of its mean; NaN of one whose deviation is not known."""
    if deviation == 0:
        return 1.0 if effect else 0.5
    return 0.5 * erfc(-abs(effect) / deviation / sqrt(2)) if deviation == deviation else nan


def _words(base: Rewards, moments: Moments) -> dict[str, Words]:
    """Words of each statistic, in their order: of style, or of features."""
    if base.kind == "text":
        return {name: WORDS[name] for name in STATISTICS}
    deviations = np.sqrt(np.diag(moments.statistics)).tolist()
    names = base.feature_names or [f"feature {column}" for column in range(len(deviations))]
    return {name: words_of_feature(name, deviation) for name, deviation in zip(names, deviations, strict=True)}


def _extremes(
    responses: _Responses, difference: Difference, n: int, width: float
) -> tuple[list[ResponseDifference], list[ResponseDifference]]:
    """The responses that gain most, and lose most, of those that surely do."""
    mean, deviation = difference.along(responses.rewards)
    half = np.full(len(mean), np.nan) if deviation is None else width * deviation
    found = []
    for sign in (1, -1):
        sure = sign * mean > (0 if deviation is None else half)
        order = [row for row in np.argsort(-sign * mean, kind="stable") if sure[row]]
        found.append([_response(responses, row, mean[row], half[row]) for row in order[:n]])
    return found[0], found[1]


def _response(responses: _Responses, row: int, mean: float, half: float) -> ResponseDifference:
    prompt, response = (None, None) if responses.texts is None else responses.texts[row]
    return ResponseDifference(int(row), prompt, response, float(mean), float(mean - half), float(mean + half))
