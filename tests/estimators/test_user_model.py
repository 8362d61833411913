"""Adapted users: what adapt accepts, what it solves, how users score, and that nothing about them changes."""

import copy
import pickle
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from skmrm import Episode, MetaRewardModel, UserModels, UserRewardModel, episodes_from_arrays
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.exceptions import EpisodeError

N_ITEMS = 8
ITEMS = np.random.default_rng(7).normal(size=(N_ITEMS, 4))
PAIRS = st.lists(st.tuples(st.integers(0, N_ITEMS - 1), st.integers(0, N_ITEMS - 1)), min_size=1, max_size=12)


def episode(pairs, user="ann"):
    chosen, rejected = np.array(pairs).T
    return Episode(user, ITEMS[chosen], ITEMS[rejected])


def gaps_of(model, pairs):
    """Base rewards of the chosen less those of the rejected items, by the public transform."""
    return model.transform(pairs.chosen) - model.transform(pairs.rejected)


@pytest.fixture(scope="module")
def pairs(episodes):
    """One user's choices as a plain Episode."""
    view = episodes[3]
    return Episode("ann", view.chosen, view.rejected)


@pytest.fixture(scope="module")
def user_model(model, pairs):
    return model.adapt(pairs)


# -- every form of the same choices gives the same user model --------------------------------------------------------


def as_view(pairs):
    columns = np.concatenate([pairs.chosen, pairs.rejected])
    n = len(pairs)
    return episodes_from_arrays(columns, np.arange(n), n + np.arange(n), ["ann"] * n)[0]


def as_set(pairs):
    return as_view(pairs)._set


def as_tuples(pairs):
    return list(zip(pairs.chosen, pairs.rejected, strict=True))


def as_tuples_with_prompts(pairs):
    return [("Tea?", a.tolist(), b.tolist()) for a, b in zip(pairs.chosen, pairs.rejected, strict=True)]


def as_dicts(pairs):
    return [{"chosen": a.tolist(), "rejected": b} for a, b in zip(pairs.chosen, pairs.rejected, strict=True)]


def as_columns(pairs):
    return {"chosen": pairs.chosen, "rejected": pairs.rejected}


def as_columns_with_user(pairs):
    return {"chosen": list(pairs.chosen), "rejected": pairs.rejected.tolist(), "user_id": ["ann"] * len(pairs), "x": 1}


def as_pandas(pairs):
    return pytest.importorskip("pandas").DataFrame({"chosen": list(pairs.chosen), "rejected": list(pairs.rejected)})


def as_polars(pairs):
    return pytest.importorskip("polars").DataFrame({"chosen": pairs.chosen, "rejected": pairs.rejected})


def as_pyarrow(pairs):
    table = pytest.importorskip("pyarrow").table
    return table({"chosen": pairs.chosen.tolist(), "rejected": pairs.rejected.tolist()})


def as_tensors(pairs):
    torch = pytest.importorskip("torch")
    return Episode("ann", torch.from_numpy(pairs.chosen), torch.from_numpy(pairs.rejected))


FORMS = [
    as_view,
    as_set,
    as_tuples,
    as_tuples_with_prompts,
    as_dicts,
    as_columns,
    as_columns_with_user,
    as_pandas,
    as_polars,
    as_pyarrow,
    as_tensors,
]


@pytest.mark.parametrize("form", [*FORMS, lambda pairs: [pairs]], ids=lambda form: form.__name__)
def test__adapt__any_form_of_the_same_choices__gives_the_same_user_model(model, pairs, user_model, form):
    found = model.adapt(form(pairs))
    assert_array_equal(found.weights_, user_model.weights_)
    assert_array_equal(found.weights_cov_, user_model.weights_cov_)
    assert found.n_pairs_ == len(pairs)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test__predict_proba__any_form_of_the_same_choices__gives_the_same_chances(pairs, user_model, form):
    assert_array_equal(user_model.predict_proba(form(pairs)), user_model.predict_proba(pairs))


