"""Seam to Dask arrays, which are told without loading Dask."""

from collections.abc import Callable
from copy import copy
from inspect import ismethod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.utils.validation import validate_data

__all__ = ["by_blocks", "is_dask", "map_rows"]


def is_dask(X: Any) -> bool:
    """Whether `X` is a Dask array."""
    return any(kind.__module__.split(".")[:2] == ["dask", "array"] for kind in type(X).__mro__)


def by_blocks(method: Callable, X: Any, n_columns: int | None, dtype: DTypeLike) -> Any:
    """Results of a method of a fitted estimator for blocks of rows, as `map_rows` has them.

    Raises
    ------
    ValueError
        If `X` has other features than the estimator was fitted to.
    """
    estimator = method.__self__  # type: ignore[attr-defined]
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return map_rows(method, X, n_columns, dtype)


def map_rows(function: Callable, X: Any, n_columns: int | None, dtype: DTypeLike) -> Any:
    """Results of a function for blocks of rows of a Dask array, each computed when it is asked for.

    Parameters
    ----------
    function : callable
        ``function(block)`` for a block of shape (n_block, ...) returns an array of shape (n_block, n_columns), sparse
        or not, or (n_block,). A method is called on a shallow copy of its object, so that a later fit does not change
        the result. It travels once to each worker, and must be picklable where these are other processes.
    X : dask.array.Array of shape (n_samples, ...)
        Samples. The lengths of their blocks may be unknown. Blocks that cut through a sample are joined.
    n_columns : int or None
        Width of the result. None is a one-dimensional result.
    dtype : dtype
        Of the result.

    Returns
    -------
    dask.array.Array of shape (n_samples, n_columns) or (n_samples,)
        Of numpy blocks with the rows of those of `X`; blocks without rows do not reach the function. What is computed
        is computed under the present configuration of scikit-learn, in whatever thread or process.
    """
    from dask import delayed

    width = () if n_columns is None else (n_columns,)
    if ismethod(function):
        function = getattr(copy(function.__self__), function.__name__)
    return X.map_blocks(
        _result,
        function=delayed(function, traverse=False),  # a task of its own: as an argument it would go with every block
        empty=np.empty((0, *width), dtype=dtype),
        config=get_config(),
        drop_axis=list(range(1, X.ndim)),  # along which blocks are joined
        new_axis=[1] if width else None,
        chunks=(X.chunks[0], *((n,) for n in width)),
        meta=np.empty((0, *width), dtype=dtype),
    )


def _result(block: Any, function: Callable, empty: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    if not block.shape[0]:
        return empty
    with config_context(**config):
        result = function(block)
        return np.asarray(result.toarray() if sparse.issparse(result) else result, dtype=empty.dtype)
