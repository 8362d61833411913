"""Equal items are one, groups are whose they are said to be, and draws do not depend on how choices came."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmrm import Episode, EpisodeSet, MetaRewardModel, episodes_from_arrays, episodes_from_frame
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import make_user_preferences
from skmrm.episodes import as_episode_set
from skmrm.episodes.columns import Coder, number_rows
from skmrm.exceptions import EpisodeError
from skmrm.model_selection import adaptation_curve
from skmrm.splits import split_users, split_users_and_groups, support_query_split

# -- one item, one row -----------------------------------------------------------------------------------------------

floats = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.1, 1e-310, 3e38])


@given(
    cells=st.lists(st.lists(floats, min_size=18, max_size=18), min_size=1, max_size=20),
    width=st.sampled_from([1, 2, 18]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    order=st.sampled_from("CF"),
)
def test__number_rows__any_floats__numbers_distinct_rows_in_order_of_appearance(cells, width, dtype, order):
    with np.errstate(over="ignore"):
        features = np.array(cells)[:, -width:].astype(dtype, order=order)
    codes, first = number_rows(features, np.arange(len(features)))
    expected = Coder().codes([tuple(row) for row in features.tolist()])  # to Python, -0.0 is 0.0
    assert_array_equal(codes, expected)
    assert_array_equal(codes[first], np.arange(expected.max() + 1))


def test__number_rows__keys_that_collide__are_told_apart_by_their_bytes(monkeypatch):
    monkeypatch.setattr("skmrm.episodes.keys.Rows.keys", lambda self, _: np.zeros(len(self._rows), np.uint64))
    features = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 2.0], [-0.0, 3.0]])
    codes, first = number_rows(features, np.arange(4))
    assert codes.tolist() == [0, 1, 0, 1]
    assert first.tolist() == [0, 1]


def planted(n_users=12, n_pairs=8, n_items=20, d=3, seed=0, integers=False):
    """Features, ends (n_pairs, 2) and users of pairs that users with tastes of their own choose."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_items, d))
    if integers:
        features = np.unique(rng.integers(-2, 3, size=(3 * n_items, d)), axis=0)[:n_items].astype(float)
    user = np.repeat(np.arange(n_users), n_pairs)
    ends = np.array([rng.choice(len(features), 2, replace=False) for _ in user])
    taste = np.ones(d) + rng.normal(size=(n_users, d))
    gap = np.einsum("pd,pd->p", features[ends[:, 0]] - features[ends[:, 1]], taste[user])
    ends = np.where((gap + rng.logistic(size=len(gap)) > 0)[:, None], ends, ends[:, ::-1])
    return features, ends, user


def forms_of(features, ends, user, rng):
    """The same choices, by the name of their form."""
    ids = np.array([f"u{number}" for number in user])
    chosen, rejected = features[ends[:, 0]], features[ends[:, 1]]
    pairs = rng.permutation(len(user))
    items, back = rng.permutation(len(features)), np.empty(len(features), int)
    back[items] = np.arange(len(items))
    own = [np.flatnonzero(ids == one) for one in rng.permutation(np.unique(ids))]
    columns = {"user_id": ids[pairs], "chosen": list(chosen[pairs]), "rejected": list(rejected[pairs])}
    rows = np.arange(len(user))
    return {
        "indexed": episodes_from_arrays(features, *ends.T, ids),
        "pairs shuffled": episodes_from_arrays(features, *ends[pairs].T, ids[pairs]),
        "items shuffled": episodes_from_arrays(features[items], *back[ends].T, ids),
        "unused rows": episodes_from_arrays(
            np.vstack([np.full((4, features.shape[1]), 99.0), features]), *ends.T + 4, ids
        ),
        "rows of each pair": episodes_from_arrays(np.vstack([chosen, rejected]), rows, rows + len(rows), ids),
        "list": as_episode_set([Episode(ids[r[0]], chosen[r], rejected[r]) for r in own]),
        "frame": episodes_from_frame(pd.DataFrame(columns), prompt=None),
        "dicts": episodes_from_frame(
            [
                {"user_id": who, "chosen": a, "rejected": b}
                for who, a, b in zip(ids, chosen.tolist(), rejected.tolist(), strict=True)
            ],
            prompt=None,
        ),
        "columns": EpisodeSet(
            users=[f"u{number}" for number in range(user.max() + 1)],
            user=user,
            chosen=rows,
            rejected=rows + len(rows),
            group=rows,
            features=np.vstack([chosen, rejected]),
        ),
    }


