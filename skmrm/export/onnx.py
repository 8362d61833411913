"""Fitted models and adapted users as folders that are served without torch; see :mod:`skmrm.serving`.

The method ``export_onnx`` of :class:`skmrm.UserRewardModel`, :class:`skmrm.UserModels` and
:class:`skmrm.MetaRewardModel` is the way in. Nothing in a bundle names a user, and no text that a model was fitted on
is in it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import raise_all
from skmrm.base_rewards import BaseRewards
from skmrm.export.sources import Source, spread

if TYPE_CHECKING:
    from skmrm.export.encoders import EncoderPart

__all__ = ["ExportReport", "OnnxExport", "Parity"]

_ATOL, _TRANSFORMER_ATOL = 1e-5, 1e-4  # logits


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


class OnnxExport:
    """What can be exported; a subclass says whose rewards it gives."""

    def export_onnx(
        self,
        path: str | os.PathLike[str],
        *,
        calibration: Any = None,
        atol: float | None = None,
        quantize: Literal["int8"] | None = None,
    ) -> ExportReport:
        """Write a folder that :class:`skmrm.serving.OnnxScorer` serves on a CPU, without torch.

        One user's model becomes a graph of its own, features (n, n_features) to rewards (n,), with the user's weights
        folded in. Many users, and a model, become one graph for all users, of which weights (n, n_bases) are an input,
        so that users may come and go without a new one: `UserModels` has its table of weights written beside it, rows
        in the order of `users_`; a model what new users' weights are found and explained with (``OnnxScorer.adapt``,
        ``explain``; under MAP and gradient adaptation). A transformer that encodes texts is part of the graph. User ids
        are not written.

        Parameters
        ----------
        path : str or path
            A folder; made if it is not there.
        calibration : list of (prompt, response), or array of shape (n, n_features), optional
            Inputs to compare the graph with the live model on; None takes odd texts, or draws around the training
            items' mean. They are not written.
        atol : float, optional
            Largest difference allowed, in logits (of rewards beyond 1, as a share of them); None is 1e-5, and 1e-4 with
            a transformer.
        quantize : {"int8"}, optional
            Quantise a transformer's matrices (dynamically, one scale for each column). They take a quarter of their
            size, and rewards move: the report says by how much, and how many pairs change their order.

        Returns
        -------
        skmrm.export.ExportReport
            How the graph compares with the live model; the bundle's config has it, too.

        Raises
        ------
        ValueError
            If the encoder cannot be exported, an option is not possible, or the graph's rewards differ by more than
            `atol`. Nothing is written then.
        ImportError
            If onnx or onnxruntime is missing (``pip install 'skmrm[onnx]'``).
        """
        return _export(self._export_source(), path, calibration, atol, quantize)

    def _export_source(self) -> Source:
        raise NotImplementedError


def _export(
    source: Source,
    path: str | os.PathLike[str],
    calibration: Any,
    atol: float | None,
    quantize: Literal["int8"] | None,
) -> ExportReport:
    _need_onnx()
    from skmrm.export.bundle import move_bundle
    from skmrm.export.encoders import encoder_part, has_transformer, quantized

    base, target = source.base, Path(path)
    is_transformer = has_transformer(base.encoder)
    _check_options(target, atol, quantize, is_transformer)
    part = encoder_part(base.encoder, base.n_features)
    items = _calibration(base, calibration)
    live = source.live(base.of_items(items, "export_onnx", warn=False))
    bound = atol if atol is not None else _TRANSFORMER_ATOL if is_transformer else _ATOL

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        work = Path(folder)
        _write(work, source, part)
        report = ExportReport(_compare(work, source, items, live), bound)
        if not report.parity.largest_difference <= bound:
            raise ValueError(
                f"export_onnx: rewards of the graph differ from the live model's by up to "
                f"{report.parity.largest_difference:.2g} logits on {report.parity.n_inputs} calibration inputs, more "
                f"than atol={bound:g}; nothing was written. Pass a larger atol if that is good enough; differences of "
                "1e-3 and more are a bug to report"
            )
        if quantize is not None:
            part = quantized(part)
            _write(work, source, part)
            report = replace(report, quantized=_compare(work, source, items, live))
        _describe(work, source, part, report)
        move_bundle(work, target)
    return report


def _write(folder: Path, source: Source, part: EncoderPart) -> None:
    """Graph and weights, and a config without a certificate."""
    from safetensors.numpy import save

    from skmrm.export.bundle import write_files
    from skmrm.export.heads import Graph
    from skmrm.serving._bundle import WEIGHTS_FILE

    graph = Graph(source.base.params["mean"].dtype)
    source.add_head(graph, part.add_to(graph))
    files = dict(part.files)
    if source.weights is not None:
        arrays = {"weights": source.weights, **(source.arrays or {})}
        files[WEIGHTS_FILE] = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_files(folder, graph.model(), files)
    _describe(folder, source, part, None)


def _describe(folder: Path, source: Source, part: EncoderPart, report: ExportReport | None) -> None:
    from skmrm.export.bundle import write_config

    facts = {
        "scorer": source.scorer,
        "dtype": str(source.base.params["mean"].dtype),
        "n_features": source.base.n_features,
        "feature_names": source.base.feature_names,
        "n_bases": source.n_bases,
        "encoder": part.config,
        "adaptation": source.adaptation,
        "thresholds": None if source.base.thresholds is None else source.base.thresholds.tolist(),
        "ratings": _ratings(source.base),
        "user_columns": source.user_columns,
        "certificate": None if report is None else asdict(report),
    }
    write_config(folder, facts)


def _ratings(base: BaseRewards) -> dict[str, Any] | None:
    """What ratings are held against, and on which scale they are."""
    if base.bar is None or base.cuts is None:
        return None
    return {"bar": base.bar.tolist(), "cuts": base.cuts.tolist(), "scale": base.scale}


def _compare(folder: Path, source: Source, items: Any, live: NDArray[Any]) -> Parity:
    """Run the bundle in the folder as a service does."""
    from skmrm.serving import OnnxScorer

    weights = None if source.weights is None else spread(source.weights, len(items))
    found = OnnxScorer(folder).predict(items, weights=weights).astype(float)
    expected = live.astype(float)
    difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    i, j = np.triu_indices(len(expected), 1)
    apart = expected[i] != expected[j]
    agree = np.sign(found[i] - found[j])[apart] == np.sign(expected[i] - expected[j])[apart]
    return Parity(len(items), float(difference.max()), float(agree.mean()) if apart.any() else 1.0)


def _calibration(base: BaseRewards, calibration: Any) -> Any:
    from skmrm.export.calibration import feature_calibration, text_calibration

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
    raise_all(problems, "export_onnx")


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError("export_onnx needs onnx and onnxruntime: pip install 'skmrm[onnx]'") from error
