"""Learning from users who come later."""

from __future__ import annotations

import numpy as np
import pytest

from skmrm import EpisodeSet, MetaRewardModel
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.exceptions import EpisodeError

PARAMS = {"n_bases": 3, "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def episodes():
    return make_user_preferences(n_users=90, n_pairs=12, n_features=5, n_bases=2, random_state=0).episodes


def learnt(model):
    return dict(model.base_rewards_.params) | model._rule_params


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"kernel": "rbf"},
        {"hidden_layers": (4,)},
        {"adaptation": "gradient"},
        {"adaptation": "gradient", "weight_constraint": "simplex", "inner_lr": 0.1},
    ],
    ids=["map", "bends", "hidden", "gradient", "simplex"],
)
def test__partial_fit__further_users__move_what_is_learnt_and_nothing_else(episodes, params):
    model = MetaRewardModel(**PARAMS | params).fit(episodes[:40])
    before, n_epochs, given = learnt(model), len(model.history_), model.get_params()
    base, fitted = model.base_rewards_, {name: value.copy() for name, value in before.items()}
    assert model.partial_fit(episodes[40:80]) is model
    after = learnt(model)
    assert list(after) == list(before)
    fixed = {"mean", "scale", "kernel.points", "kernel.precision"}
    for name, value in after.items():
        assert value.dtype == before[name].dtype
        assert value.shape == before[name].shape
        np.testing.assert_array_equal(base.params.get(name, before[name]), fitted[name])  # the old arrays are as before
        if name in fixed:
            np.testing.assert_array_equal(value, before[name])
    assert not np.array_equal(after["bases"], before["bases"])
    assert model.n_users_ == 80
    assert [record["epoch"] for record in model.history_] == list(range(n_epochs + 1))
    assert model.history_[-1]["training_loss"] > 0
    assert model.get_params() == given
    assert 0 < model.score(episodes[80:]) < 1


def test__partial_fit__kernel__base_rewards_change_by_little(episodes):
    """One epoch at a small learning rate moves the reward a little: the bend came through the way in and out."""
    model = MetaRewardModel(**PARAMS | {"kernel": "rbf", "learning_rate": 1e-9}).fit(episodes[:40])
    X = np.asarray(episodes.features)
    before = model.transform(X)
    model.partial_fit(episodes[40:80])
    np.testing.assert_allclose(model.transform(X), before, atol=1e-6)


def test__partial_fit__many_calls__learn_what_users_share():
    episodes = make_user_preferences(
        n_users=240, n_pairs=20, n_features=6, n_bases=2, personal_strength=0.5, random_state=1
    ).episodes
    params = PARAMS | {"spectral_init": False, "max_epochs": 0, "learning_rate": 0.02, "users_per_batch": 10}
    model = MetaRewardModel(**params).fit(episodes[:20])
    scores = [model.score(episodes[200:])]
    parts = (episodes[start : start + 60] for start in range(20, 200, 60))
    scores += [model.partial_fit(part).score(episodes[200:]) for part in parts]
    assert scores[-1] > scores[0] + 0.05


def test__partial_fit__not_fitted__is_fit(episodes):
    found, expected = MetaRewardModel(**PARAMS).partial_fit(episodes[:30]), MetaRewardModel(**PARAMS).fit(episodes[:30])
    assert all(np.array_equal(value, learnt(expected)[name]) for name, value in learnt(found).items())


def test__partial_fit__texts__go_through_the_fitted_encoder():
    texts = load_style_preferences(n_users=40, n_pairs=10, random_state=0).episodes
    model = MetaRewardModel(**PARAMS).fit(texts[:25])
    encoder = model.encoder_
    model.partial_fit(texts[25:])
    assert model.encoder_ is encoder
    assert model.n_users_ == 40


def test__partial_fit__what_fits_not_the_model__is_refused_and_nothing_changes(episodes):
    model = MetaRewardModel(**PARAMS).fit(episodes[:40])
    before = learnt(model)
    wide = np.c_[episodes.features, episodes.features]
    columns = {name: getattr(episodes, name) for name in ("users", "user", "chosen", "rejected", "group")}
    with pytest.raises(EpisodeError, match="expected 5 features as in fit, got 10"):
        model.partial_fit(EpisodeSet(**columns, features=wide))
    with pytest.raises(ValueError, match="weight_constraint='simplex' needs"):
        model.set_params(weight_constraint="simplex").partial_fit(episodes[40:])
    model.set_params(weight_constraint=None)
    alone = EpisodeSet(**columns | {"group": np.zeros_like(episodes.group)}, features=episodes.features)
    with pytest.warns(UserWarning, match="users with pairs in at least two groups, got none among 50: nothing has"):
        model.partial_fit(alone[40:])
    assert all(np.array_equal(value, before[name]) for name, value in learnt(model).items())
    assert model.n_users_ == 40
