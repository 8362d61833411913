import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skmrm import MetaRewardModel, UserRewardModel
from skmrm._support.files import is_intact, sealed
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.encoders import HashedTextEncoder, TextEncoder
from skmrm.encoders._saving import encoder_from_config, encoder_to_config
from skmrm.encoders.huggingface._transformers import HFEncoder
from skmrm.episodes import Episode
from skmrm.estimators.saving import ARRAYS_FILE, CONFIG_FILE, SCHEMA_VERSION, _read, _write
from skmrm.exceptions import ModelFileError
from skmrm.meta.adaptation import MapAdaptation
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.registry import rule_config, rule_of_config


@pytest.fixture(scope="module")
def arrays():
    return make_user_preferences(n_users=30, n_pairs=12, n_features=4, n_bases=2, random_state=0).episodes


@pytest.fixture(scope="module")
def texts():
    return load_style_preferences(n_users=25, n_pairs=12, random_state=0).episodes


@pytest.fixture(scope="module")
def fitted(arrays):
    return MetaRewardModel(n_bases=3, max_epochs=1, random_state=0).fit(arrays[:25])


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"adaptation": "gradient", "inner_steps": 2},
        {"adaptation": "gradient", "weight_constraint": "simplex", "inner_optimizer": "adam", "inner_lr": 0.1},
        {"adaptation": MapAdaptation(prior_scale=0.5), "random_state": np.random.RandomState(0)},
    ],
    ids=["default", "gradient", "simplex", "rule object"],
)
def test__save_and_load__any_rule__give_the_same_bits(arrays, tmp_path, params):
    model = MetaRewardModel(**{"n_bases": 3, "max_epochs": 1, "random_state": 0, **params}).fit(arrays[:25])
    model.save(tmp_path / "model")
    loaded = MetaRewardModel.load(tmp_path / "model")
    user, again = model.adapt(arrays[27]), loaded.adapt(arrays[27])
    X = np.asarray(arrays.features)[:9]
    assert np.array_equal(user.weights_, again.weights_)
    assert np.array_equal(user.predict(X), again.predict(X))
    assert np.array_equal(model.transform(X), loaded.transform(X))
    assert model.score(arrays[25:]) == loaded.score(arrays[25:])
    assert loaded.history_ == model.history_
    assert loaded.selection_ == model.selection_
    expected, found = model.get_params(), loaded.get_params()
    assert {k: v for k, v in expected.items() if k != "random_state"} == {
        k: v for k, v in found.items() if k != "random_state"
    }


@pytest.mark.parametrize("text_statistics", [True, False])
def test__save_and_load__default_encoder__gives_the_same_bits(texts, tmp_path, text_statistics):
    model = MetaRewardModel(text_statistics=text_statistics, max_epochs=0, random_state=0).fit(texts[:20])
    user = model.adapt(texts[21])
    model.save(tmp_path / "model")
    user.save(tmp_path / "user")
    loaded, user_loaded = MetaRewardModel.load(tmp_path / "model"), UserRewardModel.load(tmp_path / "user")
    unseen = [("What is love?", "Maybe it is patience; for example, waiting."), ("", ""), texts.items[0]]
    assert np.array_equal(model.predict(unseen), loaded.predict(unseen))
    assert np.array_equal(user.predict(unseen), user_loaded.predict(unseen))
    assert np.array_equal(user.weights_cov_, user_loaded.weights_cov_)
    assert user_loaded.n_pairs_ == user.n_pairs_
    assert user_loaded.score(*unseen[0]) == user.score(*unseen[0])


