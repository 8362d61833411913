"""A fit that is stopped goes on from its checkpoint, to the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from skmrm import MetaRewardModel
from skmrm._support.progress import Watch
from skmrm.datasets import make_user_preferences
from skmrm.estimators import checkpoints
from skmrm.estimators.checkpoints import CHECKPOINT_FILE, FileKeeper
from skmrm.exceptions import ModelFileError
from skmrm.meta import fit

RANDOM = {"n_bases": 2, "spectral_init": False, "max_epochs": 8, "users_per_batch": 8, "learning_rate": 0.01}
SPECTRAL = {"n_bases": 3, "kernel": None, "max_epochs": 6, "users_per_batch": 8, "learning_rate": 0.003}


@pytest.fixture(scope="module")
def episodes():
    return make_user_preferences(n_users=40, n_pairs=10, n_features=6, n_bases=2, random_state=0).episodes


def state(model):
    return dict(model.base_rewards_.params) | model._rule_params


def same_bits(one, other):
    first, second = state(one), state(other)
    assert list(first) == list(second)
    return all(np.array_equal(first[name], second[name]) for name in first) and one.history_ == other.history_


def repeats_on_all_users(monkeypatch):
    """Whatever the outer loop brings, the repetition on all users takes place, over four epochs."""
    train = fit.meta_train
    helped = {"best_epoch": 4, "gain": 1.0, "gain_error": 0.1}
    monkeypatch.setattr(fit, "meta_train", lambda *given: replace(train(*given), **helped))


def interrupt_at(monkeypatch, epoch):
    """Ctrl-C as the record of an epoch is told."""

    def tell(self, stage, done=0, total=1, record=None, note=""):
        if record is not None and record["epoch"] == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "__call__", tell)


SCRIPT = """
import os
import signal
import sys
import numpy as np
from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.estimators.checkpoints import FileKeeper

def fit(folder, result, n_kept):
    keep, left = FileKeeper.save, iter(range(int(n_kept)))

    def keep_or_die(self, *state):
        if next(left, None) is None:  # some epochs after the last state that is kept
            os.kill(os.getpid(), signal.SIGKILL)
        keep(self, *state)

    FileKeeper.save = keep_or_die
    episodes = make_user_preferences(n_users=40, n_pairs=10, n_features=6, n_bases=2, random_state=0).episodes
    model = MetaRewardModel(n_bases=2, spectral_init=False, max_epochs=30, patience=30, users_per_batch=2,
                            random_state=0, device="cpu")
    model.fit(episodes, checkpoint_dir=folder, checkpoint_every=3)
    losses = [record["training_loss"] for record in model.history_[1:]]
    np.savez(result, losses=losses, **dict(model.base_rewards_.params), **model._rule_params)