@pytest.mark.parametrize(
    "nothing",
    [
        [],
        Episode("ann", [], []),
        Episode("ann", np.empty((0, 4)), np.empty((0, 4))),
        {"chosen": [], "rejected": []},
        {"user_id": [], "prompt": [], "chosen": [], "rejected": []},
    ],
    ids=["list", "episode", "arrays", "columns", "columns_with_user"],
)
def test__adapt__no_choices__gives_the_starting_weights(model, nothing):
    found = model.adapt(nothing)
    assert_array_equal(found.weights_, model.start_weights_)
    assert found.n_pairs_ == 0
    assert_array_equal(found.predict(ITEMS), model.predict(ITEMS))
    assert found.predict_proba(nothing).shape == (0,)


def test__adapt__texts_that_begin_alike__are_whole_in_tables_and_tuples():
    """So that the probability of a choice is that of the rewards that `score` gives."""
    one, other = "The sky is blue, and so on.", "The sky is black, perhaps!"
    texts = load_style_preferences(n_users=20, n_pairs=6, random_state=0).episodes
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(texts)
    forms = [[(one, other)], [{"chosen": one, "rejected": other}], {"chosen": [one], "rejected": [other]}]
    user = model.adapt(Episode("ann", [one], [other]))
    gap = user.score("", one) - user.score("", other)
    for form in forms:
        assert_array_equal(model.adapt(form).weights_, user.weights_)
        assert_allclose(user.decision_function(form), [gap], rtol=1e-5, atol=1e-6)


def test__adapt__empty_tables__gives_the_starting_weights(model):
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    columns = {"chosen": [], "rejected": []}
    for table in (pandas.DataFrame(columns), pyarrow.table(columns)):
        assert_array_equal(model.adapt(table).weights_, model.start_weights_)


def test__adapt__a_user_of_a_set_without_pairs__gives_the_starting_weights(model, episodes):
    without = episodes.take_pairs(episodes.user != 2)
    assert_array_equal(model.adapt(without[2]).weights_, model.start_weights_)


# -- what adapt solves -----------------------------------------------------------------------------------------------


def test__adapt__map__solves_the_optimality_condition_of_the_posterior_mode(model, pairs, user_model):
    """(w - w_0) / s^2 = sum over pairs of sigmoid(-margin) * gap, and w = w_0 where s is 0."""
    gaps, scale = gaps_of(model, pairs), model.prior_scale_
    pull = expit(-gaps @ user_model.weights_) @ gaps
    assert_allclose(user_model.weights_ - model.start_weights_, scale**2 * pull, rtol=1e-6, atol=1e-9)
    assert np.abs(user_model.weights_ - model.start_weights_).max() > 0.05


def test__adapt__map__covariance_is_the_inverse_hessian_of_the_posterior(model, pairs, user_model):
    gaps, scale = gaps_of(model, pairs), model.prior_scale_
    chance = expit(gaps @ user_model.weights_)
    likelihood = np.einsum("p,pk,pl->kl", chance * (1 - chance), gaps, gaps)
    # S (I + S G S)^-1 S, which also holds where the prior allows no movement
    expected = scale[:, None] * np.linalg.inv(np.eye(len(scale)) + scale[:, None] * likelihood * scale) * scale
    assert_allclose(user_model.weights_cov_, expected, rtol=1e-6, atol=1e-9)


def test__adapt__gradient__takes_the_steps_it_says_and_has_no_posterior(gradient_model, episodes):
    view = episodes[20]
    pairs = Episode("new", view.chosen, view.rejected)
    gaps, start = gaps_of(gradient_model, pairs)[:, :], gradient_model.start_weights_
    step_size = gradient_model._rule_params["rule.step_size"]
    found = gradient_model.adapt(pairs)
    assert_allclose(found.weights_, start + step_size * (expit(-gaps @ start) @ gaps) / len(pairs), rtol=1e-9)
    assert found.weights_cov_ is None
    with pytest.raises(ValueError, match=r"gradient adaptation and the baselines do not.*adaptation='map'"):
        found.predict_std(ITEMS)


@settings(max_examples=25)
@given(PAIRS, st.randoms(use_true_random=False))
def test__adapt__order_of_pairs__does_not_matter(model, chosen_and_rejected, random):
    shuffled = list(chosen_and_rejected)
    random.shuffle(shuffled)
    one, other = model.adapt(episode(chosen_and_rejected)), model.adapt(episode(shuffled))
    assert_allclose(one.weights_, other.weights_, rtol=1e-7, atol=1e-9)
    assert_allclose(one.weights_cov_, other.weights_cov_, rtol=1e-7, atol=1e-9)


