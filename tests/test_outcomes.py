"""A model of users who tie and tell strengths: from fit to report, files and service."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skmrm import MetaRewardModel, UserRewardModel, episodes_from_arrays, personalization_report
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.metrics import outcome_probabilities
from skmrm.model_selection import adaptation_curve
from skmrm.serving import OnnxScorer

THRESHOLDS = np.array([0.6, 1.8])
TRAINED = 150


class Planted:
    """Users of the cumulative logistic model over items of Gaussian features, and what they would say."""

    def __init__(self, n_users=200, n_pairs=30, d=6, n_items=150, seed=0):
        rng = np.random.default_rng(seed)
        self.features = rng.normal(size=(n_items, d)).astype(np.float32)
        taste = 1.5 * rng.normal(size=d) / d**0.5
        self.weights = taste + 1.2 * rng.normal(size=(n_users, d)) / d**0.5
        self.user = np.repeat(np.arange(n_users), n_pairs)
        self.place = np.tile(np.arange(n_pairs), n_users)
        one = rng.integers(n_items, size=len(self.user))
        other = (one + rng.integers(1, n_items, size=len(one))) % n_items
        latent = self.gap(one, other) + rng.logistic(size=len(one))
        self.outcome = np.searchsorted(THRESHOLDS, np.abs(latent))
        self.chosen, self.rejected = np.where(latent > 0, [one, other], [other, one])

    def gap(self, one, other):
        return ((self.features[one] - self.features[other]) * self.weights[self.user]).sum(1)

    def episodes(self, some, outcome=None, turned=False, **more):
        ends = [self.rejected, self.chosen] if turned else [self.chosen, self.rejected]
        said = None if outcome is None else outcome[some]
        return episodes_from_arrays(self.features, *(end[some] for end in ends), self.user[some], outcome=said, **more)


@pytest.fixture(scope="module")
def planted():
    return Planted()


@pytest.fixture(scope="module")
def unfitted():
    return MetaRewardModel(random_state=0, kernel=None, device="cpu")


@pytest.fixture(scope="module")
def graded(planted, unfitted):
    return clone(unfitted).fit(planted.episodes(planted.user < TRAINED, planted.outcome))


@pytest.fixture(scope="module")
def new_users(planted):
    return planted.episodes(planted.user >= TRAINED, planted.outcome)


def agreement(model, planted, outcome, kept=None):
    """Correlation of new users' predicted and true preferences, adapted on ten of what they said."""
    new = planted.user >= TRAINED
    support = new & (planted.place < 10) & (True if kept is None else kept)
    query = new & (planted.place >= 20)
    users = model.adapt_many(planted.episodes(support, outcome))
    query &= np.isin(planted.user, users.users_)
    margins = users.decision_function(planted.episodes(query))
    return np.corrcoef(margins, planted.gap(planted.chosen, planted.rejected)[query])[0, 1]


def test__fit__ties_and_strengths__thresholds_are_about_the_planted_ones(graded):
    assert_allclose(graded.thresholds_, THRESHOLDS, rtol=0.15)
    assert graded.pooled_model_.thresholds_[0] < graded.thresholds_[0]  # of one reward for all, which says less


def test__fit__strengths__teach_more_than_ties_and_these_more_than_dropping_them(planted, unfitted, graded):
    trained, decisive = planted.user < TRAINED, planted.outcome > 0
    ties = np.minimum(planted.outcome, 1)
    with_ties = clone(unfitted).fit(planted.episodes(trained, ties))
    dropped = clone(unfitted).fit(planted.episodes(trained & decisive))
    assert dropped.thresholds_ is None
    found = [
        agreement(graded, planted, planted.outcome),
        agreement(with_ties, planted, ties),
        agreement(dropped, planted, None, decisive),
    ]
    assert found[0] > found[2]
    assert found[1] > found[2]


