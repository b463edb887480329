"""Seam for arrays of any kind, which loads torch only for those who come with such arrays."""

import math
from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse

from skrelmetric._interop.sklearn import stays_on_device

__all__ = [
    "MOST",
    "as_host",
    "canonical",
    "check_range",
    "float_dtypes",
    "holds_integers",
    "integer_dtype",
    "largest",
    "like",
    "limit_of",
    "module_of",
    "norms",
    "of_dtype",
    "two_classes",
    "unit_rows",
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


def largest(array: Any) -> float:
    """Largest modulus of the finite numbers in an array, 0 where there are none."""
    values = array.data if sparse.issparse(array) else array
    if not math.prod(values.shape):
        return 0.0
    return max(float(values.max()), -float(values.min()), 0.0)


MOST = 2.0**1000
"""Largest modulus of numbers of which many may be added."""


def limit_of(dtype: Any = np.float64) -> float:
    """Largest modulus of numbers whose squares, and sums of many, are in range; below its inverse they vanish."""
    return 2.0**60 if str(dtype).endswith("float32") else 2.0**500


def check_range(size: float, name: str, limit: float, *, least: bool = True) -> None:
    """Refuse numbers whose powers overflow, or all vanish.

    Parameters
    ----------
    size : float
        Largest modulus of the numbers.
    name : str
        What holds them.
    limit : float
        Largest modulus that is in range.
    least : bool, default=True
        Whether they are to be told apart, so that not all may be below the inverse of the limit, either.

    Raises
    ------
    ValueError
        If they are out of range.
    """
    what = "targets" if name == "y" else "features"
    if size > limit:
        raise ValueError(
            f"{name} holds {size:.1e}, too large: beyond {limit:.0e}, squares and sums overflow. Scale the "
            f"{what} first, for example by StandardScaler; a number that stands for a missing one is to be imputed."
        )
    if least and 0 < size < 1 / limit:
        raise ValueError(
            f"{name} spans {size:.1e} at most, too small: below {1 / limit:.0e}, squares underflow. "
            f"Scale the {what} first, for example by StandardScaler."
        )


def norms(rows: Any) -> Any:
    """Euclidean norm of each dense row, where squares of its entries over- or underflow as well."""
    scaled, sizes = _in_units(rows)
    return sizes[:, 0] * (scaled * scaled).sum(1) ** 0.5


def unit_rows(rows: Any) -> Any:
    """Rows divided by their norm, whatever the range of their entries; those of norm 0 stay."""
    scaled, _ = _in_units(rows)
    if sparse.issparse(scaled):
        scaled.data /= np.repeat(sparse.linalg.norm(scaled, axis=1), np.diff(scaled.indptr))
        return scaled
    lengths = (scaled * scaled).sum(1)[:, None] ** 0.5
    return scaled / module_of(rows).where(lengths > 0, lengths, 1.0)


def _in_units(rows: Any) -> tuple[Any, Any]:
    """Copy of the rows in units of their largest entries, and these, 0 for rows of zeros."""
    if sparse.issparse(rows):
        scaled, sizes = without_zeros(rows, rows.dtype), np.zeros((rows.shape[0], 1), dtype=rows.dtype)
        row = np.repeat(np.arange(len(sizes)), np.diff(scaled.indptr))
        np.maximum.at(sizes[:, 0], row, abs(scaled.data))
        scaled.data /= sizes[row, 0]
        return scaled, sizes
    xp = module_of(rows)
    sizes = xp.amax(xp.abs(rows), 1)[:, None] if rows.shape[1] else xp.zeros_like(rows.sum(1))[:, None]
    return rows / xp.where(sizes > 0, sizes, 1.0), sizes


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
