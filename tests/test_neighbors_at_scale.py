"""Neighbours of many samples: memory of the search, devices, approximate graphs, Dask arrays."""

import pickle
import threading
import tracemalloc
from weakref import ref

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skrelmetric import AAKNN, MLkNN, RAMLLinear
from skrelmetric._dask import is_dask, map_rows
from skrelmetric._search import NeighbourSearch
from skrelmetric._tensor_search import TensorSearch
from skrelmetric._torch import resolve_device
from skrelmetric.datasets import load_emotions
from tests.test_devices import Accelerator

MIB = 2**20


def first_neighbours(D, k, leave_one_out):
    """First k by distance, equal ones by index, never the sample itself."""
    D = D.copy()
    if leave_one_out:
        np.fill_diagonal(D, np.inf)
    return np.sort(np.argsort(D, axis=1, kind="stable")[:, :k])


def continuous(rng, n, n_queries):
    return rng.standard_normal((n, 20)), rng.standard_normal((n_queries, 20))


def tied(rng, n, n_queries):
    """Samples on a grid of few places, each of which is the k-th distance of very many."""
    return rng.integers(1, 3, (n, 3)).astype(float), rng.integers(1, 3, (n_queries, 3)).astype(float)


def sparse_rows(rng, n, n_queries):
    return tuple(sparse.random_array((m, 300), density=0.05, format="csr", rng=rng) for m in (n, n_queries))


def wide(rng, n, n_queries):
    return rng.standard_normal((n, 500)), rng.standard_normal((n_queries, 500))


def label_sets(rng, X):
    Y = (rng.random((X.shape[0], 3)) < 0.4).astype(int)
    Y[:3] = np.eye(3, dtype=int)
    return Y


# --- memory


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
            assert peak_of(lambda asked=asked: search.nearest(asked, 10)) < 4 * MIB


