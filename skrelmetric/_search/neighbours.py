"""Neighbours of a predictor: training samples, searched where they live or where a device says."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, gen_batches

from skrelmetric._interop.arrays import as_host, canonical, float_dtypes, module_of, without_zeros
from skrelmetric._interop.given import check_array, plain_targets, validate_data
from skrelmetric._interop.magnitudes import MOST, check_range, largest
from skrelmetric._interop.sklearn import get_chunk_n_rows, stays_on_device
from skrelmetric._search.host import Found, NeighbourSearch, most_of_order, without_missing
from skrelmetric._search.votes import votes_of_each

__all__ = ["Neighbours", "read_numbers", "read_queries"]

_BYTES_OF_VOTES = 200  # of a label that a neighbour has, where the most probable labels are sorted out


class Neighbours:
    """Training samples and their targets, ready to be searched for those nearest to a query.

    Parameters
    ----------
    X : ndarray, csr or Tensor of shape (n_train, n_features), or (n_train, n_train) if precomputed
        Training samples, or their distances, which only their own search needs.
    Y : ndarray, Tensor or csr_array of shape (n_train, ...)
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
        self.squared = metric == "sqeuclidean"
        self._latest: tuple[Any, Any] | None = None
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

    @property
    def n_train(self) -> int:
        """Number of training samples."""
        return self.Y.shape[0]

    @property
    def sparse_targets(self) -> bool:
        """Whether the targets are sparse, and what is made of them is not to be as large as dense ones."""
        return sparse.issparse(self.Y)

    def nearest(self, X: Any, n_neighbors: int, device: Any, *, ranked: bool = False) -> Found:
        """The nearest training samples of each query, in the order of their distances if they are to be ranked.

        None asks for the neighbours of the training samples, none of which is its own.

        Raises
        ------
        ValueError
            If it asks so of distances that are forgotten.
        """
        self._check_remembers(X)
        return self.search.nearest(X, n_neighbors, *self._place(X, device), ranked=ranked)

    def blocks(self, X: Any, device: Any, some: Any = None) -> Iterator[tuple[slice, Any]]:
        """Distances of queries to all training samples, in blocks of queries.

        None asks for those of the training samples, or some of them by their indices; each is infinitely far from
        itself.
        """
        self._check_remembers(X)
        return self.search.blocks(X, *self._place(X, device), some=some)

    def votes(self, X: Any, n_neighbors: int, device: Any) -> Any:
        """Sum of the targets of each query's neighbours, of shape (n_queries, ...); None is for training samples."""
        return next(self.votes_of_each(X, [n_neighbors], device))

    def votes_of_each(self, X: Any, numbers: Sequence[int], device: Any) -> Iterator[Any]:
        """Sums of the targets of as many neighbours as each of some ascending numbers says, from one search."""
        return votes_of_each(self.Y, self.nearest_of_each(X, numbers, device), numbers)

    def nearest_of_each(self, X: Any, numbers: Sequence[int], device: Any) -> Any:
        """Indices of the neighbours that `votes_of_each` sums over."""
        return self.nearest(X, numbers[-1], device, ranked=len(numbers) > 1).indices

    def batches(self, indices: Any) -> Iterator[slice]:
        """Batches of queries, given their neighbours, whose votes for sparse targets fit into ``working_memory``."""
        n_votes = indices.shape[1] * (1 + self.Y.nnz // self.n_train)
        return gen_batches(len(indices), get_chunk_n_rows(_BYTES_OF_VOTES * n_votes, max_n_rows=len(indices)))

    def remembered(self, X: Any, answer: Callable[[], Any]) -> Any:
        """Answer for queries, which is found once where the next call asks for the same.

        It is kept with these training samples, so that the answer of another fit is never taken for it.
        """
        query, latest = _identity(X), self._latest
        if latest is None or not _equal(latest[0], query):
            self._latest = latest = query if isinstance(query, bytes) else query.clone(), answer()
        return latest[1]

    def forget_distances(self) -> None:
        """Leave out distances of training samples, which predictions do not need: those of queries come with them."""
        if self.precomputed:
            self.search = type(self.search)(self.search.samples[[]], metric="precomputed")

    def _check_remembers(self, X: Any) -> None:
        if X is None and self.precomputed and not self.search.samples.shape[0]:
            raise ValueError(
                "Distances among the training samples are not kept after fit. Pass them, with each sample's own as it "
                "is: it is then among its neighbours."
            )

    def _place(self, X: Any, device: Any) -> list:
        """Device of a search by torch."""
        if isinstance(self.search, NeighbourSearch):
            return []
        from skrelmetric._interop.torch import resolve_device

        return [resolve_device(device, self.search.samples if X is None else X)]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}


