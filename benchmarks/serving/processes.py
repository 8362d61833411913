"""From the start of a process to its first score."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks._support.areas import Found
from benchmarks.serving.models import N_BASES, N_FEATURES, random_base, text_episodes, text_models
from skmrm import UserRewardModel

__all__ = ["start"]


def start(folder: Path, quick: bool) -> Found:
    """From the start of a process to its first score, and the memory that it took."""
    repeats = 0 if quick else 7
    user = UserRewardModel(random_base(), np.ones(N_BASES, np.float32), None, 0)
    user.export_onnx(folder / "start")
    user.save(folder / "start-saved")
    X = f"__import__('numpy').zeros((1, {N_FEATURES}), 'float32')"
    rows = [
        _process("head", "onnxruntime", _served(folder / "start", f"predict({X})"), repeats),
        _process("head", "torch", _loaded(folder / "start-saved", f"predict({X})"), repeats),
    ]
    for name, model in text_models(quick).items():
        one = model.adapt(text_episodes(quick)[0])
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
        "to first score, s": median(seconds[1:] or seconds),  # the first reads files that no cache holds yet
        "peak memory, MB": median(peaks[1:] or peaks),
    }
