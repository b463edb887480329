import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, StratifiedKFold, cross_val_predict
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from skrelmetric import MLkNN, MultilabelThresholdClassifier, RAMLLinear
from skrelmetric.scorers import MULTILABEL_SCORERS
from tests.test_devices import needs_dispatch


class Given(ClassifierMixin, BaseEstimator):
    """A classifier to which samples tell the probabilities of their labels."""

    def fit(self, X, y):
        self.n_features_in_ = np.shape(X)[1]
        self.classes_ = np.tile([0, 1], (self.n_features_in_, 1))
        return self

    def predict_proba(self, X):
        return np.asarray(X)


def forest():
    return ExtraTreesClassifier(20, max_depth=3, random_state=0)


@pytest.fixture
def label_sets(rng):
    X = rng.standard_normal((80, 4))
    return X, (X @ rng.standard_normal((4, 3)) > 0.8).astype(int), rng.standard_normal((30, 4))


@st.composite
def labels_and_probabilities(draw):
    q, n = draw(st.integers(1, 3)), draw(st.integers(2, 9))
    cells = lambda values: st.lists(st.lists(values, min_size=q, max_size=q), min_size=n, max_size=n)  # noqa: E731
    steps = draw(st.sampled_from([4, 1000]))  # coarse, so that probabilities are equal, or fine
    return np.array(draw(cells(st.integers(0, 1)))), np.array(draw(cells(st.integers(0, steps)))) / steps


@settings(max_examples=60, deadline=None)
@given(labels_and_probabilities())
def test_f1_is_that_of_the_best_of_all_cuts(case):
    Y, P = case
    model = MultilabelThresholdClassifier(Given(), cv=2).fit(P, Y)
    for has, p, threshold, chosen in zip(Y.T, P.T, model.thresholds_, model.predict(P).T, strict=True):
        if not has.any():
            assert threshold == 2
            continue
        ends = np.unique(np.append(p, 0))
        cuts = [0, *(ends[:-1] + ends[1:]) / 2]
        scores = np.array([f1_score(has, p >= cut) for cut in cuts])
        assert f1_score(has, chosen) == pytest.approx(scores.max())
        nearest = min(abs(cut - 0.5) for cut, score in zip(cuts, scores, strict=True) if score == scores.max())
        assert abs(threshold - 0.5) == pytest.approx(nearest)


@settings(max_examples=200, deadline=None)
@given(labels_and_probabilities())
def test_frequency_predicts_as_many_as_have_the_label(case):
    Y, P = case
    model = MultilabelThresholdClassifier(Given(), thresholds="frequency", cv=2).fit(P, Y)
    for has, p, chosen in zip(Y.T, P.T, model.predict(P).T, strict=True):
        counts = {(p >= value).sum() for value in p} if has.any() else {0}  # that equal probabilities allow
        assert chosen.sum() in counts
        assert abs(chosen.sum() - has.sum()) == min(abs(count - has.sum()) for count in counts)


def test_neighbouring_floats_have_nothing_between_them():
    p = np.array([0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 0), 0.5])[:, None]
    model = MultilabelThresholdClassifier(Given(), cv=2).fit(p, [[0], [1], [0], [0]])
    np.testing.assert_array_equal(model.predict(p)[:, 0], [0, 1, 0, 0])


@pytest.mark.parametrize("cv", [None, 3, KFold(4, shuffle=True, random_state=0)])
def test_probabilities_are_out_of_fold(cv, label_sets):
    X, Y, queries = label_sets
    model = MultilabelThresholdClassifier(MLkNN(3), cv=cv).fit(X, Y)
    unseen = cross_val_predict(MLkNN(3), X, Y, cv=cv, method="predict_proba")
    expected = MultilabelThresholdClassifier(Given(), cv=2).fit(unseen, Y)
    np.testing.assert_array_equal(model.thresholds_, expected.thresholds_)
    probabilities = MLkNN(3).fit(X, Y).predict_proba(queries)
    np.testing.assert_array_equal(model.predict_proba(queries), probabilities)
    np.testing.assert_array_equal(model.predict(queries), probabilities >= model.thresholds_)
    assert model.predict(queries).dtype == MLkNN().fit(X, Y).predict(queries).dtype
    assert (model.thresholds_ != 0.5).any()


