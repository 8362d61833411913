"""A model of users who rate single responses: from fit to report, files and service."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skmrm import MetaRewardModel, UserRewardModel, episodes_from_arrays, personalization_report
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.exceptions import EpisodeError
from skmrm.metrics.ratings import level_probabilities
from skmrm.model_selection import adaptation_curve
from skmrm.serving import OnnxScorer

CUTS = np.array([-2.0, -0.5, 0.8, 2.5])
TRAINED = 200


class Planted:
    """Users with tastes and bars of their own over items of Gaussian features, and the levels they would give."""

    def __init__(self, n_users=260, n_pairs=30, d=6, n_items=150, cuts=CUTS, seed=0):
        rng = np.random.default_rng(seed)
        self.features = rng.normal(size=(n_items, d)).astype(np.float32)
        self.weights = 1.5 * rng.normal(size=d) / d**0.5 + 1.5 * rng.normal(size=(n_users, d)) / d**0.5
        self.bars = rng.normal(size=n_users)
        self.user = np.repeat(np.arange(n_users), n_pairs)
        self.place = np.tile(np.arange(n_pairs), n_users)
        self.item = rng.integers(n_items, size=len(self.user))
        self.other = (self.item + rng.integers(1, n_items, size=len(self.user))) % n_items
        reward = (self.features[self.item] * self.weights[self.user]).sum(1)
        self.rating = 1 + np.searchsorted(cuts, reward - self.bars[self.user] + rng.logistic(size=len(self.user)))
        self.gap = reward - (self.features[self.other] * self.weights[self.user]).sum(1)
        ahead = self.gap + rng.logistic(size=len(self.user)) > 0
        self.ends = np.where(ahead, [self.item, self.other], [self.other, self.item])

    def cuts_of(self, model):
        """Planted cuts, as a model may have them whose bar is a response of average features, plus its mean bar."""
        base, some = model.base_rewards_, slice(TRAINED)
        average = self.features.mean(0) @ self.weights[some].mean(0) - self.bars[some].mean()
        return base.cuts + model.start_weights_ @ base.bar + average

    def rated(self, some, rating=None, **more):
        levels = self.rating if rating is None else rating
        return episodes_from_arrays(
            self.features, self.item[some], self.item[some], self.user[some], rating=levels[some], **more
        )

    def mixed(self, some):
        """Every other a choice of two."""
        is_rated = self.place % 2 == 0
        ends = (np.where(is_rated, self.item, end)[some] for end in self.ends)
        rating = np.where(is_rated, self.rating, 0)[some]
        return episodes_from_arrays(self.features, *ends, self.user[some], rating=rating)


@pytest.fixture(scope="module")
def planted():
    return Planted()


@pytest.fixture(scope="module")
def unfitted():
    return MetaRewardModel(random_state=0, kernel=None, device="cpu")


@pytest.fixture(scope="module")
def starred(planted, unfitted):
    return clone(unfitted).fit(planted.rated(planted.user < TRAINED))


@pytest.fixture(scope="module")
def new_users(planted):
    return planted.rated(planted.user >= TRAINED)


def agreement(model, planted, support):
    """Correlation of new users' predicted and true preferences between two responses."""
    new = planted.user >= TRAINED
    users = model.adapt_many(support)
    pairs = episodes_from_arrays(planted.features, planted.item[new], planted.other[new], planted.user[new])
    return np.corrcoef(users.decision_function(pairs), planted.gap[new])[0, 1]


def test__fit__stars__cuts_bars_and_rewards_are_about_the_planted_ones(planted, starred, new_users):
    assert_allclose(planted.cuts_of(starred), CUTS, atol=0.2)
    users = starred.adapt_many(new_users)
    bars = [users[user].bar_ for user in users]
    assert np.corrcoef(bars, planted.bars[TRAINED:])[0, 1] > 0.7
    assert agreement(starred, planted, new_users) > 0.85
    assert starred.rating_scale_ == (1, 2, 3, 4, 5)
    assert starred.thresholds_ is None


def test__fit__ratings_as_data_grow__recovers_more(planted, unfitted, starred, new_users):
    few = clone(unfitted).fit(planted.rated((planted.user < 40) & (planted.place < 8)))
    assert agreement(few, planted, new_users) < agreement(starred, planted, new_users)
    short = planted.rated((planted.user >= TRAINED) & (planted.place < 4))
    assert agreement(starred, planted, short) < agreement(starred, planted, new_users)


def test__fit__thumbs__teach_and_more_levels_teach_more(planted, unfitted, starred, new_users):
    thumbs = np.where(planted.rating > 3, 2, 1)
    model = clone(unfitted).fit(planted.rated(planted.user < TRAINED, thumbs))
    assert model.base_rewards_.cuts.shape == (1,)
    found = agreement(model, planted, planted.rated(planted.user >= TRAINED, thumbs))
    assert 0.7 < found < agreement(starred, planted, new_users)


