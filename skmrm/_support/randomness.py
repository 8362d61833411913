"""Local sources of randomness."""

from __future__ import annotations

import numpy as np

__all__ = ["RandomState", "as_generator"]

RandomState = int | np.random.Generator | np.random.RandomState | None


def as_generator(random_state: RandomState) -> np.random.Generator:
    """Make a local generator from an int, a Generator (returned as it is), a RandomState (advanced) or None."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    return np.random.default_rng(random_state)
