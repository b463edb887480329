import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler

from skrelmetric import (
    HRAMLTransformer,
    MLkNN,
    RAMLLinear,
    RelationalNeighborsClassifier,
    RelationalNeighborsRegressor,
    SoftNeighborsClassifier,
)
from skrelmetric._relational.members import scaler_of
from skrelmetric.datasets import load_emotions
from skrelmetric.metrics import average_precision
from skrelmetric.thresholds import best_thresholds


@pytest.fixture
def label_sets(rng):
    X = rng.standard_normal((60, 5))
    return X, (X @ rng.standard_normal((5, 3)) + 0.5 * rng.standard_normal((60, 3)) > 0).astype(int)


@pytest.fixture
def distributions(rng):
    X = rng.standard_normal((50, 4))
    D = np.exp(X @ rng.standard_normal((4, 3)))
    return X, D / D.sum(1, keepdims=True)


def log_loss(Y, P):
    P = P.clip(1e-6, 1 - 1e-6)
    return -np.where(Y == 1, np.log(P), np.log1p(-P)).mean()


def test_members_are_public_parts(label_sets):
    X, Y = label_sets
    model = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X, Y)
    Z = StandardScaler().fit_transform(X)
    linear, kernel = RAMLLinear().fit(Z, Y), HRAMLTransformer().fit(Z, Y)
    features, embedded = kernel.features(Z), kernel.transform(Z)
    expected = {
        "linear": SoftNeighborsClassifier(scale="local").fit(linear.transform(Z), Y).predict_proba(linear.transform(Z)),
        "kernel": SoftNeighborsClassifier().fit(embedded, Y).predict_proba(embedded),
        "ridge": RidgeCV(np.logspace(-4, 2, 13)).fit(features, Y).predict(features).clip(0, 1),
        "posteriors": MLkNN(range(1, 31)).fit(embedded, Y).predict_proba(embedded),
    }
    assert list(model.weights_) == list(expected)
    for name, P in zip(expected, model.members_.predictions(X), strict=True):
        np.testing.assert_allclose(P, expected[name], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(model.predict_proba(X), np.mean(list(expected.values()), axis=0), atol=1e-6)


def test_losses_are_of_samples_that_members_have_not_seen(label_sets):
    X, Y = label_sets
    train, test = np.arange(40), np.arange(40, 60)
    model = RelationalNeighborsClassifier(cv=[(train, test)], random_state=0).fit(X, Y)
    apart = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X[train], Y[train])
    P = apart.members_.predictions(X[test])
    np.testing.assert_allclose(list(model.losses_.values()), [log_loss(Y[test], each) for each in P], rtol=1e-6)
    mean = np.tensordot(list(model.weights_.values()), P, 1)
    assert model.loss_ == pytest.approx(log_loss(Y[test], mean), rel=1e-6)
    errors = ((np.array([mean, *P]) - Y[test]) ** 2).mean((1, 2))
    assert errors[0] <= errors[1:].min() + 1e-9


def test_folds_are_shuffled_by_the_seed_and_may_be_passed(label_sets):
    X, Y = label_sets
    fitted = RelationalNeighborsClassifier(random_state=3).fit(X, Y)
    assert RelationalNeighborsClassifier(random_state=3).fit(X, Y).weights_ == fitted.weights_
    assert RelationalNeighborsClassifier(random_state=4).fit(X, Y).weights_ != fitted.weights_
    splits = list(KFold(2).split(X))
    by_splits = RelationalNeighborsClassifier(cv=splits, random_state=3).fit(X, Y)
    assert by_splits.losses_ == RelationalNeighborsClassifier(cv=KFold(2), random_state=3).fit(X, Y).losses_


def test_a_useless_member_has_little_weight(rng):
    # Rings: no linear metric helps.
    X = rng.standard_normal((150, 2))
    Y = np.column_stack([(X**2).sum(1) > 1.4, (X**2).sum(1) > 2.8]).astype(int)
    noise = rng.standard_normal((150, 12))
    model = RelationalNeighborsClassifier(random_state=0).fit(np.hstack([X, noise]), Y)
    assert sum(model.weights_.values()) == pytest.approx(1)
    assert model.losses_["linear"] > min(model.losses_.values())
    assert min(model.weights_.values()) >= 0


def test_it_beats_plain_neighbours_on_emotions():
    X, Y = load_emotions(subset="train", return_X_y=True)
    X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    model = RelationalNeighborsClassifier(random_state=0).fit(X, Y)
    plain = MLkNN().fit(model.scaler_.transform(X), Y).predict_proba(model.scaler_.transform(X_test))
    assert average_precision(Y_test, model.predict_proba(X_test)) > average_precision(Y_test, plain) + 0.02


@pytest.mark.parametrize("names", [["setosa", "versicolor", "virginica"], [0, 1, 2]])
def test_classes(names):
    X, y = load_iris(return_X_y=True)
    y = np.array(names)[y]
    model = RelationalNeighborsClassifier(random_state=0).fit(X[::2], y[::2])
    assert model.classes_.tolist() == names
    assert model.score(X[1::2], y[1::2]) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    assert "posteriors" not in model.weights_


