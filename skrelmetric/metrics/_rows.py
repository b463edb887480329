"""Input of all criteria, made dense where it may be, numbers k of those ranked highest, and the mean over samples."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from skrelmetric._interop.arrays import without_zeros
from skrelmetric._interop.given import check_array
from skrelmetric._interop.sklearn import check_same_columns, positive_columns, relative_weights


def dense(array, name: str) -> np.ndarray:
    array = check_array(array, accept_sparse=True, dtype="numeric", input_name=name)
    return array.toarray() if hasattr(array, "toarray") else array


def check_same_shape(truth: np.ndarray, prediction: np.ndarray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(
            f"Truth of shape {truth.shape} and prediction of shape {prediction.shape} differ: "
            "both must be (n_samples, n_labels)."
        )


def labels_and_scores(y_true, y_score, *, keep_sparse: bool = False) -> tuple[Any, Any]:
    """Relevance as booleans and scores as floats, both (n_samples, n_labels); csr_arrays of sparse scores if kept."""
    check_same_columns(y_true, y_score)
    read = _thin if keep_sparse and sparse.issparse(y_score) else dense
    relevant = read(y_true, "y_true")
    scores = read(_positive_columns(y_score), "y_score").astype(np.float64, copy=False)
    check_same_shape(relevant, scores)
    values: Any = relevant.data if sparse.issparse(relevant) else relevant
    unexpected = (values != 0) & (values != 1)
    if unexpected.any():
        raise ValueError(f"y_true must be a 0/1 label indicator, but it holds {values[unexpected][0]!r}.")
    return relevant.astype(bool), scores


def _thin(array, name: str) -> sparse.csr_array:
    """Sparse rows without zeros, one entry a place."""
    array = sparse.csr_array(check_array(array, accept_sparse="csr", dtype="numeric", input_name=name))
    return without_zeros(array, array.dtype)


def _positive_columns(y_score):
    """Probability of having each label, from a list with one (n_samples, 2) array a label."""
    if not (isinstance(y_score, list) and y_score and all(getattr(p, "ndim", 0) == 2 for p in y_score)):
        return y_score
    for label, probabilities in enumerate(y_score):
        if probabilities.shape[1] != 2:
            raise ValueError(
                f"The probabilities of label {label} have shape {probabilities.shape}, but (n_samples, 2) is needed: "
                "the label was constant in training, and the array does not tell whether everybody had it or nobody. "
                "Use the scorers of skrelmetric.scorers, which read it from the estimator's classes_."
            )
    return positive_columns(y_score, [np.array([0, 1])] * len(y_score))


def ranks(k, counted: str) -> list[int]:
    """The number, or several, of neighbours or labels that a criterion looks at, as a list."""
    ks: list[Any] = np.asarray(k, dtype=object).ravel().tolist() if np.ndim(k) < 2 else []
    if not ks or not all(isinstance(each, Integral) and not isinstance(each, bool) and int(each) >= 1 for each in ks):
        raise ValueError(f"k={k!r} is not a number of {counted}. Pass an integer from 1 on, or a sequence of them.")
    return ks


def mean(rows: np.ndarray, sample_weight: ArrayLike | None, kept: np.ndarray | slice = slice(None)) -> float:
    """Mean over the kept rows, weighted if asked for."""
    if sample_weight is None:
        return float(np.mean(rows[kept]))
    return float(np.average(rows[kept], weights=row_weights(sample_weight, rows, kept)))


def row_weights(
    sample_weight: ArrayLike | None, rows: np.ndarray, kept: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """Weights of the kept rows in units of the largest, 1 unless they are given."""
    weights = relative_weights(sample_weight, rows)[kept]
    if not weights.any():
        raise ValueError("sample_weight is zero for every sample that counts; at least one must be positive.")
    return weights
