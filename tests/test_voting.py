import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from skrelmetric import (
    AAKNN,
    HRAMLTransformer,
    MLkNN,
    MultilabelVotingClassifier,
    MultioutputVotingRegressor,
    RAMLLinear,
    metrics,
)
from skrelmetric.datasets import load_emotions, make_label_distributions
from skrelmetric.scorers import MULTILABEL_SCORERS


def forest():
    return ExtraTreesClassifier(20, max_depth=3, random_state=0)


def several_k(*ks):
    return [(f"k{k}", MLkNN(k)) for k in ks]


@pytest.fixture
def label_sets(rng):
    X = rng.standard_normal((80, 4))
    return X, (X @ rng.standard_normal((4, 3)) > 0.3).astype(int), rng.standard_normal((30, 4))


@pytest.fixture
def distributions(rng):
    X, D = make_label_distributions(80, random_state=0)
    return X, D, rng.uniform(-1, 1, (30, X.shape[1]))


@pytest.mark.parametrize("weights", [None, [1, 3, 0.5], (0, 2, 5), np.array([2.0, 0, 0])])
def test_probabilities_are_the_weighted_mean(weights, label_sets):
    X, Y, queries = label_sets
    vote = MultilabelVotingClassifier(several_k(1, 5, 20), weights=weights).fit(X, Y)
    of_members = [MLkNN(k).fit(X, Y).predict_proba(queries) for k in (1, 5, 20)]
    expected = np.average(of_members, axis=0, weights=weights)
    np.testing.assert_allclose(vote.predict_proba(queries), expected, rtol=1e-14)
    np.testing.assert_array_equal(vote.predict(queries), expected >= 0.5)
    assert vote.predict(queries).dtype == MLkNN().fit(X, Y).predict(queries).dtype


@pytest.mark.parametrize("weights", [None, [1, 3]])
def test_predictions_are_the_weighted_mean(weights, distributions):
    X, D, queries = distributions
    members = [("near", AAKNN(2)), ("plane", LinearRegression())]
    vote = MultioutputVotingRegressor(members, weights=weights).fit(X, D)
    expected = np.average([m.fit(X, D).predict(queries) for _, m in members], axis=0, weights=weights)
    np.testing.assert_allclose(vote.predict(queries), expected, rtol=1e-12)
    np.testing.assert_allclose(vote.predict(queries).sum(1), 1)


@pytest.mark.parametrize("weight", [None, [0.3]])
@pytest.mark.parametrize("target", ["label sets", "one label", "classes"])
def test_one_member_is_itself(weight, target, label_sets):
    X, Y, queries = label_sets
    y = {"label sets": Y, "one label": Y[:, :1], "classes": np.array(["no", "yes"])[Y[:, 0]]}[target]
    for member in (MLkNN(7), forest()):
        if target == "one label" and not isinstance(member, MLkNN):
            continue  # it flattens the column, with a warning, and gives the probabilities of two classes
        vote = MultilabelVotingClassifier([("only", member)], weights=weight).fit(X, y)
        alone = clone(member).fit(X, y)
        alone_in_columns = alone.predict_proba(queries)
        if isinstance(alone_in_columns, list):
            alone_in_columns = np.column_stack([p[:, 1] for p in alone_in_columns])
        np.testing.assert_array_equal(vote.predict_proba(queries), alone_in_columns)
        np.testing.assert_array_equal(vote.predict(queries), alone.predict(queries))
        np.testing.assert_array_equal(vote.classes_, MLkNN().fit(X, y).classes_)


@pytest.mark.parametrize("shape", [(60, 3), (60, 1), (60,)])
def test_one_regressor_is_itself_whatever_the_outputs(shape, rng):
    X, y = rng.standard_normal((60, 4)), rng.standard_normal(shape)
    vote = MultioutputVotingRegressor([("only", AAKNN(3))], weights=[7]).fit(X, y)
    np.testing.assert_array_equal(vote.predict(X), AAKNN(3).fit(X, y).predict(X))
    assert vote.predict(X).shape == y.shape


