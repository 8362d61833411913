"""Explanations: planted tastes are found, nothing is made of nothing, and numbers are those of plain least squares."""

import math

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression

from skmrm import MetaRewardModel, UserRewardModel, episodes_from_arrays
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.encoders import HashedTextEncoder, TextStatistics
from skmrm.encoders.style._style import STATISTICS
from skmrm.explanation.effects import Difference, regress
from skmrm.explanation.moments import Moments, kept_moments, moments_of, parts_of, parts_of_prompts, within_parts
from skmrm.explanation.words import WORDS

N_KNOWN = 150


@pytest.fixture(scope="module")
def data():
    return load_style_preferences(n_users=N_KNOWN + 100, n_pairs=90)


@pytest.fixture(scope="module")
def model(data):
    return MetaRewardModel(random_state=0).fit(data.episodes[:N_KNOWN])


@pytest.fixture(scope="module")
def user(data, model):
    return model.adapt(data.episodes[N_KNOWN])


@pytest.fixture(scope="module")
def features():
    """Named and unnamed features, users who differ in all of them."""
    return make_user_preferences(n_users=80, n_pairs=40, n_features=5, random_state=0).episodes


@pytest.fixture(scope="module")
def of_features(features):
    return MetaRewardModel(max_epochs=0, random_state=0).fit(features[:60])


def first_choices(episodes, n):
    place = np.arange(episodes.n_pairs) - np.repeat(episodes.offsets[:-1], episodes.pairs_per_user)
    return episodes.take_pairs(place < n)


def explanations(model, episodes, n_choices):
    users = model.adapt_many(first_choices(episodes, n_choices))
    return [users[user].explain() for user in episodes.users]


# -- planted tastes --------------------------------------------------------------------------------------------------


def true_effects(data, user, effects):
    """Those of the true difference from the crowd, in the same regression on the same responses."""
    rows = [STATISTICS.index(effect.statistic) for effect in effects]
    part = parts_of(data.episodes)
    table = within_parts(TextStatistics().transform(data.episodes.items), part)[:, rows]
    differs = within_parts(data.traits, part) @ (data.tastes[user] - data.tastes[:N_KNOWN].mean(0))
    return LinearRegression().fit(table, differs).coef_


@pytest.mark.parametrize(("n_choices", "stated_each"), [(40, 0.4), (90, 2.0)])
def test__explain__planted_tastes__states_effects_of_the_right_sign(data, model, n_choices, stated_each):
    right = []
    for row, found in enumerate(explanations(model, data.episodes[N_KNOWN:], n_choices), N_KNOWN):
        if found.stated:
            truth = true_effects(data, row, found.stated)
            right += [effect.effect * true > 0 for effect, true in zip(found.stated, truth, strict=True)]
            assert all(effect.low * effect.high > 0 for effect in found.stated)
    assert len(right) > stated_each * 100
    assert np.mean(right) >= 0.95


@pytest.mark.full
def test__explain__few_choices__leans_the_right_way_more_often_than_it_says(data, model):
    right, said = [], []
    for row, found in enumerate(explanations(model, data.episodes[N_KNOWN:], 12), N_KNOWN):
        for effect in found.leanings:
            right.append(effect.effect * true_effects(data, row, [effect])[0] > 0)
            said.append(effect.probability)
            assert effect.low <= 0 <= effect.high
    assert len(right) > 50
    assert np.mean(right) >= np.mean(said) >= 0.8


def test__explain__more_choices__states_more_and_settles_more(data, model):
    found = {n: explanations(model, data.episodes[N_KNOWN:][:40], n) for n in (5, 40, 90)}
    stated = [sum(len(one.stated) for one in found[n]) for n in (5, 40, 90)]
    settled = [np.mean([one.settled for one in found[n]]) for n in (5, 40, 90)]
    assert stated[0] <= stated[1] < stated[2]
    assert 0 < settled[0] < settled[1] < settled[2] < 1


@pytest.mark.parametrize(
    ("trait", "statistic"),
    [("length", "log_words"), ("hedging", "hedges"), ("formality", "long_words")],
)
def test__explain__strong_taste__is_stated_in_its_words(data, model, trait, statistic):
    column = data.taste_names.index(trait)
    found = dict(enumerate(explanations(model, data.episodes[N_KNOWN:], 90), N_KNOWN))
    named = [(row, e) for row, one in found.items() for e in one.stated if e.statistic == statistic]
    assert len(named) >= 5
    away = data.tastes[:, column] - data.mean_taste[column]
    assert np.mean([effect.effect * away[row] > 0 for row, effect in named]) >= 0.9


