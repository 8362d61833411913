"""A progress bar over the epochs of a fit."""

from __future__ import annotations

from typing import Any

__all__ = ["EpochBar"]


class EpochBar:
    """A progress bar over epochs, shown with ``verbose``."""

    def __init__(self, epochs: int, shown: bool) -> None:
        self.epochs, self.shown = epochs, shown
        self.bar: Any = None

    def __enter__(self) -> EpochBar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, record: dict[str, Any]) -> None:
        """Take an epoch's record."""
        if not self.shown:
            return
        if self.bar is None:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.epochs, desc="meta-training", unit="epoch")
            return
        self.bar.update()
        loss = record["validation_loss"]
        self.bar.set_postfix_str("" if loss is None else f"validation loss {loss:.4f}")
