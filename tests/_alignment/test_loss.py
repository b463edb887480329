from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skrelmetric._alignment.loss import AllPairs, Distance, PairSums, RelationMoments, pair_loss, sampled_pairs
from skrelmetric.relations import make_relation

EVERYTHING = slice(None)


def explicit(z, G, p, M, b):
    """1/2 sum_ij p_i p_j ((z_i - z_j)' M (z_i - z_j) + b - G_ij)^2 from n x n matrices, by autograd."""
    differences = z[:, None] - z[None]
    D = torch.einsum("ijk,kl,ijl->ij", differences, M, differences)
    return 0.5 * (torch.outer(p, p) * (D + b - G).square()).sum()


def expected_of(z, G, p, M, b):
    """Value, derivatives by scale and offset, and gradient, by autograd in float64."""
    z = z.to(torch.float64, copy=True).requires_grad_()
    scale, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.0, b))
    value = explicit(z, G.block(EVERYTHING, EVERYTHING), p, scale * M, b)
    gradient, by_scale, by_offset = torch.autograd.grad(value, (z, scale, b))
    return (value.item(), by_scale.item(), by_offset.item()), gradient.numpy()


def actual_of(z, G, p, M, b, chunk_size=None):
    n = len(z)
    starts = [*range(0, n, chunk_size or n), n]
    chunks = [slice(*ends) for ends in pairwise(starts)]
    moments = RelationMoments.of(G, p)
    pairs, distance = AllPairs(G, p, moments), Distance(M, b, z[chunks[0]].mean(0).to(torch.float64))
    sums = pairs.sums(((chunk, z[chunk]) for chunk in chunks), distance)
    loss = pair_loss(sums, distance, G, moments)
    return loss[:3], np.vstack([pairs.gradient(chunk, z[chunk], distance, loss) for chunk in chunks])


def assert_equals_explicit(z, G, p, M, b, tolerance=1e-10, chunk_size=None):
    (value, *derivatives), gradient = actual_of(z, G, p, M, b, chunk_size)
    (expected, *expected_derivatives), expected_gradient = expected_of(z, G, p, M, b)
    # The terms that cancel set the scale of rounding, and so of a value and of gradients near 0.
    size = 1 + float(G.block(EVERYTHING, EVERYTHING).square().max()) + b * b + expected
    assert value == pytest.approx(expected, abs=tolerance * size)
    assert derivatives == pytest.approx(expected_derivatives, abs=tolerance * size)
    atol = tolerance * (1 + np.abs(expected_gradient).max())
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=atol)


def largest_difference(A, B):
    return np.nan_to_num(abs(A[:, None].astype(float) - B[None])).max(-1)


def distributions(rng, n):
    return rng.dirichlet(np.ones(4), n) * (rng.random((n, 4)) < 0.8)


def label_sets(rng, n):
    return (rng.random((n, 5)) < 0.4).astype(float)


TARGETS = {
    "hamming": label_sets,
    "l1": distributions,
    "sqeuclidean": lambda rng, n: rng.standard_normal((n, 3)),
    "discrete": lambda rng, n: rng.integers(0, 4, (n, 2)).astype(float),
    "hellinger": distributions,
    "cosine": lambda rng, n: rng.standard_normal((n, 3)).round(1),
    "jeffreys": distributions,
    "jaccard": label_sets,
    "callable": lambda rng, n: rng.integers(0, 3, (n, 2)).astype(float),
}


