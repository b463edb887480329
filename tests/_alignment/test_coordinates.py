import numpy as np
import pytest
import torch
from scipy import sparse

from skrelmetric._alignment.coordinates import principal_coordinates
from skrelmetric._alignment.problem import Problem
from skrelmetric.relations import make_relation
from tests._alignment.problems import in_features, samples_of, solve


@pytest.mark.parametrize("n", [50, 100])
def test_coordinates_are_principal(n, rng):
    X = rng.standard_normal((n, 4)) @ rng.standard_normal((4, 4)) + 10
    p = torch.from_numpy(rng.dirichlet(np.full(n, 5.0)))
    coordinates = principal_coordinates(Problem.of(samples_of(X, p)))
    _, rotation, variances, along_axes, scale = coordinates
    samples = coordinates.problem.samples
    axes = along_axes(torch.eye(4, dtype=torch.float64)).T
    Z = samples[:] if rotation is None else samples[:] @ rotation
    np.testing.assert_allclose(p @ Z, 0, atol=1e-10)
    np.testing.assert_allclose(Z.T @ (p[:, None] * Z), torch.diag(variances), atol=1e-10)
    np.testing.assert_allclose(scale * Z @ axes.T, X - p.numpy() @ X, atol=1e-9)
    assert variances.sum() / 4 == pytest.approx(1)


@pytest.mark.parametrize("n", [4, 40, 200])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_directions_without_variance_are_dropped(n, kind, rng):
    X = np.column_stack([rng.standard_normal((n, 2)) @ rng.standard_normal((2, 6)), np.full(n, 7.0)])
    assert principal_coordinates(Problem.of(samples_of(kind(X)))).variances.shape == (2,)


@pytest.mark.parametrize(
    ("scales", "offset", "turned"),
    [
        ([1, 1, 1], 0, False),
        ([1, 1, 1], 30, False),
        ([1, 1, 1e5], 0, True),
        ([1, 1, 1], 1e6, True),
        ([1e-90] * 3, 0, True),
    ],
)
def test_samples_are_turned_where_rounding_would_drown_the_small(scales, offset, turned, rng):
    X = rng.standard_normal((100, 3)) * scales + offset
    assert (principal_coordinates(Problem.of(samples_of(X))).rotation is None) == turned


@pytest.mark.parametrize("constant", [1.0, 1000.1])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_constant_feature_of_sparse_samples_is_no_direction(constant, alpha, rng):
    X = sparse.random_array((600, 10), density=0.04, rng=rng).toarray()
    X[:, 0] = constant
    G = make_relation(rng.integers(0, 2, 600))
    assert samples_of(sparse.csr_array(np.delete(X, 0, 1))).multiplied_sparse
    thin, dense = (solve(kind(X), G, alpha) for kind in (sparse.csr_array, np.asarray))
    assert thin[0].variances.shape == dense[0].variances.shape == (9,)
    M = in_features(*dense)
    np.testing.assert_allclose(in_features(*thin), M, atol=1e-6 * float(M.abs().max()))


def test_constant_samples_have_no_coordinates():
    coordinates, solution = solve(np.full((5, 3), 0.1), make_relation([0, 1, 0, 1, 1]), 1.0)
    assert coordinates.variances.shape == (0,)
    assert solution.M.shape == (0, 0)
    assert torch.isfinite(solution.offset)


def test_overflow_is_an_error():
    X = np.array([[1e200, 0.0], [-1e200, 1.0], [0, 3]])
    with pytest.raises(ValueError, match="Scale the features"):
        principal_coordinates(Problem.of(samples_of(X)))
