import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import minimize
from sklearn.preprocessing import scale

from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import constrained_ridge, normal_equations, predictions_alone, ridge
from skrelmetric.datasets import load_emotions
from skrelmetric.relations import make_relation
from tests._alignment.problems import in_features, samples_of, solve, uniform

EVERYTHING = slice(None)


def least_squares(X, G, p, alpha):
    """M and b of 1/2 sum_ij p_i p_j ((x_i - x_j)' M (x_i - x_j) + b - G_ij)^2 + alpha/2 |M|^2, over explicit pairs."""
    n, d = X.shape
    pairs = (X[:, None] - X[None]).reshape(n * n, d)
    root = np.sqrt(np.outer(p, p).ravel())
    design = np.column_stack([np.einsum("ij,ik->ijk", pairs, pairs).reshape(n * n, -1), np.ones(n * n)]) * root[:, None]
    penalty = np.sqrt(alpha) * np.eye(d * d, d * d + 1)
    target = np.concatenate([G.ravel() * root, np.zeros(d * d)])
    solution = np.linalg.lstsq(np.vstack([design, penalty]), target, rcond=None)[0]
    return solution[:-1].reshape(d, d), solution[-1]


def objective(M, b, X, G, p, alpha):
    differences = X[:, None] - X[None]
    D = torch.einsum("ijk,kl,ijl->ij", differences, M, differences)
    return 0.5 * (torch.outer(p, p) * (D + b - G).square()).sum() + alpha / 2 * M.square().sum()


