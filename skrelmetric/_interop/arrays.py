"""Seam for arrays of any kind, which loads torch only for those who come with such arrays."""

from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse

from skrelmetric._interop.sklearn import stays_on_device

__all__ = [
    "as_host",
    "canonical",
    "float_dtypes",
    "holds_integers",
    "integer_dtype",
    "like",
    "module_of",
    "of_dtype",
    "two_classes",
    "unwrapped",
    "without_zeros",
]


def module_of(array: Any) -> ModuleType:
    """Module whose functions take the array, or what is dense of a sparse one: numpy or torch.

    Callers keep to what both have.
    """
    if isinstance(array, np.ndarray) or sparse.issparse(array):
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
    return unwrapped(array).cpu().numpy() if hasattr(array, "cpu") or stays_on_device(array) else array


def unwrapped(array: Any) -> Any:
    """A numpy array, or the tensor that shares the memory of any other."""
    if isinstance(array, np.ndarray):
        return array
    from skrelmetric._interop.torch import as_tensor

    return as_tensor(array)


def canonical(A: Any) -> sparse.csr_array:
    """Sparse matrix with one entry a place; it is the user's, so it is a copy that is summed.

    Its indices are of 32 bits where these are enough, as some of scikit-learn's metrics read no others.
    """
    A = sparse.csr_array(A)
    if not A.has_canonical_format:
        A = A.copy()
        A.sum_duplicates()
    width = sparse.get_index_dtype(maxval=max(A.nnz, *A.shape))
    if A.indices.dtype == width:
        return A
    return sparse.csr_array((A.data, A.indices.astype(width), A.indptr.astype(width)), A.shape)


def without_zeros(A: Any, dtype: Any) -> sparse.csr_array:
    """Copy of a sparse matrix in which no entry is 0, and no two are at one place."""
    A = canonical(A).astype(dtype, copy=True)
    A.eliminate_zeros()
    return A


def of_dtype(array: Any, dtype: Any) -> Any:
    """The array in another dtype, or itself if it is of that one."""
    if sparse.issparse(array):
        return array.astype(dtype, copy=False)
    return _namespace(array).asarray(array, dtype=dtype)


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


def float_dtypes(X: Any) -> list:
    """Floating dtypes that samples are kept in, as the kind of array that `X` is names them."""
    names = _names(X)
    return [names.float64, names.float32]


def integer_dtype(X: Any) -> Any:
    """The dtype of whole numbers, as the kind of array that `X` is names it."""
    return _names(X).int64


def holds_integers(X: Any) -> bool:
    """Whether an array holds integers of 16 bits and more, rather than floats or the bytes of images."""
    name = str(getattr(X, "dtype", "")).rpartition(".")[2]
    return name in {f"{sign}int{bits}" for sign in ("", "u") for bits in (16, 32, 64)}


def _names(X: Any) -> Any:
    return _namespace(X) if stays_on_device(X) else np


def _namespace(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch if isinstance(array, torch.Tensor) else array.__array_namespace__()
