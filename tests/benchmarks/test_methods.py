"""Methods: what each fits, its grid, and what lets it meet other kinds of targets."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.metrics import check_scoring
from sklearn.neighbors import KNeighborsRegressor

from benchmarks.compare import runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.compare.methods import METRICS, TIERS, Method, for_sparse
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.targets import MaximumEntropy, OnClasses, StandardisedTargets, as_classes, positive_parts
from benchmarks.compare.tasks import TASKS, average_relative_rmse
from benchmarks.data.sources import _LABEL_SETS, DATASETS, load
from benchmarks.show.tables import grid_table
from skrelmetric import RAMLLinear
from skrelmetric.datasets import load_emotions
from tests.benchmarks.comparison import EMOTIONS, Broken


def test_classes_of_targets():
    classes = as_classes(np.array([[0, 1], [1, 1], [0, 1], [0, 0]]))
    assert classes[0] == classes[2]
    assert len(set(classes)) == 3
    assert as_classes(np.array([[0.2, 0.8], [0.6, 0.4]])).tolist() == [1, 0]
    assert as_classes(np.array([3, 1])).tolist() == [3, 1]


def test_classes_of_numbers_are_clusters(rng):
    centres = np.repeat(rng.normal(size=(10, 2)) * 100, 5, axis=0)
    numbers = centres + rng.normal(size=centres.shape)
    for y in (numbers, np.repeat(np.arange(10), 5) + 0.01 * rng.random(50)):
        classes = as_classes(y)
        assert all(len(set(classes[start : start + 5])) == 1 for start in range(0, 50, 5))
        assert len(set(classes)) == 10
    assert as_classes(np.array([0.5, -1.5, 0.5])).tolist() in ([0, 1, 0], [1, 0, 1])


def test_every_data_set_has_a_task():
    assert {source.task for source in DATASETS.values()} == set(TASKS)


def test_relative_error_by_hand(rng):
    Y, P = rng.normal(size=(30, 2)) * [1, 1000], rng.normal(size=(30, 2))
    unexplained = [sum((y - p) ** 2 for y, p in zip(Y[:, j], P[:, j], strict=True)) for j in range(2)]
    total = [sum((y - Y[:, j].mean()) ** 2 for y in Y[:, j]) for j in range(2)]
    expected = np.sqrt(np.divide(unexplained, total))
    assert average_relative_rmse(Y, P) == pytest.approx(np.mean(expected))
    assert average_relative_rmse(Y[:, 0], P[:, 0]) == pytest.approx(expected[0])
    assert average_relative_rmse(Y, np.tile(Y.mean(0), (30, 1))) == pytest.approx(1)
    constant = np.c_[Y[:, 0], np.full(30, 0.1)]
    assert average_relative_rmse(constant, P) == pytest.approx(expected[0])
    assert np.isnan(average_relative_rmse(constant[:, 1], P[:, 1]))


def test_targets_are_standardised_and_back(rng):
    X, Y = rng.normal(size=(40, 2)), rng.normal(size=(40, 3)) * [1e-3, 1, 1e3] + 7
    seen = []

    class Looking(KNeighborsRegressor):
        def fit(self, X, y):
            seen.append(y)
            return super().fit(X, y)

    for y in (Y, Y[:, 0]):
        model = StandardisedTargets([("predictor", Looking(3))]).fit(X, y)
        assert seen[-1].shape == y.shape
        assert seen[-1].std(axis=0) == pytest.approx(np.ones(y.shape[1:]))
        assert model.predict(X) == pytest.approx(KNeighborsRegressor(3).fit(X, y).predict(X))


def test_tiers_add_methods():
    for task in TASKS.values():
        tiers = [set(task.up_to(tier)) for tier in TIERS]
        assert all(fewer <= more for fewer, more in pairwise(tiers))
        assert tiers[-1] == set(task.methods)
        assert task.predictor in tiers[0]
    assert "HRAML trained + MLkNN" not in TASKS["multilabel"].up_to("full")


@pytest.mark.parametrize("method", ["Nystroem + RAMLLinear + MLkNN", "Splines + RAMLLinear + MLkNN", "HRAML + MLkNN"])
def test_nonlinear_methods_beat_plain_neighbours_on_emotions(method):
    plain, nonlinear = (
        runs.run_cell(cells(EMOTIONS, [name], Settings(OFFICIAL, 1))[0])["scores"] for name in ("MLkNN", method)
    )
    assert nonlinear["Average precision ↑"] > plain["Average precision ↑"] + 0.005
    assert nonlinear["Ranking loss ↓"] < plain["Ranking loss ↓"]


def test_grids_are_of_parameters_that_there_are():
    for task in TASKS.values():
        for method in task.methods.values():
            assert method.tier in TIERS
            model = method.build(0)
            for parameter, values in method.grid.items():
                for value in values:
                    model.set_params(**{parameter: value})
    assert grid_table(TASKS).row_count == sum(1 + len(task.methods) for task in TASKS.values())


@pytest.mark.filterwarnings("ignore:n_components > n_samples")  # of Nystroem, on fewer samples than it has components
@pytest.mark.filterwarnings("ignore:Only one sample available")  # of LDA, in a class of one
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dataset", ["wine", "emotions"])
def test_every_metric_fits_every_kind_of_target(name, dataset):
    X, Y, *_ = load(DATASETS[dataset])
    task = TASKS[DATASETS[dataset].task]
    method = task.methods[f"{name} + {task.predictor}" if name else task.predictor]
    model = method.build(0)
    fewer = {"metric__max_epochs": 1, "metric__metric__n_pairs": 1000}
    model.set_params(**{name: value for name, value in fewer.items() if name in model.get_params()})
    predicted = model.fit(X[::2], Y[::2]).predict(X[1::2])
    assert predicted.shape == Y[1::2].shape
    assert (predicted == Y[1::2]).mean() > 0.5


def test_metrics_on_classes_have_bounds(rng):
    X, Y = rng.normal(size=(60, 12)), (rng.random((60, 3)) < 0.5).astype(int)

    class Principal(PCA):
        def fit(self, X, y):
            self.shape_, self.classes_ = X.shape, y
            return super().fit(X)

    metric = OnClasses(Principal(), max_samples=20, max_features=5, random_state=0).fit(X, Y)
    assert metric.pipeline_["metric"].shape_ == (20, 5)
    assert metric.transform(X).shape == (60, 5)
    assert OnClasses(Principal()).fit(X, Y).pipeline_["metric"].shape_ == (60, 12)


def test_softmax_regression_has_the_least_divergence(rng):
    X = rng.normal(size=(80, 3))
    D = rng.dirichlet(np.ones(4), 80)
    model = MaximumEntropy(C=1e6).fit(X, D)
    W, b = model.model_.coef_, model.model_.intercept_

    def divergence(W, b):
        scores = X @ W.T + b
        return -(D * (scores - np.log(np.exp(scores).sum(1, keepdims=True)))).sum()

    least = divergence(W, b)
    for _ in range(20):
        assert divergence(W + 0.01 * rng.normal(size=W.shape), b + 0.01 * rng.normal(size=b.shape)) > least
    assert model.predict(X).sum(1) == pytest.approx(np.ones(80))
    assert positive_parts(np.array([[-1.0, 1.0, 3.0]])) == pytest.approx(np.array([[2.5e-7, 0.25, 0.75]]), abs=1e-6)


@pytest.mark.filterwarnings("ignore:n_components > n_samples")  # of Nystroem
@pytest.mark.filterwarnings("ignore:Only one sample available")  # of LDA
@pytest.mark.parametrize("name", TASKS["regression"].methods)
def test_every_method_of_numbers_fits_one_and_several(name, rng):
    X = rng.normal(size=(80, 4))
    Y = np.column_stack([100 * X[:, 0] + 5, 0.01 * X[:, 1]])
    pytest.importorskip(PACKAGES.get(name, "sklearn"))
    for y in (Y, Y[:, 0]):
        model = TASKS["regression"].methods[name].build(0)
        fewer = {"metric__max_epochs": 1, "metric__metric__n_pairs": 1000}
        model.set_params(**{name: value for name, value in fewer.items() if name in model.get_params()})
        predicted = model.fit(X[:60], y[:60]).predict(X[60:])
        assert predicted.shape == y[60:].shape
        assert average_relative_rmse(y[60:], predicted) < 0.75


PACKAGES = {"CatBoost": "catboost", "BOOMER": "mlrl.boosting"} | dict.fromkeys(["SA-BFGS", "LDLF", "LDL-LRR"], "pyldl")
"""Packages of rows, by which these are skipped where they are missing."""

ALONE = [
    (task, name)
    for task in ("multilabel", "classification", "label distribution")
    for name in TASKS[task].methods
    if not name.endswith(TASKS[task].predictor)
]


@pytest.mark.filterwarnings("ignore:Label .* is present in all training examples")  # by one classifier a label
@pytest.mark.parametrize(("task", "name"), ALONE)
def test_every_method_without_a_metric_fits_its_targets(task, name, rng):
    pytest.importorskip(PACKAGES.get(name, "sklearn"))
    X = rng.normal(size=(150, 3))
    scores = np.exp(X)
    targets = {
        "multilabel": np.column_stack([X[:, :2] > 0, np.ones(150)]).astype(int),
        "classification": X.argmax(axis=1),
        "label distribution": scores / scores.sum(axis=1, keepdims=True),
    }
    Y = targets[task]
    model = TASKS[task].methods[name].build(0)
    fewer = {"predictor__fit_options": {"epochs": 5}} if name == "LDLF" else {}
    model.set_params(**fewer).fit(X[:100], Y[:100])
    predicted = model.predict(X[100:])
    assert predicted.shape == Y[100:].shape
    values = check_scoring(model, TASKS[task].scorers(Y[:100]))(model, X[100:], Y[100:])
    assert np.isfinite(list(values.values())).all()
    if task == "label distribution":
        assert predicted.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-5)
        assert predicted.min() >= 0
    elif name != "RBF-SVM":
        assert (predicted == Y[100:]).mean() > 0.6


@pytest.fixture
def sparse_emotions(monkeypatch):
    """The data set that is sparse, with those values of emotions that are high, and the same as a dense array."""
    X, Y = load_emotions(return_X_y=True)
    X = np.maximum(X - np.quantile(X, 0.7, axis=0), 0)
    load.cache_clear()
    monkeypatch.setitem(_LABEL_SETS, "imdb", lambda **options: (sparse.csr_array(X), Y))
    yield DATASETS["imdb"], X, Y
    load.cache_clear()


def test_sparse_samples_stay_sparse(sparse_emotions, monkeypatch):
    source, X, Y = sparse_emotions
    methods = ["MLkNN", "RAMLLinear + MLkNN"]
    comparison = cells(source, methods, PROFILES["large"].settings(source))
    assert [(cell.settings.folds, len(cell.test)) for cell in comparison] == [
        ("held-out", pytest.approx(198, abs=4))
    ] * 2
    of_sparse = [runs.run_cell(cell) for cell in comparison]
    assert [record["parameters"]["scale"] for record in of_sparse] == ["StandardScaler(with_mean=False)"] * 2
    monkeypatch.setattr(runs, "load", lambda _: (X, Y, None))
    of_dense = [runs.run_cell(cell._replace(source=EMOTIONS)) for cell in comparison]
    for one, other in zip(of_sparse, of_dense, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=0.01), "the mean changes no distance"
    seen = []

    class Looking(RAMLLinear):
        def fit(self, X, y):
            seen.append(sparse.issparse(X))
            return super().fit(X, y)

    method = TASKS["multilabel"].methods["RAMLLinear + MLkNN"]
    build = lambda seed: method.build(seed).set_params(metric=Looking())  # noqa: E731
    model = for_sparse(method._replace(build=build)).build(0)
    model.fit(load(source).X, Y)
    assert seen == [True]
    for searched in for_sparse(method).grid["scale"]:
        assert sparse.issparse(searched.fit_transform(load(source).X))
    assert for_sparse(Method(lambda seed: Broken(), {"x": [1]})).grid == {"x": [1]}
