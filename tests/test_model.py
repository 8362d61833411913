"""The estimator: what fit learns, what score means, what each parameter does, and whether planted users are found."""

import pickle
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import InvalidParameterError

from skmrm import Episode, EpisodeSet, MetaRewardModel, episodes_from_arrays, episodes_from_frame, support_query_split
from skmrm.datasets import make_user_preferences, oracle_accuracy, true_gaps
from skmrm.estimators.core_data import Choices, adapt_arrays
from skmrm.exceptions import EpisodeError
from skmrm.meta.adaptation import GradientAdaptation, MapAdaptation
from skmrm.metrics import bootstrap_interval, user_accuracies
from skmrm.model_selection import adaptation_curve
from skmrm.splits.support_query import _at_most

# Fits in hundredths of a second, and uses what the outer loop learns whether or not it helped.
OUTER = {
    "n_bases": 2,
    "adaptation": "gradient",
    "spectral_init": False,
    "max_epochs": 3,
    "users_per_batch": 8,
    "learning_rate": 0.05,
    "validation_fraction": 0.25,
    "random_state": 2,  # with which validation users improve from the start on, so that the state kept is a trained one
    "device": "cpu",
}


def learnt(model):
    """All numbers that a fit leaves behind."""
    return dict(model.base_rewards_.params) | model._rule_params


def same_bits(one, other, but=()):
    ours, theirs = ({name: value for name, value in learnt(model).items() if name not in but} for model in (one, other))
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and np.array_equal(ours[name], theirs[name]) for name in ours
    )


def with_columns(episodes, **changes):
    columns = {name: getattr(episodes, name) for name in ("users", "user", "chosen", "rejected", "group", "features")}
    return EpisodeSet(**(columns | changes))


# -- the same input gives the same model -----------------------------------------------------------------------------


def test__fit__same_seed__same_bits_and_another_seed_others(small, few_episodes):
    one, again = clone(small).fit(few_episodes), clone(small).fit(few_episodes)
    assert same_bits(one, again)
    assert one.selection_ == again.selection_
    assert one.history_ == again.history_
    assert not same_bits(one, clone(small).set_params(random_state=1).fit(few_episodes))


def test__fit__random_state_instance__is_advanced(few_episodes):
    state = np.random.RandomState(0)
    model = MetaRewardModel(**(OUTER | {"random_state": state}))
    first = learnt(model.fit(few_episodes))
    second = learnt(model.fit(few_episodes))
    assert any(not np.array_equal(first[name], second[name]) for name in first)
    again = MetaRewardModel(**(OUTER | {"random_state": np.random.RandomState(0)})).fit(few_episodes)
    assert all(np.array_equal(first[name], value) for name, value in learnt(again).items())


def test__fit_adapt_and_score__any__leave_global_generators_alone(small, few_episodes):
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (what must not be touched)
    model = clone(small).set_params(random_state=None).fit(few_episodes)
    model.score(few_episodes)
    model.adapt(few_episodes[0])
    after = np.random.get_state()  # noqa: NPY002
    # random_state=None draws one seed from NumPy's global state: scikit-learn's convention.
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.random.set_state(numpy_state)  # noqa: NPY002
    clone(small).fit(few_episodes).score(few_episodes)
    assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert np.random.get_state()[2] == numpy_state[2]  # noqa: NPY002
    np.random.set_state(after)  # noqa: NPY002


def test__fit__unused_items_and_other_names__change_no_bit(small, few_episodes):
    plain = clone(small).fit(few_episodes)
    padded = np.vstack([few_episodes.features, np.full((5, 4), 1e6)])
    renamed = with_columns(few_episodes, features=padded, users=[("user", i) for i in range(len(few_episodes))])
    assert same_bits(plain, clone(small).fit(renamed))


def test__fit__episode_list_and_set_of_them__give_the_same_model(small, few_episodes):
    assert same_bits(clone(small).fit(few_episodes), clone(small).fit(list(few_episodes)))


def test__fit__shifted_and_scaled_features__give_the_same_rewards(small, few_episodes):
    scale, shift = np.array([10.0, 0.1, 3.0, 1.0]), np.array([5.0, -1.0, 0.0, 100.0])
    moved = with_columns(few_episodes, features=few_episodes.features * scale + shift)
    one, other = clone(small).fit(few_episodes), clone(small).fit(moved)
    X = np.asarray(few_episodes.features)
    user, moved_user = one.adapt(few_episodes[0]), other.adapt(moved[0])
    assert_allclose(other.predict(X * scale + shift), one.predict(X), rtol=1e-6, atol=1e-8)
    assert_allclose(moved_user.predict(X * scale + shift), user.predict(X), rtol=1e-5, atol=1e-7)


def test__fit__every_choice_turned_round__turns_rewards_round(small, few_episodes):
    turned = with_columns(few_episodes, chosen=few_episodes.rejected, rejected=few_episodes.chosen)
    one, other = clone(small).fit(few_episodes), clone(small).fit(turned)
    X = np.asarray(few_episodes.features)
    assert_allclose(other.predict(X), -one.predict(X), rtol=1e-5, atol=1e-7)
    assert_allclose(other.adapt(turned[0]).predict(X), -one.adapt(few_episodes[0]).predict(X), rtol=1e-5, atol=1e-7)


# -- fit and adapt change nothing but what they return ---------------------------------------------------------------


def test__adapt_score_and_predict__any__leave_the_model_bit_identical(model, episodes):
    before, state = {name: value.copy() for name, value in learnt(model).items()}, joblib.hash(model)
    names = set(vars(model))
    model.adapt(episodes[0])
    model.adapt([])
    model.adapt_many(episodes)
    model.score(episodes)
    model.predict_proba(episodes[:2])
    model.transform(episodes)
    assert joblib.hash(model) == state
    assert set(vars(model)) == names
    for name, value in learnt(model).items():
        assert_array_equal(value, before[name])


