"""Fitted models and adapted users as folders that are served without torch; see :mod:`skmrm.serving`.

The methods ``export_onnx`` of :class:`skmrm.UserRewardModel`, :class:`skmrm.UserModels` and
:class:`skmrm.MetaRewardModel` are the way in. Nothing in a bundle names a user, and no text that a model was fitted on
is in it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm.base_rewards import BaseRewards
from skmrm.meta.adaptation import Adaptation

if TYPE_CHECKING:
    from skmrm._export.encoders import EncoderPart

__all__ = ["ExportReport", "Parity", "export_model", "export_user", "export_users"]

_ATOL, _TRANSFORMER_ATOL = 1e-5, 1e-4  # logits
_N_USERS_COMPARED = 64


@dataclass(frozen=True)
class Parity:
    """How a graph's rewards compare with the live model's on calibration inputs.

    Attributes
    ----------
    n_inputs : int
        Rewards compared.
    largest_difference : float
        In logits; of rewards beyond 1, as a share of them.
    pair_order_agreement : float
        Share of all pairs of inputs that both put in the same order; pairs of equal live rewards do not count.
    """

    n_inputs: int
    largest_difference: float
    pair_order_agreement: float


@dataclass(frozen=True)
class ExportReport:
    """What an export found when it ran its own graph.

    Attributes
    ----------
    parity : Parity
        Of the exact graph; an export whose largest difference exceeds `atol` is an error and writes nothing.
    atol : float
        The bound, in logits.
    quantized : Parity or None
        Of the graph with the quantised encoder, which is the one that was written; None without quantisation.
    """

    parity: Parity
    atol: float
    quantized: Parity | None = None


@dataclass(frozen=True)
class _Exported:
    """One export: whose rewards, what the bundle says and holds of them, and how to ask the live model.

    `weights` are those that the graph takes as an input, (n_users, n_bases); None where it has them.
    """

    base: BaseRewards
    scorer: Literal["user", "users", "model"]
    n_bases: int
    add_head: Callable[[Any, str], None]
    live: Callable[[NDArray[Any]], NDArray[Any]]
    weights: NDArray[Any] | None = None
    adaptation: dict[str, Any] | None = None
    arrays: dict[str, NDArray[Any]] | None = None


def export_user(base: BaseRewards, weights: NDArray[Any], path: Any, **options: Any) -> ExportReport:
    """Write one user's scorer; see :meth:`skmrm.UserRewardModel.export_onnx`."""
    _need_onnx()
    from skmrm._export.heads import add_user_head

    def add_head(graph: Any, features: str) -> None:
        add_user_head(graph, base.params, weights, features)

    return _export(_Exported(base, "user", len(weights), add_head, lambda rewards: rewards @ weights), path, **options)


def export_users(base: BaseRewards, weights: NDArray[Any], path: Any, **options: Any) -> ExportReport:
    """Write one graph and many users' weights; see :meth:`skmrm.UserModels.export_onnx`."""
    return _export_shared(base, "users", weights, path, **options)


def export_model(
    base: BaseRewards,
    start_weights: NDArray[Any],
    rule: Adaptation,
    rule_params: dict[str, NDArray[Any]],
    path: Any,
    **options: Any,
) -> ExportReport:
    """Write a model's graph, starting weights and inner rule; see :meth:`skmrm.MetaRewardModel.export_onnx`."""
    from skmrm.persistence import rule_config
    from skmrm.serving._adaptation import RULES

    problems: list[str] = []
    adaptation = rule_config(rule, problems)
    if not problems and adaptation["kind"] not in RULES:
        problems.append(f"the inner rule {adaptation['kind']!r} has no form without torch")
    if problems:
        return _export_shared(base, "model", start_weights[None], path, {"reason": "; ".join(problems)}, **options)
    return _export_shared(base, "model", start_weights[None], path, adaptation, rule_params, **options)


def _export_shared(
    base: BaseRewards,
    scorer: Literal["users", "model"],
    weights: NDArray[Any],
    path: Any,
    adaptation: dict[str, Any] | None = None,
    arrays: dict[str, NDArray[Any]] | None = None,
    **options: Any,
) -> ExportReport:
    _need_onnx()
    from skmrm._export.heads import add_shared_head

    def add_head(graph: Any, features: str) -> None:
        add_shared_head(graph, base.params, features)

    def live(rewards: NDArray[Any]) -> NDArray[Any]:
        return np.einsum("nk,nk->n", rewards, _spread(weights, len(rewards)))

    wanted = _Exported(base, scorer, base.n_bases, add_head, live, weights, adaptation, arrays)
    return _export(wanted, path, **options)


