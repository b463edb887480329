import numpy as np
import pytest
import torch

from skrelmetric._alignment.loss import AllPairs, Distance, RelationMoments, pair_loss
from skrelmetric._alignment.problem import Problem
from skrelmetric._data.samples import Samples
from skrelmetric._hraml.heads import LinearHead, RidgeHead
from skrelmetric.relations import make_relation

EVERYTHING = slice(None)
CPU = torch.device("cpu")


def best(Z, G, p, alpha):
    """M, b and the minimum of 1/2 sum_ij p_i p_j (D_ij + b - G_ij)^2 + alpha/2 |M|^2, over explicit pairs.

    The penalty is on the matrix of features in units of the root of the mean variance of those that vary.
    """
    n, d = Z.shape
    variances = p @ (Z - p @ Z) ** 2
    alpha = alpha * variances[variances > 1e-20].mean() ** 2
    u = (Z[:, None] - Z[None]).reshape(n * n, d)
    root = np.sqrt(np.outer(p, p).ravel())
    design = np.column_stack([np.einsum("ij,ik->ijk", u, u).reshape(n * n, -1), np.ones(n * n)]) * root[:, None]
    design = np.vstack([design, np.sqrt(alpha) * np.eye(d * d, d * d + 1)])
    target = np.concatenate([G.ravel() * root, np.zeros(d * d)])
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    return solution[:-1].reshape(d, d), solution[-1], ((design @ solution - target) ** 2).sum() / 2


def problem(rng, n, d, relation="l1"):
    """Features of several scales, weights, and a relation that falls with some distances."""
    Z = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) * np.linspace(0.5, 2, d) + 3
    targets = np.column_stack([Z[:, 0], np.abs(Z[:, 1 % d] - 3) + rng.standard_normal(n)])
    y = targets if relation in ("l1", "sqeuclidean") else (targets > np.median(targets, 0)).astype(float)
    return Z, make_relation(y, relation), rng.dirichlet(np.full(n, 5.0))


def solved(Z, G, p, alpha, *prediction_weight):
    head = RidgeHead(alpha, *prediction_weight)
    head.solve(Problem.of(Samples(torch.from_numpy(Z), torch.from_numpy(p)), G))
    return head


def loss_under(head, Z, G, p):
    """Loss of features under a head, and its gradient by them."""
    Z, p, moments = torch.as_tensor(Z), torch.as_tensor(p), RelationMoments.of(G, torch.as_tensor(p))
    pairs, distance = AllPairs(G, p, moments), Distance(head.M.detach(), float(head.offset.detach()), Z.mean(0))
    everything = slice(0, len(Z))
    loss = pair_loss(pairs.sums([(everything, Z)], distance), distance, G, moments)
    return loss, pairs.gradient(everything, Z, distance, loss)


def psd_part(M):
    eigenvalues, eigenvectors = np.linalg.eigh(M)
    return eigenvectors * eigenvalues.clip(0) @ eigenvectors.T


