"""Searches on a device."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context

from skrelmetric import AAKNN, MLkNN
from skrelmetric._interop.torch import resolve_device
from skrelmetric._search.device import TensorSearch
from skrelmetric._search.host import NeighbourSearch
from tests.neighbors.problems import continuous, first_neighbours, label_sets, tied
from tests.test_devices import Accelerator


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
        assert not any(isinstance(value, torch.Tensor) for value in vars(there._neighbours.search).values())


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
    for model, y in ((MLkNN(3, device=device), label_sets(rng, X)), (AAKNN(3, device=device), X)):
        model.fit(X, y).predict(queries)
        assert isinstance(model._neighbours.search, NeighbourSearch)
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
            found = TensorSearch(X).nearest(queries, k, resolve_device("cpu")).indices
            np.testing.assert_array_equal(np.sort(found), first_neighbours(cdist(queries, X), k, False))
            assert TensorSearch(X).nearest(queries[:0], k).indices.shape == (0, k)


def clusters_on_the_sphere(rng):
    X = np.eye(20)[rng.integers(0, 5, 400)] + 1e-4 * rng.standard_normal((400, 20))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


CLOSE = {
    "clusters on the sphere": clusters_on_the_sphere,
    "offset": lambda rng: rng.standard_normal((400, 20)) + 1000,
    "duplicates": lambda rng: rng.standard_normal((400, 20))[rng.integers(0, 60, 400)],
    "one place": lambda rng: np.ones((400, 20)),
    "grid": lambda rng: rng.integers(0, 2, (400, 20)).astype(float),
}


@pytest.mark.parametrize("working_memory", [0.5, 64])
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan", "chebyshev", "cosine"])
@pytest.mark.parametrize("kind", CLOSE)
def test_rounding_of_single_precision_decides_nothing(kind, metric, working_memory, rng):
    X = CLOSE[kind](rng).astype(np.float32)
    expected = NeighbourSearch(X.astype(float), metric=metric).nearest(None, 10, ranked=True)
    with config_context(working_memory=working_memory):
        search = TensorSearch(torch.from_numpy(X), metric=metric)
        found = search.nearest(None, 10, ranked=True)
        unranked = search.nearest(None, 10)
    # A cosine distance within the clusters is 1e-8, of which double precision leaves the digits that 1 has.
    assert (found.indices.numpy() == expected.indices).all(1).mean() >= (0.99 if metric == "cosine" else 1)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(np.sort(unranked.indices), np.sort(found.indices))