@settings(max_examples=25)
@given(PAIRS)
def test__adapt__every_pair_twice__fits_them_no_worse_and_is_surer(model, chosen_and_rejected):
    once = episode(chosen_and_rejected)
    one, two = model.adapt(once), model.adapt(episode(chosen_and_rejected * 2))
    loss_one, loss_two = (np.logaddexp(0, -user.decision_function(once)).sum() for user in (one, two))
    assert loss_two <= loss_one + 1e-9
    if any(a != b for a, b in chosen_and_rejected):
        assert loss_two < loss_one
    assert np.trace(two.weights_cov_) <= (1 + 1e-9) * np.trace(one.weights_cov_)


@settings(max_examples=25)
@given(PAIRS)
def test__adapt__every_pair_twice__is_the_same_to_gradient_adaptation(gradient_model, chosen_and_rejected):
    """Its loss is a mean over pairs."""
    narrow = [(a, b) for a, b in chosen_and_rejected]
    one, two = gradient_model.adapt(episode(narrow)), gradient_model.adapt(episode(narrow * 2))
    assert_allclose(one.weights_, two.weights_, rtol=1e-9, atol=1e-12)


@settings(max_examples=25)
@given(PAIRS)
def test__adapt__pairs_of_equal_items__say_nothing(model, chosen_and_rejected):
    equal = [(a, a) for a, _ in chosen_and_rejected]
    assert_allclose(model.adapt(episode(equal)).weights_, model.start_weights_, atol=1e-12)


@settings(max_examples=25)
@given(PAIRS)
def test__predict_proba__any_pairs__is_the_sigmoid_of_the_gap_and_complements(user_model, chosen_and_rejected):
    chosen, rejected = np.array(chosen_and_rejected).T
    gaps = user_model.predict(ITEMS)[chosen] - user_model.predict(ITEMS)[rejected]
    found = user_model.predict_proba(episode(chosen_and_rejected))
    assert_allclose(found, expit(gaps), rtol=1e-9)
    assert_allclose(user_model.decision_function(episode(chosen_and_rejected)), gaps, rtol=1e-7, atol=1e-9)
    swapped = user_model.predict_proba(episode([(b, a) for a, b in chosen_and_rejected]))
    assert_allclose(swapped, 1 - found, atol=1e-12)


@settings(max_examples=25)
@given(st.lists(st.integers(0, N_ITEMS - 1), max_size=10))
def test__rank__any_items__orders_by_reward_and_keeps_ties(user_model, rows):
    """Repeated rows tie exactly, and must come in the order in which they were given."""
    items = ITEMS[rows]
    order = user_model.rank(None, items)
    assert sorted(order) == list(range(len(rows)))
    rewards = user_model.predict(items)[order] if rows else np.empty(0)
    for before, after in pairwise(range(len(order))):
        assert rewards[before] >= rewards[after]
        if rows[order[before]] == rows[order[after]]:
            assert order[before] < order[after]


# -- how sure a user model is ----------------------------------------------------------------------------------------


def test__predict_std__no_choices__is_that_of_the_prior(model):
    deviation = model.transform(ITEMS) - model.transform(ITEMS).mean(0)
    expected = np.sqrt(((deviation * model.prior_scale_) ** 2).sum(1))
    assert_allclose(model.adapt([]).predict_std(ITEMS), expected, rtol=1e-9)


def test__predict_std__more_pairs__shrinks(model, pairs):
    sizes = (0, 1, 3, 6, 12)
    spread = [
        model.adapt(Episode("ann", pairs.chosen[:n], pairs.rejected[:n])).predict_std(ITEMS).mean() for n in sizes
    ]
    assert all(after < before for before, after in pairwise(spread))
    assert spread[-1] < 0.95 * spread[0]


def test__predict_std__of_nothing_and_of_one_item__is_empty_and_zero(user_model):
    assert user_model.predict_std(ITEMS[:0]).shape == (0,)
    assert_array_equal(user_model.predict_std(ITEMS[:1]), [0.0])  # rewards mean something only against each other


