import json
import pickle
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skmrm import MetaRewardModel, UserRewardModel
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.estimators.saving import ARRAYS_FILE, CONFIG_FILE, SCHEMA_VERSION, _read, _write
from skmrm.exceptions import ModelFileError
from skmrm.meta.adaptation import MapAdaptation
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
        {"hidden_layers": (6, 5), "max_epochs": 2},
        {"adaptation": "gradient", "inner_steps": 2},
        {"adaptation": "gradient", "weight_constraint": "simplex", "inner_optimizer": "adam", "inner_lr": 0.1},
        {"adaptation": MapAdaptation(prior_scale=0.5), "random_state": np.random.RandomState(0)},
    ],
    ids=["default", "hidden", "gradient", "simplex", "rule object"],
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
