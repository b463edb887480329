"""The seam for arrays that are not numpy's, which loads torch only for those who come with such arrays."""

from types import ModuleType
from typing import Any

import numpy as np

from skrelmetric._interop.sklearn import stays_on_device

__all__ = ["as_host", "like", "module_of", "two_classes", "unwrapped"]


def module_of(array: Any) -> ModuleType:
    """The module whose functions take the array, numpy or torch; callers keep to what both have."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def like(array: Any, X: Any) -> Any:
    """The numpy array or tensor, as an array of the kind of `X` where such samples stay on their device."""
    if not stays_on_device(X):
        return array
    from skrelmetric._interop.torch import like

    return like(array, X)


def as_host(array: Any) -> Any:
    """Numpy array of a tensor or other array on a device; anything else as it is."""
    return unwrapped(array).cpu().numpy() if stays_on_device(array) else array


def unwrapped(array: Any) -> Any:
    """A numpy array, or the tensor that shares the memory of any other."""
    if isinstance(array, np.ndarray):
        return array
    from skrelmetric._interop.torch import as_tensor

    return as_tensor(array)


def two_classes(y: Any, otherwise: str) -> Any:
    """Classes of a one-dimensional target, 0 and 1 where it holds only one of them.

    Raises
    ------
    ValueError
        If they are not two; `otherwise` is what takes more.
    """
    xp = module_of(y)
    classes = xp.unique(y)
    if len(classes) == 1 and classes[0] in (0, 1):
        classes = xp.asarray([0, 1], dtype=classes.dtype)
    if len(classes) != 2:
        raise ValueError(
            f"A one-dimensional y must hold two classes, but it has {len(classes)} class{'es' * (len(classes) != 1)}. "
            "Only binary classification is supported for one output: pass a (n_samples, n_labels) label indicator, "
            f"or use {otherwise}."
        )
    return classes
