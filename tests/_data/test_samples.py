import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse

from skrelmetric._data.samples import Samples, cross, scaled, slices

# How samples are stored: dtype, density, and what is added to every feature; and the precision of a sum over them.
KINDS = {
    "dense": ("f8", 1, 0.5, 1e-13),
    "dense, float32": ("f4", 1, 0.5, 1e-6),
    "sparse": ("f8", 0.05, 0, 1e-13),
    "sparse, float32": ("f4", 0.05, 0, 1e-6),
    "filled": ("f8", 0.4, 0, 1e-13),
    "filled, float32": ("f4", 0.4, 0, 1e-6),
}
N, D = 150, 7


def draw(kind, rng, n=N, d=D):
    """Rows of a kind, the same as a float64 array, and weights; with features of unequal scale and mean."""
    dtype, density, offset, _ = KINDS[kind]
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < density) * np.linspace(0.5, 2, d) + offset * np.arange(d)
    X = (X + 0.25 * (X != 0)).astype(dtype)
    rows = torch.from_numpy(X) if density == 1 else sparse.csr_array(X)
    return rows, X.astype(float), rng.dirichlet(np.ones(n))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param:
        monkeypatch.setattr("skrelmetric._interop.torch._BLOCK_ELEMENTS", {"cpu": 1})


@pytest.fixture(params=["own mean", "given mean"])
def case(request, kind, blocks, rng):
    """Samples, their centred rows and weights in numpy, and the tolerance."""
    rows, X, p = draw(kind, rng)
    mean = p @ X if request.param == "own mean" else rng.standard_normal(D)
    given = None if request.param == "own mean" else torch.from_numpy(mean)
    return Samples(rows, torch.from_numpy(p), given), X - mean, p, KINDS[kind][-1]


def close(actual, expected, tolerance, dtype=torch.float64):
    assert actual.dtype == dtype
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=1.0))


def test_attributes(kind, rng):
    rows, X, p = draw(kind, rng)
    samples = Samples(rows, torch.from_numpy(p))
    assert samples.shape == X.shape
    assert samples.dtype == (torch.float32 if "float32" in kind else torch.float64)
    assert samples.stored_sparse == ("dense" not in kind)
    assert samples.multiplied_sparse == ("sparse" in kind)
    close(samples.mean, p @ X, 1e-14)  # in float64 whatever the dtype


def test_rows(case):
    samples, Z, _, tolerance = case
    for index in (
        slice(None),
        slice(3, 90),
        slice(149, 300),
        torch.tensor([5, 0, 5, 149]),
        torch.tensor([], dtype=torch.int64),
    ):
        close(samples[index], Z[index], tolerance, samples.dtype)


@pytest.mark.parametrize("stored", [torch.from_numpy, sparse.csr_array])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_cross(case, stored, dtype, rng):
    samples, Z, _, tolerance = case
    V = (rng.standard_normal((N, 3)) * (rng.random((N, 3)) < 0.5)).astype(dtype)
    product = samples.cross(stored(V))
    # Products within a block are in float32 only where both are.
    close(product, V.T.astype(float) @ Z, N * (tolerance if dtype == "f8" else 1e-6))


def test_scatter(case, rng):
    samples, Z, p, tolerance = case
    weights = [p, rng.standard_normal(N), np.zeros(N)]
    scatters = samples.scatter(*map(torch.from_numpy, weights))
    assert len(scatters) == 3
    for scatter, w in zip(scatters, weights, strict=True):
        close(scatter, Z.T @ (w[:, None] * Z), tolerance * np.abs(w).sum())
        close(scatter, scatter.T, 1e-13)
    close(samples.scatter(torch.from_numpy(p))[0], scatters[0], 1e-15)


@pytest.mark.parametrize("products_are_kept", [True, False])
def test_scatter_of_forms(case, products_are_kept, rng, monkeypatch):
    samples, Z, p, tolerance = case
    if not products_are_kept:
        monkeypatch.setattr("skrelmetric._data.samples._MOST_PRODUCTS", 0)
    M = rng.standard_normal((D, D))
    M += M.T
    forms = np.array([z @ M @ z for z in Z])
    close(samples.scatter_of_forms(torch.from_numpy(M)), Z.T @ ((p * forms)[:, None] * Z), 100 * tolerance)


def test_gram(case):
    samples, Z, *_ = case
    if not samples.stored_sparse:
        pytest.skip("of sparse rows only")
    close(samples.gram(), Z @ Z.T, 1e-13)


@pytest.mark.parametrize("rank", [0, 1, 4])
def test_turned(case, rank, rng):
    samples, Z, p, tolerance = case
    rotation = np.linalg.qr(rng.standard_normal((D, D)))[0][:, :rank]
    turned = samples.turned(torch.from_numpy(rotation))
    assert turned.shape == (N, rank)
    assert not turned.stored_sparse
    assert turned.dtype == samples.dtype
    close(turned.weights, p, 0)
    close(turned.mean, np.zeros(rank), 0)
    if rank:
        close(turned[:], Z @ rotation, 4 * tolerance, samples.dtype)
        close(turned.scatter(turned.weights)[0], (Z @ rotation).T @ (p[:, None] * (Z @ rotation)), 4 * tolerance)


@pytest.mark.parametrize("n", [1, 2, N])
def test_varying(kind, n, rng):
    rows, X, _ = draw(kind, rng, n)
    p = torch.full((n,), 1 / n, dtype=torch.float64)
    np.testing.assert_array_equal(Samples(rows, p).varying(), (X[0] != X).any(0))
    assert not Samples(rows[[0] * n], p).varying().any()
    if n > 1:
        last = X.astype(KINDS[kind][0])[[0] * n]
        last[-1, -1] += 1
        varying = Samples(torch.from_numpy(last) if "dense" in kind else sparse.csr_array(last), p).varying()
        assert varying.tolist() == [False] * (D - 1) + [True]