def test_probability_one_half_is_predicted_as_by_mlknn():
    X = np.arange(6.0)[:, None]
    for y in (np.array([[0], [0], [0], [1], [1], [1]]), np.array([0, 0, 0, 1, 1, 1])):
        vote = MultilabelVotingClassifier([(f"copy{i}", MLkNN(2)) for i in range(3)]).fit(X, y)
        assert 0.5 in vote.predict_proba(X)
        np.testing.assert_array_equal(vote.predict(X), MLkNN(2).fit(X, y).predict(X))


@pytest.mark.parametrize("constant", [0, 1])
def test_members_that_answer_with_a_list(constant, label_sets):
    X, Y, queries = label_sets
    Y[:, 1] = constant
    vote = MultilabelVotingClassifier([("forest", forest()), ("near", MLkNN(5))]).fit(X, Y)
    trees = forest().fit(X, Y).predict_proba(queries)
    assert trees[1].shape == (30, 1)
    trees = np.column_stack([trees[0][:, 1], np.full(30, constant), trees[2][:, 1]])
    expected = (trees + MLkNN(5).fit(X, Y).predict_proba(queries)) / 2
    np.testing.assert_allclose(vote.predict_proba(queries), expected)


@pytest.mark.parametrize("positives", [0, 40, 80])
def test_members_that_flatten_a_single_column(positives, label_sets):
    X, _, queries = label_sets
    y = (np.arange(80) < positives).astype(int)[:, None]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A column-vector y was passed")
        vote = MultilabelVotingClassifier([("forest", forest()), ("near", MLkNN(5))]).fit(X, y)
    has_label = (forest().fit(X, y[:, 0]).predict_proba(queries) @ (np.unique(y) == 1))[:, None]
    expected = (has_label + MLkNN(5).fit(X, y).predict_proba(queries)) / 2
    np.testing.assert_allclose(vote.predict_proba(queries), expected)


