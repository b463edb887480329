import pickle

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import AAKNN, MLkNN, MultilabelVotingClassifier, metrics
from skrelmetric.datasets import make_label_distributions
from skrelmetric.metrics import LAMDA, mean_average_precision_at_r, r_precision, recall_at_k
from skrelmetric.scorers import (
    LABEL_DISTRIBUTION_SCORERS,
    LAMDA_SCORERS,
    MULTILABEL_SCORERS,
    RETRIEVAL_SCORERS,
    precision_at_k_scorer,
    retrieval_scores,
)
from tests.metrics.retrieved import make_samples

EMBEDDING = {
    "clustering_f1",
    "clustering_nmi",
    "mean_average_precision_at_r",
    "pair_f1",
    "r_precision",
    "recall_at_k",
    "retrieval_report",
}  # whose scorers are tested at the end
AT_K = {"label_propensities", "precision_at_k", "propensity_scored_precision_at_k"}  # whose scorers are made for a k


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((90, 4))
    return X, (X @ rng.standard_normal((4, 3)) > 0.3).astype(int)


def test_every_criterion_has_a_scorer():
    scorers = {**MULTILABEL_SCORERS, **LABEL_DISTRIBUTION_SCORERS}
    named = {"f1" if name.startswith("f1_") else name.removeprefix("neg_") for name in scorers}
    assert named == {name for name in metrics.__all__ if callable(getattr(metrics, name))} - EMBEDDING - AT_K
    assert MULTILABEL_SCORERS.keys() - LAMDA_SCORERS.keys() == {"f1_micro", "f1_macro", "f1_samples"}


def test_scorers_are_signed_criteria(samples):
    X, Y = samples
    model = MLkNN(3).fit(X[:60], Y[:60])
    probabilities, predicted = model.predict_proba(X[60:]), model.predict(X[60:])
    for name in LAMDA_SCORERS:
        scorer = MULTILABEL_SCORERS[name]
        criterion, sign = getattr(metrics, name.removeprefix("neg_")), -1 if name.startswith("neg_") else 1
        expected = sign * criterion(Y[60:], predicted if "hamming" in name else probabilities)
        assert scorer(model, X[60:], Y[60:]) == expected
        choices = LAMDA[name.removeprefix("neg_")]
        expected = sign * criterion(Y[60:], predicted if "hamming" in name else probabilities, **choices)
        assert LAMDA_SCORERS[name](model, X[60:], Y[60:]) == expected


def test_f1_scorers_are_f1_of_predicted_labels(samples):
    X, Y = samples
    model = MLkNN(3).fit(X[:60], Y[:60])
    scores = [MULTILABEL_SCORERS[f"f1_{average}"](model, X[60:], Y[60:]) for average in ("micro", "macro", "samples")]
    predicted = model.predict(X[60:])
    assert scores == [metrics.f1(Y[60:], predicted, average=average) for average in ("micro", "macro", "samples")]
    assert len(set(scores)) == 3


@pytest.mark.parametrize("propensities", [None, [0.2, 0.5, 0.9]])
def test_precision_at_k_scorers(propensities, samples):
    X, Y = samples
    Y[:, 1] = 0
    model = KNeighborsClassifier().fit(X[:60], Y[:60])  # a list of arrays, one of them of a constant label
    answers = zip(model.predict_proba(X), model.classes_, strict=True)
    scores = np.column_stack([p[:, -1] * known[-1] for p, known in answers])
    for k in (1, 2):
        scorer = precision_at_k_scorer(k, propensities=propensities)
        expected = metrics.precision_at_k(Y[60:], scores[60:], k)
        if propensities:
            expected = metrics.propensity_scored_precision_at_k(Y[60:], scores[60:], k, propensities=propensities)
        assert scorer(model, X[60:], Y[60:]) == expected
        assert pickle.loads(pickle.dumps(scorer))(model, X[60:], Y[60:]) == expected
    several = MULTILABEL_SCORERS | {"precision_at_2": scorer}
    found = GridSearchCV(MLkNN(), {"n_neighbors": [3, 9]}, scoring=several, refit="precision_at_2").fit(X, Y)
    assert np.isfinite(found.cv_results_["mean_test_precision_at_2"]).all()


