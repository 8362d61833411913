"""What is timed of serving: calls of a head, of a graph for many users, whole processes, texts, and a service."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.accuracy.text_features import sentence_encoder_folder
from benchmarks.serving.service import running_service
from skmrm import MetaRewardModel, UserRewardModel
from skmrm.base_rewards import BaseRewards
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.encoders import HFEncoder
from skmrm.estimators.user_model import UserModels
from skmrm.serving import OnnxScorer

__all__ = ["PARTS"]

_N_FEATURES, _N_BASES = 384, 8
_US = 1e6


def head(folder: Path, quick: bool) -> Found:
    """One user's reward of feature vectors."""
    user = UserRewardModel(_base(), np.ones(_N_BASES, np.float32), None, 0)
    user.export_onnx(folder / "head")
    scorer = OnnxScorer(folder / "head")
    graph, product = _session((folder / "head" / "model.onnx").read_bytes()), _session(_one_product())
    column = torch.ones(_N_FEATURES, 1)
    rows = []
    for n in (1, 1000):
        X = np.random.default_rng(0).standard_normal((n, _N_FEATURES)).astype(np.float32)
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
        f"head: one user's rewards, p50 of a call, {_N_FEATURES} features; the floor is a session of one MatMul, the "
        "graph is ours in a bare session, the scorer checks its input, live is UserRewardModel.predict"
    )
    return Found(title, columns, rows)


def shared(folder: Path, quick: bool) -> Found:
    """A thousand users in one call of one session."""
    n_users = 100 if quick else 1000
    weights = np.random.default_rng(1).standard_normal((n_users, _N_BASES)).astype(np.float32)
    users = UserModels(_base(), np.arange(n_users).astype(object), weights, None, np.zeros(n_users, int))
    users.export_onnx(folder / "shared")
    scorer, product = OnnxScorer(folder / "shared"), _session(_one_product())
    X = np.random.default_rng(0).standard_normal((n_users, _N_FEATURES)).astype(np.float32)
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
    title = f"shared: one row for each user, {_N_FEATURES} features, {_N_BASES} base functions; one MatMul is the floor"
    return Found(title, columns, [row])


def start(folder: Path, quick: bool) -> Found:
    """From the start of a process to its first score, and the memory that it took."""
    repeats = 1 if quick else 7
    user = UserRewardModel(_base(), np.ones(_N_BASES, np.float32), None, 0)
    user.export_onnx(folder / "start")
    user.save(folder / "start-saved")
    X = f"__import__('numpy').zeros((1, {_N_FEATURES}), 'float32')"
    rows = [
        _process("head", "onnxruntime", _served(folder / "start", f"predict({X})"), repeats),
        _process("head", "torch", _loaded(folder / "start-saved", f"predict({X})"), repeats),
    ]
    for name, model in _text_models(quick).items():
        one = model.adapt(_episodes(quick)[0])
        one.export_onnx(folder / f"start-{name}")
        one.save(folder / f"start-{name}-saved")
        call = "score('How do I boil an egg?', 'Ten minutes.')"
        rows.append(_process(name, "onnxruntime", _served(folder / f"start-{name}", call), repeats))
        rows.append(_process(name, "torch", _loaded(folder / f"start-{name}-saved", call), repeats))
        if name == "MiniLM":
            one.export_onnx(folder / "start-int8", quantize="int8")
            rows.append(_process("MiniLM, int8", "onnxruntime", _served(folder / "start-int8", call), repeats))
    columns = {"model": "", "served by": "", "to first score, s": ".2f", "peak memory, MB": ".0f"}
    return Found("start: a new process until its first score, and its peak of resident memory", columns, rows)


def texts(folder: Path, quick: bool) -> Found:
    """Texts a second, and what quantisation does to rewards."""
    rows = []
    episodes = _episodes(quick)
    items = [item for item in episodes.items if item[1]][: 16 if quick else 128]
    for name, model in _text_models(quick).items():
        user = model.adapt(episodes[0])
        for quantize in (None, "int8") if name == "MiniLM" else (None,):
            report = user.export_onnx(folder / "texts", calibration=items, quantize=quantize)
            scorer = OnnxScorer(folder / "texts", intra_op_threads=torch.get_num_threads())
            seconds = in_turn(
                {
                    "onnx": partial(scorer.predict, items),
                    "live": partial(user.predict, items),
                    "one": partial(scorer.predict, items[:1]),
                },
                1 if quick else 5,
            )
            parity = report.quantized or report.parity
            rows.append(
                {
                    "model": name + (", int8" if quantize else ""),
                    "texts/s": len(items) / seconds["onnx"],
                    "texts/s, torch": len(items) / seconds["live"],
                    "one text, ms": 1000 * seconds["one"],
                    "largest difference": parity.largest_difference,
                    "pairs in the same order, %": 100 * parity.pair_order_agreement,
                }
            )
    columns = dict(zip(rows[0], ["", ",.0f", ",.0f", ".2f", ".1e", ".2f"], strict=True))
    return Found(
        f"texts: {len(items)} texts of the bundled corpus, scored with the graph and with torch", columns, rows
    )


