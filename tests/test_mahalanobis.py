import pickle

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from skrelmetric.mahalanobis import Mahalanobis, psd_factor, with_positive_sign


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


def test_rows_are_ordered():
    factor = psd_factor(torch.diag(torch.tensor([1.0, 4.0, -2.0, 9.0, 0.0, -7.0], dtype=torch.float64)))
    np.testing.assert_allclose(factor.norm(dim=1), [3.0, 2.0, 1.0])


def test_nothing_positive_leaves_no_row():
    assert psd_factor(-torch.eye(3, dtype=torch.float64)).shape == (0, 3)
    assert psd_factor(torch.zeros((3, 3), dtype=torch.float64)).shape == (0, 3)
    assert psd_factor(torch.zeros((0, 0), dtype=torch.float64)).shape == (0, 0)


def test_signs_are_those_of_the_first_largest_entry(rng):
    factor = torch.from_numpy(rng.standard_normal((5, 4)))
    signs = torch.tensor([1.0, -1, -1, 1, -1])[:, None]
    signed = with_positive_sign(factor)
    np.testing.assert_array_equal(with_positive_sign(signs * factor), signed)
    np.testing.assert_array_equal(signed.abs(), factor.abs())
    assert (signed.gather(1, signed.abs().argmax(1, keepdim=True)) > 0).all()
    # Rounding does not choose between entries that are as large.
    tied = torch.tensor([[-0.5, 0.5 + 1e-12, 0.1]])
    assert with_positive_sign(tied)[0, 0] == 0.5
    assert with_positive_sign(torch.zeros((2, 3))).shape == (2, 3)
    assert with_positive_sign(torch.zeros((0, 3))).shape == (0, 3)
    assert with_positive_sign(torch.zeros((2, 0))).shape == (2, 0)


def test_metric_is_what_neighbour_searches_take(rng):
    L, X = rng.standard_normal((2, 4)), rng.standard_normal((30, 4))
    metric = pickle.loads(pickle.dumps(Mahalanobis(L)))
    u, v = X[:2]
    assert metric(u, v) == pytest.approx(np.sqrt((u - v) @ L.T @ L @ (u - v)))
    assert metric(u, v, squared=True) == pytest.approx(metric(u, v) ** 2)
    expected = NearestNeighbors(n_neighbors=3).fit(X @ L.T).kneighbors()
    for algorithm in ("brute", "ball_tree"):
        found = NearestNeighbors(n_neighbors=3, metric=metric, algorithm=algorithm).fit(X).kneighbors()
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0])
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(4,\)"):
        metric(u[:3], v)
