"""The bundled corpus: real texts, judged by simulated users with tastes for style, from features alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.accuracy.gains import Table
from benchmarks.accuracy.judging import Makers, Progress, Size, Users, judge_over_seeds, silent
from benchmarks.accuracy.oracle import BayesOracle, Population, TrueRewards
from benchmarks.accuracy.text_features import Encode
from benchmarks.accuracy.verdicts import Verdict, near_oracle, never_below_any, never_below_pooled
from skmrm import split_users
from skmrm.datasets import load_style_preferences

__all__ = ["judge_style", "read_traits", "style_claims"]

_N_PAIRS = (10, 60)
_TASTE_STRENGTH = 1.0
_N_SPLITS = 3


def judge_style(
    encode: Encode,
    models: Makers,
    sizes: Sequence[Size],
    seeds: Sequence[int],
    n_users: int = 600,
    progress: Progress = silent,
) -> Table:
    """Fit on half of the users and judge on the others; every seed simulates users of its own.

    The Bayes oracle knows that tastes are Gaussian around the mean taste, and sees the annotated traits of the texts,
    where models see features of them. A second oracle reads the traits off those features (`read_traits`): what it is
    below the first is what features and annotations do not share.

    Parameters
    ----------
    encode : callable
        From all items and the training users to features.
    models : mapping of str to callable
        From a seed to an unfitted estimator.
    sizes : sequence of int or None
    seeds : sequence of int
    n_users : int
        Half to learn from, half to judge on.
    progress : callable
        Told what is being done.
    """

    def users(seed: int) -> Users:
        data = load_style_preferences(n_users, _N_PAIRS, taste_strength=_TASTE_STRENGTH, random_state=seed)
        train, judged = split_users(data.episodes, 0.5, random_state=seed)
        table = encode(data.episodes.items, train).table
        tastes = Population(data.mean_taste[None], np.array([_TASTE_STRENGTH]), np.ones(1))
        known = {
            "oracle": BayesOracle(data.traits, tastes),
            "reader": BayesOracle(
                read_traits(table, data.traits, [prompt for prompt, _ in data.episodes.items]), tastes
            ),
            "truth": TrueRewards(data),
        }
        return Users(train.with_features(table), judged.with_features(table), known=known)

    return judge_over_seeds(users, models, sizes, seeds, same_people=False, n_splits=_N_SPLITS, progress=progress)


def style_claims(table: Table) -> list[Verdict]:
    """Check what is claimed of the bundled corpus."""
    return [never_below_pooled(table), *never_below_any(table), near_oracle(table), near_oracle(table, "reader")]


def read_traits(table: NDArray[Any], traits: NDArray[Any], prompts: Sequence[str]) -> NDArray[Any]:
    """Predict the traits of each text from its features, by ridge regression on the texts of other prompts.

    Parameters
    ----------
    table : (n_items, n_features) array
    traits : (n_items, n_traits) array
    prompts : sequence of str
        Of each item.
    """
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 16)))
    folds = GroupKFold(min(10, len(set(prompts))))
    return np.asarray(cross_val_predict(model, table, traits, groups=prompts, cv=folds))
