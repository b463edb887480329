"""Input of all criteria, made dense, numbers k of those ranked highest, and the mean over samples."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skrelmetric._interop.sklearn import check_sample_weight, positive_columns


def dense(array, name: str) -> np.ndarray:
    array = check_array(array, accept_sparse=True, dtype="numeric", input_name=name)
    return array.toarray() if hasattr(array, "toarray") else array


def check_same_shape(truth: np.ndarray, prediction: np.ndarray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(
            f"Truth of shape {truth.shape} and prediction of shape {prediction.shape} differ: "
            "both must be (n_samples, n_labels)."
        )


def labels_and_scores(y_true, y_score) -> tuple[np.ndarray, np.ndarray]:
    """Relevance as booleans and scores as floats, both (n_samples, n_labels)."""
    relevant = dense(y_true, "y_true")
    scores = dense(_positive_columns(y_score), "y_score").astype(np.float64, copy=False)
    check_same_shape(relevant, scores)
    unexpected = (relevant != 0) & (relevant != 1)
    if unexpected.any():
        raise ValueError(f"y_true must be a 0/1 label indicator, but it holds {relevant[unexpected][0]!r}.")
    return relevant == 1, scores


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
    """Weights of the kept rows, 1 unless they are given."""
    weights = check_sample_weight(sample_weight, rows, ensure_non_negative=True)[kept]
    if not weights.sum() > 0:
        raise ValueError("sample_weight is zero for every sample that counts; at least one must be positive.")
    return weights