def test__fit__memory_mapped_features__are_read_and_left_as_they_are(small, few_episodes, tmp_path):
    path = tmp_path / "features.npy"
    np.save(path, few_episodes.compact().features)
    content = path.read_bytes()
    compact = few_episodes.compact()
    for mode in ("r", "r+", "c"):
        mapped = with_columns(compact, features=np.load(path, mmap_mode=mode))
        assert isinstance(mapped.features, np.memmap)
        fitted = clone(small).fit(mapped)
        assert same_bits(fitted, clone(small).fit(compact))
        assert_array_equal(fitted.adapt(mapped[2]).weights_, fitted.adapt(compact[2]).weights_)
        mapped.features.flush()
        assert path.read_bytes() == content


# -- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"), [(np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32)]
)
def test__fit__features_of_a_precision__rewards_have_it_or_single(small, few_episodes, given, expected):
    features = np.asarray(few_episodes.features, given)
    fitted = clone(small).fit(with_columns(few_episodes, features=features))
    user = fitted.adapt(few_episodes[0])
    found = {
        "predict": fitted.predict(features),
        "predict_proba": user.predict_proba(few_episodes[0]),
        "predict_std": user.predict_std(features),
        "transform": fitted.transform(features),
        "weights": user.weights_,
        "covariance": user.weights_cov_,
        "start": fitted.start_weights_,
    }
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(found, np.dtype(expected))
    # Whatever the precision, much the same is learnt.
    double = clone(small).fit(few_episodes)
    tolerance = {np.float64: 1e-12, np.float32: 1e-3, np.float16: 2e-2}[given]
    assert_allclose(found["predict"], double.predict(few_episodes.features), atol=tolerance)


def test__predict__double_precision_items_of_a_single_precision_model__stay_single(small, few_episodes):
    features = np.asarray(few_episodes.features, np.float32)
    fitted = clone(small).fit(with_columns(few_episodes, features=features))
    assert fitted.predict(few_episodes.features).dtype == np.float32


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 99))
def test__pairs_of_an_epoch__users_with_very_many__are_cut_to_the_limit(counts, limit, seed):
    user = np.repeat(np.arange(len(counts)), counts)
    kept = _at_most(user, len(counts), limit, np.random.default_rng(seed))
    assert_array_equal(np.bincount(user[kept], minlength=len(counts)), np.minimum(counts, limit))


# -- score -----------------------------------------------------------------------------------------------------------


def test__score__episodes__is_accuracy_on_query_after_adapting_on_support(model, episodes):
    """The documented definition, spelt out with public calls."""
    expected, draws = [], np.random.default_rng(0)
    for _ in range(3):
        split = support_query_split(episodes, random_state=draws)
        users = model.adapt_many(episodes.take_pairs(split.support()))
        query = episodes.take_pairs(split.query)
        expected.append(user_accuracies(users.decision_function(query), query.user).mean())
    assert model.score(episodes) == pytest.approx(np.mean(expected), abs=1e-12)


def test__score__episodes__is_the_adaptation_curve_at_all_pairs_to_the_bit(model, gradient_model, episodes):
    some = with_columns(episodes, group=np.where(episodes.user < 5, 0, episodes.group))
    for found, users in ((model, episodes), (model, some), (gradient_model, some[::-1])):
        curve = adaptation_curve(found, users, support_sizes=(0, None))
        assert found.score(users) == curve.accuracy[1].mean()
        assert np.isfinite(curve.accuracy).all()
        assert curve.accuracy[0].mean() != curve.accuracy[1].mean()


def test__score__episodes__is_deterministic_and_the_same_for_every_form(model, episodes):
    accuracy = model.score(episodes)
    assert isinstance(accuracy, float)
    assert model.score(episodes) == accuracy
    assert model.score(list(episodes)) == accuracy
    assert model.score(tuple(episodes)) == accuracy
    # Groups are numbered anew, and with them the halves are drawn anew.
    plain = [Episode(e.user, e.chosen, e.rejected, groups=e.groups) for e in episodes]
    assert model.score(plain) == pytest.approx(accuracy, abs=0.05)


def test__score__order_of_users__does_not_matter_much(model, episodes):
    """Splits are drawn anew for another order: the same users, other halves."""
    assert model.score(episodes[::-1]) == pytest.approx(model.score(episodes), abs=0.05)


def test__score__users_who_choose_by_one_feature__is_one(small):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    one, other = rng.integers(0, 200, (2, 400))
    one, other = one[one != other], other[one != other]
    better = np.where(features[one, 0] > features[other, 0], one, other)
    worse = one + other - better
    clear = episodes_from_arrays(features, better, worse, np.arange(len(one)) % 20)
    assert clone(small).fit(clear[:15]).score(clear[15:]) > 0.97


def test__score__users_with_one_group__are_left_out(model, episodes):
    silent = episodes.user >= 30
    some = with_columns(episodes, group=np.where(silent, 0, episodes.group))
    one, other = episodes.chosen, episodes.rejected
    opposed = with_columns(some, chosen=np.where(silent, other, one), rejected=np.where(silent, one, other))
    assert model.score(opposed) == model.score(some)


def test__score__nobody_with_two_groups__says_what_to_pass(model, episodes):
    one_group = with_columns(episodes, group=np.zeros(episodes.n_pairs, int))
    with pytest.raises(EpisodeError, match=r"two groups.*of 40 users with 480 pairs none has: pass groups"):
        model.score(one_group)


def test__score__labels_beside_episodes__are_ignored(model, episodes):
    """scikit-learn passes y, strata of users for instance, as the second argument."""
    assert model.score(episodes, np.zeros(episodes.n_users)) == model.score(episodes)


