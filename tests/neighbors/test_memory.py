"""Searches keep to the memory that scikit-learn grants, and find the same."""

import tracemalloc
from weakref import ref

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.neighbors import KNeighborsTransformer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skrelmetric import AAKNN, MLkNN
from skrelmetric._search.device import TensorSearch
from skrelmetric._search.host import NeighbourSearch
from tests.neighbors.problems import continuous, first_neighbours, label_sets, tied

MIB = 2**20


def sparse_rows(rng, n, n_queries):
    return tuple(sparse.random_array((m, 300), density=0.05, format="csr", rng=rng) for m in (n, n_queries))


def wide(rng, n, n_queries):
    return rng.standard_normal((n, 500)), rng.standard_normal((n_queries, 500))


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (continuous, {"algorithm": "brute"}),
        (continuous, {"algorithm": "kd_tree"}),
        (continuous, {"metric": "cosine"}),
        (continuous, {"metric": "manhattan", "algorithm": "brute"}),
        (continuous, {"metric": "correlation"}),
        (wide, {}),
        (tied, {"algorithm": "brute"}),
        (tied, {"metric": "cosine"}),
        (tied, {"metric": "manhattan"}),
        (sparse_rows, {}),
        (sparse_rows, {"metric": "cosine"}),
    ],
)
def test_search_keeps_to_working_memory(data, options, rng):
    X, queries = data(rng, 2500, 2000)  # all distances: 50 and 40 MB
    search = NeighbourSearch(X, **options)
    for asked in (None, queries):
        with config_context(working_memory=4):
            assert peak_of(lambda asked=asked: search.nearest(asked, 10).indices) < 4 * MIB


@pytest.mark.parametrize("kind", ["table", "graph"])
def test_precomputed_search_keeps_to_working_memory(kind, rng):
    X, _ = continuous(rng, 3000, 1)
    D = cdist(X, X) if kind == "table" else KNeighborsTransformer(n_neighbors=200).fit_transform(X)
    search = NeighbourSearch(D, metric="precomputed")
    for asked in (None, D):
        with config_context(working_memory=2):
            assert peak_of(lambda asked=asked: search.nearest(asked, 10).indices) < 2 * MIB


def peak_of(search):
    """Bytes that a search needs at once, beyond its result."""
    tracemalloc.start()
    try:
        result = search()
        return tracemalloc.get_traced_memory()[1] - result.nbytes
    finally:
        tracemalloc.stop()