# -- predictions -----------------------------------------------------------------------------------------------------


def test__predict__array__is_the_weighted_sum_of_base_rewards(model, user_model):
    assert_allclose(user_model.predict(ITEMS), model.transform(ITEMS) @ user_model.weights_, rtol=1e-12)
    assert_allclose(model.predict(ITEMS), model.transform(ITEMS) @ model.start_weights_, rtol=1e-12)


def test__predict__lists_integers_and_frames__are_read_as_arrays(user_model):
    pandas = pytest.importorskip("pandas")
    whole = np.arange(8).reshape(2, 4)
    expected = user_model.predict(whole.astype(float))
    for same in (whole, whole.tolist(), pandas.DataFrame(whole), np.asfortranarray(whole, dtype=float)):
        assert_allclose(user_model.predict(same), expected, rtol=1e-12)


def test__predict__no_items__is_empty(user_model):
    assert user_model.predict(np.empty((0, 4))).shape == (0,)
    assert user_model.rank(None, np.empty((0, 4))).shape == (0,)


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_pairs", "error", "message"),
    [
        (Episode("u", ITEMS[:2, :3], ITEMS[2:4, :3]), EpisodeError, "expected 4 features as in fit, got 3"),
        ([(ITEMS[0, :3], ITEMS[1, :3])], EpisodeError, "expected 4 features as in fit, got 3"),
        (Episode("u", np.full((2, 4), np.nan), ITEMS[:2]), EpisodeError, "finite.*'u'.*2 pairs"),
        ([(ITEMS[0], np.full(4, np.inf))], EpisodeError, "finite"),
        (
            [(ITEMS[0], ITEMS[1]), (ITEMS[0], ITEMS[1, :3])],
            EpisodeError,
            r"different lengths \(4, 3\)|lengths \(3, 4\)",
        ),
        (Episode("u", ITEMS[:3], ITEMS[:2]), EpisodeError, "same length.*3 chosen, 2 rejected"),
        ([("a prompt", "one", "other")], EpisodeError, "feature arrays.*got texts"),
        ([("one", "other")], EpisodeError, "feature arrays.*got texts"),
        (Episode("u", ["one"], ["other"]), EpisodeError, "feature arrays.*got texts"),
        ([{"chosen": "one", "rejected": "other"}], EpisodeError, "feature arrays.*got texts"),
        ({"chosen": ITEMS[:2]}, EpisodeError, "no rejected.*'chosen'"),
        ([{"preferred": 1, "other": 2}], EpisodeError, "no chosen and no rejected.*'preferred', 'other'"),
        ({"chosen": ITEMS[:3], "rejected": ITEMS[:2]}, EpisodeError, "same length.*{'chosen': 3, 'rejected': 2}"),
        (None, TypeError, "got None"),
        ("text", TypeError, "got a str: name a file as a pathlib.Path"),
        (7, TypeError, "got an int"),
        ([1, 2], TypeError, "a list with an int, 1"),
        ([("a", "b"), ("p", "a", "b")], TypeError, "tuple"),
        ([(ITEMS[0],)], TypeError, "tuple"),
    ],
)
def test__adapt__unusable_pairs__are_a_clear_error(model, user_model, user_pairs, error, message):
    with pytest.raises(error, match=message):
        model.adapt(user_pairs)
    with pytest.raises(error, match=message):
        user_model.predict_proba(user_pairs)


def test__adapt__several_users__names_adapt_many(model, episodes, user_model):
    columns = {"user_id": ["a", "b"], "chosen": ITEMS[:2], "rejected": ITEMS[2:4]}
    for several in (episodes[:2], list(episodes[:2]), columns):
        with pytest.raises(ValueError, match=r"one user, got 2 users.*adapt_many"):
            model.adapt(several)
    with pytest.raises(ValueError, match=r"one user, got 2 users"):
        user_model.predict_proba(episodes[:2])