def service(folder: Path, quick: bool) -> Found:
    """Adapting a user of 20 pairs through numpy, and through the example's HTTP service."""
    data = make_user_preferences(n_users=60, n_pairs=20, n_features=_N_FEATURES, random_state=0)
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(data.episodes[:50])
    model.export_onnx(folder / "service")
    scorer, user = OnnxScorer(folder / "service"), data.episodes[55]
    pairs = [{"chosen": c.tolist(), "rejected": r.tolist()} for c, r in zip(user.chosen, user.rejected, strict=True)]
    to_adapt, to_score = (
        json.dumps({"pairs": pairs}).encode(),
        json.dumps({"features": user.chosen[:1].tolist()}).encode(),
    )
    repeats = 5 if quick else 200
    with running_service(folder / "service", folder / "users.sqlite") as post:
        seconds = in_turn(
            {
                "OnnxScorer.adapt": lambda: scorer.adapt(user),
                "MetaRewardModel.adapt": lambda: model.adapt(user),
                "POST /users/{id}/adapt": lambda: post("/users/new/adapt", to_adapt),
                "POST /users/{id}/score": lambda: post("/users/new/score", to_score),
            },
            repeats,
        )
    rows = [{"call": name, "p50, ms": 1000 * value} for name, value in seconds.items()]
    title = (
        f"service: 20 pairs of {_N_FEATURES} features, {scorer.n_bases} base functions; posts ({len(to_adapt) // 1000} "
        "kB of JSON to adapt) go over loopback and write to SQLite"
    )
    return Found(title, {"call": "", "p50, ms": ".2f"}, rows)


PARTS: dict[str, Callable[[Path, bool], Found]] = {
    "head": head,
    "shared": shared,
    "start": start,
    "texts": texts,
    "service": service,
}


def _base() -> BaseRewards:
    rng = np.random.default_rng(0)
    bases = rng.standard_normal((_N_BASES, _N_FEATURES)) / _N_FEATURES**0.5
    params = {"mean": rng.standard_normal(_N_FEATURES), "scale": np.ones(_N_FEATURES), "bases": bases}
    return BaseRewards({name: value.astype(np.float32) for name, value in params.items()}, None, "cpu")


def _one_product() -> bytes:
    """The smallest graph that scores: features times one column."""
    from onnx import TensorProto, helper, numpy_helper

    column: NDArray[Any] = np.ones((_N_FEATURES, 1), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "column"], ["rewards"])],
        "product",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", _N_FEATURES])],
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


def _episodes(quick: bool) -> Any:
    return load_style_preferences(n_users=4 if quick else 40, n_pairs=4 if quick else 30, random_state=0).episodes


@lru_cache(maxsize=1)
def _text_models(quick: bool) -> dict[str, MetaRewardModel]:
    """Models of texts by their encoder; the transformer's only where its weights are installed."""
    folder = sentence_encoder_folder()
    encoders = {"hashed n-grams": None} | ({} if folder is None else {"MiniLM": HFEncoder(str(folder))})
    episodes = _episodes(quick)
    fraction = 0.0 if quick else 0.2
    return {
        name: MetaRewardModel(encoder, n_bases=4, max_epochs=0, validation_fraction=fraction, random_state=0).fit(
            episodes
        )
        for name, encoder in encoders.items()
    }


def _served(folder: Path, call: str) -> str:
    return f"from skmrm.serving import OnnxScorer\nOnnxScorer({str(folder)!r}).{call}"


def _loaded(folder: Path, call: str) -> str:
    return f"from skmrm import UserRewardModel\nUserRewardModel.load({str(folder)!r}).{call}"


_PEAK = """
import pathlib
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), flush=True)
"""


def _process(model: str, served_by: str, code: str, repeats: int) -> dict[str, Any]:
    """Seconds from before the process exists to after its first score, and its peak memory."""
    seconds, peaks = [], []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run = subprocess.Popen([sys.executable, "-c", code + _PEAK], stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        line = run.stdout.readline()
        seconds.append(time.perf_counter() - began)
        run.communicate()
        peaks.append(int(line) * 1024 / 1e6)
    return {
        "model": model,
        "served by": served_by,
        "to first score, s": median(seconds[1:]),  # the first reads files that no cache holds yet
        "peak memory, MB": median(peaks[1:]),
    }
