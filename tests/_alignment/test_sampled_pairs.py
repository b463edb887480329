import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.utils import check_random_state

from skrelmetric._alignment.coordinates import principal_coordinates
from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import ridge
from skrelmetric._alignment.sampled_pairs import PairSample, kernel_ridge, sample_pairs, support_vectors
from skrelmetric._data.samples import Samples
from skrelmetric.relations import make_relation


@pytest.fixture
def problem(rng):
    X, p = rng.standard_normal((15, 3)), rng.dirichlet(np.full(15, 5.0))
    samples = Samples(torch.from_numpy(X), torch.from_numpy(p))
    return samples, make_relation((X[:, :2] + rng.standard_normal((15, 2)) > 0).astype(int))


def all_pairs(samples, G):
    return PairSample(principal_coordinates(Problem.of(samples, G)), G, *sample_pairs(15, 10**6, check_random_state(0)))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 57])
def test_enough_pairs_are_all_pairs(n):
    i, j = sample_pairs(n, n * (n + 1) // 2, check_random_state(0))
    assert {*zip(i.tolist(), j.tolist(), strict=True)} == {(a, b) for b in range(n) for a in range(b + 1)}


@pytest.mark.parametrize("n", [100, 10**6, 10**9])
def test_sampled_pairs_are_distinct_and_uniform(n):
    i, j = sample_pairs(n, 4000, check_random_state(0))
    assert len({*zip(i.tolist(), j.tolist(), strict=True)}) == len(i) == 4000
    assert (i >= 0).all()
    assert (i <= j).all()
    assert (j < n).all()
    # The larger of two uniform numbers has mean 2/3 and its square is uniform.
    assert np.mean(j / n) == pytest.approx(2 / 3, abs=0.02)
    assert np.mean((j / n) ** 2) == pytest.approx(1 / 2, abs=0.02)
    again = sample_pairs(n, 4000, check_random_state(0))
    np.testing.assert_array_equal(again, (i, j))
    assert (sample_pairs(n, 4000, check_random_state(1))[0] != i).any()


def test_pairs_hold_differences_relations_and_weights(problem):
    samples, G = problem
    pairs = all_pairs(samples, G)
    i, j = sample_pairs(15, 10**6, check_random_state(0))
    coordinates = principal_coordinates(Problem.of(samples, G))
    Z = samples[:] @ coordinates.rotation if coordinates.rotation is not None else coordinates.problem.samples[:]
    np.testing.assert_allclose(pairs.differences, Z[i] - Z[j], atol=1e-12)
    np.testing.assert_allclose(pairs.relations, G.block(slice(None), slice(None)).numpy()[i, j], atol=1e-12)
    p = samples.weights.numpy()
    np.testing.assert_allclose(pairs.weights, p[i] * p[j] * np.where(i == j, 1, 2))
    assert pairs.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_kernel_ridge_on_all_pairs_is_the_exact_ridge(problem, alpha):
    exact = ridge(Problem.of(*problem), alpha, max_iter=1000, tol=1e-12)
    dual = kernel_ridge(all_pairs(*problem), alpha)
    np.testing.assert_allclose(dual.M, exact.M, atol=1e-8)
    assert float(dual.offset) == pytest.approx(float(exact.offset), rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_support_vectors_minimise_the_insensitive_error(problem, epsilon):
    pairs, alpha = all_pairs(*problem), 0.5
    solution = support_vectors(pairs, alpha, epsilon)
    T = np.einsum("ij,ik->ijk", pairs.differences, pairs.differences).reshape(len(pairs.relations), -1)

    def objective(M, b):
        error = np.abs(T @ M.ravel() + b - pairs.relations) - epsilon
        return pairs.weights @ np.maximum(error, 0) + alpha / 2 * (M**2).sum()

    ours = objective(solution.M.numpy(), float(solution.offset))
    # The same problem as a quadratic programme with one slack a pair, solved in the primal.
    n, d2 = T.shape
    start = np.concatenate([np.zeros(d2 + 1), np.abs(pairs.relations)])
    signs = np.vstack([np.hstack([s * T, s * np.ones((n, 1)), -np.eye(n)]) for s in (1, -1)])
    limits = np.concatenate([pairs.relations + epsilon, epsilon - pairs.relations])
    best = minimize(
        lambda v: (
            pairs.weights @ v[d2 + 1 :] + alpha / 2 * v[:d2] @ v[:d2],
            np.concatenate([alpha * v[:d2], [0], pairs.weights]),
        ),
        start,
        jac=True,
        method="SLSQP",
        bounds=[(None, None)] * (d2 + 1) + [(0, None)] * n,
        constraints={"type": "ineq", "fun": lambda v: limits - signs @ v, "jac": lambda v: -signs},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert ours == pytest.approx(best.fun, rel=1e-3)  # the tolerance of libsvm


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_support_vectors_are_free_of_the_unit_of_the_relation(problem, unit):
    one, other = all_pairs(*problem), all_pairs(*problem)
    other.relations = unit * other.relations
    expected, scaled = support_vectors(one, 0.5, 0.1), support_vectors(other, 0.5 / unit, 0.1 * unit)
    np.testing.assert_allclose(scaled.M / unit, expected.M, atol=1e-6)
    assert float(scaled.offset) / unit == pytest.approx(float(expected.offset))


@pytest.mark.parametrize("solve", [kernel_ridge, lambda pairs, alpha: support_vectors(pairs, alpha, 0.1)])
def test_samples_that_do_not_vary(solve):
    samples = Samples(torch.ones(15, 3, dtype=torch.float64), torch.full((15,), 1 / 15, dtype=torch.float64))
    solution = solve(all_pairs(samples, make_relation([0, 1, 1] * 5)), 1.0)
    assert solution.M.shape == (0, 0)
    assert float(solution.offset) == pytest.approx(4 / 9)