def read_queries(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> Any:
    """Validated samples of a predictor, and targets if given: numpy or csr, or tensors that stay on their device.

    Raises
    ------
    ValueError
        If they are not valid, or too large.
    """
    X, *y = (_read_on_device if stays_on_device(X) else _read_on_host)(estimator, X, *y, **options)
    if estimator.metric != "precomputed":
        check_range(largest(X), "X", most_of_order(estimator.metric_params, X.dtype), least=False)
    return (X, *y) if y else X


def _read_on_host(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> tuple:
    precomputed = estimator.metric == "precomputed"
    if precomputed and sparse.issparse(X):
        X = without_missing(X)
    y = tuple(as_host(targets) for targets in y)
    options |= {"multi_output": True} if y else {"reset": False}
    dtype = np.float64 if _is_host(estimator.device, precomputed) else [np.float64, np.float32]
    read = validate_data(estimator, X, *y, accept_sparse="csr", dtype=dtype, **options)
    X, *y = read if y else (read,)
    return (canonical(X) if sparse.issparse(X) else X, *y)


def _read_on_device(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> tuple:
    from skrelmetric._interop.torch import as_tensor

    numeric = options.pop("y_numeric", False)
    X = as_tensor(validate_data(estimator, X, dtype=float_dtypes(X), reset=bool(y), **options))
    if not y:
        return (X,)
    y = tuple(targets.toarray() if sparse.issparse(targets) else targets for targets in y)
    targets = check_array(*y, dtype="numeric" if numeric else None, ensure_2d=False, input_name="y")
    if isinstance(targets, np.ndarray) and targets.dtype.kind not in "biuf":
        raise ValueError(
            "y holds strings or objects, but with samples as tensors it must hold numbers. Encode it first."
        )
    targets = as_tensor(targets, X.device)
    check_consistent_length(X, targets)
    return X, targets


def read_numbers(estimator: BaseEstimator, X: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """Validated samples and numeric targets of a regressor, float64; those of sparse columns are a csr_array.

    Raises
    ------
    ValueError
        If the targets are not numbers, not finite, or too large.
    """
    X, y = read_queries(estimator, X, plain_targets(y, numeric=True), y_numeric=True, **options)
    y = without_zeros(y, np.float64) if sparse.issparse(y) else module_of(y).asarray(y, dtype=module_of(y).float64)
    if not sparse.issparse(y) and not module_of(y).isfinite(y).all():  # objects are numbers only now
        raise ValueError("Input y contains NaN or infinity. Leave samples of unknown target out, or fill it in.")
    check_range(largest(y), "y", MOST, least=False)
    return X, y


def _identity(X: Any) -> Any:
    """What tells queries from others: a digest of host arrays, which takes no memory, or the tensor itself."""
    if hasattr(X, "clone"):
        return X
    arrays = [X.data, X.indices, X.indptr] if sparse.issparse(X) else [X]
    digest = blake2b(repr([X.shape, *((array.dtype, array.strides) for array in arrays)]).encode())
    for array in arrays:
        digest.update(array.ravel(order="K"))
    return digest.digest()


def _equal(a: Any, b: Any) -> bool:
    """Whether two identities are those of the same queries."""
    if isinstance(a, bytes) or isinstance(b, bytes):
        return type(a) is type(b) and a == b
    return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


def _is_host(device: Any, precomputed: bool) -> bool:
    """Whether numpy arrays and sparse matrices are searched where they are; distances are there already."""
    if precomputed or str(device) in ("auto", "cpu"):
        return True
    from skrelmetric._interop.torch import resolve_device

    return resolve_device(device).type == "cpu"