def test__fit__which_of_a_tie_is_called_chosen__does_not_matter(planted, unfitted, graded):
    trained, tied = planted.user < TRAINED, planted.outcome == 0
    swapped = np.where(tied, planted.rejected, planted.chosen), np.where(tied, planted.chosen, planted.rejected)
    columns = (end[trained] for end in swapped)
    said = planted.outcome[trained]
    again = clone(unfitted).fit(episodes_from_arrays(planted.features, *columns, planted.user[trained], outcome=said))
    assert_array_equal(again.thresholds_, graded.thresholds_)
    assert_array_equal(again.start_weights_, graded.start_weights_)


def test__fit__every_outcome_a_choice__is_the_plain_fit_to_the_bit(planted, unfitted):
    trained = planted.user < 40
    plain = clone(unfitted).fit(planted.episodes(trained))
    said = clone(unfitted).fit(planted.episodes(trained, np.ones_like(planted.outcome)))
    assert said.thresholds_ is None
    for name, value in plain.base_rewards_.params.items():
        assert_array_equal(said.base_rewards_.params[name], value)
    assert plain.selection_ == said.selection_


@pytest.mark.parametrize("kind", [PooledBradleyTerry, LowRankRewards, PerUserBradleyTerry])
def test__baselines__ties_and_strengths__have_thresholds_and_are_better_than_chance(kind, planted, new_users):
    options = {"max_epochs": 3} if kind is LowRankRewards else {}
    model = kind(random_state=0, **options).fit(planted.episodes(planted.user < TRAINED, planted.outcome))
    assert 0 < model.thresholds_[0] < model.thresholds_[1]
    assert model.score(new_users) > 0.55


def test__paper__ties_and_strengths__trains_on_them(planted, new_users):
    model = MetaRewardModel.paper(random_state=0, max_epochs=3)
    model.fit(planted.episodes(planted.user < TRAINED, planted.outcome))
    assert 0 < model.thresholds_[0] < model.thresholds_[1]
    assert model.score(new_users) > 0.55


def test__fit__streamed__has_the_thresholds_of_a_fit_in_memory(planted, graded):
    features = np.repeat(planted.features, 200, axis=1)  # copies of each column, so that little memory holds few users
    some = planted.user < TRAINED
    ends, said = (planted.chosen[some], planted.rejected[some]), planted.outcome[some]
    episodes = episodes_from_arrays(features, *ends, planted.user[some], outcome=said)
    streamed = MetaRewardModel(random_state=0, kernel=None, max_memory=0.02, device="cpu").fit(episodes)
    assert_allclose(streamed.thresholds_, graded.thresholds_, rtol=0.25)


def test__predict_outcomes__new_users__rows_are_the_models_and_ties_as_frequent_as_seen(planted, graded, new_users):
    users = graded.adapt_many(new_users)
    found = users.predict_outcomes(new_users)
    margins, held = users.decision_function(new_users), users.held_against(new_users)
    assert_allclose(found, outcome_probabilities(margins, held))
    assert (held == graded.thresholds_).all()
    nobody = graded.adapt_many(new_users.take_pairs(np.zeros(new_users.n_pairs, bool)))
    pooled = graded.pooled_model_.adapt_many(new_users)
    assert_allclose(nobody.predict_outcomes(new_users), pooled.predict_outcomes(new_users), atol=1e-6)
    assert abs(found[:, 1].mean() - (new_users.outcome == 0).mean()) < 0.05
    one = graded.adapt(new_users[0])
    assert_allclose(one.predict_outcomes(new_users[0]), found[: len(new_users[0])], rtol=1e-5)
    assert_allclose(graded.predict_outcomes(new_users[:2]).sum(1), 1)
    assert_allclose(one.predict_proba(new_users[0]), 1 / (1 + np.exp(-one.decision_function(new_users[0]))), rtol=1e-5)


