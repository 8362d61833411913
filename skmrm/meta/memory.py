"""Memory that is freed and at once asked for again."""

from __future__ import annotations

import torch

__all__ = ["keep_freed_memory"]


def keep_freed_memory() -> None:
    """Let glibc keep blocks of up to 32 MB that are freed, where it would give them back to the kernel.

    It would take new ones, which come in pages of zeros, for every batch: reading a batch's features takes a fraction
    of that. Other libraries of C take no notice. The process may hold 64 MB more than it uses.

    Notes
    -----
    A freed block that was mapped on its own, of at most 32 MB, raises glibc's dynamic thresholds for doing so, and for
    giving back the top of the heap to twice its size (``M_MMAP_THRESHOLD`` in ``man mallopt``).
    """
    torch.empty((32 << 20) - 4096, dtype=torch.uint8)
