import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from torch import nn
from torch.func import functional_call

from skrelmetric._interop.randomness import Dropout
from skrelmetric.encoders import ACTIVATIONS, MLP, Laplacian, Tanh

EVERYTHING = 10**6
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
SPECS = [Laplacian(), Laplacian(width=3, gamma=4.0), Tanh(), Tanh(width=3), MLP((5, 3)), MLP((4,), normalize=False)]


def uniform(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(spec, X, p=None, seed=0):
    X = torch.as_tensor(X)
    return spec.build(X, uniform(len(X)) if p is None else torch.as_tensor(p), generator(seed)).eval()


def features(encoder, X):
    with torch.no_grad():
        return encoder(torch.as_tensor(X)).numpy()


def repeated(rng, n, d):
    """Samples, how often each is there, and as many rows; an odd number of rows has no quantile between two."""
    X, times = rng.standard_normal((n, d)), rng.integers(1, 5, n)
    times[0] += times.sum() % 2 == 0
    return X, times, np.repeat(X, times, axis=0)


def centred_laplacian_kernel(A, X, p, gamma):
    """exp(-gamma |a - x|_1 / s) of rows of A and X, centred in the feature space by the weighted mean of X."""

    def distance(a, b):
        return sum(abs(a[k] - b[k]) for k in range(len(a)))

    n = len(X)
    s = sum(p[i] * p[j] * distance(X[i], X[j]) for i in range(n) for j in range(n))
    K = np.array([[math.exp(-gamma * distance(a, x) / s) for x in X] for a in [*A, *X]])
    training = K[len(A) :]
    return K[: len(A)] - (K[: len(A)] @ p)[:, None] - training @ p + p @ training @ p


def interpolated_distances(X, landmarks, rates):
    """sum_k rate_k |x_k - l_k|, linear in x_k and l_k between quantiles of the landmarks' distinct values."""
    D = np.zeros((len(X), len(landmarks)))
    n_bins = max(4, math.ceil(320 / X.shape[1]))
    for k, rate in enumerate(rates):
        distinct = np.unique(landmarks[:, k])
        knots = distinct[
            [math.floor(Fraction(i * (len(distinct) - 1), n_bins) + Fraction(1, 2)) for i in range(n_bins + 1)]
        ]
        knots = np.unique([*knots, *X[:, k][(X[:, k] < knots[0]) | (X[:, k] > knots[-1])]])  # exact beyond the ends
        between = [[np.interp(x, knots, np.abs(knots - t)) for t in knots] for x in X[:, k]]
        D += rate * np.array([[np.interp(t, knots, row) for t in landmarks[:, k]] for row in between])
    return D


class TestLaplacian:
    @pytest.mark.parametrize("gamma", [0.3, 1.0, 5.0])
    @pytest.mark.parametrize(("n", "d"), [(25, 3), (6, 15), (2, 1)])
    def test_inner_products_at_full_width_are_the_centred_kernel(self, n, d, gamma, rng):
        X, new, p = rng.standard_normal((n, d)) + 3, rng.standard_normal((4, d)), rng.dirichlet(np.full(n, 3.0))
        encoder = build(Laplacian(EVERYTHING, gamma), X, p)
        for A in (X, new):
            inner = features(encoder, A) @ features(encoder, X).T
            np.testing.assert_allclose(inner, centred_laplacian_kernel(A, X, p, gamma), atol=1e-12)

    def test_features_are_principal(self, rng):
        X, p = rng.standard_normal((40, 3)), rng.dirichlet(np.full(40, 3.0))
        z = features(build(Laplacian(EVERYTHING), X, p), X)
        np.testing.assert_allclose(p @ z, 0, atol=1e-12)
        second = z.T @ (p[:, None] * z)
        np.testing.assert_allclose(second, np.diag(np.diag(second)), atol=1e-12)
        assert (np.diff(np.diag(second)) < 1e-12).all()

    @pytest.mark.parametrize("d", [1, 16, 17, 40])
    def test_distances_of_an_exported_graph_are_the_same(self, d, rng, monkeypatch):
        encoder = build(Laplacian(), rng.standard_normal((9, d)))
        X = torch.from_numpy(rng.standard_normal((5, d)))
        kernel = encoder[0]
        with torch.no_grad():
            kernel.rates.mul_(torch.from_numpy(rng.random(d)) + 0.5)
            usual = kernel.distances(X)
            monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
            exported = kernel.distances(X)
        rates = kernel.rates.detach().numpy()
        expected = cdist(X.numpy() * rates, kernel.landmarks.detach().numpy() * rates, "cityblock")
        np.testing.assert_allclose(usual, expected, rtol=1e-12)
        np.testing.assert_allclose(exported, expected, rtol=1e-12)

    def test_single_precision_is_near_double(self, rng):
        X, new = rng.standard_normal((60, 5)), rng.standard_normal((7, 5))
        double, single = (build(Laplacian(20), X.astype(dtype)) for dtype in ("f8", "f4"))
        np.testing.assert_allclose(features(single, new.astype("f4")), features(double, new), atol=1e-4)

    def test_rounding_makes_no_features(self, rng):
        X = np.repeat(rng.standard_normal((30, 3)), 3, axis=0)
        nearly = X + 1e-7 * rng.standard_normal(X.shape)
        assert 25 < features(build(Laplacian(), nearly.astype("f4")), X.astype("f4")).shape[1] < 35

    def test_landmarks_are_not_the_samples_themselves(self, rng):
        X = torch.from_numpy(rng.standard_normal((6, 2)))
        before, encoder = X.clone(), build(Laplacian(), X)
        with torch.no_grad():
            encoder[0].landmarks.zero_()
        torch.testing.assert_close(X, before)


class TestManyLandmarks:
    """Laplacian features of 2,000 landmarks and more."""

    @pytest.mark.parametrize("d", [1, 7, 90])
    def test_distances_are_interpolated_between_knots(self, d, rng):
        landmarks = rng.standard_normal((2000, d)).round(2) * 10.0 ** rng.integers(-2, 3, d) + rng.integers(0, 9, d)
        X = np.concatenate(
            [landmarks[:7], landmarks[:9] + rng.standard_normal((9, d)), 1e3 * landmarks[:2], 0 * landmarks[:1]]
        )
        kernel = build(Laplacian(8), landmarks)[0].double()
        with torch.no_grad():
            kernel.landmarks.copy_(torch.from_numpy(landmarks))  # which single precision had rounded
            kernel.rates.copy_(torch.from_numpy(rng.standard_normal(d)))
        expected = interpolated_distances(X, landmarks, np.abs(kernel.rates.detach().numpy()))
        actual = kernel.distances(torch.from_numpy(X)).detach().numpy()
        np.testing.assert_allclose(actual, expected, atol=1e-6 * expected.max())

    def test_from_fewer_distances_are_exact(self, rng):
        X, new = rng.standard_normal((1023, 5)), rng.standard_normal((7, 5))
        kernel = build(Laplacian(8), X)[0]
        distances = kernel.distances(torch.from_numpy(new)).detach()
        landmarks, rates = (each.detach().numpy() for each in (kernel.landmarks, kernel.rates))
        np.testing.assert_allclose(distances, cdist(new * rates, landmarks * rates, "cityblock"), rtol=1e-12)

    @pytest.mark.parametrize("d", [1, 4, 200])
    def test_among_few_values_they_are_exact(self, d, rng):
        landmarks, X = rng.integers(0, 5, (2000, d)).astype(float), rng.standard_normal((6, d)) * 5
        kernel = build(Laplacian(8), landmarks)[0].double()
        distances, rates = kernel.distances(torch.from_numpy(X)).detach(), kernel.rates.detach().numpy()
        np.testing.assert_allclose(distances, cdist(X * rates, landmarks * rates, "cityblock"), rtol=1e-12)

    def test_knots_may_be_one_in_single_precision(self, rng):
        X = rng.choice([0.0, 0.1, 0.1 + 1e-12, 0.3, 0.3 - 1e-15, 0.7], (2000, 3))
        z = features(build(Laplacian(8), X), X)
        assert z.dtype == np.float32
        assert np.isfinite(z).all()
        np.testing.assert_allclose(z, features(build(Laplacian(8), X.round(3)), X.round(3)), atol=1e-5)

    def test_the_kernel_is_positive_semi_definite(self, rng):
        X = rng.standard_cauchy((2000, 80))
        kernel = build(Laplacian(8), X)[0].double()
        K = kernel(kernel.landmarks.detach())
        assert torch.linalg.eigvalsh(K.detach()).min() > -1e-10

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    @pytest.mark.parametrize("d", [6, 90])
    def test_they_are_taken_in_single_precision(self, d, dtype, rng):
        X, new = rng.standard_normal((2000, d)).astype(dtype), rng.standard_normal((9, d)).astype(dtype)
        new[0] = 1e30
        encoder = build(Laplacian(20), X)
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        single = features(encoder, new)
        np.testing.assert_allclose(single, features(encoder.double(), new), atol=1e-6)

    @pytest.mark.parametrize(
        "change",
        [lambda X: X + 1e8, lambda X: 1e-50 * X, lambda X: np.vstack([X[1:], 0 * X[:1] + 1e300]), lambda X: X[:, :1]],
        ids=["offset", "tiny", "outlier", "small variances"],
    )
    def test_what_single_precision_would_round_away_stays_in_double(self, change, rng):
        X = change(rng.standard_normal((2000, 3)))
        z = features(build(Laplacian(), X), X)
        assert z.dtype == np.float64
        assert np.isfinite(z).all()

    @pytest.mark.parametrize("c", [1e-30, 1e20])
    def test_scale_does_not_matter(self, c, rng):
        X, new = rng.standard_normal((2000, 9)), rng.standard_normal((7, 9))
        first, second = (features(build(Laplacian(8), scale * X), scale * new) for scale in (1.0, c))
        np.testing.assert_allclose(second, first, atol=1e-5)

    @pytest.mark.parametrize("rates", [0.3, -0.3])
    def test_gradients(self, rates, rng):
        kernel = build(Laplacian(4), rng.standard_normal((2000, 3)))[0].double()
        knots = torch.cat([kernel.bins + kernel.centre[kernel.feature], kernel.centre[kernel.feature][None]])
        between = knots.sort(0).values.unfold(0, 2, 1).mean(-1)[0]  # of a bin, or of the centre and a bin
        x = torch.stack([between[kernel.feature == k][::40] for k in range(3)], 1).detach().requires_grad_()
        landmarks = (x.detach().flip(0) + 1e-3)[:2].requires_grad_()
        rate = torch.full((3,), rates, dtype=torch.float64, requires_grad=True)

        def by_all(x, landmarks, rates):
            return functional_call(kernel, {"landmarks": landmarks, "rates": rates}, (x,))

        assert torch.autograd.gradcheck(by_all, (x, landmarks, rate))

    def test_gradients_in_single_precision_are_near(self, rng):
        X, new = rng.standard_normal((2000, 12)), torch.from_numpy(rng.standard_normal((9, 12)))
        encoder = build(Laplacian(8), X)
        with torch.no_grad():
            encoder[0].landmarks += 0.01 * torch.from_numpy(rng.standard_normal((2000, 12)))  # off the knots
        found = []
        for dtype in (torch.float32, torch.float64):
            encoder.to(dtype).zero_grad()
            encoder(new.to(dtype)).square().sum().backward()
            found.append([parameter.grad.to(torch.float64) for parameter in encoder.parameters()])
        for single, double in zip(*found, strict=True):
            assert (single - double).norm() < 1e-4 * double.norm()


class TestTanh:
    @pytest.mark.parametrize("n", [1, 2, 7, 33, 101])
    def test_thresholds_are_quantiles_and_slopes_inverse_deviations(self, n, rng):
        X, times, rows = repeated(rng, n, 3)
        steps = build(Tanh(), X, times / times.sum())[0]
        quantiles = np.quantile(rows, LEVELS, axis=0, method="inverted_cdf").T
        np.testing.assert_array_equal(steps.thresholds.detach(), quantiles)
        if n > 1:
            slopes = np.repeat(1 / rows.std(axis=0), 5).reshape(3, 5)
            np.testing.assert_allclose(steps.slopes.detach(), slopes, rtol=1e-12)

    @pytest.mark.parametrize("width", [2, EVERYTHING])
    @pytest.mark.parametrize(("n", "d"), [(31, 2), (9, 6)])
    def test_features_are_principal_components_of_the_units(self, n, d, width, rng):
        X = rng.standard_normal((n, d)) ** 3
        units = np.array(
            [
                [math.tanh((x[k] - t) / X[:, k].std()) for k in range(d) for t in quantiles[:, k]]
                for quantiles in [np.quantile(X, LEVELS, axis=0, method="inverted_cdf")]
                for x in X
            ]
        )
        expected = PCA(min(width, n - 1, 5 * d)).fit_transform(units)
        actual = features(build(Tanh(width), X), X)
        assert actual.shape == expected.shape
        signs = np.sign((expected * actual).sum(0))
        np.testing.assert_allclose(actual, expected * signs, atol=1e-10)

    def test_a_feature_whose_square_vanishes_is_refused(self, rng):
        X = torch.from_numpy(np.column_stack([rng.standard_normal(9), 1e-200 * rng.standard_normal(9)]))
        with pytest.raises(ValueError, match="too small to square without underflow"):
            build(Tanh(), X)

    def test_a_constant_feature_has_slope_one_and_no_say(self, rng):
        X = rng.standard_normal((32, 3))
        X[:, 1] = 0.5  # whose mean has no rounding error
        encoder = build(Tanh(), X)
        np.testing.assert_array_equal(encoder[0].slopes[1].detach(), 1)
        np.testing.assert_array_equal(encoder[0].thresholds[1].detach(), 0.5)
        np.testing.assert_allclose(encoder[1].weight.detach().reshape(-1, 3, 5)[:, 1], 0, atol=1e-12)
        without = build(Tanh(), X[:, [0, 2]])
        np.testing.assert_allclose(features(encoder, X), features(without, X[:, [0, 2]]), atol=1e-12)


@pytest.mark.parametrize("spec", [Laplacian, Tanh])
class TestPrincipal:
    """What features that are chosen from the samples have in common."""

    @pytest.mark.parametrize("width", [1, 4, 256])
    def test_width_is_capped(self, spec, width, rng):
        X = rng.standard_normal((9, 3))
        assert features(build(spec(width), X), X).shape == (9, min(width, 8))
        rows = np.repeat(X, 4, axis=0)
        assert features(build(spec(width), rows), X).shape == (9, min(width, 8))

    def test_narrow_features_are_the_first_of_wide_ones(self, spec, rng):
        X = rng.standard_normal((40, 3))
        wide, narrow = (features(build(spec(width), X), X) for width in (12, 4))
        np.testing.assert_allclose(narrow, wide[:, :4], atol=1e-12)

    def test_the_farthest_sample_is_on_the_positive_side(self, spec, rng):
        X = rng.standard_normal((50, 4)) ** 3
        z = features(build(spec(), X), X)
        assert (z[np.abs(z).argmax(0), np.arange(z.shape[1])] > 0).all()

    @pytest.mark.parametrize(("n", "d"), [(30, 3), (8, 12), (70, 2)])
    def test_weights_are_repetitions(self, spec, n, d, rng):
        X, times, rows = repeated(rng, n, d)
        new = rng.standard_normal((5, d))
        weighted, plain = build(spec(), X, times / times.sum()), build(spec(), rows)
        np.testing.assert_allclose(features(weighted, new), features(plain, new), atol=1e-8)

    def test_order_of_the_samples_does_not_matter(self, spec, rng):
        X, p, new = rng.standard_normal((30, 3)), rng.dirichlet(np.ones(30)), rng.standard_normal((5, 3))
        order = rng.permutation(30)
        first, second = build(spec(), X, p), build(spec(), X[order], p[order])
        np.testing.assert_allclose(features(second, new), features(first, new), atol=1e-8)

    @pytest.mark.parametrize("c", [1e-30, 1e-3, 7.0, 1e20])
    def test_scale_does_not_matter(self, spec, c, rng):
        X, p, new = rng.standard_normal((30, 3)), rng.dirichlet(np.ones(30)), rng.standard_normal((5, 3))
        first, second = build(spec(), X, p), build(spec(), c * X, p)
        np.testing.assert_allclose(features(second, c * new), features(first, new), atol=1e-10)

    def test_equal_samples_have_features_of_zero(self, spec):
        X = np.full((5, 3), 0.5)
        np.testing.assert_array_equal(features(build(spec(), X), X), np.zeros((5, 1)))

    @pytest.mark.parametrize("width", [0, -1])
    def test_width_must_be_positive(self, spec, width):
        with pytest.raises(ValueError, match=rf"width={width} of {spec.__name__} must be a whole number above 0"):
            build(spec(width), np.eye(3))


@pytest.mark.parametrize("gamma", [0, -0.5, float("nan")])
def test_gamma_must_be_positive(gamma):
    with pytest.raises(ValueError, match=rf"gamma={gamma} of Laplacian must be a number above 0"):
        build(Laplacian(gamma=gamma), np.eye(3))


def degenerate(rng):
    X = rng.standard_normal((7, 4))
    return {
        "one": X[:1],
        "two": X[:2],
        "twice the same": X[[0, 0]],
        "duplicates": X[[0, 0, 0, 1, 1, 2]],
        "constant feature": X * [1, 0, 1, 1] + [0, 1000.1, 0, 0],
        "one feature": X[:, :1],
        "equal": np.full((6, 4), 0.1),
        "zeros": np.zeros((6, 4)),
        "more features than samples": rng.standard_normal((5, 40)),
        "many scales": X * [1e-8, 1, 1e8, 1e3],
    }


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("kind", degenerate(np.random.default_rng(0)))
def test_degenerate_samples_have_finite_features(kind, spec, dtype, rng):
    X = degenerate(rng)[kind].astype(dtype)
    encoder = build(spec, X)
    for A in (X, X + 1000, X[:0]):
        z = features(encoder, A)
        assert z.ndim == 2
        assert len(z) == len(A)
        assert z.shape[1] > 0
        assert z.dtype == dtype
        assert np.isfinite(z).all()
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.as_tensor(X).dtype}


