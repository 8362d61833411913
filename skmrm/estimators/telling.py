"""What a fit tells, and to whom: a bar, the log, and callbacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sklearn.base import BaseEstimator

from skmrm._support.progress import LOG, Watch
from skmrm.callbacks import FitCallback
from skmrm.episodes import EpisodeSet

__all__ = ["told_fit"]


@contextmanager
def told_fit(
    estimator: Any, episodes: EpisodeSet, stages: Sequence[str], callbacks: Sequence[FitCallback]
) -> Iterator[Watch]:
    """A fit of an estimator on checked episodes, as a context that has what it chose when it is left.

    Parameters
    ----------
    estimator : EpisodeFitter
    episodes : EpisodeSet
    stages : sequence of str
        All that there may be.
    callbacks : sequence of FitCallback
    """
    name = type(estimator).__name__
    sizes = {"n_users": episodes.n_users, "n_pairs": episodes.n_pairs, "n_items": episodes.n_items}
    params = {key: _as_plain(value) for key, value in estimator.get_params(deep=False).items()}
    begun: list[FitCallback] = []
    try:
        for callback in callbacks:
            begun.append(callback)
            callback.on_fit_begin({"estimator": name, "params": dict(params), **sizes, "stages": list(stages)})
        LOG.info("fit: %s on %d users, %d pairs, %d items", name, *sizes.values())
        with Watch("fit", stages, estimator.verbose, level=logging.INFO, listeners=callbacks) as watch:
            yield watch
    except BaseException as error:
        for callback in begun:
            callback.on_fit_error({"error": type(error).__name__})
        raise
    chosen = _chosen(estimator)
    LOG.info("fit: took %.2f s; %s", watch.seconds, _in_words(chosen))
    for callback in callbacks:
        callback.on_fit_end({"seconds": watch.seconds, **chosen})


def _chosen(estimator: Any) -> dict[str, Any]:
    return {
        "n_bases": int(estimator.base_rewards_.n_bases),
        "ridge": estimator.ridge_,
        "kernel": estimator.kernel_,
        "selection": [dict(one) for one in estimator.selection_],
    }


def _in_words(chosen: dict[str, Any]) -> str:
    """What was chosen, each prior that is believed with its weight."""
    tried = chosen["selection"]
    taken = [f"{one['setting']} ({one['weight']:.0%})" for one in tried if one.get("weight")]
    taken = taken or [str(one["setting"]) for one in tried if one["chosen"]]
    ridge = None if chosen["ridge"] is None else f"{chosen['ridge']:g}"
    facts = [f"n_bases={chosen['n_bases']}", f"kernel={chosen['kernel']}", f"ridge={ridge}"]
    return "; ".join(dict.fromkeys([*facts, *taken]))  # where a ridge is all that was chosen, it is named once


def _as_plain(value: Any) -> Any:
    """A parameter as text or number; of an object its class, as nobody knows what else it holds."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return f"{type(value).__name__}()" if isinstance(value, BaseEstimator) else type(value).__name__