@pytest.mark.parametrize("alone", ["a prompt", np.ones((3, 4)), [("p", "r")], [], None, {"chosen": []}])
def test__score__one_argument_that_is_no_episodes__names_both_forms(model, alone):
    with pytest.raises(TypeError, match=r"score\(episodes\).*score\(prompt, response\).*got .* alone"):
        model.score(alone)


def test__score__texts_for_an_array_model__says_to_predict(model):
    with pytest.raises(TypeError, match=r"fitted on feature vectors.*predict\(X\)"):
        model.score("prompt", "response")


def test__score__no_pairs_at_all__is_a_clear_error(model, episodes):
    with pytest.raises(EpisodeError, match=r"two groups.*of 40 users with 0 pairs none has"):
        model.score(episodes.take_pairs(np.zeros(episodes.n_pairs, bool)))


# -- predictions before adaptation -----------------------------------------------------------------------------------


def test__predict_proba__several_users__judges_all_by_the_starting_weights(model, episodes):
    margins = model.predict(episodes.features)[episodes.chosen] - model.predict(episodes.features)[episodes.rejected]
    assert_allclose(model.decision_function(episodes), margins, rtol=1e-7, atol=1e-9)
    assert_allclose(model.predict_proba(episodes), expit(margins), rtol=1e-9)
    assert_allclose(model.predict_proba(episodes[3]), model.adapt([]).predict_proba(episodes[3]), rtol=1e-12)


def test__transform__episodes__has_a_row_for_each_item(model, episodes):
    items = episodes.compact()
    assert_array_equal(model.transform(episodes), model.transform(items.features))
    assert model.transform(episodes).shape == (items.n_items, 3)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test__transform__any_rows__does_not_depend_on_the_others(model, episodes, rows):
    X = np.asarray(episodes.features)
    assert_allclose(model.transform(X[rows]), model.transform(X)[rows], rtol=1e-10, atol=1e-12)


# -- users who say little --------------------------------------------------------------------------------------------


def test__fit__users_with_one_group__count_in_the_pooled_model_only(small, episodes):
    single = episodes.user >= 20
    mixed = with_columns(episodes, group=np.where(single, 0, episodes.group))
    both, half = clone(small).fit(mixed), clone(small).fit(mixed[:20])
    assert (both.n_users_, half.n_users_) == (40, 20)
    # They move the pooled reward ...
    assert not np.allclose(both.base_rewards_.params["bases"][0], half.base_rewards_.params["bases"][0], rtol=1e-3)
    # ... and can be adapted and judged like anybody else.
    assert not np.array_equal(both.adapt(mixed[30]).weights_, both.start_weights_)
    assert 0 < both.score(mixed) < 1


@pytest.mark.parametrize("spectral_init", ["auto", False])
def test__fit__only_users_with_one_group__warns_and_does_not_crash(small, few_episodes, spectral_init):
    one_group = with_columns(few_episodes, group=np.zeros(few_episodes.n_pairs, int))
    with pytest.warns(UserWarning, match="got 0 of 16 users"):
        fitted = clone(small).set_params(spectral_init=spectral_init).fit(one_group)
    assert np.isfinite(fitted.predict(few_episodes.features)).all()


def test__fit__few_users__warns_and_gives_the_pooled_model(small, episodes):
    with pytest.warns(UserWarning, match=r"8 users with pairs in at least two groups are needed, got 7 of 7 users"):
        fitted = clone(small).fit(episodes[:7])
    user = fitted.adapt(episodes[0])
    assert_array_equal(user.weights_, fitted.start_weights_)
    assert_array_equal(user.predict(episodes.features), fitted.predict(episodes.features))
    assert fitted.selection_ == []
    with pytest.warns(UserWarning, match="got 1 of 1 users"):
        clone(small).fit(episodes[:1])


def test__fit__validation_switched_off__does_not_warn_and_gives_the_pooled_model(small, episodes):
    """Warnings are errors here."""
    fitted = clone(small).set_params(validation_fraction=0).fit(episodes[:7])
    assert_array_equal(fitted.adapt(episodes[0]).weights_, fitted.start_weights_)


@pytest.mark.parametrize(("n_items", "n_features", "n_pairs"), [(2, 2, 1), (6, 1, 5), (6, 8, 1)])
def test__fit__tiny_input__works(small, n_items, n_features, n_pairs):
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, n_items - 1, n_pairs)
    tiny = episodes_from_arrays(rng.normal(size=(n_items, n_features)), chosen, chosen + 1, ["only"] * n_pairs)
    with pytest.warns(UserWarning, match="cannot be validated"):
        fitted = clone(small).fit(tiny)
    assert fitted.n_features_in_ == n_features
    assert (fitted.adapt(tiny).predict_proba(tiny) > 0.5).mean() >= 0.5


def test__fit__items_that_are_all_alike__gives_rewards_that_are_all_alike(small, episodes):
    constant = with_columns(episodes, features=np.ones((episodes.n_items, 3)))
    fitted = clone(small).fit(constant)
    assert_array_equal(fitted.predict(np.ones((4, 3))), np.zeros(4))
    assert fitted.score(constant) == 0.5


# -- parameters ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outer_model(few_episodes):
    return MetaRewardModel(**OUTER).fit(few_episodes)


