"""The service on loopback: adapting and scoring through it, next to the same calls without HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks._support.areas import Found
from benchmarks._support.timing import in_turn
from benchmarks.serving.models import N_FEATURES
from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.serving import OnnxScorer

__all__ = ["service"]

_PATIENCE = 60.0  # seconds


def service(folder: Path, quick: bool) -> Found:
    """Adapting a user of 20 pairs through numpy, and through the HTTP service."""
    data = make_user_preferences(n_users=60, n_pairs=20, n_features=N_FEATURES, random_state=0)
    model = MetaRewardModel(max_epochs=0, random_state=0).fit(data.episodes[:50])
    model.export_onnx(folder / "service")
    scorer, user = OnnxScorer(folder / "service"), data.episodes[55]
    pairs = [{"chosen": c.tolist(), "rejected": r.tolist()} for c, r in zip(user.chosen, user.rejected, strict=True)]
    to_adapt, to_score = (
        json.dumps({"pairs": pairs}).encode(),
        json.dumps({"features": user.chosen[:1].tolist()}).encode(),
    )
    repeats = 5 if quick else 200
    with _running_service(folder / "service", folder / "users.sqlite") as post:
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
        f"service: 20 pairs of {N_FEATURES} features, {scorer.n_bases} base functions; posts ({len(to_adapt) // 1000} "
        "kB of JSON to adapt) go over loopback and write to SQLite"
    )
    return Found(title, {"call": "", "p50, ms": ".2f"}, rows)


@contextmanager
def _running_service(bundle: Path, database: Path) -> Iterator[Callable[[str, bytes], Any]]:
    """Start the service; gives what posts JSON to it and returns the answer."""
    import httpx

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--bundle", str(bundle), "--database", str(database), "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "skmrm.service", *arguments], stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _wait_for(client, process)

            def post(path: str, body: bytes) -> Any:
                headers = {"content-type": "application/json"}
                return client.post(path, content=body, headers=headers).raise_for_status().json()

            yield post
    finally:
        process.terminate()
        process.wait()


def _wait_for(client: Any, process: subprocess.Popen[bytes]) -> None:
    import httpx

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError):
            client.get("/health").raise_for_status()
            return
        time.sleep(0.02)
    raise RuntimeError(f"the service did not start (exit status {process.poll()})")