def test_distributions(distributions):
    X, D = distributions
    model = RelationalNeighborsRegressor(random_state=0).fit(X[:40], D[:40])
    P = model.predict(X[40:])
    np.testing.assert_allclose(P.sum(1), 1)
    assert (P >= 0).all()
    error = np.abs(P - D[40:]).sum()
    assert error < 0.5 * np.abs(D[:40].mean(0) - D[40:]).sum()
    assert list(model.weights_) == ["linear", "kernel", "ridge"]


def test_numbers_of_any_unit():
    X, y = load_diabetes(return_X_y=True)
    model = RelationalNeighborsRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.predict(X[300:]).shape == (142,)
    assert model.score(X[300:], y[300:]) > 0.45
    scaled = RelationalNeighborsRegressor(random_state=0).fit(X[:300], 1e6 * y[:300])
    np.testing.assert_allclose(scaled.predict(X[300:]), 1e6 * model.predict(X[300:]), rtol=1e-4)
    both = RelationalNeighborsRegressor(random_state=0).fit(X[:300], np.column_stack([y, -y])[:300])
    assert both.predict(X[300:]).shape == (142, 2)


def test_a_forest_is_a_member_if_asked_for(label_sets, distributions):
    for kind, (X, Y) in ((RelationalNeighborsClassifier, label_sets), (RelationalNeighborsRegressor, distributions)):
        model = kind(forest=True, cv=2, random_state=0).fit(X, Y)
        assert list(model.weights_)[-1] == "forest"
        assert np.isfinite(list(model.losses_.values())).all()


def test_a_forest_takes_one_column(label_sets, rng):
    X, Y = label_sets
    numbers = X[:, 0] + rng.standard_normal(len(X))
    for kind, y, shape in (
        (RelationalNeighborsRegressor, numbers, (len(X),)),
        (RelationalNeighborsRegressor, numbers[:, None], (len(X), 1)),
        (RelationalNeighborsClassifier, Y[:, :1], (len(X), 1)),
    ):
        model = kind(forest=True, cv=2, random_state=0).fit(X, y)
        assert model.predict(X).shape == shape
        assert np.isfinite(list(model.losses_.values())).all()


def test_thresholds_are_chosen_on_held_out_samples(label_sets):
    X, Y = label_sets
    splits = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    model = RelationalNeighborsClassifier(thresholds="f1", cv=splits, random_state=0).fit(X, Y)
    P = []
    for train, test in splits:
        members = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X[train], Y[train]).members_
        P.append(np.tensordot(list(model.weights_.values()), members.predictions(X[test]), 1))
    order = np.concatenate([test for _, test in splits])
    np.testing.assert_allclose(model.thresholds_, best_thresholds(np.concatenate(P), Y[order], "f1"), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X), (model.predict_proba(X) >= model.thresholds_).astype(int))
    assert RelationalNeighborsClassifier(thresholds=0.3, cv=None).fit(X, Y).thresholds_.tolist() == [0.3] * 3


def test_scaling_suits_the_samples(rng):
    words = (rng.random((40, 60)) < 0.05).astype(float)
    assert isinstance(scaler_of(words), Normalizer)
    assert isinstance(scaler_of(sparse.csr_array(words)), Normalizer)
    assert isinstance(scaler_of(-words), StandardScaler)
    assert isinstance(scaler_of(sparse.csr_array(-words)), MaxAbsScaler)
    assert isinstance(scaler_of(words + 1), StandardScaler)


def test_sparse_samples_are_the_dense_ones(rng):
    words = rng.poisson(0.1, (80, 30)).astype(float)
    Y = (words[:, :3] > 0).astype(int)
    dense = RelationalNeighborsClassifier(cv=2, random_state=0).fit(words, Y)
    thin = RelationalNeighborsClassifier(cv=2, random_state=0).fit(sparse.csr_matrix(words), Y)
    np.testing.assert_allclose(
        thin.predict_proba(sparse.csr_array(words)), dense.predict_proba(words), rtol=1e-4, atol=1e-5
    )


def test_the_linear_metric_of_wide_samples_is_not_solved_for(rng):
    X = rng.standard_normal((40, 301))
    Y = (X[:, :2] > 0).astype(int)
    wide = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X, Y).metrics_["linear"]
    assert (wide.prediction_weight, wide.n_iter_) == (1, 1)
    narrow = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X[:, :300], Y).metrics_["linear"]
    assert narrow.prediction_weight < 1


def test_sample_weights_reach_members(label_sets):
    X, Y = label_sets
    weights = np.where(Y[:, 0] == 1, 5.0, 1.0)
    plain = RelationalNeighborsClassifier(cv=2, random_state=0).fit(X, Y)
    weighted = RelationalNeighborsClassifier(cv=2, random_state=0).fit(X, Y, sample_weight=weights)
    assert weighted.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean()
    assert "posteriors" not in weighted.weights_  # whose counts know no weights