def test__adapt__ties_of_a_model_that_knows_none__say_that_neither_is_better(planted, unfitted):
    model = clone(unfitted).fit(planted.episodes(planted.user < 60))
    a, b = planted.features[:2]
    tied, turned = (model.adapt([(*ends, 0)] * 20) for ends in ((a, b), (b, a)))
    assert_allclose(tied.weights_, turned.weights_, atol=1e-5)
    gap = [float(np.diff(one.predict(planted.features[:2]))[0]) for one in (tied, model.adapt([]))]
    assert abs(gap[0]) < abs(gap[1])
    assert model.adapt([(a, b, 0)]).predict_outcomes([(a, b)])[0, 1] == 0  # ties are not predicted
    assert_allclose(model.adapt([(a, b, 5)]).weights_, model.adapt([(a, b)]).weights_)


def test__adapt__weights_of_pairs__are_pairs_so_often(planted, graded):
    some = planted.user == TRAINED
    times = np.where(np.arange(some.sum()) % 3 == 0, 2, 1)
    rows = np.repeat(np.flatnonzero(some), times)
    weighted = planted.episodes(some, planted.outcome, weight=times.astype(float))
    repeated = episodes_from_arrays(
        planted.features,
        planted.chosen[rows],
        planted.rejected[rows],
        planted.user[rows],
        outcome=planted.outcome[rows],
    )
    assert_allclose(graded.adapt(weighted).weights_, graded.adapt(repeated).weights_, atol=1e-5)


def test__save__thresholds__come_back_with_model_and_user(graded, new_users, tmp_path):
    graded.save(tmp_path / "model")
    again = MetaRewardModel.load(tmp_path / "model")
    assert_array_equal(again.thresholds_, graded.thresholds_)
    assert_array_equal(again.pooled_model_.thresholds_, graded.pooled_model_.thresholds_)
    assert_array_equal(again.adapt(new_users[3]).weights_, graded.adapt(new_users[3]).weights_)
    user = graded.adapt(new_users[3])
    user.save(tmp_path / "user")
    found = UserRewardModel.load(tmp_path / "user")
    assert_array_equal(found.predict_outcomes(new_users[3]), user.predict_outcomes(new_users[3]))


def test__export__ties_strengths_and_weights__adapt_to_the_live_models_weights(planted, graded, tmp_path):
    graded.export_onnx(tmp_path)
    scorer = OnnxScorer(tmp_path)
    assert_array_equal(scorer.thresholds, graded.thresholds_)
    rng = np.random.default_rng(0)
    for user in range(TRAINED, TRAINED + 5):
        own = planted.user == user
        for said in (planted.outcome, None):
            pairs = planted.episodes(own, said, weight=rng.uniform(0.2, 3, own.sum()))
            assert_allclose(scorer.adapt(pairs), graded.adapt(pairs).weights_, atol=1e-5)


def test__report__ties__says_how_many_and_what_was_done_with_them(graded, new_users, planted):
    report = personalization_report(graded, new_users, support_sizes=[0, None], n_splits=1)
    assert f"{new_users.n_ties} of {new_users.n_pairs} pairs are ties: users adapt on them" in repr(report)
    assert report.ties in report._repr_html_()
    assert (report.table["decisive_accuracy"] > report.table["accuracy"]).all()
    plain = planted.episodes((planted.user >= TRAINED) & (planted.outcome > 0))
    assert personalization_report(graded, plain, support_sizes=[0], n_splits=1).ties == ""


def test__curve__ties__count_half_and_are_part_of_the_log_loss(graded, new_users, planted, unfitted):
    curve = adaptation_curve(graded, new_users, support_sizes=[None], n_splits=1)
    assert curve.to_frame()["decisive_accuracy"].iloc[0] > curve.to_frame()["accuracy"].iloc[0]
    counts = np.bincount(planted.outcome, minlength=3) / len(planted.outcome)
    alone = -(counts * np.log(np.where(np.arange(3) == 0, counts, counts / 2))).sum()  # of either order
    assert curve.log_loss.mean() < alone
    without = clone(unfitted).fit(planted.episodes((planted.user < 60) & (planted.outcome > 0)))
    assert np.isfinite(adaptation_curve(without, new_users, support_sizes=[None], n_splits=1).log_loss).all()
