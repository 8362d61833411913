"""What a fit tells: to callbacks, to the log, and to whoever looks at a terminal."""

import json
import logging
import sqlite3
import sys
import threading
import time
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skmrm import MetaRewardModel, personalization_report
from skmrm._support import progress
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.callbacks import FitCallback, MLflowCallback, TrackioCallback, WandbCallback
from skmrm.datasets import load_style_preferences
from skmrm.exceptions import EpisodeError

OUTER = {"n_bases": 2, "max_epochs": 3, "spectral_init": False, "random_state": 0, "device": "cpu"}


class Recorder(FitCallback):
    """Everything that it was told, in order."""

    def __init__(self):
        self.told = []

    def on_fit_begin(self, record):
        self.told.append(("begin", record))

    def on_stage_begin(self, record):
        self.told.append(("stage", record))

    def on_stage_end(self, record):
        self.told.append(("ended", record))

    def on_epoch_end(self, record):
        self.told.append(("epoch", record))

    def on_fit_end(self, record):
        self.told.append(("end", record))

    def on_fit_error(self, record):
        self.told.append(("error", record))

    def of(self, kind):
        return [record for told, record in self.told if told == kind]

    @property
    def epochs(self):
        return [{name: value for name, value in record.items() if name != "stage"} for record in self.of("epoch")]


@pytest.mark.parametrize(
    "estimator",
    [
        MetaRewardModel(**(OUTER | {"spectral_init": True})),
        MetaRewardModel(**OUTER),
        MetaRewardModel(random_state=0, max_memory=1.0, max_epochs=1),
        MetaRewardModel(random_state=0, adaptation="gradient", max_epochs=0),
        PooledBradleyTerry(random_state=0),
        LowRankRewards(max_epochs=3, random_state=0),
        PerUserBradleyTerry(random_state=0),
    ],
    ids=["spectral", "random", "streamed", "gradient", "pooled", "low-rank", "per-user"],
)
def test__callbacks__every_estimator__are_told_of_whole_stages_in_order_and_of_all_epochs(estimator, few_episodes):
    recorder = Recorder()
    fitted = clone(estimator).fit(few_episodes, callbacks=[recorder])
    (begun,), (end,) = recorder.of("begin"), recorder.of("end")
    assert recorder.told[0] == ("begin", begun)
    assert recorder.told[-1] == ("end", end)
    assert (begun["n_users"], begun["n_pairs"]) == (few_episodes.n_users, few_episodes.n_pairs)
    assert begun["params"] == estimator.get_params(deep=False)
    stages = [record["stage"] for record in recorder.of("stage")]
    assert stages == [record["stage"] for record in recorder.of("ended")]  # each ends before the next begins
    kinds = [kind for kind, _ in recorder.told if kind in ("stage", "ended")]
    assert kinds == ["stage", "ended"] * len(stages)
    places = [begun["stages"].index(stage) for stage in stages]
    assert places == sorted(set(places))
    assert [record["number"] for record in recorder.of("stage")] == [place + 1 for place in places]
    assert recorder.epochs == fitted.history_
    assert end["selection"] == fitted.selection_
    assert end["n_bases"] == len(fitted.start_weights_) or isinstance(estimator, PerUserBradleyTerry)
    assert sum(record["seconds"] for record in recorder.of("ended")) <= end["seconds"]


def test__callbacks__whatever_they_do_with_records__change_no_number(few_episodes):
    class Vandal(Recorder):
        def on_fit_begin(self, record):
            record["params"].clear()
            record["stages"].clear()

        def on_epoch_end(self, record):
            record.clear()

        def on_fit_end(self, record):
            for one in record["selection"]:
                one.clear()

    plain = MetaRewardModel(**OUTER).fit(few_episodes)
    told = MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[Vandal()])
    assert told.history_ == plain.history_
    assert told.get_params() == plain.get_params()
    np.testing.assert_array_equal(told.base_rewards_.params["bases"], plain.base_rewards_.params["bases"])


def test__callbacks__a_fit_with_texts__names_its_encoding_and_no_user_or_text():
    episodes = load_style_preferences(n_users=20, n_pairs=6, random_state=0).episodes
    recorder = Recorder()
    MetaRewardModel(random_state=0, encoder=None).fit(episodes, callbacks=[recorder])
    assert [record["stage"] for record in recorder.of("ended")] == ["encode", "pooled reward", "how users differ"]
    written = json.dumps(recorder.told)
    for prompt, response in episodes.items:
        assert prompt not in written
        assert response not in written
    assert not any(f'"{user}"' in written for user in episodes.users)


def test__callbacks__an_error_of_theirs__reaches_the_caller_and_all_are_told(few_episodes):
    class Breaks(Recorder):
        def on_epoch_end(self, record):
            raise RuntimeError("disk full")

    first, second = Recorder(), Breaks()
    with pytest.raises(RuntimeError, match="disk full"):
        MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[first, second])
    assert first.of("error") == second.of("error") == [{"error": "RuntimeError"}]
    assert first.of("end") == []


