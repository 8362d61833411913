"""Features in half precision: stored once as they are, computed with in single, and learnt from as well as others."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skmrm import Episode, MetaRewardModel, episodes_from_arrays
from skmrm._support.tensors import as_tensor
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import make_user_preferences
from skmrm.episodes import as_episode_set
from skmrm.exceptions import EpisodeError
from skmrm.meta.basis import init_standardisation, standardise, standardised_table
from skmrm.meta.pooled.features import PooledFeatures
from skmrm.meta.pooled.nystroem import spread_landmarks
from skmrm.meta.tensors import tables

HALVES = [torch.float16, torch.bfloat16]
NAMES = ["float16", "bfloat16"]


def as_half(features, name):
    """An array in half precision; the test is skipped where NumPy has no such dtype."""
    dtype = (
        pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install 'skmrm[onnx]'").bfloat16
        if name == "bfloat16"
        else np.float16
    )
    return np.asarray(features).astype(dtype)


def over(episodes, features):
    return episodes_from_arrays(
        features, episodes.chosen, episodes.rejected, episodes.users[episodes.user], episodes.group
    )


# -- products --------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = st.integers(0, 40), st.integers(1, 7)


def laplacian_like(n_rows, n_items, seed):
    """A coalesced sparse matrix, some of whose rows are empty and some full."""
    rng = np.random.default_rng(seed)
    dense = torch.tensor(rng.normal(size=(n_rows, n_items)) * (rng.random((n_rows, n_items)) < rng.random((n_rows, 1))))
    return dense.float().to_sparse().coalesce()


@given(n_items=ROWS, d=COLUMNS, k=st.integers(0, 3), dtype=st.sampled_from(HALVES), cells=st.integers(1, 64))
@settings(max_examples=80)
def test__products__half_table_in_chunks__are_those_of_its_copy_in_single(n_items, d, k, dtype, cells):
    table = torch.randn(n_items, d, generator=torch.Generator().manual_seed(n_items)).to(dtype)
    single, shape = table.float(), (k,) if k else ()
    matrix, values = torch.randn(d, *shape), torch.randn(n_items, *shape)
    sparse = laplacian_like(5, n_items, seed=d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK_CELLS", cells)
        found = {
            "rows": tables.rows_times(table, matrix),
            "transposed": tables.transposed_times(table, values),
            "sparse": tables.sparse_times(sparse, table),
            "squares": tables.map_rows(table, lambda rows: (rows**2).sum(1)),
            "as it is": tables.map_rows(table, lambda rows: rows),
        }
        rounded = tables.map_rows(table, lambda rows: 2 * rows, dtype)
    expected = {
        "rows": single @ matrix,
        "transposed": single.T @ values,
        "sparse": sparse.to_dense() @ single,
        "squares": (single**2).sum(1),
        "as it is": single,
    }
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert rounded.dtype == dtype
    assert torch.equal(rounded, 2 * table)


@given(n_items=ROWS, d=COLUMNS, dtype=st.sampled_from(HALVES), cells=st.integers(1, 64))
@settings(max_examples=50)
def test__quadratic_form__half_table_in_chunks__is_that_of_its_copy_in_single(n_items, d, dtype, cells):
    table = torch.randn(n_items, d, generator=torch.Generator().manual_seed(n_items)).to(dtype)
    sparse = laplacian_like(n_items, n_items, seed=d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK_CELLS", cells)
        found = tables.quadratic_form(sparse, table)
    torch.testing.assert_close(found, table.float().T @ sparse.to_dense() @ table.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test__products__other_tables__are_the_plain_products_to_the_bit(dtype):
    table, matrix, values = torch.randn(50, 7).to(dtype), torch.randn(7, 3).to(dtype), torch.randn(50).to(dtype)
    sparse = laplacian_like(50, 50, seed=0).to(dtype).coalesce()
    assert torch.equal(tables.rows_times(table, matrix), table @ matrix)
    assert torch.equal(tables.transposed_times(table, values), table.T @ values)
    assert torch.equal(tables.sparse_times(sparse, table), torch.sparse.mm(sparse, table))
    assert torch.equal(tables.quadratic_form(sparse, table), table.T @ torch.sparse.mm(sparse, table))
    assert tables.in_single(table) is table
    assert tables.empty_like(table).dtype == dtype


# -- standardisation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES)
def test__standardised_table__half_features__have_the_rounding_of_half_and_no_more(dtype):
    features = (3 * torch.randn(500, 6) + torch.tensor([0, 0.1, 1, 3, -3, 0])).to(dtype)
    features[:, 5] = 2.0
    found = init_standardisation(features)
    expected = init_standardisation(features.double())
    assert {value.dtype for value in found.values()} == {torch.float32}
    torch.testing.assert_close(found, expected, check_dtype=False)
    table = standardised_table(found, features)
    assert table.dtype == dtype
    exact = standardise(expected, features)
    assert ((table - exact).abs() <= torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6).all()


def test__standardised_table__values_that_half_cannot_hold__are_its_largest():
    params = {"mean": torch.tensor([-6e4, 0.0]), "scale": torch.tensor([1.0, 1e-3])}
    table = standardised_table(params, torch.tensor([[6e4, -6e4]]).half())
    assert_array_equal(table.numpy(), [[65504, -65504]])


def test__standardised_table__of_other_parameters_or_features__is_as_precise_as_the_parameters():
    single = init_standardisation(torch.randn(9, 2))
    double = {name: value.double() for name, value in single.items()}
    for params, features in ((double, torch.randn(9, 2).half()), (single, torch.randn(9, 2).double())):
        assert torch.equal(standardised_table(params, features), standardise(params, features))


@pytest.mark.parametrize("dtype", HALVES)
def test__kernel_features__half_table__are_half_where_they_are_large_and_those_of_single(dtype):
    table = torch.randn(700, 5).to(dtype)
    landmarks = spread_landmarks(table)
    assert landmarks.points.dtype == landmarks.root.dtype == torch.float32
    found, expected = PooledFeatures(table, landmarks), PooledFeatures(table.float(), landmarks)
    assert found.table.dtype == dtype
    torch.testing.assert_close(found.table.float(), expected.table, rtol=0, atol=2 * torch.finfo(dtype).eps)
    solution = torch.randn(found.table.shape[1])
    bent = found.reward(solution)
    assert bent.columns(table).dtype == dtype
    assert bent.parameters(torch.randn(2, 6))["kernel.out"].shape == (2, len(landmarks.points))
    assert PooledFeatures(table[:4]).table.dtype == torch.float32  # coordinates of few items


# -- arrays and tensors at the boundary ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test__episodes_from_arrays__a_tensor__shares_its_memory(dtype):
    if dtype == torch.bfloat16:
        pytest.importorskip("ml_dtypes", reason="needs ml_dtypes: pip install 'skmrm[onnx]'")
    tensor = torch.eye(3, dtype=dtype, requires_grad=True)
    episodes = episodes_from_arrays(tensor, [0, 1], [1, 2], ["a", "b"])
    assert episodes.features.dtype.name == str(dtype).removeprefix("torch.")
    with torch.no_grad():
        tensor[0, 1] = 7
    assert float(episodes.features[0, 1]) == 7
    back = as_tensor(episodes.features, torch.device("cpu"))
    assert back.dtype == dtype
    assert back.data_ptr() == tensor.data_ptr()


def test__episodes_from_arrays__a_tensor_of_integers__becomes_double():
    assert episodes_from_arrays(torch.eye(3).int(), [0, 1], [1, 2], ["a", "b"]).features.dtype == np.float64


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.empty(3, 2, device="meta"), r"must be on the CPU, got one on meta: pass its \.cpu\(\)"),
        (torch.eye(3).to_sparse(), r"got a sparse tensor: pass its \.to_dense\(\)"),
        (torch.eye(3).to(torch.complex64), "got ndarray of dtype complex64: convert it to floats"),
    ],
)
def test__episodes_from_arrays__a_tensor_that_numpy_cannot_have__is_a_problem(tensor, problem):
    with pytest.raises(EpisodeError, match=problem):
        episodes_from_arrays(tensor, [0, 1], [1, 2], ["a", "b"])


def test__episodes_from_arrays__bfloat16_without_ml_dtypes__says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(EpisodeError, match=r"pip install ml_dtypes, or pass its \.half\(\) or \.float\(\)"):
        episodes_from_arrays(torch.eye(3).bfloat16(), [0, 1], [1, 2], ["a", "b"])


def test__episodes__of_bfloat16__are_compared_sliced_and_kept_like_others(tmp_path):
    episodes = make_user_preferences(n_users=6, n_pairs=3, n_features=4, random_state=0).episodes
    half = over(episodes, as_half(episodes.features, "bfloat16"))
    assert pickle.loads(pickle.dumps(half)) == half
    assert half != episodes
    some = half[[1, 4]].compact()
    assert some.features.dtype == half.features.dtype
    assert_array_equal(some.features[some.chosen], half.features[half[[1, 4]].chosen])
    listed = [Episode(one.user, one.chosen, one.rejected) for one in half]
    assert as_episode_set(listed).features.dtype == half.features.dtype
    tensors = [Episode("a", torch.eye(2).bfloat16(), list(torch.ones(2, 2).bfloat16()))]
    assert_array_equal(as_episode_set(tensors)[0].chosen, np.eye(2))
    wrong = half.features.copy()
    wrong[half.chosen[0], 1] = np.nan
    with pytest.raises(EpisodeError, match="features must be finite"):
        over(episodes, wrong)


# -- fits ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    """Planted users; the last quarter are left out of fits."""
    return make_user_preferences(n_users=160, n_pairs=16, n_features=24, n_bases=3, random_state=0).episodes


ESTIMATORS = {
    "map": MetaRewardModel(random_state=0, max_epochs=2, kernel=None),
    "bent": MetaRewardModel(random_state=0, max_epochs=1, kernel="rbf", n_bases=3),
    "random": MetaRewardModel(random_state=0, max_epochs=4, spectral_init=False, learning_rate=0.03),
    "pooled": PooledBradleyTerry(random_state=0),
    "lore": LowRankRewards(random_state=0, n_bases=4, ridge=0.03, max_epochs=20),
    "each": PerUserBradleyTerry(random_state=0),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test__fit__half_features__users_left_out_are_known_as_well(crowd, name):
    features = np.asarray(crowd.features, np.float32)
    expected = clone(ESTIMATORS[name]).fit(over(crowd, features)[:120]).score(crowd[120:])
    # where a start is drawn, columns take their part of it by what they hold, and bfloat16 may change a few
    for half, tolerance in zip(NAMES, (0.005, 0.03 if name in ("random", "lore") else 0.015), strict=True):
        episodes = over(crowd, as_half(features, half))
        model = clone(ESTIMATORS[name]).fit(episodes[:120])
        assert model.score(episodes[120:]) == pytest.approx(expected, abs=tolerance)
        assert model.base_rewards_.params["mean"].dtype == np.float32


@pytest.mark.parametrize("half", NAMES)
def test__fitted_on_half_features__every_method__gives_single_precision(crowd, half, tmp_path):
    features = as_half(crowd.features, half)
    episodes = over(crowd, features)[:40]
    model = MetaRewardModel(n_bases=3, max_epochs=1, random_state=0).fit(episodes)
    user, many = model.adapt(episodes[0]), model.adapt_many(episodes)
    found = {
        "predict": model.predict(features[:7]),
        "user": user.predict(features[:7]),
        "transform": model.transform(features[:7]),
        "weights": many.weights_,
        "probability": user.predict_proba(episodes[0]),
    }
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    assert_array_equal(found["predict"], model.predict(features[:7].astype(np.float32)))
    if half == "bfloat16":
        tensor = torch.from_numpy(features[:7].astype(np.float32)).bfloat16()
        assert_array_equal(found["predict"], model.predict(tensor))
    model.save(tmp_path / "model")
    assert_array_equal(MetaRewardModel.load(tmp_path / "model").predict(features[:7]), found["predict"])


@pytest.mark.parametrize("half", NAMES)
def test__fit__half_features_in_a_memory_map__streams_them(crowd, half, tmp_path):
    features = as_half(crowd.features, half)
    features.tofile(tmp_path / "features")
    mapped = np.memmap(tmp_path / "features", features.dtype, "r", shape=features.shape)
    params = {"max_epochs": 2, "random_state": 4, "kernel": None}
    gibibytes = features.nbytes * 4.5 / 2**30  # three quarters of what holding all takes
    model = MetaRewardModel(max_memory=gibibytes, **params).fit(over(crowd, mapped)[:120])
    whole = MetaRewardModel(max_memory=1.0, **params).fit(over(crowd, mapped)[:120])
    inside = MetaRewardModel(**params).fit(over(crowd, features)[:120])
    assert_array_equal(whole.base_rewards_.params["bases"], inside.base_rewards_.params["bases"])
    assert not np.array_equal(model.base_rewards_.params["bases"], inside.base_rewards_.params["bases"])
    # priors are learnt from the part of the users that fits
    assert model.score(over(crowd, mapped)[120:]) == pytest.approx(inside.score(over(crowd, features)[120:]), abs=0.06)


def test__checkpoints__bfloat16_features__are_told_from_others(crowd, tmp_path):
    features = as_half(crowd.features, "bfloat16")
    model = MetaRewardModel(n_bases=2, max_epochs=1, spectral_init=False, random_state=0)
    found = clone(model).fit(over(crowd, features)[:30], checkpoint_dir=tmp_path)
    again = clone(model).fit(over(crowd, features)[:30], checkpoint_dir=tmp_path)
    assert again.history_ == found.history_
    other = features.copy()
    other[crowd.chosen[0]] += 1
    with pytest.raises(ValueError, match="a checkpoint of other data"):
        clone(model).fit(over(crowd, other)[:30], checkpoint_dir=tmp_path)


@pytest.mark.parametrize("text_statistics", [True, False])
def test__fit__from_a_store_in_half_precision__learns_from_half_and_scores_in_single(
    tmp_path, monkeypatch, text_statistics
):
    from skmrm.embeddings import EmbeddingStore
    from skmrm.encoders import HashedTextEncoder
    from skmrm.estimators import fitter

    words = ["milk", "sugar", "lemon", "honey", "ginger", "mint"]
    texts = [f"{a} {b} tea, please." for a in words for b in words]
    rng = np.random.default_rng(0)
    listed = []
    for user in range(10):
        ends = rng.permutation(len(texts))[:20].reshape(2, 10)
        listed.append(Episode(user, [texts[row] for row in ends.max(0)], [texts[row] for row in ends.min(0)]))
    encoder = HashedTextEncoder(n_components=5).fit([("", text) for text in texts])
    seen, rewards = [], []
    plain = fitter.core_data
    monkeypatch.setattr(
        fitter,
        "core_data",
        lambda episodes, features, *rest: (seen.append(features.dtype), plain(episodes, features, *rest))[1],
    )
    for dtype in ("float32", "float16"):
        store = EmbeddingStore(tmp_path / dtype, encoder, dtype=dtype)
        model = MetaRewardModel(
            memory=store, text_statistics=text_statistics, n_bases=2, max_epochs=1, random_state=0, kernel=None
        ).fit(listed)
        rewards.append(model.predict([("", text) for text in texts]))
    assert seen == [np.float32, np.float16]
    assert rewards[1].dtype == np.float32
    assert_allclose(rewards[1], rewards[0], atol=0.05 * np.abs(rewards[0]).max())


MEMORY = """
import sys
import numpy as np
from skmrm import MetaRewardModel, episodes_from_arrays