def test__fit__choices_and_ratings_together__both_teach(planted, unfitted):
    model = clone(unfitted).fit(planted.mixed(planted.user < TRAINED))
    assert_allclose(planted.cuts_of(model), CUTS, atol=0.3)
    new = planted.user >= TRAINED
    both = agreement(model, planted, planted.mixed(new))
    alone = agreement(model, planted, planted.rated(new & (planted.place % 2 == 0)))
    assert both > alone > 0.7


def test__fit__levels_turned_round__are_the_opposite_taste(planted, unfitted, starred):
    turned = clone(unfitted).fit(planted.rated(planted.user < TRAINED, 6 - planted.rating))
    assert_allclose(turned.base_rewards_.cuts, -starred.base_rewards_.cuts[::-1], atol=1e-2)
    assert_allclose(turned.predict(planted.features), -starred.predict(planted.features), atol=1e-2)


def test__fit__order_of_ratings__does_not_matter(planted, unfitted, starred):
    some = np.flatnonzero(planted.user < TRAINED)
    again = clone(unfitted).fit(planted.rated(np.random.default_rng(0).permutation(some)))
    assert_array_equal(again.base_rewards_.cuts, starred.base_rewards_.cuts)
    assert_array_equal(again.start_weights_, starred.start_weights_)


@pytest.mark.parametrize("kind", [PooledBradleyTerry, LowRankRewards, PerUserBradleyTerry])
def test__baselines__ratings__have_cuts_and_are_better_than_chance(kind, planted, new_users):
    options = {"max_epochs": 3} if kind is LowRankRewards else {}
    model = kind(random_state=0, **options).fit(planted.rated(planted.user < TRAINED))
    assert (np.diff(model.base_rewards_.cuts) > 0).all()
    assert agreement(model, planted, new_users) > 0.3
    assert model.score(new_users) > 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"adaptation": "gradient", "max_epochs": 2},
        {"kernel": "rbf"},
        {"n_bases": 3},
        {"spectral_init": False, "max_epochs": 2},
        {"validation_fraction": 0},
    ],
    ids=str,
)
def test__fit__other_settings__learn_from_ratings(options, planted, new_users):
    model = MetaRewardModel(random_state=0, device="cpu", **options).fit(planted.rated(planted.user < TRAINED))
    assert (np.diff(model.base_rewards_.cuts) > 0).all()
    assert model.base_rewards_.bar.shape == (model.base_rewards_.n_bases,)
    assert agreement(model, planted, new_users) > (0.3 if options.get("spectral_init", True) else -1)


def test__paper__ratings__trains_on_them(planted, new_users):
    model = MetaRewardModel.paper(random_state=0, max_epochs=3).fit(planted.rated(planted.user < TRAINED))
    assert (np.diff(model.base_rewards_.cuts) > 0).all()
    assert np.isfinite(model.score(new_users))


def test__fit__streamed__has_about_the_cuts_of_a_fit_in_memory(planted, starred):
    features = np.repeat(planted.features, 200, axis=1)  # copies of each column, so that little memory holds few users
    some = planted.user < TRAINED
    rows = planted.item[some]
    episodes = episodes_from_arrays(features, rows, rows, planted.user[some], rating=planted.rating[some])
    streamed = MetaRewardModel(random_state=0, kernel=None, max_memory=0.02, device="cpu").fit(episodes)
    assert_allclose(streamed.base_rewards_.cuts, starred.base_rewards_.cuts, atol=0.6)
    assert streamed.n_features_in_ == features.shape[1]


def test__predict__ratings__levels_outcomes_and_bar_agree(planted, starred, new_users):
    one = starred.adapt(new_users[0])
    X, levels = planted.features[:20], np.arange(1, 6)
    chances = one.predict_ratings(X)
    assert chances.shape == (20, 5)
    assert_allclose(chances.sum(1), 1)
    rewards, cuts = one.predict(X), starred.base_rewards_.cuts
    middle = (cuts[1] + cuts[2]) / 2
    assert_allclose(chances, level_probabilities(rewards - one.bar_ + middle, cuts), atol=1e-5)
    assert (np.diff((chances @ levels)[np.argsort(rewards)]) >= 0).all()
    rated = episodes_from_arrays(X, range(20), range(20), ["me"] * 20, rating=[4] * 20)
    assert_allclose(one.decision_function(rated), rewards - one.bar_, atol=1e-5)
    assert_allclose(one.predict_outcomes(rated)[:, 1], chances[:, 2], atol=1e-5)
    below = episodes_from_arrays(X, range(20), range(20), ["me"] * 20, rating=[1] * 20)
    assert_allclose(one.decision_function(below), one.bar_ - rewards, atol=1e-5)
    users = starred.adapt_many(new_users)
    own = users.decision_function(new_users)[: len(new_users[0])]
    assert_allclose(own, one.decision_function(new_users[0]), atol=1e-5)
    assert starred.bar_ == pytest.approx(starred.pooled_model_.bar_, abs=1e-4)


