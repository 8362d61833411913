"""Factorisations hold on degenerate matrices, in either precision, or say why they cannot."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from skmrm.meta.tensors.factors import cholesky, eigh

seeds = st.integers(0, 2**32 - 1)


@st.composite
def gram_matrices(draw, dtype):
    """Positive semi-definite: of any rank, with eigenvalues that repeat, of any size."""
    k, rank = draw(st.integers(1, 60)), draw(st.integers(0, 60))
    kind = draw(st.sampled_from(["normal", "repeated", "clustered"]))
    rng = np.random.default_rng(draw(seeds))
    basis = np.linalg.qr(rng.normal(size=(k, k)))[0][:, :rank]
    values = {"normal": rng.normal(size=basis.shape[1]) ** 2, "repeated": np.ones(basis.shape[1])}.get(
        kind, 1 + 1e-7 * rng.random(basis.shape[1])
    )
    matrix = 10.0 ** draw(st.integers(-30, 30)) * (basis * values) @ basis.T
    return torch.tensor((matrix + matrix.T) / 2, dtype=dtype)


@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test__eigh__degenerate_matrices__composes_them_again(data, dtype):
    matrix = data.draw(gram_matrices(dtype))
    values, vectors = eigh(matrix)
    assert values.dtype == vectors.dtype == dtype
    size = float(matrix.abs().max())
    eps = 100 * torch.finfo(dtype).eps
    torch.testing.assert_close((vectors * values) @ vectors.T, matrix, rtol=0, atol=eps * size)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(matrix), dtype=dtype), rtol=0, atol=eps)
    assert (values.diff() >= -eps * size).all()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix.double().numpy()), atol=eps * size)


@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]), upper=st.booleans())
def test__cholesky__semi_definite_but_for_rounding__composes_it_again(data, dtype, upper):
    matrix = data.draw(gram_matrices(dtype))
    matrix.diagonal().add_(4 * torch.finfo(dtype).eps * matrix.diagonal().mean())
    if not matrix.any():
        return
    factor = cholesky(matrix, upper=upper)
    assert factor.dtype == dtype
    again = factor.T @ factor if upper else factor @ factor.T
    eps = max(100 * torch.finfo(dtype).eps, 2e-8)
    torch.testing.assert_close(again, matrix, rtol=0, atol=eps * float(matrix.abs().max()))


def test__cholesky__one_of_a_batch_fails_in_single_precision__all_are_found():
    edge = torch.tensor([1e8, 1.0, 1e4])
    hard = edge[:, None] * edge + torch.eye(3)  # the identity is lost to rounding
    factor = cholesky(torch.stack([torch.eye(3), hard]))
    torch.testing.assert_close(factor[0], torch.eye(3))
    torch.testing.assert_close(factor[1] @ factor[1].T, hard, rtol=1e-5, atol=0)


@pytest.mark.parametrize("factorise", [eigh, cholesky])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test__factorisations__not_finite__say_what_to_do(factorise, bad):
    matrix = torch.eye(3)
    matrix[1, 1] = bad
    with pytest.raises(ValueError, match=r"of a 3 x 3 matrix of float32 cannot be computed .*: pass the features as"):
        factorise(matrix)


def test__cholesky__indefinite__is_an_error_after_few_tries():
    with pytest.raises(ValueError, match="Cholesky factor"):
        cholesky(torch.diag(torch.tensor([1.0, -1.0])))
