"""Rewards of feature vectors: calls of one user's head, and of a graph that serves many users."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.serving.models import N_BASES, N_FEATURES, random_base
from skmrm import UserRewardModel
from skmrm.estimators.users import UserModels
from skmrm.serving import OnnxScorer

__all__ = ["head", "shared"]

_US = 1e6


def head(folder: Path, quick: bool) -> Found:
    """One user's reward of feature vectors."""
    user = UserRewardModel(random_base(), np.ones(N_BASES, np.float32), None, 0)
    user.export_onnx(folder / "head")
    scorer = OnnxScorer(folder / "head")
    graph, product = _session((folder / "head" / "model.onnx").read_bytes()), _session(_one_product())
    column = torch.ones(N_FEATURES, 1)
    rows = []
    for n in (1, 1000):
        X = np.random.default_rng(0).standard_normal((n, N_FEATURES)).astype(np.float32)
        feed = {"features": X}
        seconds = in_turn(
            {
                "floor": partial(product.run, None, feed),
                "graph": partial(graph.run, None, feed),
                "scorer": partial(scorer.predict, X),
                "torch": partial(_torch_product, X, column),
                "live": partial(user.predict, X),
            },
            50 if quick else 3000,
        )
        micro = {f"{name}, us": _US * value for name, value in seconds.items()}
        over = {f"{name} / floor": seconds[name] / seconds["floor"] for name in ("graph", "scorer", "torch", "live")}
        rows.append({"rows": n, **micro, **over})
    columns = {"rows": ",", **dict.fromkeys(micro, ".1f"), **dict.fromkeys(over, ".2f")}
    title = (
        f"head: one user's rewards, p50 of a call, {N_FEATURES} features; the floor is a session of one MatMul, the "
        "graph is ours in a bare session, the scorer checks its input, live is UserRewardModel.predict"
    )
    return Found(title, columns, rows)


def shared(folder: Path, quick: bool) -> Found:
    """A thousand users in one call of one session."""
    n_users = 100 if quick else 1000
    weights = np.random.default_rng(1).standard_normal((n_users, N_BASES)).astype(np.float32)
    users = UserModels(random_base(), np.arange(n_users).astype(object), weights, None, np.zeros(n_users, int))
    users.export_onnx(folder / "shared")
    scorer, product = OnnxScorer(folder / "shared"), _session(_one_product())
    X = np.random.default_rng(0).standard_normal((n_users, N_FEATURES)).astype(np.float32)
    seconds = in_turn(
        {
            "one call": lambda: scorer.predict(X, weights=weights),
            "a call a user": lambda: [scorer.predict(X[i : i + 1], weights=weights[i]) for i in range(n_users)],
            "live, a call a user": lambda: [users[i].predict(X[i : i + 1]) for i in range(n_users)],
            "floor": lambda: product.run(None, {"features": X}),
        },
        3 if quick else 50,
    )
    row: dict[str, Any] = {"users": n_users, **{f"{name}, us a user": _US * t / n_users for name, t in seconds.items()}}
    row["times the floor"] = seconds["one call"] / seconds["floor"]
    columns = dict.fromkeys(row, ".2f") | {"users": ","}
    title = f"shared: one row for each user, {N_FEATURES} features, {N_BASES} base functions; one MatMul is the floor"
    return Found(title, columns, [row])


def _one_product() -> bytes:
    """The smallest graph that scores: features times one column."""
    from onnx import TensorProto, helper, numpy_helper

    column: NDArray[Any] = np.ones((N_FEATURES, 1), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "column"], ["rewards"])],
        "product",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", N_FEATURES])],
        [helper.make_tensor_value_info("rewards", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(column, "column")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def _torch_product(X: NDArray[np.float32], column: torch.Tensor) -> NDArray[np.float32]:
    return (torch.from_numpy(X) @ column).squeeze(1).numpy()


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