def pairs_of(episodes, mask):
    """The choices that a mask keeps, as a sorted list, each with its user."""
    rows = np.flatnonzero(mask)
    who = episodes.users[episodes.user[rows]].tolist()
    ends = [
        map(tuple, np.asarray(episodes.features[side[rows]]).tolist()) for side in (episodes.chosen, episodes.rejected)
    ]
    return sorted(zip(who, *ends, strict=True))


@pytest.mark.parametrize("form", ["rows of each pair", "list", "frame", "dicts"])
def test__equal_rows__of_any_form__are_one_item(form):
    features, ends, user = planted()
    found = forms_of(features, ends, user, np.random.default_rng(0))[form]
    assert found.n_items == len(np.unique(ends))
    assert pairs_of(found, np.ones(found.n_pairs, bool)) == pairs_of(
        episodes_from_arrays(features, *ends.T, [f"u{one}" for one in user]), np.ones(len(user), bool)
    )


def test__episodes_from_arrays__no_equal_rows__copies_nothing():
    features = np.random.default_rng(0).normal(size=(6, 40))
    assert episodes_from_arrays(features, [0, 2], [1, 3], ["a", "b"]).features is features


def test__episodes_from_arrays__a_memory_map_with_equal_rows__is_not_read(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((4, 2)))
    features = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert episodes_from_arrays(features, [0, 2], [1, 3], ["a", "b"]).features is features


# -- groups are whose they are said to be ----------------------------------------------------------------------------


def grouped(codes, shared_groups, form):
    """Two users of two pairs each, in groups called by their codes."""
    features, users = np.eye(8), ["ann", "ann", "bo", "bo"]
    if form == "arrays":
        return episodes_from_arrays(features, [0, 2, 4, 6], [1, 3, 5, 7], users, codes, shared_groups=shared_groups)
    if form == "list":
        listed = [
            Episode("ann", features[:2], features[2:4], groups=codes[:2]),
            Episode("bo", features[4:6], features[6:], groups=codes[2:]),
        ]
        return as_episode_set(listed, shared_groups=shared_groups)
    if form == "columns":
        columns = {"user": [0, 0, 1, 1], "chosen": [0, 2, 4, 6], "rejected": [1, 3, 5, 7], "features": features}
        return EpisodeSet(users=["ann", "bo"], group=codes, shared_groups=shared_groups, **columns)
    table = {"user_id": users, "prompt": ["Tea?"] * 4, "group": codes}
    table |= {"chosen": list("aceg"), "rejected": list("bdfh")}
    return episodes_from_frame(table, group="group", shared_groups=shared_groups)


@pytest.mark.parametrize("form", ["arrays", "list", "columns", "frame"])
def test__groups__codes_of_two_users__are_one_group_only_if_said_so(form):
    codes = [0, 1, 0, 0]
    for told, expected in (("auto", [0, 1, 2, 2]), (False, [0, 1, 2, 2]), (True, [0, 1, 0, 0])):
        found = grouped(codes, told, form)
        assert found.group.tolist() == codes
        assert found.group_across_users.tolist() == expected
        assert found.shared_groups == (told is True)
        for same in (found[[0, 1]], found.take_pairs(np.arange(4)), pickle.loads(pickle.dumps(found))):
            assert same.group_across_users.tolist() == expected
        columns = {name: getattr(found, name) for name in ("users", "user", "chosen", "rejected", "features", "items")}
        assert EpisodeSet(group=found.group, **columns).group_across_users.tolist() == expected
        assert as_episode_set(pickle.loads(pickle.dumps(list(found)))).group_across_users.tolist() == expected


@pytest.mark.parametrize("told", ["auto", True])
def test__groups__equal_prompts_of_two_users__are_one_group(told):
    prompts = ["Tea?", "Cake?", "Tea?", ""]
    listed = [Episode("ann", ["a", "b"], ["c", "d"], prompts[:2]), Episode("bo", ["a", "b"], ["c", "d"], prompts[2:])]
    table = {"user_id": ["ann", "ann", "bo", "bo"], "prompt": prompts, "chosen": list("abab"), "rejected": list("cdcd")}
    for found in (
        as_episode_set(listed, shared_groups=told),
        episodes_from_frame(table, shared_groups=told),
        episodes_from_frame(table, group="prompt", shared_groups=told),
    ):
        assert found.group_across_users.tolist()[:3] == [0, 1, 0]
    assert episodes_from_frame(table, shared_groups=False).group_across_users.tolist() == [0, 1, 2, 3]


