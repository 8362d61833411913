"""What is known of users before the first choice moves the prior's mean as far as that helps, and no further."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmrm import MetaRewardModel, episodes_from_arrays, personalization_report
from skmrm.episodes.user_features import UserColumns, read_user_features
from skmrm.exceptions import EpisodeError
from skmrm.model_selection import adaptation_curve
from skmrm.serving import OnnxScorer

N_TRAIN, N_USERS, N_PAIRS, N_ITEMS, D = 200, 280, 16, 200, 6


class World:
    """Users whose taste is, to a half, a linear function of two numbers and a language."""

    def __init__(self, share=0.5, seed=0):
        rng = np.random.default_rng(seed)
        self.age, self.mood = rng.normal(size=(2, N_USERS))
        self.language = rng.choice(["de", "en", "fr"], N_USERS)
        known = np.column_stack([self.age, self.mood, *((self.language == one) - 1 / 3 for one in ("de", "en", "fr"))])
        self.features = rng.normal(size=(N_ITEMS, D))
        effect = rng.normal(size=(known.shape[1], D))
        told = known @ effect
        self.told = np.sqrt(share) * told / told.std() + 0.5 * rng.normal(size=D)
        self.weights = self.told + np.sqrt(1 - share) * rng.normal(size=(N_USERS, D))
        self.user = np.repeat(np.arange(N_USERS), N_PAIRS)
        one, other = rng.integers(0, N_ITEMS, (2, len(self.user)))
        gap = ((self.features[one] - self.features[other]) * self.weights[self.user]).sum(1)
        ahead = gap + rng.logistic(size=len(gap)) > 0
        ids = np.array([f"u{row}" for row in range(N_USERS)], object)
        ends = np.where(ahead, [one, other], [other, one])
        self.episodes = episodes_from_arrays(self.features, *ends, ids[self.user])
        self.frame = pd.DataFrame(
            {
                "user_id": ids,
                "age": self.age,
                "mood": self.mood,
                "language": self.language,
                "noise": rng.normal(size=N_USERS),
            }
        )

    @property
    def train(self):
        return self.episodes[:N_TRAIN]

    @property
    def new(self):
        return self.episodes[N_TRAIN:]


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def informed(world):
    return MetaRewardModel(random_state=0, kernel=None, device="cpu").fit(world.train, user_features=world.frame)


def before_choices(model, world, **known):
    """Correlation of predicted and true preferences of new users without choices."""
    nothing = world.new.take_pairs(np.zeros(world.new.n_pairs, bool))
    users = model.adapt_many(nothing, **known)
    found = users.decision_function(world.new)
    own, chosen, rejected = world.user[world.user >= N_TRAIN], world.new.chosen, world.new.rejected
    truth = ((world.features[chosen] - world.features[rejected]) * world.weights[own]).sum(1)
    return np.corrcoef(found, truth)[0, 1]


def test__fit__features_that_explain_half_of_the_taste__are_worth_half_of_what_an_oracle_gains(world, informed):
    plain = before_choices(informed, world)
    found = before_choices(informed, world, user_features=world.frame)
    own, chosen, rejected = world.user[world.user >= N_TRAIN], world.new.chosen, world.new.rejected
    gaps = world.features[chosen] - world.features[rejected]
    oracle = np.corrcoef((gaps * world.told[own]).sum(1), (gaps * world.weights[own]).sum(1))[0, 1]
    assert found - plain > 0.5 * (oracle - plain)
    chosen = [one for one in informed.user_selection_ if one["chosen"]]
    assert [one["ridge"] < np.inf for one in chosen] == [True]
    assert informed.user_effects_.shape == (informed.base_rewards_.n_bases, 6)


def test__fit__useless_features__change_nothing_to_the_bit(world):
    noise = np.random.default_rng(1).normal(size=(N_TRAIN, 3))
    plain = MetaRewardModel(random_state=0, kernel=None, device="cpu").fit(world.train)
    told = MetaRewardModel(random_state=0, kernel=None, device="cpu").fit(world.train, user_features=noise)
    assert told.user_effects_ is None
    assert_array_equal(told.start_weights_, plain.start_weights_)
    one = told.adapt(world.new[0], user_features=[1.0, 2.0, 3.0])
    assert_array_equal(one.weights_, plain.adapt(world.new[0]).weights_)


def test__adapt__choices_and_features__better_than_either(world, informed):
    few = world.new.take_pairs(np.flatnonzero(np.arange(world.new.n_pairs) % N_PAIRS < 3))
    rest = world.new.take_pairs(np.flatnonzero(np.arange(world.new.n_pairs) % N_PAIRS >= 3))

    def right(**known):
        return (informed.adapt_many(few, **known).decision_function(rest) > 0).mean()

    assert right(user_features=world.frame) > right()


FORMS = {
    "frame": lambda world, users: world.frame,
    "aligned frame": lambda world, users: world.frame.set_index("user_id").loc[users].reset_index(drop=True),
    "indexed frame": lambda world, users: world.frame.set_index("user_id"),
    "polars": lambda world, users: pl.from_pandas(world.frame),
    "dicts": lambda world, users: world.frame.set_index("user_id").to_dict("index"),
}


@pytest.mark.parametrize("form", FORMS)
def test__user_features__in_any_form__are_the_same(form, world, informed):
    users = world.new.users.tolist()
    expected = informed.adapt_many(world.new, user_features=world.frame).weights_
    found = informed.adapt_many(world.new, user_features=FORMS[form](world, users)).weights_
    assert_array_equal(found, expected)
    row = world.frame.iloc[N_TRAIN]
    one = {name: row[name] for name in ("age", "mood", "language", "noise")}
    for given in (one, row, world.frame.iloc[[N_TRAIN]]):
        assert_allclose(informed.adapt(world.new[0], user_features=given).weights_, expected[0], atol=1e-9)


def test__user_features__unknown_ones__fall_back_to_the_plain_prior(world, informed):
    plain = informed.adapt(world.new[0]).weights_
    for unknown in ({}, {"age": None, "language": "nl", "noise": np.nan}):
        assert_array_equal(informed.adapt(world.new[0], user_features=unknown).weights_, plain)
    nobody = informed.adapt_many(world.new[:2], user_features={"somebody": {"age": 1.0}})
    assert_array_equal(nobody.weights_, informed.adapt_many(world.new[:2]).weights_)


def test__update_save_and_export__keep_what_is_known_of_a_user(world, informed, tmp_path):
    row = world.frame.iloc[N_TRAIN + 3].to_dict()
    own = world.new[[3]]
    expected = informed.adapt(own, user_features=row)
    early, late = (own.take_pairs(np.arange(N_PAIRS)[part]) for part in (slice(5), slice(5, None)))
    first = informed.adapt(early, user_features=row)
    assert_allclose(first.update(late).weights_, expected.weights_, atol=1e-6)
    first.save(tmp_path / "user")
    assert_allclose(type(first).load(tmp_path / "user").update(late).weights_, expected.weights_, atol=1e-6)
    users = informed.adapt_many(world.new[:2], user_features=world.frame).update(own, user_features=world.frame)
    assert_allclose(users[own.users[0]].weights_, expected.weights_, atol=1e-6)
    informed.save(tmp_path / "model")
    again = MetaRewardModel.load(tmp_path / "model")
    assert_array_equal(again.adapt(own, user_features=row).weights_, expected.weights_)
    informed.export_onnx(tmp_path / "bundle")
    scorer = OnnxScorer(tmp_path / "bundle")
    assert_allclose(scorer.adapt(own, user_features=row), expected.weights_, atol=1e-5)
    history = scorer.history(early, user_features=row)
    assert_allclose(scorer.adapt(late, earlier=history), expected.weights_, atol=1e-5)
    asked = [
        one[3:5] for one in scorer.suggest_pairs(world.features[:30], 2, earlier=scorer.history(own, user_features=row))
    ]
    assert asked == [one[3:5] for one in expected.suggest_pairs(world.features[:30], 2)]


def test__user_encoder__a_column_transformer__is_as_good(world):
    encoder = make_column_transformer((StandardScaler(), ["age", "mood"]), (OneHotEncoder(), ["language"]))
    frame = world.frame.drop(columns="user_id")
    model = MetaRewardModel(random_state=0, kernel=None, device="cpu", user_encoder=encoder)
    model.fit(world.train, user_features=frame[:N_TRAIN])
    known = frame[N_TRAIN:]
    assert before_choices(model, world, user_features=known) > before_choices(model, world) + 0.1
    with pytest.raises(ValueError, match="user_encoder is a transformer of scikit-learn"):
        model.save("nowhere")


def test__report_and_curve__before_the_first_choice__with_and_without(world, informed):
    report = personalization_report(informed, world.new, user_features=world.frame, support_sizes=[0, 5])
    assert "Before the first choice, accuracy is" in report.ties
    told = adaptation_curve(informed, world.new, user_features=world.frame, support_sizes=[0])
    untold = adaptation_curve(informed, world.new, support_sizes=[0])
    assert told.accuracy.mean() > untold.accuracy.mean()
    assert told.log_loss.mean() < untold.log_loss.mean() - 0.01
    assert report.table["accuracy"].iloc[0] == pytest.approx(told.accuracy.mean())


def test__user_features__that_cannot_be__say_what_to_do(world, informed):
    with pytest.raises(EpisodeError, match=r"user_features must have a row for each of 200 users.*got 3"):
        MetaRewardModel().fit(world.train, user_features=np.zeros((3, 2)))
    twice = pd.concat([world.frame, world.frame[:1]])
    with pytest.raises(EpisodeError, match="one row a user, got several of 'u0'"):
        MetaRewardModel().fit(world.train, user_features=twice)
    with pytest.raises(EpisodeError, match="'age' must hold numbers, as in fit, got 'old'"):
        informed.adapt([], user_features={"age": "old"})
    with pytest.raises(EpisodeError, match="must hold numbers or texts, got a list"):
        MetaRewardModel().fit(world.train, user_features=pd.DataFrame({"tags": [["a"]] * N_TRAIN}))
    with pytest.raises(EpisodeError, match="finite"):
        MetaRewardModel().fit(world.train, user_features=np.full((N_TRAIN, 1), np.inf))
    plain = MetaRewardModel(random_state=0, kernel=None).fit(world.train[:30])
    with pytest.raises(ValueError, match="mean nothing to a model that was fitted without"):
        plain.adapt([], user_features={"age": 1.0})


def test__columns__numbers_and_categories__are_standardised_and_unknown_is_zero():
    known = {"age": [1, 3, None, 5], "lang": ["a", "b", "a", None], "same": [1, 1, 1, 1], "id": ["w", "x", "y", "z"]}
    columns = UserColumns.fit(known)
    found = columns.transform(known, 4)
    assert [one["name"] for one in columns.columns] == ["age", "lang"]  # what tells nobody apart is left out
    assert_allclose(found[:, 0], [-1.2247, 0, 0, 1.2247], atol=1e-4)
    assert found[3, 1] == 0
    assert_array_equal(columns.transform({}, 2), np.zeros((2, columns.n_columns)))
    rows = read_user_features({"x": {"age": 1}, "y": [2]}, ["x", "y", "z"], "fit")
    assert rows == {"age": [1, None, None], 0: [None, 2, None]}
