"""Estimators as operators: what each makes of samples, or of the answers of its members."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.labels import ROUNDING
from skrelmetric._onnx.graph import Graph
from skrelmetric._onnx.neighbours import Candidates, kth
from skrelmetric._relational.members import DISTRIBUTIONS, LABELS, Kind
from skrelmetric._search.soft_vote import NEAR
from skrelmetric.deep import HRAMLTransformer
from skrelmetric.drml import DRMLTransformer
from skrelmetric.linear import RAMLLinear
from skrelmetric.neighbors import AAKNN, MLkNN
from skrelmetric.relational import RelationalNeighborsClassifier, RelationalNeighborsRegressor
from skrelmetric.soft_neighbors import SoftNeighborsClassifier, SoftNeighborsRegressor
from skrelmetric.thresholds import MultilabelThresholdClassifier
from skrelmetric.voting import MultilabelVotingClassifier, MultioutputVotingRegressor

__all__ = ["OF_MEMBERS", "OF_SAMPLES"]

_FLOAT32_ROUNDING = 1e-6  # of probabilities that members compute in single precision


# Metrics


def _linear(graph: Graph, metric: RAMLLinear, X: str, dtype: Any) -> list[str]:
    return [graph("MatMul", X, as_host(metric.components_).T.astype(dtype))]


def _module(graph: Graph, metric: Any, X: str, dtype: Any) -> list[str]:
    if metric._example.ndim != 2:
        raise ValueError(
            f"{type(metric).__name__} was fitted to samples of shape {tuple(metric._example.shape[1:])}, but "
            "converters take rows of features. Write it alone: export_onnx(path)."
        )
    return [_exported(graph, metric, metric.encoder_, X)]


def _exported(graph: Graph, metric: Any, module: Any, X: str) -> str:
    """The graph that torch makes of a module, as part of this one."""
    from onnx.compose import add_prefix

    opset = graph.container.target_opset_any_domain("")
    model = metric._onnx_program(module, None, max(opset, 18)).model_proto
    model = add_prefix(model, graph.scope.get_unique_variable_name("module") + "_")
    (given,), (result,) = model.graph.input, model.graph.output
    graph.add("Cast", [X], [given.name], to=given.type.tensor_type.elem_type)
    graph.container.initializers.extend(model.graph.initializer)
    graph.container.nodes.extend(model.graph.node)
    graph.container.node_domain_version_pair_sets.update((each.domain, each.version) for each in model.opset_import)
    return result.name


# Neighbours


def _mlknn(graph: Graph, classifier: MLkNN, X: str, dtype: Any) -> list[str]:
    candidates = Candidates.of(graph, classifier, X)
    numbers = np.atleast_1d(classifier.n_neighbors_)
    tables = classifier.posterior_ if isinstance(classifier.posterior_, list) else [classifier.posterior_]
    votes = candidates.votes(numbers)
    lengths = np.array([table.shape[1] for table in tables])
    n_labels = len(tables[0])
    starts = np.append(0, (n_labels * lengths).cumsum()[:-1])
    first = starts[:, None] + lengths[:, None] * np.arange(n_labels)  # place of no vote in the tables one after another
    entries = graph("Gather", np.concatenate([table.ravel() for table in tables]), graph("Add", votes, first))
    probabilities = graph("ReduceSum", entries, np.array([1]), keepdims=0)
    probabilities = graph("Div", probabilities, np.float64(len(numbers)))
    if classifier.classes_.ndim == 1:
        probabilities = graph("Concat", graph("Sub", np.float64(1), probabilities), probabilities, axis=1)
    return [_labels(graph, probabilities, classifier.classes_), probabilities]


def _aaknn(graph: Graph, regressor: AAKNN, X: str, dtype: Any) -> list[str]:
    k = regressor.n_neighbors_
    return [graph("Div", Candidates.of(graph, regressor, X).sums(k), np.float64(k))]


def _soft_classifier(graph: Graph, classifier: SoftNeighborsClassifier, X: str, dtype: Any) -> list[str]:
    (probabilities,) = _soft(graph, classifier, X, dtype)
    return [_labels(graph, probabilities, classifier.classes_), probabilities]


def _soft(graph: Graph, predictor: Any, X: str, dtype: Any) -> list[str]:
    """Sum of the ballots of all who vote, in the sum of their weights."""
    vote = predictor._vote
    candidates = Candidates.of(graph, predictor, X, vote.sample_weight > 0)
    ballots = vote.ballots[vote.sample_weight > 0]
    Q, n_voters = candidates.D, len(ballots)
    if vote.limited:
        n_voters = vote.n_neighbors
        Q = graph("Where", candidates.nearest(n_voters), Q, np.float64(np.inf))
    unit: Any = np.float64(vote.unit)
    if vote.local:
        own = kth(graph, Q, min(NEAR, n_voters))
        unit = graph("Where", graph("Greater", own, np.float64(0)), own, unit)
    exponents = graph("Div", graph("Sub", kth(graph, Q, 1), Q), unit)
    weights = graph("Exp", graph("Div", exponents, np.float64(vote.temperature)))
    masses = graph("MatMul", weights, ballots[:, :-1])
    return [graph("Div", masses, graph("MatMul", weights, ballots[:, -1:]))]


# Relational estimators


def _relational_classifier(graph: Graph, classifier: Any, X: str, dtype: Any) -> list[str]:
    (probabilities,) = _relational(graph, classifier, X, dtype)
    return [_labels(graph, probabilities, classifier.classes_, classifier.thresholds_), probabilities]


def _relational(graph: Graph, estimator: Any, X: str, dtype: Any) -> list[str]:
    """Weighted mean of the members, as `Members.predictions` has them, all in float64."""
    members = estimator.members_
    if "forest" in members.predictors:
        raise ValueError(f"{type(estimator).__name__}(forest=True) has no converter. Fit it with forest=False.")
    samples = _scaled(graph, members.scaler, graph.cast(X, np.float64))
    kernel = members.metrics["kernel"]
    features = graph.cast(_exported(graph, kernel, kernel.encoder_[0], samples), np.float64)
    inputs = {
        "linear": _linear(graph, members.metrics["linear"], samples, np.float64)[0],
        "features": features,
        "kernel": _linear(graph, kernel, features, np.float64)[0],
    }
    weighted = []
    for name, (source, predictor) in members.predictors.items():
        *_, prediction = _OF_RELATIONAL[type(predictor)](graph, predictor, inputs[source], np.float64)
        if not hasattr(predictor, "predict_proba"):
            prediction = _proper(graph, members.kind, prediction)
        weighted.append(graph("Mul", prediction, np.float64(estimator.weights_[name])))
    return [graph("Sum", *weighted)]


def _scaled(graph: Graph, scaler: Any, X: str) -> str:
    match scaler:
        case StandardScaler():
            return graph("Div", graph("Sub", X, scaler.mean_), scaler.scale_)
        case MaxAbsScaler():
            return graph("Div", X, scaler.scale_)
        case Normalizer():
            norms = graph("Sqrt", graph("ReduceSum", graph("Mul", X, X), np.array([1]), keepdims=1))
            return graph("Div", X, graph("Where", graph("Greater", norms, np.float64(0)), norms, np.float64(1)))
    raise TypeError(f"{type(scaler).__name__} is no scaling of relational estimators.")


def _ridge(graph: Graph, ridge: RidgeCV, X: str, dtype: Any) -> list[str]:
    return [graph("Add", graph("MatMul", X, np.atleast_2d(ridge.coef_).T), np.atleast_1d(ridge.intercept_))]


def _proper(graph: Graph, kind: Kind, P: str) -> str:
    if kind is LABELS:
        return graph("Min", graph("Max", P, np.float64(0)), np.float64(1))
    if kind is not DISTRIBUTIONS:
        return P
    P = graph("Max", P, np.float64(0))
    some = graph("Greater", graph("ReduceSum", P, np.array([1]), keepdims=1), np.float64(0))
    P = graph("Where", some, P, np.float64(1))
    return graph("Div", P, graph("ReduceSum", P, np.array([1]), keepdims=1))


# Estimators of members


def _vote_classifier(graph: Graph, vote: MultilabelVotingClassifier, answers: list[str], dtype: Any) -> list[str]:
    (probabilities,) = _vote(graph, vote, answers, dtype)
    return [_labels(graph, probabilities, as_host(vote.classes_), rounding=_rounding(dtype)), probabilities]


def _vote(graph: Graph, vote: Any, answers: list[str], dtype: Any) -> list[str]:
    """Weighted mean of the members' answers."""
    shares = as_host(vote._weights) / as_host(vote._weights).sum()
    return [graph("Sum", *(graph("Mul", each, share) for each, share in zip(answers, shares, strict=True)))]


