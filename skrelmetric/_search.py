"""Neighbour search whose choice among equal distances is defined: by the order of the training samples."""

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

__all__ = ["NeighbourSearch"]

# Distances that differ by less count as equal. Euclidean ones have a tolerance of their own; see _tolerance.
_RELATIVE_TOLERANCE = 1e-12

# How much wider than the neighbours asked for a search may get before all distances of a row are computed.
_WIDEST = 16


class NeighbourSearch:
    """Training samples, ready to be searched.

    Parameters
    ----------
    X : ndarray or csr of float64 of shape (n_train, n_features), or (n_train, n_train) if precomputed
        Training samples, or their distances.
    metric, metric_params, algorithm, n_jobs
        As in :class:`sklearn.neighbors.NearestNeighbors`.

    Notes
    -----
    A search returns an arbitrary choice of the samples that share the k-th distance, and rounding decides which
    distances are shared. So one neighbour more than needed is asked for, and where it is as near as the k-th, up to
    rounding, the row is searched again, wider, until all samples at that distance are seen; those of lowest index
    are taken.
    """

    def __init__(self, X, *, metric="euclidean", metric_params=None, algorithm="auto", n_jobs=None):
        params = metric_params or {}
        metric = "euclidean" if metric == "sqeuclidean" else metric  # the same order, and one way to settle ties
        self.precomputed = metric == "precomputed"
        self.euclidean = metric in ("euclidean", "l2") or (
            metric == "minkowski" and params.get("p", 2) == 2 and "w" not in params
        )
        # Expanding |x - y|^2 = |x|^2 - 2 x.y + |y|^2 loses the digits that |x|^2 has before |x - y|^2. A centre amid
        # the samples keeps them, and a median is not moved by a few samples far away.
        self.centre = None
        self.unit = 1.0 if metric == "cosine" else 0.0  # cosine distances are differences from 1
        if self.euclidean and not sparse.issparse(X):
            self.centre = np.median(X[:: max(1, len(X) // 1000)], axis=0)
        self.samples = self._centred(X)
        self.index = NearestNeighbors(
            metric=metric,
            p=None if "p" in params else 2,
            metric_params=metric_params,
            algorithm=algorithm,
            n_jobs=n_jobs,
        ).fit(self.samples)

    def nearest(self, X, n_neighbors: int) -> np.ndarray:
        """Indices of the nearest training samples, equal distances in the order of the samples.

        Parameters
        ----------
        X : ndarray or csr of float64 of shape (n_queries, n_features), or (n_queries, n_train) if precomputed, or None
            Queries. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int
            Number k of neighbours, at most the number of candidates.

        Returns
        -------
        ndarray of shape (n_queries, n_neighbors)
            Indices; their order within a row has no meaning.

        Raises
        ------
        ValueError
            If a row of a precomputed graph has too few neighbours.
        """
        leave_one_out = X is None
        X = self.samples if leave_one_out else self._centred(X)
        if self.precomputed and sparse.issparse(X):
            return _nearest_in_graph(X, n_neighbors, leave_one_out)
        n_train = self.samples.shape[0]
        chosen = np.empty((X.shape[0], n_neighbors), dtype=np.intp)
        kth = np.empty((X.shape[0], 1))
        open_rows = np.arange(X.shape[0])
        for width in (n_neighbors + 1, _WIDEST * n_neighbors + 1):
            width = min(width + leave_one_out, n_train)
            unsettled = []
            for batch in gen_batches(len(open_rows), _rows_in_memory(width)) if len(open_rows) else ():
                rows = open_rows[batch]
                distances, indices = self.index.kneighbors(X[rows], width)
                if leave_one_out:
                    distances, indices = _without_self(distances, indices, rows)
                d = self._comparable(distances)
                kth[rows] = d[:, [n_neighbors - 1]]
                side = _side(d, kth[rows], self._tolerance(X[rows], kth[rows]))
                settled = (side[:, -1] > 0) | (width == n_train)
                order = np.lexsort((indices, side), axis=1)[:, :n_neighbors]
                chosen[rows] = np.take_along_axis(indices, order, axis=1)
                unsettled.append(rows[~settled])
            open_rows = np.concatenate([*unsettled, np.empty(0, dtype=np.intp)])
        if len(open_rows):
            chosen[open_rows] = self._scan(X, open_rows, kth[open_rows], n_neighbors, leave_one_out)
        return chosen

    def _scan(self, X, rows: np.ndarray, kth: np.ndarray, n_neighbors: int, leave_one_out: bool) -> np.ndarray:
        """First neighbours of rows whose k-th distance is shared by very many samples, from all their distances."""
        queries = X[rows]
        tolerance = self._tolerance(queries, kth)

        def first_by_index(D, start):
            batch = slice(start, start + len(D))
            if leave_one_out:
                D[np.arange(len(D)), rows[batch]] = np.inf
            side = _side(D, kth[batch], tolerance[batch])
            nearer, tied = side < 0, side == 0
            places = n_neighbors - nearer.sum(1, keepdims=True)
            chosen = nearer | (tied & (tied.cumsum(1, dtype=np.int32) <= places))
            return chosen.nonzero()[1].reshape(len(D), n_neighbors)

        options = {"squared": True} if self.euclidean else self.index.effective_metric_params_
        blocks = pairwise_distances_chunked(
            queries,
            self.samples,
            reduce_func=first_by_index,
            metric=self.index.effective_metric_,
            n_jobs=self.index.n_jobs,
            working_memory=get_config()["working_memory"] / 3,  # the marks take as much again as the distances
            **options,
        )
        return np.concatenate(list(blocks))

    def _centred(self, X):
        return X if self.centre is None else X - self.centre

    def _comparable(self, distances: np.ndarray) -> np.ndarray:
        """Distances as ties are told by: Euclidean ones squared, as they are computed."""
        return distances**2 if self.euclidean else distances

    def _tolerance(self, X, kth: np.ndarray) -> np.ndarray:
        """Difference that rounding may make between equal distances, of shape (n_queries, 1).

        A sample at squared distance d^2 from x has |y|^2 <= 2 |x|^2 + 2 d^2, so |x|^2 + d^2 bounds what the expanded
        form rounds.
        """
        if not self.euclidean:
            return _RELATIVE_TOLERANCE * np.maximum(np.abs(kth), self.unit)
        rounding = (64 + 4 * X.shape[1]) * np.finfo(np.float64).eps
        return rounding * (row_norms(X, squared=True)[:, None] + kth)


def _side(distances: np.ndarray, kth: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """-1 where a distance is less than the k-th, 0 where it equals it up to the tolerance, 1 where it is more."""
    return (distances > kth + tolerance).astype(np.int8) - (distances < kth - tolerance)


def _without_self(distances: np.ndarray, indices: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each row's own index, or, where duplicates crowded it out, the furthest neighbour."""
    others = indices != rows[:, None]
    others[others.all(1), -1] = False
    shape = (len(rows), indices.shape[1] - 1)
    return distances[others].reshape(shape), indices[others].reshape(shape)


def _nearest_in_graph(graph, n_neighbors: int, leave_one_out: bool) -> np.ndarray:
    """First neighbours of each row of a sparse graph of distances, equal ones by index."""
    graph = sparse.coo_array(graph)
    kept = graph.row != graph.col if leave_one_out else np.ones(graph.nnz, dtype=bool)
    rows, columns, distances = graph.row[kept], graph.col[kept], graph.data[kept]
    counts = np.bincount(rows, minlength=graph.shape[0])
    if counts.min() < n_neighbors:
        raise ValueError(
            f"n_neighbors={n_neighbors}, but row {counts.argmin()} of the precomputed graph has only {counts.min()} "
            "neighbours"
            + (" other than itself. Build it with one neighbour more." if leave_one_out else ". Build it with more.")
        )
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    kth = distances[np.lexsort((distances, rows))[starts + n_neighbors - 1]][rows]
    side = _side(distances, kth, _RELATIVE_TOLERANCE * np.abs(kth))
    order = np.lexsort((columns, side, rows))
    return columns[order[starts[:, None] + np.arange(n_neighbors)]]


def _rows_in_memory(width: int) -> int:
    """Rows of `width` distances and indices, and what sorts them, in scikit-learn's ``working_memory`` (MiB)."""
    return max(1, int(get_config()["working_memory"] * 2**20 / (64 * width)))