def test__pickle__of_a_model_of_texts_and_of_one_user__takes_what_save_takes_and_gives_the_same_bits(tmp_path):
    words = ["tea", "rain", "short answers", "long walks", "a story", "lists of points"]
    episodes = [
        Episode(
            f"u{user}", [words[(user + k) % 3] for k in range(4)], [words[3 + k % 3] for k in range(4)], list("abcd")
        )
        for user in range(12)
    ]
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(episodes)
    for name, one in {"model": model, "user": model.adapt(episodes[0])}.items():
        one.save(tmp_path / name)
        saved, pickled = sum(file.stat().st_size for file in (tmp_path / name).iterdir()), pickle.dumps(one)
        assert len(pickled) <= 2 * saved < 2**20
        again = pickle.loads(pickled)
        unseen = [("What?", "Rain on a story, and xylophones."), ("", "")]
        assert np.array_equal(again.predict(unseen), one.predict(unseen))
        assert len(pickle.dumps(again)) <= 2 * saved


def test__pickle__of_an_encoder_by_an_earlier_version__is_read():
    encoder = HashedTextEncoder(n_components=2).fit([("", "tea and rain"), ("", "rain"), ("", "long walks")])
    state = {name: value for name, value in vars(encoder).items() if name != "_ngrams"}
    earlier = HashedTextEncoder.__new__(HashedTextEncoder)
    earlier.__setstate__(state)
    again = pickle.loads(pickle.dumps(encoder))
    for one in (earlier, again):
        assert_array_equal(one.components_, encoder.components_)
        assert_array_equal(one.transform([("", "rain")]), encoder.transform([("", "rain")]))
    assert vars(again).keys() - {"_ngrams"} == state.keys()


def test__save__files__hold_no_user_ids_texts_or_pickles(texts, tmp_path):
    secret = texts[:20]
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(secret)
    model.save(tmp_path)
    model.adapt(secret[3]).save(tmp_path / "user")
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {CONFIG_FILE, ARRAYS_FILE}
    for user in secret.users:
        assert json.dumps(user).encode() not in written
    for prompt, response in texts.items[:50]:
        assert prompt.encode() not in written
        assert response[:40].encode() not in written
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads((tmp_path / ARRAYS_FILE).read_bytes())


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", [CONFIG_FILE, ARRAYS_FILE])
def test__load__missing_file__names_it(saved, name):
    (saved / name).unlink()
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        MetaRewardModel.load(saved)


@pytest.mark.parametrize("name", [CONFIG_FILE, ARRAYS_FILE])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test__load__truncated_file__is_noticed(saved, name, share):
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match=r"truncated|altered|not the config"):
        MetaRewardModel.load(saved)


def test__load__altered_number__is_noticed(saved):
    arrays = load_file(saved / ARRAYS_FILE)
    arrays["base.bases"] = arrays["base.bases"] + 1e-3
    save_file(arrays, saved / ARRAYS_FILE)
    with pytest.raises(ModelFileError, match="altered"):
        MetaRewardModel.load(saved)


def test__load__altered_config__is_noticed(saved):
    text = (saved / CONFIG_FILE).read_text()
    config = json.loads(text)
    config["rule"]["prior_scale"] = 0.25
    (saved / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="altered"):
        MetaRewardModel.load(saved)


@pytest.mark.parametrize("tempering", [0.0, 0.5])
def test__rule_of_config__written_with_tempering__is_read_where_it_was_zero(tempering):
    config = rule_config(MapAdaptation(prior_scale=0.5), []) | {"tempering": tempering}
    if tempering:
        with pytest.raises(ValueError, match=r"tempering=0.5, which this version does not have: fit again"):
            rule_of_config(config)
    else:
        assert rule_of_config(config) == MapAdaptation(prior_scale=0.5)


def test__load__saved_with_hidden_layers__is_refused(fitted, tmp_path):
    """Without them the numbers would be wrong."""
    fitted.save(tmp_path)
    config, arrays = json.loads((tmp_path / CONFIG_FILE).read_text()), load_file(tmp_path / ARRAYS_FILE)
    arrays["base.hidden.out"] = np.zeros((3, 2))
    save_file(arrays, tmp_path / ARRAYS_FILE)
    del config["config_sha256"]
    config["arrays_sha256"] = hashlib.sha256((tmp_path / ARRAYS_FILE).read_bytes()).hexdigest()
    (tmp_path / CONFIG_FILE).write_bytes(sealed(config))
    with pytest.raises(ModelFileError, match="hidden layers, which this skmrm does not have: fit again"):
        MetaRewardModel.load(tmp_path)