def test_regressors_that_flatten_a_single_column(rng):
    X, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 1))
    trees = GradientBoostingRegressor(n_estimators=3, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A column-vector y was passed")
        vote = MultioutputVotingRegressor([("trees", trees), ("near", AAKNN(2))]).fit(X, y)
    expected = (trees.fit(X, y[:, 0]).predict(X)[:, None] + AAKNN(2).fit(X, y).predict(X)) / 2
    np.testing.assert_allclose(vote.predict(X), expected)


@pytest.mark.parametrize("constant", [0, 1])
def test_one_class_in_a_one_dimensional_target(constant, label_sets):
    X, _, queries = label_sets
    vote = MultilabelVotingClassifier([("forest", forest()), ("near", MLkNN(5))]).fit(X, np.full(80, constant))
    sure = np.eye(2)[[constant] * 30]
    expected = (sure + MLkNN(5).fit(X, np.full(80, constant)).predict_proba(queries)) / 2
    np.testing.assert_allclose(vote.predict_proba(queries), expected)
    np.testing.assert_array_equal(vote.predict(queries), np.full(30, constant))
    np.testing.assert_array_equal(vote.classes_, [0, 1])


@pytest.mark.filterwarnings("ignore:Label .* is present in all training examples:UserWarning")
@pytest.mark.parametrize("constant", [0, 1])
def test_one_class_of_one_against_the_rest(constant, label_sets):
    X, _, queries = label_sets
    vote = MultilabelVotingClassifier([("logistic", OneVsRestClassifier(LogisticRegression()))])
    sure = np.eye(2)[[constant] * 30]
    np.testing.assert_array_equal(vote.fit(X, np.full(80, constant)).predict_proba(queries), sure)
    np.testing.assert_array_equal(vote.fit(X, np.full((80, 1), constant)).predict_proba(queries), sure[:, 1:])


def test_dropped_members(label_sets):
    X, Y, queries = label_sets
    vote = MultilabelVotingClassifier(several_k(1, 5, 20), weights=[1, 100, 3]).set_params(k5="drop").fit(X, Y)
    assert [member.n_neighbors for member in vote.estimators_] == [1, 20]
    assert vote.named_estimators_["k5"] == "drop"
    assert vote.named_estimators_.k20 is vote.estimators_[1]
    of_members = [MLkNN(k).fit(X, Y).predict_proba(queries) for k in (1, 20)]
    np.testing.assert_allclose(vote.predict_proba(queries), np.average(of_members, axis=0, weights=[1, 3]))
    vote.set_params(k1="drop")  # concerns the next fit
    np.testing.assert_allclose(vote.predict_proba(queries), np.average(of_members, axis=0, weights=[1, 3]))


def test_parameters_by_name(label_sets):
    X, Y, queries = label_sets
    members = several_k(1, 5)
    vote = MultilabelVotingClassifier(members).set_params(k1__n_neighbors=9, k1__smoothing=0.5, n_jobs=1)
    assert vote.get_params()["k1__n_neighbors"] == 9
    assert vote.get_params()["k5"] is members[1][1]
    assert set(vote.get_params(deep=False)) == {"estimators", "weights", "n_jobs"}
    vote.set_params(k5=forest(), k5__max_depth=2)
    expected = forest().set_params(max_depth=2).fit(X, Y).predict_proba(queries)
    expected = np.column_stack([p[:, 1] for p in expected]) + MLkNN(9, smoothing=0.5).fit(X, Y).predict_proba(queries)
    np.testing.assert_allclose(vote.fit(X, Y).predict_proba(queries), expected / 2)
    assert not hasattr(vote.estimators[0][1], "classes_")


def test_a_fit_that_fails_leaves_the_former_one(label_sets):
    X, Y, queries = label_sets
    vote = MultilabelVotingClassifier(several_k(1, 5)).fit(X, Y)
    expected = vote.predict_proba(queries)
    with pytest.raises(ValueError, match="contains NaN"):
        vote.fit(np.full((4, 2), np.nan), [0, 1, 0, 1])
    np.testing.assert_array_equal(vote.predict_proba(queries), expected)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimators": []}, "non-empty list"),
        ({"estimators": several_k(3, 3)}, "not unique"),
        ({"estimators": [("weights", MLkNN())]}, "conflict with constructor arguments"),
        ({"estimators": [("a", "drop")]}, "All estimators are dropped"),
        ({"estimators": [("a", AAKNN())]}, "AAKNN should be a classifier"),
        ({"estimators": [("a", LinearSVC())]}, "'a' \\(LinearSVC\\) has no predict_proba.* Calibrate it"),
        ({"weights": [1]}, "weights has shape \\(1,\\), but there are 2 estimators. Pass one number"),
        ({"weights": [[1, 2]]}, "weights has shape \\(1, 2\\)"),
        ({"weights": [1, -1]}, "must be finite and at least 0"),
        ({"weights": [1, np.nan]}, "must be finite and at least 0"),
        ({"weights": [1, np.inf]}, "must be finite and at least 0"),
        ({"weights": [0, 0]}, "must be positive"),
        ({"weights": [0, 1], "k5": "drop"}, "not dropped must be positive"),
        ({"estimators": "MLkNN"}, "parameter of MultilabelVotingClassifier must be"),
        ({"n_jobs": "all"}, "parameter of MultilabelVotingClassifier must be"),
    ],
)
def test_bad_parameters(parameters, message, label_sets):
    X, Y, _ = label_sets
    vote = MultilabelVotingClassifier(several_k(3, 5)).set_params(**parameters)
    get_tags(vote)
    with pytest.raises(ValueError, match=message):
        vote.fit(X, Y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2], "3 classes. Only binary .* sklearn.ensemble.VotingClassifier"),
        (["a", "a", "a"], "1 class[.]"),
        ([[0, 2], [1, 0], [0, 1]], "label indicator of 0 and 1, but it holds .*2"),
        (sparse.csr_array([[0, 2], [1, 0], [0, 1]]), "label indicator of 0 and 1, but it holds .*2"),
        ([["a"], ["b"], ["a"]], "label indicator of 0 and 1, but it holds .*'a'.*MultiLabelBinarizer"),
        ([[1], [2, 3], [1]], "MultiLabelBinarizer"),
        ([0.5, 0.25, 0.75], "Unknown label type"),
        ([0, np.nan, 1], "y contains NaN"),
        (None, "requires y to be passed"),
        ([[0, 1], [1, 0]], "inconsistent numbers of samples"),
    ],
)
def test_bad_targets(y, message):
    with pytest.raises(ValueError, match=message):
        MultilabelVotingClassifier([("a", MLkNN(1))]).fit(np.eye(3), y)