TARGETS = {
    "hamming": lambda rng, n: (rng.random((n, 3)) < 0.5).astype(int),
    "discrete": lambda rng, n: rng.integers(0, 3, n),
    "l1": lambda rng, n: rng.dirichlet(np.ones(4), n),
    "sqeuclidean": lambda rng, n: rng.standard_normal((n, 2)),
    "jaccard": lambda rng, n: (rng.random((n, 3)) < 0.5).astype(int),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("relation", TARGETS)
@pytest.mark.parametrize(("n", "d"), [(30, 5), (6, 9), (8, 8), (2, 3), (12, 1), (70, 4)])
def test_ridge_equals_least_squares_over_all_pairs(relation, n, d, weighted, rng):
    X, y = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 3, TARGETS[relation](rng, n)
    G = make_relation(y, relation)
    p = rng.random(n) + 0.1 if weighted else np.ones(n)
    p /= p.sum()
    coordinates, solution = solve(X, G, 0.3, torch.from_numpy(p))
    unit = (p @ (X - p @ X) ** 2).mean()
    M, b = least_squares(X, G.block(EVERYTHING, EVERYTHING).numpy(), p, 0.3 * unit**2)
    np.testing.assert_allclose(in_features(coordinates, solution), M, atol=1e-9 * max(np.abs(M).max(), 1e-3))
    assert float(solution.offset) == pytest.approx(b, abs=1e-8)


@pytest.mark.parametrize("density", [0.05, 0.5])
@pytest.mark.parametrize(("n", "d"), [(200, 8), (30, 8), (20, 60)])
def test_sparse_samples_give_the_dense_solution(n, d, density, rng):
    X = sparse.random_array((n, d), density=density, rng=rng, format="csr") * 3
    p = torch.from_numpy(rng.dirichlet(np.full(n, 5.0)))
    G = make_relation(TARGETS["l1"](rng, n))
    dense, thin = solve(X.toarray(), G, 1.0, p), solve(X, G, 1.0, p)
    np.testing.assert_allclose(
        in_features(*thin), in_features(*dense), atol=1e-8 * float(in_features(*dense).abs().max())
    )
    assert float(thin[1].offset) == pytest.approx(float(dense[1].offset))


def test_solution_is_stationary_by_autograd(rng):
    X = rng.standard_normal((25, 4)) ** 3
    G = make_relation(TARGETS["hamming"](rng, 25))
    coordinates, solution = solve(X, G, 0.5)
    M = in_features(coordinates, solution).requires_grad_()
    b = solution.offset.clone().requires_grad_()
    alpha = 0.5 * coordinates.scale**4
    fixed = torch.from_numpy(X), G.block(EVERYTHING, EVERYTHING), uniform(25), alpha
    value = objective(M, b, *fixed)
    gradients = torch.autograd.grad(value, (M, b))
    assert gradients[0].abs().max() < 1e-9 * alpha * M.abs().max()
    assert abs(gradients[1]) < 1e-9
    assert value < objective(0.99 * M, b, *fixed)


@pytest.mark.parametrize("n", [20, 100])  # turned samples, and turned matrices
def test_product_is_the_hessian_with_the_offset_eliminated(n, rng):
    X = rng.standard_normal((n, 3)) + np.array([0, 3, 0])
    p = torch.from_numpy(rng.dirichlet(np.full(n, 5.0)))
    equations = normal_equations(Problem.of(samples_of(X, p), make_relation(TARGETS["hamming"](rng, n))), 0.7)
    M = torch.from_numpy(rng.standard_normal((3, 3)))
    M = M + M.T
    coordinates = equations.coordinates
    assert (coordinates.rotation is None) == (n == 20)
    index = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    differences = coordinates.differences(*index)
    D, pp = torch.einsum("ik,kl,il->i", differences, M, differences), p[index[0]] * p[index[1]]
    expected = torch.einsum("i,ik,il->kl", pp * (D - pp @ D), differences, differences) + 0.7 * M
    np.testing.assert_allclose(equations.product(M), expected, atol=1e-12 * float(expected.abs().max()) * n)


def test_preconditioner_is_the_curvature_of_gaussian_samples(rng):
    # Fourth moments of many Gaussian samples approach 8 S M S.
    samples = samples_of(rng.standard_normal((200_000, 3)) * [1, 2, 3])
    equations = normal_equations(Problem.of(samples, make_relation(rng.integers(0, 2, 200_000))), 0.0)
    M = torch.tensor([[1.0, 0.5, 0], [0.5, -1, 0.2], [0, 0.2, 2]], dtype=torch.float64)
    expected = equations.gaussian() * M
    np.testing.assert_allclose(equations.product(M), expected, atol=0.05 * float(expected.abs().max()))


class TestConstrained:
    """The optimum over the cone, by its optimality conditions and against another way to it."""

    @pytest.fixture
    def problem(self, rng):
        X = rng.standard_normal((40, 4)) @ rng.standard_normal((4, 4))
        # Half of the relation falls with the distance, so that the cone matters.
        return X, make_relation(np.column_stack([X[:, :1], np.abs(X[:, 1:2]) + rng.standard_normal((40, 1))]), "l1")

    @pytest.mark.parametrize("alpha", [0.0, 0.1, 10.0])
    def test_karush_kuhn_tucker_conditions(self, problem, alpha):
        X, G = problem
        coordinates, solution = solve(X, G, alpha, solver=constrained_ridge, tol=1e-9, max_iter=20_000)
        assert solution.residual <= 1e-9
        assert torch.linalg.eigvalsh(solve(X, G, alpha)[1].M).min() < -1e-3  # without the cone it is left
        M = in_features(coordinates, solution).requires_grad_()
        fixed = torch.from_numpy(X), G.block(EVERYTHING, EVERYTHING), uniform(40), alpha * coordinates.scale**4
        (gradient,) = torch.autograd.grad(objective(M, solution.offset, *fixed), M)
        scale = gradient.abs().max()
        assert torch.linalg.eigvalsh(M.detach()).min() > -1e-12 * M.abs().max()
        assert torch.linalg.eigvalsh(gradient).min() > -1e-6 * scale
        assert abs((gradient * M).sum()) < 1e-6 * scale * M.abs().max()

    def test_no_factor_does_better(self, problem):
        X, G = problem
        coordinates, solution = solve(X, G, 0.1, solver=constrained_ridge, tol=1e-9, max_iter=20_000)
        fixed = torch.from_numpy(X), G.block(EVERYTHING, EVERYTHING), uniform(40), 0.1 * coordinates.scale**4

        def by_factor(parameters):
            theta = torch.from_numpy(parameters).requires_grad_()
            L = theta[:16].reshape(4, 4)
            value = objective(L.T @ L, theta[16], *fixed)
            return value.item(), torch.autograd.grad(value, theta)[0].numpy()

        starts = np.random.default_rng(0).standard_normal((3, 17)) * 0.3
        others = [
            minimize(by_factor, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15}).fun for start in starts
        ]
        ours = objective(in_features(coordinates, solution), solution.offset, *fixed)
        assert float(ours) == pytest.approx(min(others), rel=1e-6)

    def test_an_optimum_inside_the_cone_is_the_unconstrained_one(self, rng):
        X = rng.standard_normal((60, 3))
        G = make_relation(X, "sqeuclidean")
        expected = in_features(*solve(X, G, 0.01))
        actual = in_features(*solve(X, G, 0.01, solver=constrained_ridge))
        np.testing.assert_allclose(actual, expected, atol=1e-9)

    def test_passes_are_few(self):
        X, Y = load_emotions(subset="train", return_X_y=True)
        _, solution = solve(scale(X), make_relation(Y), 1.0, solver=constrained_ridge, tol=1e-6)
        assert solution.n_iter <= 100

    def test_stopping_early_is_told(self, problem):
        _, stopped = solve(*problem, 0.1, solver=constrained_ridge, max_iter=3)
        assert stopped.n_iter == 3
        assert stopped.residual > 1e-3

    def test_nothing_to_learn(self):
        _, solution = solve(np.ones((4, 2)), make_relation([0, 1, 0, 1]), 1.0, solver=constrained_ridge)
        assert solution.M.shape == (0, 0)
        assert solution.residual == 0


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_blocks_do_not_change_the_result(kind, rng, monkeypatch):
    X, y = kind(rng.standard_normal((300, 4)) * (rng.random((300, 4)) < 0.3)), TARGETS["l1"](rng, 300)
    whole = in_features(*solve(X, make_relation(y), 1.0))
    monkeypatch.setattr("skrelmetric._interop.torch._BLOCK_ELEMENTS", {"cpu": 1})
    np.testing.assert_allclose(in_features(*solve(X, make_relation(y), 1.0)), whole, atol=1e-12)


