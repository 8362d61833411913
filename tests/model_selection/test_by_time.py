"""Curves by time: adapted on the latest of the past, judged on the future."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skmrm.episodes import EpisodeSet
from skmrm.exceptions import EpisodeError
from skmrm.metrics import user_accuracies
from skmrm.model_selection import adaptation_curve
from skmrm.splits.past_future import past_future_split


def timed(episodes, time):
    """The same choices, at these times, each a group of its own."""
    return EpisodeSet(**episodes.__getstate__() | {"time": np.asarray(time, float), "group": np.arange(len(time))})


@pytest.fixture(scope="module")
def dated(episodes):
    return timed(episodes, np.random.default_rng(0).permutation(episodes.n_pairs))


def test__by_time__each_size__is_adapting_on_the_latest_and_judging_the_later(model, dated):
    curve = adaptation_curve(model, dated, support_sizes=[0, 2, None], by_time=True)
    for row, size in enumerate([0, 2, None]):
        for place, user in enumerate(curve.users):
            own = np.flatnonzero(dated.users[dated.user] == user)
            own = own[np.argsort(dated.time[own])]
            past, future = np.split(own, [len(own) // 2])
            support = past if size is None else past[len(past) - size :]
            adapted = model.adapt_many(dated.take_pairs(np.isin(np.arange(dated.n_pairs), support)))
            query = dated.take_pairs(np.isin(np.arange(dated.n_pairs), future))
            margins = adapted.decision_function(query)
            assert_allclose(curve.accuracy[row, place], user_accuracies(margins, np.zeros(len(margins), int))[0])


def test__by_time__number_of_splits__has_nothing_to_vary(model, dated):
    one, many = (adaptation_curve(model, dated, by_time=True, n_splits=n) for n in (1, 5))
    assert_array_equal(one.accuracy, many.accuracy)
    assert_array_equal(one.n_support, past_future_split(dated, 0.5).n_support)


def test__by_time__wrong_calls__are_all_named_at_once(model, episodes, dated):
    mask = np.ones(episodes.n_pairs, bool)
    with pytest.raises(ValueError, match=r"n_splits must.*by_time needs to know when.*excludes.*got query and known"):
        adaptation_curve(model, episodes, by_time=True, n_splits=0, query=mask, known=episodes)
    with pytest.raises(ValueError, match=r"by_time excludes query and known.*got query as well"):
        adaptation_curve(model, dated, by_time=True, query=mask)


def test__by_time__one_time_or_one_group_alone__leaves_nobody_to_judge(model, dated):
    with pytest.raises(EpisodeError, match=r"by time needs users with pairs of at least two times.*none has"):
        adaptation_curve(model, timed(dated, np.zeros(dated.n_pairs)), by_time=True)
    one_group = EpisodeSet(**dated.__getstate__() | {"group": np.zeros(dated.n_pairs, int)})
    with pytest.raises(EpisodeError, match="pass finer times or groups"):
        adaptation_curve(model, one_group, by_time=True)