def relation_of(name, rng, n, kind="dense"):
    Y = TARGETS[name](rng, n)
    if kind == "sparse":
        Y = sparse.csr_array(Y)
    if kind == "missing":
        Y[rng.random(Y.shape) < 0.3] = np.nan
        Y[n // 2] = np.nan
    return make_relation(Y, largest_difference if name == "callable" else name)


def problem(rng, n, width, offset=-0.7):
    """Embeddings, weights of which one is 0, an indefinite matrix and an offset."""
    z, M = rng.standard_normal((n, width)), rng.standard_normal((width, width))
    M = M + M.T
    M[0, 0] -= np.linalg.eigvalsh(M).sum()  # the trace is 0
    p = rng.dirichlet(np.ones(n))
    p[0] = 0 if n > 2 else p[0]
    return torch.from_numpy(z), torch.from_numpy(p / p.sum()), torch.from_numpy(M), offset


class TestAllPairs:
    """Sums over samples, against autograd through n x n matrices."""

    @pytest.mark.parametrize("kind", ["dense", "missing", "sparse"])
    @pytest.mark.parametrize("name", TARGETS)
    def test_equals_autograd_over_explicit_pairs(self, name, kind, rng):
        z, p, M, b = problem(rng, 29, 4)
        eigenvalues = torch.linalg.eigvalsh(M)
        assert eigenvalues[0] < -0.1 < 0.1 < eigenvalues[-1]
        assert_equals_explicit(z, relation_of(name, rng, 29, kind), p, M, b)

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(list(TARGETS)),
        st.sampled_from(["dense", "missing", "sparse"]),
        st.integers(1, 12),
        st.integers(1, 5),
        st.integers(1, 12),
        st.floats(-3, 3),
        st.integers(0, 2**32 - 1),
    )
    def test_whatever_the_sizes(self, name, kind, n, width, chunk_size, offset, seed):
        rng = np.random.default_rng(seed)
        z, p, M, b = problem(rng, n, width, offset)
        assert_equals_explicit(z, relation_of(name, rng, n, kind), p, M, b, 1e-9, chunk_size)

    @pytest.mark.parametrize("kind", ["dense", "missing", "sparse"])
    @pytest.mark.parametrize("name", TARGETS)
    def test_chunks_do_not_change_the_result(self, name, kind, rng):
        z, p, M, b = problem(rng, 29, 3)
        G = relation_of(name, rng, 29, kind)
        whole, gradient = actual_of(z, G, p, M, b)
        for chunk_size in (1, 3, 7, 29):
            loss, chunked = actual_of(z, G, p, M, b, chunk_size)
            assert loss == pytest.approx(whole, rel=1e-10)
            np.testing.assert_allclose(chunked, gradient, rtol=0, atol=1e-10 * np.abs(gradient).max())

    @pytest.mark.parametrize("chunk_size", [70, 150])
    @pytest.mark.parametrize("name", TARGETS)
    def test_many_blocks(self, name, chunk_size, rng, monkeypatch):
        monkeypatch.setattr("skrelmetric._interop.torch._BLOCK_ELEMENTS", {"cpu": 1})
        assert_equals_explicit(*problem_with(name, rng, 150, 3), chunk_size=chunk_size)

    @pytest.mark.parametrize("chunk_size", [1, 7, 29])
    @pytest.mark.parametrize("offset", [1e4, -1e6])
    def test_a_common_offset_costs_no_digits(self, offset, chunk_size, rng):
        z, G, p, M, b = problem_with("hamming", rng, 29, 4)
        z += offset * torch.tensor([1, -1, 0.5, 1])
        assert_equals_explicit(z, G, p, M, b, 1e-8, chunk_size)

    @pytest.mark.parametrize("name", TARGETS)
    @pytest.mark.parametrize(("offset", "chunk_size"), [(0, 29), (100, 7), (1e4, 1)])
    def test_float32(self, offset, chunk_size, name, rng):
        z, G, p, M, b = problem_with(name, rng, 29, 4)
        z = (z + offset).to(torch.float32)
        loss, gradient = actual_of(z, G, p, M, b, chunk_size)
        expected, expected_gradient = actual_of(z.to(torch.float64), G, p, M, b)
        assert loss == pytest.approx(expected, rel=1e-6)  # products are float32, their sums float64
        assert gradient.dtype == np.float32
        np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-6 * np.abs(expected_gradient).max())

    @pytest.mark.parametrize("name", TARGETS)
    @pytest.mark.parametrize("n", [1, 2])
    def test_one_and_two_samples(self, n, name, rng):
        z, G, p, M, b = problem_with(name, rng, n, 3)
        assert_equals_explicit(z, G, p, M, b)
        (value, by_scale, by_offset), gradient = actual_of(z[:1], G[:1], p[:1] / p[:1], M, b)
        assert (value, by_scale, by_offset) == pytest.approx((b * b / 2, 0, b))  # a sample and itself
        np.testing.assert_allclose(gradient, 0, atol=1e-12)

    @pytest.mark.parametrize("name", TARGETS)
    def test_duplicates_weigh_as_one_sample(self, name, rng):
        z, G, p, M, b = problem_with(name, rng, 9, 3)
        twice = torch.arange(9).repeat(2)
        assert_equals_explicit(z[twice], G[twice], p[twice] / 2, M, b)
        once, gradient = actual_of(z, G, p, M, b)
        doubled, halves = actual_of(z[twice], G[twice], p[twice] / 2, M, b)
        assert doubled == pytest.approx(once, rel=1e-10)
        np.testing.assert_allclose(halves, np.tile(gradient, (2, 1)) / 2, atol=1e-10 * np.abs(gradient).max())

    def test_alike_embeddings(self, rng):
        _, G, p, M, b = problem_with("l1", rng, 9, 3)
        (value, by_scale, by_offset), gradient = actual_of(torch.full((9, 3), 0.1, dtype=torch.float64), G, p, M, b)
        error = b - G.block(EVERYTHING, EVERYTHING)
        assert value == pytest.approx(float(p @ error.square() @ p) / 2)
        assert by_offset == pytest.approx(float(p @ error @ p))
        assert by_scale == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)

    @pytest.mark.parametrize("chunk_size", [5, 40])
    def test_distances_that_are_the_relation_leave_nothing(self, chunk_size, rng):
        identity = torch.eye(3, dtype=torch.float64)
        for _ in range(10):  # rounding falls to either side of 0
            z, p, *_ = problem(rng, 40, 3)
            G = make_relation(z.numpy(), "sqeuclidean")
            (value, by_scale, by_offset), gradient = actual_of(z, G, p, identity, 0.0, chunk_size)
            assert abs(value) < 1e-12
            assert (by_scale, by_offset) == pytest.approx((0, 0), abs=1e-12)
            np.testing.assert_allclose(gradient, 0, atol=1e-12)

    def test_one_relation_serves_many_distances(self, rng):
        z, G, p, M, b = problem_with("l1", rng, 29, 3)
        moments, everything = RelationMoments.of(G, p), slice(0, 29)
        pairs = AllPairs(G, p, moments)
        distances = [Distance(scale * M, b, z.mean(0)) for scale in (1, -2)]
        sums = [pairs.sums([(everything, z)], distance) for distance in distances]
        for distance, of_distance in zip(distances, sums, strict=True):
            loss = pair_loss(of_distance, distance, G, moments)
            expected, gradient = actual_of(z, G, p, distance.M, b)
            assert loss[:3] == pytest.approx(expected)
            np.testing.assert_allclose(pairs.gradient(everything, z, distance, loss), gradient)

    @pytest.mark.parametrize("name", [name for name in TARGETS if name != "l1"])  # sums of which are no sums in memory
    def test_sums_of_partitions_add_up(self, name, rng):
        z, G, p, M, b = problem_with(name, rng, 29, 3)
        moments, distance = RelationMoments.of(G, p), Distance(M, b, z[3])
        partitions = [slice(0, 11), slice(11, 11), slice(11, 29)]
        pairs = [AllPairs(G.over(G.rows[some]), p[some], moments) for some in partitions]
        sums = [
            each.sums([(slice(0, len(z[some])), z[some])] if len(z[some]) else [], distance)
            for each, some in zip(pairs, partitions, strict=True)
        ]
        loss = pair_loss(PairSums(*map(sum, zip(*sums, strict=True))), distance, G, moments)
        expected, gradient = actual_of(z, G, p, M, b)
        assert loss[:3] == pytest.approx(expected)
        found = [
            each.gradient(slice(0, len(z[some])), z[some], distance, loss)
            for each, some in zip(pairs, partitions, strict=True)
        ]
        np.testing.assert_allclose(torch.cat(found), gradient, atol=1e-12)

    def test_loss_has_its_minimum_over_scale_and_offset_where_its_derivatives_vanish(self, rng):
        z, G, p, M, _ = problem_with("hamming", rng, 29, 3)
        differences = z[:, None] - z[None]
        D = torch.einsum("ijk,kl,ijl->ij", differences, M, differences).ravel()
        design = torch.stack([D, torch.ones_like(D)], 1)
        weights, target = torch.outer(p, p).ravel(), G.block(EVERYTHING, EVERYTHING).ravel()
        scale, offset = torch.linalg.solve(design.T @ (weights[:, None] * design), design.T @ (weights * target))
        (value, *derivatives), _ = actual_of(z, G, p, scale * M, float(offset))
        assert derivatives == pytest.approx([0, 0], abs=1e-10)
        assert value == pytest.approx(float(weights @ (design @ torch.stack([scale, offset]) - target).square()) / 2)


