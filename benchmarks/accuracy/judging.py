"""Fit every model on some users and judge it on others: the same users, supports and queries for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from skmrm import EpisodeSet
from skmrm.model_selection import AdaptationCurve, adaptation_curve

__all__ = ["Makers", "Size", "fit_and_judge"]

Makers = Mapping[str, Callable[[int], Any]]
Size = int | None


def fit_and_judge(
    models: Makers,
    train: EpisodeSet,
    judged: EpisodeSet,
    sizes: Sequence[Size],
    seed: int,
    *,
    query: ArrayLike | None = None,
    known: Mapping[str, Any] | None = None,
    n_splits: int = 1,
) -> tuple[dict[str, AdaptationCurve], dict[str, float]]:
    """Fit every model on some users and judge it on others: the same users, supports and queries for all.

    Parameters
    ----------
    models : mapping of str to callable
        From a seed to an unfitted estimator.
    train, judged : EpisodeSet
        No user in both.
    sizes : sequence of int or None
        Numbers of support pairs.
    seed : int
        Of the models and of the supports.
    query : (n_pairs,) bool array, optional
        As of `adaptation_curve`.
    known : mapping, optional
        What needs no fit, such as an oracle.
    n_splits : int
        Support/query splits of each user.

    Returns
    -------
    curves : dict of str to AdaptationCurve
    seconds : dict of str to float
        Of each fit.
    """
    fitted, seconds = {}, {}
    for name, make in models.items():
        began = time.perf_counter()
        fitted[name] = make(seed).fit(train)
        seconds[name] = time.perf_counter() - began
    curves = {
        name: adaptation_curve(model, judged, support_sizes=sizes, n_splits=n_splits, query=query, random_state=seed)
        for name, model in {**fitted, **(known or {})}.items()
    }
    return curves, seconds
