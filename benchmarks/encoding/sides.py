"""Ways to encode the same texts: what each makes of them, and how much goes through its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Side", "batch_name", "largest_difference"]


@dataclass(eq=False)
class Side:
    """One way to encode texts.

    Attributes
    ----------
    run : callable
        Encodes all texts.
    network : torch.nn.Module
        What it puts tokens through.
    vectors : (n, d) array
        What the last call made.
    n_tokens : int
        Tokens that went through the network in the last call, padding included.
    """

    run: Callable[[], NDArray[np.float32]]
    network: Any
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    n_tokens: int = 0

    def __call__(self) -> None:
        """Encode once."""
        self.n_tokens = 0
        # At the embedding, which everyone calls: sentence-transformers calls the forward of the network itself.
        handle = self.network.get_input_embeddings().register_forward_hook(self._count)
        try:
            self.vectors = self.run()
        finally:
            handle.remove()

    def _count(self, embedding: Any, inputs: tuple[Any, ...], states: Any) -> None:
        self.n_tokens += states.shape[0] * states.shape[1]


def largest_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Of two tables of vectors, as a fraction of the largest number in the second."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def batch_name(batch_tokens: int | None) -> str:
    return "the default" if batch_tokens is None else f"{batch_tokens:,} tokens"
