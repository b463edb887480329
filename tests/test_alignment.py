import numpy as np
import pytest
import torch

from skrelmetric.alignment import curvature, principal_coordinates, ridge
from skrelmetric.relations import make_relation


def least_squares(X, G, alpha):
    """M and b of 1/2 mean_ij ((x_i - x_j)' M (x_i - x_j) + b - G_ij)^2 + alpha/2 |M|^2, over explicit pairs."""
    n, d = X.shape
    pairs = (X[:, None] - X[None]).reshape(n * n, d)
    design = np.column_stack([np.einsum("ij,ik->ijk", pairs, pairs).reshape(n * n, -1), np.ones(n * n)]) / n
    penalty = np.sqrt(alpha) * np.eye(d * d, d * d + 1)
    target = np.concatenate([G.ravel() / n, np.zeros(d * d)])
    solution = np.linalg.lstsq(np.vstack([design, penalty]), target, rcond=None)[0]
    return solution[:-1].reshape(d, d), solution[-1]


def objective(M, b, X, G, alpha):
    differences = X[:, None] - X[None]
    D = torch.einsum("ijk,kl,ijl->ij", differences, M, differences)
    return 0.5 * (D + b - G).square().mean() + alpha / 2 * M.square().sum()


def solve(X, relation, alpha, **options):
    samples = principal_coordinates(torch.from_numpy(X))
    solution = ridge(samples.Z, samples.variances, relation, alpha=alpha, **{"max_iter": 1000, "tol": 1e-12, **options})
    return samples, solution


def in_features(samples, solution):
    rotation = samples.axes / samples.scale
    return rotation @ solution.M @ rotation.T


TARGETS = {
    "hamming": lambda rng, n: (rng.random((n, 3)) < 0.5).astype(int),
    "discrete": lambda rng, n: rng.integers(0, 3, n),
    "l1": lambda rng, n: rng.dirichlet(np.ones(4), n),
    "sqeuclidean": lambda rng, n: rng.standard_normal((n, 2)),
}


@pytest.mark.parametrize("relation", TARGETS)
@pytest.mark.parametrize(("n", "d"), [(30, 5), (6, 9), (8, 8), (2, 3), (12, 1)])
def test_ridge_equals_least_squares_over_all_pairs(relation, n, d, rng):
    X, y = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 3, TARGETS[relation](rng, n)
    G = make_relation(y, relation)
    samples, solution = solve(X, G, alpha=0.3)
    everything = slice(None)
    unit = X.var(0).mean()
    M, b = least_squares(X, G.block(everything, everything).numpy(), 0.3 * unit**2)
    np.testing.assert_allclose(in_features(samples, solution), M, atol=1e-9 * max(np.abs(M).max(), 1e-3))
    assert solution.offset == pytest.approx(b, abs=1e-8)


def test_solution_is_stationary_by_autograd(rng):
    X = rng.standard_normal((25, 4)) ** 3
    G = make_relation(TARGETS["hamming"](rng, 25))
    samples, solution = solve(X, G, alpha=0.5)
    everything = slice(None)
    M = in_features(samples, solution).requires_grad_()
    b = torch.tensor(solution.offset, dtype=torch.float64, requires_grad=True)
    alpha = 0.5 * samples.scale**4
    value = objective(M, b, torch.from_numpy(X), G.block(everything, everything), alpha)
    gradients = torch.autograd.grad(value, (M, b))
    assert gradients[0].abs().max() < 1e-9 * alpha * M.abs().max()
    assert abs(gradients[1]) < 1e-9
    assert value < objective(0.99 * M, b, torch.from_numpy(X), G.block(everything, everything), alpha)


def test_curvature_is_the_hessian_with_the_offset_eliminated(rng):
    X = rng.standard_normal((20, 3))
    samples = principal_coordinates(torch.from_numpy(X))
    M = torch.from_numpy(rng.standard_normal((3, 3)))
    M = M + M.T
    Z = samples.Z
    differences = Z[:, None] - Z[None]
    D = torch.einsum("ijk,kl,ijl->ij", differences, M, differences)
    expected = torch.einsum("ij,ijk,ijl->kl", D - D.mean(), differences, differences) / 20**2 + 0.7 * M
    np.testing.assert_allclose(curvature(Z, samples.variances, M, 0.7), expected, atol=1e-12)


def test_preconditioner_is_the_curvature_of_gaussian_samples(rng):
    # Fourth moments of many Gaussian samples approach 8 S M S.
    samples = principal_coordinates(torch.from_numpy(rng.standard_normal((200_000, 3)) * [1, 2, 3]))
    M = torch.tensor([[1.0, 0.5, 0], [0.5, -1, 0.2], [0, 0.2, 2]], dtype=torch.float64)
    s = samples.variances
    expected = 8 * s[:, None] * M * s
    actual = curvature(samples.Z, s, M, 0.0)
    np.testing.assert_allclose(actual, expected, atol=0.05 * float(expected.abs().max()))


def test_coordinates_are_principal(rng):
    X = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)) + 1e3
    Z, variances, axes, scale = principal_coordinates(torch.from_numpy(X))
    np.testing.assert_allclose(Z.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(Z.T @ Z / 50, torch.diag(variances), atol=1e-10)
    np.testing.assert_allclose(scale * Z @ axes.T, X - X.mean(0), atol=1e-9)
    assert variances.sum() / 4 == pytest.approx(1)


@pytest.mark.parametrize("n", [4, 40])
def test_directions_without_variance_are_dropped(n, rng):
    X = np.column_stack([rng.standard_normal((n, 2)) @ rng.standard_normal((2, 6)), np.full(n, 7.0)])
    samples = principal_coordinates(torch.from_numpy(X))
    assert samples.Z.shape == (n, 2)


def test_constant_samples_have_no_coordinates():
    samples = principal_coordinates(torch.full((5, 3), 0.1, dtype=torch.float64))
    assert samples.Z.shape == (5, 0)
    solution = ridge(samples.Z, samples.variances, make_relation([0, 1, 0, 1, 1]), alpha=1.0, max_iter=10, tol=1e-8)
    assert solution.M.shape == (0, 0)
    assert np.isfinite(solution.offset)


def test_blocks_do_not_change_the_result(rng, monkeypatch):
    X, y = rng.standard_normal((300, 4)), TARGETS["l1"](rng, 300)
    whole = in_features(*solve(X, make_relation(y), alpha=1.0))
    monkeypatch.setattr("skrelmetric._torch._BLOCK_ELEMENTS", {"cpu": 1})
    np.testing.assert_allclose(in_features(*solve(X, make_relation(y), alpha=1.0)), whole, atol=1e-12)


def test_residual_and_iterations_are_reported(rng):
    X, G = rng.standard_normal((40, 6)) ** 3, make_relation(TARGETS["hamming"](rng, 40))
    _, stopped = solve(X, G, alpha=0.01, max_iter=2)
    assert stopped.n_iter == 2
    assert stopped.residual > 1e-12
    _, converged = solve(X, G, alpha=0.01)
    assert 2 < converged.n_iter < 1000
    assert converged.residual <= 1e-12


def test_overflow_is_an_error():
    X = torch.tensor([[1e200, 0.0], [-1e200, 1.0], [0, 3]], dtype=torch.float64)
    with pytest.raises(ValueError, match="Scale the features"):
        principal_coordinates(X)
