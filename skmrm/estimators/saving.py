"""Save and load without pickle: a folder with numbers in safetensors and everything else in JSON.

Loading never executes code from the files: classes are looked up in a fixed table, never imported by name. Both files
are covered by SHA-256 digests, so that a truncated or altered file is noticed before anything is made of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from skmrm._support.device import device_problems
from skmrm._support.files import is_intact, json_object, sealed, write_whole
from skmrm._support.wording import raise_all
from skmrm.base_rewards import BaseRewards, make_base_rewards
from skmrm.encoders._cache import resolve_encoder
from skmrm.encoders._saving import encoder_from_config, encoder_to_config, fitted_arrays, restore_fitted
from skmrm.episodes.features import check_kept_names
from skmrm.episodes.history import History
from skmrm.episodes.user_features import ColdStart, UserColumns
from skmrm.estimators.inner_loop import InnerLoop
from skmrm.exceptions import ModelFileError, reading
from skmrm.meta.adaptation import Adaptation
from skmrm.meta.adaptation.registry import rule_config, rule_of_config

__all__ = ["SCHEMA_VERSION", "load_model", "load_user", "save_model", "save_user"]

SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
ARRAYS_FILE = "arrays.safetensors"
_AXES = {"mean": 1, "scale": 1, "bases": 2, "kernel.points": 2, "kernel.out": 2}
_NETWORK = "encoder.facts"  # an array that models with an HFEncoder have
_AGAIN = "save the model again"


Arrays = dict[str, NDArray[Any]]


class Saved(Protocol):
    """What is written of a fitted estimator, and read again."""

    _file_kind: ClassVar[str]
    _fitted_values: ClassVar[tuple[str, ...]]
    _fitted_arrays: ClassVar[tuple[str, ...]]
    _rule_params: Arrays
    _cold: ColdStart | None

    _base_rewards: BaseRewards
    adaptation_: Adaptation

    @property
    def start_weights_(self) -> NDArray[Any]:
        """Weights (n_bases,) of a user without choices."""
        ...

    def __init__(self, **params: Any) -> None: ...

    def _validate_params(self) -> None: ...

    def _keep_learnt(
        self,
        params: Arrays,
        encoder: Any,
        rule: Adaptation,
        feature_names: Sequence[str] | None,
        scale: Sequence[Any] | None,
    ) -> None: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor parameters."""
        ...


class SavedUser(Protocol):
    """What is written of a user's model."""

    @property
    def _base(self) -> BaseRewards: ...

    @property
    def weights_(self) -> NDArray[Any]:
        """Weights (n_bases,)."""
        ...

    @property
    def weights_cov_(self) -> NDArray[Any] | None:
        """Their covariance (n_bases, n_bases)."""
        ...

    @property
    def n_pairs_(self) -> int:
        """Number of choices."""
        ...

    @property
    def _inner(self) -> InnerLoop | None: ...

    @property
    def _history(self) -> History | None: ...


Model = TypeVar("Model", bound=Saved)
User = TypeVar("User", bound=SavedUser)


def save_model(model: Saved, path: str | Path) -> None:
    """Write a fitted estimator into a folder; see :meth:`skmrm.MetaRewardModel.save`."""
    problems: list[str] = []
    params = _params_to_config(model.get_params(deep=False), problems)
    config, arrays = _base_to_files(model._base_rewards, problems)
    config["params"] = params
    config["rule"] = rule_config(model.adaptation_, problems)
    cold = model._cold
    config["user_columns"] = None if cold is None else cold.columns.columns
    config["fitted"] = {name: getattr(model, name) for name in model._fitted_values}
    if problems:
        raise ValueError("save cannot write this model without pickle: " + "; ".join(dict.fromkeys(problems)))
    arrays |= {f"adaptation.{name}": value for name, value in model._rule_params.items()}
    fitted = {f"fitted.{name}": getattr(model, name, None) for name in model._fitted_arrays}
    fitted["fitted.user_effects"] = None if cold is None else cold.effects
    arrays |= {name: value for name, value in fitted.items() if value is not None}
    _write(path, model._file_kind, config, arrays)


