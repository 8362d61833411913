"""Features in whatever container they come: the same numbers, names kept and held against fit's, or what to do."""

import copy
import datetime as dt
import pickle
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression

from skmrm import Episode, EpisodeSet, MetaRewardModel, UserRewardModel, episodes_from_arrays
from skmrm.baselines import PooledBradleyTerry
from skmrm.encoders import TextEncoder
from skmrm.episodes import as_episode_set
from skmrm.episodes.features import feature_array, feature_names
from skmrm.exceptions import EpisodeError
from skmrm.model_selection import adaptation_curve
from skmrm.plotting import BaseRewardDisplay

NAMES = list("abcd")


def objects(table):
    return np.array([[Decimal(repr(float(value))) for value in row] for row in table], object)


def masked(table):
    """What is masked lies beside the numbers, and nothing of it is left."""
    return np.ma.masked_array(table, np.zeros(table.shape, bool))


def frame(table):
    return pd.DataFrame(table, columns=NAMES[: table.shape[1]])


CONTAINERS = {
    "lists": lambda table: table.tolist(),
    "objects": lambda table: table.astype(object),
    "decimals": objects,
    "matrix": lambda table: table.view(np.matrix),
    "big-endian": lambda table: table.astype(">f8"),
    "longdouble": lambda table: table.astype(np.longdouble),
    "columns first": np.asfortranarray,
    "reversed": lambda table: table[::-1].copy()[::-1],
    "read-only": lambda table: np.frombuffer(table.tobytes()).reshape(table.shape),
    "nothing masked": masked,
    "tensor": lambda table: torch.tensor(table, requires_grad=True),
    "pandas": frame,
    "pandas, numbered": lambda table: pd.DataFrame(table),
    "pandas, one name twice": lambda table: pd.DataFrame(table, columns=["a"] * table.shape[1]),
    "pandas, levels": lambda table: pd.DataFrame(
        table, columns=pd.MultiIndex.from_product([["x"], range(table.shape[1])])
    ),
    "pandas, nullable": lambda table: frame(table).astype("Float64"),
    "pandas, Arrow": lambda table: frame(table).astype("double[pyarrow]"),
    "pandas, objects": lambda table: frame(table).astype(object),
    "pandas, sparse": lambda table: frame(table).astype(pd.SparseDtype("float64", 0.0)),
    "polars": lambda table: pl.DataFrame(frame(table)),
    "pyarrow": lambda table: pa.table(dict(zip(NAMES, table.T, strict=False))),
}
each_container = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
tables = arrays(np.float64, st.tuples(st.integers(3, 5), st.integers(1, 4)), elements=st.floats(-1e6, 1e6))


@each_container
@given(table=tables)
def test__feature_array__any_container__the_same_numbers(container, table):
    found = feature_array(container(table))
    assert isinstance(found, np.ndarray)
    assert type(found) is np.ndarray
    assert found.dtype.type == np.float64
    assert_array_equal(found, table)


@each_container
@given(table=tables)
def test__episodes__any_container__are_those_of_the_array(container, table):
    made = container(table)
    rows = {"chosen": [0, 1], "rejected": [1, 2], "users": ["ann", "bo"]}
    plain = episodes_from_arrays(table, **rows)
    assert episodes_from_arrays(made, **rows) == plain
    columns = {"users": ["ann", "bo"], "user": [0, 1], "chosen": [0, 1], "rejected": [1, 2], "group": [0, 1]}
    assert EpisodeSet(features=made, **columns) == EpisodeSet(features=table, **columns)
    assert_array_equal(as_episode_set([Episode("ann", made, made)])[0].chosen, table)


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda table: table.astype(np.float32), np.float32),
        (lambda table: table.astype(np.float16), np.float16),
        (lambda table: frame(table).astype("float32"), np.float32),
        (lambda table: frame(table).astype("Float32"), np.float32),
        (lambda table: frame(table).astype({"a": "float32"}), np.float64),
        (lambda table: pl.DataFrame(frame(table)).cast(pl.Float32), np.float32),
        (lambda table: torch.tensor(table).half(), np.float16),
        (lambda table: table > 0, np.float64),
        (lambda table: torch.tensor(table > 0), np.float64),
        (lambda table: frame(table > 0), np.float64),
        (lambda table: frame(table > 0).astype("boolean").assign(a=1), np.float64),
        (lambda table: pl.DataFrame(frame(table > 0)).with_columns(b=1), np.float64),
        (lambda table: (10 * table).astype(np.uint8), np.float64),
        (lambda table: frame((10 * table).astype(int)).astype("Int64"), np.float64),
        (lambda table: np.ma.masked_array((10 * table).astype(int), mask=False), np.float64),
    ],
)
def test__feature_array__dtypes__floats_stay_and_all_else_becomes_float64(make, dtype):
    table = np.random.default_rng(0).random((4, 3))
    made = make(table)
    found = feature_array(made)
    assert found.dtype == dtype
    assert_array_equal(found, np.array(np.asarray(made).tolist(), float))