for line in sys.stdin:  # a folder and a result: a process of its own, which needs to import nothing
    process = os.fork()
    if process == 0:
        fit(*line.rstrip("\\n").split("\\t"))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Fits:
    """Processes that fit, one after another; each is killed once it kept so many states, if it gets there."""

    def __init__(self):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.server = subprocess.Popen([sys.executable, "-c", SCRIPT], text=True, env=environment, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def exit_code(self, folder, result, n_kept=1000):
        print(folder, result, n_kept, sep="\t", file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test__fit__killed_again_and_again__ends_with_the_bits_of_a_fit_that_was_not(tmp_path):
    folder, result = tmp_path / "checkpoints", tmp_path / "killed.npz"
    with Fits() as fits:
        assert fits.exit_code(tmp_path / "plain", tmp_path / "plain.npz") == 0
        for n_kept in (2, 0, 3):
            assert fits.exit_code(folder, result, n_kept) == -signal.SIGKILL
    with Fits() as fits:  # another interpreter
        assert fits.exit_code(folder, result) == 0
    expected, found = np.load(tmp_path / "plain.npz"), np.load(result)
    assert expected["losses"].shape == (30,)
    assert expected.files == found.files
    for name in expected.files:
        np.testing.assert_array_equal(expected[name], found[name])


@pytest.mark.parametrize("params", [RANDOM, SPECTRAL], ids=["random", "spectral"])
@pytest.mark.parametrize("every", [1, 2])
def test__fit__interrupted_and_started_again__ends_with_the_same_bits(episodes, tmp_path, monkeypatch, params, every):
    repeats_on_all_users(monkeypatch)
    model = MetaRewardModel(**params, patience=6, random_state=0)
    expected = model.fit(episodes)
    expected = (state(expected), expected.history_)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.warns(UserWarning, match="fit was interrupted after 3 epochs .* best state so far is kept"):
            model.fit(episodes, checkpoint_dir=tmp_path, checkpoint_every=every)
    assert len(model.history_) == 4
    model.fit(episodes, checkpoint_dir=tmp_path, checkpoint_every=every)
    assert model.history_ == expected[1]
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, expected[0][name])


def test__fit__interrupted_while_it_repeats_on_all_users__goes_on_there(episodes, tmp_path, monkeypatch):
    repeats_on_all_users(monkeypatch)
    model = MetaRewardModel(**SPECTRAL, patience=6, random_state=0)
    expected = model.fit(episodes)
    expected = (state(expected), expected.history_)
    stages = []
    save = checkpoints.FileKeeper.save

    def interrupting(self, stage, tensors, facts):
        save(self, stage, tensors, facts)
        stages.append(stage)
        if stages.count("repeat") == 1 and stage == "repeat":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.FileKeeper, "save", interrupting)
        with pytest.warns(UserWarning, match="fit was interrupted"):
            model.fit(episodes, checkpoint_dir=tmp_path)
    assert stages[-1] == "repeat"
    model.fit(episodes, checkpoint_dir=tmp_path)
    assert model.history_ == expected[1]
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, expected[0][name])