def problem_with(name, rng, n, width):
    z, p, M, b = problem(rng, n, width)
    return z, relation_of(name, rng, n), p, M, b


class TestSampledPairs:
    """The loss over some pairs, against its formula."""

    @pytest.fixture
    def pairs(self, rng):
        first, second, (relations,) = (
            torch.from_numpy(rng.standard_normal(shape)) for shape in [(20, 3), (20, 3), (1, 20)]
        )
        _, _, M, b = problem(rng, 2, 3)
        return first, second, relations, M, b

    def squares(self, first, second, relations, M, b):
        u = (first - second).numpy()
        return np.array([(d @ M.numpy() @ d + b - g) ** 2 for d, g in zip(u, relations.tolist(), strict=True)])

    def test_half_the_mean_square(self, pairs):
        assert float(sampled_pairs(*pairs)) == pytest.approx(self.squares(*pairs).mean() / 2)
        without = (*pairs[:4], 0.0)
        assert float(sampled_pairs(*pairs[:4])) == pytest.approx(self.squares(*without).mean() / 2)

    @pytest.mark.parametrize(("fraction", "count"), [(1.0, 20), (0.5, 10), (0.33, 7), (0.05, 1), (1e-6, 1)])
    def test_the_pairs_with_the_largest_errors_count(self, fraction, count, pairs):
        first, second, *rest = pairs
        first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
        loss = sampled_pairs(first, second, *rest, hard_fraction=fraction)
        loss.backward()
        squares = self.squares(*pairs)
        hardest = np.argsort(-squares)[:count]
        assert loss.item() == pytest.approx(squares[hardest].mean() / 2)
        for gradient in (first.grad, second.grad):
            assert set(gradient.abs().sum(1).nonzero().ravel().tolist()) == set(hardest.tolist())
        torch.testing.assert_close(first.grad, -second.grad)

    @pytest.mark.parametrize("fraction", [1.0, 0.5])
    @pytest.mark.parametrize("n", [1, 2, 20])
    def test_gradients(self, n, fraction, pairs):
        first, second, relations, M, b = pairs
        parameters = first[:n].clone(), second[:n].clone(), M.clone(), torch.tensor(b, dtype=torch.float64)

        def loss(first, second, M, b):
            return sampled_pairs(first, second, relations[:n], M, b, hard_fraction=fraction)

        assert torch.autograd.gradcheck(loss, [parameter.requires_grad_() for parameter in parameters])

    def test_a_sample_and_itself(self):
        z = torch.ones((2, 3), dtype=torch.float64, requires_grad=True)
        loss = sampled_pairs(z, z, torch.ones(2, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
        loss.backward()
        assert loss.item() == 0.5
        np.testing.assert_array_equal(z.grad, 0)

    @pytest.mark.parametrize("name", TARGETS)
    def test_the_mean_over_all_pairs_is_that_of_all_pairs(self, name, rng):
        n = 17
        z, G, _, M, b = problem_with(name, rng, n, 3)
        i, j = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
        z.requires_grad_()
        sampled = sampled_pairs(z[i], z[j], G.pairs(i, j), M, b)
        sampled.backward()
        uniform = torch.full((n,), 1 / n, dtype=torch.float64)
        (value, *_), gradient = actual_of(z.detach(), G, uniform, M, b)
        assert value == pytest.approx(sampled.item(), rel=1e-10)
        np.testing.assert_allclose(gradient, z.grad, atol=1e-10 * np.abs(gradient).max())


class TestPaper:
    """Equations 5 to 9 of HRAML, whose x are pre-activations and whose h are activations."""

    @pytest.fixture(params=[[4, 5, 3], [4, 6, 5, 2]], ids=["two-layers", "three-layers"])
    def network(self, request, rng):
        """Weights and biases of each layer, x^(m) = W^(m) h^(m-1) + b^(m), for autograd."""
        shapes = [(k, d) for d, k in pairwise(request.param)]
        layers = [(rng.standard_normal(shape) / 2, rng.standard_normal(shape[0]) / 2) for shape in shapes]
        return [(torch.from_numpy(W).requires_grad_(), torch.from_numpy(b).requires_grad_()) for W, b in layers]

    @staticmethod
    def forward(network, sample):
        """The activations h^(0), ..., h^(M)."""
        activations = [sample]
        for W, b in network:
            activations.append(torch.tanh(W @ activations[-1] + b))
        return activations

    def by_hand(self, network, sample_i, sample_j, relation):
        """dJ(i, j)/dW^(m) and dJ(i, j)/db^(m) of J(i, j) = 1/4 (D_ij^2 - g)^2, from Eqs. 6 to 9."""
        h_i, h_j = self.forward(network, sample_i), self.forward(network, sample_j)
        difference = h_i[-1] - h_j[-1]
        error = difference @ difference - relation  # D is the Euclidean distance
        last = len(network) - 1
        gradients = []
        for m in reversed(range(len(network))):  # h[m] is h^(m-1) of the paper, h[m + 1] is its h^(m)
            slope_i, slope_j = 1 - h_i[m + 1] ** 2, 1 - h_j[m + 1] ** 2  # ds(x)/dx of tanh
            if m == last:
                delta_i, delta_j = error * slope_i * difference, error * slope_j * difference  # Eqs. 6 and 7
            else:
                W = network[m + 1][0]
                delta_i, delta_j = slope_i * (W.T @ delta_i), slope_j * (W.T @ delta_j)  # Eqs. 8 and 9
            gradients.append((torch.outer(delta_i, h_i[m]) - torch.outer(delta_j, h_j[m]), delta_i - delta_j))
        return gradients[::-1]

    @pytest.mark.parametrize("relation", [0.0, 0.3, 5.0])
    def test_gradients_are_those_of_equations_6_to_9(self, network, relation, rng):
        samples = torch.from_numpy(rng.standard_normal((2, 4)))
        first, second = (self.forward(network, sample)[-1][None] for sample in samples)
        M = torch.eye(first.shape[1], dtype=torch.float64)
        # Half a mean square is twice the paper's quarter of a square.
        loss = sampled_pairs(first, second, torch.tensor([relation], dtype=torch.float64), M) / 2
        parameters = [parameter for layer in network for parameter in layer]
        actual = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            expected = [gradient for layer in self.by_hand(network, *samples, relation) for gradient in layer]
        assert max(float(gradient.abs().max()) for gradient in expected) > 1e-3
        for ours, papers in zip(actual, expected, strict=True):
            torch.testing.assert_close(ours, papers, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("name", TARGETS)
    def test_value_is_that_of_equation_5(self, name, rng):
        n = 13
        z, G = torch.from_numpy(rng.standard_normal((n, 3))), relation_of(name, rng, n)
        matrix = G.block(EVERYTHING, EVERYTHING)
        J = sum((float((z[i] - z[j]).norm()) ** 2 - float(matrix[i, j])) ** 2 for i in range(n) for j in range(n)) / 4
        uniform = torch.full((n,), 1 / n, dtype=torch.float64)
        (value, *_), _ = actual_of(z, G, uniform, torch.eye(3, dtype=torch.float64), 0.0)
        assert n**2 / 2 * value == pytest.approx(J, rel=1e-10)

    def test_gradients_of_a_network_are_the_sum_over_its_pairs(self, network, rng):
        n = 6
        X, G = torch.from_numpy(rng.standard_normal((n, 4))), relation_of("l1", rng, n)
        matrix = G.block(EVERYTHING, EVERYTHING)
        z = torch.stack([self.forward(network, x)[-1] for x in X])
        uniform, M = torch.full((n,), 1 / n, dtype=torch.float64), torch.eye(z.shape[1], dtype=torch.float64)
        _, gradient = actual_of(z.detach(), G, uniform, M, 0.0)
        z.backward(torch.from_numpy(gradient) * n**2 / 2)
        with torch.no_grad():
            by_pair = [self.by_hand(network, X[i], X[j], matrix[i, j]) for i in range(n) for j in range(n)]
        for layer, parameters in enumerate(network):
            for k, parameter in enumerate(parameters):
                expected = sum(pair[layer][k] for pair in by_pair)
                torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [1000, 2500])
def test_value_of_many_samples_near_a_perfect_fit(n, rng):
    y = rng.integers(0, 3, n)
    G = make_relation(y)
    z = torch.from_numpy(np.eye(3)[y] / 2**0.5 + 0.01 * rng.standard_normal((n, 3)))
    p = torch.full((n,), 1 / n, dtype=torch.float64)
    (value, *_), _ = actual_of(z, G, p, torch.eye(3, dtype=torch.float64), 0.0)
    expected = explicit(z, G.block(EVERYTHING, EVERYTHING), p, torch.eye(3, dtype=torch.float64), 0.0)
    assert value == pytest.approx(float(expected), rel=1e-6)
