"""Seam to skl2onnx: how it reads estimators, and what it calls to convert them."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host
from skrelmetric._onnx.graph import Graph, onnx_type

__all__ = ["register"]


def register(kind: type, convert: Callable, of_members: bool) -> None:
    """Make skl2onnx take estimators of a class.

    Parameters
    ----------
    kind : type
        The class.
    convert : callable
        ``convert(graph, estimator, given, dtype)``: the results of a fitted estimator, one for each output.
    of_members : bool
        Whether it is given the answers of the members of the estimator, in place of samples.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    """
    try:
        update_registered_converter = import_module("skl2onnx").update_registered_converter
    except ImportError as error:
        raise ImportError("Converters need skl2onnx: pip install 'skrelmetric[onnx]'.") from error
    update_registered_converter(
        kind,
        _alias(kind),
        _set_shapes,
        _OfMembers(convert) if of_members else _OfSamples(convert),
        parser=_parse_members if of_members else _parse,
        options={"zipmap": [True, False, "columns"]} if hasattr(kind, "predict_proba") else None,
    )


# Converters


class _OfSamples(NamedTuple):
    """What skl2onnx calls for an estimator of samples."""

    convert: Callable[[Graph, Any, str, Any], list[str]]

    def __call__(self, scope: Any, operator: Any, container: Any) -> None:
        graph = Graph(scope, container)
        dtype = _dtype_of(operator.inputs)
        columns = [graph.cast(each.full_name, dtype) for each in operator.inputs]  # of a frame, or all samples in one
        X = columns[0] if len(columns) == 1 else graph("Concat", *columns, axis=1)
        _put_out(graph, operator, self.convert(graph, operator.raw_operator, X, dtype))


class _OfMembers(NamedTuple):
    """What skl2onnx calls for an estimator of members, whose answers it has converted."""

    convert: Callable[[Graph, Any, list[str], Any], list[str]]

    def __call__(self, scope: Any, operator: Any, container: Any) -> None:
        graph, estimator = Graph(scope, container), operator.raw_operator
        if not all(hasattr(variable, "is_answer") for variable in operator.inputs):
            raise ValueError(
                f"{type(estimator).__name__} has no converter as a member of other estimators than pipelines, "
                "GridSearchCV, and votes and thresholds of skrelmetric. Convert it alone."
            )
        answers = [
            _answer(graph, variable, member, estimator)
            for variable, member in zip(operator.inputs, _members(estimator), strict=True)
        ]
        dtype = _dtype_of(operator.outputs[-1:])
        _put_out(graph, operator, self.convert(graph, estimator, answers, dtype))


def _put_out(graph: Graph, operator: Any, results: list[str]) -> None:
    for result, output in zip(results, operator.outputs, strict=True):
        to = _types().guess_proto_type(output.type)
        texts = to == onnx_type(object)
        graph.add("Identity" if texts else "Cast", [result], [output.full_name], **({} if texts else {"to": to}))


def _members(estimator: Any) -> list:
    return estimator.estimators_ if hasattr(estimator, "estimators_") else [estimator.estimator_]


def _answer(graph: Graph, variable: Any, member: Any, estimator: Any) -> str:
    """Answer of a member in float64; of a classifier, as `skrelmetric._interop.labels.label_probabilities` has it."""
    name, kind = variable.full_name, variable.type
    if not hasattr(estimator, "classes_"):
        return graph.cast(name, np.float64)
    classes, known = as_host(estimator.classes_), as_host(member.classes_)
    listed = isinstance(kind, _types().SequenceType)
    if listed or len(kind.shape) == 3:
        of_label = partial(graph, "SequenceAt", name) if listed else partial(graph, "Gather", name, axis=0)
        has = [_positive(graph, of_label(np.int64(i)), each) for i, each in enumerate(known)]
        return graph("Concat", *has, axis=1)
    if classes.ndim == 1:
        P = graph.cast(name, np.float64)
        if len(known) == 2:
            return P
        return graph("Mul", graph("Gather", P, np.array([0]), axis=1), (classes == known).astype(np.float64))
    if len(classes) == 1 and np.ndim(known[0]) == 0:
        return _positive(graph, name, known)
    return graph.cast(name, np.float64)


def _positive(graph: Graph, probabilities: str, known: np.ndarray) -> str:
    """Column of class 1 among those that are known, of shape (n_samples, 1); 0 where it is not."""
    places = np.flatnonzero(known == 1)
    column = graph("Gather", graph.cast(probabilities, np.float64), places[:1] if len(places) else [0], axis=1)
    return column if len(places) else graph("Mul", column, np.float64(0))


# Parsers


def _parse(scope: Any, estimator: Any, inputs: list, custom_parsers: Any = None) -> list:
    """Declare the outputs of an estimator of samples."""
    return _declare(scope, estimator, inputs, inputs)


def _parse_members(scope: Any, estimator: Any, inputs: list, custom_parsers: Any = None) -> list:
    """Declare the outputs of the members, and those of an estimator that takes them as inputs."""
    check_is_fitted(estimator)
    parse_sklearn = import_module("skl2onnx._parse").parse_sklearn
    answers = []
    for member in _members(estimator):
        if hasattr(member, "predict_proba"):
            scope.add_options(id(member), {"zipmap": False})
        *others, answer = parse_sklearn(scope, member, inputs, custom_parsers)
        for each in (*others, answer):
            each.init_status(is_leaf=False)
        answer.is_answer = True  # converters of skl2onnx that declare a member themselves give it samples instead
        answers.append(answer)
    return _declare(scope, estimator, answers, inputs)


def _declare(scope: Any, estimator: Any, inputs: list, samples: list) -> list:
    """Declare an operator; the label of a classifier is of the type of its classes, numbers of that of the samples."""
    check_is_fitted(estimator)
    types = _types()
    operator = scope.declare_local_operator(_alias(type(estimator)), estimator)
    operator.inputs = inputs
    numbers = types.DoubleTensorType() if _dtype_of(samples) is np.float64 else types.FloatTensorType()
    if hasattr(estimator, "classes_"):
        operator.outputs.append(scope.declare_local_variable("label", _label_type(estimator)()))
        operator.outputs.append(scope.declare_local_variable("probabilities", numbers))
    else:
        operator.outputs.append(scope.declare_local_variable("variable", numbers))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    """Set shapes of outputs that are known before the conversion: of any number of samples.

    The type of labels, too: converters of skl2onnx that declare a member themselves take its labels for integers.
    """
    estimator = operator.raw_operator
    *label, values = operator.outputs
    if hasattr(estimator, "classes_"):
        n_columns = len(estimator.classes_)
        label[0].set_type(_label_type(estimator)([None] if estimator.classes_.ndim == 1 else [None, n_columns]))
    elif hasattr(estimator, "transform"):
        n_columns = estimator._n_features_out
    else:
        n_columns = estimator._n_outputs or 1
    values.type.shape = [None, n_columns]


# Types


def _alias(kind: type) -> str:
    return f"Skrelmetric{kind.__name__}"


def _label_type(classifier: Any) -> type:
    """Type of the labels of a classifier, of the kind of its classes."""
    types = _types()
    of_kind = {"f": types.DoubleTensorType, "O": types.StringTensorType, "U": types.StringTensorType}
    return of_kind.get(as_host(classifier.classes_).dtype.kind, types.Int64TensorType)


def _dtype_of(variables: list) -> type:
    """Dtype in which samples are computed with, of all columns alike: float64 where one is."""
    double = any(isinstance(each.type, _types().DoubleTensorType) for each in variables)
    return np.float64 if double else np.float32


def _types() -> Any:
    """Module of skl2onnx's types."""
    return import_module("skl2onnx.common.data_types")