def test_residual_and_iterations_are_reported(rng):
    X, G = rng.standard_normal((120, 6)) ** 3, make_relation(TARGETS["hamming"](rng, 120))
    _, stopped = solve(X, G, 0.01, max_iter=2)
    assert stopped.n_iter == 2
    assert stopped.residual > 1e-12
    reported = []
    _, converged = solve(X, G, 0.01, report=lambda *told: reported.append(told))
    assert 2 < converged.n_iter < 1000
    assert converged.residual <= 1e-12
    assert [n_iter for n_iter, _ in reported] == list(range(1, converged.n_iter + 1))
    assert reported[-1][1] == converged.residual


# Predictions as a part


def of_predictions(X, Y, p, penalty):
    """Matrix of the squared distance between predictions of numbers by ridge regression, W W'."""
    Z = X - p @ X
    S = (Z * p[:, None]).T @ Z
    W = np.linalg.solve(S + penalty * np.diag(S).mean() * np.eye(X.shape[1]), (Z * p[:, None]).T @ Y)
    return W @ W.T


def mean_square(M, X, p):
    """Mean squared distance of two samples, over explicit pairs."""
    differences = X[:, None] - X[None]
    return np.einsum("i,j,ijk,kl,ijl->", p, p, differences, M, differences)


def positive(M):
    eigenvalues, V = np.linalg.eigh(M)
    return V * eigenvalues.clip(0) @ V.T


def mixed(coordinates, solution, weight, penalty=1.0):
    return in_features(coordinates, solution._replace(M=solution.with_predictions(weight, penalty))).numpy()


