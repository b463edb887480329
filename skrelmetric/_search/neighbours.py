"""Neighbours of a predictor: training samples, searched where they live or where a device says."""

from typing import Any

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import validate_data

from skrelmetric._interop.arrays import as_host, float_dtypes
from skrelmetric._interop.sklearn import stays_on_device
from skrelmetric._search.host import NeighbourSearch, without_missing

__all__ = ["Neighbours", "read_queries"]


class Neighbours:
    """Training samples and their targets, ready to be searched for those nearest to a query.

    Parameters
    ----------
    X : ndarray, csr or Tensor of shape (n_train, n_features), or (n_train, n_train) if precomputed
        Training samples, or their distances, which only their own search needs.
    Y : ndarray or Tensor of shape (n_train, ...)
        Their targets.
    metric, metric_params, algorithm, n_jobs
        As in :class:`sklearn.neighbors.NearestNeighbors`.
    device : str or torch.device
        Where to search; see :class:`skrelmetric.MLkNN`.

    Attributes
    ----------
    search : NeighbourSearch or TensorSearch
        Search of the training samples.

    Raises
    ------
    ValueError
        If precomputed distances are not square, or the metric is not there on the device.
    """

    def __init__(self, X: Any, Y: Any, *, metric: Any, metric_params: Any, algorithm: str, n_jobs: Any, device: Any):
        self.precomputed, self.Y = metric == "precomputed", Y
        self._latest: tuple[_Query, Any] | None = None
        if self.precomputed and X.shape[0] != X.shape[1]:
            raise ValueError(
                f"With metric='precomputed', fit takes the distances of all training samples to one another, a square "
                f"array or graph, but X has shape {tuple(X.shape)}."
            )
        on_host = isinstance(X, np.ndarray) or sparse.issparse(X)
        if on_host and _is_host(device, self.precomputed):
            options = {"algorithm": algorithm, "n_jobs": n_jobs}
            self.search: Any = NeighbourSearch(X, metric=metric, metric_params=metric_params, **options)
        else:
            from skrelmetric._search.device import TensorSearch

            self.search = TensorSearch(X, metric=metric, metric_params=metric_params)

    def votes(self, X: Any, n_neighbors: int, device: Any) -> Any:
        """Sum of the targets of each query's neighbours, of shape (n_queries, ...).

        None asks for the neighbours of the training samples, none of which is its own.
        """
        if isinstance(self.search, NeighbourSearch):
            nearest = self.search.nearest(X, n_neighbors)
        else:
            from skrelmetric._interop.torch import resolve_device

            device = resolve_device(device, self.search.samples if X is None else X)
            nearest = self.search.nearest(X, n_neighbors, device)
        return sum(self.Y[column] for column in nearest.T)

    def remembered_votes(self, X: Any, n_neighbors: int, device: Any) -> Any:
        """Votes for queries, which are found once where the next call asks the same.

        They are kept with these training samples, so that those of another fit are never taken for them.
        """
        latest = self._latest
        if latest is None or not latest[0].is_of(X):
            self._latest = latest = _Query(X), self.votes(X, n_neighbors, device)
        return latest[1]

    def forget_distances(self) -> None:
        """Leave out distances of training samples, which predictions do not need: those of queries come with them."""
        if self.precomputed:
            self.search = type(self.search)(self.search.samples[[]], metric="precomputed")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}


class _Query:
    """Queries to be told from others: a hash of host arrays, a copy of a tensor."""

    def __init__(self, X: Any):
        self.content = X.clone() if hasattr(X, "clone") else joblib.hash(X)

    def is_of(self, X: Any) -> bool:
        if not hasattr(X, "clone"):
            return self.content == joblib.hash(X)
        return self.content.dtype == X.dtype and self.content.shape == X.shape and bool((self.content == X).all())


def read_queries(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> Any:
    """Validated samples of a predictor, and targets if given: numpy or csr, or tensors that stay on their device."""
    precomputed = estimator.metric == "precomputed"
    if precomputed and sparse.issparse(X):
        X = without_missing(X)
    if not stays_on_device(X):
        y = tuple(as_host(targets) for targets in y)
        options |= {"multi_output": True} if y else {"reset": False}
        dtype = np.float64 if _is_host(estimator.device, precomputed) else [np.float64, np.float32]
        return validate_data(estimator, X, *y, accept_sparse="csr", dtype=dtype, **options)
    from skrelmetric._interop.torch import as_tensor

    numeric = options.pop("y_numeric", False)
    X = as_tensor(validate_data(estimator, X, dtype=float_dtypes(X), reset=bool(y), **options))
    if not y:
        return X
    y = tuple(targets.toarray() if sparse.issparse(targets) else targets for targets in y)
    targets = check_array(*y, dtype="numeric" if numeric else None, ensure_2d=False, input_name="y")
    if isinstance(targets, np.ndarray) and targets.dtype.kind not in "biuf":
        raise ValueError(
            "y holds strings or objects, but with samples as tensors it must hold numbers. Encode it first."
        )
    targets = as_tensor(targets, X.device)
    check_consistent_length(X, targets)
    return X, targets


def _is_host(device: Any, precomputed: bool) -> bool:
    """Whether numpy arrays and sparse matrices are searched where they are; distances are there already."""
    if precomputed or str(device) in ("auto", "cpu"):
        return True
    from skrelmetric._interop.torch import resolve_device

    return resolve_device(device).type == "cpu"