@pytest.mark.parametrize(
    "change",
    [
        {"n_bases": 3},
        {"adaptation": "map"},
        {"adaptation": GradientAdaptation(step_size=0.1)},
        {"inner_steps": 2},
        {"inner_lr": 0.5},
        {"inner_optimizer": "adam"},
        {"weight_constraint": "simplex"},
        {"first_order": True},
        {"robust_ratio": 0.2},
        {"robust_temperature": None},
        {"robust_temperature": 0.0},
        {"users_per_batch": 16},
        {"max_epochs": 1},
        {"learning_rate": 0.01},
        {"support_fraction": 0.5},
        {"validation_fraction": 0.0},
        {"validation_fraction": 0.5},
        {"spectral_init": True},
        {"spectral_init": "auto"},
        {"random_state": 1},
    ],
    ids=str,
)
def test__parameters__each__changes_what_is_learnt(outer_model, few_episodes, change):
    changed = MetaRewardModel(**(OUTER | change)).fit(few_episodes)
    assert not same_bits(changed, outer_model)
    assert np.isfinite(changed.predict(few_episodes.features)).all()
    assert 0 <= changed.score(few_episodes) <= 1


@pytest.mark.parametrize("device", ["auto", "cpu:0"])
def test__device__of_another_name__learns_the_same(outer_model, few_episodes, device):
    fitted = MetaRewardModel(**(OUTER | {"device": device})).fit(few_episodes)
    assert_allclose(fitted.predict(few_episodes.features), outer_model.predict(few_episodes.features), rtol=1e-6)
    assert fitted.start_weights_.dtype == np.float64


def test__verbose__on__shows_the_fit_on_stderr_and_changes_no_number(outer_model, few_episodes, capsys):
    assert same_bits(MetaRewardModel(**(OUTER | {"verbose": 1})).fit(few_episodes), outer_model)
    captured = capsys.readouterr()
    assert "fit: done" in captured.err
    assert captured.out == ""


def test__verbose__off__prints_nothing(few_episodes, capsys):
    MetaRewardModel(**OUTER).fit(few_episodes).score(few_episodes)
    assert capsys.readouterr() == ("", "")


def test__patience__rough_training__stops_so_many_epochs_after_the_best(few_episodes):
    rough = OUTER | {"learning_rate": 1.0, "max_epochs": 12}
    for patience in (1, 3):
        history = MetaRewardModel(**(rough | {"patience": patience})).fit(few_episodes).history_
        losses = [record["validation_loss"] for record in history]
        assert len(history) - 1 == int(np.argmin(losses)) + patience < 12


def test__history__no_validation_users__runs_all_epochs_and_keeps_the_last(few_episodes):
    fitted = MetaRewardModel(**(OUTER | {"validation_fraction": 0.0, "patience": 1})).fit(few_episodes)
    assert [record["epoch"] for record in fitted.history_] == [0, 1, 2, 3]
    assert all(record["validation_loss"] is None for record in fitted.history_)


def test__max_epochs__zero__leaves_the_start_and_no_history(few_episodes):
    fitted = MetaRewardModel(**(OUTER | {"max_epochs": 0})).fit(few_episodes)
    assert fitted.history_ == []
    assert_array_equal(fitted.start_weights_, [0.5, 0.5])


def test__outer_loop__planted_users__lowers_the_training_and_validation_loss():
    many = make_user_preferences(n_users=200, n_pairs=16, n_features=4, n_bases=2, random_state=0).episodes
    fitted = MetaRewardModel(**(OUTER | {"max_epochs": 10, "users_per_batch": 16})).fit(many)
    history = fitted.history_
    assert history[-1]["training_loss"] < history[1]["training_loss"] - 0.02
    assert min(record["validation_loss"] for record in history) < history[0]["validation_loss"] - 0.02


def test__spectral_init__auto__is_on_for_free_weights_and_off_for_the_simplex(few_episodes):
    free, simplex = OUTER | {"spectral_init": "auto"}, OUTER | {"weight_constraint": "simplex"}
    assert same_bits(
        MetaRewardModel(**free).fit(few_episodes), MetaRewardModel(**(free | {"spectral_init": True})).fit(few_episodes)
    )
    assert same_bits(
        MetaRewardModel(**(simplex | {"spectral_init": "auto"})).fit(few_episodes),
        MetaRewardModel(**simplex).fit(few_episodes),
    )


def test__spectral_init__rule_object_on_the_simplex__is_off_or_refused(few_episodes):
    options = OUTER | {"adaptation": GradientAdaptation(simplex=True)}
    auto = MetaRewardModel(**(options | {"spectral_init": "auto"})).fit(few_episodes)
    assert same_bits(auto, MetaRewardModel(**options).fit(few_episodes))
    with pytest.raises(ValueError, match=r"spectral_init=True needs unconstrained weights.*GradientAdaptation\("):
        MetaRewardModel(**(options | {"spectral_init": True})).fit(few_episodes)


def test__weight_constraint__simplex__weights_are_positive_and_sum_to_one(few_episodes):
    fitted = MetaRewardModel(**(OUTER | {"weight_constraint": "simplex", "inner_steps": 5, "inner_lr": 1.0})).fit(
        few_episodes
    )
    weights = fitted.adapt_many(few_episodes).weights_
    for vector in (fitted.start_weights_, *weights):
        assert (vector > 0).all()
        assert vector.sum() == pytest.approx(1)
    assert np.ptp(weights, axis=0).max() > 0.05  # and yet users differ


def test__inner_lr__given__is_the_step_that_adapt_takes(few_episodes):
    """Given, it is neither chosen nor learnt."""
    fitted = MetaRewardModel(**(OUTER | {"inner_lr": 0.5})).fit(few_episodes)
    new = few_episodes[0]
    gaps, start = fitted.transform(new.chosen) - fitted.transform(new.rejected), fitted.start_weights_
    expected = start + 0.5 * (expit(-gaps @ start) @ gaps) / len(new)
    assert_allclose(fitted.adapt(new).weights_, expected, rtol=1e-9)


def test__inner_steps__zero__adapts_nobody(few_episodes):
    fitted = MetaRewardModel(**(OUTER | {"inner_steps": 0})).fit(few_episodes)
    assert_array_equal(fitted.adapt(few_episodes[0]).weights_, fitted.start_weights_)


