"""Exported heads against the live model: rewards, what is written, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skmrm import Episode, MetaRewardModel, UserRewardModel, episodes_from_arrays
from skmrm.base_rewards import BaseRewards, make_base_rewards
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import make_user_preferences
from skmrm.estimators.users import UserModels
from skmrm.export import ExportReport

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from skmrm.serving import OnnxScorer  # noqa: E402

N_FEATURES = 5


def random_params(parts, dtype, d=N_FEATURES, n_bases=3, mean=1.0, scale=0.5):
    """Parameters of base rewards as fit leaves them, with the parts named."""
    rng = np.random.default_rng(7)
    params = {"mean": mean * rng.normal(size=d), "scale": scale * rng.uniform(0.5, 2, d)}
    if "features" not in parts:
        params["bases"] = rng.normal(size=(n_bases, d)) / d**0.5
    if "kernel" in parts:
        params["kernel.points"] = rng.normal(size=(7, d))
        params["kernel.precision"] = np.array(0.2)
        params["kernel.out"] = rng.normal(size=(n_bases, 7))
    return {name: np.asarray(value, dtype) for name, value in params.items()}


PARTS = ["", "kernel", "features"]


@cache
def live_and_served(parts, dtype, folder):
    """One user's live model and scorer, and a set of users and theirs, over the same base rewards."""
    base = make_base_rewards(random_params(parts, dtype), None, "cpu")
    weights = np.random.default_rng(3).normal(size=(4, base.n_bases)).astype(dtype)
    user = UserRewardModel(base, weights[0], None, 0)
    users = UserModels(base, np.array(list("abcd"), object), weights, None, np.zeros(4, int))
    path = Path(folder) / f"{parts} {dtype}"
    user.export_onnx(path / "user")
    users.export_onnx(path / "users")
    return base, user, users, OnnxScorer(path / "user"), OnnxScorer(path / "users")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("bundles"))


SINGLE = np.float32([0.0, -0.0, 1e-30, -1e-30, 1e-45, 1.0, 1e6, -1e6, 1e15]).tolist()
ADVERSARIAL = st.sampled_from(SINGLE) | st.floats(-100, 100, width=32)


def close(found, live, base, X):
    """Within 1e-5 of a logit; of large rewards, and of small ones of large terms, within 1e-5 of those."""
    z = np.abs((X.astype(float) - base.params["mean"]) / base.params["scale"])
    size = np.maximum(1, z.sum(1)).reshape(-1, *[1] * (live.ndim - 1))
    return (np.abs(found.astype(float) - live.astype(float)) <= 1e-5 * size).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", PARTS)
@given(data=st.data())
def test__export__adversarial_features__have_the_live_models_rewards(parts, dtype, folder, data):
    base, user, users, one, many = live_and_served(parts, dtype, folder)
    n = data.draw(st.integers(0, 5))
    X = data.draw(arrays(dtype, (n, N_FEATURES), elements=ADVERSARIAL))
    found, live = one.predict(X), user.predict(X)
    assert found.dtype == live.dtype == dtype
    assert found.shape == (n,)
    assert close(found, live, base, X)
    rows = data.draw(arrays(int, n, elements=st.integers(0, 3)))
    expected = [users[users.users_[row]].predict(X[place, None])[0] for place, row in enumerate(rows)]
    assert close(many.predict(X, weights=many.weights[rows]), np.array(expected, dtype), base, X)
    assert close(many.transform(X), base.of_items(X), base, X)


@pytest.mark.parametrize("parts", PARTS)
def test__export__many_rows__do_not_depend_on_the_batch(parts, folder):
    _, user, _, one, many = live_and_served(parts, "float32", folder)
    X = np.random.default_rng(0).normal(size=(50, N_FEATURES)).astype("float32")
    np.testing.assert_allclose(one.predict(X), user.predict(X), atol=1e-5)
    path = Path(folder) / f"{parts} float32"
    for n in (1, 7, 50):
        np.testing.assert_allclose(OnnxScorer(path / "user", max_batch=n).predict(X), one.predict(X), atol=1e-6)
        split = OnnxScorer(path / "users", max_batch=n)
        weights = many.weights[np.arange(50) % 4]
        np.testing.assert_allclose(split.predict(X, weights=weights), many.predict(X, weights=weights), atol=1e-6)


