r"""Reward heads as ONNX nodes: features to rewards, everything linear folded into one matrix and one constant.

With :math:`z = (x - m) / s`, base rewards are :math:`\phi(x) = B z + V h(z) + C \, k(L, z)` (:mod:`skmrm.meta.basis`).
Where they are linear,

.. math:: \phi(x) = W x + c, \qquad W = B \, \mathrm{diag}(1 / s), \quad c = -W m ,

and one user's reward is :math:`w \cdot \phi(x) = v \cdot x + w \cdot c` with :math:`v = W^\top w`: one vector and one
constant. Algebra is done in double precision and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from skmrm.meta.basis import mean_folds

__all__ = ["Graph", "Params", "add_shared_head", "add_user_head"]

Params = Mapping[str, NDArray[Any]]

_PREFIX = "head."  # names of an encoder's graph begin otherwise
OPSET, IR_VERSION = 18, 10  # what onnxruntime 1.20 reads, and torch's exporter writes


@dataclass
class Graph:
    """Nodes, constants, inputs and outputs of a graph in the making; tensors are known by name.

    Attributes
    ----------
    dtype : numpy dtype
        Of its numbers: single or double precision.
    """

    dtype: np.dtype[Any]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    opsets: dict[str, int] = field(default_factory=lambda: {"": OPSET})

    def input(self, name: str, shape: list[str | int]) -> str:
        """Add an input of the graph's dtype; names in its shape are sizes that each call chooses."""
        self.inputs.append(helper.make_tensor_value_info(name, self._type, shape))
        return name

    def output(self, name: str, shape: list[str | int]) -> None:
        """Make a tensor an output."""
        self.outputs.append(helper.make_tensor_value_info(name, self._type, shape))

    def constant(self, name: str, values: Any, dtype: Any = None) -> str:
        """Add numbers that are part of the graph."""
        array = np.ascontiguousarray(np.asarray(values, dtype or self.dtype))
        self.constants.append(numpy_helper.from_array(array, _PREFIX + name))
        return _PREFIX + name

    def add(self, operation: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        """Add a node, and give the name of its output."""
        name = to or f"{_PREFIX}{operation}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def model(self) -> onnx.ModelProto:
        """The whole as a model; it names this package and nothing else."""
        graph = helper.make_graph(self.nodes, "skmrm", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return helper.make_model(graph, producer_name="skmrm", ir_version=IR_VERSION, opset_imports=opsets)

    @property
    def _type(self) -> int:
        return helper.np_dtype_to_tensor_dtype(self.dtype)


def add_user_head(graph: Graph, folded: Params, features: str) -> None:
    """One user's reward (n,) of features (n, d), as output ``rewards``; see :meth:`BaseRewards.folded`."""
    if _is_linear(folded):
        # v X^T, (1, n): of the products that give the same, onnxruntime's fastest by far for many rows
        table, axis = _add_linear(graph, _exact(folded), features, None, transposed=True), 0
    else:
        table, axis = _add_base_rewards(graph, folded, features), 1
    graph.add("Squeeze", table, graph.constant("axis", [axis], np.int64), to="rewards")
    graph.output("rewards", ["n"])


def add_shared_head(graph: Graph, params: Params, features: str) -> None:
    """Base rewards (n, K) of features (n, d), and rewards under weights (n, K) that are an input; both are outputs.

    One row of weights serves all rows of features.
    """
    n_bases = len(params["bases"] if "bases" in params else params["mean"])
    weights = graph.input("weights", ["n_or_1", n_bases])
    base = _add_base_rewards(graph, params, features, to="base_rewards")
    axis = graph.constant("axis", [1], np.int64)
    graph.add("ReduceSum", graph.add("Mul", base, weights), axis, to="rewards", keepdims=0)
    graph.output("rewards", ["n"])
    graph.output("base_rewards", ["n", n_bases])


def _add_base_rewards(graph: Graph, params: Params, features: str, to: str | None = None) -> str:
    """Base rewards (n, K); `to` names them."""
    exact = _exact(params)
    if _is_linear(params):
        return _add_linear(graph, exact, features, to)
    centred = graph.add("Sub", features, graph.constant("mean", exact["mean"]))
    z = graph.add("Div", centred, graph.constant("scale", exact["scale"]), to=None if "bases" in params else to)
    if "bases" not in params:
        return z
    linear = graph.add("Gemm", z, graph.constant("bases", exact["bases"].T))
    return graph.add(
        "Gemm", _add_kernel(graph, exact, z), graph.constant("kernel.out", exact["kernel.out"].T), linear, to=to
    )


def _is_linear(params: Params) -> bool:
    return "bases" in params and "kernel.out" not in params


def _exact(params: Params) -> dict[str, NDArray[np.float64]]:
    return {name: np.asarray(value, np.float64) for name, value in params.items()}


def _add_linear(graph: Graph, params: Params, features: str, to: str | None, transposed: bool = False) -> str:
    """W x + c (n, K), or (1, n) transposed; or W (x - m), where features are so far out that digits would cancel."""
    matrix = params["bases"] / params["scale"]
    folds = mean_folds(matrix, params["mean"], float(np.finfo(graph.dtype).eps))
    offset = [graph.constant("offset", -(matrix @ params["mean"]))] if folds else []
    if not folds:
        features = graph.add("Sub", features, graph.constant("mean", params["mean"]))
    if transposed:
        return graph.add("Gemm", graph.constant("matrix", matrix), features, *offset, to=to, transB=1)
    return graph.add("Gemm", features, graph.constant("matrix", matrix.T), *offset, to=to)


def _add_kernel(graph: Graph, params: Params, z: str) -> str:
    """Gaussian kernel (n, m) around the landmarks: |z - l|^2 = |z|^2 - 2 z l + |l|^2, not below zero."""
    points, axis = params["kernel.points"], graph.constant("last_axis", [1], np.int64)
    lengths = graph.constant("kernel.lengths", (points**2).sum(1))
    cross = graph.add("Gemm", z, graph.constant("kernel.points", points.T), lengths, alpha=-2.0)
    square = graph.add("ReduceSum", graph.add("Mul", z, z), axis, keepdims=1)
    distance = graph.add("Max", graph.add("Add", square, cross), graph.constant("zero", 0.0))
    precision = graph.constant("kernel.precision", -params["kernel.precision"])
    return graph.add("Exp", graph.add("Mul", distance, precision))
