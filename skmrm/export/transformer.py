"""Transformer encoders as part of the graph: token ids in, features out."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch

from skmrm.encoders import HFEncoder
from skmrm.encoders.style._style import STATISTICS
from skmrm.export.heads import OPSET, Graph
from skmrm.serving._bundle import TOKENIZER_FILE

__all__ = ["TransformerPart", "transformer_part"]

_ENCODED = "encoded"
# Where torch's exporter is chatty about libraries that are not there.
_LOUD = "torch.onnx._internal.exporter._registration"


@dataclass(frozen=True)
class TransformerPart:
    """A transformer's graph, its tokenizer, and what the scorer has to know of them.

    Attributes
    ----------
    config : dict
    files : dict of str to bytes
        The tokenizer.
    model : ModelProto
        Token ids and attention mask (n, tokens) to features (n, width).
    """

    config: dict[str, Any]
    files: dict[str, bytes]
    model: onnx.ModelProto

    def add_to(self, graph: Graph) -> str:
        """The transformer's nodes; statistics of style, where the model has them, are one more input."""
        own = self.model.graph
        graph.nodes.extend(own.node)
        graph.constants.extend(own.initializer)
        graph.inputs.extend(own.input)
        graph.opsets.update({opset.domain: opset.version for opset in self.model.opset_import})
        if not self.config["statistics"]:
            return _ENCODED
        return graph.add("Concat", _ENCODED, graph.input("statistics", ["n", len(STATISTICS)]), axis=1)

    def quantized(self) -> TransformerPart:
        """The same with matrices of eight bits, one scale for each column; activations are quantised as they come."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder, _quietly():
            file = Path(folder) / "quantized.onnx"
            quantize_dynamic(
                self.model, file, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
            )
            model = onnx.load(file)
        return replace(self, config={**self.config, "quantized": "int8"}, model=model)


def transformer_part(encoder: HFEncoder, statistics: bool) -> TransformerPart:
    """Trace a fitted encoder.

    Raises
    ------
    ValueError
        If it reads conversations or computes in half precision, its tokenizer needs Python code, or torch cannot export
        its network.
    """
    problems = []
    if encoder.reads_ != "response":
        problems.append("it reads prompt and response in a chat template, and a scorer reads the response")
    if encoder.dtype_ != "float32":
        problems.append(f"it computes in {encoder.dtype_}, and a scorer in float32")
    if problems:
        raise ValueError(
            f"the encoder {type(encoder).__name__} cannot be exported: {'; '.join(problems)}. Encode texts yourself, "
            "fit on arrays, and export what scores feature vectors"
        )
    tokenizer = encoder.tokenizer_
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(
            f"the tokenizer {type(tokenizer).__name__} cannot be exported: it runs in Python only, and a scorer has "
            "tokenizers of the tokenizers library. Use a model with a fast tokenizer, or encode texts yourself"
        )
    length = "unit length" if encoder.normalize_ else "as it comes"
    config = {
        "kind": "tokens",
        "statistics": statistics,
        "description": f"{type(encoder.network_).__name__}, {encoder.pooling_} pooling, {length}",
        "max_length": int(encoder.max_length_),
        "pad_id": int(tokenizer.pad_token_id or 0),
        "truncation_side": str(tokenizer.truncation_side),
        "quantized": None,
    }
    return TransformerPart(config, {TOKENIZER_FILE: backend.to_str().encode()}, _traced(encoder))


class _Encoder(torch.nn.Module):
    """Token ids to pooled features, as `HFEncoder` computes them."""

    def __init__(self, network: torch.nn.Module, encoder: HFEncoder) -> None:
        super().__init__()
        self.network = network
        self._pool = encoder.pool

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.network(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self._pool(hidden, attention_mask)


def _traced(encoder: HFEncoder) -> onnx.ModelProto:
    network = encoder.network_
    if next(network.parameters()).device.type != "cpu":
        network = copy.deepcopy(network).cpu()
    ids = torch.full((2, 5), 1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    sizes = {0: torch.export.Dim("n"), 1: torch.export.Dim("tokens")}
    try:
        with torch.no_grad(), _quietly():
            program: Any = torch.onnx.export(
                _Encoder(network, encoder).eval(),
                (ids, mask),
                dynamo=True,
                input_names=["input_ids", "attention_mask"],
                output_names=[_ENCODED],
                dynamic_shapes=(sizes, sizes),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(
            f"the encoder {type(network).__name__} cannot be exported, torch {torch.__version__} says: {error}. Encode "
            "texts yourself, fit on arrays, and export what scores feature vectors"
        ) from error
    return _without_traces(program.model_proto)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take off what the exporter notes of the code it went through: paths of this machine among it."""
    parts = (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output)
    for part in parts:
        for name in ("metadata_props", "doc_string"):
            part.ClearField(name)
    del model.graph.value_info[:]
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep exporters' remarks about themselves from the user."""
    loggers = [logging.getLogger(_LOUD), logging.getLogger()]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