def test__groups__codes_of_one_user_beside_prompts_of_others__stay_that_user_s():
    listed = [
        Episode("ann", ["a", "b"], ["c", "d"], ["Tea?", "Cake?"], groups=["Tea?", "Pie?"]),
        Episode("bo", ["a", "b"], ["c", "d"], ["Tea?", "Cake?"]),
        Episode("cy", ["a", "b"], ["c", "d"], ["Cake?", "Tea?"]),
    ]
    assert as_episode_set(listed).group_across_users.tolist() == [0, 1, 2, 3, 3, 2]


@pytest.mark.parametrize("told", ["yes", None, 2])
def test__shared_groups__anything_else__is_named_with_what_to_pass(told):
    for form in ("arrays", "list", "frame"):
        with pytest.raises(EpisodeError, match=r'shared_groups must be "auto", True .* or False'):
            grouped([0, 1, 0, 0], told, form)


def test__fit__groups_numbered_for_each_user__is_that_with_names_of_their_own():
    """Codes that users happen to have in common tell the choice of the ridge nothing."""
    data = make_user_preferences(30, 12, n_features=4, n_bases=2, random_state=3).episodes
    columns = {name: getattr(data, name) for name in ("users", "user", "chosen", "rejected", "features")}
    number = np.arange(data.n_pairs) - data.offsets[data.user]
    fits = [
        MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(EpisodeSet(group=codes, **columns))
        for codes in (number // 2, (number // 2) + 100 * data.user)
    ]
    assert_array_equal(*(model.predict(data.features) for model in fits))


# -- one model, and one split, whatever the form ---------------------------------------------------------------------


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), integers=st.booleans(), n_items=st.sampled_from([4, 20, 300]))
def test__canonical__same_choices_in_any_form__is_the_same_set(seed, integers, n_items):
    choices = planted(n_items=n_items, seed=seed, integers=integers)
    forms = forms_of(*choices, np.random.default_rng(seed))
    expected = forms["indexed"].canonical()
    assert len(expected.features) == len(np.unique(choices[1]))
    for form, episodes in forms.items():
        assert episodes.canonical() == expected, form


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), shift=st.sampled_from([0.0, 3.0]), scale=st.sampled_from([0.125, 1.0, 1024.0]))
def test__canonical__other_units_precision_columns_and_answers__is_the_same_order(seed, shift, scale):
    features, ends, user = planted(n_items=40, seed=seed)
    order = episodes_from_arrays(features, *ends.T, user).canonical_order
    rng = np.random.default_rng(seed)
    for changed in (features * scale + shift, features.astype(np.float32), features[:, rng.permutation(3)]):
        again = episodes_from_arrays(changed, *ends.T, user).canonical_order
        assert_array_equal(again.users, order.users)
        assert_array_equal(again.pairs, order.pairs)
    for answers in (ends[:, ::-1], np.where(rng.random((len(user), 1)) < 0.5, ends, ends[:, ::-1])):
        assert_array_equal(episodes_from_arrays(features, *answers.T, user).canonical_order.users, order.users)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), integers=st.booleans(), n_items=st.sampled_from([4, 20, 300]))
def test__splits__same_choices_in_any_form__are_the_same(seed, integers, n_items):
    choices = planted(n_items=n_items, seed=seed, integers=integers)
    found = []
    for episodes in forms_of(*choices, np.random.default_rng(seed)).values():
        split = support_query_split(episodes, random_state=0)
        train, test = split_users(episodes, random_state=0)
        found.append(
            (
                pairs_of(episodes, split.query),
                pairs_of(episodes, split.support(2)),
                sorted(train.users),
                pairs_of(test, np.ones(test.n_pairs, bool)),
            )
        )
    assert all(one == found[0] for one in found[1:])


@pytest.mark.filterwarnings("ignore:.*items of held-out pairs")
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test__split_users_and_groups__shuffled__is_the_same(seed):
    rng = np.random.default_rng(seed)
    features, ends, user = planted(seed=seed)
    topic, order = rng.integers(4, size=len(user)), rng.permutation(len(user))
    found = []
    for rows, names in ((np.arange(len(user)), np.arange(4)), (order, rng.permutation(4))):
        columns = features, *ends[rows].T, user[rows], names[topic[rows]]
        train, test, held_out = split_users_and_groups(
            episodes_from_arrays(*columns, shared_groups=True), group_test_size=2, random_state=0
        )
        found.append((pairs_of(train, np.ones(train.n_pairs, bool)), pairs_of(test, held_out)))
    assert found[0] == found[1]


