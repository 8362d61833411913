"""What is installed and what it runs on, for reports of bugs."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

__all__ = ["show_versions"]

_DISTRIBUTIONS = ("skmrm", "skmrm-serving")
_OPTIONAL = (
    *("transformers", "tokenizers", "datasets", "onnx", "onnxruntime", "onnxscript", "fastapi", "pydantic", "uvicorn"),
    *("trl", "ray", "matplotlib", "pandas", "polars", "pyarrow"),
)


def show_versions() -> None:
    """Print versions, threads and devices, for a report of a bug.

    Python and the platform, this package and what it depends on, what extras bring where they are installed, libraries
    of linear algebra with their threads, and the devices that torch finds. Nothing that names a person or a folder.

    Examples
    --------
    >>> from skmrm import show_versions
    >>> show_versions()
    System:
        python: 3...
    """
    for title, facts in _sections().items():
        width = max(map(len, facts), default=0)
        print(f"{title}:", *(f"{name:>{width + 4}}: {fact}" for name, fact in facts.items()), "", sep="\n")


def _sections() -> dict[str, dict[str, str]]:
    needed = dict.fromkeys(name for own in _DISTRIBUTIONS for name in _requirements(own))
    required = {name: _version(name) or "not installed" for name in needed}
    optional = {name: found for name in _OPTIONAL if name not in needed and (found := _version(name))}
    return {
        "System": {
            "python": sys.version.replace("\n", " "),
            "machine": platform.platform(),
            "cpus": str(os.cpu_count()),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        },
        "Package": {name: found for name in _DISTRIBUTIONS if (found := _version(name))} or {"skmrm": "not installed"},
        "Dependencies": required,
        "Optional": optional,
        "Threads": _threads(),
        "Devices": _devices(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements(distribution: str) -> list[str]:
    """Names of what a distribution needs without extras; none if it is not installed."""
    try:
        listed = requires(distribution) or []
    except PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in listed if "extra ==" not in one]


def _threads() -> dict[str, str]:
    """Libraries that compute in threads; those that have been loaded, as importing the core does."""
    import numpy as np  # noqa: F401 (loads one)

    try:
        import torch  # noqa: F401
        from threadpoolctl import threadpool_info
    except ImportError:
        return {"threadpoolctl": "not installed, or no torch"}
    return {
        f"{library['internal_api']} {number}": f"{library['num_threads']} threads, {library['version'] or 'no version'}"
        for number, library in enumerate(threadpool_info())
    }


def _devices() -> dict[str, str]:
    try:
        import torch
    except ImportError:
        return {"torch": "not installed: the CPU"}
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return (
        {"torch threads": str(torch.get_num_threads())}
        | {f"cuda:{number}": name for number, name in enumerate(names)}
        | ({} if names else {"cpu": "no GPU that torch can use"})
    )
