"""Side by side with scikit-multilearn, whose MLkNN counts a training sample as its own neighbour."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skmultilearn.adapt import MLkNN as MultilearnMLkNN
from skmultilearn.problem_transform import BinaryRelevance, LabelPowerset

from skrelmetric import MLkNN, RAMLLinear, metrics
from skrelmetric.datasets import load_emotions
from skrelmetric.neighbors import posterior_table


@pytest.fixture
def emotions():
    X, Y = load_emotions(subset="train", return_X_y=True)
    X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    return X, Y, X_test, Y_test


@pytest.mark.parametrize(("k", "s"), [(10, 1.0), (3, 0.5)])
def test_equal_when_a_sample_is_its_own_neighbour(emotions, k, s):
    X, Y, X_test, _ = emotions
    search = NearestNeighbors(n_neighbors=k).fit(X)
    own_votes = Y[search.kneighbors(X, return_distance=False)].sum(1)
    votes = Y[search.kneighbors(X_test, return_distance=False)].sum(1)
    ours = posterior_table(own_votes, Y, k, s)[np.arange(Y.shape[1]), votes]
    theirs = MultilearnMLkNN(k=k, s=s).fit(X, Y).predict_proba(X_test).toarray()
    np.testing.assert_allclose(ours, theirs)
    assert not np.allclose(MLkNN(k, smoothing=s).fit(X, Y).predict_proba(X_test), theirs)


def test_binary_relevance_of_mlknn_is_mlknn(emotions):
    X, Y, X_test, _ = emotions
    model = BinaryRelevance(MLkNN(), require_dense=[True, True]).fit(X, Y)
    expected = MLkNN().fit(X, Y).predict_proba(X_test)
    np.testing.assert_allclose(model.predict_proba(X_test).toarray(), expected)
    labels = model.predict(X_test).toarray()
    np.testing.assert_array_equal(labels[expected != 0.5], expected[expected != 0.5] > 0.5)


def test_binary_relevance_of_a_learned_metric(emotions):
    X, Y, X_test, Y_test = emotions
    pipeline = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN())
    model = BinaryRelevance(pipeline, require_dense=[True, True]).fit(X, Y)
    assert metrics.ranking_loss(Y_test, model.predict_proba(X_test)) < 0.25
    assert metrics.hamming_loss(Y_test, model.predict(X_test)) < 0.25


def test_label_powerset_over_a_learned_metric(emotions):
    X, Y, X_test, Y_test = emotions
    pipeline = make_pipeline(StandardScaler(), RAMLLinear(), KNeighborsClassifier())
    model = LabelPowerset(pipeline, require_dense=[True, True]).fit(X, Y)
    label_sets, classes = np.unique(Y, axis=0, return_inverse=True)
    of_sets = clone(pipeline).fit(X, classes).predict_proba(X_test)
    np.testing.assert_allclose(model.predict_proba(X_test).toarray(), of_sets @ label_sets, atol=1e-12)
    predicted = model.predict(X_test)
    assert sparse.issparse(predicted)
    chosen = (predicted.toarray()[:, None] == label_sets).all(2)
    np.testing.assert_array_equal(chosen.sum(1), 1)
    np.testing.assert_array_equal(of_sets[chosen], of_sets.max(1))  # of equally probable sets any will do
    assert metrics.hamming_loss(Y_test, predicted) < 0.25
    assert metrics.average_precision(sparse.lil_matrix(Y_test), model.predict_proba(X_test)) > 0.7


@pytest.mark.parametrize("kind", [sparse.lil_matrix, sparse.csr_matrix])
def test_its_label_formats_are_ours(emotions, kind):
    X, Y, X_test, _ = emotions
    np.testing.assert_array_equal(
        MLkNN().fit(X, kind(Y)).predict_proba(X_test), MLkNN().fit(X, Y).predict_proba(X_test)
    )
    np.testing.assert_allclose(RAMLLinear().fit(X, kind(Y)).components_, RAMLLinear().fit(X, Y).components_, atol=1e-10)