# -- nothing ---------------------------------------------------------------------------------------------------------


def test__explain__without_choices__is_nothing_yet(data, model):
    for items in (None, data.episodes.items[:30]):
        found = model.adapt([]).explain(items)
        assert str(found).startswith("Nothing yet: without choices")
        assert found.stated == found.leanings == found.gains == found.losses == []
        assert found.settled == 0
        assert found.explained is None


def test__explain__pair_of_equals__says_nothing_of_the_user(of_features, features):
    """Such a user is the average one, though not the user without choices, who gets what serves all."""
    episodes = episodes_from_arrays(np.zeros((1, 5)), [0], [0], ["a"])
    found = of_features.adapt(episodes[0]).explain()
    assert str(found).startswith("Nothing yet: after 1 choice ")
    assert found.settled == pytest.approx(0, abs=1e-6)
    assert max(abs(effect.effect) for effect in found.effects) < 1e-6


def test__explain__model_without_personalisation__says_so(features):
    found = PooledBradleyTerry(random_state=0).fit(features[:60]).adapt(features[60]).explain()
    assert found.stated == found.leanings == []


# -- numbers ---------------------------------------------------------------------------------------------------------


def plain_effects(model, user, items, effects):
    """Of effects, by scikit-learn on responses: coefficients, and their spread over draws from the posterior."""
    part = parts_of_prompts([prompt for prompt, _ in items])
    rewards = within_parts(model.base_rewards_.of_items(items), part)
    table = within_parts(TextStatistics().transform(items), part)
    rows = [STATISTICS.index(effect.statistic) for effect in effects]
    steps = np.array([WORDS[effect.statistic].step for effect in effects])
    crowd = model.base_rewards_.params["crowd.weights"]
    fit = LinearRegression().fit(table[:, rows], rewards @ (user.weights_ - crowd))
    r2 = fit.score(table[:, rows], rewards @ (user.weights_ - crowd))
    mean, covariance = (user.weights_ - crowd).astype(float), user.weights_cov_.astype(float)
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(mean, covariance, size=4000, method="eigh", check_valid="ignore")
    return steps * fit.coef_, steps * LinearRegression().fit(table[:, rows], rewards @ draws.T).coef_, r2


@pytest.mark.parametrize("n_items", [60, 360])
def test__explain__effects__are_those_of_least_squares_and_of_draws_from_the_posterior(data, model, user, n_items):
    items = data.episodes.items[:n_items]
    found = user.explain(items, level=0.8)
    assert len(found.stated) >= 2
    coefficients, draws, r2 = plain_effects(model, user, items, found.stated)
    assert_allclose([effect.effect for effect in found.stated], coefficients, rtol=1e-4, atol=1e-5)
    assert found.explained == pytest.approx(r2, abs=1e-4)
    low, high = np.quantile(draws, [0.1, 0.9], axis=0)
    half = (high - low).max()
    assert_allclose([effect.low for effect in found.stated], low, atol=0.06 * half)
    assert_allclose([effect.high for effect in found.stated], high, atol=0.06 * half)
    right = (np.sign(draws) == np.sign(coefficients)).mean(0)
    assert_allclose([effect.probability for effect in found.stated], right, atol=0.02)


def test__explain__responses__have_differences_within_their_prompt_and_intervals_of_the_posterior(data, model, user):
    items = data.episodes.items[:36]
    found = user.explain(items, n=3, level=0.5)
    part = parts_of_prompts([prompt for prompt, _ in items])
    crowd = model.base_rewards_.params["crowd.weights"]
    rewards = within_parts(model.base_rewards_.of_items(items), part)
    differs = rewards @ (user.weights_ - crowd)
    half = 0.67449 * np.sqrt(np.einsum("nk,kl,nl->n", rewards, user.weights_cov_, rewards))
    order = [row for row in np.argsort(-differs) if abs(differs[row]) > half[row]]
    assert [one.item for one in found.gains] == order[:3]
    assert [one.item for one in found.losses] == order[:-4:-1]
    assert_allclose([one.difference for one in found.gains], differs[order[:3]], rtol=1e-4)
    first = found.gains[0]
    assert (first.prompt, first.response) == items[first.item]
    deviation = math.sqrt(rewards[first.item] @ user.weights_cov_ @ rewards[first.item])
    assert (first.high - first.low) / 2 == pytest.approx(0.6745 * deviation, rel=1e-3)