@pytest.mark.parametrize(
    ("adaptation", "meant", "other"),
    [("map", None, 0.5), ("gradient", 0.5, None), (GradientAdaptation(step_size=0.1), None, 0.5)],
    ids=["map", "gradient", "object"],
)
def test__robust_temperature__default__is_the_papers_under_gradient_steps_alone(few_episodes, adaptation, meant, other):
    """RPO harms under MAP (docs/accuracy.md)."""
    model = MetaRewardModel(**OUTER | {"adaptation": adaptation, "max_epochs": 1})
    assert model.robust_temperature == "auto"
    found, same, different = (
        learnt(clone(model).set_params(robust_temperature=value).fit(few_episodes)) for value in ("auto", meant, other)
    )
    assert all(np.array_equal(found[name], same[name]) for name in found)
    assert not np.array_equal(found["bases"], different["bases"])


def test__prior_scale__gradient_adaptation__does_not_exist(gradient_model):
    assert not hasattr(gradient_model, "prior_scale_")
    assert gradient_model.adapt([]).weights_cov_ is None


def test__selection__spectral_start__lists_candidates_with_none_first_and_marks_one(model):
    assert model.selection_[0]["setting"] == "none"
    assert model.selection_[0]["change"] == model.selection_[0]["movement"] == 0
    assert sum(record["chosen"] for record in model.selection_) == 1
    best = min(model.selection_, key=lambda record: record["validation_loss"])
    chosen = next(record for record in model.selection_ if record["chosen"])
    assert chosen["movement"] <= best["movement"]


@dataclass(frozen=True)
class MeanGap:
    """A rule of one's own: weights move along the user's mean gap, by a meta-learnt gain."""

    gain: float = 0.5

    def init(self, n_bases, like):
        return {"gain": torch.full((n_bases,), self.gain, dtype=like.dtype, device=like.device)}

    def constrain(self, start):
        return start

    def adapt(self, start, gaps, mask, params):
        mean = (gaps * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        return start + params["gain"] * mean

    def covariance(self, weights, start, gaps, mask, params):
        return None


@pytest.mark.parametrize("spectral_init", [True, False])
def test__adaptation__object_of_ones_own__is_trained_and_used(few_episodes, episodes, spectral_init):
    options = OUTER | {"adaptation": MeanGap(), "spectral_init": spectral_init}
    fitted = MetaRewardModel(**options).fit(few_episodes)
    assert fitted.adaptation_ == MeanGap()
    new = episodes[30]
    gaps = fitted.transform(new.chosen) - fitted.transform(new.rejected)
    gain = fitted._rule_params["rule.gain"]
    user = fitted.adapt(new)
    assert_allclose(user.weights_, fitted.start_weights_ + gain * gaps.mean(0), rtol=1e-9)
    assert user.weights_cov_ is None
    if not spectral_init:
        assert not np.allclose(gain, 0.5)  # the outer loop learns a rule's own parameters, too


def test__adaptation__given_object__is_not_chosen_for(few_episodes):
    """Strength is chosen for the strings; whoever passes an object has chosen."""
    rule = MapAdaptation(prior_scale=0.7)
    fitted = MetaRewardModel(n_bases=4, adaptation=rule, max_epochs=0, random_state=0).fit(few_episodes)
    assert_array_equal(fitted.prior_scale_, np.full(4, 0.7))
    assert [record["setting"] for record in fitted.selection_] == ["given"]


@pytest.mark.parametrize("n_bases", [1, 20])
def test__n_bases__one_or_more_than_features__works(few_episodes, n_bases):
    fitted = MetaRewardModel(n_bases=n_bases, max_epochs=1, validation_fraction=0.5, random_state=0).fit(few_episodes)
    assert fitted.transform(few_episodes.features).shape[1] == n_bases
    assert 0.4 < fitted.score(few_episodes) < 1


# -- wrong parameters and wrong episodes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n_bases": 0},
            r"'n_bases' parameter .*int in the range \[1, inf\) or a str among \{'auto'\}. Got 0",
        ),
        ({"adaptation": "adam"}, "'adaptation' parameter.*'gradient', 'map'|'adaptation' parameter.*'map', 'gradient'"),
        ({"robust_temperature": "none"}, r"'robust_temperature' parameter.*\{'auto'\}.*Got 'none'"),
        ({"robust_ratio": 0}, r"'robust_ratio' parameter.*range \(0.0, 1.0\]"),
        ({"validation_fraction": 0.6}, r"'validation_fraction' parameter.*\[0.0, 0.5\]"),
        ({"support_fraction": 1.0}, "'support_fraction' parameter"),
        ({"inner_lr": -1}, "'inner_lr' parameter"),
        ({"random_state": "zero"}, "'random_state' parameter"),
        ({"spectral_init": "yes"}, "'spectral_init' parameter"),
        ({"n_jobs": 0}, "'n_jobs' parameter.*Got 0"),
    ],
    ids=str,
)
def test__fit__parameter_out_of_bounds__is_worded_by_scikit_learn(few_episodes, change, message):
    model = MetaRewardModel(**change)
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(few_episodes)
    assert not hasattr(model, "base_rewards_")


def test__fit__contradictory_parameters__are_listed_all_at_once(few_episodes):
    model = MetaRewardModel(weight_constraint="simplex", spectral_init=True, device="abacus", adaptation=MapAdaptation)
    with pytest.raises(ValueError) as caught:
        model.fit(few_episodes)
    for part in (
        "weight_constraint='simplex' needs adaptation='gradient'",
        "spectral_init=True needs unconstrained weights",
        "device takes 'auto', 'cpu'",
        "pass MapAdaptation()",
    ):
        assert part in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("params", [{}, {"kernel": "rbf"}, {"adaptation": "gradient"}, {"spectral_init": False}])
