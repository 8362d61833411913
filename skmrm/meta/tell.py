"""How the core says where it is: whoever runs it may draw a bar, write a log, or look at the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Tell", "tells_nobody"]


class Tell(Protocol):
    """Is called where a stage begins, and as it gets on; what it does changes no number."""

    def __call__(self, stage: str, done: float = 0, total: int = 1, record: Mapping[str, Any] | None = None) -> None:
        """Say that so many of a stage's steps are done, and what an epoch found."""
        ...


def tells_nobody(stage: str, done: float = 0, total: int = 1, record: Mapping[str, Any] | None = None) -> None:
    """Keep it to oneself."""
