"""Where tensors live; named by users, looked up when something is computed, never saved."""

from __future__ import annotations

import torch

__all__ = ["device_problems", "resolve_device"]


def resolve_device(device: str) -> torch.device:
    """Turn "auto" into the GPU where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def device_problems(device: str) -> list[str]:
    """What is wrong with a device, known before any work is done on it."""
    try:
        kind = resolve_device(device).type
    except RuntimeError:
        return [f"device takes 'auto', 'cpu', 'cuda', 'cuda:1' or another name that torch knows, got {device!r}"]
    if kind == "cuda" and not torch.cuda.is_available():
        return [f"device={device!r} needs a GPU, and torch finds none: pass device='auto' or 'cpu'"]
    return []