def test__explain__items_of_fit__are_what_the_model_kept(data, model, user):
    kept, given_again = user.explain(level=0.9), user.explain(data.episodes, level=0.9)
    as_list = user.explain(data.episodes.items, level=0.9)
    for other in (given_again, as_list):
        assert [e.statistic for e in other.effects] == [e.statistic for e in kept.effects]
        for name in ("effect", "low", "high", "crowd", "probability"):
            ours, theirs = ([getattr(effect, name) for effect in one.effects] for one in (kept, other))
            assert_allclose(ours, theirs, atol=2e-3)
        assert (other.n_items, other.explained) == (360, pytest.approx(kept.explained, abs=1e-4))
        assert other.settled == pytest.approx(kept.settled, abs=1e-4)
    assert kept.gains == []
    assert given_again.gains == as_list.gains != []


def test__explain__crowd__is_the_same_step_of_the_average_user(data, model, user):
    items, effect = data.episodes.items, user.explain().stated[0]
    average = UserRewardModel(user._base, model.base_rewards_.params["crowd.weights"], None, 1)
    part = parts_of(data.episodes)
    table = within_parts(TextStatistics().transform(items), part)
    rows = [STATISTICS.index(one.statistic) for one in user.explain().stated]
    fit = LinearRegression().fit(table[:, rows], within_parts(average.predict(items)[:, None], part)[:, 0])
    assert effect.crowd == pytest.approx(WORDS[effect.statistic].step * fit.coef_[0], abs=1e-4)


tables = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(tables, st.floats(-100, 100))
def test__moments__constant_added_to_all_rewards_or_statistics__changes_nothing(rng, constant):
    z, r, part = rng.normal(size=(30, 3)), rng.normal(size=(30, 4)), np.repeat(np.arange(10), 3)
    shift = rng.normal(size=10)[part, None]
    for one, other in zip(moments_of(z, r, part), moments_of(z + constant, r + constant + shift, part), strict=True):
        assert_allclose(one, other, atol=1e-9)


@given(tables, st.floats(0.1, 10))
def test__regress__difference_that_is_linear_in_one_statistic__finds_it_and_its_coefficient(rng, size):
    z, part = rng.normal(size=(200, 6)) * [1, 5, 0.2, 1, 1, 1], np.zeros(200, int)
    moments = moments_of(z, z, part)
    found = regress(moments, Difference(size * np.eye(6)[2], 1e-6 * np.eye(6)), np.ones(6), 3, 1.96)
    assert found.stated == [2]
    assert found.effect[2] == pytest.approx(size)
    assert found.explained == pytest.approx(1)
    assert found.crowd[2] != pytest.approx(0)


@given(tables)
def test__regress__user_like_the_crowd__finds_nothing(rng):
    moments = moments_of(rng.normal(size=(40, 3)), rng.normal(size=(40, 4)), np.zeros(40, int))
    for covariance in (None, np.eye(4), np.zeros((4, 4))):
        found = regress(moments, Difference(np.zeros(4), covariance), np.ones(4), 3, 1.96)
        assert (found.stated, found.leaning, found.explained) == ([], [], 0)


@given(tables, st.integers(1, 6))
def test__regress__any_posterior__states_no_more_than_asked_for_and_only_what_excludes_zero(rng, n):
    factor = rng.normal(size=(4, 4)) * rng.uniform(0.01, 1)
    moments = moments_of(
        rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8)), rng.normal(size=(60, 4)), np.zeros(60, int)
    )
    found = regress(moments, Difference(rng.normal(size=4), factor @ factor.T), np.ones(4), n, 1.96)
    assert len(found.stated) + len(found.leaning) <= n
    assert len({*found.stated, *found.leaning}) == len(found.stated) + len(found.leaning)
    assert (np.abs(found.effect) > 1.96 * found.deviation)[found.stated].all()
    assert 0 <= found.explained <= found.explainable + 1e-9 <= 1 + 1e-9


def test__regress__twins__states_the_first():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(100, 2))
    moments = moments_of(np.hstack([z, z[:, :1] * 1.001]), z, np.zeros(100, int))
    found = regress(moments, Difference(np.array([0.0, 1.0]), 1e-4 * np.eye(2)), np.ones(2), 3, 1.96)
    assert found.stated[0] == 1
    found = regress(moments, Difference(np.array([1.0, 0.0]), 1e-4 * np.eye(2)), np.ones(2), 3, 1.96)
    assert 0 in found.stated
    assert 2 not in found.stated
    assert np.isnan(found.effect[2])