def _thresholds(graph: Graph, classifier: Any, answers: list[str], dtype: Any) -> list[str]:
    (probabilities,) = answers
    classes = as_host(classifier.classes_)
    least = classifier.thresholds_ * (1 - _rounding(dtype))  # a share, as thresholds of rare labels may be tiny
    if classes.ndim == 2:
        return [graph("Not", graph("Less", probabilities, least)), probabilities]
    second = graph("Gather", probabilities, np.int64(1), axis=1)
    has = graph("Not", graph("Less", second, least))
    return [graph("Gather", classes, graph.cast(has, np.int64)), probabilities]


def _rounding(dtype: Any) -> float:
    return ROUNDING if dtype is np.float64 else _FLOAT32_ROUNDING


# Labels


def _labels(graph: Graph, probabilities: str, classes: np.ndarray, thresholds: Any = 0.5, rounding=ROUNDING) -> str:
    """Labels of a threshold or more; or the most probable of several classes, the first of equal ones."""
    if classes.ndim == 2:
        return graph("Not", graph("Less", probabilities, np.asarray(thresholds - rounding)))
    most, _ = graph("TopK", probabilities, np.array([1]), n_outputs=2, axis=1)
    equal = graph("Greater", probabilities, graph("Sub", most, np.float64(rounding)))
    first = graph("ArgMax", graph.cast(equal, np.int64), axis=1, keepdims=0)
    return graph("Gather", classes, first)


OF_SAMPLES: dict[type, Callable[[Graph, Any, str, Any], list[str]]] = {
    RAMLLinear: _linear,
    HRAMLTransformer: _module,
    DRMLTransformer: _module,
    MLkNN: _mlknn,
    AAKNN: _aaknn,
    SoftNeighborsClassifier: _soft_classifier,
    SoftNeighborsRegressor: _soft,
    RelationalNeighborsClassifier: _relational_classifier,
    RelationalNeighborsRegressor: _relational,
}
"""What makes the outputs of an estimator of samples: of a graph, the estimator, their name, and their dtype."""

_OF_RELATIONAL = {**OF_SAMPLES, RidgeCV: _ridge}
"""The like for members of relational estimators."""

OF_MEMBERS: dict[type, Callable[[Graph, Any, list[str], Any], list[str]]] = {
    MultilabelVotingClassifier: _vote_classifier,
    MultioutputVotingRegressor: _vote,
    MultilabelThresholdClassifier: _thresholds,
}
"""What makes the outputs of an estimator of the answers of its members, in float64."""
