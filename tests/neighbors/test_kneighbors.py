"""Who the neighbours are, how far, and what share each has in a vote."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors

from skrelmetric import AAKNN, MLkNN, SoftNeighborsClassifier, SoftNeighborsRegressor
from tests.neighbors.problems import continuous, label_sets, tied

MODELS = [MLkNN(7), MLkNN([2, 7, 3]), AAKNN(7), SoftNeighborsClassifier(7), SoftNeighborsRegressor(7, scale="local")]


def fitted(model, X, rng):
    return model.fit(X, rng.dirichlet(np.ones(3), len(X)) if is_regressor(model) else label_sets(rng, X))


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan", "cosine", "chebyshev"])
@pytest.mark.parametrize("model", MODELS)
def test_neighbours_are_scikit_learns(model, metric, rng):
    X, queries = continuous(rng, 80, 15)
    model = fitted(clone(model).set_params(metric=metric), X, rng)
    expected = NearestNeighbors(n_neighbors=7, metric=metric).fit(X)
    for asked in (queries, None):
        for n_neighbors in (None, 1, 30, 79):
            distances, indices = model.kneighbors(asked, n_neighbors)
            d, i = expected.kneighbors(asked, n_neighbors or 7)
            np.testing.assert_array_equal(indices, i)
            np.testing.assert_allclose(distances, d)
            np.testing.assert_array_equal(model.kneighbors(asked, n_neighbors, return_distance=False), i)
            for mode in ("connectivity", "distance"):
                graph = model.kneighbors_graph(asked, n_neighbors, mode=mode)
                reference = expected.kneighbors_graph(asked, n_neighbors or 7, mode=mode)
                assert graph.shape == reference.shape
                np.testing.assert_allclose(graph.toarray(), reference.toarray())
    np.testing.assert_array_equal(model.kneighbors(queries, 80)[1].sum(1), 80 * 79 / 2)
    assert not (model.kneighbors(None, 79)[1] == np.arange(80)[:, None]).any()


def expected_shares(model, D, k):
    if isinstance(model, MLkNN):
        numbers = np.atleast_1d(model.n_neighbors_)
        return np.array([np.mean([(rank < number) / number for number in numbers]) for rank in range(k)]) + 0 * D[:, :k]
    if isinstance(model, AAKNN):
        return np.full((len(D), k), 1 / k)
    D2 = np.sort(D)[:, :k] ** 2
    units = D2[:, [min(k, 10) - 1]] if model.scale == "local" else model.scale_
    W = np.exp(-(D2 - D2[:, :1]) / (model.temperature_ * units))
    return W / W.sum(1, keepdims=True)


@pytest.mark.parametrize("model", MODELS)
def test_shares_in_votes(model, rng):
    X, queries = continuous(rng, 60, 15)
    model = fitted(model, X, rng)
    D = cdist(queries, X)
    graph = model.kneighbors_graph(queries, mode="weight")
    np.testing.assert_allclose(graph.sum(1), 1)
    nearest = np.argsort(D, axis=1)[:, :7]
    shares = expected_shares(model, D, 7)
    np.testing.assert_allclose(np.take_along_axis(graph.toarray(), nearest, 1), shares)
    few = model.kneighbors_graph(queries, 3, mode="weight")  # shares among all who vote
    assert few.nnz == 45
    np.testing.assert_allclose(np.take_along_axis(few.toarray(), nearest[:, :3], 1), shares[:, :3])


@pytest.mark.parametrize(
    "model",
    [
        AAKNN(4),
        SoftNeighborsRegressor(),
        SoftNeighborsRegressor(6),
        SoftNeighborsRegressor(scale="local"),
        SoftNeighborsRegressor(temperature=0.01),
    ],
)
def test_shares_reproduce_predictions(model, rng):
    X, queries = continuous(rng, 200, 15)
    y = rng.random((200, 2))
    graph = model.fit(X, y).kneighbors_graph(queries, mode="weight")
    np.testing.assert_allclose(graph @ y, model.predict(queries), atol=2e-6)
    if isinstance(model, SoftNeighborsRegressor):
        weights = rng.integers(0, 3, 200)
        graph = model.fit(X, y, weights).kneighbors_graph(queries, mode="weight")
        np.testing.assert_allclose(graph.sum(1), 1)
        np.testing.assert_allclose(graph @ y, model.predict(queries), atol=2e-6)
        assert not graph[:, weights == 0].sum()


def test_shares_of_the_training_samples(rng):
    X, _ = continuous(rng, 60, 1)
    y = rng.random(60)
    model = SoftNeighborsRegressor().fit(X, y)
    graph = model.kneighbors_graph(mode="weight")
    assert not graph.diagonal().any()
    np.testing.assert_allclose(np.mean((graph @ y - y) ** 2) / y.var(), model.leave_one_out_loss_, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_ties_come_by_index(algorithm, rng):
    X, queries = tied(rng, 100, 20)
    model = AAKNN(algorithm=algorithm).fit(X * 0.1, X)  # equal distances of the grid differ by rounding here
    for asked, D in ((queries * 0.1, cdist(queries, X)), (None, cdist(X, X))):
        if asked is None:
            np.fill_diagonal(D, np.inf)
        order = np.argsort(D.round(9), axis=1, kind="stable")
        for k in (1, 5, 40):
            distances, indices = model.kneighbors(asked, k)
            np.testing.assert_array_equal(indices, order[:, :k])
            np.testing.assert_allclose(distances, 0.1 * np.take_along_axis(D, order[:, :k], 1), atol=1e-12)
            assert set(distances[distances < 1e-3]) <= {0.0}  # equal samples are no rounding apart


def test_precomputed_distances(rng):
    X, queries = continuous(rng, 50, 10)
    expected = AAKNN().fit(X, X)
    for kind in (np.asarray, sparse.csr_array):
        model = AAKNN(metric="precomputed").fit(kind(cdist(X, X)), X)
        for mode in ("connectivity", "distance", "weight"):
            graph = model.kneighbors_graph(kind(cdist(queries, X)), mode=mode)
            np.testing.assert_allclose(graph.toarray(), expected.kneighbors_graph(queries, mode=mode).toarray())
        with pytest.raises(ValueError, match="Distances among the training samples are not kept after fit. Pass them"):
            model.kneighbors()


def test_sparse_samples(rng):
    X, queries = (array * (array > 0) for array in continuous(rng, 50, 10))
    model, expected = AAKNN().fit(sparse.csr_array(X), X), AAKNN().fit(X, X)
    for asked in (queries, None):
        distances, indices = model.kneighbors(None if asked is None else sparse.csr_array(asked))
        np.testing.assert_array_equal(indices, expected.kneighbors(asked)[1])
        np.testing.assert_allclose(distances, expected.kneighbors(asked)[0])


def test_tensors(rng):
    X, queries = continuous(rng, 50, 10)
    expected = AAKNN().fit(X, X)
    with config_context(array_api_dispatch=True):
        model = AAKNN().fit(torch.from_numpy(X), torch.from_numpy(X))
        for asked in (queries, None):
            distances, indices = model.kneighbors(None if asked is None else torch.from_numpy(asked))
            assert isinstance(distances, torch.Tensor)
            np.testing.assert_array_equal(indices, expected.kneighbors(asked)[1])
            np.testing.assert_allclose(distances, expected.kneighbors(asked)[0])
        graph = model.kneighbors_graph(torch.from_numpy(queries), mode="distance")
    np.testing.assert_allclose(graph.toarray(), expected.kneighbors_graph(queries, mode="distance").toarray())


@pytest.mark.parametrize("model", MODELS)
def test_what_cannot_be_asked(model, rng):
    X, queries = continuous(rng, 30, 5)
    with pytest.raises(NotFittedError):
        model.__class__().kneighbors(queries)
    model = fitted(model, X, rng)
    for n_neighbors, asked, there in ((0, queries, 30), (31, queries, 30), (30, None, 29), (2.0, queries, 30)):
        for ask in (model.kneighbors, model.kneighbors_graph):
            with pytest.raises(ValueError, match=f"n_neighbors={n_neighbors}, but there are {there} training samples"):
                ask(asked, n_neighbors)
    with pytest.raises(ValueError, match=r"mode='bogus' is not known. Choose one of \['connectivity', 'distance', 'we"):
        model.kneighbors_graph(queries, mode="bogus")
    with pytest.raises(ValueError, match="X has 3 features"):
        model.kneighbors(queries[:, :3])
    assert model.kneighbors(queries, np.int64(3))[1].shape == (5, 3)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_a_sample_without_a_direction_is_at_right_angles_to_all(kind):
    X, queries = [[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 3.0], [1e-200, 0.0]]
    model = AAKNN(4, metric="cosine").fit(kind(X), np.arange(4.0))
    distances, indices = model.kneighbors(kind(queries))
    np.testing.assert_allclose(distances, [[1] * 4, [0, 1, 1, 1], [0, 1, 1, 1]], atol=1e-15)
    assert indices.tolist() == [[0, 1, 2, 3], [2, 0, 1, 3], [0, 1, 2, 3]]
    np.testing.assert_allclose(model.kneighbors(n_neighbors=3)[0], np.ones((4, 3)))