@pytest.mark.parametrize("parts", PARTS)
@given(
    X=arrays(float, (3, N_FEATURES), elements=st.floats(-100, 100)),
    weights=arrays(float, N_FEATURES, elements=st.floats(-10, 10)),
)
def test__folded__any_weights__is_one_base_reward_function_that_is_the_users_reward(parts, X, weights):
    base = make_base_rewards(random_params(parts, "float64"), None, "cpu")
    weights = weights[: base.n_bases]
    one = BaseRewards(base.folded(weights), None, "cpu")
    assert one.n_bases == 1
    rewards = base.of_items(X)
    size = 1 + np.abs(rewards) @ np.abs(weights)
    assert (np.abs(one.of_items(X)[:, 0] - rewards @ weights) <= 1e-12 * size).all()


def episodes_of(d):
    rng = np.random.default_rng(d)
    features = rng.normal(size=(120, d)).astype(np.float32)
    users = np.repeat(np.arange(12), 8)
    chosen, rejected = (rng.integers(120, size=96) for _ in range(2))
    return episodes_from_arrays(features, chosen, (rejected + (rejected == chosen)) % 120, users)


RULES = {
    "map": {"adaptation": "map"},
    "gradient": {"adaptation": "gradient", "inner_steps": 2, "inner_lr": 0.1},
    "adam": {"adaptation": "gradient", "inner_steps": 3, "inner_lr": 0.1, "inner_optimizer": "adam"},
    "simplex": {"adaptation": "gradient", "inner_lr": 0.1, "weight_constraint": "simplex"},
    "learnt": {"adaptation": "gradient", "inner_lr": None},
}


@pytest.mark.filterwarnings("ignore:personalisation cannot be validated:UserWarning")
@pytest.mark.parametrize("n_bases", [1, 64])
@pytest.mark.parametrize(
    ("rule", "d"), [("map", 2), ("map", 4096), ("gradient", 2), ("gradient", 4096), *((r, 2) for r in list(RULES)[2:])]
)
def test__export__every_rule_and_size__rewards_and_weights_survive(rule, d, n_bases, tmp_path):
    settings = RULES[rule] | {"n_bases": n_bases, "spectral_init": False}
    episodes = episodes_of(d)
    model = MetaRewardModel(**settings, max_epochs=1, learning_rate=0.05, random_state=0, device="cpu").fit(episodes)
    user, users = model.adapt(episodes[3]), model.adapt_many(episodes)
    X = np.asarray(episodes.features[:9])
    user.export_onnx(tmp_path / "user")
    np.testing.assert_allclose(OnnxScorer(tmp_path / "user").predict(X), user.predict(X), atol=1e-5)
    users.export_onnx(tmp_path / "users")
    served = OnnxScorer(tmp_path / "users")
    np.testing.assert_array_equal(served.weights, users.weights_)
    np.testing.assert_allclose(served.predict(X, weights=served.weights[3]), user.predict(X), atol=1e-5)
    model.export_onnx(tmp_path / "model")
    served = OnnxScorer(tmp_path / "model")
    np.testing.assert_allclose(served.predict(X), model.predict(X), atol=1e-5)
    np.testing.assert_allclose(served.adapt(episodes[3]), user.weights_, atol=2e-5)
    np.testing.assert_allclose(served.adapt([]), model.start_weights_, atol=1e-6)


@pytest.mark.filterwarnings("ignore:parameters left open cannot be chosen:UserWarning")
@pytest.mark.parametrize("baseline", [PooledBradleyTerry, LowRankRewards, PerUserBradleyTerry])
def test__export__baselines__are_served_too(baseline, tmp_path):
    episodes = episodes_of(3)
    model = baseline(random_state=0, device="cpu").fit(episodes)
    model.export_onnx(tmp_path / "model")
    served, X = OnnxScorer(tmp_path / "model"), np.asarray(episodes.features[:9])
    np.testing.assert_allclose(served.predict(X), model.predict(X), atol=1e-5)
    user = model.adapt(episodes[3])
    np.testing.assert_allclose(served.predict(X, weights=user.weights_), user.predict(X), atol=1e-5)
    if baseline is PooledBradleyTerry:
        np.testing.assert_array_equal(served.adapt(episodes[3]), user.weights_)
    else:
        with pytest.raises(TypeError, match="no form without torch"):
            served.adapt(episodes[3])