def test_regressors_are_wanted_for_numbers(distributions):
    X, D, _ = distributions
    with pytest.raises(ValueError, match="MLkNN should be a regressor"):
        MultioutputVotingRegressor([("a", MLkNN())]).fit(X, D)


def test_kinds_of_samples_and_targets(label_sets):
    X, Y, queries = label_sets
    X[X < 0] = 0
    vote = MultilabelVotingClassifier(several_k(3, 5))
    expected = vote.fit(X, Y).predict_proba(queries)
    assert vote.n_features_in_ == 4
    assert not hasattr(vote, "feature_names_in_")
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.lil_matrix):
        np.testing.assert_allclose(vote.fit(kind(X), kind(Y)).predict_proba(kind(queries)), expected)
    names = [f"x{i}" for i in range(4)]
    vote.fit(pd.DataFrame(X, columns=names), pd.DataFrame(Y))
    np.testing.assert_allclose(vote.predict_proba(pd.DataFrame(queries, columns=names)), expected)
    assert list(vote.feature_names_in_) == names
    vote.fit(X, Y)
    assert not hasattr(vote, "feature_names_in_")


class KnownLabels(MLkNN):
    """A member that takes an unknown label for an absent one."""

    def fit(self, X, y):
        assert np.isnan(np.asarray(y)).any()
        return super().fit(X, np.nan_to_num(y))


@pytest.mark.parametrize("kind", [np.asarray, pd.DataFrame])
def test_unknown_labels_are_passed_on(kind, label_sets):
    X, Y, queries = label_sets
    Y = np.where(np.arange(Y.size).reshape(Y.shape) % 7 == 0, np.nan, Y)
    vote = MultilabelVotingClassifier([("a", KnownLabels(3)), ("b", KnownLabels(9))]).fit(X, kind(Y))
    of_members = [MLkNN(k).fit(X, np.nan_to_num(Y)).predict_proba(queries) for k in (3, 9)]
    np.testing.assert_allclose(vote.predict_proba(queries), np.mean(of_members, axis=0))
    with pytest.raises(ValueError, match="NaN"):
        MultilabelVotingClassifier(several_k(3)).fit(X, Y)


def test_sample_weights_take_the_routes_of_metadata(label_sets):
    X, Y, queries = label_sets
    weights = np.where(Y[:, 0] == 1, 5.0, 1.0)
    with config_context(enable_metadata_routing=True):
        weighted = RAMLLinear().set_fit_request(sample_weight=True)
        vote = MultilabelVotingClassifier([("metric", make_pipeline(weighted, MLkNN(5))), ("plain", MLkNN(5))])
        vote.fit(X, Y, sample_weight=weights)
    metric = RAMLLinear().fit(X, Y, sample_weight=weights)
    learned = MLkNN(5).fit(metric.transform(X), Y).predict_proba(metric.transform(queries))
    expected = (learned + MLkNN(5).fit(X, Y).predict_proba(queries)) / 2
    np.testing.assert_allclose(vote.predict_proba(queries), expected)
    with pytest.raises(ValueError, match="got \\['sample_weight'\\].*enable_metadata_routing=True.*set_fit_request"):
        vote.fit(X, Y, sample_weight=weights)


def test_grid_search_in_parallel(label_sets):
    X, Y, queries = label_sets
    vote = MultilabelVotingClassifier(
        [("raw", MLkNN()), ("scaled", make_pipeline(StandardScaler(), MLkNN()))], n_jobs=2
    )
    grid = {"raw": [MLkNN(3), "drop"], "scaled__mlknn__n_neighbors": [2, 9], "weights": [None, [1, 2]]}
    search = GridSearchCV(vote, grid, scoring=MULTILABEL_SCORERS, refit="average_precision", cv=2, n_jobs=2)
    search.fit(X, Y)
    for name in MULTILABEL_SCORERS:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict_proba(queries), search.predict_proba(queries))
    np.testing.assert_array_equal(
        clone(search.best_estimator_).fit(X, Y).predict(queries), search.best_estimator_.predict(queries)
    )


