"""The graph of a bundle, ready to run."""

from __future__ import annotations

import os
from typing import Any

from skmrm.exceptions import ModelFileError
from skmrm.serving._bundle import DATA_FILE, MODEL_FILE, Bundle

__all__ = ["make_session"]


def make_session(bundle: Bundle, intra_op_threads: int) -> Any:
    """An onnxruntime session on the CPU, made from the files that were checked."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it when it is imported
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("OnnxScorer needs onnxruntime: pip install onnxruntime") from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(intra_op_threads)
    options.inter_op_num_threads = 1
    graph: bytes | str = bundle[MODEL_FILE]
    if DATA_FILE in bundle.config["files"]:
        if bundle.folder is not None:
            graph = str(bundle.folder / MODEL_FILE)  # data lie beside it, and pages of them are mapped
        else:
            _hand_over_data(options, bundle[DATA_FILE])
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise ModelFileError(
            f"onnxruntime {onnxruntime.__version__} cannot run {MODEL_FILE} of {bundle.where} ({error}): install "
            "onnxruntime 1.20 or later, or export the model again"
        ) from error


def _hand_over_data(options: Any, data: bytes) -> None:
    """Give onnxruntime the numbers of a large graph where there is no folder to find them in."""
    try:
        hand_over = options.add_external_initializers_from_files_in_memory
    except AttributeError:
        raise ImportError(
            f"a bundle with {DATA_FILE} needs onnxruntime 1.24 or later to be loaded from bytes: pass its folder, or "
            "pip install --upgrade onnxruntime"
        ) from None
    hand_over([DATA_FILE], [data], [len(data)])