def test__device__cuda__gives_what_the_cpu_gives(few_episodes, params):
    options = params | {"n_bases": 3, "max_epochs": 2, "random_state": 0}
    found, expected = (
        MetaRewardModel(device=device, **options).fit(few_episodes).adapt_many(few_episodes)
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(
        found.decision_function(few_episodes), expected.decision_function(few_episodes), atol=1e-3
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error is about a GPU that is not there")
def test__fit__gpu_that_is_not_there__says_so(few_episodes):
    with pytest.raises(ValueError, match=r"device='cuda' needs a GPU.*'auto' or 'cpu'"):
        MetaRewardModel(device="cuda").fit(few_episodes)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ([], EpisodeError, "fit needs at least one user"),
        (np.ones((5, 3)), TypeError, "fit expects an EpisodeSet or a list of Episode.*episodes_from_arrays"),
        ([{"chosen": "a"}], TypeError, "episodes_from_frame"),
        (Episode("ann", ["a"], ["b"]), TypeError, "wrap it in a list"),
        ([Episode("ann", np.full((1, 2), np.nan), np.ones((1, 2)))], EpisodeError, "finite.*'ann'"),
        ([Episode("ann", [], []), Episode("bo", np.ones((1, 2)), np.ones((1, 2)))], EpisodeError, "at least 1 pair"),
        (
            [Episode("ann", np.ones((1, 2)), np.ones((1, 2))), Episode("bo", np.ones((1, 3)), np.ones((1, 3)))],
            EpisodeError,
            "same number of features",
        ),
    ],
)
def test__fit__unusable_episodes__are_a_clear_error(small, wrong, error, message):
    with pytest.raises(error, match=message):
        clone(small).fit(wrong)


def test__score_and_transform__episodes_of_another_width__say_what_fit_had(model):
    narrow = make_user_preferences(n_users=4, n_pairs=5, n_features=3, n_bases=2, random_state=0).episodes
    for method in (model.score, model.transform, model.adapt_many, model.predict_proba):
        with pytest.raises(EpisodeError, match="expected 4 features as in fit, got 3"):
            method(narrow)


# -- texts -----------------------------------------------------------------------------------------------------------


class NumbersInText(BaseEstimator):
    """Reads the numbers that a response consists of, so that a model of texts can be compared with one of arrays."""

    n_encoded = 0  # by all instances, clones included
    prompts: ClassVar[set[str]] = set()

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        type(self).n_encoded += len(X)
        self.prompts.update(str(prompt) for prompt, _ in X)
        return np.array([[float(word) for word in response.split()] for _, response in X])


@pytest.fixture(scope="module")
def as_texts(episodes):
    """The same choices as texts, and as the single-precision features that the texts encode."""
    compact = episodes.compact()
    features = np.asarray(compact.features, np.float32)
    items = [("Which numbers?", " ".join(repr(float(number)) for number in row)) for row in features]
    columns = {name: getattr(compact, name) for name in ("users", "user", "chosen", "rejected", "group")}
    return EpisodeSet(**columns, items=items), EpisodeSet(**columns, features=features)


@pytest.fixture(scope="module")
def text_model(small, as_texts):
    return clone(small).set_params(encoder=NumbersInText(), text_statistics=False).fit(as_texts[0])


def test__texts__encoded_by_fit__give_the_model_of_the_arrays_they_encode(small, as_texts, text_model):
    texts, arrays = as_texts
    array_model = clone(small).fit(arrays)
    assert same_bits(text_model, array_model, but=("crowd.moments", "crowd.n_items"))  # of features that have names
    assert text_model.n_features_in_ == 4
    assert text_model.encoder_ is not None
    assert array_model.encoder_ is None
    assert text_model.score(texts) == array_model.score(arrays)
    text_user, array_user = text_model.adapt(texts[5]), array_model.adapt(arrays[5])
    assert_allclose(text_user.weights_, array_user.weights_, rtol=1e-5, atol=1e-6)
    assert_allclose(text_user.predict(texts.items), array_user.predict(arrays.features), rtol=1e-4, atol=1e-5)


def test__texts__one_user_of_a_large_set__only_that_users_texts_are_encoded(text_model, as_texts):
    texts, _ = as_texts
    user = text_model.adapt(texts[5])
    for call in (text_model.adapt, user.predict_proba, text_model.predict_proba, lambda e: text_model.adapt_many([e])):
        NumbersInText.n_encoded = 0
        call(texts[5])
        assert 0 < NumbersInText.n_encoded <= 2 * len(texts[5])


def test__texts__every_form_of_the_same_choices__gives_the_same_user_model(text_model, as_texts):
    pandas = pytest.importorskip("pandas")
    view = as_texts[0][5]
    rows = list(zip(view.prompts, view.chosen, view.rejected, strict=True))
    dicts = [dict(zip(("prompt", "chosen", "rejected"), row, strict=True)) for row in rows]
    chats = [
        ([{"role": "user", "content": p}], [{"role": "assistant", "content": c}], [{"role": "assistant", "content": r}])
        for p, c, r in rows
    ]
    expected = text_model.adapt(view).weights_
    assert not np.array_equal(expected, text_model.start_weights_)
    for form in (rows, dicts, pandas.DataFrame(dicts), chats, episodes_from_frame([{"user_id": 1} | d for d in dicts])):
        NumbersInText.prompts.clear()
        assert_allclose(text_model.adapt(form).weights_, expected, rtol=1e-5, atol=1e-6)
        assert NumbersInText.prompts == {"Which numbers?"}
    without_prompts = [row[1:] for row in rows]
    assert_allclose(text_model.adapt(without_prompts).weights_, expected, rtol=1e-5, atol=1e-6)
    assert_array_equal(text_model.adapt([]).weights_, text_model.start_weights_)