def test_one_sample(kind, rng):
    rows, _, _ = draw(kind, rng, n=1)
    samples, one = Samples(rows, torch.ones(1, dtype=torch.float64)), torch.ones(1, 1, dtype=torch.float64)
    for zeros in (samples[:], samples.cross(one), *samples.scatter(one[0])):
        np.testing.assert_allclose(zeros, 0, atol=1e-6)
    np.testing.assert_allclose(samples.scatter_of_forms(torch.eye(D, dtype=torch.float64)), 0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "lost"), [("f8", 1e6), ("f4", 1)])
def test_large_offset_of_dense_samples(dtype, lost, blocks, rng):
    # Multiples of 1/8 are exact beside 1e6 in float32, so the centred rows are known exactly but for the mean.
    deviations = (rng.standard_normal((N, D)) * 8).round() / 8
    p = rng.dirichlet(np.ones(N))
    samples = Samples(torch.from_numpy((deviations + 1e6).astype(dtype)), torch.from_numpy(p))
    Z = deviations - p @ deviations
    rounding = 1e-9 if dtype == "f8" else 1e-6
    close(samples.mean - 1e6, p @ deviations, 1e-9)
    close(samples[:], Z, rounding, samples.dtype)
    close(samples.scatter(torch.from_numpy(p))[0], Z.T @ (p[:, None] * Z), 1e-9)
    V = rng.standard_normal((N, 2))
    close(samples.cross(torch.from_numpy(V)), V.T @ Z, N * rounding)
    close(samples.turned(torch.eye(D, dtype=torch.float64))[:], Z, rounding, samples.dtype)


@pytest.mark.parametrize("labels", ["dense", "sparse"])
@pytest.mark.parametrize("features", ["dense", "sparse"])
@pytest.mark.parametrize("dtypes", [("f8", "f8"), ("f4", "f8"), ("f8", "f4")])
def test_cross_of_any_two_matrices(labels, features, dtypes, blocks, rng):
    A, B = (
        (rng.standard_normal((N, k)) * (rng.random((N, k)) < 0.3)).astype(t)
        for k, t in zip((4, 3), dtypes, strict=True)
    )
    stored = {"dense": torch.from_numpy, "sparse": sparse.csr_array}
    close(cross(stored[labels](A), stored[features](B)), A.T.astype(float) @ B.astype(float), 1e-12)


@pytest.mark.parametrize("stored", [torch.from_numpy, sparse.csr_array])
def test_scaled(stored, rng):
    A, w = rng.standard_normal((5, 3)) * (rng.random((5, 3)) < 0.5), rng.standard_normal(5)
    before = A.copy()
    product = scaled(stored(A), torch.from_numpy(w))
    assert type(product) is type(stored(A))
    np.testing.assert_allclose(product if isinstance(product, torch.Tensor) else product.toarray(), w[:, None] * A)
    np.testing.assert_array_equal(A, before)


def test_slices_cover_every_row_once(blocks, rng):
    rows, _, p = draw("sparse", rng)
    for arrays in ((Samples(rows, torch.from_numpy(p)),), (rows, torch.zeros(N, 3)), (torch.zeros(N, 1),)):
        walked = [range(N)[rows] for rows in slices(*arrays)]
        assert [row for rows in walked for row in rows] == list(range(N))
        assert all(walked)


def test_float64_is_what_float32_samples_are_summed_in(rng):
    # 2^24 + 1 is no float32, so a sum of float32 ones would stop there; a block of them does not get that far.
    n = 3_000
    X = np.full((n, 2), 4097.0, dtype="f4")  # whose square is no float32 either
    samples = Samples(
        torch.from_numpy(X), torch.full((n,), 1 / n, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    )
    ones = torch.ones(n, dtype=torch.float64)
    np.testing.assert_allclose(samples.scatter(ones)[0], np.full((2, 2), n * 4097.0**2), rtol=1e-14)
    np.testing.assert_allclose(samples.cross(ones[:, None]), np.full((1, 2), n * 4097.0), rtol=1e-14)


def test_sparse_samples_are_never_written_down(rng, monkeypatch):
    n, d = 10_000, 2_000
    X = sparse.random_array((n, d), density=2e-3, format="csr", rng=rng)
    p = torch.from_numpy(rng.dirichlet(np.ones(n)))
    V = torch.from_numpy(rng.standard_normal((n, 3)))
    toarray = sparse.csr_array.toarray
    largest = [0]

    def watched(self, *args, **kwargs):
        largest.append(int(np.prod(self.shape)))
        return toarray(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", watched)
    monkeypatch.setattr(sparse.csr_array, "todense", watched)
    tracemalloc.start()
    samples = Samples(X, p)
    (covariance,) = samples.scatter(p)
    forms = samples.scatter_of_forms(torch.eye(d, dtype=torch.float64))
    across, varies = samples.cross(V), samples.varying()
    turned = samples.turned(torch.eye(d, 2, dtype=torch.float64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(largest) <= d * d
    assert peak < 8 * n * d / 2

    some = slice(100, 110)  # features, of which everything is written down
    mean = X.T @ p.numpy()
    Z = X[:, some].toarray() - mean[some]
    squares = X.power(2).sum(axis=1) - 2 * (X @ mean) + mean @ mean
    assert varies.all()
    close(covariance[some, some], Z.T @ (p.numpy()[:, None] * Z), 1e-15)
    close(forms[some, some], Z.T @ ((p.numpy() * squares)[:, None] * Z), 1e-14)
    close(across[:, some], V.numpy().T @ Z, 1e-11)
    close(turned[:], X[:, :2].toarray() - mean[:2], 1e-15)
