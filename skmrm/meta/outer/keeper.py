"""What the outer loop asks of whoever keeps its state; files are somebody else's."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

__all__ = ["KEEPS_NOTHING", "Keeper"]


class Keeper(Protocol):
    """Keeps the state of a training after some of its epochs, and has it again in another process."""

    def due(self, epoch: int) -> bool:
        """Whether the state after an epoch is to be kept."""

    def save(self, stage: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep a state: tensors, and what JSON can hold. Of the stages of a fit, the earlier stay as they are."""

    def load(self, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state last kept of a stage, or None."""


class KeepsNothing:
    """Where no checkpoints are wanted."""

    def due(self, epoch: int) -> bool:
        """Never."""
        return False

    def save(self, stage: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Forget it."""

    def load(self, stage: str) -> None:
        """Nothing is known."""


KEEPS_NOTHING = KeepsNothing()