def test__load__newer_schema__says_upgrade(saved):
    config = json.loads((saved / CONFIG_FILE).read_text())
    config["schema_version"] = SCHEMA_VERSION + 1
    (saved / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="upgrade skmrm"):
        MetaRewardModel.load(saved)


def test__load__other_kind__says_so(fitted, arrays, saved, tmp_path):
    fitted.adapt(arrays[26]).save(tmp_path / "user")
    with pytest.raises(ModelFileError, match="holds a skmrm user model"):
        MetaRewardModel.load(tmp_path / "user")
    with pytest.raises(ModelFileError, match="holds a skmrm model"):
        UserRewardModel.load(saved)


def test__save__over_an_older_model__replaces_it(fitted, arrays, saved):
    other = MetaRewardModel(n_bases=2, max_epochs=0, random_state=1).fit(arrays[:20])
    other.save(saved)
    assert MetaRewardModel.load(saved).n_bases == 2
    shutil.rmtree(saved)


def test__load__folder_without_a_pooled_solution__loads_and_says_what_to_fit(fitted, arrays, saved):
    """Folders written before models kept one."""
    config, numbers = _read(saved, "skmrm model")
    assert numbers.pop("fitted._pooled").shape == (4,)
    del config["arrays_sha256"]
    _write(saved, "skmrm model", config, numbers)
    loaded = MetaRewardModel.load(saved)
    assert loaded.score(arrays[25:]) == fitted.score(arrays[25:])
    with pytest.raises(AttributeError, match=r"fit skmrm\.baselines\.PooledBradleyTerry"):
        loaded.pooled_model_  # noqa: B018


class HomeMadeEncoder:
    def get_params(self, deep=True):
        return {}

    def fit(self, items, y=None):
        return self

    def transform(self, items):
        return np.array([[len(r), r.count("a"), len(r.split())] for _, r in items], float)