def test_votes_nest_and_cross_validate(label_sets):
    X, Y, queries = label_sets
    nested = MultilabelVotingClassifier(
        [("few", MultilabelVotingClassifier(several_k(1, 3))), ("many", make_pipeline(StandardScaler(), forest()))]
    )
    few = np.mean([MLkNN(k).fit(X, Y).predict_proba(queries) for k in (1, 3)], axis=0)
    many = np.column_stack(
        [
            p[:, 1]
            for p in forest()
            .fit(StandardScaler().fit_transform(X), Y)
            .predict_proba(StandardScaler().fit(X).transform(queries))
        ]
    )
    np.testing.assert_allclose(nested.fit(X, Y).predict_proba(queries), (few + many) / 2)
    assert cross_val_predict(nested, X, Y, cv=2, method="predict_proba").shape == Y.shape


def test_tags_are_those_of_all_members():
    vote = MultilabelVotingClassifier([("a", MLkNN()), ("b", MLkNN())])
    tags = get_tags(vote)
    assert tags.input_tags.sparse
    assert tags.array_api_support
    assert tags.classifier_tags.multi_label
    assert not tags.classifier_tags.multi_class
    assert tags.target_tags.multi_output
    assert not tags.input_tags.pairwise
    assert get_tags(vote.set_params(a__metric="precomputed")).input_tags.pairwise
    assert not get_tags(vote.set_params(b=forest())).array_api_support


def test_precomputed_neighbours_are_shared(label_sets):
    X, Y, queries = label_sets
    graph = KNeighborsTransformer(n_neighbors=20)
    vote = MultilabelVotingClassifier([(f"k{k}", MLkNN(k, metric="precomputed")) for k in (5, 20)])
    expected = MultilabelVotingClassifier(several_k(5, 20)).fit(X, Y).predict_proba(queries)
    np.testing.assert_allclose(make_pipeline(graph, vote).fit(X, Y).predict_proba(queries), expected)


def test_tensors_stay_tensors(label_sets, distributions):
    X, Y, queries = label_sets
    votes = [(MultilabelVotingClassifier(several_k(3, 9), weights=[1, 2]), y) for y in (Y, Y[:, :1], Y[:, 0])]
    votes += [(MultioutputVotingRegressor([("a", AAKNN(2)), ("b", AAKNN(5))]), y) for y in (Y * 0.5, Y[:, 0] * 0.5)]
    for vote, y in votes:
        expected = vote.fit(X, y)
        methods = ["predict"] + ["predict_proba"] * hasattr(vote, "predict_proba")
        expected = {method: getattr(vote, method)(queries) for method in methods}
        with config_context(array_api_dispatch=True):
            for targets in (y, torch.tensor(y)):
                vote.fit(torch.tensor(X), targets)
                for method in methods:
                    answer = getattr(vote, method)(torch.tensor(queries))
                    assert isinstance(answer, torch.Tensor)
                    np.testing.assert_allclose(answer.numpy(), expected[method], atol=1e-12)


def test_picture_shows_the_members():
    picture = MultilabelVotingClassifier(several_k(3, 17))._repr_html_()
    assert "sk-parallel" in picture
    assert "k17" in picture


def test_a_vote_of_metrics_and_neighbours_is_better_than_each_metric():
    X, Y = load_emotions(subset="train", return_X_y=True)
    X_test, Y_test = load_emotions(subset="test", return_X_y=True)

    def ranking_loss(model):
        return metrics.ranking_loss(Y_test, model.fit(X, Y).predict_proba(X_test))

    learned = {"linear": RAMLLinear(), "laplacian": HRAMLTransformer(), "tanh": HRAMLTransformer(encoder="tanh")}
    for metric in learned.values():
        if "random_state" in metric.get_params():
            metric.set_params(random_state=0)
    neighbours = MultilabelVotingClassifier(several_k(10, 20, 30))
    vote = MultilabelVotingClassifier(
        [(name, make_pipeline(StandardScaler(), metric, neighbours)) for name, metric in learned.items()]
    )
    alone = [ranking_loss(make_pipeline(StandardScaler(), metric, MLkNN(10))) for metric in learned.values()]
    assert ranking_loss(vote) < min(alone)