class TestRidge:
    """The exact head, against least squares over explicit pairs."""

    @pytest.fixture(autouse=True)
    def precise(self, monkeypatch):
        monkeypatch.setattr("skrelmetric._hraml.heads._TOL", 1e-12)

    @pytest.mark.parametrize("alpha", [0.01, 1.0])
    @pytest.mark.parametrize("relation", ["l1", "hamming", "jaccard", "sqeuclidean"])
    @pytest.mark.parametrize(("n", "d"), [(25, 4), (90, 3), (6, 9), (2, 3), (12, 1)])
    def test_solution_is_least_squares_over_all_pairs(self, n, d, relation, alpha, rng):
        Z, G, p = problem(rng, n, d, relation)
        head = solved(Z, G, p, alpha)
        M, b, minimum = best(Z, G.block(EVERYTHING, EVERYTHING).numpy(), p, alpha)
        assert head.converged
        assert head.M.dtype == torch.float64
        np.testing.assert_allclose(head.M, M, atol=1e-8 * np.abs(M).max())
        assert float(head.offset) == pytest.approx(b, abs=1e-8)
        loss, _ = loss_under(head, Z, G, p)
        assert loss.value + head.penalty(loss.variance)[0] == pytest.approx(minimum, rel=1e-8, abs=1e-12)

    @pytest.mark.parametrize("alpha", [0.01, 1.0])
    @pytest.mark.parametrize("relation", ["l1", "hamming"])
    @pytest.mark.parametrize(("n", "d"), [(12, 3), (5, 6), (3, 2)])
    def test_gradient_is_that_of_the_minimum_over_matrices_and_offsets(self, n, d, relation, alpha, rng):
        Z, G, p = problem(rng, n, d, relation)
        matrix, weights = G.block(EVERYTHING, EVERYTHING).numpy(), torch.from_numpy(p)
        head = solved(Z, G, p, alpha)
        loss, gradient = loss_under(head, Z, G, p)
        _, pull = head.penalty(loss.variance)
        penalty = pull * weights[:, None] * (torch.from_numpy(Z) - loss.mean)
        assert penalty.abs().max() > 1e-4 * gradient.abs().max()  # or the test would not see it
        step, expected = 1e-4, np.empty_like(Z)
        for place in np.ndindex(Z.shape):
            ahead, behind = Z.copy(), Z.copy()
            ahead[place] += step
            behind[place] -= step
            expected[place] = (best(ahead, matrix, p, alpha)[2] - best(behind, matrix, p, alpha)[2]) / (2 * step)
        np.testing.assert_allclose(gradient + penalty, expected, atol=1e-6 * np.abs(expected).max())

    def test_the_pull_is_the_slope_of_the_penalty(self, rng):
        Z, G, p = problem(rng, 20, 3)
        head, variance = solved(Z, G, p, 1.0), float(p @ np.square(Z - p @ Z).sum(1))
        value, pull = head.penalty(2 * variance)
        assert value == pytest.approx(4 * head.penalty(variance)[0])  # of a fixed M, as features grow
        ahead, behind = (head.penalty(2 * variance + step)[0] for step in (1e-4, -1e-4))
        assert pull / 2 == pytest.approx((ahead - behind) / 2e-4)  # dv/dz_i = 2 p_i (z_i - mean)

    def test_units_of_the_features_do_not_matter(self, rng):
        Z, G, p = problem(rng, 20, 3)
        head, scaled = solved(Z, G, p, 0.3), solved(100 * Z + 5, G, p, 0.3)
        np.testing.assert_allclose(1e4 * scaled.M, head.M, atol=1e-8 * float(head.M.abs().max()))
        assert float(scaled.offset) == pytest.approx(float(head.offset))
        variance = float(p @ np.square(Z - p @ Z).sum(1))
        assert scaled.penalty(1e4 * variance)[0] == pytest.approx(head.penalty(variance)[0])

    def test_float32_features(self, rng):
        Z, G, p = problem(rng, 60, 4)
        head = RidgeHead(0.3)
        head.solve(Problem.of(Samples(torch.from_numpy(Z).to(torch.float32), torch.from_numpy(p)), G))
        M = solved(Z, G, p, 0.3).M
        assert head.M.dtype == torch.float64
        np.testing.assert_allclose(head.M, M, atol=1e-5 * float(M.abs().max()))

    @pytest.mark.parametrize("n", [1, 2, 3, 30])
    @pytest.mark.parametrize("alpha", [0.0, 1.0])
    def test_constant_features(self, alpha, n, rng):
        _, G, p = problem(rng, n, 2)
        head = solved(np.full((n, 4), 0.1), G, p, alpha)
        np.testing.assert_array_equal(head.M, np.zeros((4, 4)))
        assert float(head.offset) == pytest.approx(float(p @ G.block(EVERYTHING, EVERYTHING).numpy() @ p))
        assert head.converged
        assert head.penalty(0.0) == head.penalty(1.0) == (0.0, 0.0)
        np.testing.assert_array_equal(head.factor(3), np.zeros((3, 4)))

    @pytest.mark.parametrize("n", [3, 30])
    def test_some_constant_features(self, n, rng):
        Z, G, p = problem(rng, n, 3)
        some = np.insert(Z, 1, 7.0, axis=1)
        head = solved(some, G, p, 0.3)
        expected = np.insert(np.insert(solved(Z, G, p, 0.3).M.numpy(), 1, 0, axis=0), 1, 0, axis=1)
        np.testing.assert_allclose(head.M, expected, atol=1e-9 * np.abs(expected).max())

    def test_a_constant_relation_needs_no_matrix(self, rng):
        Z, _, p = problem(rng, 10, 3)
        head = solved(Z, make_relation(np.ones(10)), p, 0.3)
        np.testing.assert_allclose(head.M, 0, atol=1e-12)
        assert float(head.offset) == pytest.approx(0, abs=1e-12)
        assert not head.factor(3).any()

    def test_stopping_early_is_told(self, rng, monkeypatch):
        monkeypatch.setattr("skrelmetric._hraml.heads._MAX_ITER", 1)
        head = solved(*problem(rng, 100, 4), 0.01)
        assert not head.converged
        assert head.residual > 1e-12

    def test_average(self, rng):
        heads = [solved(*problem(rng, 20, 3), 0.3) for _ in range(2)]
        (M, offset), (other, other_offset) = ((head.M.clone(), head.offset.clone()) for head in heads)
        heads[0].average(heads[1], 0.25)
        torch.testing.assert_close(heads[0].M, 0.75 * M + 0.25 * other)
        torch.testing.assert_close(heads[0].offset, 0.75 * offset + 0.25 * other_offset)
        torch.testing.assert_close(heads[1].M, other, rtol=0, atol=0)

    @pytest.mark.parametrize("alpha", [0.01, 1.0])
    def test_factor_is_that_of_the_positive_semi_definite_part(self, alpha, rng):
        head = solved(*problem(rng, 40, 5), alpha)
        eigenvalues = np.linalg.eigvalsh(head.M)
        rank = int((eigenvalues > 0).sum())
        assert 1 < rank < 5
        for n_components in (rank, 5, 7):
            factor = head.factor(n_components)
            assert factor.shape == (n_components, 5)
            np.testing.assert_allclose(factor.T @ factor, psd_part(head.M.numpy()), atol=1e-12)
            np.testing.assert_array_equal(factor[rank:], np.zeros((n_components - rank, 5)))
        torch.testing.assert_close(head.factor(1), head.factor(5)[:1])
        np.testing.assert_allclose(head.factor(1).norm() ** 2, eigenvalues[-1])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_layer_embeds_features(self, dtype, rng):
        Z, G, p = problem(rng, 40, 5)
        head = solved(Z, G, p, 0.1)
        layer = head.layer(4, dtype)
        embedding = layer(torch.from_numpy(Z).to(dtype)).detach()
        assert embedding.dtype == dtype
        assert embedding.shape == (40, 4)
        u = Z[3] - Z[8]
        expected = u @ psd_part(head.M.numpy()) @ u
        assert float((embedding[3] - embedding[8]).square().sum()) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
    def test_predictions_have_their_share_in_the_embedding(self, weight, rng):
        Z, _, p = problem(rng, 40, 5)
        Y = (Z[:, :2] + rng.standard_normal((40, 2)) > Z[:, :2].mean(0)).astype(int)
        G = make_relation(Y)
        alone, head = solved(Z, G, p, 0.3), solved(Z, G, p, 0.3, weight)
        torch.testing.assert_close(head.M, alone.M, rtol=0, atol=0)  # training goes by it
        assert float(head.offset) == float(alone.offset)
        X = Z - p @ Z
        S = (X * p[:, None]).T @ X
        W = np.linalg.solve(S + 5 * np.diag(S).mean() * np.eye(5), (X * p[:, None]).T @ Y)  # ridge regression
        M1, M2 = psd_part(alone.M.numpy()), W @ W.T
        expected = (1 - weight) * M1 + weight * np.trace(M1 @ S) / np.trace(M2 @ S) * M2
        np.testing.assert_allclose(head.metric, expected, atol=1e-9 * np.abs(expected).max())
        rank = {0.0: np.linalg.matrix_rank(M1), 0.3: 5, 1.0: 2}[weight]
        factor = head.factor(None)
        assert factor.shape == (rank, 5)
        np.testing.assert_allclose(factor.T @ factor, expected, atol=1e-9 * np.abs(expected).max())
        torch.testing.assert_close(head.factor(1), factor[:1])

    def test_average_of_embeddings(self, rng):
        heads = [solved(*problem(rng, 20, 3), 0.3, 0.5) for _ in range(2)]
        metric, other = (head.metric.clone() for head in heads)
        heads[0].average(heads[1], 0.25)
        torch.testing.assert_close(heads[0].metric, 0.75 * metric + 0.25 * other)

    def test_a_metric_of_0_has_one_component(self, rng):
        Z, _, p = problem(rng, 10, 3)
        for weight in (0.0, 0.3):
            factor = solved(Z, make_relation(np.ones(10)), p, 0.3, weight).factor(None)
            assert factor.shape == (1, 3)
            assert not factor.any()

    def test_nothing_is_trained(self):
        head = RidgeHead(1.0)
        assert head.exact
        assert not list(head.parameters())