def test__save__home_made_encoder__is_refused_with_a_remedy_and_nothing_is_written(texts, tmp_path):
    model = MetaRewardModel(HomeMadeEncoder(), max_epochs=0, random_state=0).fit(texts[:20])
    with pytest.raises(ValueError, match=r"HomeMadeEncoder.*joblib"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


# -- altered files ---------------------------------------------------------------------------------------------------

UNSEEN = [("What is love?", "Maybe it is patience; for example, waiting."), ("", "")]
KINDS = ["model", "kinds", "gradient", "text", "user", "text user", "pooled", "low rank", "per user"]


class Written:
    """A folder, how it is read, and what is asked of what was read; said in one word where a test fails."""

    def __init__(self, folder, load, ask, expected):
        self.folder, self.load, self.ask, self.expected = folder, load, ask, expected

    def check(self, folder, *, is_the_same=False):
        """That a folder is read and works, or is an error that names it and says what to do."""
        try:
            model = self.load(folder, device="cpu")
        except ModelFileError as error:
            return str(folder) in str(error) and ": " in str(error).rpartition(str(folder))[2]
        found = self.ask(model)
        return found.shape == self.expected.shape and (not is_the_same or np.array_equal(found, self.expected))


@pytest.fixture(scope="module")
def written(arrays, texts, fitted, tmp_path_factory):
    quick = {"random_state": 0, "device": "cpu"}
    text_model = MetaRewardModel(max_epochs=0, n_bases=3, **quick).fit(texts[:20])
    models = {
        "model": fitted,
        "kinds": clone(fitted).set_params(adaptation=MixtureAdaptation(n_components=2), max_epochs=0).fit(arrays[:25]),
        "gradient": MetaRewardModel(adaptation="gradient", max_epochs=1, n_bases=2, **quick).fit(arrays[:25]),
        "text": text_model,
        "user": fitted.adapt(arrays[26]),
        "text user": text_model.adapt(texts[21]),
        "pooled": PooledBradleyTerry(**quick).fit(arrays[:25]),
        "low rank": LowRankRewards(n_bases=2, ridge=0.1, **quick).fit(arrays[:25]),
        "per user": PerUserBradleyTerry(ridge=1.0, **quick).fit(arrays[:25]),
    }
    items = {False: np.asarray(arrays.features)[:5], True: UNSEEN}
    pairs = {False: arrays[26], True: texts[21]}

    def ask(kind, model):
        is_text = "text" in kind
        user = model if "user" in kind.split() and kind != "per user" else model.adapt(pairs[is_text])
        return np.concatenate([model.predict(items[is_text]), user.weights_])

    found = {}
    for kind, model in models.items():
        folder = tmp_path_factory.mktemp("written") / kind
        model.save(folder)
        found[kind] = Written(folder, type(model).load, lambda model, kind=kind: ask(kind, model), ask(kind, model))
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20)
@given(data=st.data())
def test__load__any_altered_file__is_an_error_that_names_it_or_changes_no_number(
    written, altered_folder, tmp_path, kind, data
):
    folder = altered_folder(data, written[kind].folder, tmp_path / "altered")
    assert written[kind].check(folder, is_the_same=True)
    assert not (folder / "code was run").exists()


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20)
@given(data=st.data())
def test__load__any_value_in_a_config_that_was_sealed_again__is_an_error_or_a_model_that_works(
    written, altered_document, tmp_path, kind, data
):
    """Whoever seals a config may say other numbers in it, and can neither crash whoever reads it nor run code there."""
    shutil.copytree(written[kind].folder, tmp_path / "altered", dirs_exist_ok=True)
    document = json.loads((written[kind].folder / CONFIG_FILE).read_text())
    del document["config_sha256"]
    (tmp_path / "altered" / CONFIG_FILE).write_bytes(sealed(altered_document(data, document)))
    assert written[kind].check(tmp_path / "altered")


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=10)
@given(data=st.data())
def test__load__arrays_of_other_shapes_that_were_sealed_again__are_an_error_or_work(written, tmp_path, kind, data):
    folder = written[kind].folder
    config, numbers = _read(folder, json.loads((folder / CONFIG_FILE).read_text())["kind"])
    del config["arrays_sha256"]
    name = data.draw(st.sampled_from(sorted(numbers)))
    array = numbers[name]
    odd = [array[:-1] if array.ndim else array[None], array[None], np.zeros(0), array.astype(bool), None]
    other = data.draw(st.sampled_from(odd))
    numbers = {key: value for key, value in (numbers | {name: other}).items() if value is not None}
    _write(tmp_path / "altered", config.pop("kind"), config, numbers)
    assert written[kind].check(tmp_path / "altered")


@pytest.mark.parametrize(
    ("kind", "facts", "change", "message"),
    [
        (
            "user",
            {},
            {"user.weights": lambda a: a[:-1]},
            r"arrays of other shapes than 3 base .* have: user\.weights\)",
        ),
        ("user", {}, {"user.weights_cov": lambda a: a[0]}, r"have: user\.weights_cov\)"),
        ("model", {}, {"adaptation.start": lambda a: a[:-1]}, "does not hold what save writes"),
        ("user", {}, {"base.bases": lambda a: a[None]}, "another number of axes than there should be: bases"),
        ("model", {}, {"base.scale": lambda a: a[:-1]}, "does not hold what save writes"),
        ("text", {"encoder": None}, {}, "it has what an encoder learnt, and no encoder"),
        ("text", {}, {"encoder.components": lambda a: a[:-1]}, "does not hold what save writes"),
        (
            "gradient",
            {"rule": {"kind": "gradient", "steps": 10**9}},
            {},
            "inner rule 'gradient' has no steps=1000000000",
        ),
        ("model", {"rule": {"kind": "map", "max_steps": True}}, {}, "inner rule 'map' has no max_steps=True: upgrade"),
        ("pooled", {"feature_names": "four"}, {}, r"feature_names must be 4 texts or none"),
        ("model", {"rule": {"kind": "evil"}}, {}, "inner rule 'evil' is not known to this version"),
        ("model", {"fitted": {}}, {}, r"\(KeyError: 'ridge_'\): save the model again"),
    ],
)
def test__load__what_does_not_fit_together__is_refused_where_it_is_read(
    written, tmp_path, kind, facts, change, message
):
    folder = written[kind].folder
    config, numbers = _read(folder, json.loads((folder / CONFIG_FILE).read_text())["kind"])
    del config["arrays_sha256"]
    numbers |= {name: alter(numbers[name]) for name, alter in change.items()}
    _write(tmp_path, config.pop("kind"), config | facts, numbers)
    with pytest.raises(ModelFileError, match=message):
        written[kind].load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b"[]", b"null", b"\xff\xfe\xff", b'{"schema_version": 1, "kind": "\\ud800"}', b"1" * 10**5],
    ids=["nested", "list", "null", "bytes", "surrogate", "number"],
)
def test__load__config_that_is_none__is_the_error_that_says_so(saved, text):
    (saved / CONFIG_FILE).write_bytes(text)
    with pytest.raises(ModelFileError, match=r"config\.json is not the config of a saved model .*: save the model"):
        MetaRewardModel.load(saved)