@pytest.mark.parametrize("exporting", [False, True])
@pytest.mark.parametrize("spec", [*SPECS[:5], *(MLP((4, 3), activation) for activation in ACTIVATIONS)], ids=repr)
def test_gradients(spec, exporting, rng, monkeypatch):
    encoder = build(spec, rng.standard_normal((6, 3)))
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    x = torch.from_numpy(rng.standard_normal((3, 3))).requires_grad_()
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: exporting)

    def by_all(x, *values):
        return functional_call(encoder, dict(zip(names, values, strict=True)), (x,))

    assert all(parameter.requires_grad for parameter in parameters)
    assert torch.autograd.gradcheck(by_all, (x, *parameters))


class TestMLP:
    def test_weights_are_uniform_and_biases_zero(self):
        layer = build(MLP((400,)), np.zeros((2, 300)))[0]
        W = layer.weight.detach().numpy()
        assert W.shape == (400, 300)
        assert 0.199 < np.abs(W).max() <= 0.2
        assert abs(W.mean()) < 5 * W.std() / math.sqrt(W.size)
        assert W.var() == pytest.approx(0.4**2 / 12, rel=0.01)
        np.testing.assert_array_equal(layer.bias.detach(), 0)

    @pytest.mark.parametrize("normalize", [False, True])
    @pytest.mark.parametrize(
        ("activation", "function"),
        [
            ("tanh", math.tanh),
            ("relu", lambda t: max(t, 0.0)),
            ("gelu", lambda t: t * (1 + math.erf(t / math.sqrt(2))) / 2),
            ("logistic", lambda t: 1 / (1 + math.exp(-t))),
            ("identity", lambda t: t),
        ],
    )
    def test_every_layer_is_followed_by_its_activation(self, activation, function, normalize, rng):
        X = rng.standard_normal((6, 4)) * 3
        encoder = build(MLP((7, 5, 3), activation, normalize), X)
        layers = [module for module in encoder if isinstance(module, nn.Linear)]
        z = X
        for layer, shape in zip(layers, [(7, 4), (5, 7), (3, 5)], strict=True):
            W, b = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))
            assert W.shape == shape
            z = np.array([[function(w @ row + bias) for w, bias in zip(W, b, strict=True)] for row in z])
        if normalize:
            z = np.array([row / math.sqrt(row @ row) for row in z])
        np.testing.assert_allclose(features(encoder, X), z, atol=1e-12)

    def test_normalized_features_have_norm_one_and_zeros_stay_finite(self, rng):
        X = rng.standard_normal((5, 4))
        X[2] = 0
        x = torch.from_numpy(X).requires_grad_()
        z = build(MLP((6, 3)), X)(x)
        np.testing.assert_allclose(z.detach().norm(dim=1), [1, 1, 0, 1, 1], atol=1e-12)
        z.sum().backward()
        assert x.grad.isfinite().all()

    @pytest.mark.parametrize("widths", [(6,), (6, 5), (6, 5, 4)])
    def test_dropout_is_between_layers(self, widths):
        encoder = build(MLP(widths, dropout=0.3), np.zeros((2, 3)))
        kinds = [nn.Linear, nn.Tanh] + [Dropout, nn.Linear, nn.Tanh] * (len(widths) - 1)
        assert [type(module) for module in encoder][:-1] == kinds
        assert all(module.p == 0.3 for module in encoder if isinstance(module, nn.Dropout))

    def test_dropout_is_of_training_only(self, rng):
        X = rng.standard_normal((50, 4))
        plain, dropped = (build(MLP((40, 3), dropout=share), X) for share in (0.0, 0.25))
        np.testing.assert_array_equal(features(dropped, X), features(plain, X))
        hidden, x = dropped[:3].train(), torch.from_numpy(X)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            first, second = hidden(x), hidden(x)
        assert not torch.equal(first, second)
        assert float((first == 0).double().mean()) == pytest.approx(0.25, abs=0.05)
        kept = first != 0
        torch.testing.assert_close(first[kept], (dropped[:2](x) / 0.75)[kept])

    def test_the_seed_decides(self):
        X = np.zeros((2, 3), "f4")
        first, same, other = (build(MLP((5, 4)), X, seed=seed).state_dict() for seed in (0, 0, 1))
        for name, tensor in first.items():
            assert torch.equal(tensor, same[name])
        assert not torch.equal(first["0.weight"], other["0.weight"])
        # Weights do not depend on the dtype but for rounding, nor on the samples or their weights.
        double = build(MLP((5, 4)), np.ones((7, 3)), np.eye(7)[0]).state_dict()
        assert torch.equal(double["0.weight"].float(), first["0.weight"])


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_global_random_state_is_left_alone(spec, rng):
    X = torch.from_numpy(rng.standard_normal((6, 3)))
    before, source = torch.get_rng_state(), generator()
    untouched = source.get_state()
    spec.build(X, uniform(6), source)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(source.get_state(), untouched) == (not isinstance(spec, MLP))


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_rows_are_mapped_one_by_one(spec, rng):
    X = rng.standard_normal((12, 3))
    encoder = build(spec, X)
    by_row = np.concatenate([features(encoder, X[i : i + 1]) for i in range(12)])
    np.testing.assert_allclose(by_row, features(encoder, X), atol=1e-12)