class TestLinear:
    """Distances of the features themselves."""

    def test_the_papers_distance(self):
        head = LinearHead(3, learn_scale=False, device=CPU)
        identity = torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(head.M, identity, rtol=0, atol=0)
        torch.testing.assert_close(head.factor(3), identity, rtol=0, atol=0)
        assert float(head.offset) == 0
        assert not head.exact
        assert head.penalty(1.0) == (0.0, 0.0)

    def test_nothing_is_trained_without_a_scale(self, rng):
        Z, G, p = problem(rng, 9, 3)
        head = LinearHead(3, learn_scale=False, device=CPU)
        head.backward(loss_under(head, Z, G, p)[0])
        assert not any(parameter.requires_grad for parameter in head.parameters())
        assert all(parameter.grad is None for parameter in head.parameters())
        assert not head.M.requires_grad

    @pytest.mark.parametrize(("log_scale", "shift"), [(0.0, 0.0), (0.7, -1.5), (-2.0, 3.0)])
    def test_scale_and_offset_take_their_gradients_from_the_loss(self, log_scale, shift, rng):
        Z, G, p = problem(rng, 15, 3)
        Z, p = torch.from_numpy(Z), torch.from_numpy(p)
        head = LinearHead(3, learn_scale=True, device=CPU)
        a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (log_scale, shift))
        head.load_state_dict({"log_scale": a, "shift": b})
        torch.testing.assert_close(head.M.detach(), np.exp(log_scale) * torch.eye(3, dtype=torch.float64))
        differences = Z[:, None] - Z[None]
        D = a.exp() * differences.square().sum(-1)
        (torch.outer(p, p) * (D + b - G.block(EVERYTHING, EVERYTHING)).square()).sum().div(2).backward()

        head.backward(loss_under(head, Z, G, p)[0])
        assert {name for name, _ in head.named_parameters()} == {"log_scale", "shift"}
        torch.testing.assert_close(head.log_scale.grad, a.grad, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(head.shift.grad, b.grad, rtol=1e-10, atol=1e-12)

    def test_factor_is_that_of_the_scaled_distance(self):
        head = LinearHead(3, learn_scale=True, device=CPU)
        head.load_state_dict({"log_scale": torch.tensor(0.7), "shift": torch.tensor(0.2)})
        factor = head.factor(3)
        assert not factor.requires_grad
        torch.testing.assert_close(factor.T @ factor, head.M.detach())
        layer = head.layer(3, torch.float32)
        torch.testing.assert_close(layer.weight.detach(), factor.to(torch.float32))