def fit(n_users, dtype):
    n_items = 40 * n_users
    rng = np.random.default_rng(0)
    features = np.resize(rng.normal(size=(997, 256)).astype(dtype), (n_items, 256))
    features[:, :4] = rng.normal(size=(n_items, 4))  # equal rows would be one item
    ends = np.arange(n_items).reshape(-1, 2)
    better = features[ends[:, 0], 0] + rng.normal(size=len(ends)) > features[ends[:, 1], 0]
    ends[~better] = ends[~better, ::-1]
    model = MetaRewardModel(n_bases=2, max_epochs=0, validation_fraction=0, kernel=None, random_state=0, device="cpu")
    episodes = episodes_from_arrays(features, *ends.T, np.repeat(np.arange(n_users), 20))
    before = peak()
    model.fit(episodes)
    return (peak() - before) / features.size

def peak():  # of this process alone; getrusage counts what its parent had, too
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

fit(20, sys.argv[1])
print(fit(3125, sys.argv[1]))
"""


@pytest.mark.full
def test__fit__half_features__takes_half_tables_and_no_copy_in_single():
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to measure memory")

    def grown(dtype):
        """Bytes a number of the features by which a fit raises the peak of memory."""
        run = subprocess.run([sys.executable, "-c", MEMORY, dtype], capture_output=True, text=True, check=True)
        return float(run.stdout)

    half, single = grown("float16"), grown("float32")
    assert 4 <= half < 8  # two in order, two in the table; a copy in single precision would be four more
    assert half < single / 2
