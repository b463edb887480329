"""Neighbour search whose choice among equal distances is defined: by the order of the training samples."""

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

__all__ = ["nearest"]


def nearest(search: NearestNeighbors, X, n_neighbors: int, *, leave_one_out: bool = False) -> np.ndarray:
    """Indices of the nearest training samples, equal distances in the order of the samples.

    Parameters
    ----------
    search : NearestNeighbors
        Fitted search structure.
    X : ndarray or csr of shape (n_queries, n_features), or (n_queries, n_train) if precomputed
        Queries.
    n_neighbors : int
        Number k of neighbours, at most the number of candidates.
    leave_one_out : bool, default=False
        Whether the queries are the training samples, none of which may be its own neighbour.

    Returns
    -------
    ndarray of shape (n_queries, n_neighbors)
        Indices; their order within a row has no meaning.

    Raises
    ------
    ValueError
        If a row of a precomputed graph has too few neighbours.

    Notes
    -----
    A search returns an arbitrary choice of the samples that share the k-th distance. So one more neighbour is asked
    for, and where it is as near as the k-th, the few rows concerned are searched again, wider, until all samples at
    that distance are seen.
    """
    n_train = search.n_samples_fit_
    if search.metric == "precomputed" and sparse.issparse(X):
        return _nearest_in_graph(X, n_neighbors, leave_one_out)
    chosen = np.empty((X.shape[0], n_neighbors), dtype=np.intp)
    rounding = _rounding(search, X)
    rows, width = np.arange(X.shape[0]), n_neighbors
    while rows.size:
        width = min(width + 1 + leave_one_out, n_train)
        unsettled = []
        for batch in gen_batches(rows.size, _rows_in_memory(width)):
            batch_rows = rows[batch]
            distances, indices = search.kneighbors(X[batch_rows], width)
            if leave_one_out:
                distances, indices = _without_self(distances, indices, batch_rows)
            tied = distances[:, n_neighbors - 1 :] ** 2 <= distances[:, [n_neighbors - 1]] ** 2 + rounding[batch_rows]
            settled = ~tied[:, -1] if width < n_train else np.ones(len(tied), dtype=bool)
            in_order = settled & (tied.sum(1) == 1)
            chosen[batch_rows[in_order]] = indices[in_order, :n_neighbors]
            repair = settled & ~in_order
            chosen[batch_rows[repair]] = _first_by_index(
                distances[repair], indices[repair], n_neighbors, rounding[batch_rows[repair]]
            )
            unsettled.append(batch_rows[~settled])
        rows, width = np.concatenate(unsettled), 4 * width
    return chosen


def _without_self(distances: np.ndarray, indices: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each row's own index, or, where duplicates crowded it out, the furthest neighbour."""
    others = indices != rows[:, None]
    others[others.all(1), -1] = False
    shape = (len(rows), indices.shape[1] - 1)
    return distances[others].reshape(shape), indices[others].reshape(shape)


def _first_by_index(distances: np.ndarray, indices: np.ndarray, n_neighbors: int, rounding: np.ndarray) -> np.ndarray:
    """First neighbours by distance and then by index, where squared distances within `rounding` are equal."""
    steps = np.diff(distances**2, axis=1, prepend=0) > rounding
    order = np.lexsort((indices, steps.cumsum(1)), axis=1)
    return np.take_along_axis(indices, order[:, :n_neighbors], axis=1)


def _nearest_in_graph(graph, n_neighbors: int, leave_one_out: bool) -> np.ndarray:
    """First neighbours of each row of a sparse graph of distances, by distance and then by index."""
    graph = sparse.coo_array(graph)
    rows, columns = graph.row, graph.col
    kept = rows != columns if leave_one_out else np.ones(len(rows), dtype=bool)
    rows, columns, distances = rows[kept], columns[kept], graph.data[kept]
    counts = np.bincount(rows, minlength=graph.shape[0])
    if counts.min() < n_neighbors:
        raise ValueError(
            f"n_neighbors={n_neighbors}, but row {counts.argmin()} of the precomputed graph has only {counts.min()} "
            "neighbours"
            + (" other than itself. Build it with one neighbour more." if leave_one_out else ". Build it with more.")
        )
    order = np.lexsort((columns, distances, rows))
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    return columns[order[starts[:, None] + np.arange(n_neighbors)]]


def _rounding(search: NearestNeighbors, X) -> np.ndarray:
    """Difference of squared distances that rounding explains, of shape (n_queries, 1).

    Brute-force search expands |x - y|^2 = |x|^2 - 2 x.y + |y|^2, which loses digits to cancellation; other metrics
    and the trees take differences directly.
    """
    if search.effective_metric_ != "euclidean" or search.metric == "precomputed" or search._fit_method != "brute":
        return np.zeros((X.shape[0], 1))
    largest = row_norms(search._fit_X, squared=True).max()
    return 32 * np.finfo(np.float64).eps * (row_norms(X, squared=True) + largest)[:, None]


def _rows_in_memory(width: int) -> int:
    """Rows of `width` distances and indices that fit scikit-learn's ``working_memory``, in MiB."""
    return max(1, int(get_config()["working_memory"] * 2**20 / (32 * width)))