def test__regress__step_that_no_response_takes__is_not_stated():
    z = np.random.default_rng(0).normal(size=(100, 2))
    moments, difference = moments_of(z, z, np.zeros(100, int)), Difference(np.array([1.0, 0.5]), 1e-4 * np.eye(2))
    assert regress(moments, difference, np.ones(2), 2, 1.96, np.array([1.0, 1.0])).stated == [0, 1]
    assert regress(moments, difference, np.ones(2), 2, 1.96, np.array([10.0, 1.0])).stated == [1]


# -- what it works for -----------------------------------------------------------------------------------------------


def test__explain__features_with_names__are_called_by_them_and_by_numbers_without(features, of_features):
    pd = pytest.importorskip("pandas")
    found = of_features.adapt(features[70]).explain()
    assert {effect.statistic for effect in found.effects} == {f"feature {k}" for k in range(5)}
    names = ["price", "size", "<b>age</b>", "red", "$x$"]
    frame = pd.DataFrame(np.asarray(features.features), columns=names)
    named = episodes_from_arrays(
        frame, features.chosen, features.rejected, features.users[features.user], features.group
    )
    user = MetaRewardModel(max_epochs=0, random_state=0).fit(named[:60]).adapt(named[70])
    again = user.explain(level=0.5)
    assert {effect.statistic for effect in again.effects} == set(names)
    assert again.stated
    assert again.stated[0].per == "for one standard deviation"
    assert "<b>" not in again._repr_html_()
    given_items = user.explain(frame.iloc[:50], level=0.5)
    assert given_items.n_items == 50
    assert given_items.gains[0].response is None
    assert "item " in str(given_items)
    one, other = ({e.statistic: e.effect for e in found.effects} for found in (again, given_items))
    largest = given_items.stated[0].statistic
    assert one[largest] * other[largest] > 0


def test__explain__gradient_rule__has_effects_and_no_intervals(data):
    model = MetaRewardModel(adaptation="gradient", max_epochs=2, random_state=0).fit(data.episodes[:60])
    found = model.adapt(data.episodes[N_KNOWN]).explain(data.episodes.items[:60], n=3)
    assert len(found.stated) == 3
    assert (found.level, found.settled, found.leanings) == (None, None, [])
    assert math.isnan(found.stated[0].low)
    assert "defines no posterior" in str(found)
    assert "[" not in str(found)
    assert 0 < found.explained <= 1


@pytest.mark.parametrize("kind", [LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry])
def test__explain__baselines__have_effects_where_users_differ(data, kind):
    user = kind(random_state=0).fit(data.episodes[:40]).adapt(data.episodes[N_KNOWN])
    found = user.explain()
    assert found.level is None
    assert bool(found.stated) == (kind is not PooledBradleyTerry)