def test__feature_array__floats__are_not_copied():
    table = np.ones((3, 2))
    assert feature_array(table) is table
    assert np.shares_memory(feature_array(torch.from_numpy(table)), table)
    assert np.shares_memory(feature_array(masked(table)), table)
    assert np.shares_memory(feature_array(table.view(np.matrix)), table)


SPARSE = [sp.csr_matrix, sp.csc_array, sp.coo_array, sp.bsr_array, sp.dia_array, sp.dok_array, sp.lil_matrix]


def refused():
    """Containers of what is no table of real numbers, and what is said of each."""
    numbers = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    yield from ((kind(np.eye(4)), r"a sparse matrix: pass its \.toarray\(\)") for kind in SPARSE)
    yield torch.eye(4).to_sparse(), r"a sparse tensor: pass its \.to_dense\(\)|sparse|Sparse"
    yield np.eye(4) + 1j, "complex128: convert it to floats, real and imaginary"
    yield np.zeros((4, 4), "M8[D]"), r"datetime64\[D\]: convert it to floats, such as days"
    yield np.zeros((4, 4), "m8[s]"), r"timedelta64\[s\]: convert it to floats, such as seconds"
    for column in (["x"] * 4, pd.Categorical(["x", "y"] * 2), pd.Timestamp("2020-01-01"), [1, "x", 2, 3], [[1.0]] * 4):
        yield numbers.assign(odd=column), r"columns that are no numbers: 'odd' \("
    yield pl.DataFrame(numbers).with_columns(odd=pl.lit("x")), r"columns that are no numbers: 'odd' \(String\)"
    yield pa.table({"a": [1.0] * 4, "odd": [dt.date(2020, 1, 1)] * 4}), r"no numbers: 'odd' \(Date\)"
    yield (
        numbers.set_axis([0], axis=1).assign(b=1, c=1, d=1),
        "names of columns must be all texts or none, got 'b' and 0",
    )


@pytest.mark.parametrize(("made", "message"), list(refused()))
def test__features__no_table_of_real_numbers__are_refused_wherever_they_come_in(made, message, model):
    rows = {"chosen": [0, 1], "rejected": [1, 2]}
    columns = {"users": ["ann"], "user": [0, 0], "group": [0, 1]}
    for call in (
        lambda: episodes_from_arrays(made, **rows, users=["ann", "bo"]),
        lambda: EpisodeSet(**columns, **rows, features=made),
        lambda: as_episode_set([Episode("ann", made, made)]),
        lambda: model.adapt(Episode("ann", made, made)),
        lambda: model.predict(made),
        lambda: model.transform(made),
        lambda: model.rank(None, made),
    ):
        with pytest.raises((EpisodeError, TypeError, ValueError), match=message):
            call()


