"""Users and features to time, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from skmrm.meta.basis import Parameters
from skmrm.meta.folds import Split
from skmrm.meta.tensors.pairs import Pairs

__all__ = ["World", "make_start", "make_world", "n_bytes"]


@dataclass(frozen=True)
class World:
    """Users of equally many pairs; every response is of one pair, so that all features have to be read.

    Attributes
    ----------
    table : Tensor of shape (n_items, d)
    pairs : Pairs
    split : Split
        A tenth of each user's pairs is support, as in the paper.
    """

    table: torch.Tensor
    pairs: Pairs
    split: Split


def make_world(
    n_users: int,
    n_pairs: int,
    d: int,
    dtype: torch.dtype = torch.float32,
    n_items: int | None = None,
    device: torch.device | str = "cpu",
) -> World:
    """Draw features; who chose what does not matter to times. With `n_items`, responses are of several pairs."""
    generator = torch.Generator(device).manual_seed(0)
    n = n_users * n_pairs
    table = torch.randn(n_items or 2 * n, d, generator=generator, dtype=dtype, device=device)
    if n_items is None:
        ends = torch.randperm(2 * n, generator=generator, device=device)
    else:
        ends = torch.randint(n_items, (2 * n,), generator=generator, device=device)
    pairs = Pairs(ends[:n], ends[n:], torch.arange(n_users + 1, device=device) * n_pairs)
    support = torch.arange(n, device=device) % n_pairs < max(1, n_pairs // 10)
    return World(table, pairs, Split(support, ~support, support))


def make_start(d: int, n_bases: int, dtype: torch.dtype = torch.float32) -> Parameters:
    generator = torch.Generator().manual_seed(1)
    bases = torch.randn(n_bases, d, generator=generator, dtype=dtype) / d**0.5
    return {"bases": bases, "start": torch.zeros(n_bases, dtype=dtype)}


def n_bytes(table: torch.Tensor) -> int:
    return table.numel() * table.element_size()
