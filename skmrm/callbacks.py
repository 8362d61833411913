"""What a fit tells while it runs: one protocol, and three trackers that write it down."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from importlib import import_module
from math import isfinite
from numbers import Real
from typing import Any

from skmrm._support.wording import described, name_some

__all__ = ["FitCallback", "MLflowCallback", "TrackioCallback", "WandbCallback"]


class FitCallback:
    """What a fit calls while it runs; a subclass overrides what it wants to hear, everything else does nothing.

    ``fit(episodes, callbacks=[...])`` calls each one in turn, in the thread that fits. Records are plain dicts of texts
    and numbers, and name no user and no text of the data. An exception ends the fit, and reaches whoever called it;
    KeyboardInterrupt in the outer loop ends it with the best state so far, as Ctrl-C does. Nothing that a callback does
    with a record changes what is learnt.

    Examples
    --------
    >>> from skmrm import MetaRewardModel
    >>> from skmrm.callbacks import FitCallback
    >>> from skmrm.datasets import make_user_preferences
    >>> class Stages(FitCallback):
    ...     def on_stage_begin(self, record):
    ...         print(f"{record['number']}/{record['n_stages']} {record['stage']}")
    >>> data = make_user_preferences(n_users=20, n_features=3, random_state=0)
    >>> model = MetaRewardModel(random_state=0).fit(data.episodes, callbacks=[Stages()])
    1/2 pooled reward
    2/2 how users differ
    """

    def on_fit_begin(self, record: dict[str, Any]) -> None:
        """Everything was checked, and the work begins.

        Parameters
        ----------
        record : dict
            ``estimator`` (name of its class), ``params`` (its parameters; of an object its class), ``n_users``,
            ``n_pairs``, ``n_items``, and ``stages``, the names of all that there may be.
        """

    def on_stage_begin(self, record: dict[str, Any]) -> None:
        """A stage begins.

        Parameters
        ----------
        record : dict
            ``stage``, its ``number`` from 1 up, and ``n_stages``.
        """

    def on_stage_end(self, record: dict[str, Any]) -> None:
        """A stage has ended.

        Parameters
        ----------
        record : dict
            ``stage`` and ``seconds``.
        """

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        """An epoch has ended; a fit that goes on from a checkpoint first tells of those that were done before.

        Parameters
        ----------
        record : dict
            As in ``history_``: ``epoch`` (0 is the start), ``training_loss`` and ``validation_loss`` (nats a pair, or
            None), ``learning_rate`` where there is one; and the ``stage``.
        """

    def on_fit_end(self, record: dict[str, Any]) -> None:
        """The model is fitted.

        Parameters
        ----------
        record : dict
            ``seconds``, ``n_bases``, ``ridge`` (or None), ``kernel`` (or None), and ``selection`` as in ``selection_``.
        """

    def on_fit_error(self, record: dict[str, Any]) -> None:
        """The fit ends by an exception, which is raised afterwards.

        Parameters
        ----------
        record : dict
            ``error``: the name of its class. Its words may hold ids of users.
        """


# of everything that was tried; names of the epochs' numbers are taken, and a tracker that has folders takes no both
_FINAL = {"final_validation_loss": "validation_loss", "weight": "weight"}
METHODS = tuple(name for name in vars(FitCallback) if name.startswith("on_"))


def callback_problems(callbacks: Any) -> list[str]:
    """What is wrong with a list of callbacks, known before any work is done."""
    if callbacks is None:
        return []
    rule = "callbacks takes a list of objects with the methods of skmrm.callbacks.FitCallback"
    if not isinstance(callbacks, list | tuple):
        return [f"{rule}, got {described(callbacks)}: put it into a list"]
    problems = []
    for one in callbacks:
        if isinstance(one, type):
            problems.append(f"{rule}, got the class {one.__name__}: pass {one.__name__}()")
        elif missing := [name for name in METHODS if not callable(getattr(one, name, None))]:
            problems.append(f"{rule}, got {described(one)} without {name_some(missing)}: make it a subclass of it")
    return problems


class _Tracker(FitCallback):
    """Parameters, epochs, seconds and the final selection, as numbers by name, into a run of some tracker."""

    _module: str
    _own = False  # whether the run was begun here, and is ended here

    def _load(self) -> Any:
        try:
            return import_module(self._module)
        except ImportError as error:
            name = type(self).__name__
            raise ImportError(
                f"{name} needs {self._module}, which is not installed: pip install {self._module}"
            ) from error

    @abstractmethod
    def _begin(self, params: dict[str, Any]) -> bool:
        """Begin a run unless there is one, and say whether it did; write parameters."""

    @abstractmethod
    def _log(self, numbers: dict[str, float], step: int | None = None) -> None:
        """Write numbers."""

    @abstractmethod
    def _finish(self, failed: bool) -> None:
        """End the run."""

    def on_fit_begin(self, record: dict[str, Any]) -> None:
        sizes = {name: record[name] for name in ("estimator", "n_users", "n_pairs", "n_items")}
        self._own = self._begin(sizes | record["params"])

    def on_stage_end(self, record: dict[str, Any]) -> None:
        self._log({f"seconds/{record['stage']}": record["seconds"]})

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        self._log(_numbers({name: one for name, one in record.items() if name != "epoch"}), step=record["epoch"])

    def on_fit_end(self, record: dict[str, Any]) -> None:
        found = {"seconds/fit": record["seconds"], "n_bases": record["n_bases"], "ridge": record["ridge"]}
        for one in record["selection"]:
            found |= {f"{key}/{one['setting']}": one.get(name) for key, name in _FINAL.items()}
        self._log(_numbers(found))
        if self._own:
            self._finish(failed=False)

    def on_fit_error(self, record: dict[str, Any]) -> None:
        if self._own:
            self._finish(failed=True)


class MLflowCallback(_Tracker):
    """Write a fit into MLflow: into the active run, or into one of its own.

    Where it is written to is MLflow's setting (``mlflow.set_tracking_uri``, ``mlflow.set_experiment``). Parameters of
    the estimator and sizes of the data are parameters of the run; metrics are the epochs' losses, ``seconds/<stage>``,
    and at the end ``final_validation_loss/<setting>`` and ``weight/<setting>`` of everything that was tried.

    Parameters
    ----------
    run_name : str, optional
        Of a run of its own.

    Raises
    ------
    ImportError
        When a fit begins, if MLflow is not installed.
    """

    _module = "mlflow"

    def __init__(self, run_name: str | None = None) -> None:
        self.run_name = run_name

    def _begin(self, params: dict[str, Any]) -> bool:
        mlflow = self._load()
        begun = mlflow.active_run() is None
        if begun:
            mlflow.start_run(run_name=self.run_name)
        mlflow.log_params(params)
        return begun

    def _log(self, numbers: dict[str, float], step: int | None = None) -> None:
        # it allows no other characters in names
        self._load().log_metrics({re.sub(r"[^\w\-. /]+", "_", name): one for name, one in numbers.items()}, step=step)

    def _finish(self, failed: bool) -> None:
        self._load().end_run("FAILED" if failed else "FINISHED")


class _RunCallback(_Tracker):
    """A tracker with an object for a run: its config, `log` and `finish`."""

    def __init__(self, **init: Any) -> None:
        self.init = init

    @abstractmethod
    def _active(self) -> Any:
        """The run that somebody began, or None."""

    def _begin(self, params: dict[str, Any]) -> bool:
        module, active = self._load(), self._active()
        self._run = module.init(**self.init) if active is None else active
        self._run.config.update(params)
        return active is None

    def _log(self, numbers: dict[str, float], step: int | None = None) -> None:
        # steps of a run only rise, whatever else is in it: an epoch is a number beside the others
        self._run.log(numbers if step is None else {"epoch": step, **numbers})


class WandbCallback(_RunCallback):
    """Write a fit into Weights & Biases: into the active run, or into one of its own.

    Parameters of the estimator and sizes of the data are the run's config; the rest is as of :class:`MLflowCallback`.

    Parameters
    ----------
    **init
        What ``wandb.init`` takes for a run of its own: ``project``, ``name``, ``mode="offline"`` ...

    Raises
    ------
    ImportError
        When a fit begins, if wandb is not installed.
    """

    _module = "wandb"

    def _active(self) -> Any:
        return self._load().run

    def _finish(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class TrackioCallback(_RunCallback):
    """Write a fit into trackio, which keeps runs in a local folder: into the active run, or into one of its own.

    Parameters of the estimator and sizes of the data are the run's config; the rest is as of :class:`MLflowCallback`.

    Parameters
    ----------
    project : str, default="skmrm"
        Of a run of its own.
    **init
        What else ``trackio.init`` takes: ``name``, ``space_id`` ...

    Raises
    ------
    ImportError
        When a fit begins, if trackio is not installed.
    """

    _module = "trackio"

    def __init__(self, project: str = "skmrm", **init: Any) -> None:
        super().__init__(project=project, **init)

    def _active(self) -> Any:
        return self._load().context_vars.current_run.get()

    def _finish(self, failed: bool) -> None:
        self._load().finish()  # which also forgets that the run was active


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What a tracker can draw."""
    return {name: float(value) for name, value in record.items() if isinstance(value, Real) and isfinite(value)}