MODELS = {
    "default": MetaRewardModel(max_epochs=2),
    "kernel": MetaRewardModel(max_epochs=0, kernel="rbf"),
    "gradient": MetaRewardModel(adaptation="gradient", max_epochs=2),
    "paper": MetaRewardModel.paper(max_epochs=2, support_fraction=None, validation_fraction=0.3),
    "pooled": PooledBradleyTerry(),
    "low rank": LowRankRewards(max_epochs=2),
    "per user": PerUserBradleyTerry(),
}


@pytest.mark.parametrize("name", MODELS)
def test__fit__same_choices_in_any_form__gives_the_same_rewards(name):
    features, ends, user = planted(n_users=16, seed=len(name))
    rng = np.random.default_rng(0)
    forms = forms_of(features, ends, user, rng)
    wanted = forms if name == "default" else ("indexed", "pairs shuffled", "items shuffled", "dicts")
    columns = {form: np.arange(3) for form in wanted} | {"columns shuffled": np.array([2, 0, 1])}
    forms["columns shuffled"] = episodes_from_arrays(features[:, [2, 0, 1]], *ends.T, [f"u{row}" for row in user])
    found = {}
    for form, shown in columns.items():
        model = MODELS[name].set_params(random_state=0, device="cpu").fit(forms[form])
        users = model.adapt_many(forms[form])
        found[form] = np.stack([users[f"u{row}"].predict(features[:, shown]) for row in range(16)])
    for form, rewards in found.items():
        assert_allclose(rewards, found["indexed"], rtol=1e-6, atol=1e-7, err_msg=form)


def test__fit__texts_shuffled__gives_the_same_rewards():
    words = ["tea", "cake", "pie", "jam", "salt", "milk", "rye", "oats"]
    rng = np.random.default_rng(0)
    rows = [
        {"user_id": f"u{user}", "prompt": prompt, "chosen": f"{a} and {b}.", "rejected": f"{b}, no {c}."}
        for user in range(12)
        for prompt in ("Breakfast?", "Lunch?", "Supper?")
        for a, b, c in [rng.choice(words, 3, replace=False)]
    ]
    items = episodes_from_frame(rows).items
    found = [
        MetaRewardModel(max_epochs=1, random_state=0, device="cpu").fit(episodes_from_frame(some)).predict(items)
        for some in (rows, [rows[place] for place in rng.permutation(len(rows))])
    ]
    assert_allclose(*found, rtol=1e-6, atol=1e-7)


def test__canonical__no_text_and_no_number_tells_apart__the_ids_do():
    """Two users who made the same choices: who is a test user depends on who they are, not on who came first."""
    listed = [Episode(name, np.eye(2)[:1], np.eye(2)[1:]) for name in "abcdef"]
    tests = [set(split_users(as_episode_set(some), random_state=1)[1].users) for some in (listed, listed[::-1])]
    assert tests[0] == tests[1]


def test__adaptation_curve__shuffled_and_over_an_own_query__is_the_same():
    features, ends, user = planted(n_users=16)
    model = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(
        episodes_from_arrays(features, *ends.T, user)
    )
    order = np.random.default_rng(1).permutation(len(user))
    judged = np.arange(len(user)) % 2 == 0
    found = []
    for rows in (np.arange(len(user)), order):
        episodes = episodes_from_arrays(features, *ends[rows].T, user[rows])
        place = np.concatenate([np.flatnonzero(user[rows] == who) for who in episodes.users])
        curve = adaptation_curve(model, episodes, support_sizes=[2], query=judged[rows][place], random_state=0)
        found.append(dict(zip(curve.users, curve.log_loss[0], strict=True)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test__canonical__opposite_choices_of_one_user_between_users_who_disagree__do_not_depend_on_their_order():
    """Turned round, all these choices are the same set: only which item was chosen tells the pairs apart."""
    user, chosen = np.array([0, 1, 2, 2, 2, 2]), np.array([1, 0, 0, 1, 0, 1])
    features, found = np.array([[0.0, 0.0], [1.0, 1.0]]), []
    for order in ([0, 1, 2, 3, 4, 5], [0, 1, 3, 2, 5, 4], [1, 5, 2, 4, 3, 0]):
        ordered = episodes_from_arrays(features, chosen[order], 1 - chosen[order], user[order]).canonical()
        found.append((ordered.users[ordered.user].tolist(), ordered.features[ordered.chosen].tolist()))
    assert found[0] == found[1] == found[2]