class Letters(TransformerMixin, BaseEstimator):
    """Counts of a few letters."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[response.count(letter) for letter in "aeinrst-!"] for _, response in X], float)


def test__explain__encoder_of_ones_own__needs_items(data):
    model = MetaRewardModel(encoder=Letters(), text_statistics=False, random_state=0).fit(data.episodes[:60])
    user = model.adapt(data.episodes[N_KNOWN])
    with pytest.raises(ValueError, match=r"not of an encoder without statistics.*explain\(items\), a list of \(prompt"):
        user.explain()
    found = user.explain(data.episodes.items)
    assert found.n_items == 360
    assert found.effects
    assert {effect.statistic for effect in found.effects} <= set(STATISTICS)


def test__explain__hashed_encoder__needs_none(data):
    user = MetaRewardModel(HashedTextEncoder(), random_state=0).fit(data.episodes[:60]).adapt(data.episodes[N_KNOWN])
    assert user.explain().effects


def test__explain__saved_and_loaded__says_the_same(data, model, user, tmp_path):
    model.save(tmp_path / "model")
    user.save(tmp_path / "user")
    again = MetaRewardModel.load(tmp_path / "model").adapt(data.episodes[N_KNOWN])
    for one in (again, UserRewardModel.load(tmp_path / "user")):
        assert str(one.explain()) == str(user.explain())
        items = data.episodes.items[:30]
        assert_array_equal(one.explain(items).to_frame().effect, user.explain(items).to_frame().effect)


def test__explain__user_saved_by_an_earlier_version__says_what_to_do(user):
    params = {name: value for name, value in user._base.params.items() if not name.startswith("crowd.")}
    old = UserRewardModel(type(user._base)(params, user._base.encoder), user.weights_, user.weights_cov_, user.n_pairs_)
    with pytest.raises(ValueError, match="saved by an earlier version do not: adapt the user again"):
        old.explain()


def test__explain__wrong_arguments__are_named(user, of_features, features):
    with pytest.raises(ValueError, match=r"n must be an integer from 1 up, got 0; level must lie .* got 2\.0"):
        user.explain(n=0, level=2.0)
    with pytest.raises(ValueError, match="needs 2 or more, got 1"):
        user.explain([("a", "b")])
    with pytest.raises(TypeError, match="explain"):
        user.explain([1, 2])
    with pytest.raises((TypeError, ValueError), match="5"):
        of_features.adapt(features[0]).explain(np.zeros((3, 4)))


def test__explain__model_and_user__are_unchanged_and_keep_no_text(data, model, user):
    before = user.weights_.copy()
    user.explain(data.episodes.items[:20])
    assert_array_equal(user.weights_, before)
    kept = {name: value for name, value in user._base.params.items() if name.startswith("crowd.")}
    assert {value.dtype.kind for value in kept.values()} <= {"f", "i"}
    k = model.base_rewards_.n_bases
    assert kept["crowd.moments"].shape == (len(STATISTICS) + k, len(STATISTICS) + k)


def test__kept_moments__of_many_items__are_of_some(monkeypatch, data, model):
    whole = Moments.of_arrays(model.base_rewards_.params, model.base_rewards_.n_bases)
    monkeypatch.setattr("skmrm.explanation.moments._MOST_ITEMS", 120)
    features = model.encoder_.transform(data.episodes.items)
    some = kept_moments(model.base_rewards_, data.episodes, features, len(STATISTICS))
    assert (some.n_items, some.n_free) == (120, 100)
    assert_allclose(np.diag(some.statistics)[:4], np.diag(whole.statistics)[:4], rtol=0.5)
    assert kept_moments(model.base_rewards_, data.episodes, features, 0) is None


def test__words__all_statistics__have_some_of_their_own():
    assert tuple(WORDS) == STATISTICS
    said = [(words.more, words.for_more) for words in WORDS.values()]
    assert len(set(said)) == len(said)
    assert all(words.step > 0 and words.more != words.less for words in WORDS.values())


# -- on paper --------------------------------------------------------------------------------------------------------


def test__explanation__text__says_effects_intervals_choices_and_how_sure(data, user):
    text = str(user.explain(data.episodes.items[:60], level=0.8))
    assert text.startswith("After 90 choices, this user likes more than the crowd does\n")
    assert "logits [80 %]" in text
    assert "of how the user's reward differs from the crowd's over 60 responses" in text
    assert "90 choices settled" in text
    assert "Gains most against the crowd:" in text
    assert max(map(len, text.splitlines())) < 160


def test__explanation__html__escapes_hostile_texts(data, user):
    hostile = [("<script>alert(1)</script>", f"<img src=x onerror=alert({k})> {response}") for k, (_, response)
               in enumerate(data.episodes.items[:12])]  # fmt: skip
    found = user.explain(hostile, level=0.2)
    assert found.gains
    page = found._repr_html_()
    assert "<img" not in page
    assert "<script" not in page
    assert "&lt;img" in page


def test__explanation__frames__have_all_numbers(data, user):
    pytest.importorskip("pandas")
    found = user.explain(data.episodes.items[:60], n=2, level=0.8)
    frame = found.to_frame()
    assert list(frame.columns[:5]) == ["statistic", "effect", "low", "high", "crowd"]
    assert frame.stated.sum() == len(found.stated) == 2
    assert frame.stated[:2].all()
    assert (frame.low <= frame.effect).all()
    responses = found.responses_to_frame()
    assert len(responses) == len(found.gains) + len(found.losses)
    assert (responses.difference.diff().dropna() <= 0).all()


def test__explanation__plot__draws_a_bar_for_each_effect(user, model):
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    found = user.explain()
    ax = found.plot()
    bars = [patch for patch in ax.patches if patch.get_width() > 0]
    shown = [*found.stated, *found.leanings]
    assert_allclose([bar.get_width() for bar in bars], [abs(effect.effect) for effect in shown])
    assert [label.get_text().split("\n")[0] for label in ax.get_yticklabels()] == [effect.words for effect in shown]
    _, own = plt.subplots()
    assert model.adapt([]).explain().plot(own) is own
    assert "Nothing yet" in own.texts[0].get_text()
    plt.close("all")