def test__export__linear_reward__is_one_product_with_one_vector(folder):
    live_and_served("", "float32", folder)
    graph = onnx.load(Path(folder) / " float32" / "user" / "model.onnx").graph
    assert [node.op_type for node in graph.node] == ["Gemm", "Squeeze"]
    assert sorted(tuple(c.dims) for c in graph.initializer) == [(1,), (1,), (1, N_FEATURES)]
    session = onnxruntime.InferenceSession(Path(folder) / " float32" / "user" / "model.onnx")
    assert session.get_inputs()[0].shape == ["n", N_FEATURES]
    assert session.get_outputs()[0].shape == ["n"]


def test__export__features_far_from_the_origin__keep_their_digits(tmp_path):
    base = make_base_rewards(random_params("", "float32", mean=1e5, scale=0.1), None, "cpu")
    user = UserRewardModel(base, np.ones(3, "float32"), None, 0)
    report = user.export_onnx(tmp_path)
    assert report.parity.largest_difference < 1e-5
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [node.op_type for node in graph.node] == ["Sub", "Gemm", "Squeeze"]


def test__export__report__is_what_the_config_says(folder):
    _, user, *_ = live_and_served("kernel", "float32", folder)
    path = Path(folder) / "reported"
    report = user.export_onnx(path, atol=1e-4)
    assert isinstance(report, ExportReport)
    assert report.parity.n_inputs == 202
    assert 0 < report.parity.largest_difference < 1e-5
    assert report.parity.pair_order_agreement == 1
    assert report.quantized is None
    certificate = OnnxScorer(path).config["certificate"]
    assert certificate["atol"] == 1e-4
    assert certificate["parity"]["largest_difference"] == report.parity.largest_difference


def test__export__calibration_of_ones_own__is_what_is_compared(folder, tmp_path):
    _, user, *_ = live_and_served("kernel", "float32", folder)
    X = np.random.default_rng(0).normal(size=(4, N_FEATURES)).astype("float32")
    assert user.export_onnx(tmp_path, calibration=X).parity.n_inputs == 4


def test__export__difference_beyond_atol__is_an_error_and_the_old_bundle_stays(folder, tmp_path):
    _, user, *_ = live_and_served("kernel", "float32", folder)
    user.export_onnx(tmp_path / "bundle")
    before = {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()}
    with pytest.raises(ValueError, match=r"differ from the live model's by up to .* atol=1e-12; nothing was written"):
        user.export_onnx(tmp_path / "bundle", atol=1e-12)
    assert {file.name: file.read_bytes() for file in (tmp_path / "bundle").iterdir()} == before
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]


def test__export__another_model_into_the_same_folder__leaves_no_file_of_the_first(folder, tmp_path):
    _, user, users, *_ = live_and_served("", "float32", folder)
    users.export_onnx(tmp_path)
    assert (tmp_path / "weights.safetensors").exists()
    user.export_onnx(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "config.json"}
    assert OnnxScorer(tmp_path).weights is None


def test__export__killed_while_files_move__does_not_load(folder, tmp_path, monkeypatch):
    _, user, users, *_ = live_and_served("", "float32", folder)
    users.export_onnx(tmp_path)
    moves = []

    def move(partial, file):
        if moves:
            raise KeyboardInterrupt
        moves.append(file)
        partial.replace(file)

    monkeypatch.setattr("skmrm.export.bundle.move_into_place", move)
    with pytest.raises(KeyboardInterrupt):
        user.export_onnx(tmp_path)
    with pytest.raises(ValueError, match=r"missing|altered"):
        OnnxScorer(tmp_path)