@pytest.mark.parametrize("method", ["predict", "predict_std", "transform"])
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (ITEMS[:, :3], ValueError, "X has 3 features, but OWNER is expecting 4 features as in fit"),
        (ITEMS[0], TypeError, r"shape \(n, 4\).*shape \(4,\).*x\[None\]"),
        (np.where(np.eye(2, 4), np.nan, 1.0), ValueError, "finite; 2 rows are not, the first is row 0"),
        ([("prompt", "response")], TypeError, "feature vectors"),
        ("response", TypeError, "feature vectors"),
        ([[1.0, 2.0, 3.0, 4.0], [1.0]], TypeError, "feature vectors"),
        (np.ones((2, 4), complex), TypeError, "complex128"),
        (None, TypeError, "NoneType"),
    ],
)
def test__predict__unusable_items__are_a_clear_error(model, user_model, method, X, error, message):
    owner = model if method == "transform" else user_model
    with pytest.raises(error, match=message.replace("OWNER", type(owner).__name__)):
        getattr(owner, method)(X)


def test__score__of_a_user_of_an_array_model__says_to_predict(user_model):
    with pytest.raises(TypeError, match=r"predict\(X\)"):
        user_model.score("prompt", "response")


# -- nothing changes -------------------------------------------------------------------------------------------------


def test__user_model__assignment_deletion_and_writing__are_refused(user_model):
    before = user_model.weights_.copy()
    with pytest.raises(AttributeError, match=r"never changes.*model.adapt"):
        user_model.weights_ = before
    with pytest.raises(AttributeError, match="never changes"):
        user_model.something_new = 1
    with pytest.raises(AttributeError, match="never changes"):
        del user_model.weights_
    for array in (user_model.weights_, user_model.weights_cov_):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    assert_array_equal(user_model.weights_, before)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda user: pickle.loads(pickle.dumps(user))])
def test__user_model__copied__predicts_the_same_and_stays_immutable(user_model, pairs, copied):
    other = copied(user_model)
    assert_array_equal(other.predict(ITEMS), user_model.predict(ITEMS))
    assert_array_equal(other.predict_std(ITEMS), user_model.predict_std(ITEMS))
    assert_array_equal(other.predict_proba(pairs), user_model.predict_proba(pairs))
    assert other.n_pairs_ == len(pairs)
    with pytest.raises(AttributeError, match="never changes"):
        other.n_pairs_ = 0
    with pytest.raises(ValueError, match="read-only"):
        other.weights_[0] = 1.0


def test__user_model__of_a_small_user__does_not_carry_other_users_along(model, episodes):
    """A pickled user holds the shared base functions and its own weights, not the table it came from."""
    one = pickle.dumps(model.adapt_many(episodes[:1])["u0"])
    many = pickle.dumps(model.adapt_many(episodes)["u0"])
    assert len(many) < len(one) + 200


def test__user_model__repr__says_how_many_pairs(user_model):
    assert repr(user_model) == "UserRewardModel(n_pairs=12, n_bases=3)"


# -- many users ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ragged(episodes):
    """Users with 0 to 12 pairs."""
    place = np.arange(episodes.n_pairs) - episodes.offsets[episodes.user]
    return episodes.take_pairs(place < np.arange(episodes.n_users)[episodes.user] % 13)


@pytest.fixture(scope="module")
def users(model, ragged):
    return model.adapt_many(ragged)


@pytest.mark.parametrize("which", ["model", "gradient_model"])
def test__adapt_many__ragged_users__equals_adapting_one_by_one(which, ragged, request):
    fitted = request.getfixturevalue(which)
    found = fitted.adapt_many(ragged)
    for row, one in enumerate(ragged):
        alone = fitted.adapt(one)
        assert_allclose(found.weights_[row], alone.weights_, rtol=1e-7, atol=1e-9)
        assert found.n_pairs_[row] == alone.n_pairs_ == len(one)
        if alone.weights_cov_ is None:
            assert found.weights_cov_ is None
        else:
            assert_allclose(found.weights_cov_[row], alone.weights_cov_, rtol=1e-6, atol=1e-9)


def test__user_models__as_a_mapping__has_users_in_order(users, ragged):
    assert isinstance(users, Mapping)
    assert len(users) == ragged.n_users == 40
    assert list(users) == ragged.users.tolist() == list(users.keys())
    assert "u3" in users
    assert "nobody" not in users
    assert users.get("nobody") is None
    assert [user for user, _ in users.items()] == list(users)
    assert all(isinstance(one, UserRewardModel) for one in users.values())


