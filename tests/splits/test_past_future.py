"""Past and future of each user: nothing later is learnt from, nothing of one time or one group is on both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmrm.episodes import EpisodeSet, episodes_from_arrays
from skmrm.splits.past_future import past_future_split


def drawn_set(rng, n_pairs, n_users, n_times, n_groups):
    """Pairs of distinct items, users, groups and times with repetition."""
    user = np.sort(rng.integers(0, n_users, n_pairs))
    item = rng.permutation(2 * n_pairs).reshape(2, n_pairs)
    return episodes_from_arrays(
        rng.normal(size=(2 * n_pairs, 2)),
        *item,
        user,
        rng.integers(0, n_groups, n_pairs),
        time=rng.integers(0, n_times, n_pairs).astype(float),
    )


SETS = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 5), st.integers(1, 30), st.integers(1, 40)
)
FRACTIONS = st.sampled_from([0.1, 0.5, 0.8])


@given(SETS, FRACTIONS)
@settings(max_examples=80, deadline=None)
def test__past_future__any_set__no_query_pair_is_as_early_as_a_support_pair_and_no_group_is_on_both_sides(
    numbers, fraction
):
    seed, *shape = numbers
    episodes = drawn_set(np.random.default_rng(seed), *shape)
    split = past_future_split(episodes, fraction, 0)
    support = split.support()
    assert not (support & split.query).any()
    for user in range(episodes.n_users):
        own = episodes.user == user
        past, future = own & support, own & split.query
        n_times = len(np.unique(episodes.time[own]))
        assert past.any() == (n_times > 1)
        left = own & ~past & ~future
        assert set(episodes.group[left]) <= set(episodes.group[past])
        assert not set(episodes.group[past]) & set(episodes.group[future])
        if past.any():
            later = own & ~past
            assert episodes.time[past].max() < episodes.time[later].min()  # what is of one time is on one side
            largest = max(int((episodes.time[own] == time).sum()) for time in episodes.time[own])
            assert abs(past.sum() - fraction * own.sum()) <= largest


@given(SETS)
@settings(max_examples=40, deadline=None)
def test__past_future__any_set__supports_are_nested_and_the_latest_first(numbers):
    seed, *shape = numbers
    episodes = drawn_set(np.random.default_rng(seed), *shape)
    split = past_future_split(episodes, 0.6, 0)
    before = split.support(0)
    assert not before.any()
    for n in range(1, int(split.n_support.max(initial=0)) + 1):
        now = split.support(n)
        assert not (before & ~now).any()
        for user in range(episodes.n_users):
            own = split.support() & (episodes.user == user)
            assert (now & own).sum() == min(n, own.sum())
            if (own & ~now).any():
                assert episodes.time[own & now].min() >= episodes.time[own & ~now].max()
        before = now
    assert_array_equal(before, split.support())


@given(SETS)
@settings(max_examples=40, deadline=None)
def test__past_future__pairs_in_another_order__split_alike(numbers):
    seed, *shape = numbers
    rng = np.random.default_rng(seed)
    episodes = drawn_set(rng, *shape)
    order = np.lexsort((rng.random(episodes.n_pairs), episodes.user))
    columns = {name: getattr(episodes, name)[order] for name in ("user", "chosen", "rejected", "group", "time")}
    shuffled = EpisodeSet(users=episodes.users, features=episodes.features, **columns)
    one, other = (past_future_split(found, 0.5, 3) for found in (episodes, shuffled))
    assert_array_equal(one.query[order], other.query)
    assert_array_equal(one.order[order], other.order)


def test__past_future__times_all_apart__halves_each_user_at_the_middle():
    episodes = episodes_from_arrays(
        np.eye(12), np.arange(6), np.arange(6, 12), list("aaaabb"), time=[3.0, 1, 2, 0, -5, -4]
    )
    split = past_future_split(episodes, 0.5)
    assert split.query.tolist() == [True, False, True, False, False, True]
    assert split.order.tolist() == [-1, 0, -1, 1, 0, -1]


def test__past_future__without_times__is_an_error():
    with pytest.raises(ValueError, match="needs the time of every pair"):
        past_future_split(episodes_from_arrays(np.eye(2), [0], [1], ["a"]), 0.5)