def test__export__more_users__change_no_byte_of_the_graph(folder, tmp_path):
    base, *_ = live_and_served("", "float32", folder)
    weights = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    for name, some in (("few", weights[:4]), ("many", weights)):
        UserModels(base, np.arange(len(some)).astype(object), some, None, np.zeros(len(some), int)).export_onnx(
            tmp_path / name
        )
    assert (tmp_path / "few" / "model.onnx").read_bytes() == (tmp_path / "many" / "model.onnx").read_bytes()
    assert OnnxScorer(tmp_path / "many").weights.shape == (100, 3)


def test__export__no_users_at_all__is_a_graph_with_an_empty_table(folder, tmp_path):
    base, *_ = live_and_served("", "float32", folder)
    UserModels(base, np.empty(0, object), np.empty((0, 3), "float32"), None, np.empty(0, int)).export_onnx(tmp_path)
    X = np.ones((2, N_FEATURES), "float32")
    np.testing.assert_allclose(OnnxScorer(tmp_path).predict(X, weights=[1, 0, 0]), base.of_items(X)[:, 0], atol=1e-6)


def test__export__user_ids_and_texts__are_in_no_file(tmp_path):
    def pairs(n):
        return [f"secret-reply-{i} yes" for i in range(n)], [f"secret-reply-{i} no thanks" for i in range(n)]

    episodes = [Episode(f"name-{u}@example.org", *pairs(4), [f"secret-prompt-{i}" for i in range(4)]) for u in range(9)]
    model = MetaRewardModel(max_epochs=0, validation_fraction=0.0, random_state=0).fit(episodes)
    model.export_onnx(tmp_path / "model")
    model.adapt(episodes[0]).export_onnx(tmp_path / "user")
    model.adapt_many(episodes).export_onnx(tmp_path / "users")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 4 + 3 + 4
    for file in files:
        content = file.read_bytes()
        for secret in (b"example.org", b"name-", b"secret", str(tmp_path).encode(), str(Path.home()).encode()):
            assert secret not in content, file
    config = json.loads((tmp_path / "user" / "config.json").read_text())
    assert {"units", "inputs", "encoder", "files", "schema_version"} <= set(config)


def test__export__wrong_options__are_all_said_at_once(folder, tmp_path):
    _, user, *_ = live_and_served("", "float32", folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is a file; atol must be .* -1.0; quantize must be .* 'int4'"):
        user.export_onnx(tmp_path / "file", atol=-1.0, quantize="int4")
    with pytest.raises(ValueError, match="quantize='int8' is of transformer encoders"):
        user.export_onnx(tmp_path / "folder", quantize="int8")
    with pytest.raises(ValueError, match="at least one input"):
        user.export_onnx(tmp_path / "folder", calibration=[])
    assert not (tmp_path / "folder").exists()


def test__export__encoder_of_ones_own__is_refused_with_the_way_out(tmp_path):
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline

    words = make_pipeline(CountVectorizer(preprocessor=str), TruncatedSVD(1))
    episodes = [Episode(f"u{u}", ["yes", "yes it is"], ["no", "no it is not"], ["a", "b"]) for u in range(3)]
    model = MetaRewardModel(words, max_epochs=0, validation_fraction=0.0).fit(episodes)
    with pytest.raises(ValueError, match=r"Pipeline cannot be exported.*Encode texts yourself, fit on arrays"):
        model.export_onnx(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test__export__without_onnx__says_what_to_install(folder, tmp_path, monkeypatch):
    _, user, *_ = live_and_served("", "float32", folder)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'skmrm\[onnx\]'"):
        user.export_onnx(tmp_path)


def test__export__fitted_model_that_bends__is_exact(tmp_path):
    data = make_user_preferences(n_users=30, n_pairs=10, n_features=4, n_bases=2, random_state=0)
    model = MetaRewardModel(kernel="rbf", random_state=0, device="cpu").fit(data.episodes)
    assert model.kernel_ == "rbf"
    model.export_onnx(tmp_path)
    X = data.episodes.features
    np.testing.assert_allclose(OnnxScorer(tmp_path).predict(X), model.predict(X), atol=1e-9)