def test__user_models__one_user__is_a_view_of_the_table(users):
    assert np.shares_memory(users["u3"].weights_, users.weights_)
    assert_array_equal(users["u3"].weights_, users.weights_[3])
    assert_array_equal(users["u3"].weights_cov_, users.weights_cov_[3])
    assert users["u3"].n_pairs_ == 3
    for table in (users.weights_, users.weights_cov_, users.n_pairs_):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1


def test__user_models__unknown_user__is_a_key_error_that_names_some(users):
    with pytest.raises(KeyError, match=r"'nobody'.*40 adapted users.*'u0', 'u1', 'u2' and 37 more"):
        users["nobody"]


def test__user_models__decision_function__judges_each_pair_by_its_own_user(users, episodes):
    some = episodes[[7, 2, 30]]
    margins = users.decision_function(some)
    expected = np.concatenate([users[one.user].decision_function(one) for one in some])
    assert_allclose(margins, expected, rtol=1e-7, atol=1e-9)
    assert_allclose(users.predict_proba(some), expit(margins), rtol=1e-9)
    assert_allclose(users.decision_function(list(some)), margins, rtol=1e-12)
    assert_allclose(users.decision_function(some[1]), users["u2"].decision_function(some[1]), rtol=1e-7, atol=1e-9)


def test__user_models__decision_function_of_strangers__names_them(users):
    strangers = [episode([(0, 1)], user="x"), episode([(1, 0)], user="u2"), episode([(1, 0)], user="y")]
    with pytest.raises(KeyError, match=r"'x', 'y'.*adapt_many"):
        users.decision_function(strangers)


def test__user_models__pickled__gives_the_same_users(users):
    other = pickle.loads(pickle.dumps(users))
    assert isinstance(other, UserModels)
    assert list(other) == list(users)
    assert_array_equal(other.weights_, users.weights_)
    assert_array_equal(other["u5"].predict(ITEMS), users["u5"].predict(ITEMS))


def test__user_models__repr__says_how_many_users(users):
    assert repr(users) == "UserModels(n_users=40, n_bases=3)"


def test__adapt_many__repeated_user__is_a_clear_error(model, episodes):
    with pytest.raises(ValueError, match=r"repeated users.*join"):
        model.adapt_many(episodes[[0, 1, 0]])


@pytest.mark.parametrize(
    ("users_pairs", "error", "message"),
    [
        ([], EpisodeError, "adapt_many needs at least one user"),
        ([episode([(0, 1)]), episode([(1, 2)])], EpisodeError, "one episode.*'ann'"),
        ([Episode("u", ITEMS[:, :2], ITEMS[:, :2])], EpisodeError, "expected 4 features"),
        ([Episode("u", ["a"], ["b"])], EpisodeError, "feature arrays"),
        (ITEMS, TypeError, "adapt_many expects an EpisodeSet or a list of Episode"),
        ([("p", "a", "b")], TypeError, "list of Episode"),
    ],
)
def test__adapt_many__unusable_episodes__are_a_clear_error(model, users_pairs, error, message):
    with pytest.raises(error, match=message):
        model.adapt_many(users_pairs)


def test__adapt_many__n_jobs__changes_nothing(monkeypatch):
    monkeypatch.setattr("skmrm.estimators.core_data._USERS_PER_JOB", 5)
    data = make_user_preferences(n_users=60, n_pairs=(1, 12), n_features=4, n_bases=2, random_state=0).episodes
    model = MetaRewardModel(n_bases=3, max_epochs=0, random_state=0).fit(data)
    empty = data.take_pairs(data.user != 7)  # somebody without a pair
    expected = model.adapt_many(empty)
    for n_jobs in (2, 3, -1):
        found = model.set_params(n_jobs=n_jobs).adapt_many(empty)
        np.testing.assert_allclose(found.weights_, expected.weights_, rtol=1e-6, atol=1e-9)
        for user in data.users[[7, 8]]:
            one, other = (users[user].weights_cov_ for users in (found, expected))
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-9)