def tensors_in(values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


class LiveTensors(TorchDispatchMode):
    """Bytes of the tensors that are alive at once, of those that operations within have made."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak, self.largest = [], 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = [each.untyped_storage().data_ptr() for each in tensors_in(args)]
        made = [each for each in tensors_in(result) if each.untyped_storage().data_ptr() not in given]
        self.alive = [reference for reference in [*self.alive, *map(ref, made)] if reference() is not None]
        sizes = {(storage := reference().untyped_storage()).data_ptr(): storage.nbytes() for reference in self.alive}
        self.peak, self.largest = max(self.peak, sum(sizes.values())), max(self.largest, *sizes.values(), 0)
        return result


@pytest.mark.parametrize("kind", ["tensor", "float32", "ndarray", "csr"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_tensor_search_keeps_to_working_memory(metric, kind, rng):
    place = {"tensor": torch.from_numpy, "float32": lambda X: torch.from_numpy(X).float(), "csr": sparse.csr_array}
    X, queries = (place.get(kind, np.asarray)(array) for array in tied(rng, 900, 300))
    search = TensorSearch(X, metric=metric)
    for asked in (None, queries):
        with config_context(working_memory=1), LiveTensors() as live:
            result = search.nearest(asked, 10).indices
        assert 0 < live.largest <= max(MIB // 2, result.nbytes)
        assert live.peak - result.nbytes < MIB


def test_a_row_of_distances_larger_than_memory(rng):
    X, queries = continuous(rng, 3000, 5)
    search = TensorSearch(torch.from_numpy(X))
    with config_context(working_memory=0.02), LiveTensors() as live:  # a row takes 24,000 bytes
        found = search.nearest(torch.from_numpy(queries), 7).indices
    assert live.largest < 8 * 3000
    np.testing.assert_array_equal(found.sort().values, first_neighbours(cdist(queries, X), 7, False))


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray, sparse.csr_array])
@pytest.mark.parametrize("metric", ["sqeuclidean", "cityblock", "chebyshev"])
@pytest.mark.parametrize("working_memory", [0.01, 1])
def test_ties_across_blocks(working_memory, metric, kind, rng):
    X, queries = rng.integers(0, 4, (150, 2)).astype(float), rng.integers(0, 4, (40, 2)).astype(float)
    X[:20] += 0.25  # the first of all is seldom the nearest
    search = TensorSearch(kind(X), metric=metric)
    with config_context(working_memory=working_memory):
        for k in (1, 30):
            found = np.sort(search.nearest(None, k).indices)
            np.testing.assert_array_equal(found, first_neighbours(cdist(X, X, metric), k, leave_one_out=True))
            found = np.sort(search.nearest(kind(queries), k).indices)
            np.testing.assert_array_equal(found, first_neighbours(cdist(queries, X, metric), k, leave_one_out=False))


@pytest.mark.parametrize(  # any two of the three meet
    ("working_memory", "metric", "kind"),
    [
        (0.005, "euclidean", np.asarray),
        (0.03, "euclidean", sparse.csr_array),
        (0.005, "cosine", sparse.csr_array),
        (0.03, "cosine", np.asarray),
        (0.005, "manhattan", np.asarray),
        (0.03, "manhattan", sparse.csr_array),
    ],
)
@pytest.mark.filterwarnings("ignore:Could not adhere to working_memory")  # a row of scikit-learn's own blocks
def test_small_blocks_change_nothing(working_memory, metric, kind, rng):
    X, queries = continuous(rng, 300, 100)
    X[::7], queries[::9] = X[0], X[0]
    X[::50] = queries[:3] = 0.0
    Y = label_sets(rng, X)
    D = rng.dirichlet(np.ones(3), len(X))
    options = {"metric": metric}
    expected = (
        MLkNN(5, **options).fit(X, Y).predict_proba(queries),
        AAKNN(5, **options).fit(X, D).predict(queries),
    )
    with config_context(working_memory=working_memory):
        found = (
            MLkNN(5, **options).fit(kind(X), Y).predict_proba(kind(queries)),
            AAKNN(5, **options).fit(kind(X), D).predict(kind(queries)),
        )
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted)


def test_estimators_keep_to_working_memory(rng):
    X, queries = continuous(rng, 4000, 3000)
    Y, D = label_sets(rng, X), rng.dirichlet(np.ones(3), 4000)
    copies = X.nbytes + queries.nbytes + 4000 * 10 * 8  # of samples, and the neighbours found
    with config_context(working_memory=4):
        for model, y in ((MLkNN(), Y), (AAKNN(10), D)):
            assert peak_of(lambda model=model, y=y: model.fit(X, y)._neighbours.Y) < 4 * MIB + copies
            assert peak_of(lambda model=model: model.predict(queries)) < 4 * MIB + copies


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_zero", [0, 4])
def test_cosine_of_samples_without_direction(n_zero, kind, rng):
    X, queries = rng.integers(0, 3, (60, 4)).astype(float), rng.integers(0, 3, (30, 4)).astype(float)
    X[X.sum(1) == 0] = queries[queries.sum(1) == 0] = 1.0
    X[20 : 20 + n_zero] = queries[:n_zero] = 0.0

    def distances(a, b):
        a, b = (m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-300) for m in (a, b))
        return (1 - a @ b.T).round(9)

    search = NeighbourSearch(kind(X), metric="cosine")
    for k in (1, 5, 59):
        found = np.sort(search.nearest(None, k).indices)
        np.testing.assert_array_equal(found, first_neighbours(distances(X, X), k, leave_one_out=True))
        found = np.sort(search.nearest(kind(queries), k).indices)
        np.testing.assert_array_equal(found, first_neighbours(distances(queries, X), k, leave_one_out=False))
