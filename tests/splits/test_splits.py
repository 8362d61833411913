"""Splits: no group on both sides, nested supports, users apart."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmrm.episodes import Episode, as_episode_set, episodes_from_arrays
from skmrm.exceptions import EpisodeError
from skmrm.splits import draw_support_query, split_users, split_users_and_groups, support_query_split


def random_set(seed=0, n_users=9, n_pairs=60, n_groups=4):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 5, (2, n_pairs))
    return episodes_from_arrays(
        rng.normal(size=(5, 2)), *rows, rng.integers(0, n_users, n_pairs), rng.integers(0, n_groups, n_pairs)
    )


sets = st.builds(
    random_set,
    seed=st.integers(0, 1000),
    n_users=st.integers(1, 9),
    n_pairs=st.integers(1, 80),
    n_groups=st.sampled_from([1, 2, 5, 1000]),
)
fractions = st.floats(0.01, 0.99)


@settings(max_examples=80)
@given(sets, fractions, st.integers(0, 5))
def test__support_query_split__any_data__groups_are_whole_and_both_sides_have_pairs(episodes, fraction, seed):
    split = support_query_split(episodes, support_fraction=fraction, random_state=seed)
    for row in range(episodes.n_users):
        own = episodes.user == row
        on_query = set(episodes.group[own & split.query])
        on_support = set(episodes.group[own & ~split.query])
        assert on_query.isdisjoint(on_support)
        assert on_query
        assert bool(on_support) == (len(np.unique(episodes.group[own])) > 1)
    assert_array_equal(split.n_support + split.n_query, episodes.pairs_per_user)
    assert_array_equal(split.n_query, np.bincount(episodes.user[split.query], minlength=episodes.n_users))


@settings(max_examples=60)
@given(sets, fractions)
def test__support_query_split__order__numbers_each_support_from_zero(episodes, fraction):
    split = support_query_split(episodes, support_fraction=fraction, random_state=0)
    assert_array_equal(split.order < 0, split.query)
    for row in range(episodes.n_users):
        own = split.order[(episodes.user == row) & ~split.query]
        assert_array_equal(np.sort(own), np.arange(len(own)))


@settings(max_examples=60)
@given(sets, st.integers(0, 12), st.integers(0, 12))
def test__support__growing_sizes__are_nested_and_of_the_size_asked_for(episodes, one, other):
    split = support_query_split(episodes, random_state=0)
    small, large = sorted((one, other))
    assert not np.any(split.support(small) & ~split.support(large))
    sizes = np.bincount(episodes.user[split.support(large)], minlength=episodes.n_users)
    assert_array_equal(sizes, np.minimum(large, split.n_support))
    assert_array_equal(split.support(), ~split.query)
    assert_array_equal(split.support(np.full(episodes.n_users, large)), split.support(large))


def test__support__one_size_for_each_user__is_met_user_by_user():
    episodes = random_set(n_users=3, n_pairs=90, n_groups=1000)
    split = support_query_split(episodes, random_state=0)
    sizes = np.array([0, 3, 1_000])
    found = np.bincount(episodes.user[split.support(sizes)], minlength=3)
    assert_array_equal(found, [0, 3, split.n_support[2]])
    with pytest.raises(ValueError, match="one int for each of 3 users"):
        split.support(np.array([1, 2]))


@settings(max_examples=40)
@given(fractions, st.integers(2, 40))
def test__support_query_split__single_pair_groups__share_is_as_near_as_pairs_allow(fraction, n_pairs):
    zeros = [0] * n_pairs
    episodes = episodes_from_arrays(np.ones((1, 1)), zeros, zeros, zeros)
    found = support_query_split(episodes, support_fraction=fraction, random_state=0).n_support[0]
    allowed = np.arange(1, n_pairs)
    assert abs(found - fraction * n_pairs) <= np.abs(allowed - fraction * n_pairs).min() + 1e-9


def test__support_query_split__share__holds_on_average_whatever_the_groups():
    episodes = random_set(n_users=300, n_pairs=12_000, n_groups=8)
    for fraction in (0.2, 0.5, 0.8):
        split = support_query_split(episodes, support_fraction=fraction, random_state=0)
        assert_allclose(split.n_support.sum() / episodes.n_pairs, fraction, atol=0.03)


def test__support_query_split__same_seed__same_split_and_other_seeds_differ():
    episodes = random_set(n_pairs=300, n_groups=30)
    one, again, other = (support_query_split(episodes, random_state=seed) for seed in (1, 1, 2))
    assert_array_equal(one.query, again.query)
    assert_array_equal(one.order, again.order)
    assert np.any(one.query != other.query)
    generator = np.random.default_rng(1)
    assert_array_equal(support_query_split(episodes, random_state=generator).query, one.query)
    assert np.any(support_query_split(episodes, random_state=generator).query != one.query)
    legacy = [support_query_split(episodes, random_state=np.random.RandomState(3)).order for _ in range(2)]
    assert_array_equal(*legacy)
    assert support_query_split(episodes).query.shape == (300,)


def test__support_query_split__repeated_draws__put_each_group_and_pair_everywhere():
    # One user, four groups of three pairs: over many draws each group is in the support about half of the time.
    group = np.repeat(np.arange(4), 3)
    rng = np.random.default_rng(0)
    draws = [draw_support_query(np.zeros(12, int), group, 1, 0.5, rng) for _ in range(400)]
    in_support = np.mean([~query for query, _ in draws], axis=0)
    assert_allclose(in_support, 0.5, atol=0.1)
    first = np.mean([order == 0 for _, order in draws], axis=0)
    assert_allclose(first, 1 / 12, atol=0.06)


def test__draw_support_query__a_fraction_for_each_user__is_met_user_by_user():
    n = 1_000
    user = np.repeat(np.arange(4), n)
    fractions = np.array([0.0, 0.1, 0.9, 1.0])
    query, _ = draw_support_query(user, np.arange(4 * n), 4, fractions, np.random.default_rng(0))
    assert_array_equal(np.bincount(user[~query]), [1, 100, 900, 999])


def test__draw_support_query__no_pairs_and_users_without_pairs__give_empty_sides():
    rng = np.random.default_rng(0)
    query, order = draw_support_query(np.empty(0, int), np.empty(0, int), 3, 0.5, rng)
    assert (len(query), len(order)) == (0, 0)
    query, order = draw_support_query(np.array([2, 2]), np.array([0, 1]), 4, 0.5, rng)
    assert_array_equal(np.sort(query), [False, True])
    assert_array_equal(np.sort(order), [-1, 0])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test__support_query_split__fraction_out_of_bounds__is_an_error(fraction):
    with pytest.raises(ValueError, match="support_fraction must lie strictly between 0 and 1"):
        support_query_split(random_set(), support_fraction=fraction)


@settings(max_examples=40)
@given(st.integers(2, 30), st.floats(0.05, 0.9), st.integers(0, 5))
def test__split_users__any_share__parts_are_disjoint_and_complete(n_users, share, seed):
    ids = [f"u{i}" for i in range(n_users)]
    zeros = [0] * n_users
    episodes = episodes_from_arrays(np.ones((1, 1)), zeros, zeros, ids)
    n_test = int(np.ceil(share * n_users))
    if n_test == n_users:
        n_test, share = 1, 1
    train, test = split_users(episodes, share, random_state=seed)
    assert test.n_users == n_test
    assert sorted([*train.users, *test.users]) == sorted(ids)
    assert train.features is test.features is episodes.features
    assert list(train.users) == [name for name in ids if name in set(train.users)]
    again, _ = split_users(episodes, share, random_state=seed)
    assert again == train


def test__split_users__repeated_users__stay_on_one_side():
    episodes = random_set()[[0, 1, 2, 3, 0, 1, 2, 3]]
    for seed in range(5):
        train, test = split_users(episodes, 0.5, random_state=seed)
        assert set(train.users).isdisjoint(test.users)
        assert (train.n_users, test.n_users) == (4, 4)


@pytest.mark.parametrize("size", [0, 0.0, 9, 1.0, -1, 12])
def test__split_users__a_side_without_users__is_an_error(size):
    with pytest.raises(ValueError, match="leaves a side without users"):
        split_users(random_set(), size)


@given(data=st.data())
@settings(max_examples=30)
def test__draw_support_query__renamed_groups__give_the_same_split(data):
    user = np.sort(np.array(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=40))))
    group = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(user), max_size=len(user))))
    names = np.array(data.draw(st.permutations(range(7))))
    drawn = [draw_support_query(user, codes, 5, 0.5, np.random.default_rng(0)) for codes in (group, names[group])]
    assert_array_equal(drawn[0][0], drawn[1][0])
    assert_array_equal(drawn[0][1], drawn[1][1])


# -- users and groups ------------------------------------------------------------------------------------------------


def set_by_group(seed=0, n_users=12, n_groups=6, n_pairs=120):
    """Every group has items of its own."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, n_groups, n_pairs)
    items = 4 * group + rng.integers(0, 4, (2, n_pairs))
    users = rng.integers(0, n_users, n_pairs)
    return episodes_from_arrays(rng.normal(size=(4 * n_groups, 2)), *items, users, group, shared_groups=True)


