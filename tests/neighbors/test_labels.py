"""Many labels: predictors of sparse targets predict what those of dense ones do, and never make them dense."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.pipeline import make_pipeline

from skrelmetric import AAKNN, MLkNN, RAMLLinear, SoftNeighborsClassifier, SoftNeighborsRegressor
from tests.neighbors.problems import continuous
from tests.test_devices import Accelerator

CLASSIFIERS = [
    MLkNN(5),
    MLkNN([2, 5, 9]),
    MLkNN(5, smoothing=0.0),
    SoftNeighborsClassifier(),
    SoftNeighborsClassifier(6),
    SoftNeighborsClassifier(temperature=0.01),
]
REGRESSORS = [AAKNN(4), SoftNeighborsRegressor(), SoftNeighborsRegressor(5)]


@pytest.fixture
def data(rng):
    """Samples, queries and label sets: a label that nobody has, one that all have, a sample without any."""
    X, queries = continuous(rng, 200, 50)
    Y = (rng.random((200, 15)) < rng.random(15) / 3).astype(int)
    Y[:, 3], Y[:, 4], Y[7] = 0, 1, 0
    return X, queries, Y


def with_zeros_and_duplicates(Y):
    """Sparse targets with entries that are 0, and two entries at one place that add up."""
    rows, columns = np.nonzero(Y)
    zero_rows, zero_columns = np.nonzero(Y == 0)
    rows, columns = np.concatenate([rows, zero_rows, rows[:9]]), np.concatenate([columns, zero_columns, columns[:9]])
    values = np.concatenate([Y[Y != 0], np.zeros(len(zero_rows)), np.full(9, -0.25)])
    values[:9] += 0.25
    order = rows.argsort(kind="stable")
    starts = np.append(0, np.bincount(rows, minlength=len(Y)).cumsum())
    return sparse.csr_matrix((values[order], columns[order], starts), Y.shape)


def assert_top(found, P, n_labels):
    order = np.argsort(-P, axis=1, kind="stable")[:, :n_labels]
    expected = np.zeros_like(P)
    np.put_along_axis(expected, order, np.take_along_axis(P, order, 1), 1)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-12)
    np.testing.assert_array_equal(found.getnnz(1), (expected > 0).sum(1))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array, with_zeros_and_duplicates])
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_classifiers_are_those_of_dense_labels(model, kind, data):
    X, queries, Y = data
    P, labels = model.fit(X, Y).predict_proba(queries), model.predict(queries)
    tops = {n_labels: model.predict_proba(queries, n_labels=n_labels) for n_labels in (1, 4, 15)}
    given = kind(Y)
    before = given.copy()
    model.fit(X, given)
    assert (given.data == before.data).all()
    exact = np.testing.assert_array_equal if isinstance(model, MLkNN) else np.testing.assert_allclose
    probabilities = model.predict_proba(queries)
    exact(probabilities, P)
    assert (probabilities.shape, probabilities.dtype) == (P.shape, P.dtype)
    assert isinstance(model.predict(queries), sparse.csr_matrix)
    np.testing.assert_array_equal(model.predict(queries).toarray(), labels, strict=True)
    for n_labels, top in tops.items():
        assert_top(top, P, n_labels)
        if exact is np.testing.assert_array_equal:
            np.testing.assert_array_equal(model.predict_proba(queries, n_labels=n_labels).toarray(), top.toarray())
        assert_top(model.predict_proba(queries, n_labels=n_labels), P, n_labels)
    np.testing.assert_array_equal(model.classes_, np.tile([0, 1], (15, 1)))
    copied = pickle.loads(pickle.dumps(model))
    exact(copied.predict_proba(queries), P)
    assert model.score(queries, sparse.csr_matrix(labels)) == 1


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32])
def test_dtypes_of_labels(dtype, data):
    X, queries, Y = data
    expected = MLkNN(5).fit(X, Y).predict_proba(queries, n_labels=3)
    found = MLkNN(5).fit(X, sparse.csr_array(Y.astype(dtype))).predict_proba(queries, n_labels=3)
    np.testing.assert_array_equal(found.toarray(), expected.toarray())


@pytest.mark.parametrize("model", REGRESSORS)
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, with_zeros_and_duplicates])
def test_regressors_are_those_of_dense_targets(kind, model, data, rng):
    X, queries, Y = data
    D = Y * rng.random(Y.shape)
    P = model.fit(X, D).predict(queries)
    loss = getattr(model, "leave_one_out_loss_", None)
    found = model.fit(X, kind(D)).predict(queries)
    assert isinstance(found, sparse.csr_matrix)
    np.testing.assert_allclose(found.toarray(), P, atol=1e-12)
    assert getattr(model, "leave_one_out_loss_", None) == (loss if loss is None else pytest.approx(loss))


def test_sparse_distributions_are_judged_as_such(data, rng):
    X, queries, Y = data
    D = Y * rng.random(Y.shape) + np.eye(15)[np.arange(200) % 15]
    D /= D.sum(1, keepdims=True)
    weights = rng.integers(0, 3, 200)
    expected = SoftNeighborsRegressor().fit(X, D, weights)
    model = SoftNeighborsRegressor().fit(X, sparse.csr_array(D), weights)
    assert model.leave_one_out_loss_ == pytest.approx(expected.leave_one_out_loss_)
    np.testing.assert_allclose(model.predict(queries).toarray(), expected.predict(queries), atol=1e-12)
    with pytest.warns(UserWarning, match="y holds label sets, 0 and 1 in rows that do not sum to 1"):
        AAKNN().fit(X, sparse.csr_array(Y))


def test_some_queries_are_answered_by_all_and_others_by_the_nearest(rng):
    X, Y = rng.standard_normal((900, 2)), (rng.random((900, 6)) < 0.3).astype(int)
    X[:20] += 40
    queries = np.vstack([X[15:25] + 0.01, rng.standard_normal((20, 2)) * 3])
    model = SoftNeighborsClassifier(temperature=0.05).fit(X, Y)
    P = model.predict_proba(queries)
    with config_context(working_memory=0.01):
        thin = model.fit(X, sparse.csr_array(Y))
        blocks = list(thin._predictions(queries, "predict_proba"))
        assert {type(block) for block in blocks} == {sparse.csr_array}
        assert len(blocks) > 1
        np.testing.assert_allclose(thin.predict_proba(queries), P, atol=1e-12)
        assert_top(thin.predict_proba(queries, n_labels=2), P, 2)


def test_nobody_has_any_label(data):
    X, queries, Y = data
    none = sparse.csr_array(Y.shape, dtype=int)
    for model in CLASSIFIERS:
        expected = model.fit(X, none.toarray()).predict_proba(queries)
        model.fit(X, none)
        np.testing.assert_array_equal(model.predict_proba(queries), expected)
        assert model.predict(queries).nnz == 0
        assert_top(model.predict_proba(queries, n_labels=3), expected, 3)
    assert SoftNeighborsRegressor(3).fit(X, none).predict(queries).nnz == 0


def test_labels_without_votes_may_be_more_probable_than_those_with():
    # A neighbour that has one of two labels tells that a sample has the other, which got no vote.
    X = np.repeat(np.arange(20.0), 2)[:, None] * 10 + np.tile([0.0, 1.0], 20)[:, None]
    Y = np.zeros((40, 3), dtype=int)
    Y[::2, 0] = Y[1::2, 1] = 1
    model = MLkNN(1).fit(X, sparse.csr_array(Y))
    P = model.predict_proba(X)
    assert P[0, 0] < P[0, 1]
    for n_labels in (1, 2, 3):
        assert_top(model.predict_proba(X, n_labels=n_labels), P, n_labels)


@pytest.mark.parametrize("model", CLASSIFIERS[:1])
def test_one_search_answers_all(model, data, monkeypatch):
    X, queries, Y = data
    model.fit(X, sparse.csr_array(Y))
    asked = []
    original = type(model._neighbours.search).nearest

    def nearest(self, X, *args, **options):
        asked.append(len(X))
        return original(self, X, *args, **options)

    monkeypatch.setattr(type(model._neighbours.search), "nearest", nearest)
    model.predict_proba(queries, n_labels=2)
    model.predict_proba(queries.copy())
    model.predict(queries)
    assert asked == [50]


@pytest.mark.parametrize("n_labels", [0, -1, 16, 2.0, True, "all"])
def test_bad_n_labels(n_labels, data):
    X, queries, Y = data
    for model, y in ((MLkNN(), Y), (SoftNeighborsClassifier(), sparse.csr_array(Y))):
        with pytest.raises(ValueError, match="but there are 15 labels. Pass a whole number from 1 to that, or None"):
            model.fit(X, y).predict_proba(queries, n_labels=n_labels)


def test_n_labels_of_classes_and_dask_arrays(data):
    X, queries, Y = data
    for model in (MLkNN(), SoftNeighborsClassifier()):
        with pytest.raises(ValueError, match="n_labels=1 is for label sets, but the target was one-dimensional"):
            model.fit(X, Y[:, 0]).predict_proba(queries, n_labels=1)
    dask_array = pytest.importorskip("dask.array", reason="needs dask: pip install 'skrelmetric[dask]'")
    blocks = dask_array.from_array(queries, chunks=(20, 20))
    for model in (MLkNN(), SoftNeighborsClassifier()):
        expected = model.fit(X, Y).predict(queries)
        model.fit(X, sparse.csr_array(Y))
        with pytest.raises(ValueError, match="n_labels is for samples in memory, but X is a Dask array"):
            model.predict_proba(blocks, n_labels=1)
        np.testing.assert_array_equal(model.predict(blocks).compute(), expected)


@pytest.mark.parametrize("values", [[2], [0.5], [-1]])
def test_sparse_targets_that_are_no_label_sets(values, data):
    X, _, Y = data
    other = sparse.csr_array(Y).astype(float)
    other.data[5] = values[0]
    for model in (MLkNN(), SoftNeighborsClassifier()):
        with pytest.raises(ValueError, match="label indicator of 0 and 1, but it holds"):
            model.fit(X, other)
    other.data[5] = np.nan
    for model in (MLkNN(), SoftNeighborsClassifier(), AAKNN(), SoftNeighborsRegressor()):
        with pytest.raises(ValueError, match="NaN"):
            model.fit(X, other)


def test_a_sparse_column_of_classes(data):
    X, queries, Y = data
    y = (2 * Y[:, 0] + Y[:, 1])[:, None]
    expected = SoftNeighborsClassifier().fit(X, y).predict(queries)
    np.testing.assert_array_equal(SoftNeighborsClassifier().fit(X, sparse.csr_array(y)).predict(queries), expected)


def test_tensors_and_devices(data):
    X, queries, Y = data
    for model in (MLkNN(5), MLkNN([2, 5]), SoftNeighborsClassifier(6)):
        expected = model.fit(X, Y).predict_proba(queries, n_labels=3).toarray()
        with Accelerator():
            away = model.set_params(device="cuda").fit(X, sparse.csr_array(Y))
            np.testing.assert_allclose(away.predict_proba(queries, n_labels=3).toarray(), expected, atol=1e-9)
            model.set_params(device="auto")
            with config_context(array_api_dispatch=True):
                samples, asked = torch.from_numpy(X), torch.from_numpy(queries)
                found = model.fit(samples, sparse.csr_array(Y)).predict_proba(asked, n_labels=3)
                np.testing.assert_allclose(found.toarray(), expected, atol=1e-9)
                assert isinstance(model.predict(asked), torch.Tensor)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_many_labels_end_to_end_stay_sparse(rng, monkeypatch):
    n, n_labels = 1500, 40_000
    labels = (n_labels ** rng.random((n, 4))).astype(int) - 1
    Y = sparse.csr_matrix((np.ones(4 * n), labels.ravel(), np.arange(n + 1) * 4), (n, n_labels))
    Y.sum_duplicates()
    Y.data[:] = 1
    X = rng.standard_normal((n, 4)) + labels[:, [0]] % np.arange(2, 6)
    queries = X[:300] + 0.01
    RAMLLinear(max_iter=2).fit(X[:50], Y[:50])
    largest = 32 * 2**20 // 8
    for kind in (sparse.csr_array, sparse.csr_matrix):
        for name in ("toarray", "todense"):
            original = getattr(kind, name)

            def small(array, *args, original=original, **options):
                assert np.prod(array.shape, dtype=float) <= largest, "targets were made dense"
                return original(array, *args, **options)

            monkeypatch.setattr(kind, name, small)
    models = [MLkNN(10), MLkNN([3, 10]), SoftNeighborsClassifier(10, temperature=1.0)]
    for model in models:
        pipeline = make_pipeline(RAMLLinear(max_iter=2), model)
        tracemalloc.start()
        with config_context(working_memory=32):
            pipeline.fit(X, Y)
            top = pipeline.predict_proba(queries, n_labels=5)
            predicted = pipeline.predict(queries)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert top.shape == predicted.shape == (300, n_labels)
        assert sparse.issparse(model._neighbours.Y)
        assert peak < 120 * 2**20  # Y alone would be 480 MB, and the probabilities 96
    for model in (AAKNN(3), SoftNeighborsRegressor(3, temperature=1.0)):
        with config_context(working_memory=32):
            assert model.fit(X, Y * 0.5).predict(queries).shape == (300, n_labels)
