import numpy as np
import pytest
import torch

from skrelmetric.mahalanobis import pair_distances, psd_factor


def symmetric(rng, d=6):
    M = rng.standard_normal((d, d))
    return torch.from_numpy(M + M.T)


def test_factor_is_the_nearest_psd_matrix(rng):
    M = symmetric(rng)
    factor = psd_factor(M)
    eigenvalues, V = np.linalg.eigh(M.numpy())
    nearest = (V * np.maximum(eigenvalues, 0)) @ V.T
    np.testing.assert_allclose(factor.T @ factor, nearest, atol=1e-12)
    assert factor.shape == (int((eigenvalues > 0).sum()), 6)


def test_factor_satisfies_the_optimality_of_projection(rng):
    # Moreau: P - M is positive semi-definite and orthogonal to the projection P.
    M = symmetric(rng)
    P = (lambda L: L.T @ L)(psd_factor(M))
    assert torch.linalg.eigvalsh(P - M).min() > -1e-12
    assert abs(float((P * (P - M)).sum())) < 1e-10


def test_rows_are_ordered_and_signed(rng):
    factor = psd_factor(symmetric(rng))
    norms = factor.norm(dim=1)
    assert (norms.diff() <= 0).all()
    assert (factor.gather(1, factor.abs().argmax(1, keepdim=True)) > 0).all()
    reflected = psd_factor(torch.flip(symmetric(np.random.default_rng(0)), (0, 1))).flip(1)
    np.testing.assert_allclose(factor, reflected, atol=1e-12)


@pytest.mark.parametrize(("n_components", "rank"), [(1, 1), (2, 2), (6, 3)])
def test_limited_rank_keeps_the_strongest(n_components, rank):
    M = torch.diag(torch.tensor([1.0, 4.0, -2.0, 9.0, 0.0, -7.0], dtype=torch.float64))
    factor = psd_factor(M, n_components)
    assert factor.shape == (n_components, 6)
    np.testing.assert_allclose(factor.norm(dim=1)[:rank], [3.0, 2.0, 1.0][:rank])
    assert not factor[rank:].any()


def test_negative_and_empty_matrices_give_one_zero_row():
    assert not psd_factor(-torch.eye(3, dtype=torch.float64)).any()
    assert psd_factor(-torch.eye(3, dtype=torch.float64)).shape == (1, 3)
    assert psd_factor(torch.zeros((0, 0), dtype=torch.float64)).shape == (1, 0)


def test_pair_distances(rng):
    L, pairs = rng.standard_normal((2, 4)), rng.standard_normal((7, 2, 4))
    expected = [np.sqrt((a - b) @ L.T @ L @ (a - b)) for a, b in pairs]
    np.testing.assert_allclose(pair_distances(L, pairs), expected)