class Unreadable:
    """What NumPy asks for an array, and gets an error."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("not now")


class OnAGpu:
    """What says of itself that it lies on a GPU."""

    __cuda_array_interface__ = {"shape": (4, 4)}  # noqa: RUF012


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (Unreadable(), r"an Unreadable that NumPy cannot read \(not now\)"),
        (OnAGpu(), "an OnAGpu on a GPU: pass it as a NumPy array"),
        (pl.LazyFrame({"a": [1.0]}), r"a LazyFrame, which is lazy: pass its \.collect\(\)"),
        (torch.zeros(4, 4, dtype=torch.float8_e4m3fn), r"NumPy cannot read .*pass its \.float\(\)"),
        (np.zeros(4, [("a", float)]), "convert it to a float32 or float64 NumPy array"),
        ([[10**400, 1]], "numbers beyond float64"),
    ],
    ids=lambda made: type(made).__name__,
)
def test__feature_array__what_cannot_be_read__says_what_to_pass(made, message):
    with pytest.raises(ValueError, match=message):
        feature_array(made)


def test__fit__features_spoilt_after_they_were_checked__names_users_and_rows():
    features = np.random.default_rng(0).normal(size=(6, 2))
    episodes = episodes_from_arrays(features, [0, 1, 2, 3], [1, 2, 3, 4], ["ann", "ann", "bo", "bo"])
    features[3, 1] = np.nan
    with pytest.raises(EpisodeError, match=r"features must be finite; not so for .*bo.*row 3 of the features"):
        MetaRewardModel(max_epochs=0).fit(episodes)


def test__adapt__features_far_from_those_of_fit__are_refused_with_their_pairs(model):
    rows = np.full((2, model.n_features_in_), 1e12) * np.array([[1.0], [-1.0]])
    with pytest.raises(EpisodeError, match=r"adapt needs features of the size .* a million logits.*as pair 0.*scale"):
        model.adapt(Episode("ann", rows[:1], rows[1:]))


MISSING = {
    "masked": lambda table, gap: np.ma.masked_array(table, gap),
    "masked integers": lambda table, gap: np.ma.masked_array((10 * table).astype(int), gap),
    "None": lambda table, gap: np.where(gap, None, table).tolist(),
    "NaN": lambda table, gap: np.where(gap, np.nan, table),
    "pandas.NA": lambda table, gap: frame(table).astype("Float64").mask(gap),
    "pandas, Arrow": lambda table, gap: frame(table).astype("double[pyarrow]").mask(gap),
    "polars": lambda table, gap: pl.DataFrame(
        {n: pl.Series(list(c)) for n, c in zip("abcd", np.where(gap, None, table).T, strict=True)}
    ),
    "pyarrow": lambda table, gap: pa.table(
        {n: list(c) for n, c in zip("abcd", np.where(gap, None, table).T, strict=True)}
    ),
}


@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
def test__features__missing_or_masked__are_refused_as_nan_is_and_their_places_named(missing, model):
    table = np.random.default_rng(0).random((5, 4))
    gap = np.zeros(table.shape, bool)
    gap[3, 1] = True
    made = missing(table, gap)
    with pytest.raises(
        EpisodeError, match=r"must be finite; not so for 'bo' \(1 pair, the first with row 3 .*masked values"
    ):
        episodes_from_arrays(made, [0, 3], [1, 2], ["ann", "bo"])
    unused = episodes_from_arrays(made, [0, 1], [1, 2], ["ann", "bo"])  # rows that no pair refers to may hold anything
    assert np.isnan(unused.features[3, 1])
    assert np.isnan(unused.features).sum() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names, which the model knows none of
        with pytest.raises(ValueError, match="1 rows are not, the first is row 3"):
            model.predict(made)
        with pytest.raises(EpisodeError, match="must be finite"):
            model.adapt(Episode("ann", made, made))


def test__masked_array__fill_value__is_no_number():
    values = np.ma.masked_values([[1.0, 2.0], [-999.0, 4.0], [5.0, 6.0]], -999.0)
    with pytest.raises(EpisodeError, match="must be finite"):
        episodes_from_arrays(values, [0, 2], [1, 0], ["a", "b"])


@pytest.mark.parametrize(
    "convert",
    [
        sp.csr_matrix,
        masked,
        frame,
        lambda t: frame(t).astype("Float64"),
        lambda t: pl.DataFrame(frame(t)),
        torch.tensor,
    ],
)
def test__encoder__output_in_any_container__is_that_of_an_array(convert):
    items = [("Tea?", "Yes, please."), ("Tea?", "No."), ("", "Perhaps later, thank you.")]

    class Lengths:
        def __init__(self, convert):
            self.convert = convert

        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return self.convert(np.array([[len(text), text.count(" ")] for _, text in X], float))

    found, expected = (
        TextEncoder(Lengths(c), text_statistics=False).fit_transform(items) for c in (convert, np.asarray)
    )
    assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"real numbers are needed, got a DataFrame .*'a' \(String\)"):
        TextEncoder(Lengths(lambda t: frame(t).astype({"a": str})), text_statistics=False).fit(items)


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named_features(episodes):
    return frame(np.asarray(episodes.features))


@pytest.fixture(scope="module")
def named_episodes(episodes, named_features):
    return episodes_from_arrays(
        named_features, episodes.chosen, episodes.rejected, episodes.users[episodes.user], episodes.group
    )


@pytest.fixture(scope="module")
def named_model(named_episodes):
    return MetaRewardModel(n_bases=3, max_epochs=1, random_state=0).fit(named_episodes)


def test__names__of_a_data_frame__are_kept_and_change_no_number(named_model, named_episodes, named_features, episodes):
    assert named_model.feature_names_in_.tolist() == NAMES
    plain = MetaRewardModel(n_bases=3, max_epochs=1, random_state=0).fit(episodes)
    assert not hasattr(plain, "feature_names_in_")
    X = np.asarray(named_features)[:6]
    assert_array_equal(named_model.predict(named_features[:6]), plain.predict(X))
    assert named_model.score(named_episodes) == plain.score(episodes)
    assert named_model.pooled_model_.feature_names_in_.tolist() == NAMES
    assert named_model.adapt(named_episodes[0]).weights_.tolist() == plain.adapt(episodes[0]).weights_.tolist()
    adaptation_curve(named_model, named_episodes, n_splits=1)
    users = named_model.adapt_many(named_episodes)
    assert_array_equal(
        users.decision_function(named_episodes[3:9]), plain.adapt_many(episodes).decision_function(episodes[3:9])
    )
    for kept in (
        named_episodes[2:5],
        named_episodes.take_pairs([0, 3]),
        named_episodes[:4].compact(),
        copy.deepcopy(named_episodes),
    ):
        assert kept.feature_names == tuple(NAMES)
    assert BaseRewardDisplay.from_estimator(named_model, named_episodes).statistics == NAMES


@pytest.mark.parametrize("order", ["dcba", "abce", "abc", "abcde"])
@pytest.mark.parametrize("library", [lambda X: X, pl.DataFrame, pa.Table.from_pandas])
def test__names__others_or_in_another_order__are_refused_everywhere(
    named_model, named_episodes, named_features, order, library
):
    wide = named_features.assign(e=1.0)[list(order)][:8]
    X = library(wide)
    rows = {"chosen": [0, 1, 2], "rejected": [3, 4, 5], "users": ["u", "u", "u"], "groups": [0, 1, 2]}
    other = episodes_from_arrays(X, **rows)
    user = named_model.adapt(named_episodes[0])
    users = named_model.adapt_many(named_episodes[:3])
    for call in (
        lambda: named_model.predict(X),
        lambda: named_model.transform(X),
        lambda: named_model.rank(None, X),
        lambda: named_model.adapt(other),
        lambda: named_model.adapt(Episode("u", X, X)),
        lambda: named_model.adapt_many(other),
        lambda: named_model.score(other),
        lambda: named_model.predict_proba(other),
        lambda: user.predict(X),
        lambda: user.predict_std(X),
        lambda: user.decision_function(Episode("u", X, X)),
        lambda: users.decision_function(other),
    ):
        with pytest.raises(
            ValueError, match=r"feature names should match those that were passed during fit|features as in fit"
        ):
            call()
    if len(order) == 4:
        with pytest.raises(
            ValueError, match=r"another order" if order == "dcba" else r"'e' were not there in fit and no 'd'"
        ):
            named_model.predict(X)


def test__names__on_one_side_alone__are_warned_of_as_scikit_learn_does(named_model, model, named_features):
    X = np.asarray(named_features)[:4]
    referee = LogisticRegression().fit(named_features, np.arange(len(named_features)) % 2)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but LogisticRegression was fitted with"):
        referee.predict(X)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MetaRewardModel was fitted with"):
        found = named_model.predict(X)
    assert_array_equal(found, named_model.predict(named_features[:4]))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but the model was fitted with"):
        named_model.adapt(Episode("u", X, X[::-1]))
    with pytest.warns(UserWarning, match="X has feature names, but MetaRewardModel was fitted without feature names"):
        model.predict(named_features[:4])


def test__names__saved_and_loaded__are_still_asked_for(named_model, named_episodes, named_features, tmp_path):
    named_model.save(tmp_path / "model")
    named_model.adapt(named_episodes[0]).save(tmp_path / "user")
    mixed = named_features[list("badc")][:3]
    for loaded in (
        MetaRewardModel.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(named_model)),
        UserRewardModel.load(tmp_path / "user"),
    ):
        with pytest.raises(ValueError, match="the same names in another order"):
            loaded.predict(mixed)
        assert len(loaded.predict(mixed[NAMES])) == 3


def test__names__exported__are_asked_for_and_arrays_go_without(named_model, named_episodes, named_features, tmp_path):
    pytest.importorskip("onnxruntime")
    from skmrm.serving import OnnxScorer

    named_model.export_onnx(tmp_path)
    scorer = OnnxScorer(tmp_path)
    expected = named_model.predict(named_features[:3])
    for X in (named_features[:3], np.asarray(named_features)[:3]):
        np.testing.assert_allclose(scorer.predict(X), expected, atol=1e-5)
    mixed = named_features[list("badc")][:3]
    for call in (lambda: scorer.predict(mixed), lambda: scorer.adapt(Episode("u", mixed, mixed))):
        with pytest.raises(ValueError, match="the same names in another order"):
            call()
    np.testing.assert_allclose(
        scorer.adapt(named_episodes[1]), named_model.adapt(named_episodes[1]).weights_, atol=1e-4
    )


def test__names__of_episodes__are_those_of_their_frames_and_must_agree(named_features):
    one, two, swapped = named_features[:2], named_features[2:4], named_features[list("badc")][:2]
    assert as_episode_set([Episode("a", one, two), Episode("b", two, one)]).feature_names == tuple(NAMES)
    assert as_episode_set([Episode("a", one.to_numpy(), two.to_numpy())]).feature_names is None
    rule = "all feature vectors must have the same columns in the same order"
    with pytest.raises(EpisodeError, match=f"{rule}; not so for 'a'"):
        as_episode_set([Episode("a", one, swapped)])
    with pytest.raises(EpisodeError, match=f"{rule}, and most have 'a', 'b', 'c' and 1 more; not so for 'c'"):
        as_episode_set([Episode("a", one, two), Episode("b", two, one), Episode("c", swapped, swapped)])
    views = [episodes_from_arrays(named_features, [0], [1], [name])[0] for name in "ab"]
    assert as_episode_set(views).feature_names == tuple(NAMES)


def test__feature_names__as_scikit_learn_has_them():
    assert feature_names(np.eye(2)) is None
    assert feature_names(pd.DataFrame(np.eye(2))) is None
    assert feature_names(pa.table({"a": [1.0]})) == ("a",)
    episodes = episodes_from_arrays(np.eye(3), [0], [1], ["a"])
    assert episodes.named(["x", "y", "z"]).feature_names == ("x", "y", "z")
    with pytest.raises(EpisodeError, match="each of 3 features needs a name, got 2"):
        episodes.named(["x", "y"])


def test__names__baselines__keep_them(named_episodes, named_features):
    fitted = PooledBradleyTerry(ridge=0.1, random_state=0).fit(named_episodes)
    assert fitted.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="the same names in another order"):
        fitted.predict(named_features[list("dcba")])
