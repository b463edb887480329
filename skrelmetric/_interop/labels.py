"""Formats of label sets: the targets that classifiers are fitted to, and the probabilities they answer with."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets

from skrelmetric._interop.arrays import as_host, canonical, like, module_of, two_classes, unwrapped, without_zeros
from skrelmetric._interop.dask import by_blocks
from skrelmetric._interop.given import plain_targets
from skrelmetric._interop.sklearn import label_columns, positive_columns, warn_caller

__all__ = [
    "ROUNDING",
    "class_indicator",
    "label_classes",
    "label_indicator",
    "label_probabilities",
    "labels_by_blocks",
    "predicted_labels",
    "warn_of_joined_names",
]

_SEPARATORS = ("; ", ", ", " | ", ";", ",", "|")  # of several names in one string

ROUNDING = 1e-12
"""Difference up to which probabilities are equal: sums of votes round by how many samples are predicted at once."""


def label_classes(y: Any, owner: str, otherwise: str) -> np.ndarray:
    """Classes of a target with one column a label, (n_labels, 2), or of a one-dimensional one, (2,).

    Raises
    ------
    ValueError
        If there is no target, or it is no label indicator; `owner` is who needs it, `otherwise` what takes one output
        of several classes.
    """
    if y is None:
        raise ValueError(
            f"{owner} requires y to be passed, but the target y is None. Pass a (n_samples, n_labels) label indicator."
        )
    y = plain_targets(y)
    y = y if sparse.issparse(y) else np.asarray(as_host(y))
    if y.ndim == 1:
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        return two_classes(y, otherwise)
    values = sparse.csr_array(y).data if sparse.issparse(y) else y
    known = (values == 0) | (values == 1) | (values != values)  # NaN, an unknown label, differs from itself
    if not known.all():
        otherwise = f"For one output of several classes pass a one-dimensional y to {otherwise}."
        raise _no_indicator(values[~known][0], otherwise)
    return np.tile([0, 1], (y.shape[1], 1))


def label_indicator(y: Any, otherwise: str) -> tuple[Any, Any]:
    """Classes and 0/1 indicator, one column a label, of a target that was read; one-dimensional ones are one label.

    That of a sparse target is a csr_array.

    Raises
    ------
    ValueError
        If it is no label indicator; `otherwise` is what takes several classes.
    """
    y, xp = canonical(y) if sparse.issparse(y) else y, module_of(y)
    if y.ndim == 1:
        if isinstance(y, np.ndarray):
            check_classification_targets(y)
        classes = two_classes(y, otherwise)
        return classes, xp.asarray(y == classes[1], dtype=xp.int32)[:, None]
    values = y.data if sparse.issparse(y) else y
    known = (values == 0) | (values == 1)
    if not known.all():
        raise _no_indicator(values[~known][0], f"For several classes an output, use {otherwise}.")
    classes = xp.asarray([[0, 1]] * y.shape[1])
    return classes, without_zeros(y, np.int32) if sparse.issparse(y) else xp.asarray(y, dtype=xp.int32)


def class_indicator(y: Any, otherwise: str) -> tuple[Any, Any]:
    """Classes and 0/1 indicator of a target that was read: one column a label, or one a class if one-dimensional.

    A single column of anything but 0 and 1 counts as one-dimensional. Sparse label sets stay a csr_array.

    Raises
    ------
    ValueError
        If it is neither label sets nor classes; `otherwise` is what takes several classes an output.
    """
    y = y.toarray() if sparse.issparse(y) and y.shape[1] == 1 else y
    if y.ndim == 2 and y.shape[1] == 1 and not ((y == 0) | (y == 1)).all():
        y = y[:, 0]
    if y.ndim == 2:
        return label_indicator(y, otherwise)
    if isinstance(y, np.ndarray):
        check_classification_targets(y)
        warn_of_joined_names(y)
    classes, xp = module_of(y).unique(y), module_of(y)
    return classes, xp.asarray(y[:, None] == classes, dtype=xp.int32)


def warn_of_joined_names(y: np.ndarray) -> None:
    """Warn of classes whose names seem to be label sets, "rock;calm" beside "rock": few names make more classes.

    Such as "red, small" are none, where one name is always before the separator and another always behind it.
    """
    if y.dtype.kind not in "OU":
        return
    classes = {value for value in y.flat if isinstance(value, str)}
    for separator in _SEPARATORS:
        split = [value.split(separator) for value in classes]
        first = {names[0] for names in split}
        later = {name for names in split for name in names[1:]}
        if first & later and len(first | later) < len(classes):
            joined = min(value for value in classes if separator in value)
            warn_caller(
                f"y holds {str(joined)!r}, and is taken for {len(classes)} classes. If a sample has several labels, "
                f"pass a column for each label: pandas.Series(y).str.get_dummies({separator!r}).",
                UserWarning,
            )
            return


def label_probabilities(classifier: Any, X: Any, classes: Any) -> Any:
    """Probabilities of each label, (n_samples, n_labels), in whichever format the classifier gives them.

    Where `classes` are those of a one-dimensional target, probabilities of its two classes.
    """
    probabilities = classifier.predict_proba(X)
    if classes.ndim == 1:
        if classifier.classes_.shape[0] == 2:
            return probabilities
        # It met one class in training, and is sure of it. OneVsRestClassifier has a second column then.
        return probabilities[:, :1] * (classes == classifier.classes_)
    if len(classes) == 1 and not isinstance(probabilities, list) and np.ndim(classifier.classes_[0]) == 0:
        # scikit-learn makes a one-dimensional target of a single column: the columns are those of its classes.
        known = classifier.classes_
        return positive_columns([probabilities[:, : len(known)]], [known])
    return label_columns(probabilities, classifier)


def predicted_labels(probabilities: Any, classes: Any, X: Any, thresholds: Any = 0.5) -> Any:
    """Labels of a threshold or more, or the most probable class of a one-dimensional target, of the kind of X.

    Of classes as probable but for rounding it is the first.
    """
    xp = module_of(probabilities)
    if classes.ndim == 2:
        return like(xp.asarray(probabilities >= thresholds - ROUNDING, dtype=xp.int64), X)
    most = xp.amax(probabilities, 1)[:, None]
    first = xp.asarray(probabilities > most - ROUNDING, dtype=xp.int64).argmax(1)
    return like(unwrapped(classes)[first], X)


def _no_indicator(value: Any, otherwise: str) -> ValueError:
    """Error for a value that is neither 0 nor 1 where labels are."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        otherwise = f"sklearn.preprocessing.MultiLabelBinarizer makes columns of lists of names. {otherwise}"
    return ValueError(
        f"y must be a label indicator of 0 and 1, but it holds {value!r}. Write 1 for a label that a sample has, 0 for "
        f"one that it has not, and NaN for an unknown one where these are taken. {otherwise}"
    )


def labels_by_blocks(method: Callable, X: Any) -> Any:
    """Lazy answers of `predict` or `predict_proba` of a fitted classifier for the blocks of rows of a Dask array."""
    classes = as_host(method.__self__.classes_)  # type: ignore[attr-defined]
    if method.__name__ == "predict_proba":
        return by_blocks(method, X, len(classes), np.float64)
    if classes.ndim == 2:
        return by_blocks(method, X, len(classes), np.int64)
    return by_blocks(method, X, None, classes.dtype)
