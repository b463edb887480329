"""Neighbour search by torch, on the device of choice, with the choice among equal distances that `host` makes."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from math import isqrt
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn import get_config
from sklearn.utils import gen_batches
from torch import Tensor

from skrelmetric._data.samples import take
from skrelmetric._interop.magnitudes import unit_rows
from skrelmetric._interop.torch import as_tensor
from skrelmetric._search.host import Found, check_differences, rounding_of_samples

__all__ = ["TensorSearch"]

_EUCLIDEAN = {"euclidean", "l2", "sqeuclidean"}
_ORDERS = {"manhattan": 1.0, "cityblock": 1.0, "l1": 1.0, "chebyshev": torch.inf, "infinity": torch.inf}

# Bytes that work with one distance needs: itself, a copy, and the marks and counts that settle ties; and with one that
# double precision settles.
_BYTES, _BYTES_SETTLED = 32, 80

# Distances of a block. On the CPU they should stay in its cache; an accelerator is filled by what memory allows.
_BLOCK_DISTANCES = {"cpu": 2**20}


class TensorSearch:
    """Training samples, ready to be searched by brute force, in blocks under scikit-learn's ``working_memory``.

    Parameters
    ----------
    X : Tensor, ndarray or csr of shape (n_train, n_features), or Tensor or ndarray of shape (n_train, n_train)
        Training samples, kept where they are, or their distances if precomputed, which only their own search needs:
        without that, no rows will do.
    metric : str
        "euclidean", "sqeuclidean", "manhattan", "chebyshev", "minkowski", "cosine" or "precomputed".
    metric_params : dict or None
        The order ``p`` of "minkowski".

    Raises
    ------
    ValueError
        If the metric is any other, or powers of all differences underflow.

    Notes
    -----
    Blocks of queries meet blocks of training samples, each moved to the device, and made dense there, for as long as
    it takes. Of each query the k + 1 nearest samples so far are kept. Where the last of them is as near as the k-th,
    up to rounding, the query goes through the blocks again, for the first samples at that distance. Samples in single
    precision get distances in double precision there, and all neighbours in the end: rounding of single precision
    decides nothing.
    """

    def __init__(self, X: Any, *, metric: Any = "euclidean", metric_params: dict | None = None):
        params = metric_params or {}
        order = params.get("p", 2.0) if metric == "minkowski" else _ORDERS.get(metric, 0.0)
        euclidean = metric in _EUCLIDEAN or order == 2
        if set(params) - {"p"} or not (euclidean or order or metric in ("cosine", "precomputed")):
            raise ValueError(
                f"metric={metric!r} with metric_params={metric_params!r} is not available for tensors and other "
                f"devices than the CPU. Use one of {sorted(_EUCLIDEAN | set(_ORDERS) | {'cosine', 'minkowski'})} "
                "(minkowski with p) or 'precomputed', or pass numpy arrays, with device='auto'."
            )
        self.metric, self.order, self.euclidean = metric, order, euclidean
        self.samples = X
        self.n_train = X.shape[metric == "precomputed"]
        self.dtype = as_tensor(X.data[:0] if sparse.issparse(X) else X[:0]).dtype
        # Single precision screens and double precision settles; of double precision, rounding is left to be settled.
        self.settles = self.dtype == torch.float32 and metric != "precomputed"
        # A centre amid the samples keeps digits that the expanded form of |x - y|^2 would lose.
        self.centre = _median(X) if euclidean and not sparse.issparse(X) else None
        if metric not in ("cosine", "precomputed"):
            check_differences(X, params)

    def nearest(self, X: Any, n_neighbors: int, device: torch.device | None = None, *, ranked: bool = False) -> Found:
        """The nearest training samples, equal distances in the order of the samples.

        Parameters
        ----------
        X : Tensor, ndarray or csr of shape (n_queries, n_features), or (n_queries, n_train) if precomputed, or None
            Queries. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int
            Number k of neighbours, at most the number of candidates.
        device : torch.device or None, default=None
            Where to search; None is where the training samples are.
        ranked : bool, default=False
            Whether they are in the order of their distances, equal ones in that of the samples, so that the first of
            them are what a search for fewer finds; otherwise their order within a row has no meaning.

        Returns
        -------
        Found
            Tensors or arrays, where and of the kind the training samples are.
        """
        queries = self.samples if X is None else X
        home = self._home
        device = device or home
        chosen = torch.empty((queries.shape[0], n_neighbors), dtype=torch.int64, device=home)
        nearest = torch.empty(chosen.shape, dtype=self.dtype, device=home)
        n_rows, n_columns = self._block_shape(queries.shape[0], n_neighbors, device)
        for rows in gen_batches(queries.shape[0], n_rows) if queries.shape[0] else ():
            x = self._rows(queries, rows, device)
            own = torch.arange(rows.start, rows.stop, device=device) if X is None else None
            precise = self._precise(queries, rows, device) if self.settles else None
            found = self._nearest(x, own, n_neighbors, n_columns, precise)
            tolerance = self._precise_tolerance if precise is not None else partial(self._tolerance, x)
            found = Found(found.indices, self._without_rounding(tolerance, found.distances))
            if ranked:
                found = _ranked(found, tolerance)
            chosen[rows], nearest[rows] = (each.to(home) for each in found)
        found = Found(chosen, self._as_asked(nearest))
        return found if isinstance(self.samples, Tensor) else Found(*(each.numpy() for each in found))

    def blocks(self, X: Any, device: torch.device | None = None, *, some: Any = None) -> Iterator[tuple[slice, Any]]:
        """Distances of queries to all training samples, in blocks of queries that fit into memory.

        Parameters
        ----------
        X : Tensor, ndarray or csr of shape (n_queries, n_features), or (n_queries, n_train) if precomputed, or None
            Queries. None asks for the training samples, each infinitely far from itself.
        device : torch.device or None, default=None
            Where to compute; None is where the training samples are.
        some : Tensor or ndarray of shape (n_queries,) or None, default=None
            Indices of the training samples that None asks for; None is all.

        Yields
        ------
        rows : slice
            Queries.
        D : Tensor or ndarray of shape (n_rows, n_train)
            Their distances, where and of the kind the training samples are.
        """
        queries, own = X, None
        if X is None:
            queries = self.samples if some is None else self.samples[some]
            own = torch.arange(self.n_train) if some is None else as_tensor(some)
        home = self._home
        device = device or home
        room = self._room()
        for rows in gen_batches(queries.shape[0], max(1, room // max(1, self.n_train))) if queries.shape[0] else ():
            x = self._rows(queries, rows, device)
            n_columns = max(1, min(self.n_train, _BLOCK_DISTANCES.get(device.type, room) // len(x)))
            own_rows = None if own is None else own[rows].to(device)
            D = torch.cat([D for _, D in self._distances(x, own_rows, n_columns)], 1)
            D = self._as_asked(self._without_rounding(partial(self._tolerance, x), D)).to(home)
            yield rows, D if isinstance(self.samples, Tensor) else D.numpy()

    def _nearest(
        self, x: Tensor, own: Tensor | None, n_neighbors: int, n_columns: int, precise: Tensor | None
    ) -> Found:
        n_kept = min(n_neighbors + 1, self.n_train)
        nearest, indices = _running_top(self._distances(x, own, n_columns), n_kept)
        kth = nearest[:, n_neighbors - 1 : n_neighbors]
        tolerance = self._tolerance(x, kth)
        chosen, nearer = indices[:, :n_neighbors], nearest[:, :n_neighbors] < kth - tolerance
        (tied,) = torch.where((nearest[:, n_neighbors:] <= kth + tolerance).any(1))
        if len(tied):
            again = self._distances(x[tied], None if own is None else own[tied], n_columns)
            if precise is None:
                chosen[tied] = _with_first_ties(again, chosen[tied], nearer[tied], (kth + tolerance)[tied])
            else:
                chosen[tied] = self._settled(again, precise[tied], (kth + tolerance)[tied], n_neighbors)
        if precise is not None:
            columns = (self._precise(self.samples, column, x.device) for column in chosen.T)
            return Found(chosen, torch.stack([self._precise_distances(precise, y) for y in columns], 1))
        return Found(chosen, nearest[:, :n_neighbors])  # what ties with the k-th is as far as it, up to rounding

    def _settled(
        self, blocks: Iterator[tuple[int, Tensor]], precise: Tensor, furthest: Tensor, n_neighbors: int
    ) -> Tensor:
        """Columns of the first neighbours by double precision, of all that are no further in single precision."""
        n_queries, device = len(precise), precise.device
        nearest, indices = precise.new_empty((n_queries, 0)), furthest.new_empty((n_queries, 0), dtype=torch.int64)
        for start, D in blocks:
            row, column = torch.where(furthest >= D)
            d = precise.new_full(D.shape, torch.inf)
            for some in gen_batches(len(row), max(1, self._room() // precise.shape[1])) if len(row) else ():
                y = self._precise(self.samples, start + column[some], device)
                d[row[some], column[some]] = self._precise_distances(precise[row[some]], y)
            nearest = torch.cat([nearest, d], 1)
            indices = torch.cat([indices, torch.arange(start, start + D.shape[1], device=device).expand(D.shape)], 1)
            n_places = min(n_neighbors, nearest.shape[1])
            kth = nearest.kthvalue(n_places, keepdim=True).values
            tolerance = self._precise_tolerance(kth).nan_to_num(posinf=0)  # as yet there may be fewer than k
            side = (nearest > kth + tolerance).to(torch.int64) - (nearest < kth - tolerance).to(torch.int64)
            first = (side * self.n_train + indices).topk(n_places, largest=False).indices
            nearest, indices = nearest.gather(1, first), indices.gather(1, first)
        return indices

    def _distances(self, x: Tensor, own: Tensor | None, n_columns: int) -> Iterator[tuple[int, Tensor]]:
        """Distances to training samples, block by block with its first index; infinite from a sample to its own."""
        for columns in gen_batches(self.n_train, n_columns):
            D = self._block(x, columns)
            if own is not None:
                place = own - columns.start
                (row,) = torch.where((place >= 0) & (place < D.shape[1]))
                D[row, place[row]] = torch.inf
            yield columns.start, D

    def _block(self, x: Tensor, columns: slice) -> Tensor:
        """Distances to some training samples, squared if Euclidean."""
        if self.metric == "precomputed":
            return x[:, columns].clone()
        y = self._rows(self.samples, columns, x.device)
        if self.euclidean:
            D = torch.addmm(y.square().sum(1), x, y.T, alpha=-2)
            return D.add_(x.square().sum(1, keepdim=True)).clamp_(min=0)
        if self.metric == "cosine":
            return (x @ y.T).neg_().add_(1)
        return torch.cdist(x, y, p=self.order)

    def _rows(self, X: Any, rows: slice, device: torch.device) -> Tensor:
        """Some samples on the device, centred or of norm 1 as the metric wants them."""
        x = _dense(X, rows, device).to(self.dtype)
        if self.centre is not None:
            return x - as_tensor(self.centre, device)
        if self.metric == "cosine":
            return unit_rows(x)
        return x

    def _precise(self, X: Any, rows: Any, device: torch.device) -> Tensor:
        """Some samples in double precision, on the device."""
        x = _dense(X, rows, device).to(torch.float64)
        return unit_rows(x) if self.metric == "cosine" else x

    def _precise_distances(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances of pairs of samples, squared if Euclidean."""
        if self.metric == "cosine":
            return 1 - (x * y).sum(1)
        difference = x - y
        return difference.square().sum(1) if self.euclidean else torch.linalg.vector_norm(difference, self.order, 1)

    def _precise_tolerance(self, distances: Tensor) -> Tensor:
        """Difference that double precision may make between equal distances of samples in single precision."""
        rounding = 4096 * torch.finfo(torch.float64).eps
        return rounding * (distances.abs() + (self.metric == "cosine"))

    def _block_shape(self, n_queries: int, n_neighbors: int, device: torch.device) -> tuple[int, int]:
        """Rows and columns of a block of distances, such that it fits into memory with its samples and neighbours."""
        room = self._room()
        block = _BLOCK_DISTANCES.get(device.type, room)
        n_train, width = self.n_train, self.samples.shape[1]
        if self.metric == "precomputed":  # the rows are there
            return max(1, min(room, block) // n_train), n_train
        kept = width + 2 * (n_neighbors + 1)
        side = min(isqrt(kept**2 + room) - kept, isqrt(block))
        all_columns = min((room - n_train * width) // (n_train + kept), block // n_train)
        n_rows = max(1, min(n_queries, max(side, all_columns)))
        n_columns = min((room - n_rows * kept) // (n_rows + width), block // n_rows)
        return n_rows, max(1, min(n_train, n_columns))

    def _room(self) -> int:
        """Distances that memory allows to work with at once."""
        return int(get_config()["working_memory"] * 2**20 / (_BYTES_SETTLED if self.settles else _BYTES))

    @property
    def _home(self) -> torch.device:
        return self.samples.device if isinstance(self.samples, Tensor) else torch.device("cpu")

    def _without_rounding(self, tolerance: Callable[[Tensor], Tensor], D: Tensor) -> Tensor:
        """Distances, 0 where rounding explains them."""
        rounded = self.euclidean or self.metric == "cosine"
        return torch.where(tolerance(D.new_zeros(())) > D, 0.0, D) if rounded else D

    def _as_asked(self, D: Tensor) -> Tensor:
        """Distances of the metric that was asked for; overwrites those of blocks."""
        return D.sqrt_() if self.euclidean and self.metric != "sqeuclidean" else D

    def _tolerance(self, x: Tensor, kth: Tensor) -> Tensor:
        """Difference that rounding may make between equal distances, of the shape of `kth`, (n_queries, ...)."""
        eps = torch.finfo(x.dtype).eps
        if self.euclidean:  # a sample at squared distance d^2 from x has |y|^2 <= 2 |x|^2 + 2 d^2
            return (64 + 4 * x.shape[1]) * eps * (x.square().sum(1, keepdim=True) + kth) + self._of_samples
        return 4096 * eps * (kth.abs() + (self.metric == "cosine"))

    @cached_property
    def _of_samples(self) -> float:
        return rounding_of_samples(self.centre, torch.finfo(self.dtype).eps)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_of_samples"}


def _dense(X: Any, rows: slice | Tensor, device: torch.device) -> Tensor:
    """Some samples as a tensor on the device."""
    x = take(X, rows)
    return as_tensor(x.toarray() if sparse.issparse(x) else x, device)


def _median(X: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Median of each feature over some thousand samples."""
    some = X[:: max(1, len(X) // 1000)]
    return some.median(0).values if isinstance(some, Tensor) else np.median(some, axis=0)


def _running_top(blocks: Iterator[tuple[int, Tensor]], n_kept: int) -> tuple[Tensor, Tensor]:
    """The least distances of each row over blocks of columns, in ascending order, and their columns."""
    nearest = indices = torch.empty(0)
    for start, D in blocks:
        full = start >= n_kept
        if not start:
            nearest, indices = D[:, :0], torch.empty((len(D), 0), dtype=torch.int64, device=D.device)
        rows = torch.where(D.amin(1) < nearest[:, -1])[0] if full else slice(None)
        near, columns = D[rows].topk(min(n_kept, D.shape[1]), largest=False)
        near, columns = torch.cat([nearest[rows], near], 1), torch.cat([indices[rows], start + columns], 1)
        near, order = near.topk(min(n_kept, near.shape[1]), largest=False)
        columns = columns.gather(1, order)
        if full:
            nearest[rows], indices[rows] = near, columns
        else:
            nearest, indices = near, columns
    return nearest, indices


def _ranked(found: Found, tolerance: Callable[[Tensor], Tensor]) -> Found:
    """Neighbours in ascending order of distance, those that tie with the one before by index."""
    order = found.distances.argsort(dim=1, stable=True)
    found = Found(*(each.gather(1, order) for each in found))
    further = found.distances.diff(dim=1) > tolerance(found.distances)[:, 1:]
    step = torch.nn.functional.pad(further.cumsum(1), (1, 0))
    by_index = found.indices.argsort(dim=1)
    order = by_index.gather(1, step.gather(1, by_index).argsort(dim=1, stable=True))
    return Found(*(each.gather(1, order) for each in found))


def _with_first_ties(blocks: Iterator[tuple[int, Tensor]], chosen: Tensor, nearer: Tensor, furthest: Tensor) -> Tensor:
    """Chosen columns of each row, of which those not marked as nearer give way to the first that are no further.

    The nearer are the first of a row. They are told from ties by their column, since a distance computed again in
    another block may be rounded otherwise.
    """
    chosen, n_found = chosen.clone(), nearer.sum(1)
    candidates, n_places = torch.where(nearer, chosen, -1), chosen.shape[1]
    for start, D in blocks:
        tied = furthest >= D
        place = candidates - start
        row, column = torch.where((place >= 0) & (place < D.shape[1]))
        tied[row, place[row, column]] = False
        rank = n_found[:, None] + tied.cumsum(1)
        row, column = torch.where(tied & (rank <= n_places))
        chosen[row, rank[row, column] - 1] = start + column
        n_found = rank[:, -1].clamp(max=n_places)
        if bool((n_found == n_places).all()):
            break
    return chosen
