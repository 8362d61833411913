"""Where tensors live; named by users, looked up when something is computed, never saved."""

from __future__ import annotations

import warnings

import torch

__all__ = ["device_problems", "resolve_device"]


def resolve_device(device: str) -> torch.device:
    """Turn "auto" into the GPU where there is one, else the CPU.

    So is a GPU that is not there, with a warning: a model that was pickled on another machine still scores.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.device(device)
    if problems := device_problems(device):
        warnings.warn(f"{problems[0]}; this is computed on the CPU", UserWarning, stacklevel=3)
        return torch.device("cpu")
    return place


def device_problems(device: str) -> list[str]:
    """What is wrong with a device, known before any work is done on it."""
    try:
        place = torch.device("cpu" if device == "auto" else device)
    except RuntimeError:
        return [f"device takes 'auto', 'cpu', 'cuda', 'cuda:1' or another name that torch knows, got {device!r}"]
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count() or "none"
        return [f"device={device!r} needs a GPU, and torch finds {found}: pass device='auto' or 'cpu'"]
    return []