def test__texts__score_of_prompt_and_response__is_the_reward(text_model, as_texts):
    texts, _ = as_texts
    prompt, response = texts.items[0]
    responses = [item[1] for item in texts.items[:5]]
    rewards = text_model.predict(texts.items[:5])
    for scorer in (text_model, text_model.adapt([])):
        assert isinstance(scorer.score(prompt, response), float)
        assert scorer.score(prompt, response) == pytest.approx(float(rewards[0]), abs=1e-6)
        assert_allclose(scorer.score(prompt, responses), rewards, atol=1e-6)
        assert_allclose(scorer.score([prompt] * 5, responses), rewards, atol=1e-6)
        assert_allclose(scorer.score(prompt, tuple(responses)), rewards, atol=1e-6)
        assert scorer.score(prompt, []).shape == (0,)
    chat = [{"role": "user", "content": prompt}], [{"role": "assistant", "content": response}]
    assert text_model.score(*chat) == pytest.approx(float(rewards[0]), abs=1e-6)
    assert text_model.score(prompt, chat[1]) == pytest.approx(float(rewards[0]), abs=1e-6)


def test__texts__rank__orders_responses_by_their_score(text_model, as_texts):
    texts, _ = as_texts
    user = text_model.adapt(texts[5])
    responses = [item[1] for item in texts.items[:6]]
    order = user.rank("Which numbers?", responses)
    assert_array_equal(order, np.argsort(-user.score("Which numbers?", responses), kind="stable"))
    assert user.rank("Which numbers?", []).shape == (0,)
    assert_array_equal(user.rank("", [responses[0]] * 3), [0, 1, 2])


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        ("predict", (np.ones((2, 4)),), TypeError, r"list of \(prompt, response\) pairs; item 0"),
        ("predict", ("a response",), TypeError, r"score\(prompt, response\)"),
        ("predict", (["a response"],), TypeError, "item 0 is 'a response'"),
        ("predict", ([("p", "1 2 3 4"), ("p", 7)],), TypeError, "item 1 is .*two str.*a str and an int"),
        ("predict", ([("p", "1 2 3 4", "r")],), TypeError, "item 0"),
        ("rank", ("p", "1 2 3 4"), TypeError, "sequence of responses, got a str"),
        ("score", (["p", "p"], "1 2 3 4"), TypeError, "several prompts and one response"),
        ("score", (["p", "p"], ["1 2 3 4"]), ValueError, "2 prompts and 1 responses"),
        ("adapt", (Episode("u", np.ones((2, 4)), np.zeros((2, 4))),), EpisodeError, "needs texts.*got features"),
        ("predict_proba", (Episode("u", np.ones((2, 4)), np.zeros((2, 4))),), EpisodeError, "needs texts"),
        ("transform", (np.ones((2, 4)),), TypeError, "list of"),
    ],
)
def test__texts__wrong_kind_of_input__is_a_clear_error(text_model, method, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(text_model, method)(*arguments)


def test__text_statistics__on__appends_features_and_moves_rewards(small, as_texts, text_model):
    texts, _ = as_texts
    richer = clone(small).set_params(encoder=NumbersInText()).fit(texts)
    assert richer.n_features_in_ > text_model.n_features_in_
    assert richer.transform(texts.items[:2]).shape == (2, 3)


@pytest.mark.parametrize(
    "made", [lambda path: joblib.Memory(path, verbose=0), str, Path], ids=["memory", "str", "path"]
)
def test__memory__the_same_texts_again__encodes_nothing_twice(small, as_texts, tmp_path, made):
    texts, _ = as_texts
    cached = clone(small).set_params(encoder=NumbersInText(), text_statistics=False, memory=made(tmp_path))
    NumbersInText.n_encoded = 0
    first = clone(cached).fit(texts)
    assert NumbersInText.n_encoded == texts.n_items
    assert same_bits(clone(cached).fit(texts), first)
    assert NumbersInText.n_encoded == texts.n_items


def test__encoder__of_any_parameters__is_cloned_and_left_unfitted(text_model):
    assert not hasattr(text_model.encoder, "fitted_")
    unpickled = pickle.loads(pickle.dumps(text_model))
    assert unpickled.score("p", "1 2 3 4") == text_model.score("p", "1 2 3 4")


# -- planted users ---------------------------------------------------------------------------------------------------


N_TRAINED = 400


@pytest.fixture(scope="module")
def crowd():
    """1000 users with three base functions over twenty features; 100 pairs each, of which half are support."""
    return make_user_preferences(n_users=1000, n_pairs=100, n_features=20, n_bases=3, random_state=1)


@pytest.fixture(scope="module")
def crowd_model(crowd):
    """Fitted with 50 pairs of each of 400 users, all parameters but the seed at their defaults."""
    trained = crowd.episodes[:N_TRAINED]
    place = np.arange(trained.n_pairs) - trained.offsets[trained.user]
    return MetaRewardModel(random_state=0).fit(trained.take_pairs(place < 50))


@pytest.fixture(scope="module")
def new_users(crowd):
    """The users that fit never saw, split so that support and query share no group."""
    users = crowd.episodes[N_TRAINED:]
    split = support_query_split(users, random_state=2)
    return users, split, users.take_pairs(split.query)


def accuracies_after(model, new_users, n_pairs):
    """Each new user's accuracy on its query, adapted on so many of its support pairs."""
    users, split, query = new_users
    adapted = model.adapt_many(users.take_pairs(split.support(n_pairs)))
    return user_accuracies(adapted.decision_function(query), query.user)


def expected_loss(margins, true_margins):
    """Accuracy lost against the true rewards, over the choices that might have been made instead of those that were."""
    certainty = 2 * expit(np.abs(true_margins)) - 1
    return float(np.mean(np.where(np.sign(margins) == np.sign(true_margins), 0.0, certainty)))


def test__planted_users__fifty_pairs__come_within_one_and_a_half_points_of_the_true_rewards(
    crowd, crowd_model, new_users
):
    """Fifty noisy choices cannot tell more: who knew the true base functions and prior would still lose 1.3 points."""
    users, split, query = new_users
    margins = crowd_model.adapt_many(users.take_pairs(split.support(50))).decision_function(query)
    oracle = oracle_accuracy(crowd, query)
    assert oracle > 0.78
    assert oracle - user_accuracies(margins, query.user).mean() < 0.015
    assert expected_loss(margins, true_gaps(crowd, query)) < 0.015


@pytest.mark.parametrize("n_pairs", [3, 10, 25, 50])
def test__planted_users__any_number_of_pairs__lose_half_a_point_at_most_to_true_base_functions_and_prior(
    crowd, crowd_model, new_users, n_pairs
):
    users, split, query = new_users
    support = users.take_pairs(split.support(n_pairs))
    table = np.asarray(users.features) @ crowd.base_functions.T
    truth = {"start": crowd.mean_weights, "rule.prior_scale": np.full(3, np.std(crowd.weights - crowd.mean_weights))}
    weights, _ = adapt_arrays(truth, MapAdaptation(), table, Choices.of(support), "cpu")
    bayes = np.einsum("pk,pk->p", table[query.chosen] - table[query.rejected], weights[query.user])
    found, true = crowd_model.adapt_many(support).decision_function(query), true_gaps(crowd, query)
    assert expected_loss(found, true) - expected_loss(bayes, true) < 0.005


def test__planted_users__more_pairs__are_predicted_better(crowd_model, new_users):
    by_size = [accuracies_after(crowd_model, new_users, n) for n in (0, 3, 10, 25, 50)]
    for fewer, more in pairwise(by_size):
        assert bootstrap_interval(more, fewer).low > 0.005


def test__planted_users__adapted__beat_the_pooled_model_of_true_weights(crowd, crowd_model, new_users):
    """Three choices already beat the best that one reward for all could do."""
    _, _, query = new_users
    shared = user_accuracies(true_gaps(crowd, query, personal=False), query.user)
    pooled = accuracies_after(crowd_model, new_users, 0)
    assert abs(bootstrap_interval(pooled, shared).estimate) < 0.01
    for n_pairs, gain in ((3, 0.02), (50, 0.1)):
        assert bootstrap_interval(accuracies_after(crowd_model, new_users, n_pairs), shared).low > gain


def test__planted_users__base_functions__span_the_true_ones(crowd, crowd_model):
    """Rewards of new users, as functions of the features, lie almost wholly in the planted space."""
    bases = crowd_model.base_rewards_.params["bases"] / crowd_model.base_rewards_.params["scale"]
    weights = crowd_model.adapt_many(crowd.episodes[N_TRAINED:]).weights_
    rewards = weights @ bases
    inside = rewards @ crowd.base_functions.T @ crowd.base_functions
    assert (inside**2).sum() / (rewards**2).sum() > 0.95
    true = crowd.coef[N_TRAINED:]
    cosine = (rewards * true).sum(1) / np.linalg.norm(rewards, axis=1) / np.linalg.norm(true, axis=1)
    assert np.median(cosine) > 0.95


@pytest.mark.parametrize("personal_strength", [0.0, 0.3])
def test__users_alike__adapted__lose_nothing_against_the_pooled_model(personal_strength):
    alike = make_user_preferences(
        n_users=240, n_pairs=30, n_features=10, n_bases=3, personal_strength=personal_strength, random_state=1
    ).episodes
    fitted = MetaRewardModel(max_epochs=3, random_state=0).fit(alike[:120])
    new = alike[120:]
    split = support_query_split(new, random_state=0)
    unseen = new, split, new.take_pairs(split.query)
    pooled = accuracies_after(fitted, unseen, 0)
    for n_pairs in (1, 3, 15):
        lost = bootstrap_interval(pooled, accuracies_after(fitted, unseen, n_pairs))
        assert lost.estimate < 0.003
        assert lost.low <= 0


def ideal_point_users(n_users, n_pairs, seed):
    """Users who like items near a point of their own: no linear reward can say so."""
    rng = np.random.default_rng(seed)
    features, ideal = rng.normal(size=(240, 2)), rng.normal(size=(n_users, 2))
    group, one, step = (rng.integers(low, high, (n_users, n_pairs)) for low, high in ((0, 60), (0, 4), (1, 4)))
    one, other = 4 * group + one, 4 * group + (one + step) % 4
    distance = [((features[item] - ideal[:, None]) ** 2).sum(-1) for item in (one, other)]
    nearer = 2 * (distance[1] - distance[0]) + rng.logistic(size=one.shape) > 0
    user = np.repeat(np.arange(n_users), n_pairs)
    chosen, rejected = np.where(nearer, one, other), np.where(nearer, other, one)
    return episodes_from_arrays(features, chosen.ravel(), rejected.ravel(), user, group.ravel())


def test__ideal_points__squares_among_the_features__are_learnt():
    """The distance to a point is linear in the features and the sum of their squares."""
    users = ideal_point_users(n_users=220, n_pairs=20, seed=0)
    features = np.asarray(users.features)
    squared = users.with_features(np.hstack([features, (features**2).sum(1, keepdims=True)]))
    options = {"max_epochs": 0, "kernel": None, "random_state": 0}
    linear, with_squares = (
        MetaRewardModel(**options).fit(episodes[:160]).score(episodes[160:]) for episodes in (users, squared)
    )
    assert with_squares > linear + 0.05
    assert with_squares > 0.78