@pytest.mark.parametrize("penalty", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("relation", ["hamming", "sqeuclidean"])
@pytest.mark.parametrize(("n", "d"), [(40, 5), (9, 14), (100, 3)])
def test_part_of_predictions_is_their_squared_distance(relation, n, d, penalty, rng):
    X, p = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 3, rng.dirichlet(np.full(n, 5.0))
    Y = TARGETS[relation](rng, n)
    coordinates, solution = solve(X, make_relation(Y, relation), 0.5, torch.from_numpy(p))
    M1, M2 = positive(in_features(coordinates, solution).numpy()), of_predictions(X, Y, p, penalty)
    Z = X @ np.linalg.cholesky(M2 + 1e-12 * np.eye(d))
    assert mean_square(M2, X, p) == pytest.approx(np.einsum("i,j,ij", p, p, ((Z[:, None] - Z) ** 2).sum(2)), rel=1e-6)
    M2 *= mean_square(M1, X, p) / mean_square(M2, X, p)
    for weight in (0.0, 0.3, 1.0):
        M = mixed(coordinates, solution, weight, penalty)
        np.testing.assert_allclose(M, (1 - weight) * M1 + weight * M2, atol=1e-8 * np.abs(M1).max())
        assert mean_square(M, X, p) == pytest.approx(mean_square(M1, X, p))
        assert mean_square(M - (1 - weight) * M1, X, p) == pytest.approx(weight * mean_square(M1, X, p), abs=1e-12)


@pytest.mark.parametrize("relation", TARGETS)
def test_part_of_predictions_is_that_of_the_relation(relation, rng):
    X, y, p = rng.standard_normal((30, 4)), TARGETS[relation](rng, 30), np.full(30, 1 / 30)
    G = make_relation(y, relation)
    coordinates, solution = solve(X, G, 0.5)
    Z = X - X.mean(0)
    S = Z.T @ Z / 30 + np.diag(Z.T @ Z / 30).mean() * np.eye(4)
    inner = -Z.T @ G.block(EVERYTHING, EVERYTHING).numpy() @ Z / 900 / 2
    # The nearest positive matrix is that in principal coordinates.
    V = np.linalg.eigh(Z.T @ Z)[1]
    M2 = V @ positive(V.T @ np.linalg.solve(S, np.linalg.solve(S, inner).T) @ V) @ V.T
    M1 = mixed(coordinates, solution, 0)
    np.testing.assert_allclose(
        mixed(coordinates, solution, 1),
        mean_square(M1, X, p) / mean_square(M2, X, p) * M2,
        atol=1e-9 * np.abs(M1).max(),
    )


def test_no_weight_is_the_projected_optimum(rng):
    X = rng.standard_normal((40, 5))
    coordinates, solution = solve(X, make_relation(TARGETS["l1"](rng, 40)), 0.5)
    M = in_features(coordinates, solution).numpy()
    assert np.linalg.eigvalsh(M)[0] < -1e-3 * np.abs(M).max()
    np.testing.assert_allclose(mixed(coordinates, solution, 0), positive(M), atol=1e-12)
    without = solution._replace(quadratic=None)  # as solvers of sampled pairs leave it
    np.testing.assert_array_equal(without.with_predictions(0.3, 1.0), solution.with_predictions(0, 1.0))


@pytest.mark.parametrize("relation", TARGETS)
def test_part_of_predictions_turns_and_scales_with_the_samples(relation, rng):
    X, G = rng.standard_normal((40, 5)) * [1, 1, 2, 3, 1], make_relation(TARGETS[relation](rng, 40), relation)
    Q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    M = mixed(*solve(X, G, 0.5), 0.3)
    turned, scaled = mixed(*solve(X @ Q, G, 0.5), 0.3), mixed(*solve(1e3 * X + 5, G, 0.5), 0.3)
    np.testing.assert_allclose(turned, Q.T @ M @ Q, atol=1e-9 * np.abs(M).max())
    np.testing.assert_allclose(scaled * 1e6, M, atol=1e-9 * np.abs(M).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("m", [4, 20, 61])
@pytest.mark.parametrize("relation", TARGETS)
def test_rounding_is_no_prediction(relation, m, dtype, rng):
    grid = np.arange(1 - m, m, 2) / 8
    X = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)[rng.permutation(m * m)]
    product = X[:, :1] * X[:, 1:]  # goes along with no direction
    y = {"discrete": np.sign(product[:, 0]).astype(int), "l1": product, "sqeuclidean": product}
    y = y.get(relation, np.hstack([product > 0, product < 0]).astype(int))
    _, solution = solve(X.astype(dtype), make_relation(y, relation), 0.5, tol=1e-6)
    solution = solution._replace(M=torch.eye(2, dtype=torch.float64))
    np.testing.assert_array_equal(solution.with_predictions(0.3, 1.0), np.eye(2))
    if relation in ("l1", "sqeuclidean"):  # one that a direction goes along with, if little
        _, little = solve(X.astype(dtype), make_relation(y + 1e-4 * X[:, :1], relation), 0.5, tol=1e-6)
        little = little._replace(M=torch.eye(2, dtype=torch.float64)).with_predictions(0.3, 1.0)
        assert float((little - torch.eye(2)).abs().max()) > 0.01


@pytest.mark.parametrize(("n", "d"), [(60, 4), (12, 20)])
def test_predictions_alone_have_the_size_that_aligns_best(n, d, rng):
    X, Y = rng.standard_normal((n, d)), (rng.random((n, 3)) < 0.5).astype(int)
    problem = Problem.of(samples_of(X), make_relation(Y, "hamming"))
    alone, mixed = predictions_alone(problem, 0.5, 1.0), ridge(problem, 0.5, max_iter=1000, tol=1e-12)
    M = alone.with_predictions(1.0, 1.0)
    torch.testing.assert_close(M, alone.M)
    direction = mixed.with_predictions(1.0, 1.0)
    torch.testing.assert_close(M / M.norm(), direction / direction.norm())
    equations = normal_equations(problem, 0.5)
    slope = (M * (equations.product(M) - equations.right)).sum()
    assert abs(slope) < 1e-10 * (M * equations.right).sum()  # no other size is nearer to the relation
    torch.testing.assert_close(alone.offset, equations.offset(M))


def test_predictions_of_nothing_are_no_metric():
    grid = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]).repeat(3, 0)
    problem = Problem.of(samples_of(grid), make_relation((grid[:, 0] * grid[:, 1]).astype(int)))
    assert not predictions_alone(problem, 1.0, 1.0).M.any()