def test__callbacks__bad_episodes__are_refused_before_anything_is_told():
    recorder = Recorder()
    with pytest.raises(EpisodeError):
        MetaRewardModel().fit([], callbacks=[recorder])
    assert recorder.told == []


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (Recorder(), "got a Recorder: put it into a list"),
        ([Recorder], r"got the class Recorder: pass Recorder\(\)"),
        ([print], "without 'on_fit_begin', 'on_stage_begin', 'on_stage_end' and 3 more: make it a subclass"),
    ],
)
def test__callbacks__that_are_none__are_named_with_the_remedy(callbacks, message, few_episodes):
    with pytest.raises(ValueError, match=message):
        PooledBradleyTerry().fit(few_episodes, callbacks=callbacks)


def test__callbacks__fit_that_goes_on_from_a_checkpoint__tells_the_epochs_of_one_never_stopped(few_episodes, tmp_path):
    class Stops(Recorder):
        def on_epoch_end(self, record):
            super().on_epoch_end(record)
            if record["epoch"] == 1:
                raise KeyboardInterrupt

    straight, stopped, resumed = Recorder(), Stops(), Recorder()
    model = MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[straight])
    with pytest.warns(UserWarning, match="interrupted after 1 epochs"):
        MetaRewardModel(**OUTER).fit(few_episodes, checkpoint_dir=tmp_path, callbacks=[stopped])
    assert stopped.epochs == straight.epochs[:2]
    assert len(stopped.of("end")) == 1  # the best state so far is a model
    found = MetaRewardModel(**OUTER).fit(few_episodes, checkpoint_dir=tmp_path, callbacks=[resumed])
    assert resumed.epochs == straight.epochs
    np.testing.assert_array_equal(found.base_rewards_.params["bases"], model.base_rewards_.params["bases"])


def test__callbacks__in_a_pipeline_and_in_cross_validation__reach_the_fit(few_episodes):
    recorder = Recorder()
    make_pipeline(MetaRewardModel(**OUTER)).fit(few_episodes, metarewardmodel__callbacks=[recorder])
    assert len(recorder.of("end")) == 1
    model = MetaRewardModel(**OUTER)
    cross_val_score(model, few_episodes, cv=2, params={"callbacks": [recorder]})
    assert len(recorder.of("end")) == 3
    assert "callbacks" not in model.get_params()


# -- the log and the bar -----------------------------------------------------------------------------------------------


def test__log__of_a_fit_and_a_report__has_stages_with_seconds_and_what_was_chosen(episodes, caplog):
    caplog.set_level(logging.INFO, "skmrm")
    model = PooledBradleyTerry(random_state=0).fit(episodes[:30])
    personalization_report(model, episodes[30:], baseline=model, support_sizes=[0, None], n_splits=1)
    said = [record.getMessage() for record in caplog.records]
    assert (
        said[0] == f"fit: PooledBradleyTerry on 30 users, {episodes[:30].n_pairs} pairs, {episodes[:30].n_items} items"
    )
    assert said[1] == "fit: pooled reward"
    assert said[2].startswith("fit: pooled reward took ")
    assert f"ridge={model.ridge_:g}" in said[3]
    assert [line for line in said[4:] if " took " not in line] == [
        f"report: {stage}" for stage in ("encode", "model", "reference", "intervals", "verdict")
    ]


def test__log__of_a_user__is_silent_at_info(model, episodes, caplog):
    caplog.set_level(logging.INFO, "skmrm")
    model.adapt(episodes[0]).predict(episodes.features[:2])
    assert caplog.records == []


class Terminal:
    """A stream that says it is a terminal, and keeps what is written."""

    encoding = "utf-8"

    def __init__(self):
        self.written = ""

    def isatty(self):
        return True

    def write(self, text):
        self.written += text

    def flush(self):
        pass


@pytest.fixture
def terminal(monkeypatch):
    """Stderr is a terminal, and bars come at once."""
    stream = Terminal()
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "_REFRESH", 0.001)
    # not sys.stderr itself, which pytest sets again before a test begins
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream, stdout=sys.stdout, modules=sys.modules))
    return stream


class Waits(FitCallback):
    """Until the bar was drawn in each stage."""

    def __init__(self, stream):
        self.stream = stream

    def on_stage_begin(self, record):
        number = f" {record['number']}/{record['n_stages']}" if record["n_stages"] > 1 else ""
        wanted = f"fit{number}: {record['stage']}"
        for _ in range(2000):
            if wanted in self.stream.written:
                return
            time.sleep(0.001)
        raise AssertionError(wanted, self.stream.written[-300:])


def test__bar__in_a_terminal__shows_every_stage_and_is_gone_in_the_end(terminal, few_episodes):
    MetaRewardModel(**(OUTER | {"spectral_init": True})).fit(few_episodes, callbacks=[Waits(terminal)])
    assert terminal.written.rpartition("\r")[0].endswith(" ")  # the line was cleared
    assert "\n" not in terminal.written


