"""Adaptation curves: known answers from known users, splits that are paired, and scorers in scikit-learn's hands."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate

from skmrm import Episode, MetaRewardModel, split_users_and_groups
from skmrm.datasets import make_user_preferences, true_gaps
from skmrm.episodes import as_episode_set, episodes_from_arrays
from skmrm.exceptions import EpisodeError
from skmrm.metrics import (
    bootstrap_interval,
    expected_calibration_error,
    share_helped,
    simultaneous_intervals,
    user_accuracies,
    user_log_losses,
    worst_decile,
)
from skmrm.model_selection import adaptation_curve, adaptation_scorer, compare
from skmrm.model_selection.judging import encoded
from skmrm.splits import support_query_split


class Known:
    """Known rewards of the public, and for users with enough pairs, of the user: an estimator with nothing to fit."""

    encoder_ = None

    def __init__(self, data, needed=1):
        self.data, self.needed, self.asked = data, needed, []

    def adapt_many(self, episodes):
        self.asked.append(episodes)
        return KnownUsers(self, dict(zip(episodes.users, episodes.pairs_per_user >= self.needed, strict=True)))


class KnownUsers:
    def __init__(self, model, knows):
        self.model, self.knows = model, knows

    def decision_function(self, episodes):
        self.model.asked.append(episodes)
        public, personal = (true_gaps(self.model.data, episodes, personal=own) for own in (False, True))
        return np.where([self.knows[episodes.users[row]] for row in episodes.user], personal, public)


@pytest.fixture(scope="module")
def data():
    """Users with 2 to 14 pairs each, so that not everybody reaches every size."""
    return make_user_preferences(n_users=40, n_pairs=(2, 14), n_features=4, n_bases=2, random_state=0)


@pytest.fixture(scope="module")
def quick():
    """An unfitted model that takes hundredths of a second to fit, and adapts."""
    return MetaRewardModel(n_bases=3, max_epochs=0, random_state=0, device="cpu")


# -- known answers ---------------------------------------------------------------------------------------------------


def test__adaptation_curve__size_zero__equals_the_metrics_of_the_query(data):
    curve = adaptation_curve(Known(data), data.episodes, support_sizes=[0], n_splits=1, random_state=3)
    split = support_query_split(data.episodes, random_state=3)
    query = data.episodes.take_pairs(split.query)
    judged = split.n_support > 0
    margins = true_gaps(data, query, personal=False)
    assert_array_equal(curve.users, data.episodes.users[judged])
    assert_array_equal(curve.accuracy[0], user_accuracies(margins, query.user)[judged])
    assert_array_equal(curve.log_loss[0], user_log_losses(margins, query.user)[judged])
    of_judged = judged[query.user]
    assert curve.reliability[0].calibration_error == pytest.approx(
        expected_calibration_error(margins[of_judged], query.user[of_judged])
    )


def test__adaptation_curve__known_tastes__change_the_answer_where_the_model_has_enough_pairs(data):
    public, personal, from_three = (
        adaptation_curve(Known(data, needed), data.episodes, support_sizes=[0, 2, 3]).accuracy for needed in (99, 1, 3)
    )
    assert_array_equal(from_three[:2], public[:2])
    assert_array_equal(from_three[2], personal[2])
    assert np.nanmean(personal[2] - public[2]) > 0.05
    assert_array_equal(personal[0], public[0])


def test__adaptation_curve__fitted_model__equals_a_plain_loop_over_users(model, episodes):
    sizes = (0, 1, 4, None)
    curve = adaptation_curve(model, episodes, support_sizes=sizes, n_splits=2, random_state=5)
    rng = np.random.default_rng(5)
    plain = np.full((4, 2, episodes.n_users), np.nan)
    for place in range(2):
        split = support_query_split(episodes, random_state=rng)
        for row, size in enumerate(sizes):
            support, query = episodes.take_pairs(split.support(size)), episodes.take_pairs(split.query)
            for user in range(episodes.n_users):
                margins = model.adapt(support[user]).decision_function(query[user])
                plain[row, place, user] = (margins > 0).mean()
    assert_allclose(curve.accuracy, plain.mean(1), rtol=1e-12)
    assert_allclose(curve.n_support, 6, atol=0.5)  # half of 12, where groups allow


def test__adaptation_curve__users_with_few_pairs__have_no_value_at_sizes_they_never_reach(data):
    curve = adaptation_curve(Known(data), data.episodes, support_sizes=[0, 2, 5, 7, 100, None], n_splits=4)
    rng = np.random.default_rng(0)
    most = np.max([support_query_split(data.episodes, random_state=rng).n_support for _ in range(4)], axis=0)
    most = most[np.isin(data.episodes.users, curve.users)]
    for row, size in enumerate([0, 2, 5, 7, 100, 1]):
        assert_array_equal(np.isnan(curve.accuracy[row]), most < size)
        assert_array_equal(np.isnan(curve.log_loss[row]), most < size)
    unreached = curve.reliability[4]
    assert unreached.weight.sum() == 0
    assert np.isnan(unreached.calibration_error)


def test__adaptation_curve__user_in_one_group__is_not_judged():
    episodes = episodes_from_arrays(
        np.eye(2), [0] * 5, [1] * 5, ["ann", "ann", "bo", "bo", "bo"], ["x", "x", "x", "y", "y"]
    )

    class Prefers:
        def adapt_many(self, episodes):
            return self

        def decision_function(self, episodes):
            return np.ones(episodes.n_pairs)

    curve = adaptation_curve(Prefers(), episodes, support_sizes=[0, None])
    assert curve.users.tolist() == ["bo"]
    assert_array_equal(curve.accuracy, 1.0)


# -- splits ----------------------------------------------------------------------------------------------------------


def test__adaptation_curve__supports__are_nested_and_share_no_group_with_the_query(data):
    model = Known(data)
    adaptation_curve(model, data.episodes, support_sizes=[1, 3, None], n_splits=1)
    seen, queries = model.asked[::2], model.asked[1::2]
    pairs = [{(e.users[u], g, c) for u, g, c in zip(e.user, e.group, e.chosen, strict=True)} for e in [*seen, *queries]]
    of_largest = {pair for pair in pairs[0] if pair[0] in set(seen[1].users)}
    assert of_largest <= pairs[1]
    assert pairs[0] <= pairs[2]
    groups = [{pair[:2] for pair in some} for some in pairs]
    assert groups[2].isdisjoint(groups[5])
    assert seen[0].pairs_per_user.max() == 1


def test__adaptation_curve__same_random_state__same_splits_for_every_model(data):
    one, other = Known(data), Known(data, needed=100)
    curves = [adaptation_curve(model, data.episodes, random_state=2) for model in (one, other)]
    assert one.asked == other.asked
    assert_array_equal(curves[0].n_support, curves[1].n_support)
    third = Known(data)
    adaptation_curve(third, data.episodes, random_state=3)
    assert third.asked != one.asked


def test__adaptation_curve__explicit_query__is_judged_alone_and_all_else_is_support(data):
    _, test, held_out = split_users_and_groups(data.episodes, 0.5, random_state=0)
    model = Known(data)
    curve = adaptation_curve(model, test, support_sizes=[None], n_splits=2, query=held_out)
    both = (np.bincount(test.user[held_out], minlength=test.n_users) > 0) & (
        np.bincount(test.user[~held_out], minlength=test.n_users) > 0
    )
    assert curve.users.tolist() == test.users[both].tolist()
    support, query = model.asked[:2]
    assert_array_equal(query.group, test.take_pairs(held_out)[both].group)
    assert_array_equal(support.group, test.take_pairs(~held_out)[both].group)
    assert_array_equal(curve.n_support, support.pairs_per_user)
    assert np.isnan(curve.accuracy).sum() == 0


def test__adaptation_curve__explicit_query__splits_differ_in_the_order_of_supports(data):
    held_out = data.episodes.group % 2 == 0
    model = Known(data)
    adaptation_curve(model, data.episodes, support_sizes=[1], n_splits=2, query=held_out)
    (first, query), (second, again) = model.asked[:2], model.asked[2:]
    assert query == again
    assert_array_equal(first.pairs_per_user, second.pairs_per_user)
    assert np.any(first.group != second.group)


# -- users who were in fit -------------------------------------------------------------------------------------------


def before_and_now(episodes, random_state=0):
    """What users chose before and what they choose now, of other groups; those with both."""
    now = support_query_split(episodes, random_state=random_state).query
    both = (np.bincount(episodes.user[now], minlength=episodes.n_users) > 0) & (
        np.bincount(episodes.user[~now], minlength=episodes.n_users) > 0
    )
    return episodes.take_pairs(~now)[both], episodes.take_pairs(now)[both]


def read_anew(episodes, rng):
    """The same choices as a set of its own: users, pairs and items in another order, groups with other names."""
    place, pairs = rng.permutation(episodes.n_items), rng.permutation(episodes.n_pairs)
    features = np.empty_like(episodes.features)
    features[place] = episodes.features
    chosen, rejected, user = (column[pairs] for column in (episodes.chosen, episodes.rejected, episodes.user))
    return episodes_from_arrays(features, place[chosen], place[rejected], episodes.users[user])


def by_user(curve):
    """Accuracy and log loss of each size, users in the order of their ids."""
    return np.stack([curve.accuracy, curve.log_loss])[:, :, np.argsort(curve.users)]


def test__adaptation_curve__known_users__are_as_planted_on_all_their_new_pairs(data):
    known, now = before_and_now(data.episodes)
    model = Known(data, needed=3)
    curve = adaptation_curve(model, now, known=known, support_sizes=[0, 2, 3, None])
    public, personal = (user_accuracies(true_gaps(data, now, personal=own), now.user) for own in (False, True))
    enough = known.pairs_per_user >= 3
    assert curve.users.tolist() == now.users.tolist()
    assert_array_equal(curve.n_support, known.pairs_per_user)
    assert_allclose(curve.accuracy[0], public)
    assert_allclose(curve.accuracy[1], np.where(known.pairs_per_user >= 2, public, np.nan))
    assert_allclose(curve.accuracy[2], np.where(enough, personal, np.nan))
    assert_allclose(curve.accuracy[3], np.where(enough, personal, public))
    assert 0 < enough.sum() < now.n_users


def test__adaptation_curve__known_users_at_all_choices__equal_adapting_on_them_and_judging_the_new(model, episodes):
    known, now = before_and_now(episodes)
    curve = adaptation_curve(model, now, known=known, support_sizes=[0, None], n_splits=2)
    for row, adapted in enumerate([model.adapt_many(known.take_pairs([])), model.adapt_many(known)]):
        margins = adapted.decision_function(now)
        assert_allclose(curve.accuracy[row], user_accuracies(margins, now.user), rtol=1e-12)
        assert_allclose(curve.log_loss[row], user_log_losses(margins, now.user), rtol=1e-6)


def test__adaptation_curve__known_users__are_judged_as_by_a_query_of_the_new_pairs(model, episodes):
    now = support_query_split(episodes, random_state=0).query
    known, new = episodes.take_pairs(~now), episodes.take_pairs(now)
    sizes = {"support_sizes": [0, None], "n_splits": 1}
    one = adaptation_curve(model, new, known=known, **sizes)
    other = adaptation_curve(model, episodes, query=now, **sizes)
    assert_allclose(by_user(one), by_user(other), rtol=1e-6)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), others=st.booleans(), as_list=st.booleans())
def test__adaptation_curve__known__in_any_order_and_form_with_any_others__is_the_same(
    model, episodes, seed, others, as_list
):
    rng = np.random.default_rng(seed)
    known, now = before_and_now(episodes)
    asked = {"support_sizes": [0, 1, 3, None], "n_splits": 2, "random_state": 7}
    expected = adaptation_curve(model, now[:12], known=known[:12], **asked)
    before, after = read_anew(known if others else known[:12], rng), read_anew(now[:12], rng)
    if as_list:
        before, after = list(before), list(after)
    assert_allclose(by_user(adaptation_curve(model, after, known=before, **asked)), by_user(expected), rtol=1e-5)


def test__adaptation_curve__known_users__are_adapted_on_nested_choices_of_theirs_alone(data):
    known, now = before_and_now(data.episodes)
    model = Known(data)
    adaptation_curve(model, now, known=known, support_sizes=[1, 2, None], n_splits=1)
    supports, queries = model.asked[::2], model.asked[1::2]
    chosen = [{(e.users[u], *pair) for u, *pair in zip(e.user, e.chosen, e.rejected, strict=True)} for e in supports]
    reached = set(supports[1].users)
    assert {pair for pair in chosen[0] if pair[0] in reached} <= chosen[1] <= chosen[2]
    assert chosen[2] == {
        (known.users[u], *pair) for u, *pair in zip(known.user, known.chosen, known.rejected, strict=True)
    }
    assert_array_equal(queries[2].chosen, now.chosen)
    assert supports[2].features is known.features  # parts of one set are put together without a copy


def test__adaptation_curve__known_texts_of_another_set__are_encoded_once_and_features_are_kept():
    def texts(letters):
        words = [[letter * (n + 1) for n in range(6)] for letter in letters]
        return [Episode(f"u{n}", words[0], words[1], prompts=list("abcdef")) for n in range(12)]

    known, now = texts("xy"), texts("xz")
    model = MetaRewardModel(
        CountingEncoder(), text_statistics=False, n_bases=1, max_epochs=0, validation_fraction=0, device="cpu"
    ).fit(known)
    CountingEncoder.encoded = 0
    curve = adaptation_curve(model, now, known=known, support_sizes=[0, None])
    assert CountingEncoder.encoded == 3 * 6
    ready = [encoded(model, as_episode_set(some)) for some in (now, known)]
    CountingEncoder.encoded = 0
    again = adaptation_curve(model, ready[0], known=ready[1], support_sizes=[0, None])
    assert CountingEncoder.encoded == 0
    assert_allclose(by_user(again), by_user(curve))


def test__adaptation_curve__known_that_does_not_fit__is_said_at_once(data):
    known, now = before_and_now(data.episodes)
    now = now.take_pairs(now.user != 2)
    known = known.take_pairs(known.user != 1)[[1, *range(2, known.n_users), 3]]
    known = known.with_features(np.ones((known.n_items, 7)))
    with pytest.raises(ValueError) as caught:
        adaptation_curve(Known(data), now, known=known, query=np.zeros(now.n_pairs, bool), n_splits=0)
    for part in (
        "n_splits must be a positive integer, got 0",
        "query and known exclude each other, got both",
        f"none of 2 of {now.n_users} users ({now.users[0]!r}, {now.users[1]!r}); known has users {now.users[1]!r}",
        f"new choices to be judged on, got none of 1 of {now.n_users} users ({now.users[2]!r}): leave them out",
        f"must stand once in known, got {now.users[3]!r} more than once",
        "must be of one kind, got 4 features and 7 features",
    ):
        assert part in str(caught.value)


def test__adaptation_curve__known_of_other_kind_or_columns__is_an_error(model, episodes):
    known, now = before_and_now(episodes)
    texts = [Episode(user, ["Yes."], ["No."]) for user in now.users]
    with pytest.raises(ValueError, match=rf"one kind, got {now.n_features} features and texts: bring texts for both"):
        adaptation_curve(model, now, known=texts)
    names = [f"x{n}" for n in range(now.n_features)]
    with pytest.raises(ValueError, match=r"same columns in the same order, got 'x0'.* and 'x"):
        adaptation_curve(model, now.named(names), known=known.named(names[::-1]))
    with pytest.raises(TypeError, match="adaptation_curve, for known, expects an EpisodeSet"):
        adaptation_curve(model, now, known={"user": [1]})


# -- work ------------------------------------------------------------------------------------------------------------


class CountingEncoder:
    """Length of a response as its feature; counts what it encodes."""

    encoded = 0

    def fit(self, items):
        return self

    def transform(self, items):
        type(self).encoded += len(items)
        return np.array([[float(len(response))] for _, response in items])

    def fit_transform(self, items):
        return self.transform(items)


def test__adaptation_curve__texts__are_encoded_once():
    rng = np.random.default_rng(0)
    users = [
        Episode(f"u{n}", *(["x" * rng.integers(1, 30) for _ in range(6)] for _ in range(2)), prompts=list("abcdef"))
        for n in range(12)
    ]
    model = MetaRewardModel(
        CountingEncoder(), text_statistics=False, n_bases=1, max_epochs=0, validation_fraction=0, device="cpu"
    ).fit(users)
    CountingEncoder.encoded = 0
    curve = adaptation_curve(model, users, support_sizes=[0, 1, None])
    distinct = {
        (prompt, text)
        for user in users
        for side in (user.chosen, user.rejected)
        for prompt, text in zip(user.prompts, side, strict=True)
    }
    assert CountingEncoder.encoded == len(distinct)
    assert curve.accuracy.shape == (3, 12)


def test__adaptation_curve__fitted_model__stays_as_it_was(model, episodes):
    before = pickle.dumps(model)
    adaptation_curve(model, episodes, support_sizes=[0, 3], n_splits=1)
    assert pickle.dumps(model) == before


# -- comparison ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curves(data):
    sizes = [0, 1, 3, 50]
    return [adaptation_curve(Known(data, needed), data.episodes, support_sizes=sizes) for needed in (1, 100)]


def test__compare__rows__are_the_paired_metrics_of_each_size(curves):
    rows = compare(*curves, level=0.9)
    for row, one, two, three, four in zip(
        rows, curves[0].accuracy, curves[1].accuracy, curves[0].log_loss, curves[1].log_loss, strict=True
    ):
        if row.n_support == 50:
            assert row.n_users == 0
            assert np.isnan([row.gain.estimate, row.worst_decile_gain.low, row.log_loss_change.high, row.hurt]).all()
            continue
        assert row.n_users == (~np.isnan(one)).sum()
        assert row.gain == bootstrap_interval(one, two, level=0.9)
        assert row.worst_decile_gain == bootstrap_interval(one, two, statistic=worst_decile, level=0.9)
        assert row.log_loss_change == bootstrap_interval(three, four, level=0.9)
        assert (row.helped, row.hurt) == share_helped(one, two)
    assert rows[0].gain.low == rows[0].gain.high == 0
    assert rows[2].gain.low > 0
    assert rows[2].log_loss_change.high < 0


def test__compare__simultaneous__are_the_intervals_that_hold_at_once(curves):
    rows = compare(*curves, simultaneous=True)
    assert [row.gain for row in rows[:3]] == simultaneous_intervals(curves[0].accuracy, curves[1].accuracy)[:3]
    alone = compare(*curves)
    assert rows[1].gain.high - rows[1].gain.low > alone[1].gain.high - alone[1].gain.low
    assert rows[1].gain.estimate == pytest.approx(alone[1].gain.estimate)


def test__compare__curves_over_other_things__are_refused(data, curves):
    model = Known(data)
    others = {
        "same users .* 20 users": adaptation_curve(model, data.episodes[:20], support_sizes=[0, 1, 3, 50]),
        "same splits": adaptation_curve(model, data.episodes, support_sizes=[0, 1, 3, 50], support_fraction=0.8),
        "same support_sizes, got .*0, 1, 3, 50": adaptation_curve(model, data.episodes, support_sizes=[0, 1]),
    }
    for message, other in others.items():
        with pytest.raises(ValueError, match=message):
            compare(curves[0], other)


def test__to_frame__rows__summarise_users(curves):
    frame = curves[0].to_frame()
    assert frame.index.tolist() == [0, 1, 3, 50]
    assert frame.columns.tolist() == ["n_users", "accuracy", "worst_decile", "log_loss", "calibration_error"]
    known = curves[0].accuracy[2][~np.isnan(curves[0].accuracy[2])]
    assert frame.loc[3, "n_users"] == len(known)
    assert frame.loc[3, "accuracy"] == pytest.approx(known.mean())
    assert frame.loc[3, "worst_decile"] == pytest.approx(worst_decile(known))
    assert frame.loc[3, "calibration_error"] == curves[0].reliability[2].calibration_error
    assert frame.loc[50].drop("n_users").isna().all()
    assert frame.loc[50, "n_users"] == 0


def test__to_frame__all_pairs__is_called_all(data):
    assert adaptation_curve(Known(data), data.episodes, support_sizes=[2, None]).to_frame().index.tolist() == [2, "all"]


# -- scorers ---------------------------------------------------------------------------------------------------------


def test__adaptation_scorer__each_metric__is_that_of_the_curve_and_larger_is_better(model, episodes):
    curve = adaptation_curve(model, episodes, support_sizes=[3])
    expected = {
        "accuracy": curve.accuracy[0].mean(),
        "log_loss": -curve.log_loss[0].mean(),
        "worst_decile": worst_decile(curve.accuracy[0]),
    }
    for metric, value in expected.items():
        scorer = pickle.loads(pickle.dumps(adaptation_scorer(metric, n_support=3)))
        assert scorer(model, episodes) == pytest.approx(value)
        assert scorer(model, episodes, y=[1, 2]) == pytest.approx(value)


def test__adaptation_scorer__grid_search__finds_that_personalising_helps(quick, episodes):
    scorer = adaptation_scorer("accuracy", n_splits=2)
    search = GridSearchCV(quick, {"n_bases": [1, 3]}, scoring=scorer, cv=2, error_score="raise").fit(episodes)
    one, three = search.cv_results_["mean_test_score"]
    assert three > one
    assert search.best_params_ == {"n_bases": 3}


def test__adaptation_scorer__several_metrics__work_together(quick, few_episodes):
    scoring = {"accuracy": adaptation_scorer(), "worst": adaptation_scorer("worst_decile", n_support=1, n_splits=1)}
    found = cross_validate(
        quick, few_episodes, scoring=scoring, cv=2, return_estimator=True, return_indices=True, error_score="raise"
    )
    for fold in range(2):
        held_out = few_episodes[found["indices"]["test"][fold]]
        assert found["test_accuracy"][fold] == scoring["accuracy"](found["estimator"][fold], held_out)
        assert found["test_worst"][fold] <= found["test_accuracy"][fold]


# -- errors ----------------------------------------------------------------------------------------------------------


def test__adaptation_curve__wrong_arguments__are_all_named_at_once(data):
    with pytest.raises(ValueError) as caught:
        adaptation_curve(
            Known(data),
            data.episodes,
            support_sizes=[-1, 2.5, True, 3, 3],
            n_splits=0,
            support_fraction="half",
            query=[1, 0],
        )
    for part in (
        "from 0 up, or None for all support pairs, got -1, 2.5, True",
        "repeated, got 3 more than once",
        "n_splits must be a positive integer, got 0",
        "support_fraction must lie strictly between 0 and 1, got 'half'",
        f"boolean mask of shape ({data.episodes.n_pairs},)",
    ):
        assert part in str(caught.value)


def test__adaptation_curve__no_sizes__is_an_error(data):
    with pytest.raises(ValueError, match="support_sizes must not be empty"):
        adaptation_curve(Known(data), data.episodes, support_sizes=[])


def test__adaptation_curve__no_user_in_two_groups__is_an_error(data):
    episodes = data.episodes.take_pairs(data.episodes.offsets[:-1])
    with pytest.raises(EpisodeError, match=r"at least two groups.* of 40 users with 40 pairs none has: pass groups"):
        adaptation_curve(Known(data), episodes)
    with pytest.raises(EpisodeError, match="choose another query"):
        adaptation_curve(Known(data), episodes, query=np.ones(40, bool))


@pytest.mark.parametrize(("model", "message"), [(object(), "adapt_many.*got an object"), (None, "got None")])
def test__adaptation_curve__not_a_model__is_an_error(data, model, message):
    with pytest.raises(TypeError, match=message):
        adaptation_curve(model, data.episodes)


def test__adaptation_curve__not_episodes__is_an_error(data):
    with pytest.raises(TypeError, match="adaptation_curve expects an EpisodeSet"):
        adaptation_curve(Known(data), {"user": [1]})


def test__adaptation_curve__unfitted_model__says_so(quick, data):
    with pytest.raises(NotFittedError):
        adaptation_curve(clone(quick), data.episodes)


def test__adaptation_scorer__wrong_arguments__are_all_named_at_once():
    with pytest.raises(ValueError, match=r"n_support must be integers.*metric must be one of.*'f1'.*random_state must"):
        adaptation_scorer("f1", n_support=-1, random_state=None)


def test__adaptation_scorer__more_pairs_than_anybody_has__is_an_error(model, episodes):
    with pytest.raises(EpisodeError, match="no user has 50 support pairs in any split, the most is 6"):
        adaptation_scorer(n_support=50)(model, episodes)