@pytest.mark.parametrize("kind", ["table", "graph"])
def test_precomputed_search_keeps_to_working_memory(kind, rng):
    X, _ = continuous(rng, 3000, 1)
    D = cdist(X, X) if kind == "table" else KNeighborsTransformer(n_neighbors=200).fit_transform(X)
    search = NeighbourSearch(D, metric="precomputed")
    for asked in (None, D):
        with config_context(working_memory=2):
            assert peak_of(lambda asked=asked: search.nearest(asked, 10)) < 2 * MIB


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
            result = search.nearest(asked, 10)
        assert 0 < live.largest <= max(MIB // 2, result.nbytes)
        assert live.peak - result.nbytes < MIB


def test_a_row_of_distances_larger_than_memory(rng):
    X, queries = continuous(rng, 3000, 5)
    search = TensorSearch(torch.from_numpy(X))
    with config_context(working_memory=0.02), LiveTensors() as live:  # a row takes 24,000 bytes
        found = search.nearest(torch.from_numpy(queries), 7)
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
            found = np.sort(search.nearest(None, k))
            np.testing.assert_array_equal(found, first_neighbours(cdist(X, X, metric), k, leave_one_out=True))
            found = np.sort(search.nearest(kind(queries), k))
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
            assert peak_of(lambda model=model, y=y: model.fit(X, y)._Y) < 4 * MIB + copies
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
        found = np.sort(search.nearest(None, k))
        np.testing.assert_array_equal(found, first_neighbours(distances(X, X), k, leave_one_out=True))
        found = np.sort(search.nearest(kind(queries), k))
        np.testing.assert_array_equal(found, first_neighbours(distances(queries, X), k, leave_one_out=False))


# --- devices


@pytest.fixture
def cuda():
    """A machine with a "cuda" device."""
    if torch.cuda.is_available():
        yield
        return
    with Accelerator():
        yield


@pytest.fixture
def places(monkeypatch):
    """Where blocks of distances are computed."""
    seen, block = [], TensorSearch._block

    def spied(self, x, columns):
        seen.append(x.device.type)
        return block(self, x, columns)

    monkeypatch.setattr(TensorSearch, "_block", spied)
    return seen


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("data", [continuous, tied])
def test_host_samples_are_searched_on_the_device(data, metric, kind, cuda, places, rng):
    X, queries = data(rng, 120, 40)
    Y, D = label_sets(rng, X), rng.dirichlet(np.ones(3), len(X))
    for there, here, y in (
        (MLkNN(6, metric=metric, device="cuda"), MLkNN(6, metric=metric), Y),
        (AAKNN(6, metric=metric, device=torch.device("cuda")), AAKNN(6, metric=metric), D),
    ):
        there.fit(kind(X), y), here.fit(X, y)
        for method in ("predict", "predict_proba") if isinstance(there, MLkNN) else ("predict",):
            with config_context(working_memory=0.05):
                predicted = getattr(there, method)(kind(queries))
            assert isinstance(predicted, np.ndarray)
            np.testing.assert_allclose(predicted, getattr(here, method)(queries), atol=1e-12)
        assert set(places) == {"cuda"}
        assert not any(isinstance(value, torch.Tensor) for value in vars(there._search).values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_keep_their_precision_on_the_device(dtype, cuda, rng, monkeypatch):
    X, queries = continuous(rng, 80, 20)
    dtypes = []
    monkeypatch.setattr(
        TensorSearch, "_tolerance", lambda self, x, kth: dtypes.append(x.dtype) or torch.zeros_like(kth)
    )
    model = AAKNN(device="cuda").fit(X.astype(dtype), X[:, 0])
    model.predict(queries.astype(np.float32))
    model.predict(queries)  # queries follow the training samples
    assert set(dtypes) == {torch.float32 if dtype == np.float32 else torch.float64}


def test_tensors_are_moved_and_predictions_moved_back(cuda, places, rng):
    X, queries = map(torch.from_numpy, continuous(rng, 100, 20))
    y = torch.from_numpy(label_sets(rng, X))
    with config_context(array_api_dispatch=True):
        expected = MLkNN().fit(X, y).predict_proba(queries)
        places.clear()
        for home, device in (("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "auto")):
            model = MLkNN(device=device).fit(X.to(home), y.to(home))
            predicted = model.predict_proba(queries.to(home))
            assert predicted.device.type == home
            assert set(places) == {home if device == "auto" else device}
            np.testing.assert_allclose(predicted.cpu().numpy(), expected.numpy())
            places.clear()


@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu"), "cpu:0"])
def test_the_cpu_is_scikit_learns(device, places, rng):
    X, queries = continuous(rng, 50, 10)
    for model in (MLkNN(3, device=device), AAKNN(3, device=device)):
        model.fit(X, label_sets(rng, X)).predict(queries)
        assert isinstance(model._search, NeighbourSearch)
    assert not places


def test_precomputed_distances_stay_where_they_are(cuda, places, rng):
    X, queries = continuous(rng, 60, 10)
    y = rng.random(60)
    expected = AAKNN().fit(X, y).predict(queries)
    model = AAKNN(metric="precomputed", device="cuda").fit(cdist(X, X), y)
    np.testing.assert_allclose(model.predict(cdist(queries, X)), expected)
    assert not places


def test_fitted_on_a_device_that_is_gone(rng):
    X, queries = continuous(rng, 60, 10)
    Y = label_sets(rng, X)
    with Accelerator():
        model = MLkNN(5, device="cuda").fit(X, Y)
    model = pickle.loads(pickle.dumps(model))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
            model.predict(queries)
    expected = MLkNN(5).fit(X, Y).predict_proba(queries)
    np.testing.assert_allclose(model.set_params(device="cpu").predict_proba(queries), expected)


@pytest.mark.parametrize("device", ["bogus", 3.5, None, "meta"])
def test_devices_that_are_not_there(device, rng):
    X, _ = continuous(rng, 20, 1)
    for model in (MLkNN(2, device=device), AAKNN(2, device=device)):
        with pytest.raises(ValueError, match=rf"device='{device}' cannot be used here .*'auto', 'cpu'"):
            model.fit(X, label_sets(rng, X))


def test_metrics_that_only_scikit_learn_has(cuda, rng):
    X, _ = continuous(rng, 20, 1)
    with pytest.raises(ValueError, match="metric='canberra' .* not available .* other devices .* device='auto'"):
        MLkNN(2, metric="canberra", device="cuda").fit(X, label_sets(rng, X))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_fewest_samples_on_a_device(n, k, rng):
    X, queries = continuous(rng, n, 3)
    for working_memory in (1e-3, 1):
        with config_context(working_memory=working_memory):
            found = TensorSearch(X).nearest(queries, k, resolve_device("cpu"))
            np.testing.assert_array_equal(np.sort(found), first_neighbours(cdist(queries, X), k, False))
            assert TensorSearch(X).nearest(queries[:0], k).shape == (0, k)


# --- graphs of approximate searches


class FaissTransformer(TransformerMixin, BaseEstimator):
    """Graph of squared distances by an index of faiss."""

    def __init__(self, n_neighbors=15, index="HNSW32", n_probe=1):
        self.n_neighbors = n_neighbors
        self.index = index
        self.n_probe = n_probe

    def fit(self, X, y=None):
        faiss = pytest.importorskip("faiss", reason="needs faiss: pip install faiss-cpu")
        self.index_ = faiss.index_factory(X.shape[1], self.index)
        self.index_.train(X.astype(np.float32))
        self.index_.add(X.astype(np.float32))
        if hasattr(self.index_, "nprobe"):
            self.index_.nprobe = self.n_probe
        return self

    def transform(self, X):
        squares, neighbours = self.index_.search(X.astype(np.float32), self.n_neighbors)
        starts = np.arange(0, neighbours.size + 1, self.n_neighbors)
        return sparse.csr_array((squares.ravel(), neighbours.ravel(), starts), (len(X), self.index_.ntotal))


def behind(transformer, last):
    return make_pipeline(StandardScaler(), RAMLLinear(), transformer, last)


@pytest.mark.parametrize(("index", "least_recall"), [("Flat", 1.0), ("HNSW32", 0.9)])
def test_approximate_search_in_a_pipeline(index, least_recall):
    X, Y = load_emotions(subset="train", return_X_y=True)
    queries, _ = load_emotions(subset="test", return_X_y=True)
    model = behind(FaissTransformer(index=index), MLkNN(metric="precomputed")).fit(X, Y)
    exact = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()).fit(X, Y)
    graph, embedded = model[:-1].transform(queries), exact[:-1].transform(queries)
    found = NeighbourSearch(graph[[]], metric="precomputed").nearest(graph.astype(float), 10)
    nearest = exact[-1]._search.nearest(embedded, 10)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found, nearest, strict=True)])
    assert recall >= least_recall
    assert np.abs(model.predict_proba(queries) - exact.predict_proba(queries)).mean() < 0.02
    assert cross_val_predict(model, X, Y, cv=3, method="predict_proba").shape == Y.shape
    regressor = behind(FaissTransformer(index=index), AAKNN(5, metric="precomputed")).fit(X, Y)
    assert regressor.predict(queries).shape == (len(queries), Y.shape[1])


