"""Graphs of approximate searches, and distances that are given."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import AAKNN, MLkNN, RAMLLinear
from skrelmetric._search.host import NeighbourSearch
from skrelmetric.datasets import load_emotions
from tests.neighbors.problems import continuous, label_sets


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
    found = NeighbourSearch(graph[[]], metric="precomputed").nearest(graph.astype(float), 10).indices
    nearest = exact[-1]._neighbours.search.nearest(embedded, 10).indices
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(found, nearest, strict=True)])
    assert recall >= least_recall
    assert np.abs(model.predict_proba(queries) - exact.predict_proba(queries)).mean() < 0.02
    assert cross_val_predict(model, X, Y, cv=3, method="predict_proba").shape == Y.shape
    regressor = behind(FaissTransformer(index=index), AAKNN(5, metric="precomputed")).fit(X, Y / 6)
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
        for model, y in ((MLkNN(2, metric="precomputed"), label_sets(rng, D)), (AAKNN(2, metric="precomputed"), D)):
            with pytest.raises(ValueError, match=r"a square array or graph, but X has shape \(20, 12\)"):
                model.fit(kind(D), kind(y) if dispatch else y)
    if not dispatch:
        D = cdist(D, D)
        model = AAKNN(2, metric="precomputed").fit(kind(D), D[0])
        D[3, 5] = -1
        with pytest.raises(ValueError, match="Negative values"):
            model.predict(kind(D))