def test_folds_need_not_be_a_partition(label_sets):
    X, Y, _ = label_sets
    folds = [
        (np.arange(40), np.arange(40, 60)),
        (np.arange(20, 80), np.arange(15)),
        (np.arange(70), np.arange(80) > 77),
    ]
    model = MultilabelThresholdClassifier(MLkNN(3), cv=iter(folds)).fit(X, Y)
    unseen = np.concatenate([MLkNN(3).fit(X[train], Y[train]).predict_proba(X[test]) for train, test in folds])
    truth = np.concatenate([Y[test] for _, test in folds])
    expected = MultilabelThresholdClassifier(Given(), cv=2).fit(unseen, truth)
    np.testing.assert_array_equal(model.thresholds_, expected.thresholds_)


@pytest.mark.parametrize("thresholds", [0.3, 0, 2.5, [0.1, 0.5, 0.9], np.array([0.1, 0.5, 0.9])])
def test_fixed_thresholds_need_no_folds(thresholds, label_sets):
    X, Y, queries = label_sets
    model = MultilabelThresholdClassifier(MLkNN(3), thresholds=thresholds, cv=100).fit(X, Y)  # 80 samples
    assert model.thresholds_.tolist() == np.broadcast_to(thresholds, 3).tolist()
    np.testing.assert_array_equal(model.predict(queries), model.predict_proba(queries) >= np.array(thresholds))


@pytest.mark.parametrize("thresholds", ["f1", "frequency"])
def test_constant_labels(thresholds, label_sets):
    X, Y, queries = label_sets
    Y[:, 1], Y[:, 2] = 0, 1
    for estimator in (MLkNN(3), forest()):
        model = MultilabelThresholdClassifier(estimator, thresholds=thresholds).fit(X, Y)
        assert model.thresholds_[1] == 2
        assert 0 <= model.thresholds_[2] <= 1
        np.testing.assert_array_equal(model.predict(queries)[:, 1:], np.tile([0, 1], (30, 1)))


def test_estimators_that_answer_with_a_list(label_sets):
    X, Y, queries = label_sets
    Y[:, 1] = np.arange(80) < 16  # constant where the first of five folds is left out
    model = MultilabelThresholdClassifier(forest()).fit(X, Y)
    unseen = []
    for train, test in KFold(5).split(X):
        fitted = forest().fit(X[train], Y[train])
        answers = zip(fitted.predict_proba(X[test]), fitted.classes_, strict=True)
        unseen.append(np.column_stack([p[:, -1] * known[-1] for p, known in answers]))
    assert (unseen[0][:, 1] == 0).all()
    expected = MultilabelThresholdClassifier(Given(), cv=2).fit(np.concatenate(unseen), Y)
    np.testing.assert_array_equal(model.thresholds_, expected.thresholds_)
    probabilities = np.column_stack([p[:, 1] for p in forest().fit(X, Y).predict_proba(queries)])
    np.testing.assert_array_equal(model.predict_proba(queries), probabilities)