def test_approximate_search_that_finds_too_few(rng):
    X, queries = continuous(rng, 400, 50)
    Y = label_sets(rng, X)
    lists = FaissTransformer(30, "IVF40,Flat")
    with pytest.raises(ValueError, match=r"row \d+ of the precomputed graph has only \d+ neighbours other than itself"):
        make_pipeline(lists, MLkNN(metric="precomputed")).fit(X, Y)
    model = make_pipeline(clone(lists).set_params(n_probe=40), MLkNN(metric="precomputed")).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(queries), MLkNN().fit(X, Y).predict_proba(queries))


def graph_with_gaps(D, n_found, missing=np.inf):
    """Graph of the nearest of each row in no order, some of them -1, as approximate searches give them."""
    neighbours = np.argsort(D, axis=1)[:, : max(n_found)]
    distances = np.take_along_axis(D, neighbours, axis=1)
    gaps = np.arange(max(n_found)) >= np.asarray(n_found)[:, None]
    neighbours, distances = np.where(gaps, -1, neighbours)[:, ::-1], np.where(gaps, missing, distances)[:, ::-1]
    starts = np.arange(0, gaps.size + 1, gaps.shape[1])
    return sparse.csr_array((distances.ravel(), neighbours.ravel(), starts), D.shape)


@pytest.mark.parametrize("missing", [np.inf, 3.4e38, 0.0, np.nan])
@pytest.mark.parametrize("working_memory", [1e-3, 1])
def test_neighbours_that_were_not_found(working_memory, missing, rng):
    X, queries = continuous(rng, 80, 30)
    Y = label_sets(rng, X)
    expected = MLkNN(5).fit(X, Y).predict_proba(queries)
    enough = rng.integers(6, 9, 80)
    with config_context(working_memory=working_memory):
        model = MLkNN(5, metric="precomputed").fit(graph_with_gaps(cdist(X, X), enough, missing), Y)
        found = model.predict_proba(graph_with_gaps(cdist(queries, X), enough[:30] - 1, missing))
        np.testing.assert_allclose(found, expected)
        few = np.where(np.arange(30) == 17, 3, 6)
        with pytest.raises(ValueError, match="row 17 of the precomputed graph has only 3 neighbours. Build it"):
            model.predict(graph_with_gaps(cdist(queries, X), few, missing))
        with pytest.raises(ValueError, match="row 17 .* only 4 neighbours other than itself.* 6 a row, as a"):
            model.fit(graph_with_gaps(cdist(X, X), np.where(np.arange(80) == 17, 5, 6), missing), Y)


