"""The machine that numbers and times come from, and the memory that a process takes of it."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

import torch

import skmrm

__all__ = ["machine", "peak_of_this_process", "print_machine"]


def machine() -> dict[str, str]:
    """Name the machine and the versions that numbers and times come from."""
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()}",
        "memory": _memory(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, skmrm {skmrm.__version__}",
    }


def print_machine() -> dict[str, str]:
    """Print what `machine` finds, a line a fact, and return it."""
    found = machine()
    print("\n".join(f"{name}: {value}" for name, value in found.items()), flush=True)
    return found


def peak_of_this_process() -> float:
    """Gigabytes that were resident at most, pages of mapped files included; NaN where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM")), math.nan)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"
