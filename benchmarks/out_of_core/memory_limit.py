"""A process held to so much memory by the kernel."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

__all__ = ["MemoryGroup"]

_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A control group (Linux, version 1 or 2) with a limit; without the right to make one, there is no limit.

    Parameters
    ----------
    limit : int
        Bytes, page cache included: the kernel gives cached pages of the file back before anything else.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        second = (_ROOT / "cgroup.controllers").exists()
        self._folder = (_ROOT if second else _ROOT / "memory") / f"skmrm-{os.getpid()}"
        self._limit_file = self._folder / ("memory.max" if second else "memory.limit_in_bytes")
        self._peak_file = self._folder / ("memory.peak" if second else "memory.max_usage_in_bytes")
        self.works = False

    def __enter__(self) -> MemoryGroup:
        try:
            self._folder.mkdir()
            self._limit_file.write_text(str(self.limit))
            self.works = True
        except OSError:
            self.works = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder.exists():
            self._folder.rmdir()

    def join(self) -> None:
        """Put this process into the group."""
        if self.works:
            (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def found(self) -> dict[str, float]:
        """The kernel's count of the group's peak, cached pages included."""
        return {"group's peak, GB": int(self._peak_file.read_text()) / 1e9} if self.works else {}

    def __str__(self) -> str:
        held = f"held to {self.limit / 1e9:.1f} GB by a control group"
        return held if self.works else "NOT limited: no right to make a control group here"