def test_training_distances_are_not_kept(rng):
    X, queries = continuous(rng, 300, 20)
    Y = label_sets(rng, X)
    graph = KNeighborsTransformer(n_neighbors=50).fit(X)
    for train, test in ((cdist(X, X), cdist(queries, X)), (graph.transform(X), graph.transform(queries))):
        model = MLkNN(metric="precomputed").fit(train, Y)
        assert len(pickle.dumps(model)) < 20_000
        np.testing.assert_allclose(model.predict_proba(test), MLkNN().fit(X, Y).predict_proba(queries))
        np.testing.assert_allclose(model.predict_proba(cdist(queries, X)), model.predict_proba(test))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, torch.from_numpy])
def test_precomputed_distances_must_be_square_and_not_negative(kind, rng):
    D = cdist(*continuous(rng, 20, 12))
    dispatch = kind is torch.from_numpy
    with config_context(array_api_dispatch=dispatch):
        for model in (MLkNN(2, metric="precomputed"), AAKNN(2, metric="precomputed")):
            with pytest.raises(ValueError, match=r"a square array or graph, but X has shape \(20, 12\)"):
                model.fit(kind(D), kind(label_sets(rng, D)) if dispatch else label_sets(rng, D))
    if not dispatch:
        D = cdist(D, D)
        model = AAKNN(2, metric="precomputed").fit(kind(D), D[0])
        D[3, 5] = -1
        with pytest.raises(ValueError, match="Negative values"):
            model.predict(kind(D))


# --- Dask arrays


@pytest.fixture
def dask_array():
    return pytest.importorskip("dask.array", reason="needs dask: pip install 'skrelmetric[dask]'")


def unknown(blocks):
    """The same blocks of lengths that Dask does not know."""
    return blocks[blocks[:, 0] > -np.inf]


PREDICTIONS = {
    "label sets": (lambda rng, X: label_sets(rng, X), MLkNN(4)),
    "one label": (lambda rng, X: label_sets(rng, X)[:, 0], MLkNN(4)),
    "named classes": (lambda rng, X: np.array(["no", "yes"])[label_sets(rng, X)[:, 0]], MLkNN(4)),
    "distributions": (lambda rng, X: rng.dirichlet(np.ones(3), len(X)), AAKNN()),
    "numbers": (lambda rng, X: rng.random(len(X)), AAKNN()),
}


@pytest.mark.parametrize("cut", ["rows", "features", "unknown", "empty", "one"])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_dask_arrays_are_predicted_block_by_block(name, cut, dask_array, rng, monkeypatch):
    X, queries = continuous(rng, 90, 25)
    targets, model = PREDICTIONS[name]
    model = clone(model).fit(X, targets(rng, X))
    chunks = {"rows": (10, 20), "features": (7, 6), "unknown": (10, 20), "empty": ((0, 12, 0, 13), 20), "one": (25, 20)}
    blocks = dask_array.from_array(queries, chunks=chunks[cut])
    blocks = unknown(blocks) if cut == "unknown" else blocks
    sizes = []
    original = NeighbourSearch.nearest
    monkeypatch.setattr(NeighbourSearch, "nearest", lambda self, X, k: sizes.append(X.shape) or original(self, X, k))
    for method in ("predict", "predict_proba") if isinstance(model, MLkNN) else ("predict",):
        predicted = getattr(model, method)(blocks)
        assert is_dask(predicted)
        assert not sizes
        expected = getattr(model, method)(queries)
        sizes.clear()
        np.testing.assert_equal(predicted.chunks[0], blocks.chunks[0])
        assert predicted.shape[1:] == expected.shape[1:]
        assert predicted.dtype == expected.dtype
        computed = predicted.compute()
        assert computed.dtype == expected.dtype
        np.testing.assert_array_equal(computed, expected)
        assert {columns for _, columns in sizes} == {20}
        assert max(rows for rows, _ in sizes) == {"features": 7, "empty": 13, "one": 25}.get(cut, 10)
        sizes.clear()