@pytest.mark.parametrize("estimator", [MLkNN(3), forest()])
def test_one_label_in_a_column_or_in_classes(estimator, label_sets):
    X, Y, queries = label_sets
    folds = KFold(4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A column-vector y was passed")
        column = MultilabelThresholdClassifier(estimator, cv=folds).fit(X, Y[:, :1])
    names = np.array(["no", "yes"])
    model = MultilabelThresholdClassifier(estimator, cv=folds).fit(X, names[Y[:, 0]])
    assert column.classes_.tolist() == [[0, 1]]
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.thresholds_.shape == column.thresholds_.shape == (1,)
    np.testing.assert_allclose(model.thresholds_, column.thresholds_)
    np.testing.assert_allclose(model.predict_proba(queries)[:, 1:], column.predict_proba(queries))
    np.testing.assert_array_equal(model.predict(queries), names[column.predict(queries)[:, 0]])


def test_one_dimensional_targets_have_stratified_folds(label_sets):
    X, Y, queries = label_sets
    y = np.sort(Y[:, 0])  # consecutive folds would have one class
    model = MultilabelThresholdClassifier(MLkNN(3)).fit(X, y)
    stratified = MultilabelThresholdClassifier(MLkNN(3), cv=StratifiedKFold(5)).fit(X, y)
    consecutive = MultilabelThresholdClassifier(MLkNN(3), cv=KFold(5)).fit(X, y)
    np.testing.assert_array_equal(model.thresholds_, stratified.thresholds_)
    assert model.thresholds_ != consecutive.thresholds_
    only = MultilabelThresholdClassifier(forest()).fit(X, np.zeros(80, dtype=int))
    assert only.thresholds_ == 2
    np.testing.assert_array_equal(only.predict(queries), np.zeros(30))


def test_kinds_of_samples_and_targets(label_sets):
    X, Y, queries = label_sets
    X[X < 0] = 0
    model = MultilabelThresholdClassifier(MLkNN(3))
    expected = model.fit(X, Y).predict(queries), model.thresholds_
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")
    names = [f"x{i}" for i in range(4)]
    kinds = [(kind, kind) for kind in (sparse.csr_matrix, sparse.csc_array, sparse.lil_matrix, np.ndarray.tolist)]
    for samples, targets in [*kinds, (lambda X: pd.DataFrame(X, columns=names), pd.DataFrame)]:
        model.fit(samples(X), targets(Y))
        np.testing.assert_array_equal(model.thresholds_, expected[1])
        np.testing.assert_array_equal(model.predict(samples(queries)), expected[0])
    assert list(model.feature_names_in_) == names


def test_single_precision_is_cut_where_it_was_chosen(rng):
    P = rng.permutation(np.linspace(0.5, 0.5 + 1e-5, 60, dtype=np.float32)).reshape(30, 2)
    Y = np.arange(30)[:, None] < [4, 20]
    model = MultilabelThresholdClassifier(Given(), thresholds="frequency", cv=3).fit(P, Y)
    np.testing.assert_array_equal(model.predict(P).sum(0), [4, 20])
    assert model.predict_proba(P).dtype == np.float32


class KnownLabels(MLkNN):
    """A classifier that takes an unknown label for an absent one."""

    def fit(self, X, y):
        return super().fit(X, np.nan_to_num(y))


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
@pytest.mark.parametrize("thresholds", ["f1", "frequency"])
def test_unknown_labels_have_no_say(kind, thresholds, label_sets):
    X, Y, _ = label_sets
    Y = np.where(np.arange(Y.size).reshape(Y.shape) % 7 == 0, np.nan, Y)
    Y[:, 2] = np.nan
    model = MultilabelThresholdClassifier(KnownLabels(3), thresholds=thresholds).fit(X, kind(Y))
    unseen = cross_val_predict(MLkNN(3), X, np.nan_to_num(Y), cv=5, method="predict_proba")
    for label in (0, 1):
        known = ~np.isnan(Y[:, label])
        alone = MultilabelThresholdClassifier(Given(), thresholds=thresholds, cv=2)
        alone.fit(unseen[known][:, [label]], Y[known][:, [label]])
        assert model.thresholds_[label] == alone.thresholds_[0]
    assert model.thresholds_[2] == 2
    with pytest.raises(ValueError, match="NaN"):
        MultilabelThresholdClassifier(MLkNN(3)).fit(X, Y)


def test_metadata_take_their_routes(label_sets):
    X, Y, queries = label_sets
    weights, groups = np.where(Y[:, 0] == 1, 9.0, 1.0), np.arange(80) % 7
    with config_context(enable_metadata_routing=True):
        weighted = MultiOutputClassifier(LogisticRegression().set_fit_request(sample_weight=True))
        model = MultilabelThresholdClassifier(weighted, cv=GroupKFold(3)).fit(
            X, Y, sample_weight=weights, groups=groups
        )
        with pytest.raises(TypeError, match="colour"):
            model.fit(X, Y, colour=weights)
    unseen = np.zeros(Y.shape)
    plain = MultiOutputClassifier(LogisticRegression())
    for train, test in GroupKFold(3).split(X, groups=groups):
        answers = clone(plain).fit(X[train], Y[train], sample_weight=weights[train]).predict_proba(X[test])
        unseen[test] = np.column_stack([p[:, 1] for p in answers])
    expected = MultilabelThresholdClassifier(Given(), cv=2).fit(unseen, Y)
    np.testing.assert_allclose(model.thresholds_, expected.thresholds_, rtol=1e-12)
    answers = plain.fit(X, Y, sample_weight=weights).predict_proba(queries)
    np.testing.assert_allclose(model.predict_proba(queries), np.column_stack([p[:, 1] for p in answers]))
    with pytest.raises(ValueError, match="got \\['sample_weight'\\].*enable_metadata_routing=True.*set_fit_request"):
        model.fit(X, Y, sample_weight=weights)


def test_parameters_and_grid_search(label_sets):
    X, Y, queries = label_sets
    estimator = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN())
    model = MultilabelThresholdClassifier(estimator, cv=2)
    assert set(model.get_params(deep=False)) == {"estimator", "thresholds", "cv", "n_jobs"}
    grid = {"estimator__mlknn__n_neighbors": [2, 9], "thresholds": ["f1", 0.5]}
    search = GridSearchCV(model, grid, scoring=MULTILABEL_SCORERS, refit="f1_macro", cv=2).fit(X, Y)
    for name in MULTILABEL_SCORERS:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    best = clone(model).set_params(**search.best_params_)
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict(queries), best.fit(X, Y).predict(queries))
    assert not hasattr(estimator[-1], "classes_")


