"""Users who say more: update equals adapting on everything, in any batches, under any rule."""

import copy
import pickle
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmrm import Episode, MetaRewardModel, UserRewardModel, episodes_from_arrays
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.exceptions import EpisodeError

N_USERS, N_PAIRS, N_ITEMS = 30, 14, 40


def world(kind, seed=0):
    """A set of choices with ties and strengths, ratings, or neither; weights and times."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ITEMS, 4))
    taste = rng.normal(size=4) + rng.normal(size=(N_USERS, 4))
    user = np.repeat(np.arange(N_USERS), N_PAIRS)
    one = rng.integers(0, N_ITEMS, len(user))
    other = (one + rng.integers(1, N_ITEMS, len(user))) % N_ITEMS
    latent = ((X[one] - X[other]) * taste[user]).sum(1) + rng.logistic(size=len(user))
    chosen, rejected = np.where(latent > 0, [one, other], [other, one])
    said = {"time": rng.uniform(0, 10, len(user))}
    if kind != "choices":
        said |= {"outcome": np.searchsorted([0.5, 1.5], abs(latent)), "weight": rng.uniform(0.2, 3, len(user))}
    if kind == "ratings":
        rated = rng.random(len(user)) < 0.5
        level = 1 + np.searchsorted([-1.0, 0.5], (X[one] * taste[user]).sum(1) + rng.logistic(size=len(user)))
        chosen, rejected = np.where(rated, one, chosen), np.where(rated, one, rejected)
        said |= {"rating": np.where(rated, level, 0), "outcome": np.where(rated, 1, said["outcome"])}
    return episodes_from_arrays(X, chosen, rejected, user, **said)


SETS = {kind: world(kind) for kind in ("choices", "outcomes", "ratings")}
MODELS = {
    "map": MetaRewardModel(n_bases=3, random_state=0, device="cpu"),
    "mixture": MetaRewardModel(random_state=0, kernel=None, device="cpu"),
    "gradient": MetaRewardModel(n_bases=2, adaptation="gradient", inner_steps=3, max_epochs=1, random_state=0),
    "simplex": MetaRewardModel.paper(max_epochs=1, random_state=0, device="cpu"),
    "pooled": PooledBradleyTerry(random_state=0),
    "per user": PerUserBradleyTerry(random_state=0),
    "low rank": LowRankRewards(max_epochs=1, random_state=0),
}  # fmt: skip
FITTED = {}


def fitted(name, kind):
    if (name, kind) not in FITTED:
        FITTED[name, kind] = copy.deepcopy(MODELS[name]).fit(SETS[kind][:20])
    return FITTED[name, kind]


def part_of(episodes, rows):
    return episodes.take_pairs(np.asarray(rows, np.intp))


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(MODELS)),
    kind=st.sampled_from(sorted(SETS)),
    cuts=st.lists(st.integers(0, N_PAIRS), max_size=4).map(sorted),
    half_life=st.sampled_from([None, 3.0]),
    user=st.integers(20, N_USERS - 1),
)
def test__update__choices_in_any_batches__equals_adapting_on_all(name, kind, cuts, half_life, user):
    model, own = fitted(name, kind), SETS[kind][[user]]
    expected = model.adapt(own, half_life=half_life)
    found = model.adapt([])
    for start, stop in zip([0, *cuts], [*cuts, N_PAIRS], strict=True):
        found = found.update(part_of(own, range(start, stop)), half_life=half_life)
    assert_allclose(found.weights_, expected.weights_, atol=1e-6)
    assert found.n_pairs_ == expected.n_pairs_ == N_PAIRS
    if expected.weights_cov_ is not None:
        assert_allclose(found.weights_cov_, expected.weights_cov_, atol=1e-6)


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(MODELS)),
    kind=st.sampled_from(sorted(SETS)),
    first=st.integers(1, 10),
    half_life=st.sampled_from([None, 3.0]),
    seed=st.integers(0, 99),
)
def test__update_many__users_old_and_new__equals_adapting_all_on_everything(name, kind, first, half_life, seed):
    model, episodes = fitted(name, kind), SETS[kind][20:]
    early = np.random.default_rng(seed).random(episodes.n_pairs) < 0.5
    known = episodes.user < first
    users = model.adapt_many(episodes.take_pairs(early & known)[:first], half_life=half_life)
    order = np.random.default_rng(seed).permutation(episodes.n_users)
    found = users.update(episodes.take_pairs(~early | ~known)[order], half_life=half_life)
    expected = model.adapt_many(episodes, half_life=half_life)
    assert sorted(found) == sorted(expected)
    for user in expected:
        assert_allclose(found[user].weights_, expected[user].weights_, atol=1e-6)
        assert found[user].n_pairs_ == expected[user].n_pairs_
    assert len(users) == first


def test__update__what_was_there__is_unchanged():
    model, own = fitted("mixture", "outcomes"), SETS["outcomes"][[22]]
    first = model.adapt(part_of(own, range(4)))
    before = first.weights_.copy()
    second = first.update(part_of(own, range(4, 9)))
    assert_array_equal(first.weights_, before)
    assert (first.n_pairs_, second.n_pairs_) == (4, 9)
    users = model.adapt_many(SETS["outcomes"][20:23])
    users.update(SETS["outcomes"][22:25])
    assert len(users) == 3
    one = users[22].update(part_of(own, range(2)))  # choices once more count once more
    assert one.n_pairs_ == N_PAIRS + 2


def test__update__nothing__changes_nothing():
    user = fitted("mixture", "ratings").adapt(SETS["ratings"][23])
    assert_array_equal(user.update([]).weights_, user.weights_)


def test__update__after_save_and_load_and_pickle__goes_on(tmp_path):
    for name, kind in (("mixture", "ratings"), ("gradient", "outcomes"), ("per user", "choices")):
        model, own = fitted(name, kind), SETS[kind][[25]]
        first = model.adapt(part_of(own, range(6)))
        first.save(tmp_path / name)
        expected = model.adapt(own).weights_
        for again in (UserRewardModel.load(tmp_path / name), pickle.loads(pickle.dumps(first))):
            assert_allclose(again.update(part_of(own, range(6, N_PAIRS))).weights_, expected, atol=1e-6)


def test__pickle__one_user_of_many__holds_that_user_alone():
    users = fitted("mixture", "choices").adapt_many(SETS["choices"][20:])
    one = pickle.loads(pickle.dumps(users[24]))
    assert len(one._history.gaps) == N_PAIRS


def test__compact__drops_choices__and_update_says_why(tmp_path):
    model, own = fitted("mixture", "choices"), SETS["choices"][[25]]
    user, users = model.adapt(own).compact(), model.adapt_many(SETS["choices"][20:]).compact()
    assert_array_equal(user.weights_, model.adapt(own).weights_)
    for compacted in (user, users, users[25]):
        with pytest.raises(ValueError, match=r"update needs .* earlier choices, and they were dropped by compact\(\)"):
            compacted.update(own)
    user.save(tmp_path)
    with pytest.raises(ValueError, match="update needs"):
        UserRewardModel.load(tmp_path).update(own)
    assert model.adapt([]).compact().update(own).n_pairs_ == N_PAIRS  # nothing was dropped


def test__half_life__old_choices__count_half_as_much_a_half_life_ago():
    model, X = fitted("map", "outcomes"), SETS["outcomes"].features
    pairs = ((X[0], X[1]), (X[2], X[3]), (X[4], X[5]))
    rows = [{"chosen": a, "rejected": b, "time": t} for (a, b), t in zip(pairs, (0.0, 5.0, 10.0), strict=True)]
    weighed = [row | {"weight": w} for row, w in zip(rows, (0.25, 0.5, 1.0), strict=True)]
    assert_allclose(model.adapt(rows, half_life=5.0).weights_, model.adapt(weighed).weights_, atol=1e-6)
    assert_allclose(model.adapt(rows, half_life=1e9).weights_, model.adapt(rows).weights_, atol=1e-6)
    latest = model.adapt(rows, half_life=1e-3).weights_
    assert_allclose(latest, model.adapt(rows[2:]).weights_, atol=1e-6)
    dated = [row | {"time": datetime(2026, 1, 1) + timedelta(days=row["time"])} for row in rows]
    assert_allclose(
        model.adapt(dated, half_life=timedelta(days=5)).weights_, model.adapt(rows, half_life=5.0).weights_, atol=1e-6
    )


def test__half_life__that_cannot_be__is_said_with_all_that_is_wrong():
    model, X = fitted("map", "outcomes"), SETS["outcomes"].features
    with pytest.raises(EpisodeError) as error:
        model.adapt([(X[0], X[1])], half_life=-1)
    assert "half_life must be a positive number" in str(error.value)
    assert "give all of them a time" in str(error.value)
    user = model.adapt([{"chosen": X[0], "rejected": X[1], "time": 1.0}])
    with pytest.raises(EpisodeError, match="give all of them a time"):
        user.update([(X[2], X[3])], half_life=1.0)
    for wrong in (0, np.inf, np.nan, True, "a day"):
        with pytest.raises(EpisodeError, match="half_life must be a positive number"):
            user.update([], half_life=wrong)


def test__update__wrong_pairs_or_users__are_refused():
    model = fitted("map", "choices")
    users = model.adapt_many(SETS["choices"][20:])
    with pytest.raises(ValueError, match="update takes each user once"):
        users.update(SETS["choices"][[21, 21]])
    with pytest.raises(EpisodeError, match="features"):
        model.adapt([]).update([(np.ones(3), np.zeros(3))])
    with pytest.raises(EpisodeError, match="update"):
        model.adapt([]).update({"chosen": [np.ones(4)]})
    bad = Episode("u", np.full((1, 4), np.nan), np.zeros((1, 4)))
    with pytest.raises(EpisodeError):
        users.update([bad])