def load_model(kind: type[Model], path: str | Path, device: str) -> Model:
    """Read an estimator; see :meth:`skmrm.MetaRewardModel.load`."""
    _check_device(device)
    config, arrays = _read(path, kind._file_kind)
    with _reading(path):
        model = kind(**_params_from_config(config["params"], device) | {"device": device})
        model._validate_params()
        learnt = _with_prefix(arrays, "base.") | _with_prefix(arrays, "adaptation.")
        encoder, rule = _fitted_encoder(config, arrays, device), rule_of_config(config["rule"])
        model._keep_learnt(learnt, encoder, rule, config.get("feature_names"), config.get("scale"))
        _check_fit(config, model._base_rewards, arrays, {"start": model.start_weights_})
        fitted = _with_prefix(arrays, "fitted.")
        values = {"n_pairs_": None} | config["fitted"]  # which earlier versions did not count
        for name in kind._fitted_values:
            setattr(model, name, values[name])
        if config.get("user_columns") is not None:
            columns = UserColumns(tuple(config["user_columns"]))
            effects = fitted.get("user_effects")
            if effects is not None and effects.shape != (model._base_rewards.n_bases, columns.n_columns):
                raise ValueError(f"effects of {columns.n_columns} user features, of shape {effects.shape}")
            model._cold = ColdStart(columns, effects)
        for name in kind._fitted_arrays:
            setattr(model, name, fitted.get(name))
    return model