def test_folds_in_parallel(label_sets):
    X, Y, _ = label_sets
    alone = MultilabelThresholdClassifier(MLkNN(3)).fit(X, Y)
    with parallel_config("threading"):
        model = MultilabelThresholdClassifier(MLkNN(3), n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(model.thresholds_, alone.thresholds_)


def test_probabilities_cross_validate(label_sets):
    X, Y, _ = label_sets
    model = MultilabelThresholdClassifier(MLkNN(3), cv=2)
    assert cross_val_predict(model, X, Y, cv=2, method="predict_proba").shape == Y.shape
    assert cross_val_predict(model, X, Y[:, 0], cv=2, method="predict_proba").shape == (80, 2)


def test_f1_gains_where_labels_are_rare(rng):
    X = rng.standard_normal((600, 4))
    Y = (X @ rng.standard_normal((4, 5)) + rng.standard_normal((600, 5)) > 3).astype(int)
    scores = {}
    for thresholds in (0.5, "f1"):
        model = MultilabelThresholdClassifier(MLkNN(), thresholds=thresholds).fit(X[:400], Y[:400])
        scores[thresholds] = MULTILABEL_SCORERS["f1_macro"](model, X[400:], Y[400:])
    assert scores["f1"] > scores[0.5] + 0.1


def test_precomputed_kernels_are_split_both_ways(label_sets):
    X, Y, queries = label_sets
    distances = lambda A, B: np.linalg.norm(A[:, None] - B, axis=2)  # noqa: E731
    model = MultilabelThresholdClassifier(MLkNN(3, metric="precomputed"))
    assert get_tags(model).input_tags.pairwise
    expected = MultilabelThresholdClassifier(MLkNN(3)).fit(X, Y)
    model.fit(distances(X, X), Y)
    np.testing.assert_allclose(model.thresholds_, expected.thresholds_)
    np.testing.assert_array_equal(model.predict(distances(queries, X)), expected.predict(queries))


def test_tags_are_those_of_the_estimator():
    tags = get_tags(MultilabelThresholdClassifier(MLkNN()))
    assert tags.input_tags.sparse
    assert not tags.input_tags.pairwise
    assert not tags.array_api_support
    assert tags.classifier_tags.multi_label
    assert not tags.classifier_tags.multi_class
    assert tags.target_tags.multi_output


@needs_dispatch
def test_tensors_are_answered_with_tensors(label_sets):
    X, Y, queries = label_sets
    for y in (Y, Y[:, 0]):
        model = MultilabelThresholdClassifier(MLkNN(3)).fit(X, y)
        expected = model.predict(queries), model.thresholds_
        with config_context(array_api_dispatch=True):
            for targets in (y, torch.tensor(y)):
                predicted = model.fit(torch.tensor(X), targets).predict(torch.tensor(queries))
                assert isinstance(predicted, torch.Tensor)
                np.testing.assert_array_equal(predicted.numpy(), expected[0])
                np.testing.assert_allclose(model.thresholds_, expected[1])


def test_a_fit_that_fails_leaves_the_former_one(label_sets):
    X, Y, queries = label_sets
    model = MultilabelThresholdClassifier(MLkNN(3)).fit(X, Y)
    expected = model.predict(queries)
    with pytest.raises(ValueError, match="n_splits=5 greater than the number of samples"):
        model.fit(X[:4], Y[:4])
    np.testing.assert_array_equal(model.predict(queries), expected)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"thresholds": "best"}, "'thresholds' parameter of MultilabelThresholdClassifier must be"),
        ({"thresholds": None}, "'thresholds' parameter of MultilabelThresholdClassifier must be"),
        (
            {"thresholds": [0.5]},
            "shape \\(1,\\), but y has 3 labels. Pass one number for each of them, one for all, or",
        ),
        ({"thresholds": [[0.5, 0.5, 0.5]]}, "shape \\(1, 3\\)"),
        ({"thresholds": [0.5, np.nan, 0.5]}, "must be finite. To predict a label for no sample"),
        ({"thresholds": np.inf}, "must be finite"),
        ({"thresholds": ["high", 0.5, 0.5]}, "thresholds=.*is not known. Pass a number for each label in the order"),
        (
            {"estimator": LinearSVC()},
            "'estimator' parameter .* must be an object implementing 'fit' and 'predict_proba'",
        ),
        ({"cv": 1}, "'cv' parameter of MultilabelThresholdClassifier must be"),
        ({"cv": "five"}, "'cv' parameter of MultilabelThresholdClassifier must be"),
        ({"cv": 81}, "n_splits=81 greater than the number of samples: n_samples=80"),
        ({"n_jobs": "all"}, "'n_jobs' parameter of MultilabelThresholdClassifier must be"),
    ],
)
def test_bad_parameters(parameters, message, label_sets):
    X, Y, _ = label_sets
    with pytest.raises(ValueError, match=message):
        MultilabelThresholdClassifier(MLkNN(3)).set_params(**parameters).fit(X, Y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2], "3 classes. Only binary .* the estimator itself"),
        ([[0, 2], [1, 0], [0, 1]], "label indicator of 0 and 1, but it holds .*2"),
        ([[1], [2, 3], [1]], "MultiLabelBinarizer"),
        (None, "MultilabelThresholdClassifier requires y to be passed"),
        ([[0, 1], [1, 0]], "inconsistent numbers of samples"),
    ],
)
def test_bad_targets(y, message):
    with pytest.raises(ValueError, match=message):
        MultilabelThresholdClassifier(MLkNN(1), cv=2).fit(np.eye(3), y)