def test__load__config_that_names_a_cache__reads_none(fitted, texts, saved, tmp_path):
    """Caches hold pickles."""
    rewritten(saved, "skmrm model", params={"memory": str(tmp_path / "cache")})
    assert MetaRewardModel.load(saved).memory is None
    encoder = TextEncoder(HashedTextEncoder(), memory=str(tmp_path / "cache"))
    config = encoder_to_config(encoder)
    config["params"]["memory"] = str(tmp_path / "cache")
    assert encoder_from_config(config).memory is None
    assert not (tmp_path / "cache").exists()


def test__encoder_from_config__what_would_run_code__is_refused_or_left_out():
    config = encoder_to_config(HFEncoder("a/model", attn_implementation="sdpa", device="cuda"))
    assert (
        encoder_from_config(config, "cpu").get_params()
        == HFEncoder("a/model", attn_implementation="sdpa", device="cpu").get_params()
    )
    config["params"]["attn_implementation"] = "somebody/kernel"
    assert encoder_from_config(config).attn_implementation is None
    for change, message in (
        ({"params": config["params"] | {"trust_remote_code": True}}, "wants trust_remote_code, which no file may"),
        ({"class": "os.system"}, "encoder 'os.system' is not known to this version of skmrm: upgrade skmrm"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder_from_config(config | change)


# -- device ----------------------------------------------------------------------------------------------------------


def rewritten(folder, kind, **changes):
    """A saved folder whose config says something else, as one who wrote it that way would have sealed it."""
    config, numbers = _read(folder, kind)
    del config["arrays_sha256"]
    config["params"] = config.get("params", {}) | changes.pop("params", {})
    _write(folder, kind, config | changes, numbers)


@pytest.mark.parametrize("estimator", [MetaRewardModel(max_epochs=0), PooledBradleyTerry(), PerUserBradleyTerry()])
def test__save__fitted_on_a_gpu__loads_and_works_on_a_cpu(arrays, tmp_path, estimator):
    model = clone(estimator).set_params(random_state=0, device="cpu").fit(arrays[:25])
    user, X = model.adapt(arrays[26]), np.asarray(arrays.features)[:9]
    expected, weights = model.predict(X), user.weights_
    model.set_params(device="cuda").save(tmp_path / "model")
    UserRewardModel(model.base_rewards_, weights, None, 3).save(tmp_path / "user")
    assert b"cuda" not in b"".join((tmp_path / kind / CONFIG_FILE).read_bytes() for kind in ("model", "user"))
    for device in ("auto", "cpu"):
        loaded = type(model).load(tmp_path / "model", device=device)
        assert loaded.get_params()["device"] == device
        np.testing.assert_allclose(loaded.predict(X), expected, rtol=1e-12)
        np.testing.assert_allclose(loaded.adapt(arrays[26]).weights_, weights, rtol=1e-9)
        np.testing.assert_allclose(
            UserRewardModel.load(tmp_path / "user", device=device).predict(X), user.predict(X), rtol=1e-12
        )


def test__load__folder_that_names_a_device__goes_by_what_load_is_told(fitted, arrays, saved, tmp_path):
    """Folders written before devices were left out."""
    rewritten(saved, "skmrm model", params={"device": "cuda", "memory": None}, device="cuda")
    user = fitted.adapt(arrays[26])
    user.save(tmp_path / "user")
    rewritten(tmp_path / "user", "skmrm user model", device="cuda")
    X = np.asarray(arrays.features)[:9]
    loaded = MetaRewardModel.load(saved, device="cpu")
    assert loaded.get_params()["device"] == "cpu"
    assert np.array_equal(loaded.adapt(arrays[26]).weights_, user.weights_)
    assert np.array_equal(UserRewardModel.load(tmp_path / "user", device="cpu").predict(X), user.predict(X))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error is about a GPU that is not there")
def test__load__gpu_that_is_not_there__says_what_fit_says(fitted, arrays, saved, tmp_path):
    fitted.adapt(arrays[26]).save(tmp_path / "user")
    for load, folder in ((MetaRewardModel.load, saved), (UserRewardModel.load, tmp_path / "user")):
        with pytest.raises(ValueError, match=r"device='cuda' needs a GPU.*'auto' or 'cpu'"):
            load(folder, device="cuda")


def test__device__changed_after_fit__is_where_everything_is_computed(arrays):
    """As of a model that was pickled on a machine with a GPU; "meta" computes nothing, and says so."""
    model = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(arrays[:25])
    X, expected = np.asarray(arrays.features)[:9], model.predict(np.asarray(arrays.features)[:9])
    again = pickle.loads(pickle.dumps(model.set_params(device="meta")))
    for call in (lambda: again.predict(X), lambda: again.transform(X), lambda: again.adapt(arrays[26])):
        with pytest.raises(RuntimeError, match="meta tensor"):
            call()
    again.set_params(device="cpu")
    assert np.array_equal(again.predict(X), expected)
    assert again.adapt(arrays[26]).n_pairs_ == 12


# -- starting weights ------------------------------------------------------------------------------------------------


def test__start_weights__of_a_model__are_computed_once(arrays, saved, monkeypatch):
    model = MetaRewardModel(n_bases=3, max_epochs=1, random_state=0, device="cpu").fit(arrays[:20])
    loaded = MetaRewardModel.load(saved, device="cpu")
    start = model.start_weights_
    X = np.asarray(arrays.features)[:9]
    with monkeypatch.context() as patch:
        patch.setattr("skmrm.estimators.core_data.adapt_users", None)  # nobody is adapted
        for found in (model, loaded):
            found.predict(X)
            found.rank(None, X)
            found.predict_proba(arrays[25:])
            assert found.start_weights_.shape == (3,)
    with pytest.raises(ValueError, match="read-only"):
        start[0] = 1
    assert np.array_equal(model.start_weights_, model.adapt([]).weights_)


# -- parameters as numpy has them ------------------------------------------------------------------------------------


def of_numpy(value):
    """The same parameter, as a search over arrays of candidates leaves it behind."""
    for kind, like in ((bool, np.bool_), (int, np.int64), (float, np.float64), (str, np.str_)):
        if isinstance(value, kind):
            return like(value)
    return tuple(map(of_numpy, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "plain",
    [
        MetaRewardModel(n_bases=2, max_epochs=1, random_state=3, max_memory=1e9),
        MetaRewardModel(
            n_bases=2, adaptation="gradient", inner_lr=0.1, max_epochs=1, spectral_init=False, random_state=3
        ),
        PooledBradleyTerry(ridge=0.5, random_state=3),
        LowRankRewards(n_bases=2, ridge=0.1, max_epochs=1, random_state=3),
        PerUserBradleyTerry(ridge=2.0, random_state=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test__parameters__of_numpy__are_those_of_python(plain, arrays, tmp_path):
    given = {name: of_numpy(value) for name, value in plain.get_params().items()}
    model = clone(type(plain)(**given)).fit(arrays)
    X = np.asarray(arrays.features)[:5]
    assert_array_equal(clone(plain).fit(arrays).predict(X), model.predict(X))
    model.save(tmp_path / "model")
    loaded = type(plain).load(tmp_path / "model")
    assert loaded.get_params() == plain.get_params()
    assert {type(value) for value in loaded.get_params().values()} <= {bool, int, float, str, type(None)}
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert repr(loaded) == repr(plain)
    model.adapt(arrays[0]).save(tmp_path / "user")
    model.export_onnx(tmp_path / "onnx")


def test__parameters__of_numpy_inside_others__are_saved(texts, tmp_path):
    encoder = HashedTextEncoder(
        **{name: of_numpy(v) for name, v in HashedTextEncoder(n_components=8).get_params().items()}
    )
    whole = TextEncoder(encoder, text_statistics=np.False_, chunk_size=np.int32(100), verbose=np.bool_(False))
    rule = MapAdaptation(prior_scale=np.float32(0.5))
    model = MetaRewardModel(whole, adaptation=rule, n_bases=np.uint8(2), max_epochs=0, random_state=0).fit(texts)
    model.save(tmp_path / "model")
    loaded = MetaRewardModel.load(tmp_path / "model")
    assert loaded.encoder.encoder.get_params() == HashedTextEncoder(n_components=8).get_params()
    assert (loaded.encoder.text_statistics, loaded.encoder.chunk_size) == (False, 100)
    assert loaded.adaptation == MapAdaptation(prior_scale=0.5)
    items = texts.items[:3]
    assert_array_equal(loaded.predict(items), model.predict(items))


def test__parameters__found_by_a_search__are_saved(arrays, tmp_path):
    candidates = {"n_bases": np.arange(1, 3), "validation_fraction": np.array([0.2], np.float32)}
    search = GridSearchCV(MetaRewardModel(max_epochs=0, random_state=0), candidates, cv=2).fit(arrays)
    search.best_estimator_.save(tmp_path / "model")
    loaded = MetaRewardModel.load(tmp_path / "model")
    assert loaded.n_bases == search.best_params_["n_bases"]
    assert loaded.validation_fraction == np.float32(0.2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.1), 0.10000000149011612),
        (np.longdouble(0.25), 0.25),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array([[1, 2]]), [[1, 2]]),
        (Path("a") / "b", str(Path("a") / "b")),
        ({"a": (np.True_, np.str_("x"))}, {"a": [True, "x"]}),
    ],
    ids=repr,
)
def test__sealed__values_of_numpy_and_paths__are_read_back_and_the_seal_holds(value, expected):
    document = json.loads(sealed({"value": value}))
    assert is_intact(document)
    assert document == {"value": expected}


def test__sealed__what_json_has_no_form_for__is_a_type_error():
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        sealed({"value": {1}})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test__device__of_a_pickle_from_a_machine_with_a_gpu__falls_back_to_the_cpu_and_says_so(fitted, arrays):
    X = np.asarray(arrays.features)[:4]
    model = clone(fitted).set_params(device="cpu").fit(arrays[:25])
    user, users = model.adapt(arrays[0]), model.adapt_many(arrays[:3])
    model.set_params(device="cuda")
    moved = pickle.loads(pickle.dumps(model))
    with pytest.warns(UserWarning, match="device='cuda' needs a GPU, and torch finds none: .* computed on the CPU"):
        assert_array_equal(moved.adapt(arrays[0]).weights_, user.weights_)
    with pytest.warns(UserWarning, match="computed on the CPU"):
        assert_array_equal(
            moved.adapt_many(arrays[:3]).decision_function(arrays[:3]), users.decision_function(arrays[:3])
        )
    with pytest.warns(UserWarning, match="computed on the CPU"):
        found = moved.predict(X)
    assert_array_equal(moved.set_params(device="auto").predict(X), found)
    with pytest.raises(
        ValueError, match="device='cuda' needs a GPU, and torch finds none: pass device='auto' or 'cpu'"
    ):
        model.fit(arrays)
