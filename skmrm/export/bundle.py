"""Writing a bundle: the graph, what goes with it, and a config that knows the SHA-256 of each file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from skmrm._support.files import file_digest, move_into_place, sealed
from skmrm.serving._bundle import (
    CONFIG_FILE,
    DATA_FILE,
    ENCODER_FILE,
    KIND,
    MODEL_FILE,
    SCHEMA_VERSION,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
)

__all__ = ["move_bundle", "write_config", "write_files"]

_LARGE = 1 << 24  # bytes of numbers from which on they get a file of their own, to be mapped into memory
_SMALL_TENSOR = 1024  # bytes that stay in the graph all the same
_UNITS = (
    "rewards are logits: a difference of 1 is odds of e; they have no natural zero, and only differences under one "
    "user's weights mean anything"
)


def write_files(folder: Path, model: onnx.ModelProto, files: Mapping[str, bytes]) -> None:
    """Write the graph and what goes with it; a graph that is there is written over."""
    for name in (MODEL_FILE, DATA_FILE):
        (folder / name).unlink(missing_ok=True)
    _write_graph(folder, model)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_config(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the config of the files in a folder."""
    from skmrm import __version__

    files = sorted(file for file in folder.iterdir() if file.name != CONFIG_FILE)
    graph = onnx.load(folder / MODEL_FILE, load_external_data=False).graph
    document = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "package_version": __version__,
        "units": _UNITS,
        "inputs": {value.name: _shape(value) for value in graph.input},
        "outputs": {value.name: _shape(value) for value in graph.output},
        **facts,
        "files": {file.name: _facts(file) for file in files},
    }
    (folder / CONFIG_FILE).write_bytes(sealed(document))


def move_bundle(source: Path, target: Path) -> None:
    """Put a finished bundle where it belongs, each file whole and the config last; files of an older one go."""
    target.mkdir(parents=True, exist_ok=True)
    written = {file.name for file in source.iterdir()}
    for name in {MODEL_FILE, DATA_FILE, ENCODER_FILE, TOKENIZER_FILE, WEIGHTS_FILE} - written:
        (target / name).unlink(missing_ok=True)
    for name in sorted(written, key=lambda name: name == CONFIG_FILE):
        move_into_place(source / name, target / name)


def _write_graph(folder: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model)
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) < _LARGE:
        (folder / MODEL_FILE).write_bytes(model.SerializeToString())
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # saving moves the numbers out of what it is given
    onnx.save_model(
        copy, folder / MODEL_FILE, save_as_external_data=True, location=DATA_FILE, size_threshold=_SMALL_TENSOR
    )
    (folder / DATA_FILE).chmod((folder / MODEL_FILE).stat().st_mode)  # onnx lets nobody else read it


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def _facts(file: Path) -> dict[str, Any]:
    return {"sha256": file_digest(file), "bytes": file.stat().st_size}
