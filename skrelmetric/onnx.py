"""ONNX: pipelines with estimators of this package as one file, by converters for skl2onnx."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.labels import ROUNDING
from skrelmetric._search.host import NeighbourSearch
from skrelmetric._search.neighbours import Neighbours
from skrelmetric._search.soft_vote import NEAR
from skrelmetric.deep import HRAMLTransformer
from skrelmetric.drml import DRMLTransformer
from skrelmetric.linear import RAMLLinear
from skrelmetric.neighbors import AAKNN, MLkNN
from skrelmetric.relational import RelationalNeighborsClassifier, RelationalNeighborsRegressor
from skrelmetric.soft_neighbors import SoftNeighborsClassifier, SoftNeighborsRegressor
from skrelmetric.thresholds import MultilabelThresholdClassifier
from skrelmetric.voting import MultilabelVotingClassifier, MultioutputVotingRegressor

__all__ = ["register_converters"]


def register_converters() -> None:
    """Make ``skl2onnx.to_onnx`` take estimators of this package, alone and as steps of pipelines and searches.

    These are :class:`~skrelmetric.RAMLLinear`, :class:`~skrelmetric.HRAMLTransformer`,
    :class:`~skrelmetric.DRMLTransformer`, :class:`~skrelmetric.MLkNN`, :class:`~skrelmetric.AAKNN`,
    :class:`~skrelmetric.SoftNeighborsClassifier` and :class:`~skrelmetric.SoftNeighborsRegressor`.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Notes
    -----
    *Input and output.* Samples are rows of features, float32 or float64; outputs have their dtype. Classifiers have two
    outputs, "label" and "probabilities": as `predict` and `predict_proba` have them, and never as a list of
    dictionaries, whatever the option ``zipmap`` says. Transformers and regressors have one, "variable"; a target of
    one dimension comes as a column.

    *Precision.* Neighbours are searched in float64, and equal distances decided as the estimator decides them. Steps
    before that compute in the dtype of the samples, so that with float32 samples as near as its rounding may change
    places. What the estimator refuses, such as NaN, is not looked for.

    *Size.* The file has the training samples, in float64. All queries of a call meet all of them at once, in up to 50
    bytes for each pair: ask for many queries in several calls.

    *What is refused.* Neighbours need a Euclidean metric, dense targets, and a fit to numpy arrays or sparse matrices
    on the CPU. Votes, thresholds and relational estimators are refused, with what to convert instead. Operators are
    those of opset 13 or later, and of modules of torch 18 or later.

    Examples
    --------
    >>> from skl2onnx import to_onnx
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrelmetric import MLkNN, RAMLLinear
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.onnx import register_converters
    >>> X, Y = load_emotions(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()).fit(X, Y)
    >>> register_converters()
    >>> [output.name for output in to_onnx(model, X[:1]).graph.output]
    ['label', 'probabilities']
    """
    try:
        update_registered_converter = import_module("skl2onnx").update_registered_converter
    except ImportError as error:
        raise ImportError("Converters need skl2onnx: pip install 'skrelmetric[onnx]'.") from error
    for kind, convert in _CONVERTERS.items():
        classifies = hasattr(kind, "predict_proba")
        update_registered_converter(
            kind,
            _alias(kind),
            _set_shapes,
            _Conversion(convert),
            parser=_parse_classifier if classifies else None,
            options={"zipmap": [True, False, "columns"]} if classifies else None,
        )
    for kind in _WITHOUT:
        update_registered_converter(kind, _alias(kind), _set_shapes, _Conversion(_refuse), parser=_refuse)


class _Graph:
    """Model that is being made, of the container of skl2onnx and names in its scope.

    Called with an operator and its inputs, which are names of results or arrays, it returns the name of the result, or
    of several.
    """

    def __init__(self, scope: Any, container: Any):
        self.scope, self.container = scope, container

    def __call__(self, operator: str, *inputs: Any, n_outputs: int = 1, **attributes: Any) -> Any:
        outputs = [self.scope.get_unique_variable_name(operator.lower()) for _ in range(n_outputs)]
        self.add(operator, [self._name(each) for each in inputs], outputs, **attributes)
        return outputs[0] if n_outputs == 1 else outputs

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Add a node between names that there are."""
        name = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, inputs, outputs, name=name, **attributes)

    def cast(self, value: str, dtype: Any) -> str:
        """A result in another dtype."""
        return self("Cast", value, to=_onnx_type(dtype))

    def _name(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        from onnx.numpy_helper import from_array

        array = np.asarray(value)
        texts = array.dtype.kind in "OU"
        name = self.scope.get_unique_variable_name("constant")
        content = array.ravel().tolist() if texts else from_array(np.ascontiguousarray(array))
        self.container.add_initializer(name, _onnx_type(object if texts else array.dtype), array.shape, content)
        return name


class _Conversion(NamedTuple):
    """What skl2onnx calls: `convert` makes results of a fitted estimator and samples, one for each output."""

    convert: Callable[[_Graph, Any, str, Any], list[str]]

    def __call__(self, scope: Any, operator: Any, container: Any) -> None:
        graph = _Graph(scope, container)
        names = [each.full_name for each in operator.inputs]
        X = names[0] if len(names) == 1 else graph("Concat", *names, axis=1)
        dtype = _dtype_of(operator.inputs[0])
        X = graph.cast(X, dtype)
        for result, output in zip(self.convert(graph, operator.raw_operator, X, dtype), operator.outputs, strict=True):
            to = _types().guess_proto_type(output.type)
            texts = to == _onnx_type(object)
            graph.add("Identity" if texts else "Cast", [result], [output.full_name], **({} if texts else {"to": to}))


# Estimators


def _linear(graph: _Graph, metric: RAMLLinear, X: str, dtype: Any) -> list[str]:
    return [graph("MatMul", X, as_host(metric.components_).T.astype(dtype))]


def _module(graph: _Graph, metric: Any, X: str, dtype: Any) -> list[str]:
    """The graph that torch makes of a module, as part of this one."""
    from onnx.compose import add_prefix

    if metric._example.ndim != 2:
        raise ValueError(
            f"{type(metric).__name__} was fitted to samples of shape {tuple(metric._example.shape[1:])}, but "
            "converters take rows of features. Write it alone: export_onnx(path)."
        )
    opset = graph.container.target_opset_any_domain("")
    model = metric._onnx_program(None, max(opset, 18)).model_proto
    model = add_prefix(model, graph.scope.get_unique_variable_name("module") + "_")
    (given,), (result,) = model.graph.input, model.graph.output
    graph.add("Cast", [X], [given.name], to=given.type.tensor_type.elem_type)
    graph.container.initializers.extend(model.graph.initializer)
    graph.container.nodes.extend(model.graph.node)
    graph.container.node_domain_version_pair_sets.update((each.domain, each.version) for each in model.opset_import)
    return [result.name]


def _mlknn(graph: _Graph, classifier: MLkNN, X: str, dtype: Any) -> list[str]:
    candidates = _Candidates.of(graph, classifier, X)
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


def _aaknn(graph: _Graph, regressor: AAKNN, X: str, dtype: Any) -> list[str]:
    k = regressor.n_neighbors_
    return [graph("Div", _Candidates.of(graph, regressor, X).sums(k), np.float64(k))]


def _soft_classifier(graph: _Graph, classifier: SoftNeighborsClassifier, X: str, dtype: Any) -> list[str]:
    (probabilities,) = _soft(graph, classifier, X, dtype)
    return [_labels(graph, probabilities, classifier.classes_), probabilities]


def _soft(graph: _Graph, predictor: Any, X: str, dtype: Any) -> list[str]:
    """Sum of the ballots of all who vote, in the sum of their weights."""
    vote = predictor._vote
    candidates = _Candidates.of(graph, predictor, X, vote.sample_weight > 0)
    ballots = vote.ballots[vote.sample_weight > 0]
    Q, n_voters = candidates.D, len(ballots)
    if vote.limited:
        n_voters = vote.n_neighbors
        Q = graph("Where", candidates.nearest(n_voters), Q, np.float64(np.inf))
    unit: Any = np.float64(vote.unit)
    if vote.local:
        own = _kth(graph, Q, min(NEAR, n_voters))
        unit = graph("Where", graph("Greater", own, np.float64(0)), own, unit)
    exponents = graph("Div", graph("Sub", _kth(graph, Q, 1), Q), unit)
    weights = graph("Exp", graph("Div", exponents, np.float64(vote.temperature)))
    masses = graph("MatMul", weights, ballots[:, :-1])
    return [graph("Div", masses, graph("MatMul", weights, ballots[:, -1:]))]


def _refuse(scope: Any, estimator: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    raise ValueError(
        f"{type(estimator).__name__} has no converter. {_WITHOUT[type(estimator)]} The estimator itself can be kept by "
        "joblib or skops."
    )


_CONVERTERS: dict[type, Callable[[_Graph, Any, str, Any], list[str]]] = {
    RAMLLinear: _linear,
    HRAMLTransformer: _module,
    DRMLTransformer: _module,
    MLkNN: _mlknn,
    AAKNN: _aaknn,
    SoftNeighborsClassifier: _soft_classifier,
    SoftNeighborsRegressor: _soft,
}

_MEMBERS = "Convert its members alone, and average what they return by its weights."
_WITHOUT: dict[type, str] = {
    RelationalNeighborsClassifier: (
        "Convert a single vote: make_pipeline(StandardScaler(), HRAMLTransformer(), SoftNeighborsClassifier())."
    ),
    RelationalNeighborsRegressor: (
        "Convert a single vote: make_pipeline(StandardScaler(), HRAMLTransformer(), SoftNeighborsRegressor())."
    ),
    MultilabelVotingClassifier: _MEMBERS,
    MultioutputVotingRegressor: _MEMBERS,
    MultilabelThresholdClassifier: "Convert its estimator_, and compare the probabilities with its thresholds_.",
}
"""What to do instead of converting an estimator that has no converter."""


# Neighbours


class _Candidates(NamedTuple):
    """Training samples as seen from queries.

    Attributes
    ----------
    graph : _Graph
        Model that is being made.
    D : str
        Squared distances, of shape (n_queries, n_train), 0 where rounding explains them.
    norms : str
        Squared norms of the centred queries, of shape (n_queries, 1).
    Y : ndarray of shape (n_train, n_outputs)
        Targets.
    search : NeighbourSearch
        Search of the training samples.
    """

    graph: _Graph
    D: str
    norms: str
    Y: np.ndarray
    search: NeighbourSearch

    @classmethod
    def of(cls, graph: _Graph, predictor: Any, X: str, kept: Any = None) -> "_Candidates":
        """Candidates of a fitted predictor, or those of them that are kept."""
        search, Y = _searched(predictor)
        samples = search.samples.toarray() if sparse.issparse(search.samples) else search.samples
        samples, Y = (samples, Y) if kept is None else (samples[kept], Y[kept])
        x = graph.cast(X, np.float64)
        if search.centre is not None:
            x = graph("Sub", x, search.centre)
        norms = graph("ReduceSum", graph("Mul", x, x), np.array([1]), keepdims=1)
        squares = graph("Add", norms, (samples**2).sum(1)[None])
        D = graph("Add", squares, graph("MatMul", x, -2 * samples.T))
        seen = cls(graph, D, norms, Y if Y.ndim == 2 else Y[:, None], search)
        equal = graph("Less", D, seen.tolerance(np.zeros((1, 1))))
        return seen._replace(D=graph("Where", equal, np.float64(0), D))

    def tolerance(self, d: Any) -> str:
        """Difference that rounding may make between equal distances, as the search tells it, at some of these."""
        relative, absolute = self.search.rounding
        scaled = self.graph("Mul", self.graph("Add", self.norms, d), np.float64(relative))
        return self.graph("Add", scaled, np.float64(absolute))

    def nearest(self, k: int) -> str:
        """Which of the candidates are the k nearest, those that tie with the k-th by index."""
        graph, kth = self.graph, _kth(self.graph, self.D, k)
        tolerance = self.tolerance(kth)
        nearer = graph("Less", self.D, graph("Sub", kth, tolerance))
        further = graph("Greater", self.D, graph("Add", kth, tolerance))
        tied = graph("Not", graph("Or", nearer, further))
        count = graph("ReduceSum", graph.cast(nearer, np.int32), np.array([1]), keepdims=1)
        among_tied = graph("CumSum", graph.cast(tied, np.int32), np.int64(1))
        beyond = graph("Greater", among_tied, graph("Sub", np.int32(k), count))
        return graph("Or", nearer, graph("And", tied, graph("Not", beyond)))

    def ranked(self, k: int) -> str:
        """Indices of the k nearest by distance, those that tie with the one before by index."""
        graph, n_train = self.graph, np.int64(len(self.Y))
        among = graph("Where", self.nearest(k), self.D, np.float64(np.inf))
        d, indices = graph("TopK", among, np.array([k]), n_outputs=2, axis=1, largest=0, sorted=1)
        ranks = np.arange(k)
        before, after = (graph("Gather", d, places, axis=1) for places in (ranks[:-1], ranks[1:]))
        further = graph("Greater", graph("Sub", after, before), self.tolerance(after))
        steps = graph("CumSum", graph.cast(further, np.int64), np.int64(1))
        steps = graph("Pad", steps, np.array([0, 1, 0, 0]))  # the first is at no step
        keys = graph("Add", graph("Mul", steps, n_train), indices)
        ordered, _ = graph("TopK", keys, np.array([k]), n_outputs=2, axis=1, largest=0, sorted=1)
        return graph("Mod", ordered, n_train)

    def sums(self, k: int) -> str:
        """Sums of the targets of the k nearest, of shape (n_queries, n_outputs)."""
        return self.graph("MatMul", self.graph.cast(self.nearest(k), np.float64), self.Y.astype(np.float64))

    def votes(self, numbers: np.ndarray) -> str:
        """Sums of 0/1 targets of as many as each of some numbers says, of shape (n_queries, n_numbers, n_labels)."""
        graph = self.graph
        if len(numbers) == 1:
            return graph("Unsqueeze", graph.cast(self.sums(int(numbers[0])), np.int64), np.array([1]))
        labels = graph("Gather", self.Y.astype(np.int64), self.ranked(int(numbers[-1])))
        return graph("Gather", graph("CumSum", labels, np.int64(1)), numbers.astype(np.int64) - 1, axis=1)


def _kth(graph: _Graph, D: str, k: int) -> str:
    """The k-th least of each row, of shape (n_rows, 1)."""
    least, _ = graph("TopK", D, np.array([k]), n_outputs=2, axis=1, largest=0, sorted=1)
    return graph("Gather", least, np.array([k - 1]), axis=1)


def _labels(graph: _Graph, probabilities: str, classes: np.ndarray) -> str:
    """Labels of probability 1/2 or more; or the most probable of several classes, the first of equal ones."""
    if classes.ndim == 2:
        return graph("Not", graph("Less", probabilities, np.float64(0.5 - ROUNDING)))
    most, _ = graph("TopK", probabilities, np.array([1]), n_outputs=2, axis=1)
    equal = graph("Greater", probabilities, graph("Sub", most, np.float64(ROUNDING)))
    first = graph("ArgMax", graph.cast(equal, np.int64), axis=1, keepdims=0)
    return graph("Gather", classes, first)


def _searched(predictor: Any) -> tuple[NeighbourSearch, np.ndarray]:
    """Search of a fitted predictor, and its dense targets.

    Raises
    ------
    ValueError
        If its metric, targets or samples have no converter.
    """
    neighbours: Neighbours = predictor._neighbours
    name = type(predictor).__name__
    if not isinstance(neighbours.search, NeighbourSearch):
        raise ValueError(f"{name} was fitted to tensors, or on a device. Fit it to numpy arrays, with device='cpu'.")
    if not neighbours.search.euclidean or neighbours.search.cosine:
        raise ValueError(
            f"metric={predictor.metric!r} has no converter, but 'euclidean' and 'sqeuclidean' have. For others put "
            "what makes samples Euclidean before it: Normalizer() for 'cosine', RAMLLinear for a Mahalanobis distance."
        )
    if neighbours.sparse_targets:
        raise ValueError(f"{name} was fitted to sparse targets, which have no converter. Fit it to y.toarray().")
    return neighbours.search, neighbours.Y


# skl2onnx


def _alias(kind: type) -> str:
    return f"Skrelmetric{kind.__name__}"


def _parse_classifier(scope: Any, model: Any, inputs: list, custom_parsers: Any = None) -> list:
    """Declare the outputs of a classifier."""
    check_is_fitted(model)
    kind = as_host(model.classes_).dtype.kind
    types = _types()
    texts, numbers = types.StringTensorType, {"f": types.DoubleTensorType}
    label = texts if kind in "OU" else numbers.get(kind, types.Int64TensorType)
    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("label", label()))
    operator.outputs.append(scope.declare_local_variable("probabilities", types.guess_tensor_type(inputs[0].type)))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    """Set shapes of outputs that are known before the conversion: of any number of samples."""
    model = operator.raw_operator
    check_is_fitted(model)
    *label, values = operator.outputs
    if hasattr(model, "classes_"):
        n_columns = len(model.classes_)
        label[0].type.shape = [None] if model.classes_.ndim == 1 else [None, n_columns]
    else:
        n_columns = model._n_features_out if hasattr(model, "transform") else model._n_outputs or 1
    values.type.shape = [None, n_columns]


def _dtype_of(variable: Any) -> type:
    """Dtype in which samples of a type are computed with."""
    return np.float64 if isinstance(variable.type, _types().DoubleTensorType) else np.float32


def _types() -> Any:
    """Module of skl2onnx's types."""
    return import_module("skl2onnx.common.data_types")


def _onnx_type(dtype: Any) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    return np_dtype_to_tensor_dtype(np.dtype(dtype))