@pytest.mark.parametrize(
    "model",
    [
        MLkNN(5),
        make_pipeline(StandardScaler(), MLkNN(5)),
        KNeighborsClassifier(),  # a list of arrays
        RandomForestClassifier(10, random_state=0),  # a list of arrays
        OneVsRestClassifier(LogisticRegression()),  # one array
        RidgeClassifier(),  # no probabilities, but a decision function
    ],
)
def test_all_multilabel_scorers_at_once(model, samples):
    scores = cross_validate(model, *samples, cv=3, scoring=MULTILABEL_SCORERS, error_score="raise")
    for name in MULTILABEL_SCORERS:
        assert np.isfinite(scores[f"test_{name}"]).all()


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: make_pipeline(StandardScaler(), m)])
def test_constant_labels_of_scikit_learn_score_as_their_class(constant, wrap, samples):
    X, Y = samples
    Y[:60, 1] = constant
    model = wrap(KNeighborsClassifier()).fit(X[:60], Y[:60])
    p = model.predict_proba(X[60:])
    expected = np.column_stack([p[0][:, 1], np.full(30, constant), p[2][:, 1]])
    assert p[1].shape == (30, 1)
    for name in ("ranking_loss", "one_error", "coverage"):
        score = MULTILABEL_SCORERS[f"neg_{name}"](model, X[60:], Y[60:])
        assert score == -getattr(metrics, name)(Y[60:], expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.filterwarnings("ignore:A column-vector y was passed:UserWarning")
@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3]}, cv=2),
        RandomForestClassifier(3, random_state=0),
        MultiOutputClassifier(GaussianNB()),
        MultilabelVotingClassifier([("lists", KNeighborsClassifier()), ("array", MLkNN(5))]),
    ],
    ids=["lists", "pipeline", "search", "forest", "each", "vote"],
)
@pytest.mark.parametrize("constant", [[0, 0, 0], [0, 1, 1], [0], [1], None])
def test_labels_that_are_all_constant_in_a_fold_score_as_their_classes(constant, model, samples):
    X, Y = samples
    Y = Y[:, : len(constant or [0])]
    if constant:
        Y[30:] = constant  # the training samples of the first fold
    scores = cross_validate(model, X, Y, cv=KFold(3), scoring=MULTILABEL_SCORERS, error_score="raise")
    assert all(np.isfinite(scores[f"test_{name}"]).all() for name in MULTILABEL_SCORERS)
    if constant:
        expected = np.tile(constant, (30, 1))
        for name in ("ranking_loss", "one_error", "hamming_loss"):
            assert scores[f"test_neg_{name}"][0] == -getattr(metrics, name)(Y[:30], expected)


def test_probabilities_are_asked_for_once(samples):
    calls = []

    class Counted(MLkNN):
        def predict_proba(self, X):
            calls.append(len(X))
            return super().predict_proba(X)

        def predict(self, X):
            return (super().predict_proba(X) >= 0.5).astype(int)

    cross_validate(Counted(3), *samples, cv=3, scoring=MULTILABEL_SCORERS)
    assert calls == [30, 30, 30]


def test_label_distribution_scorers(rng):
    X, D = make_label_distributions(90, random_state=0)
    good = cross_validate(AAKNN(), X, D, cv=3, scoring=LABEL_DISTRIBUTION_SCORERS)
    mean = cross_validate(DummyRegressor(), X, D, cv=3, scoring=LABEL_DISTRIBUTION_SCORERS)
    for name in LABEL_DISTRIBUTION_SCORERS:
        assert good[f"test_{name}"].mean() > mean[f"test_{name}"].mean()
    search = GridSearchCV(
        AAKNN(), {"n_neighbors": [2, 4]}, scoring=LABEL_DISTRIBUTION_SCORERS, refit="neg_clark_distance"
    )
    assert search.fit(X, D).best_params_["n_neighbors"] in (2, 4)


def test_sample_weight_reaches_the_criterion(samples):
    X, Y = samples
    model = MLkNN(3).fit(X[:60], Y[:60])
    weights = np.r_[np.ones(10), np.zeros(20)]
    for scorer in MULTILABEL_SCORERS.values():
        assert scorer(model, X[60:], Y[60:], sample_weight=weights) == pytest.approx(scorer(model, X[60:70], Y[60:70]))


def test_retrieval_on_the_test_fold(rng):
    X, y = make_samples(rng, sizes=(0.4, 0.3, 0.3))
    X, y = X[:-1], y[:-1]
    criteria = dict(zip(RETRIEVAL_SCORERS, (recall_at_k, r_precision, mean_average_precision_at_r), strict=True))
    fitted = make_pipeline(StandardScaler(), PCA(2)).fit(X[:60])
    for name, scorer in RETRIEVAL_SCORERS.items():
        expected = criteria[name](fitted.transform(X[60:]), y[60:])
        assert scorer(fitted, X[60:], y[60:]) == expected
        assert pickle.loads(pickle.dumps(scorer))(fitted, X[60:], y[60:]) == expected
        assert criteria[name].__name__ in repr(scorer)


def test_retrieval_scorers_choose_among_pipelines(rng):
    y = rng.integers(0, 3, 90)
    X = np.column_stack([10 * rng.standard_normal(90), 3 * y + 0.1 * rng.standard_normal(90)])
    # The scattered column has the larger variance: one component keeps it alone, two keep the classes.
    folds = cross_validate(make_pipeline(PCA(2)), X, y, cv=3, scoring=RETRIEVAL_SCORERS, error_score="raise")
    assert all(np.isfinite(folds[f"test_{name}"]).all() for name in RETRIEVAL_SCORERS)
    pipeline = make_pipeline(StandardScaler(), PCA())
    grid = {"pca__n_components": [1, 2]}
    search = GridSearchCV(pipeline, grid, scoring=RETRIEVAL_SCORERS, refit="map_at_r", cv=3, error_score="raise")
    assert search.fit(X, y).best_params_ == {"pca__n_components": 2}
    for scoring, refit in ((RETRIEVAL_SCORERS["map_at_r"], True), (retrieval_scores, "map_at_r")):
        again = GridSearchCV(pipeline, grid, scoring=scoring, refit=refit, cv=3, error_score="raise")
        assert again.fit(X, y).best_score_ == search.best_score_