@settings(max_examples=40)
@given(st.integers(0, 200), st.floats(0.3, 0.7), st.floats(0.3, 0.7))
def test__split_users_and_groups__any_shares__users_and_groups_and_items_are_apart(seed, users, groups):
    episodes = set_by_group(seed)
    train, test, held_out = split_users_and_groups(episodes, users, groups, random_state=seed)
    assert set(train.users).isdisjoint(test.users)
    judged = test.take_pairs(held_out)
    assert set(train.group).isdisjoint(judged.group)
    assert set(np.r_[train.chosen, train.rejected]).isdisjoint(np.r_[judged.chosen, judged.rejected])
    assert set(test.group[~held_out]).isdisjoint(test.group[held_out])
    assert test.n_users == np.ceil(users * episodes.n_users)
    assert train.pairs_per_user.min() > 0
    # Test users keep all their pairs, training users those of training groups.
    by_user = dict(zip(episodes.users, episodes.pairs_per_user, strict=True))
    assert [by_user[user] for user in test.users] == test.pairs_per_user.tolist()
    assert train.features is test.features is episodes.features
    again = split_users_and_groups(episodes, users, groups, random_state=seed)
    assert again[0] == train
    assert_array_equal(again[2], held_out)


def test__split_users_and_groups__counts__hold_out_so_many_groups():
    episodes = set_by_group(n_pairs=600)
    train, test, held_out = split_users_and_groups(episodes, 3, 2, random_state=0)
    assert (test.n_users, len(set(test.group[held_out])), len(set(train.group))) == (3, 2, 4)


