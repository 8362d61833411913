"""Planted users, and their features in one file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Planted", "make_file"]

N_BASES = 3
CHUNK_USERS = 500


@dataclass(frozen=True)
class Planted:
    """Users of equally many pairs whose rewards are mixtures of a few linear ones.

    Attributes
    ----------
    n_users, n_pairs, d : int
    seed : int
    """

    n_users: int
    n_pairs: int
    d: int
    seed: int = 0

    @classmethod
    def of_size(cls, gigabytes: float, n_pairs: int = 20, d: int = 1024) -> Planted:
        """As many users as their float32 features fill so many gigabytes."""
        return cls(max(20, int(gigabytes * 1e9 / (2 * n_pairs * d * 4))), n_pairs, d)

    @property
    def n_items(self) -> int:
        """Rows of the file: every response is of one pair, a user's next to each other."""
        return 2 * self.n_users * self.n_pairs

    def features(self, path: Path) -> np.memmap[Any, np.dtype[np.float32]]:
        """Map the file."""
        return np.memmap(path, np.float32, "r", shape=(self.n_items, self.d))

    def users(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """User of each pair."""
        return np.repeat(np.arange(self.n_users), self.n_pairs)


def make_file(planted: Planted, path: Path) -> None:
    """Write features, and so that the first item of each pair is the preferred one."""
    rng = np.random.default_rng(planted.seed)
    bases = rng.standard_normal((N_BASES, planted.d)).astype(np.float32) / planted.d**0.5
    with path.open("wb") as file:
        for start in range(0, planted.n_users, CHUNK_USERS):
            n = min(CHUNK_USERS, planted.n_users - start)
            table = rng.standard_normal((n, planted.n_pairs, 2, planted.d), dtype=np.float32)
            weights = np.concatenate([np.ones((n, 1)), 1.5 * rng.standard_normal((n, N_BASES - 1))], 1)
            gaps = np.einsum("upik,uk->upi", table @ bases.T, weights)
            wins = gaps[..., 0] - gaps[..., 1] + rng.logistic(size=gaps.shape[:2]) > 0
            table[~wins] = table[~wins][:, ::-1]
            file.write(table.tobytes())
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # what is read later comes from the disk, not from what was kept of writing
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
