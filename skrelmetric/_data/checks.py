"""Checks of what every fit is given: targets and weights beside samples, and estimators that are alike."""

from numbers import Number
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length

from skrelmetric._data.subset import Subset
from skrelmetric._data.targets import Targets, read_targets
from skrelmetric._interop.sklearn import check_sample_weight
from skrelmetric._interop.torch import as_tensor
from skrelmetric.distributed import Ranks

__all__ = ["check_alike", "check_supervision", "weighted"]


def check_supervision(estimator: BaseEstimator, X: Any, y: Any, device: torch.device) -> Targets:
    """Targets of the samples, read.

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
    targets = read_targets(y, device)
    check_consistent_length(X, targets.y)
    return targets


def weighted(X: Any, y: Targets, sample_weight: Any, given: Any, device: torch.device) -> Subset:
    """Samples of positive weight and known target, with weights as they came, 1 for None.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, ...)
        Samples, as they are stored.
    y : Targets
        Their targets.
    sample_weight : array-like of shape (n_samples,) or None
        Their weights.
    given : array-like
        Samples as they came, of the kind of array that the weights should be of.
    device : torch.device
        Where to compute.

    Returns
    -------
    Subset

    Raises
    ------
    ValueError
        If weights are not finite or negative.
    """
    weights = torch.ones(X.shape[0], dtype=torch.float64, device=device)
    if sample_weight is not None and len(weights):
        if isinstance(sample_weight, list | tuple):
            sample_weight = np.asarray(sample_weight)
        sample_weight = check_sample_weight(sample_weight, given, ensure_non_negative=True)
        weights = as_tensor(sample_weight, device).to(torch.float64)
    labelled = y.labelled()
    if labelled is not None:
        weights = weights * labelled.to(device)
    kept = weights > 0
    if kept.all():
        return Subset(X, None, weights, y)
    (rows,) = torch.where(kept)
    return Subset(X, rows, weights[rows], y[rows])


def check_alike(estimator: BaseEstimator, ranks: Ranks) -> None:
    """Refuse to go on where processes fit other estimators, or to other features.

    Raises
    ------
    ValueError
        If they do.
    """
    views = ranks.gathered(
        {
            "estimator": type(estimator).__name__,
            "features": list(getattr(estimator, "feature_names_in_", [])),
            **{
                name: value
                for name, value in estimator.get_params(deep=False).items()
                if isinstance(value, Number | str | tuple | None) and name not in ("device", "random_state", "verbose")
            },
        }
    )
    for rank, view in enumerate(views):
        differing = [name for name in views[0] if view.get(name) != views[0][name]]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{name} is {views[0][name]!r} in rank 0 and {view.get(name)!r} in rank {rank}. Pass the same in all."
            )