def test_kneighbors_are_those_of_a_metric(label_sets):
    X, Y = label_sets
    model = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X, Y)
    for metric, transformer in model.metrics_.items():
        Z = transformer.transform(model.scaler_.transform(X))
        distances, indices = model.kneighbors(X[:5], 3, metric=metric)
        D = np.linalg.norm(Z[:5, None] - Z, axis=2)
        np.testing.assert_allclose(distances, np.sort(D, axis=1)[:, :3], atol=1e-6)
        assert (indices[:, 0] == np.arange(5)).all()
        assert (model.kneighbors(None, 2, return_distance=False, metric=metric) != np.arange(60)[:, None]).all()
        graph = model.kneighbors_graph(X[:5], 3, "distance", metric=metric)
        np.testing.assert_array_equal(graph.indices.reshape(5, 3), indices)
        np.testing.assert_array_equal(graph.data.reshape(5, 3), distances)
        weights = model.kneighbors_graph(X[:5], None, "weight", metric=metric)
        votes = model.members_.predictors[metric][1].predict_proba(Z[:5])
        np.testing.assert_allclose(weights @ Y, votes, atol=1e-5)
    with pytest.raises(ValueError, match="metric='cosine' is not known"):
        model.kneighbors(X, metric="cosine")
    with pytest.raises(ValueError, match="metric='cosine' is not known"):
        model.kneighbors_graph(X, metric="cosine")


def test_names_pickles_clones_and_searches(label_sets):
    X, Y = label_sets
    frame, labels = pd.DataFrame(X, columns=list("abcde")), pd.DataFrame(Y, columns=["red", "green", "blue"])
    model = RelationalNeighborsClassifier(cv=2, random_state=0).fit(frame, labels)
    assert model.label_names_.tolist() == ["red", "green", "blue"]
    assert model.feature_names_in_.tolist() == list("abcde")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    clone(model)
    assert not hasattr(clone(model).fit(X, Y), "label_names_")
    search = GridSearchCV(model, {"relation": ["hamming", "cosine"]}, cv=2, scoring="neg_mean_squared_error")
    assert search.fit(X, Y).best_params_["relation"] in ("hamming", "cosine")


@pytest.mark.parametrize("n_samples", [2, 3, 5])
@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
def test_few_samples(n_samples, label_sets):
    X, Y = label_sets
    P = RelationalNeighborsClassifier(random_state=0).fit(X[:n_samples], Y[:n_samples]).predict_proba(X)
    assert ((P >= 0) & (P <= 1)).all()


@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
def test_targets_that_say_nothing(label_sets):
    X, Y = label_sets
    assert (RelationalNeighborsClassifier(random_state=0).fit(X, np.ones_like(Y)).predict(X) == 1).all()
    assert (RelationalNeighborsClassifier(random_state=0).fit(X, np.zeros(60, int)).predict(X) == 0).all()
    np.testing.assert_allclose(RelationalNeighborsRegressor(random_state=0).fit(X, np.full(60, 2.5)).predict(X), 2.5)


def test_wrong_inputs_are_refused(label_sets):
    X, Y = label_sets
    with pytest.raises(ValueError, match="chosen on held-out samples, but there are none"):
        RelationalNeighborsClassifier(thresholds="f1", cv=None).fit(X, Y)
    with pytest.raises(ValueError, match=r"thresholds has shape \(2,\)"):
        RelationalNeighborsClassifier(thresholds=[0.1, 0.2]).fit(X, Y)
    with pytest.raises(ValueError, match="Did you mean 'hamming'"):
        RelationalNeighborsClassifier(relation="haming").fit(X, Y)
    with pytest.raises(ValueError, match="label indicator of 0 and 1, but it holds"):
        RelationalNeighborsClassifier().fit(X, Y + 1)
    with pytest.raises(ValueError, match="Negative values"):
        RelationalNeighborsClassifier().fit(X, Y, sample_weight=-np.ones(60))
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        RelationalNeighborsRegressor().fit(X[:1], Y[:1])


@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")  # the linear one, in some draws
def test_equal_samples_have_no_distance_that_rounding_makes():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, y = np.round(0.8 * rng.standard_normal((46, 1))), rng.dirichlet(np.ones(4), 40)
        weights = np.where(np.arange(40) % 3 == 2, 0, 0.25 + rng.random(40))
        model = RelationalNeighborsRegressor(cv=None, random_state=0).fit(X[:40], y, weights)
        by_pairs = np.concatenate([model.predict(X[first : first + 2]) for first in range(40, 46, 2)])
        np.testing.assert_allclose(by_pairs, model.predict(X[40:]), atol=1e-12)
        kernel = model.members_.predictors["kernel"][1]
        assert kernel.scale_ > 1e-9
