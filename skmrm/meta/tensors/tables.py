"""Products with a table of features: large ones apart, and of a table in half precision some rows at a time, in single.

A table in half precision is half as large, and is never copied to single precision as a whole: a chunk of rows that the
caches hold is, multiplied, and overwritten by the next. With any other table each function is the plain product, and
the only kind in a fit that can be worth several threads: `products_under` lets callers say when, and how to have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import chain
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "around_product",
    "empty_like",
    "gram",
    "in_single",
    "is_half",
    "map_rows",
    "n_cached_rows",
    "products_under",
    "quadratic_form",
    "row_gaps",
    "rows_times",
    "sparse_times",
    "transposed_times",
]

HALVES = (torch.float16, torch.bfloat16)
CHUNK_CELLS = 1 << 18  # numbers in a chunk: 1 MB in single precision
CHUNK_CELLS_GPU = 1 << 24  # where a kernel's start costs more than what the caches save

_Context = Callable[[int], AbstractContextManager[Any]]
_around: ContextVar[_Context | None] = ContextVar("around", default=None)


@contextmanager
def products_under(context: _Context) -> Iterator[None]:
    """Within it, each product with a table is computed under a context, made for its number of multiplications."""
    token = _around.set(context)
    try:
        yield
    finally:
        _around.reset(token)


def around_product(n_multiplications: int) -> AbstractContextManager[Any]:
    """What to compute a product of so many multiplications under."""
    context = _around.get()
    return nullcontext() if context is None else context(n_multiplications)


def is_half(table: Tensor) -> bool:
    """Whether a table is stored in half precision."""
    return table.dtype in HALVES


def in_single(rows: Tensor) -> Tensor:
    """Rows in the precision to compute with: single for half, else as they are."""
    return rows.float() if is_half(rows) else rows


def empty_like(table: Tensor) -> Tensor:
    """No numbers, of the precision that a table is computed with and on its device; to make tensors like."""
    return in_single(table[:0, :0])


def n_cached_rows(table: Tensor) -> int:
    """Rows of a chunk that the caches hold; on a GPU, many."""
    return max(1, (CHUNK_CELLS if table.device.type == "cpu" else CHUNK_CELLS_GPU) // max(1, table.shape[1]))


def map_rows(table: Tensor, function: Callable[[Tensor], Tensor], dtype: torch.dtype | None = None) -> Tensor:
    """What a function of each row gives for all rows.

    Parameters
    ----------
    table : Tensor of shape (n_items, d)
    function : callable
        Takes rows (n, d), and returns (n, ...); does not keep them.
    dtype : torch.dtype, optional
        Of the result, where the table is in half precision; that of the function by default.
    """
    if not is_half(table):
        return function(table)
    parts = map(function, _chunks_in_single(table))
    first = next(parts)
    found = first.new_empty(table.shape[0], *first.shape[1:], dtype=dtype or first.dtype)
    for own, part in zip(found.split(n_cached_rows(table)), chain([first], parts), strict=True):
        own.copy_(part)
    return found


def rows_times(table: Tensor, matrix: Tensor) -> Tensor:
    """Table (n_items, d) times a vector (d,) or a matrix (d, k)."""
    with around_product(0 if is_half(table) else table.shape[0] * matrix.numel()):
        return map_rows(table, lambda rows: rows @ matrix)


def transposed_times(table: Tensor, values: Tensor) -> Tensor:
    """Transposed table (d, n_items) times a vector (n_items,) or a matrix (n_items, k)."""
    if not is_half(table):
        with around_product(table.shape[1] * values.numel()):
            return table.T @ values
    total = values.new_zeros(table.shape[1], *values.shape[1:])
    for rows, part in zip(_chunks_in_single(table), values.split(n_cached_rows(table)), strict=True):
        total += rows.T @ part
    return total


def row_gaps(table: Tensor, chosen: Tensor, rejected: Tensor) -> Tensor:
    """Rows `chosen` less rows `rejected`, (n,) each, of a table or a column: (n, d) or (n,)."""
    # to select rows takes a fraction of the time of indexing
    gaps = in_single(table.index_select(0, chosen))
    gaps -= in_single(table.index_select(0, rejected))
    return gaps


def gram(table: Tensor) -> Tensor:
    """Z' Z of a table Z (n_items, d), in double precision: (d, d)."""
    total = table.new_zeros(table.shape[1], table.shape[1], dtype=torch.float64)
    with around_product(table.shape[0] * table.shape[1] ** 2):
        for rows in table.split(n_cached_rows(table)):
            total.addmm_(rows.T.double(), rows.double())
    return total


def sparse_times(sparse: Tensor, table: Tensor) -> Tensor:
    """A coalesced sparse matrix (m, n_items) times a table: (m, d)."""
    if not is_half(table):
        with around_product(sparse._nnz() * table.shape[1]):
            return torch.sparse.mm(sparse, table)
    total = sparse.values().new_zeros(sparse.shape[0], table.shape[1])
    for rows, product in _sparse_chunks(sparse, table):
        total.index_add_(0, rows, product)
    return total


def quadratic_form(sparse: Tensor, table: Tensor) -> Tensor:
    """Z' S Z of a table Z (n_items, d) and a coalesced sparse matrix S (n_items, n_items): (d, d)."""
    if not is_half(table):
        with around_product(table.shape[0] * table.shape[1] ** 2):
            return table.T @ torch.sparse.mm(sparse, table)
    total = sparse.values().new_zeros(table.shape[1], table.shape[1])
    for rows, product in _sparse_chunks(sparse, table):
        total.addmm_(table[rows].float().T, product)
    return total


def _chunks_in_single(table: Tensor) -> Iterator[Tensor]:
    """All rows in order, at least one chunk; each chunk lies where the one before it lay."""
    buffer = table.new_empty(min(n_cached_rows(table), table.shape[0]), table.shape[1], dtype=torch.float32)
    for chunk in table.split(n_cached_rows(table)):
        yield buffer[: len(chunk)].copy_(chunk)


def _sparse_chunks(sparse: Tensor, table: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of sparse times table, as rows (r,) and what to add to them (r, d); so many entries of `sparse` at a time.

    By entries and not by rows, since a row may have as many entries as there are items.
    """
    n = n_cached_rows(table)
    row, column = sparse.indices()
    for rows, columns, values in zip(row.split(n), column.split(n), sparse.values().split(n), strict=True):
        own, place = torch.unique_consecutive(rows, return_inverse=True)
        entry = torch.arange(len(rows), device=rows.device)
        part = torch.sparse_coo_tensor(
            torch.stack([place, entry]), values, (len(own), len(rows)), check_invariants=False, is_coalesced=True
        )
        yield own, torch.sparse.mm(part, table[columns].float())
