"""Sparse matrices with several entries at a place, which are those of their sums."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import is_classifier

from skrelmetric import AAKNN, RAMLLinear, RelationalNeighborsRegressor, SoftNeighborsClassifier, metrics
from skrelmetric._interop.arrays import canonical
from skrelmetric.metrics import precision_at_k
from tests.fuzz.cases import entered_twice


def test_entries_at_one_place_are_summed_in_a_copy():
    given = sparse.csr_matrix(
        (np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2], dtype=np.int64), np.array([0, 3, 3])), (2, 3)
    )
    summed = canonical(given)
    assert summed.toarray().tolist() == [[2, 0, 5], [0, 0, 0]]
    assert (summed.nnz, given.nnz, summed.indices.dtype) == (2, 3, np.int32)


@pytest.mark.parametrize(
    "estimator",
    [
        AAKNN(3),
        AAKNN(3, metric="cosine"),
        SoftNeighborsClassifier(3),
        RAMLLinear(tol=1e-9),
        RelationalNeighborsRegressor(cv=None, random_state=0),
    ],
)
def test_samples_and_targets_may_be_entered_twice(estimator, rng):
    X, Y = rng.poisson(0.5, (40, 6)).astype(float), (rng.random((40, 3)) < 0.4).astype(float)
    Y = Y if is_classifier(estimator) else 2 * Y
    outputs = []
    for kept in (sparse.csr_matrix, entered_twice):
        model = estimator.fit(kept(X), kept(Y))
        result = model.transform(kept(X)) if hasattr(model, "transform") else model.predict(kept(X))
        outputs.append(result.toarray() if sparse.issparse(result) else result)
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-7)


def test_truth_and_scores_may_be_entered_twice(rng):
    Y, scores = (rng.random((9, 5)) < 0.4).astype(int), np.round(8 * rng.random((9, 5))) / 8
    twice = sparse.csr_array(entered_twice(scores))
    for criterion in (precision_at_k, metrics.ranking_loss, metrics.f1, metrics.average_precision):
        assert criterion(sparse.csr_array(Y), twice) == criterion(Y, scores)