def test__fit__interrupted_without_checkpoints__keeps_the_best_epoch(episodes, monkeypatch):
    model = MetaRewardModel(**RANDOM, random_state=0)
    full = MetaRewardModel(**RANDOM | {"patience": 8}, random_state=0).fit(episodes)
    interrupt_at(monkeypatch, 4)
    with pytest.warns(UserWarning, match="fit was interrupted after 4 epochs"):
        model.fit(episodes)
    assert model.history_ == full.history_[:5]
    losses = [record["validation_loss"] for record in model.history_]
    shorter = MetaRewardModel(**RANDOM | {"patience": 8}, random_state=0)
    monkeypatch.undo()
    interrupt_at(monkeypatch, int(np.argmin(losses)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shorter.fit(episodes)
    assert all(np.array_equal(value, state(shorter)[name]) for name, value in state(model).items())


def test__fit__no_random_state__goes_on_with_the_seeds_of_the_checkpoint(episodes, tmp_path, monkeypatch):
    model = MetaRewardModel(**RANDOM)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(episodes, checkpoint_dir=tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    found = [MetaRewardModel(**RANDOM).fit(episodes, checkpoint_dir=tmp_path / name) for name in ("one", "other")]
    assert same_bits(*found)
    assert not same_bits(found[0], MetaRewardModel(**RANDOM).fit(episodes))


def test__fit__finished_checkpoint__gives_the_same_model_without_an_epoch(episodes, tmp_path, monkeypatch):
    model = MetaRewardModel(**RANDOM, random_state=0).fit(episodes, checkpoint_dir=tmp_path)
    (tmp_path / (CHECKPOINT_FILE + ".part")).write_bytes(b"left by a kill")
    monkeypatch.setattr("skmrm.meta.outer.loop.pack_epoch", lambda *given: pytest.fail("an epoch was run"))
    assert same_bits(MetaRewardModel(**RANDOM, random_state=0, verbose=0).fit(episodes, checkpoint_dir=tmp_path), model)


def test__fit__parameters_as_numpy_has_them__go_on_from_the_same_checkpoint(episodes, tmp_path):
    plain = RANDOM | {"random_state": 5}
    fitted = MetaRewardModel(**plain).fit(episodes, checkpoint_dir=tmp_path)
    given = {name: np.int64(value) if type(value) is int else value for name, value in plain.items()}
    again = MetaRewardModel(**given).fit(episodes, checkpoint_dir=tmp_path)
    assert again.history_ == fitted.history_


@pytest.mark.parametrize("change", ["data", "parameters", "seed"])
def test__fit__checkpoint_of_something_else__is_refused_and_stays(episodes, tmp_path, change):
    MetaRewardModel(**RANDOM, random_state=0).fit(episodes, checkpoint_dir=tmp_path)
    content = (tmp_path / CHECKPOINT_FILE).read_bytes()
    params = RANDOM | {"random_state": 0}
    if change == "parameters":
        params["learning_rate"] = 0.02
    if change == "seed":
        params["random_state"] = 1
    data = episodes[:39] if change == "data" else episodes
    with pytest.raises(ValueError, match=r"checkpoint of other data or parameters.*remove it, or pass another dir"):
        MetaRewardModel(**params).fit(data, checkpoint_dir=tmp_path)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == content


def test__fit__damaged_checkpoint__says_which_file(episodes, tmp_path):
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"damaged")
    with pytest.raises(ModelFileError, match=f"{CHECKPOINT_FILE} is no checkpoint that can be read.*remove it"):
        MetaRewardModel(**RANDOM).fit(episodes, checkpoint_dir=tmp_path)


@pytest.fixture(scope="module")
def checkpoint(episodes, tmp_path_factory):
    """A finished fit, its file, and what it learnt."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = MetaRewardModel(**RANDOM, random_state=0, device="cpu").fit(episodes, checkpoint_dir=folder)
    return folder, model


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(data=st.data())
def test__fit__altered_checkpoint__is_an_error_that_names_it_or_changes_no_bit(
    episodes, checkpoint, altered_folder, tmp_path, data
):
    folder = altered_folder(data, checkpoint[0], tmp_path / "altered")
    model = MetaRewardModel(**RANDOM, random_state=0, device="cpu")
    try:
        model.fit(episodes, checkpoint_dir=folder)
    except ModelFileError as error:
        message = str(error)
    else:
        message = None
    if message is None:
        assert same_bits(model, checkpoint[1])
    else:
        assert str(folder / CHECKPOINT_FILE) in message
        assert message.endswith(": remove it")
    assert not (folder / "code was run").exists()


def test__checkpoint__any_byte_altered__is_an_error_or_the_same_state(tmp_path):
    tensors = {"best": torch.arange(5.0, dtype=torch.float64), "generator": torch.tensor([3, 1], dtype=torch.uint8)}
    FileKeeper(tmp_path, 1, "ours", [1, 2]).save("train", tensors, {"history": [{"loss": 0.5}]})
    file = tmp_path / CHECKPOINT_FILE
    content = file.read_bytes()
    n_refused = 0
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found, facts = FileKeeper(tmp_path, 1, "ours", [1, 2]).load("train")
        except ModelFileError:
            n_refused += 1
        else:
            assert facts == {"history": [{"loss": 0.5}]}
            assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert n_refused > 0.8 * len(content)


def test__fit__checkpoint_without_seal_and_digest__is_gone_on_from(episodes, checkpoint, tmp_path, monkeypatch):
    """Earlier versions wrote neither."""
    with safe_open(checkpoint[0] / CHECKPOINT_FILE, "pt") as file:
        facts = json.loads(file.metadata()["skmrm"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del facts["config_sha256"], facts["tensors_digest"]
    save_file(tensors, tmp_path / CHECKPOINT_FILE, {"skmrm": json.dumps(facts)})
    monkeypatch.setattr("skmrm.meta.outer.loop.pack_epoch", lambda *given: pytest.fail("an epoch was run"))
    model = MetaRewardModel(**RANDOM, random_state=0, device="cpu").fit(episodes, checkpoint_dir=tmp_path)
    assert same_bits(model, checkpoint[1])


def test__fit__bad_checkpoint_arguments__are_all_listed_before_any_work(episodes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"checkpoint_dir must be a folder.*checkpoint_every takes a number of epochs"):
        MetaRewardModel(**RANDOM).fit(None, checkpoint_dir=tmp_path / "file", checkpoint_every=0)
    with pytest.raises(ValueError, match="checkpoint_dir takes a path, got 3"):
        MetaRewardModel(**RANDOM).fit(None, checkpoint_dir=3)
