"""Converted estimators give what they gave, in ONNX Runtime."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from torch import nn

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
from skrelmetric.onnx import register_converters

runtime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")


@pytest.fixture(autouse=True)
def _registered():
    register_converters()


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((150, 8))
    return X, (X[:, :3] + 0.5 * rng.standard_normal((150, 3)) > 0).astype(int)


@pytest.fixture
def queries(rng):
    return rng.standard_normal((40, 8))


def distributions(X):
    return np.abs(X[:, :4]) / np.abs(X[:, :4]).sum(1, keepdims=True)


TARGETS = {
    "labels": lambda X, Y: Y,
    "label": lambda X, Y: Y[:, :1],
    "strings": lambda X, Y: np.where(Y[:, 0], "yes", "no"),
    "floats": lambda X, Y: 2.0 * Y[:, 0],
    "classes": lambda X, Y: Y @ [4, 2, 1] - 3,
    "distributions": lambda X, Y: distributions(X),
    "numbers": lambda X, Y: X[:, 0],
}
MODELS = {
    "metric": (make_pipeline(StandardScaler(), RAMLLinear(3)), "labels"),
    "MLkNN": (make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()), "labels"),
    "one neighbour": (MLkNN(1), "labels"),
    "several": (make_pipeline(Normalizer(), RAMLLinear(), MLkNN(range(1, 31))), "labels"),
    "gaps": (MLkNN([2, 9, 10], smoothing=0), "labels"),
    "one label": (MLkNN([3, 5]), "label"),
    "two classes": (MLkNN(5), "strings"),
    "two numbers": (MLkNN(5), "floats"),
    "AAKNN": (make_pipeline(MinMaxScaler(), AAKNN()), "distributions"),
    "mean": (AAKNN(7, metric="minkowski", metric_params={"p": 2}), "numbers"),
    "soft": (make_pipeline(StandardScaler(), RAMLLinear(), SoftNeighborsClassifier()), "labels"),
    "soft local": (make_pipeline(StandardScaler(), RAMLLinear(), SoftNeighborsClassifier(scale="local")), "labels"),
    "soft few": (SoftNeighborsClassifier(4, scale="local"), "classes"),
    "soft many": (SoftNeighborsClassifier(30, metric="sqeuclidean"), "strings"),
    "soft distributions": (SoftNeighborsRegressor(), "distributions"),
    "soft numbers": (SoftNeighborsRegressor(20, scale="local"), "numbers"),
}


def run(model, X, **options):
    """Outputs of the converted model."""
    session = runtime.InferenceSession(skl2onnx.to_onnx(model, X[:1], **options).SerializeToString())
    assert [each.name for each in session.get_inputs()] == ["X"]
    return session.run(None, {"X": X})


def expected(model, X):
    if hasattr(model, "predict_proba"):
        return [model.predict(X), model.predict_proba(X)]
    answer = (model.transform if hasattr(model, "transform") else model.predict)(X)
    return [answer if answer.ndim == 2 else answer[:, None]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MODELS)
def test_converted_models_give_what_they_gave(name, dtype, samples, queries):
    (model, target), (X, Y) = MODELS[name], samples
    model, queries = model.fit(X.astype(dtype), TARGETS[target](X, Y)), queries.astype(dtype)
    outputs = run(model, queries)
    *labels, values = expected(model, queries)
    assert outputs[-1].dtype == dtype
    np.testing.assert_allclose(outputs[-1], values, rtol=0, atol=1e-12 if dtype is np.float64 else 1e-6)
    for converted, predicted in zip(outputs[:-1], labels, strict=True):
        assert converted.dtype.kind == predicted.dtype.kind.replace("U", "O")
        np.testing.assert_array_equal(converted, predicted)


@pytest.mark.parametrize("model", [MLkNN(4), MLkNN(range(1, 20)), SoftNeighborsClassifier(6), AAKNN(3)], ids=str)
def test_equal_distances_are_decided_alike(model, rng):
    """Samples of a grid, some of which are equal, and all of which have many others as near but for rounding."""
    X, queries = (7.3 + 0.1 * rng.integers(0, 3, (n, 3)) for n in (120, 60))
    Y = rng.integers(0, 2, (120, 4))
    Y = Y / (1 + Y.sum(1, keepdims=True)) if isinstance(model, AAKNN) else Y
    model.fit(X, Y)
    for converted, answer in zip(run(model, queries), expected(model, queries), strict=True):
        np.testing.assert_allclose(converted, answer, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", [SoftNeighborsClassifier(), SoftNeighborsClassifier(5, scale="local")], ids=str)
def test_sample_weights_are_those_of_the_votes(model, samples, queries, rng):
    X, Y = samples
    weights = rng.random(len(X)) * (rng.random(len(X)) < 0.7)
    model.fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(run(model, queries)[1], model.predict_proba(queries), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_queries", [1, 2, 7])
@pytest.mark.parametrize("opset", [13, 18, 22])
def test_any_number_of_queries_and_any_opset(opset, n_queries, samples, queries):
    model = MODELS["several"][0].fit(*samples)
    _, probabilities = run(model, queries[:n_queries], target_opset={"": opset, "ai.onnx.ml": 1})
    np.testing.assert_allclose(probabilities, model.predict_proba(queries[:n_queries]), rtol=0, atol=1e-12)


def test_shapes_are_declared(samples):
    X, Y = samples
    outputs = skl2onnx.to_onnx(MODELS["several"][0].fit(X, Y), X[:1]).graph.output
    shapes = {each.name: [d.dim_param or d.dim_value for d in each.type.tensor_type.shape.dim] for each in outputs}
    assert {name: shape[1:] for name, shape in shapes.items()} == {"label": [3], "probabilities": [3]}
    assert not any(isinstance(shape[0], int) and shape[0] for shape in shapes.values())


def test_searches_sparse_samples_frames_and_options(samples, queries):
    X, Y = samples
    search = GridSearchCV(make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()), {"mlknn__n_neighbors": [3, 5]}, cv=2)
    _, probabilities = run(search.fit(X, Y), queries)
    np.testing.assert_allclose(probabilities, search.predict_proba(queries), rtol=0, atol=1e-12)

    few = np.where(X > 1, X, 0)
    model = SoftNeighborsClassifier().fit(sparse.csr_array(few), Y)
    np.testing.assert_allclose(run(model, queries)[1], model.predict_proba(queries), rtol=0, atol=1e-12)

    dtypes = {"a": np.int64, "b": np.float32}  # of columns; others are float64
    frame, named = (pd.DataFrame(each, columns=list("abcdefgh")).astype(dtypes) for each in (2 * X, 2 * queries))
    columns = {name: named[[name]].to_numpy() for name in named}
    for model in (MLkNN(), MultilabelVotingClassifier([("a", MLkNN())])):
        converted = skl2onnx.to_onnx(model.fit(frame, Y), frame[:1], options={"zipmap": False})
        _, probabilities = runtime.InferenceSession(converted.SerializeToString()).run(None, columns)
        np.testing.assert_allclose(probabilities, model.predict_proba(named), rtol=0, atol=1e-12)


def test_labels_are_of_the_kind_of_classes_in_whatever_has_the_classifier(samples, queries):
    X, Y = samples
    model = CalibratedClassifierCV(SoftNeighborsClassifier(), cv=2).fit(X, TARGETS["strings"](X, Y))
    labels, probabilities = run(model, queries, options={"zipmap": False})
    np.testing.assert_array_equal(labels, model.predict(queries))
    np.testing.assert_allclose(probabilities, model.predict_proba(queries), rtol=0, atol=1e-12)


DEEP = {"max_epochs": 2, "early_stopping": False, "random_state": 0}


@pytest.mark.parametrize(
    ("dtype", "metric"),
    [(np.float32, HRAMLTransformer(3)), (np.float64, DRMLTransformer(8, hidden_layer_sizes=(5,), **DEEP))],
    ids=["HRAML", "DRML"],
)
def test_modules_of_torch_are_steps_of_pipelines(dtype, metric, samples, queries):
    X, Y = samples
    model = make_pipeline(StandardScaler(), metric, MLkNN()).fit(X.astype(dtype), Y)
    for n in (1, 40):
        labels, probabilities = run(model, queries[:n].astype(dtype))
        np.testing.assert_allclose(probabilities, model.predict_proba(queries[:n].astype(dtype)), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(labels, model.predict(queries[:n].astype(dtype)))


def test_what_has_no_converter_says_so(samples, rng):
    X, Y = samples
    for metric in ("cosine", "manhattan"):
        with pytest.raises(ValueError, match=f"metric='{metric}' has no converter, but 'euclidean'"):
            skl2onnx.to_onnx(MLkNN(metric=metric).fit(X, Y), X[:1])
    with pytest.raises(ValueError, match="sparse targets, which have no converter"):
        skl2onnx.to_onnx(MLkNN().fit(X, sparse.csr_array(Y)), X[:1])
    images = rng.standard_normal((20, 1, 3, 3))
    metric = HRAMLTransformer(encoder=nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), **DEEP).fit(images, Y[:20])
    with pytest.raises(ValueError, match=r"samples of shape \(1, 3, 3\).*export_onnx\(path\)"):
        skl2onnx.to_onnx(metric, images[:1])
    with config_context(array_api_dispatch=True):
        model = MLkNN().fit(torch.from_numpy(X), torch.from_numpy(Y))
    with pytest.raises(ValueError, match="Fit it to numpy arrays"):
        skl2onnx.to_onnx(model, X[:1])


@pytest.mark.parametrize(
    "model",
    [
        MLkNN(),
        AAKNN(),
        RAMLLinear(),
        HRAMLTransformer(),
        RelationalNeighborsClassifier(),
        RelationalNeighborsRegressor(),
        MultilabelVotingClassifier([("a", MLkNN())]),
        MultioutputVotingRegressor([("a", AAKNN())]),
        MultilabelThresholdClassifier(MLkNN()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_fitted_says_so(model, queries):
    with pytest.raises(NotFittedError):
        skl2onnx.to_onnx(model, queries)


def words(X):
    """Samples with few entries, none of them negative."""
    return np.where(X > 1.2, X, 0) + np.eye(*X.shape)


def few(X):
    """Samples with few entries, sparse."""
    return sparse.csr_array(np.where(np.abs(X) > 1, X, 0))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("of", [np.asarray, words, few], ids=["dense", "words", "sparse"])
@pytest.mark.parametrize("target", TARGETS)
def test_relational_estimators(target, of, dtype, samples, queries):
    X, Y = samples
    y = TARGETS[target](X, Y)
    regresses = target in ("distributions", "numbers")
    model = RelationalNeighborsRegressor() if regresses else RelationalNeighborsClassifier(thresholds=0.4)
    model.set_params(random_state=0).fit(of(X), y)
    queries = queries.astype(dtype)
    for converted, answer in zip(run(model, queries), expected(model, queries), strict=True):
        if answer.dtype.kind == "f":
            np.testing.assert_allclose(converted, answer, rtol=0, atol=1e-10 if dtype is np.float64 else 1e-6)
        else:
            np.testing.assert_array_equal(converted, answer)


def forest(n):
    return ExtraTreesClassifier(n, max_depth=4, random_state=0)


MEMBERS = {
    "neighbours": [MLkNN(2), make_pipeline(StandardScaler(), RAMLLinear(), SoftNeighborsClassifier())],
    "searches": [GridSearchCV(MLkNN(), {"n_neighbors": [3, 5]}, cv=2), make_pipeline(RAMLLinear(), MLkNN(range(1, 9)))],
    "others": [OneVsRestClassifier(LogisticRegression()), forest(5), MultiOutputClassifier(LogisticRegression())],
    "votes": [MultilabelVotingClassifier([("a", MLkNN(1)), ("b", forest(3))]), SoftNeighborsClassifier()],
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("target", ["labels", "label", "strings"])
@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.filterwarnings("ignore:A column-vector y was passed:sklearn.exceptions.DataConversionWarning")
def test_votes_and_thresholds(name, target, dtype, samples, queries):
    X, Y = samples
    members = [(str(i), each) for i, each in enumerate(MEMBERS[name]) if target == "labels" or "Multi" not in str(each)]
    vote = MultilabelVotingClassifier(members, weights=range(1, len(members) + 1))
    y, queries = TARGETS[target](X, Y), queries.astype(dtype)
    double = dtype is np.float64 and name in ("neighbours", "searches")  # forests and regressions are of float32
    for model in (vote, make_pipeline(StandardScaler(), MultilabelThresholdClassifier(vote, cv=2))):
        model.fit(X.astype(dtype), y)
        labels, probabilities = run(model, queries)
        assert probabilities.dtype == dtype
        np.testing.assert_allclose(probabilities, model.predict_proba(queries), rtol=0, atol=1e-12 if double else 1e-6)
        np.testing.assert_array_equal(labels, model.predict(queries))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_thresholds_may_be_tiny(dtype, samples, queries):
    X, Y = samples
    model = MultilabelThresholdClassifier(MLkNN(smoothing=0), thresholds=[1e-13, 1e-8, 1]).fit(X, Y)
    labels, probabilities = run(model, queries.astype(dtype))
    assert (probabilities == 0).any()
    np.testing.assert_array_equal(labels, model.predict(queries.astype(dtype)))


@pytest.mark.parametrize("target", ["distributions", "numbers"])
def test_means_of_regressors(target, samples, queries):
    X, Y = samples
    members = [("a", AAKNN(3)), ("b", make_pipeline(StandardScaler(), Ridge())), ("c", SoftNeighborsRegressor())]
    model = MultioutputVotingRegressor(members, weights=[1, 2, 4]).set_params(b="drop").fit(X, TARGETS[target](X, Y))
    (converted,) = run(model, queries)
    np.testing.assert_allclose(converted, expected(model, queries)[0], rtol=0, atol=1e-12)


def test_labels_that_members_never_saw_are_not_predicted(samples, queries):
    X, Y = samples
    Y = np.column_stack([Y[:, 0], np.zeros(len(Y), int), np.ones(len(Y), int)])
    model = MultilabelVotingClassifier([("a", forest(3)), ("b", MLkNN())]).fit(X, Y)
    for converted, answer in zip(run(model, queries), expected(model, queries), strict=True):
        np.testing.assert_allclose(converted, answer, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Label .* is present in all training examples:UserWarning")
@pytest.mark.parametrize("shape", [(150,), (150, 1)])
@pytest.mark.parametrize("constant", [0, 1])
def test_members_that_met_one_class(constant, shape, samples, queries):
    members = [("a", OneVsRestClassifier(LogisticRegression())), ("b", SoftNeighborsClassifier())]
    model = MultilabelVotingClassifier(members).fit(samples[0], np.full(shape, constant))
    for converted, answer in zip(run(model, queries), expected(model, queries), strict=True):
        np.testing.assert_allclose(converted, answer, rtol=0, atol=1e-12)


def test_a_forest_among_relational_members_says_so(samples):
    X, Y = samples
    model = RelationalNeighborsClassifier(forest=True, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"forest=True\) has no converter. Fit it with forest=False"):
        skl2onnx.to_onnx(model, X[:1])


@pytest.mark.parametrize("around", [CalibratedClassifierCV, MultiOutputClassifier], ids=lambda value: value.__name__)
@pytest.mark.parametrize("n_members", [1, 2])
def test_votes_within_estimators_of_others_say_so(n_members, around, samples):
    X, Y = samples
    vote = MultilabelVotingClassifier([(str(i), MLkNN(i + 2)) for i in range(n_members)])
    for model in (vote, MultilabelThresholdClassifier(vote, thresholds=0.4)):
        fitted = around(model).fit(X, Y if around is MultiOutputClassifier else Y[:, 0])
        with pytest.raises(
            ValueError, match="no converter as a member of other estimators than pipelines, GridSearchCV"
        ):
            skl2onnx.to_onnx(fitted, X[:1], options={around: {"zipmap": False}})


def test_votes_within_searches(samples, queries):
    X, Y = samples
    vote = MultilabelVotingClassifier([("a", MLkNN()), ("b", SoftNeighborsClassifier())])
    for model in (vote, MultilabelThresholdClassifier(vote, thresholds=0.4)):
        search = make_pipeline(StandardScaler(), GridSearchCV(model, {"n_jobs": [None]}, cv=2)).fit(X, Y)
        for converted, answer in zip(run(search, queries), expected(search, queries), strict=True):
            np.testing.assert_allclose(converted, answer, rtol=0, atol=1e-12)


def test_opsets_that_are_too_old_are_refused(samples):
    with pytest.raises(
        RuntimeError, match="opset 12 is too low to convert this model, which requires at least opset 13"
    ):
        skl2onnx.to_onnx(MLkNN().fit(*samples), samples[0][:1], target_opset=12)


def test_without_skl2onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[onnx\]'"):
        register_converters()
