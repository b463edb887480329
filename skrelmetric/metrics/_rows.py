"""Input of all criteria, made dense, and the mean over samples."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skrelmetric._interop.sklearn import check_sample_weight


def dense(array, name: str) -> np.ndarray:
    array = check_array(array, accept_sparse=True, dtype="numeric", input_name=name)
    return array.toarray() if hasattr(array, "toarray") else array


def check_same_shape(truth: np.ndarray, prediction: np.ndarray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(
            f"Truth of shape {truth.shape} and prediction of shape {prediction.shape} differ: "
            "both must be (n_samples, n_labels)."
        )


def mean(rows: np.ndarray, sample_weight: ArrayLike | None, kept: np.ndarray | slice = slice(None)) -> float:
    """Mean over the kept rows, weighted if asked for."""
    if sample_weight is None:
        return float(np.mean(rows[kept]))
    weights = check_sample_weight(sample_weight, rows, ensure_non_negative=True)[kept]
    if not weights.sum() > 0:
        raise ValueError("sample_weight is zero for every sample that counts; at least one must be positive.")
    return float(np.average(rows[kept], weights=weights))