def _export(
    wanted: _Exported,
    path: str | os.PathLike[str],
    calibration: Any = None,
    atol: float | None = None,
    quantize: Literal["int8"] | None = None,
) -> ExportReport:
    from skmrm._export.bundle import move_bundle
    from skmrm._export.encoders import encoder_part, has_transformer, quantized

    base, target = wanted.base, Path(path)
    is_transformer = has_transformer(base.encoder)
    _check_options(target, atol, quantize, is_transformer)
    part = encoder_part(base.encoder, base.n_features)
    items = _calibration(base, calibration)
    live = wanted.live(base.of_items(items, "export_onnx"))
    bound = atol if atol is not None else _TRANSFORMER_ATOL if is_transformer else _ATOL

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        work = Path(folder)
        _write(work, wanted, part)
        report = ExportReport(_compare(work, wanted, items, live), bound)
        if not report.parity.largest_difference <= bound:
            raise ValueError(
                f"export_onnx: rewards of the graph differ from the live model's by up to "
                f"{report.parity.largest_difference:.2g} logits on {report.parity.n_inputs} calibration inputs, more "
                f"than atol={bound:g}; nothing was written. Pass a larger atol if that is good enough; differences of "
                "1e-3 and more are a bug to report"
            )
        if quantize is not None:
            part = quantized(part)
            _write(work, wanted, part)
            report = replace(report, quantized=_compare(work, wanted, items, live))
        _describe(work, wanted, part, report)
        move_bundle(work, target)
    return report


def _write(folder: Path, wanted: _Exported, part: EncoderPart) -> None:
    """Graph and weights, and a config without a certificate."""
    from safetensors.numpy import save

    from skmrm._export.bundle import write_files
    from skmrm._export.heads import Graph
    from skmrm.serving._bundle import WEIGHTS_FILE

    graph = Graph(wanted.base.params["mean"].dtype)
    wanted.add_head(graph, part.add_to(graph))
    files = dict(part.files)
    if wanted.weights is not None:
        arrays = {"weights": wanted.weights, **(wanted.arrays or {})}
        files[WEIGHTS_FILE] = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_files(folder, graph.model(), files)
    _describe(folder, wanted, part, None)


def _describe(folder: Path, wanted: _Exported, part: EncoderPart, report: ExportReport | None) -> None:
    from skmrm._export.bundle import write_config

    facts = {
        "scorer": wanted.scorer,
        "dtype": str(wanted.base.params["mean"].dtype),
        "n_features": wanted.base.n_features,
        "n_bases": wanted.n_bases,
        "encoder": part.config,
        "adaptation": wanted.adaptation,
        "certificate": None if report is None else asdict(report),
    }
    write_config(folder, facts)


def _compare(folder: Path, wanted: _Exported, items: Any, live: NDArray[Any]) -> Parity:
    """Run the bundle in the folder as a service does."""
    from skmrm.serving import OnnxScorer

    weights = None if wanted.weights is None else _spread(wanted.weights, len(items))
    found = OnnxScorer(folder).predict(items, weights=weights).astype(float)
    expected = live.astype(float)
    difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    i, j = np.triu_indices(len(expected), 1)
    apart = expected[i] != expected[j]
    agree = np.sign(found[i] - found[j])[apart] == np.sign(expected[i] - expected[j])[apart]
    return Parity(len(items), float(difference.max()), float(agree.mean()) if apart.any() else 1.0)


def _spread(weights: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Weights (n_rows, n_bases): users spread over the rows, as many as there are, up to a limit."""
    if len(weights) == 0:  # nobody adapted yet: each base reward by itself
        weights = np.eye(weights.shape[1], dtype=weights.dtype)
    some = weights[np.linspace(0, len(weights) - 1, min(len(weights), _N_USERS_COMPARED)).astype(int)]
    return some[np.arange(n_rows) % len(some)]


def _calibration(base: BaseRewards, calibration: Any) -> Any:
    from skmrm._export.calibration import feature_calibration, text_calibration

    if calibration is not None:
        if len(calibration) == 0:
            raise ValueError("export_onnx: calibration needs at least one input, got none: pass some, or None")
        return calibration
    return feature_calibration(base.params) if base.kind == "features" else text_calibration()


def _check_options(target: Path, atol: float | None, quantize: Any, is_transformer: bool) -> None:
    problems = []
    if target.exists() and not target.is_dir():
        problems.append(f"path must be a folder, or nothing yet; {target} is a file")
    if atol is not None and not atol > 0:
        problems.append(f"atol must be a positive number of logits, or None, got {atol!r}")
    if quantize not in (None, "int8"):
        problems.append(f"quantize must be 'int8' or None, got {quantize!r}")
    elif quantize and not is_transformer:
        problems.append("quantize='int8' is of transformer encoders, which this model has none of: leave it out")
    if problems:
        raise ValueError("export_onnx: " + "; ".join(problems))


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError("export_onnx needs onnx and onnxruntime: pip install 'skmrm[onnx]'") from error
