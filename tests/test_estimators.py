"""What scikit-learn asks of every estimator."""

import pickle
from copy import deepcopy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone, is_regressor
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrelmetric import (
    AAKNN,
    DRMLTransformer,
    HRAMLTransformer,
    MLkNN,
    MultilabelThresholdClassifier,
    MultilabelVotingClassifier,
    MultioutputVotingRegressor,
    RAMLLinear,
    RelationalNeighborsClassifier,
    RelationalNeighborsRegressor,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
)
from skrelmetric.scorers import MULTILABEL_SCORERS

ESTIMATORS = [
    RAMLLinear(n_components=1),
    HRAMLTransformer(),
    HRAMLTransformer(encoder="tanh"),
    DRMLTransformer(16, max_epochs=1),
    DRMLTransformer(16, max_epochs=1, loss="triplet"),
    MLkNN(),
    MLkNN(range(1, 4)),
    AAKNN(),
    SoftNeighborsClassifier(),
    SoftNeighborsRegressor(),
    RelationalNeighborsClassifier(cv=None),
    RelationalNeighborsRegressor(cv=None),
    MultilabelVotingClassifier([("a", MLkNN()), ("b", MLkNN(3))]),
    MultilabelThresholdClassifier(MLkNN(3)),
    MultioutputVotingRegressor([("a", AAKNN()), ("b", AAKNN(3))]),
]

# Weights of the soft vote multiply votes, and a sample is left out with all its weight. Of a repeated sample a copy is
# left that predicts it.
UNEQUAL_TO_REPEATED = {
    f"check_sample_weight_equivalence_on_{kind}_data": "a repeated sample is predicted by its copy"
    for kind in ("dense", "sparse")
}


def expected_failed_checks(estimator):
    return UNEQUAL_TO_REPEATED if isinstance(estimator, SoftNeighborsClassifier | SoftNeighborsRegressor) else {}


# Some checks pass ten samples, fewer than MLkNN's neighbours, or a target that says nothing; we warn of both.
@pytest.mark.filterwarnings("ignore:n_neighbors=10, but there are only:UserWarning")
@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:The least populated class in y has only:UserWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)
def test_scikit_learn_checks(estimator, check, monkeypatch):
    # Checks on a GPU are skipped where torch is built for none, and failed where there is none.
    monkeypatch.setattr(torch.backends.cuda, "is_built", torch.cuda.is_available)
    check(estimator)


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((60, 4))
    return X, (X @ rng.standard_normal((4, 3)) > 0).astype(int)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_clone_pickle_and_deepcopy(estimator, samples):
    X, Y = samples
    fitted = clone(estimator).fit(X, X if is_regressor(estimator) else Y)
    output = (lambda e: e.transform(X)) if hasattr(fitted, "transform") else (lambda e: e.predict(X))
    for copy in (pickle.loads(pickle.dumps(fitted)), deepcopy(fitted)):
        np.testing.assert_array_equal(output(copy), output(fitted))
    assert repr(clone(fitted).get_params()) == repr(estimator.get_params())  # members are equal by what they say


def test_data_frames_in_and_out(samples):
    X, Y = samples
    metric = RAMLLinear(n_components=2)
    names = ["ramllinear0", "ramllinear1"]
    for make, output, kind in ((pd.DataFrame, "pandas", pd.DataFrame), (pl.DataFrame, "polars", pl.DataFrame)):
        frame = make({f"x{i}": X[:, i] for i in range(4)})
        transformed = clone(metric).set_output(transform=output).fit(frame, Y).transform(frame)
        assert isinstance(transformed, kind)
        assert list(transformed.columns) == names
        np.testing.assert_allclose(transformed.to_numpy(), metric.fit(X, Y).transform(X))


@pytest.mark.parametrize("n_labels", [1, 2, 3, 5])
def test_cross_val_predict_of_probabilities(n_labels, rng):
    X = rng.standard_normal((60, 3))
    Y = (X @ rng.standard_normal((3, n_labels)) > 0).astype(int)
    probabilities = cross_val_predict(MLkNN(5), X, Y, cv=3, method="predict_proba")
    assert probabilities.shape == (60, n_labels)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_grid_search_over_metric_and_neighbours(samples):
    X, Y = samples
    model = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN())
    grid = {"ramllinear__alpha": [0.1, 10.0], "mlknn__n_neighbors": [3, 5]}
    search = GridSearchCV(model, grid, scoring=MULTILABEL_SCORERS, refit="average_precision", cv=3)
    search.fit(X, Y)
    for name in MULTILABEL_SCORERS:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    assert search.predict(X).shape == Y.shape
