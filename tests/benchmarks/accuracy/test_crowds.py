"""Simulated crowds: what is planted is there."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy.crowds import CROWDS, Crowd, draw_crowd


@pytest.mark.parametrize("name", CROWDS)
def test__users__every_crowd__others_or_the_same_judged_on_other_choices(name):
    crowd = CROWDS[name]
    drawn = crowd.users(12, seed=0)
    support, query = crowd.n_pairs
    assert drawn.train.n_users == crowd.n_train
    assert drawn.judged.n_users == (crowd.n_train if crowd.same_users else 12)
    assert bool(set(drawn.train.users) & set(drawn.judged.users)) == crowd.same_users
    assert set(drawn.train.pairs_per_user) == {support if crowd.same_users else support + query}
    assert set(np.bincount(drawn.judged.user, drawn.query)) == {query}
    if crowd.same_users:
        learnt, adapted = drawn.train, drawn.judged.take_pairs(~drawn.query)
        assert np.array_equal(learnt.chosen, adapted.chosen)
        assert np.array_equal(learnt.user, adapted.user)


@pytest.mark.parametrize("name", CROWDS)
def test__draw_crowd__every_crowd__has_the_columns_the_strength_and_no_pair_of_a_user_twice(name):
    crowd = CROWDS[name]
    episodes, rewards = draw_crowd(crowd, 300, seed=1)
    n_columns = (crowd.embedding or crowd.n_columns) + (crowd.n_items if crowd.identity else 0)
    assert episodes.features.shape == (crowd.n_items, n_columns)
    assert np.array_equal(episodes.features[:, -crowd.n_items :], np.eye(crowd.n_items)) == crowd.identity
    own = rewards - rewards.mean(0)
    assert np.sqrt((own**2).mean()) == pytest.approx(crowd.strength, rel=0.15)
    items = np.sort(np.c_[episodes.chosen, episodes.rejected], 1)
    assert len(np.unique(np.c_[episodes.user, items], axis=0)) == episodes.n_pairs
    right = rewards[episodes.user, episodes.chosen] - rewards[episodes.user, episodes.rejected]
    assert np.mean(1 / (1 + np.exp(-np.abs(right)))) == pytest.approx(np.mean(right > 0), abs=0.02)


def test__draw_crowd__no_common_mean__tastes_cancel_out():
    for name in ("no common mean", "two opposite camps", "everybody's own ranking"):
        _, rewards = draw_crowd(CROWDS[name], 2000, seed=0)
        assert np.sqrt((rewards.mean(0) ** 2).mean()) < 0.05 * CROWDS[name].strength
    _, rewards = draw_crowd(replace(CROWDS["no common mean"], common=1.0), 2000, seed=0)
    assert rewards.mean(0).std() == pytest.approx(1.0, rel=0.2)


def test__draw_crowd__camps__are_two_rankings_and_each_the_others_reverse():
    _, rewards = draw_crowd(CROWDS["two opposite camps"], 50, seed=0)
    assert len(np.unique(rewards.round(9), axis=0)) == 2
    np.testing.assert_allclose(np.abs(rewards), np.abs(rewards[:1]).repeat(50, 0))


def test__draw_crowd__own_rankings__are_independent_between_items():
    _, rewards = draw_crowd(CROWDS["everybody's own ranking"], 4000, seed=0)
    np.testing.assert_allclose(np.corrcoef(rewards.T), np.eye(20), atol=0.08)


@pytest.mark.parametrize(("own", "explained"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test__draw_crowd__share_of_the_items_own__is_what_columns_do_not_explain(own, explained):
    crowd = Crowd(2000, n_columns=5, n_factors=3, own=own, common=0.5)
    episodes, rewards = draw_crowd(replace(crowd, n_pairs=(1, 1)), 40, seed=0)
    columns = np.c_[episodes.features, np.ones(2000)]
    rest = rewards.T - columns @ np.linalg.lstsq(columns, rewards.T, rcond=None)[0]
    assert 1 - rest.var() / rewards.var() == pytest.approx(explained, abs=0.12)