@pytest.mark.parametrize("verbose", [0, False])
def test__bar__verbose_0__is_not_drawn(verbose, terminal, episodes):
    model = MetaRewardModel(random_state=0, verbose=verbose).fit(episodes[:30])
    personalization_report(model, episodes[30:], support_sizes=[0], n_splits=1)
    assert terminal.written == ""


def test__bar__one_user_and_a_few_texts__is_not_drawn(terminal, episodes):
    own = load_style_preferences(n_users=10, n_pairs=6, random_state=0).episodes
    model = PooledBradleyTerry(random_state=0, verbose=0).fit(own)
    model.verbose = 1
    user = model.adapt(own[0])
    user.rank("Tea?", ["Yes.", "No.", "Perhaps."])
    model.score("Tea?", "Yes.")
    assert terminal.written == ""


def test__bar__an_error_and_an_interrupt__close_it(terminal, few_episodes):
    for error in (ValueError, KeyboardInterrupt):

        class Breaks(Waits):
            def on_stage_end(self, record, error=error):
                raise error

        with pytest.raises(error):
            MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[Breaks(terminal)])
        names = {thread.name for thread in threading.enumerate()}
        assert not any("skmrm" in name for name in names)
    assert terminal.written.rpartition("\r")[0].endswith(" ")


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test__bar__in_a_worker_of_joblib__is_not_drawn(backend, terminal):
    assert progress._is_drawn(1)
    assert joblib.Parallel(2, backend=backend)([joblib.delayed(progress._is_drawn)(1)] * 2) == [False, False]


# -- trackers ----------------------------------------------------------------------------------------------------------


def test__trackers__package_missing__say_how_to_install_it(few_episodes, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="MLflowCallback needs mlflow, which is not installed: pip install mlflow"):
        MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[MLflowCallback()])


def mlflow_in(folder, monkeypatch):
    """MLflow with files of its own, for which the small package has to be asked."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder.as_uri())
    return pytest.importorskip("mlflow", reason="needs mlflow: pip install mlflow-skinny")


def test__mlflow__own_run__has_parameters_epochs_seconds_and_the_selection(few_episodes, tmp_path, monkeypatch):
    mlflow = mlflow_in(tmp_path / "runs", monkeypatch)
    model = MetaRewardModel(**(OUTER | {"spectral_init": True})).fit(few_episodes, callbacks=[MLflowCallback("first")])
    assert mlflow.active_run() is None
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params["max_epochs"] == "3"
    assert run.data.params["n_users"] == str(few_episodes.n_users)
    losses = [one.value for one in client.get_metric_history(run.info.run_id, "validation_loss")]
    assert losses == [record["validation_loss"] for record in model.history_]
    assert {"seconds/pooled reward", "seconds/outer loop", "n_bases"} <= set(run.data.metrics)
    weights = {name: value for name, value in run.data.metrics.items() if name.startswith("weight/")}
    assert sum(weights.values()) == pytest.approx(1.0)


class Breaks(FitCallback):
    """Ends a fit."""

    def on_stage_begin(self, record):
        raise ValueError("of callbacks")


def test__mlflow__fit_that_fails__ends_its_run_as_failed(few_episodes, tmp_path, monkeypatch):
    mlflow = mlflow_in(tmp_path / "runs", monkeypatch)
    with pytest.raises(ValueError, match="of callbacks"):
        MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[MLflowCallback(), Breaks()])
    assert mlflow.active_run() is None
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert run.info.status == "FAILED"


def test__wandb__offline__has_config_epochs_and_seconds(few_episodes, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs wandb: pip install wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    init = {"project": "p", "mode": "offline", "dir": tmp_path}
    with wandb.init(**init) as run:
        logged = []
        monkeypatch.setattr(run, "log", lambda numbers: logged.append(numbers))
        model = MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[WandbCallback()])
        assert wandb.run is run  # an active one is left open
        assert run.config["n_users"] == few_episodes.n_users
    epochs = [one for one in logged if "epoch" in one]
    assert [one["epoch"] for one in epochs] == [record["epoch"] for record in model.history_]
    assert [one["validation_loss"] for one in epochs] == [record["validation_loss"] for record in model.history_]
    MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[WandbCallback(**init)])
    assert wandb.run is None
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2


def test__trackio__local_folder__has_config_epochs_and_seconds(few_episodes, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio", reason="needs trackio: pip install trackio")
    model = MetaRewardModel(**OUTER).fit(few_episodes, callbacks=[TrackioCallback("tastes", name="first", embed=False)])
    assert trackio.context_vars.current_run.get() is None
    (file,) = (file for file in trackio.utils.TRACKIO_DIR.glob("*.db"))
    with sqlite3.connect(file) as database:
        rows = [json.loads(row) for (row,) in database.execute("select metrics from metrics order by id")]
    losses = [row["validation_loss"] for row in rows if "epoch" in row]
    assert losses == [record["validation_loss"] for record in model.history_]
    assert any("seconds/outer loop" in row for row in rows)