def _params_to_config(params: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Constructor parameters as JSON values."""
    params["encoder"] = resolve_encoder(params["encoder"], params["memory"])
    if params.get("user_encoder") is not None:
        problems.append("user_encoder is a transformer of scikit-learn: fit on the numbers that it makes, without it")
    if params["encoder"] is not None:
        params["encoder"] = _encoder_config(params["encoder"], problems)
    if not isinstance(params.get("adaptation", ""), str):
        params["adaptation"] = rule_config(params["adaptation"], problems)
    if not isinstance(params["random_state"], Integral | None):
        params["random_state"] = None  # a generator's state is not part of the fitted model
    for name in ("memory", "device"):  # belong to a machine
        del params[name]
    return params


def _params_from_config(config: Mapping[str, Any], device: str) -> dict[str, Any]:
    # Earlier versions wrote both. A cache holds pickles, and belongs to a machine: no file says which to trust.
    params = {name: value for name, value in config.items() if name not in ("hidden_layers", "memory")}
    if isinstance(params["encoder"], dict):
        params["encoder"] = encoder_from_config(params["encoder"], device)
    if isinstance(params.get("adaptation"), dict):
        params["adaptation"] = rule_of_config(params["adaptation"])
    return params


def save_user(user_model: SavedUser, path: str | Path) -> None:
    """Write one user's model into a folder; see :meth:`skmrm.UserRewardModel.save`."""
    problems: list[str] = []
    config, arrays = _base_to_files(user_model._base, problems)
    raise_all(problems, "save cannot write this user's model without pickle")
    config |= {"n_pairs": user_model.n_pairs_, "device": "auto"}  # the latter for readers that ask for one
    arrays["user.weights"] = user_model.weights_
    if user_model.weights_cov_ is not None:
        arrays["user.weights_cov"] = user_model.weights_cov_
    inner, history = user_model._inner, user_model._history
    unwritten: list[str] = []
    rule = None if inner is None or history is None else rule_config(inner.rule, unwritten)
    if inner is not None and history is not None and not unwritten:  # what update needs
        config["rule"] = rule
        arrays |= {f"adaptation.{name}": value for name, value in inner.params.items()}
        arrays |= {f"history.{name}": column for name, column in history.arrays.items()}
    _write(path, "skmrm user model", config, arrays)


def load_user(kind: Callable[..., User], path: str | Path, device: str) -> User:
    """Read one user's model; see :meth:`skmrm.UserRewardModel.load`."""
    _check_device(device)
    config, arrays = _read(path, "skmrm user model")
    with _reading(path):
        encoder = _fitted_encoder(config, arrays, device)
        named = config.get("feature_names"), config.get("scale")
        base = make_base_rewards(_with_prefix(arrays, "base."), encoder, device, *named)
        _check_fit(config, base, arrays, arrays)
        adapted = base, arrays["user.weights"], arrays.get("user.weights_cov"), int(config["n_pairs"])
        if "rule" not in config:
            return kind(*adapted)
        inner = InnerLoop(rule_of_config(config["rule"]), _with_prefix(arrays, "adaptation."))
        return kind(*adapted, inner, History.of_arrays(_with_prefix(arrays, "history."), base.n_bases))


def _base_to_files(base: BaseRewards, problems: list[str]) -> tuple[dict[str, Any], Arrays]:
    arrays = {f"base.{name}": value for name, value in base.params.items()}
    config: dict[str, Any] = {"encoder": None, "feature_names": base.feature_names, "scale": base.scale}
    if base.encoder is not None:
        config["encoder"] = _encoder_config(base.encoder, problems)
        if not problems:
            arrays |= {f"encoder.{name}": value for name, value in fitted_arrays(base.encoder).items()}
    return config, arrays


def _fitted_encoder(config: Mapping[str, Any], arrays: Arrays, device: str) -> Any:
    if config["encoder"] is None:
        if any(name.startswith("encoder.") for name in arrays):
            raise ValueError("it has what an encoder learnt, and no encoder")
        return None
    encoder = encoder_from_config(config["encoder"], device)
    restore_fitted(encoder, _with_prefix(arrays, "encoder."))
    return encoder


def _check_device(device: str) -> None:
    raise_all(device_problems(device))


def _encoder_config(encoder: Any, problems: list[str]) -> dict[str, Any]:
    try:
        return encoder_to_config(encoder)
    except TypeError as error:
        problems.append(str(error))
        return {}


def _check_fit(config: Mapping[str, Any], base: BaseRewards, arrays: Arrays, weights: Arrays) -> None:
    """Score an item, for an error now and not when somebody asks: arrays may be whole, and of different models."""
    base = base.on("cpu")
    check_kept_names(config.get("feature_names"), base.n_features)
    wrong = [name for name, n_axes in _AXES.items() if name in base.params and base.params[name].ndim != n_axes]
    if wrong:
        raise ValueError(f"another number of axes than there should be: {', '.join(wrong)}")
    if base.encoder is None or _NETWORK in arrays:  # which is looked up when it is needed
        found = base._of_features(np.zeros((1, base.n_features), base.params["mean"].dtype))
    else:
        found = base.of_items([("", "a")])
    shapes = {"start": (base.n_bases,), "user.weights": (base.n_bases,), "user.weights_cov": 2 * (base.n_bases,)}
    shapes |= {"crowd.weights": shapes["start"], "crowd.cov": shapes["user.weights_cov"]}
    kept = {**base.params, **weights}
    wrong = [name for name, shape in shapes.items() if name in kept and kept[name].shape != shape]
    if "crowd.moments" in kept and not _are_moments(kept["crowd.moments"], base.n_bases):
        wrong.append("crowd.moments")
    if found.shape != (1, base.n_bases) or wrong:
        raise ValueError(f"arrays of other shapes than {base.n_bases} base reward functions have: {', '.join(wrong)}")


def _are_moments(array: NDArray[Any], n_bases: int) -> bool:
    return array.ndim == 2 and array.shape[0] == array.shape[1] > n_bases


def _with_prefix(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _write(path: str | Path, kind: str, config: dict[str, Any], arrays: Arrays) -> None:
    """Numbers first, config last, each file moved into place whole: a kill leaves no folder that loads wrongly."""
    from safetensors.numpy import save

    from skmrm import __version__

    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
    document = {
        "kind": kind,
        "schema_version": SCHEMA_VERSION,
        "package_version": __version__,
        **config,
        "arrays_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_whole(folder / ARRAYS_FILE, data)
    write_whole(folder / CONFIG_FILE, sealed(document))


def _read(path: str | Path, kind: str) -> tuple[dict[str, Any], Arrays]:
    from safetensors.numpy import load

    folder = Path(path)
    text, data = (_bytes_of(folder / name) for name in (CONFIG_FILE, ARRAYS_FILE))
    with reading(f"{folder / CONFIG_FILE} is not the config of a saved model", _AGAIN):
        document = json_object(text)
        version = document["schema_version"]
        altered = not is_intact(document)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ModelFileError(
            f"{folder} has schema version {version}; this skmrm reads up to {SCHEMA_VERSION}: upgrade skmrm "
            f"(the folder was written by {document.get('package_version')})"
        )
    if document.get("kind") != kind:
        raise ModelFileError(
            f"{folder} holds a {document.get('kind')}, not a {kind}: load it with the class that saved it"
        )
    if altered:
        raise ModelFileError(f"{folder / CONFIG_FILE} was altered since it was written: {_AGAIN}")
    if document.get("arrays_sha256") != hashlib.sha256(data).hexdigest():
        raise ModelFileError(f"{folder / ARRAYS_FILE} is truncated or was altered since it was written: {_AGAIN}")
    with _reading(path):
        arrays = load(data)
    if "base.hidden.out" in arrays:  # which earlier versions had
        raise ModelFileError(f"{folder} has base rewards with hidden layers, which this skmrm does not have: fit again")
    return document, arrays


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError(
            f"{file} is missing: pass the folder that save was given, with {CONFIG_FILE} and {ARRAYS_FILE} in it"
        ) from None
    except OSError as error:
        raise ModelFileError(f"{file} cannot be read ({error.strerror}): see who may read it, or {_AGAIN}") from None


def _reading(path: str | Path) -> AbstractContextManager[None]:
    return reading(f"{Path(path)} does not hold what save writes", _AGAIN)
