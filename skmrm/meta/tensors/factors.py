"""Factorisations of symmetric matrices that do not fail on sound data, or say why.

In single precision LAPACK gives up on some eigenvectors of finite matrices, and says so or returns NaN: eigenvalues
that repeat, a rank of one. In double precision it finds them, at twice the time. Cholesky factors of matrices that are
definite by construction fail by rounding alone: they are tried in double precision, too. Results have the precision
given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skmrm.meta.tensors.tables import around_product

__all__ = ["cholesky", "eigh"]

# Shares of a matrix's size that are added to its diagonal, one after the other, where the one before was not enough. To
# a Cholesky factor they reach to what rounding may have taken from k rows of the matrix's precision, if that is more.
_JITTERS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)


def cholesky(matrix: Tensor, *, upper: bool = False) -> Tensor:
    """Cholesky factor of positive definite matrices (..., k, k), or of the nearest that has one but for rounding.

    Raises
    ------
    ValueError
        If a matrix is not finite, or not positive definite to rounding.
    """
    with around_product(matrix.numel() * matrix.shape[-1]):
        factor, failed = torch.linalg.cholesky_ex(matrix, upper=upper)
    if _succeeded(factor, failed):
        return factor
    double = matrix.double()
    level = double.diagonal(dim1=-2, dim2=-1).mean(-1)
    level = level * max(1.0, torch.finfo(matrix.dtype).eps * matrix.shape[-1] / _JITTERS[-1])
    for share in _JITTERS:
        added = torch.diag_embed((share * level).unsqueeze(-1).expand(*matrix.shape[:-1]))
        factor, failed = torch.linalg.cholesky_ex(double + added, upper=upper)
        if _succeeded(factor, failed):
            return factor.to(matrix.dtype)
    raise ValueError(_reason("a Cholesky factor", matrix))


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., k), ascending, and eigenvectors (..., k, k) of symmetric matrices, found in double precision.

    Raises
    ------
    ValueError
        If a matrix is not finite, or LAPACK gives up on it.
    """
    double = matrix.double()
    size = double.detach().abs().amax() if matrix.numel() else double.new_ones(())
    if not bool(torch.isfinite(size)):
        raise ValueError(_reason("eigenvectors", matrix))
    scaled = double / torch.where(size > 0, size, 1.0)
    apart = torch.linspace(0.0, 1.0, matrix.shape[-1], dtype=double.dtype, device=double.device)
    for share in _JITTERS:  # along the diagonal, so that repeated eigenvalues part
        try:
            with around_product(matrix.numel() * matrix.shape[-1]):
                values, vectors = torch.linalg.eigh(scaled + torch.diag(share * apart))
        except torch.linalg.LinAlgError:
            continue
        return (size * values).to(matrix.dtype), vectors.to(matrix.dtype)
    raise ValueError(_reason("eigenvectors", matrix))


def _succeeded(factor: Tensor, failed: Tensor) -> bool:
    """Whether LAPACK found all factors, and all are finite, which it does not look at."""
    return not bool(failed.any() | ~torch.isfinite(factor.detach().diagonal(dim1=-2, dim2=-1).sum()))


def _reason(what: str, matrix: Tensor) -> str:
    """The error's sentence: what was looked for, and what the matrix is like."""
    diagonal = matrix.detach().diagonal(dim1=-2, dim2=-1)
    state = f"its diagonal goes from {float(diagonal.min()):.3g} to {float(diagonal.max()):.3g}"
    return (
        f"{what} of a {matrix.shape[-1]} x {matrix.shape[-1]} matrix of {str(matrix.dtype).removeprefix('torch.')} "
        f"cannot be computed ({state}): features or weights are too large or too small for this precision: pass the "
        "features as float64, or scaled to about 1"
    )