def test__predict_ratings__new_users__levels_are_as_frequent_as_seen(starred, new_users, planted):
    users = starred.adapt_many(new_users)
    new = planted.user >= TRAINED
    chances = np.concatenate(
        [users[user].predict_ratings(planted.features[planted.item[planted.user == user]]) for user in users]
    )
    seen = np.bincount(planted.rating[new], minlength=6)[1:] / new.sum()
    assert_allclose(chances.mean(0), seen, atol=0.04)


def test__adapt__all_good_and_all_bad__move_the_bar_and_not_the_taste(planted, starred):
    X = planted.features[:8]
    good, bad = (starred.adapt([(x, level) for x in X]) for level in (5, 1))
    assert good.bar_ < starred.adapt([]).bar_ < bad.bar_


def test__adapt__ratings_of_a_model_without_any__say_what_to_do(planted, unfitted, starred, new_users, tmp_path):
    some = planted.user < 40
    plain = clone(unfitted).fit(
        episodes_from_arrays(planted.features, *(end[some] for end in planted.ends), planted.user[some])
    )
    x = planted.features[0]
    for call in (lambda: plain.adapt([(x, 5)]), lambda: plain.adapt_many(new_users)):
        with pytest.raises(EpisodeError, match="ratings need a model that was fitted on some"):
            call()
    plain.export_onnx(tmp_path)
    with pytest.raises(EpisodeError, match="ratings need a model that was fitted on some"):
        OnnxScorer(tmp_path).adapt([(x, 5)])
    assert plain.bar_ is None
    assert plain.rating_scale_ is None
    with pytest.raises(AttributeError, match="predict_ratings exists only after a fit on ratings"):
        plain.predict_ratings(planted.features[:2])
    with pytest.raises(EpisodeError, match="must hold ratings from 1 to 5, got 7"):
        starred.adapt([(x, 7)])
    other = planted.rated(planted.user == TRAINED, np.where(planted.rating > 3, 2, 1))._with(scale=(False, True))
    with pytest.raises(EpisodeError, match="ratings must be on the scale of fit, 1, 2, 3, 4, 5"):
        starred.adapt(other)


def test__save__ratings__come_back_with_model_and_user(starred, new_users, planted, tmp_path):
    starred.save(tmp_path / "model")
    again = MetaRewardModel.load(tmp_path / "model")
    assert again.rating_scale_ == starred.rating_scale_
    assert_array_equal(again.adapt(new_users[3]).weights_, starred.adapt(new_users[3]).weights_)
    assert again.pooled_model_.bar_ == starred.pooled_model_.bar_
    user = starred.adapt(new_users[3])
    user.save(tmp_path / "user")
    found = UserRewardModel.load(tmp_path / "user")
    assert found.bar_ == user.bar_
    assert_array_equal(found.predict_ratings(planted.features), user.predict_ratings(planted.features))


@pytest.mark.parametrize("mixed", [False, True])
def test__export__ratings__adapt_to_the_live_models_weights(mixed, planted, starred, unfitted, tmp_path):
    model = clone(unfitted).fit(planted.mixed(planted.user < 80)) if mixed else starred
    model.export_onnx(tmp_path)
    scorer = OnnxScorer(tmp_path)
    assert scorer.rating_scale == model.rating_scale_
    for user in range(TRAINED, TRAINED + 5):
        own = planted.user == user
        pairs = planted.mixed(own) if mixed else planted.rated(own)
        assert_allclose(scorer.adapt(pairs), model.adapt(pairs).weights_, atol=1e-5)
    rows = [{"response": x, "rating": level} for x, level in zip(planted.features[:4], [5, 1, 3, 4], strict=True)]
    assert_allclose(scorer.adapt(rows), model.adapt(rows).weights_, atol=1e-5)


def test__report__ratings__are_judged_against_the_bar(starred, new_users):
    report = personalization_report(starred, new_users, support_sizes=[0, None], n_splits=1)
    assert f"{new_users.n_rated} of {new_users.n_pairs} pairs are ratings" in report.ties
    assert "same response twice" not in repr(report)
    assert (report.table["decisive_accuracy"] > report.table["accuracy"]).all()
    gain = report.table["accuracy"].iloc[1] - report.table["accuracy"].iloc[0]
    assert gain > 0.03
    curve = adaptation_curve(starred, new_users, support_sizes=[0, None], n_splits=1)
    assert curve.log_loss[1].mean() < curve.log_loss[0].mean() < np.log(5)
