"""Whole data sets, drawn: users, items, ranks, scales, precisions, groups, duplicates, tastes; laws from end to end.

``pytest tests/test_campaign.py --hypothesis-profile=campaign`` draws 3,200 sets for each law.
"""

import tempfile
import warnings
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from skmrm import Episode, MetaRewardModel, episodes_from_arrays, episodes_from_frame
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.meta.adaptation import MapAdaptation
from skmrm.serving import OnnxScorer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
# A set costs many times what other tests draw.
of_sets = settings(max_examples=settings.default.max_examples // 5)


@dataclass(frozen=True)
class Drawn:
    """A set of choices as columns: what a data scientist has."""

    features: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    user: np.ndarray
    group: np.ndarray | None
    outcome: np.ndarray | None = None
    rating: np.ndarray | None = None
    weight: np.ndarray | None = None

    @property
    def said(self):
        said = {"outcome": self.outcome, "rating": self.rating, "weight": self.weight}
        return {name: column for name, column in said.items() if column is not None}

    @property
    def episodes(self):
        return episodes_from_arrays(self.features, self.chosen, self.rejected, self.user, self.group, **self.said)


def normal(rng, n, d):
    return rng.normal(size=(n, d))


def few_values(rng, n, d):
    return rng.integers(-1, 2, size=(n, d)).astype(float)


def low_rank(rng, n, d):
    return rng.normal(size=(n, 1)) @ rng.normal(size=(1, d))


def one_hot(rng, n, d):
    return np.eye(d)[rng.integers(0, d, n)]


def two_items(rng, n, d):
    return rng.normal(size=(2, d))[np.arange(n) % 2]


def heavy_tails(rng, n, d):
    return rng.standard_cauchy(size=(n, d))


def constant(X, rng, j):
    X[:, j] = rng.choice([0.0, 1.0, -3e5, 0.1])


def nearly_constant(X, rng, j):
    X[:, j] = 1e4 * (1 + 1e-7 * rng.normal(size=len(X)))


def tiny(X, rng, j):
    X[:, j] *= 10.0 ** rng.integers(-45, -5)


def huge(X, rng, j):
    X[:, j] *= 10.0 ** rng.integers(3, 30)


def repeated(X, rng, j):
    X[:, j] = X[:, 0]


def outlier(X, rng, j):
    X[rng.integers(len(X)), j] = 10.0 ** rng.integers(2, 12)


def shifted(X, rng, j):
    X[:, j] += 10.0 ** rng.integers(2, 7)


TABLES = (normal, few_values, low_rank, one_hot, two_items, heavy_tails)
SPOILERS = (constant, nearly_constant, tiny, huge, repeated, outlier, shifted)


def tastes(kind, rng, n_users, n_features):
    """A weight for each user and feature; large ones make choices separable."""
    shared = rng.normal(size=n_features)
    alike = np.tile(shared, (n_users, 1))
    if kind == "opposed":
        return alike * np.where(np.arange(n_users) % 2, 1, -1)[:, None]
    spread = {"alike": 0.0, "differ": 1.0, "separable": 1e6, "random": 0.0}[kind]
    return (0 if kind == "random" else 1) * alike + spread * rng.normal(size=(n_users, n_features))


def said(kind, rng, n, n_levels):
    """What is said beside choices, and of which pairs a response was judged alone: its columns."""
    if kind == "choices":
        return {}
    if kind == "outcomes":
        return {"outcome": rng.integers(0, n_levels, n), "weight": rng.uniform(0.1, 5, n)}
    alone = np.ones(n, bool) if kind == "ratings" else rng.random(n) < 0.5
    rating = np.where(alone, rng.integers(1, n_levels + 1, n), 0)
    if not alone.any():
        return {}
    outcome = {} if kind == "ratings" else {"outcome": np.where(alone, 1, rng.integers(0, n_levels, n))}
    return {"rating": rating, **outcome}


SAYS = ("choices", "choices", "outcomes", "ratings", "both")


@st.composite
def choices(draw, spoilers=SPOILERS, dtypes=(np.float16, np.float32, np.float64), says=SAYS):
    """A whole set of choices."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_users = draw(st.sampled_from([2, 3, 4, 5, 6, 7, 9, 12]))
    n_items, d = draw(st.integers(2, 24)), draw(st.integers(1, 9))
    X = draw(st.sampled_from(TABLES))(rng, n_items, d)
    n_pairs = rng.integers(1, draw(st.sampled_from([2, 5, 9])), size=n_users)
    if draw(st.booleans()):
        n_pairs[0] *= 20
    user = np.repeat(np.arange(n_users), n_pairs)
    first = rng.integers(0, n_items, len(user))
    second = (first + rng.integers(1, n_items, len(user))) % n_items
    weights = tastes(draw(st.sampled_from(["alike", "opposed", "differ", "separable", "random"])), rng, n_users, d)
    standard = (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1)
    margin = ((standard[first] - standard[second]) * weights[user]).sum(1)
    wins = rng.random(len(user)) < 1 / (1 + np.exp(-np.clip(margin, -50, 50)))
    for spoil in draw(st.lists(st.sampled_from(spoilers), max_size=3)):
        spoil(X, rng, rng.integers(d))
    dtype = draw(st.sampled_from(dtypes))
    limit = float(np.finfo(dtype).max) / 16
    X = np.clip(X, -limit, limit).astype(dtype)
    group = draw(st.sampled_from([None, 2, 5]))
    columns = said(draw(st.sampled_from(says)), rng, len(user), draw(st.sampled_from([2, 3, 6])))
    chosen, rejected = np.where(wins, first, second), np.where(wins, second, first)
    if "rating" in columns:
        rejected = np.where(columns["rating"] > 0, chosen, rejected)
    return Drawn(X, chosen, rejected, user, None if group is None else rng.integers(0, group, len(user)), **columns)


MODELS = (
    MetaRewardModel(max_epochs=0, kernel=None, random_state=0, device="cpu"),
    MetaRewardModel(max_epochs=0, kernel="rbf", random_state=0, device="cpu"),
    MetaRewardModel(max_epochs=2, validation_fraction=0.4, random_state=0, device="cpu"),
    MetaRewardModel(n_bases=2, adaptation="gradient", max_epochs=1, random_state=0, device="cpu"),
    MetaRewardModel(n_bases=3, spectral_init=False, max_epochs=1, random_state=0, device="cpu"),
    MetaRewardModel(
        n_bases=2, weight_constraint="simplex", adaptation="gradient", max_epochs=1, random_state=0, device="cpu"
    ),
)
BASELINES = (
    PooledBradleyTerry(random_state=0),
    PerUserBradleyTerry(random_state=0),
    LowRankRewards(max_epochs=2, random_state=0),
)
models = st.sampled_from(MODELS)


def clone(model):
    return type(model)(**model.get_params(deep=False))


def rewards_of(model, drawn):
    """What a fitted model says of all items that are compared: before adaptation, and for each user."""
    users = model.adapt_many(drawn.episodes)
    compared = np.unique([drawn.chosen, drawn.rejected])
    X = drawn.features[compared]
    return np.array([model.predict(X), *(users[name].predict(X) for name in np.unique(drawn.user))])


@of_sets
@given(drawn=choices(), model=st.sampled_from(MODELS + BASELINES))
def test__fit__any_choices__ends_with_finite_rewards(drawn, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fitted = clone(model).fit(drawn.episodes)
        assert np.isfinite(rewards_of(fitted, drawn)).all()
    users = fitted.adapt_many(drawn.episodes)
    assert np.isfinite(users.weights_).all()
    if users.weights_cov_ is not None:
        assert np.isfinite(users.weights_cov_).all()
        spread = np.linalg.eigvalsh(users.weights_cov_.astype(float))
        assert (spread >= -1e-3 * np.maximum(1e-6, spread.max(-1, keepdims=True))).all()


@of_sets
@given(drawn=choices(says=SAYS[:1]))
def test__adapt__own_choices__no_worse_than_before(drawn):
    model = clone(MODELS[0]).fit(drawn.episodes)
    before = model.decision_function(drawn.episodes)
    after = model.adapt_many(drawn.episodes).decision_function(drawn.episodes)

    def losses(margins):
        return np.bincount(drawn.user, np.logaddexp(0, -margins.astype(float)))

    if isinstance(model.adaptation_, MapAdaptation):
        assert (losses(after) <= losses(before) * (1 + 1e-4) + 1e-4).all()
        return
    # The mean over kinds of users is no mode, and a user may lose a little by it; all users together do not. A kind's
    # mode is no worse than its centre, and the mean of modes, as losses are convex, no worse than the worst of them.
    assert losses(after).sum() <= losses(before).sum() * (1 + 1e-4) + 1e-4
    episodes = drawn.episodes
    rewards = model.base_rewards_.of_episodes(episodes)
    gaps = rewards[episodes.chosen] - rewards[episodes.rejected]
    worst = np.max([losses(gaps @ centre) for centre in model.prior_centres_.astype(float)], axis=0)
    assert (losses(after) <= worst * (1 + 1e-4) + 1e-4).all()


@of_sets
@given(drawn=choices(spoilers=(constant, repeated, outlier, shifted), dtypes=(np.float32, np.float64)), model=models)
def test__fit__features_times_a_power_of_two__nothing_changes(drawn, model):
    scaled = replace(drawn, features=drawn.features * drawn.features.dtype.type(2.0**20))
    one, other = (clone(model).fit(given.episodes) for given in (drawn, scaled))
    np.testing.assert_array_equal(rewards_of(one, drawn), rewards_of(other, scaled))


def as_listed(drawn):
    """A list of `Episode`, each with arrays of its own."""
    return [
        Episode(
            user,
            *(drawn.features[rows[drawn.user == user]] for rows in (drawn.chosen, drawn.rejected)),
            groups=None if drawn.group is None else drawn.group[drawn.user == user],
            **{f"{name}s": column[drawn.user == user] for name, column in drawn.said.items()},
        )
        for user in np.unique(drawn.user)
    ]


def as_columns(drawn):
    """A dict of columns with a vector in each cell."""
    if drawn.rating is not None:  # which no column of choices has
        return drawn.episodes
    columns = {"user_id": drawn.user, "chosen": list(drawn.features[drawn.chosen])}
    columns |= {"rejected": list(drawn.features[drawn.rejected])}
    columns |= {} if drawn.group is None else {"topic": drawn.group}
    columns, named = columns | drawn.said, {name: name for name in drawn.said}
    return episodes_from_frame(columns, prompt=None, group=None if drawn.group is None else "topic", **named)


def as_rows(drawn):
    """A list of dicts."""
    if drawn.rating is not None:
        return drawn.episodes
    columns = zip(drawn.user, drawn.chosen, drawn.rejected, strict=True)
    group = range(len(drawn.user)) if drawn.group is None else drawn.group
    rows = [
        {"user_id": int(u), "chosen": drawn.features[c], "rejected": drawn.features[r], "topic": int(g)}
        for (u, c, r), g in zip(columns, group, strict=True)
    ]
    rows = [row | {name: column[place] for name, column in drawn.said.items()} for place, row in enumerate(rows)]
    return episodes_from_frame(rows, prompt=None, group="topic", **{name: name for name in drawn.said})


def with_own_rows(drawn):
    """Indexed features in which each pair has rows of its own, one for each response."""
    n = len(drawn.user)
    stacked = np.concatenate([drawn.features[drawn.chosen], drawn.features[drawn.rejected]])
    alone = np.zeros(n, bool) if drawn.rating is None else drawn.rating > 0
    other = np.where(alone, np.arange(n), n + np.arange(n))
    return episodes_from_arrays(stacked, np.arange(n), other, drawn.user, drawn.group, **drawn.said)


def shuffled(drawn, seed=0):
    """Pairs, and with them users, in another order."""
    order = np.random.default_rng(seed).permutation(len(drawn.user))
    columns = {"chosen": drawn.chosen, "rejected": drawn.rejected, "user": drawn.user, "group": drawn.group}
    moved = {name: None if column is None else column[order] for name, column in (columns | drawn.said).items()}
    return replace(drawn, **moved)


def reordered(drawn, seed=0):
    """Items in other rows."""
    order = np.random.default_rng(seed).permutation(len(drawn.features))
    place = np.argsort(order)
    return replace(drawn, features=drawn.features[order], chosen=place[drawn.chosen], rejected=place[drawn.rejected])


FORMS = {
    "listed": as_listed,
    "columns": as_columns,
    "rows": as_rows,
    "own rows": with_own_rows,
    "shuffled": lambda drawn: shuffled(drawn).episodes,
    "reordered": lambda drawn: reordered(drawn).episodes,
}


def close(found, expected):
    """Equal to rounding: of rewards whose spread over items is of some size."""
    size = max(1e-3, float(np.ptp(expected, axis=-1).max()))
    digits = 1e-3 if expected.dtype == np.float32 else 1e-5
    np.testing.assert_allclose(found, expected, rtol=0, atol=digits * size)


@of_sets
@given(
    drawn=choices(spoilers=(constant, repeated, shifted), dtypes=(np.float32, np.float64)),
    model=models,
    form=st.sampled_from(sorted(FORMS)),
)
def test__fit__the_same_choices_in_another_form__is_the_same_model(drawn, model, form):
    one, other = clone(model).fit(drawn.episodes), clone(model).fit(FORMS[form](drawn))
    close(rewards_of(other, drawn), rewards_of(one, drawn))


# Columns that nothing but their place tells apart, as of one-hot features, have another part each of a random start.
@of_sets
@given(
    drawn=choices(spoilers=(constant, repeated, shifted), dtypes=(np.float64,)),
    model=models.filter(lambda model: model.spectral_init == "auto" and model.weight_constraint is None),
)
def test__fit__columns_in_another_order__is_the_same_model(drawn, model):
    order = np.random.default_rng(0).permutation(drawn.features.shape[1])
    turned = replace(drawn, features=np.ascontiguousarray(drawn.features[:, order]))
    one, other = (clone(model).fit(given.episodes) for given in (drawn, turned))
    close(rewards_of(other, turned), rewards_of(one, drawn))


@of_sets
@given(drawn=choices(dtypes=(np.float32, np.float64)), model=models)
def test__save_load_export_serve__any_fit__agree(drawn, model):
    fitted = clone(model).fit(drawn.episodes)
    expected = rewards_of(fitted, drawn)
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(f"{folder}/model")
        np.testing.assert_array_equal(rewards_of(MetaRewardModel.load(f"{folder}/model"), drawn), expected)
        fitted.export_onnx(f"{folder}/bundle")
        scorer = OnnxScorer(f"{folder}/bundle")
        X = drawn.features[np.unique([drawn.chosen, drawn.rejected])]
        close(scorer.predict(X), expected[0])
        for row, user in enumerate(np.unique(drawn.user)):
            own = drawn.user == user
            ends = (drawn.features[rows[own]] for rows in (drawn.chosen, drawn.rejected))
            pairs = Episode(user, *ends, **{f"{name}s": column[own] for name, column in drawn.said.items()})
            close(scorer.predict(X, weights=scorer.adapt(pairs)), expected[1 + row])