def test__split_users_and_groups__items_in_two_groups__are_counted_in_a_warning():
    zeros = [0] * 8
    users = np.repeat(["a", "b"], 4)
    episodes = episodes_from_arrays(np.eye(3), zeros, [1, 1, 2, 2] * 2, users, [0, 0, 1, 1] * 2, shared_groups=True)
    with pytest.warns(UserWarning, match="1 of 2 items of held-out pairs also occur in training pairs") as caught:
        split_users_and_groups(episodes, 1, 1, random_state=0)
    assert caught[0].filename == __file__


def test__split_users_and_groups__items_apart__no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_users_and_groups(set_by_group(), random_state=0)


def test__split_users_and_groups__sides_left_empty__are_all_named_at_once():
    with pytest.raises(ValueError, match=r"test_size=0 of 12 users.*; group_test_size=6 of 6 groups leaves a side"):
        split_users_and_groups(set_by_group(), 0, 6)


def test__split_users_and_groups__a_side_without_pairs__is_an_error():
    """Of two users one has a second group: to judge that one on what both were asked leaves nothing to learn from."""
    columns = np.eye(6), [0, 2, 4], [1, 3, 5], ["a", "a", "b"]
    episodes = episodes_from_arrays(*columns, ["x", "y", "y"], shared_groups=True)

    def sides(seed):
        try:
            train, test, held_out = split_users_and_groups(episodes, 1, 1, random_state=seed)
        except ValueError as error:
            return str(error).partition(": ")[0].rpartition(", ")[2]
        return *train.users, *test.users, test.chosen[held_out].item()

    found = {sides(seed) for seed in range(30)}
    assert found == {("b", "a", 0), ("a", "b", 4), "training users have no pair", "test users have no held-out pair"}


@pytest.mark.parametrize("shared_groups", ["auto", False])
def test__split_users_and_groups__codes_not_said_to_be_shared__says_what_to_do(shared_groups):
    episodes = episodes_from_arrays(
        np.eye(6), [0, 2, 4], [1, 3, 5], ["a", "a", "b"], [0, 1, 1], shared_groups=shared_groups
    )
    with pytest.raises(ValueError, match=r"no two users share one of the 3 groups.*shared_groups=True"):
        split_users_and_groups(episodes, 1, 1)


def test__splits__list_of_episodes__give_what_its_set_gives():
    episodes = set_by_group()
    listed = [Episode(one.user, one.chosen, one.rejected, groups=one.groups) for one in episodes]
    whole = as_episode_set(listed)
    assert all(a == b for a, b in zip(split_users(listed, 3, 0), split_users(whole, 3, 0), strict=True))
    assert_array_equal(
        support_query_split(listed, random_state=0).order, support_query_split(whole, random_state=0).order
    )
    train, test, held_out = split_users_and_groups(listed, 3, 2, random_state=0)
    same_train, same_test, same_held_out = split_users_and_groups(whole, 3, 2, random_state=0)
    assert (train, test) == (same_train, same_test)
    assert_array_equal(held_out, same_held_out)


@pytest.mark.parametrize("split", [split_users, split_users_and_groups, support_query_split])
@pytest.mark.parametrize("data", [Episode("ann", ["Yes."], ["No."]), {"user": ["ann"]}, [], ["ann"]])
def test__splits__no_episodes__say_what_is_needed(split, data):
    with pytest.raises((TypeError, EpisodeError), match=f"{split.__name__} (expects an EpisodeSet|needs at least one)"):
        split(data)


@pytest.mark.parametrize("size", [0.34, np.float32(0.34), 4, np.int64(4), np.uint8(4)])
def test__split_users__size_as_numpy_has_it__is_a_share_or_a_number(size):
    assert split_users(random_set(), size, np.int64(0))[1] == split_users(random_set(), 4, 0)[1]


@pytest.mark.parametrize("size", ["0.5", None, np.nan, np.inf, [3]])
def test__split_users__no_size__says_what_it_takes(size):
    with pytest.raises(ValueError, match="test_size takes a share of users or a number of them, got"):
        split_users(random_set(), size)
