r"""What a Gaussian prior and the choices say of a user's weights: the Hessian of their log posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from skmrm.meta.tensors.factors import cholesky
from skmrm.meta.tensors.pairs import safe_sqrt

__all__ = ["PosteriorHessian", "pull_and_curvature"]


def pull_and_curvature(margins: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the first and the second derivative of each pair's weighted log loss in its margin, (users, pairs)."""
    chance = torch.sigmoid(-margins)
    pull = chance * weight
    return pull, pull * (1 - chance)


class PosteriorHessian:
    r"""The Hessian :math:`I + R^\top R`, :math:`R = D^{1/2} G S`, of every user of a batch.

    Whatever is asked of it is computed in the smaller of two spaces: that of the K weights, or that of the user's
    pairs, where :math:`(I + R^\top R)^{-1} = I - R^\top (I + R R^\top)^{-1} R` and
    :math:`\det (I + R^\top R) = \det (I + R R^\top)`.

    Parameters
    ----------
    curvature : Tensor of shape (users, pairs)
        Diagonal of D: each pair's weight in the likelihood times its chance of either choice.
    scaled : Tensor of shape (users, pairs, bases)
        G S, gaps times prior standard deviations.
    """

    def __init__(self, curvature: Tensor, scaled: Tensor) -> None:
        self._by_pairs = scaled.shape[-2] < scaled.shape[-1]
        self._root = safe_sqrt(curvature).unsqueeze(-1) * scaled if self._by_pairs else scaled
        try:
            self._factor = self._factorised(curvature, self._root)
        except ValueError:  # gaps whose squares single precision does not hold beside the identity
            if scaled.dtype == torch.float64:
                raise
            self._factor = self._factorised(curvature.double(), self._root.double()).to(scaled.dtype)

    def _factorised(self, curvature: Tensor, rows: Tensor) -> Tensor:
        """The upper factor: LAPACK counts columns first, and torch copies and clears less."""
        inner = rows @ rows.mT if self._by_pairs else rows.mT @ (curvature.unsqueeze(-1) * rows)
        return cholesky(_plus_identity(inner), upper=True)

    def solve(self, vectors: Tensor) -> Tensor:
        """Solve for vectors (users, bases)."""
        columns = vectors.unsqueeze(-1)
        if not self._by_pairs:
            return torch.cholesky_solve(columns, self._factor, upper=True).squeeze(-1)
        inner = torch.cholesky_solve(self._root @ columns, self._factor, upper=True)
        return vectors - (self._root.mT @ inner).squeeze(-1)

    def half_log_det(self) -> Tensor:
        """Half the logarithm of the determinant, (users,)."""
        return self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def inverse(self) -> Tensor:
        """Inverse, (users, bases, bases)."""
        if not self._by_pairs:
            return torch.cholesky_inverse(self._factor, upper=True)
        half = torch.linalg.solve_triangular(self._factor.mT, self._root, upper=False)
        return _plus_identity(-half.mT @ half)


def _plus_identity(matrix: Tensor) -> Tensor:
    """Add the identity in place."""
    matrix.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return matrix
