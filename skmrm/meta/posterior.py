r"""What a Gaussian prior and the choices say of a user's weights: the Hessian of their log posterior."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PosteriorHessian", "safe_sqrt"]


class PosteriorHessian:
    r"""The Hessian :math:`I + R^\top R`, :math:`R = D^{1/2} G S`, of every user of a batch.

    Whatever is asked of it is computed in the smaller of two spaces: that of the K weights, or that of the user's
    pairs, where :math:`(I + R^\top R)^{-1} = I - R^\top (I + R R^\top)^{-1} R` and
    :math:`\det (I + R^\top R) = \det (I + R R^\top)`.

    Parameters
    ----------
    margins : Tensor of shape (users, pairs)
        At which D is taken.
    scaled : Tensor of shape (users, pairs, bases)
        G S, gaps times prior standard deviations.
    weight : Tensor of shape (users, pairs)
        Weight of each pair in the likelihood.
    """

    def __init__(self, margins: Tensor, scaled: Tensor, weight: Tensor) -> None:
        chance = torch.sigmoid(margins)
        curvature = chance * (1 - chance) * weight
        self._by_pairs = scaled.shape[-2] < scaled.shape[-1]
        if self._by_pairs:
            self._root = safe_sqrt(curvature).unsqueeze(-1) * scaled
            inner = self._root @ self._root.mT
        else:
            inner = scaled.mT @ (curvature.unsqueeze(-1) * scaled)
        self._factor = torch.linalg.cholesky(_plus_identity(inner))

    def solve(self, vectors: Tensor) -> Tensor:
        """Solve for vectors (users, bases)."""
        columns = vectors.unsqueeze(-1)
        if not self._by_pairs:
            return torch.cholesky_solve(columns, self._factor).squeeze(-1)
        return vectors - (self._root.mT @ torch.cholesky_solve(self._root @ columns, self._factor)).squeeze(-1)

    def half_log_det(self) -> Tensor:
        """Half the logarithm of the determinant, (users,)."""
        return self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def inverse(self) -> Tensor:
        """Inverse, (users, bases, bases)."""
        if not self._by_pairs:
            return torch.cholesky_inverse(self._factor)
        half = torch.linalg.solve_triangular(self._factor, self._root, upper=False)
        return _plus_identity(-half.mT @ half)


def _plus_identity(matrix: Tensor) -> Tensor:
    """Add the identity in place."""
    matrix.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return matrix


def safe_sqrt(values: Tensor) -> Tensor:
    """Square root whose derivative at zero, where a pair is padding, is zero instead of infinite."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)
