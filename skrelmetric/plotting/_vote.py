"""Vote of neighbours on one sample: who they are, and their targets beside the prediction."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.given import is_missing
from skrelmetric.plotting._axes import check_names

__all__ = ["Targets", "Vote", "last_step", "relevant", "rows_of", "targets_of", "vote_on"]


class Vote(NamedTuple):
    """Neighbours to draw, the nearest first."""

    indices: np.ndarray
    names: list[str]
    distances: np.ndarray
    shares: np.ndarray


class Targets(NamedTuple):
    """Targets to draw: one column a label, a class or an output."""

    kind: str  # "labels", "distributions" or "numbers"
    names: list[str]
    cells: np.ndarray  # (n_neighbors, n_columns)
    predicted: np.ndarray  # (n_columns,)
    is_predicted: np.ndarray  # (n_columns,) of bool
    true: np.ndarray | None  # (n_columns,)


def last_step(estimator: Any, x: Any) -> tuple[Any, Any]:
    """Predictor by neighbours, and the sample as it takes it, in one row.

    Raises
    ------
    TypeError, ValueError
        If it is none, or not one sample is given.
    """
    from skrelmetric._search.predictor import NeighborPredictor
    from skrelmetric.relational import RelationalNeighborsClassifier, RelationalNeighborsRegressor

    in_pipeline = hasattr(estimator, "steps")
    model = estimator.steps[-1][1] if in_pipeline else estimator
    if not isinstance(model, NeighborPredictor | RelationalNeighborsClassifier | RelationalNeighborsRegressor):
        raise TypeError(
            f"{type(model).__name__} is no predictor by neighbours with known weights. Pass a fitted MLkNN, AAKNN, "
            "SoftNeighborsClassifier, SoftNeighborsRegressor, RelationalNeighborsClassifier, "
            "RelationalNeighborsRegressor, or a pipeline that ends in one."
        )
    check_is_fitted(model)
    if hasattr(x, "to_frame"):  # a row of a data frame, with the names of its columns
        x = x.to_frame().T
    elif not hasattr(x, "shape"):
        x = np.asarray(x)
    x = x[None] if len(x.shape) == 1 else x
    if len(x.shape) != 2 or x.shape[0] != 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, but it is one sample: pass (n_features,) or (1, n_features), such as X[:1]."
        )
    return model, estimator[:-1].transform(x) if in_pipeline and len(estimator.steps) > 1 else x


def vote_on(model: Any, x: Any, Y: Any, n_neighbors: int) -> Vote:
    """Nearest of the neighbours that vote on a sample, in one row.

    Raises
    ------
    ValueError
        If there are not as many targets as training samples.
    """
    distances, shares = (model.kneighbors_graph(x, None, mode) for mode in ("distance", "weight"))
    if np.ndim(Y) == 0 and not sparse.issparse(Y):
        raise ValueError("Y holds a single value, but the targets of all training samples are needed.")
    n_train, n_given = distances.shape[1], Y.shape[0] if hasattr(Y, "shape") else len(Y)
    if n_train != n_given:
        raise ValueError(
            f"Y has {n_given} targets, but {type(model).__name__} was fitted to {n_train} samples. Pass those."
        )
    indices = distances.indices[:n_neighbors]
    index = getattr(Y, "index", None)
    names = range(n_train) if index is None or callable(index) else index  # lists have a method of that name
    return Vote(indices, [str(names[k]) for k in indices], distances.data[:n_neighbors], shares.data[:n_neighbors])


def rows_of(Y: Any, rows: np.ndarray) -> np.ndarray:
    """Targets of some samples."""
    return sparse.csr_array(Y)[rows].toarray() if sparse.issparse(Y) else np.asarray(as_host(Y))[rows]


def targets_of(model: Any, x: Any, of_neighbors: np.ndarray, y_true: Any, names: Any) -> Targets:
    """Targets of the neighbours, of shape (n_neighbors, ...), the prediction for a sample, and the truth if given.

    Raises
    ------
    ValueError
        If targets or names are more or fewer than the model predicts, or a class is unknown to it.
    """
    predicted = _flat(model.predict(x))
    classes = as_host(model.classes_) if is_classifier(model) else None
    true = None if y_true is None else _flat(y_true)
    n_outputs = 1 if classes is not None and classes.ndim == 1 else len(predicted)
    cells = of_neighbors.reshape(len(of_neighbors), -1)
    for given, name in ((cells, "Y"), (None if true is None else true[None], "y_true")):
        if given is not None and given.shape[1] != n_outputs:
            raise ValueError(f"{name} holds {given.shape[1]} values a sample, but the model predicts {n_outputs}.")
    if classes is not None and classes.ndim == 1:
        names = check_names(classes if names is None else names, len(classes), "label_names", "classes")
        if true is not None:
            true = _of_class(true.tolist()[0], classes)
        return Targets("labels", names, cells == classes, _flat(model.predict_proba(x)), predicted == classes, true)
    names = getattr(model, "label_names_", None) if names is None else names
    names = check_names(range(n_outputs) if names is None else names, n_outputs, "label_names", "outputs")
    cells, true = cells.astype(np.float64), None if true is None else true.astype(np.float64)
    if classes is not None:
        return Targets("labels", names, cells, _flat(model.predict_proba(x)), predicted == 1, true)
    is_distribution = n_outputs > 1 and (cells >= 0).all() and np.allclose(cells.sum(1), 1)
    kind = "distributions" if is_distribution else "numbers"
    return Targets(kind, names, cells, predicted, np.zeros(n_outputs, dtype=bool), true)


def _flat(y: Any) -> np.ndarray:
    """Target of one sample, of shape (n_outputs,)."""
    return np.asarray(y.toarray() if sparse.issparse(y) else as_host(y)).ravel()


def _of_class(value: Any, classes: np.ndarray) -> np.ndarray:
    """Indicator of a class, NaN where it is missing."""
    if is_missing(value):
        return np.full(len(classes), np.nan)
    if value not in classes.tolist():
        raise ValueError(f"y_true={value!r} is none of the classes {classes.tolist()}. Leave it out.")
    return classes == value


def relevant(targets: Targets, shares: np.ndarray, max_labels: int) -> Targets:
    """Targets in the columns that matter most, where there are too many."""
    if len(targets.names) <= max_labels:
        return targets
    weights = np.maximum(targets.predicted, shares @ np.nan_to_num(targets.cells.astype(np.float64)))
    if targets.true is not None:
        weights = np.maximum(weights, np.nan_to_num(targets.true.astype(np.float64)))
    if targets.kind == "numbers":  # their units differ
        weights = np.zeros(len(weights))
    kept = np.sort(np.argsort(-weights, kind="stable")[:max_labels])
    true = None if targets.true is None else targets.true[kept]
    names = [targets.names[k] for k in kept]
    return Targets(
        targets.kind, names, targets.cells[:, kept], targets.predicted[kept], targets.is_predicted[kept], true
    )
