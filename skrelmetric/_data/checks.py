"""What every fit asks of its samples, targets and weights."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_consistent_length
from torch import Tensor

from skrelmetric._data.samples import Rows
from skrelmetric._data.targets import check_targets, unlabelled
from skrelmetric._interop.sklearn import check_sample_weight
from skrelmetric._interop.torch import as_tensor

__all__ = ["check_supervision", "counted", "counting", "stacked", "take"]


def check_supervision(estimator: Any, X: Any, y: Any) -> Any:
    """Targets of the samples, checked.

    Raises
    ------
    ValueError
        If there are none, or not one a sample, or they are no targets.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. "
            "Pass what similar samples should have in common: label sets, distributions, numbers or classes."
        )
    y = check_targets(y)
    check_consistent_length(X, y)
    return y


def counted(rows: Rows, y: Any, sample_weight: Any, X: Any, device: torch.device) -> tuple[Rows, Any, Tensor]:
    """Samples and targets that count, and their weights of sum 1, for samples `rows` that came as `X`.

    Raises
    ------
    ValueError
        If weights are not finite or negative, or fewer than two samples have a weight and a known target.
    """
    rows, y, weights = counting(rows, y, sample_weight, X, device)
    if len(weights) < min(2, X.shape[0]):
        raise ValueError(
            f"{len(weights)} of {X.shape[0]} samples have a positive weight and a known target; "
            "2 are needed to form a pair."
        )
    weights = weights / weights.max()  # so that their sum is finite
    return rows, y, weights / weights.sum()


def counting(rows: Rows, y: Any, sample_weight: Any, X: Any, device: torch.device) -> tuple[Rows, Any, Tensor]:
    """Samples and targets that count, and their weights as they came, 1 for None.

    Raises
    ------
    ValueError
        If weights are not finite or negative.
    """
    weights = torch.ones(X.shape[0], dtype=torch.float64, device=device)
    if sample_weight is not None and len(weights):
        if isinstance(sample_weight, list | tuple):
            sample_weight = np.asarray(sample_weight)
        sample_weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
        weights = as_tensor(sample_weight, device).to(torch.float64)
    nothing_known = unlabelled(y)
    if nothing_known is not None:
        weights = weights * ~as_tensor(nothing_known, device)
    counts = weights > 0
    if counts.all():
        return rows, y, weights
    return take(rows, counts), take(y, counts), weights[counts]


def take(array: Any, rows: Tensor) -> Any:
    """Some rows of an array of any kind, by a mask or by indices."""
    return array[rows.to(array.device) if isinstance(array, Tensor) else rows.cpu().numpy()]


def stacked(y: Any, y_val: Any) -> Any:
    """Targets of training samples, and below them those of validation samples.

    Raises
    ------
    ValueError
        If they have different outputs.
    """
    if y.shape[1:] != y_val.shape[1:]:
        raise ValueError(f"y_val has outputs of shape {y_val.shape[1:]}, but y of {y.shape[1:]}.")
    names, names_val = (isinstance(each, np.ndarray) and each.dtype.kind in "OUS" for each in (y, y_val))
    if names != names_val:
        raise ValueError(f"y holds {y.dtype} and y_val {y_val.dtype}: name the classes of both in the same way.")
    if sparse.issparse(y) or sparse.issparse(y_val):
        return sparse.csr_array(sparse.vstack([y, y_val]))
    if isinstance(y, Tensor) or isinstance(y_val, Tensor):
        y = as_tensor(y)
        return torch.cat([y, as_tensor(y_val).to(y.device)])
    return np.concatenate([y, y_val])