def test_a_block_is_computed_alone(dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    asked = []

    def load(block, block_id=None):
        asked.append(block_id)
        return block

    blocks = dask_array.from_array(queries, chunks=(10, 20)).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    model = AAKNN().fit(X, X)
    third = model.predict(blocks)[20:].compute()
    np.testing.assert_array_equal(third, model.predict(queries[20:]))
    assert asked == [(2, 0)]


def test_predictions_are_those_of_the_model_as_it_was(dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    Y = label_sets(rng, X)
    blocks = dask_array.from_array(queries, chunks=(10, 20))
    model = MLkNN(5).fit(X, Y)
    expected, other = model.predict_proba(queries), model.predict_proba(-queries)
    lazy, lazy_other = model.predict_proba(blocks), model.predict_proba(-blocks)
    model.fit(X, 1 - Y)
    np.testing.assert_array_equal(lazy.compute(), expected)
    np.testing.assert_array_equal(lazy_other.compute(), other)
    np.testing.assert_array_equal(model.predict_proba(blocks).compute(), model.predict_proba(queries))


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_every_scheduler(scheduler, dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    model = MLkNN(5).fit(X, label_sets(rng, X))
    blocks = dask_array.from_array(queries, chunks=(10, 20))
    predicted = model.predict(blocks).compute(scheduler=scheduler, num_workers=2)
    np.testing.assert_array_equal(predicted, model.predict(queries))


def test_dask_arrays_that_do_not_fit(dask_array, rng):
    X, _ = continuous(rng, 30, 1)
    Y = label_sets(rng, X)
    for model in (MLkNN(3).fit(X, Y), AAKNN().fit(X, Y)):
        with pytest.raises(ValueError, match="X has 19 features, but .* is expecting 20"):
            model.predict(dask_array.ones((10, 19), chunks=5))
        with pytest.raises(ValueError, match="expecting 20 features"):
            model.predict(dask_array.ones(20, chunks=5))
        with pytest.raises(ValueError, match="contains NaN"):
            model.predict(dask_array.full((10, 20), np.nan, chunks=(5, 20))).compute()


def test_dask_arrays_of_distances_of_sparse_blocks_and_on_a_device(dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    y = rng.random(60)
    expected = AAKNN().fit(X, y).predict(queries)
    blocks = dask_array.from_array(queries, chunks=(10, 20))
    distances = dask_array.from_array(cdist(queries, X), chunks=(10, 20))
    model = AAKNN(metric="precomputed").fit(cdist(X, X), y)
    np.testing.assert_allclose(model.predict(distances).compute(), expected)
    predicted = AAKNN().fit(X, y).predict(blocks.map_blocks(sparse.csr_array))
    np.testing.assert_allclose(predicted.compute(), expected)
    with Accelerator():
        model = AAKNN(device="cuda").fit(X, y)
        np.testing.assert_allclose(model.predict(blocks).compute(scheduler="synchronous"), expected)


def test_rows_of_any_shape_under_the_present_configuration(dask_array):
    images = dask_array.arange(7 * 2 * 3 * 3, chunks=-1).reshape(7, 2, 3, 3).rechunk((3, 1, 3, 2))
    seen = []

    def sums(block):
        seen.append((block.shape[1:], get_config()["working_memory"], threading.current_thread() is main))
        return block.sum((2, 3))

    def total_of(block):
        return block.sum((1, 2, 3))

    main = threading.current_thread()
    with config_context(working_memory=77):
        total, flat = map_rows(sums, images, 2, np.float32), map_rows(total_of, images, None, float)
    assert (total.shape, total.chunks[0], total.dtype) == ((7, 2), (3, 3, 1), np.float32)
    np.testing.assert_array_equal(total.compute(), images.compute().sum((2, 3)))
    np.testing.assert_array_equal(flat.compute(), images.compute().sum((1, 2, 3)))
    assert set(seen) == {((2, 3, 3), 77, False)}


def test_the_function_is_sent_once(dask_array):
    blocks = dask_array.ones((100, 4), chunks=(10, 4))
    result = map_rows(np.ones(1_000_000).__add__, blocks, 4, float)
    graph = dict(result.__dask_graph__())
    sizes = sorted(len(pickle.dumps(task)) for key, task in graph.items())
    assert len(sizes) > 10
    assert sizes[-1] > 8_000_000
    assert sizes[-2] < 10_000


def test_what_is_a_dask_array(dask_array):
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0]})
    assert is_dask(dask_array.ones(3))
    assert not any(is_dask(other) for other in (np.ones(3), [1.0], frame, None, torch.ones(3), sparse.eye_array(3)))
