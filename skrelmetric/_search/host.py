"""Neighbour search whose choice among equal distances is defined: by the order of the training samples."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.metrics import pairwise_distances, pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms
from sklearn.utils.validation import check_non_negative

from skrelmetric._interop.arrays import module_of
from skrelmetric._interop.magnitudes import check_range, largest, limit_of, unit_rows
from skrelmetric._search.screen import FEWEST, Screen, in_threads

__all__ = [
    "Found",
    "NeighbourSearch",
    "check_differences",
    "most_of_order",
    "rounding_of_samples",
    "without_missing",
]

# Distances that differ by less count as equal. Euclidean ones have a tolerance of their own; see _tolerance.
_RELATIVE_TOLERANCE = 1e-12

# Units in the last place by which equal samples may differ, as where they are products of matrices.
_UNITS = 8

# Features up to which scikit-learn's index is a tree if it may choose.
_FEATURES_OF_TREES = 15

# Entries of differences of samples that are in the cache at once.
_ENTRIES = 2**15

# How much wider than the neighbours asked for a search may get before all distances of a row are computed.
_WIDEST = 16


class Found(NamedTuple):
    """Neighbours that were found.

    Attributes
    ----------
    indices : ndarray or Tensor of int of shape (n_queries, n_neighbors)
        Indices of training samples, -1 where a graph has no more of them.
    distances : ndarray or Tensor of shape (n_queries, n_neighbors)
        Their distances, squared for the squared Euclidean metric, infinite where there are none.
    """

    indices: Any
    distances: Any


class NeighbourSearch:
    """Training samples, ready to be searched: dense ones by their screen, all others by scikit-learn's index.

    Parameters
    ----------
    X : ndarray or csr of float64 of shape (n_train, n_features), or (n_train, n_train) if precomputed
        Training samples, or their distances, which only their own search needs: without that, no rows will do.
    metric, metric_params, algorithm, n_jobs
        As in :class:`sklearn.neighbors.NearestNeighbors`.

    Raises
    ------
    ValueError
        If powers of all differences underflow.

    Notes
    -----
    A search returns an arbitrary choice of the samples that share the k-th distance, and rounding decides which
    distances are shared. So one neighbour more than needed is asked for, and where it is as near as the k-th, up to
    rounding, the row is searched again, wider, until all samples at that distance are seen; those of lowest index
    are taken.

    Brute force on dense samples, Euclidean or cosine, starts with a :class:`~skrelmetric._search.screen.Screen` in
    single precision. Double precision decides among its candidates, and has the queries to itself that have too many.

    Queries are taken in blocks. Beyond the training samples, their copy in single precision and the result, memory
    stays within scikit-learn's ``working_memory``, or a few rows of distances if these are larger.
    """

    def __init__(self, X, *, metric="euclidean", metric_params=None, algorithm="auto", n_jobs=None):
        params = metric_params or {}
        self.precomputed = metric == "precomputed"
        self.cosine, self.squared = metric == "cosine", metric == "sqeuclidean"
        if metric == "sqeuclidean" or self.cosine:  # of the same order, and one way to settle ties
            metric = "euclidean"
        self.euclidean = metric in ("euclidean", "l2") or (
            metric == "minkowski" and params.get("p", 2) == 2 and "w" not in params
        )
        # Expanding |x - y|^2 = |x|^2 - 2 x.y + |y|^2 loses the digits that |x|^2 has before |x - y|^2. A centre amid
        # the samples keeps them, and a median is not moved by a few samples far away.
        self.centre = None
        if self.euclidean and not self.cosine and not sparse.issparse(X):
            self.centre = np.median(X[:: max(1, len(X) // 1000)], axis=0)
        self.samples = _on_sphere(X) if self.cosine else self._centred(X)
        if self.precomputed:
            return
        if not self.cosine:
            check_differences(X, params)
        # Of few features a tree of the index is faster.
        self.screened = self.euclidean and not sparse.issparse(X) and X.shape[0] >= FEWEST
        self.screened &= algorithm == "brute" or (algorithm == "auto" and X.shape[1] > _FEATURES_OF_TREES)
        self.options = {
            "metric": metric,
            "p": None if "p" in params else 2,
            "metric_params": metric_params,
            "algorithm": algorithm,
            "n_jobs": n_jobs,
        }
        _ = self.index, self.screen

    def nearest(self, X, n_neighbors: int, *, ranked: bool = False) -> Found:
        """The nearest training samples, equal distances in the order of the samples.

        Parameters
        ----------
        X : ndarray or csr of float64 of shape (n_queries, n_features), or (n_queries, n_train) if precomputed, or None
            Queries. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int
            Number k of neighbours, at most the number of candidates.
        ranked : bool, default=False
            Whether they are in the order of their distances, equal ones in that of the samples, so that the first of
            them are what a search for fewer finds; otherwise their order within a row has no meaning.

        Returns
        -------
        Found

        Raises
        ------
        ValueError
            If precomputed distances are negative, or a row of a graph of them has too few neighbours.
        """
        leave_one_out = X is None
        X = self.samples if leave_one_out else X
        if self.precomputed:
            check_non_negative(X, "a search among precomputed distances")
            found = (_in_graph if sparse.issparse(X) else _in_table)(X, n_neighbors, leave_one_out)
            return _ranked(found, _relative_tolerance) if ranked else found
        n_train = self.samples.shape[0]
        chosen = np.empty((X.shape[0], n_neighbors), dtype=np.intp)
        nearest = np.empty(chosen.shape)
        kth = np.empty((X.shape[0], 1))
        open_rows = np.arange(X.shape[0])
        if self.screen is not None and self.screen.suits(n_neighbors + 2):

            def screened(rows: np.ndarray) -> np.ndarray:
                x = self._as_queries(X[rows], leave_one_out)
                complete, found = self._among_candidates(x, n_neighbors, rows if leave_one_out else None)
                chosen[rows[complete]], nearest[rows[complete]] = self._finished(x[complete], found, ranked)
                return rows[~complete]

            batches = [open_rows[batch] for batch in self.screen.batches(len(open_rows), n_neighbors + 2)]
            open_rows = np.concatenate([open_rows[:0], *in_threads(screened, batches)])
        for width in (n_neighbors + 1, _WIDEST * n_neighbors + 1):
            width = min(width + leave_one_out, n_train)
            unsettled = []
            for rows in self._batches(X, open_rows, width):
                x = self._as_queries(X[rows], leave_one_out)
                distances, indices = self._search(x, width)
                if leave_one_out:
                    distances, indices = _without_self(distances, indices, rows)
                d = self._comparable(distances)
                kth[rows] = d[:, [n_neighbors - 1]]
                side = _side(d, kth[rows], self._tolerance(x, kth[rows]))
                settled = (side[:, -1] > 0) | (width == n_train)
                chosen[rows], nearest[rows] = self._finished(x, _first(Found(indices, d), side, n_neighbors), ranked)
                unsettled.append(rows[~settled])
            open_rows = np.concatenate([*unsettled, np.empty(0, dtype=np.intp)])
        for rows in self._batches(X, open_rows, n_neighbors):
            x = self._as_queries(X[rows], leave_one_out)
            found = self._scan(x, kth[rows], n_neighbors, rows if leave_one_out else None)
            chosen[rows], nearest[rows] = self._finished(x, found, ranked)
        return Found(chosen, self._as_asked(nearest))

    def blocks(self, X, *, some: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Distances of queries to all training samples, in blocks of queries that fit into memory.

        Parameters
        ----------
        X : ndarray or csr of float64 of shape (n_queries, n_features), or (n_queries, n_train) if precomputed, or None
            Queries. None asks for the training samples, each infinitely far from itself.
        some : ndarray of shape (n_queries,) or None, default=None
            Indices of the training samples that None asks for; None is all.

        Yields
        ------
        rows : slice
            Queries.
        D : ndarray of shape (n_rows, n_train)
            Their distances, infinite where a graph has none.

        Raises
        ------
        ValueError
            If precomputed distances are negative.
        """
        own = None
        if X is None:
            own = np.arange(self.samples.shape[0]) if some is None else some
            X = self.samples if some is None else self.samples[some]
        if self.precomputed:
            check_non_negative(X, "a search among precomputed distances")
        n_train = X.shape[1] if self.precomputed else self.samples.shape[0]
        for rows in gen_batches(X.shape[0], _rows_in_memory(n_train)) if X.shape[0] else ():
            if self.precomputed:
                D = _in_full(X, rows) if sparse.issparse(X) else X[rows].copy()
            else:
                x = self._as_queries(X[rows], own is not None)
                D = pairwise_distances(x, self.samples, **self._pairwise_options)
                D = self._as_asked(self._without_rounding(x, D))
            if own is not None:
                D[np.arange(len(D)), own[rows]] = np.inf
            yield rows, D

    def _among_candidates(self, x, n_neighbors: int, own: np.ndarray | None) -> tuple[np.ndarray, Found]:
        """Which queries have few candidates, and the first neighbours of these."""
        assert self.screen is not None
        x = x.toarray() if sparse.issparse(x) else x
        indices, complete = self.screen.candidates(x, n_neighbors + 1 + (own is not None))
        d = np.full(indices.shape, np.inf)
        query, place = np.nonzero((indices >= 0) & (indices != (-1 if own is None else own[:, None])))
        for some in gen_batches(len(query), max(1, _ENTRIES // x.shape[1])) if len(query) else ():
            differences = x[query[some]] - self.samples[indices[query[some], place[some]]]
            d[query[some], place[some]] = np.einsum("ij,ij->i", differences, differences)
        x, indices, d = x[complete], indices[complete], d[complete]
        kth = np.partition(d, n_neighbors - 1, axis=1)[:, [n_neighbors - 1]]
        side = _side(d, kth, self._tolerance(x, kth))
        return complete, _first(Found(indices, d), side, n_neighbors)

    def _search(self, x, width: int) -> tuple[np.ndarray, np.ndarray]:
        # Half of the memory is for what is found. Sorting out the nearest in scikit-learn's own blocks of distances,
        # where it takes such, needs as much again as the block.
        with config_context(working_memory=get_config()["working_memory"] / 4):
            return self.index.kneighbors(x, width)

    def _scan(self, x, kth: np.ndarray, n_neighbors: int, own: np.ndarray | None) -> Found:
        """First neighbours of rows whose k-th distance is shared by very many samples, from all their distances."""
        tolerance = self._tolerance(x, kth)

        def first_by_index(D, start):
            batch = slice(start, start + len(D))
            if own is not None:
                D[np.arange(len(D)), own[batch]] = np.inf
            return tuple(_first_of_all(D, _side(D, kth[batch], tolerance[batch]), n_neighbors))

        blocks = pairwise_distances_chunked(
            x,
            self.samples,
            reduce_func=first_by_index,
            working_memory=get_config()["working_memory"] / 5,  # the marks take more than the distances
            **self._pairwise_options,
        )
        return Found(*map(np.concatenate, zip(*blocks, strict=True)))

    @cached_property
    def index(self) -> NearestNeighbors:
        """Index of the training samples, made with them and again after they are unpickled.

        Pickles of scikit-learn's trees are for its own version alone.
        """
        return NearestNeighbors(**self.options).fit(self.samples)

    @cached_property
    def screen(self) -> Screen | None:
        """Screen of the training samples, made with them and again after they are unpickled; None if there is none."""
        return Screen(self.samples) if self.screened else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("index", "screen", "_of_samples")}

    @property
    def _pairwise_options(self) -> dict[str, Any]:
        """Options of scikit-learn's distances between samples, of which Euclidean ones come squared."""
        options = {"squared": True} if self.euclidean else self.index.effective_metric_params_
        return {"metric": self.index.effective_metric_, "n_jobs": self.index.n_jobs, **options}

    def _batches(self, X, rows: np.ndarray, width: int) -> Iterator[np.ndarray]:
        """The rows, in batches whose samples and `width` neighbours fit into memory."""
        kept_sparse = sparse.issparse(X) and self.centre is None
        n_numbers = 2 * X.nnz // max(1, X.shape[0]) if kept_sparse else X.shape[1]
        for batch in gen_batches(len(rows), _rows_in_memory(width, n_numbers)) if len(rows) else ():
            yield rows[batch]

    def _as_queries(self, x, leave_one_out: bool):
        """Samples, or training samples of the index, as the index takes queries."""
        if self.cosine:
            return _with_pole_of_queries(x if leave_one_out else _on_sphere(x))
        return x if leave_one_out else self._centred(x)

    def _centred(self, x):
        if self.centre is None:
            return x
        return (x.toarray() if sparse.issparse(x) else x) - self.centre

    def _comparable(self, distances: np.ndarray) -> np.ndarray:
        """Distances as ties are told by: Euclidean ones squared, as they are computed."""
        return distances**2 if self.euclidean else distances

    def _finished(self, x, found: Found, ranked: bool) -> Found:
        """Neighbours whose distances are 0 where rounding explains them, and in order if they are to be ranked."""
        found = Found(found.indices, self._without_rounding(x, found.distances))
        return _ranked(found, partial(self._tolerance, x)) if ranked else found

    def _without_rounding(self, x, d: np.ndarray) -> np.ndarray:
        """Comparable distances, 0 where rounding explains them; overwrites them."""
        if self.euclidean:
            d[d < self._tolerance(x, np.zeros((1, 1)))] = 0
        return d

    def _as_asked(self, d: np.ndarray) -> np.ndarray:
        """Distances of the metric that was asked for; overwrites comparable ones."""
        if self.cosine:  # half the squared distance on the sphere
            d /= 2
        elif self.euclidean and not self.squared:
            np.sqrt(d, out=d)
        return d

    def _tolerance(self, X, kth: np.ndarray) -> np.ndarray:
        """Difference that rounding may make between equal distances, of the shape of `kth`, (n_queries, ...).

        A sample at squared distance d^2 from x has |y|^2 <= 2 |x|^2 + 2 d^2, so |x|^2 + d^2 bounds what the expanded
        form rounds. Samples may come rounded themselves, by some units in the last place of what the centre took out.
        """
        if not self.euclidean:
            return _relative_tolerance(kth)
        relative, absolute = self.rounding
        return relative * (row_norms(X, squared=True)[:, None] + kth) + absolute

    @property
    def rounding(self) -> tuple[float, float]:
        """Difference of equal squared distances: relative to the squares that they are made of, and absolute."""
        return (64 + 4 * self.samples.shape[1]) * float(np.finfo(np.float64).eps), self._of_samples

    @cached_property
    def _of_samples(self) -> float:
        return rounding_of_samples(self.centre, np.finfo(np.float64).eps)


def rounding_of_samples(centre: Any, eps: float) -> float:
    """Squared distance of equal samples that come rounded, by some units in the last place of their centre."""
    return 0.0 if centre is None else float((centre * centre).sum()) * (_UNITS * eps) ** 2


def most_of_order(metric_params: dict[str, Any] | None, dtype: Any = np.float64) -> float:
    """Largest modulus of samples whose powers, those of the order of a metric or squares, are in range."""
    order = (metric_params or {}).get("p", 2)
    return limit_of(dtype) ** (2 / order if 2 < order < np.inf else 1)


def check_differences(X: Any, metric_params: dict[str, Any] | None) -> None:
    """Refuse training samples whose differences are all so small that powers of them underflow.

    Raises
    ------
    ValueError
        If they are.
    """
    halves = X if sparse.issparse(X) else module_of(X).amax(X, 0) / 2 - module_of(X).amin(X, 0) / 2
    check_range(largest(halves), "X", most_of_order(metric_params, X.dtype))


def without_missing(graph: Any) -> Any:
    """A graph of distances in csr format, without the negative indices of neighbours that no search has found.

    Approximate searches put them where they found too few, with infinite distances.
    """
    graph = graph.tocsr()
    found = graph.indices >= 0
    if found.all():
        return graph
    starts = np.concatenate([[0], found.cumsum()])[graph.indptr]
    return type(graph)((graph.data[found], graph.indices[found], starts), shape=graph.shape)


def _relative_tolerance(distances: np.ndarray) -> np.ndarray:
    return _RELATIVE_TOLERANCE * np.abs(distances)


def _in_table(D: np.ndarray, n_neighbors: int, leave_one_out: bool) -> Found:
    """First neighbours of each row of distances to all training samples, equal ones by index."""
    chosen = np.empty((len(D), n_neighbors), dtype=np.intp)
    nearest = np.empty(chosen.shape)
    for rows in gen_batches(len(D), _rows_in_memory(D.shape[1])) if len(D) else ():
        d = D[rows].copy()
        if leave_one_out:
            d[np.arange(len(d)), np.arange(rows.start, rows.stop)] = np.inf
        kth = np.partition(d, n_neighbors - 1, axis=1)[:, [n_neighbors - 1]]
        chosen[rows], nearest[rows] = _first_of_all(d, _side(d, kth, _relative_tolerance(kth)), n_neighbors)
    return Found(chosen, nearest)


def _in_graph(graph: sparse.csr_array, n_neighbors: int, leave_one_out: bool) -> Found:
    """First neighbours of each row of a graph of distances, equal ones by index."""
    chosen = np.empty((graph.shape[0], n_neighbors), dtype=np.intp)
    nearest = np.empty(chosen.shape)
    width = max(np.diff(graph.indptr).max(initial=0), n_neighbors)
    for rows in gen_batches(graph.shape[0], _rows_in_memory(width)) if graph.shape[0] else ():
        distances, indices = _padded(graph, rows, width)
        if leave_one_out:
            own = indices == np.arange(rows.start, rows.stop)[:, None]
            distances[own], indices[own] = np.inf, -1
        _check_counts((indices >= 0).sum(1), rows.start, n_neighbors, leave_one_out)
        kth = np.partition(distances, n_neighbors - 1, axis=1)[:, [n_neighbors - 1]]
        side = _side(distances, kth, _relative_tolerance(kth))
        chosen[rows], nearest[rows] = _first(Found(indices, distances), side, n_neighbors)
    return Found(chosen, nearest)


def _in_full(graph, rows: slice) -> np.ndarray:
    """Distances of some rows of a graph to all training samples, infinite where it has none."""
    distances, indices = _padded(graph, rows, np.diff(graph.indptr).max(initial=1))
    D = np.full((len(indices), graph.shape[1]), np.inf)
    row, place = np.nonzero(indices >= 0)
    D[row, indices[row, place]] = distances[row, place]
    return D


def _padded(graph, rows: slice, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices of the neighbours of some rows of a graph, infinite and -1 where there are none."""
    starts = graph.indptr[rows.start : rows.stop + 1].astype(np.intp)
    entries, lengths = slice(starts[0], starts[-1]), np.diff(starts)
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(starts[0], starts[-1]) - np.repeat(starts[:-1], lengths)
    indices = np.full((len(lengths), width), -1, dtype=np.intp)
    distances = np.full(indices.shape, np.inf)
    indices[row, place] = graph.indices[entries]
    distances[row, place] = graph.data[entries]
    return distances, indices


def _check_counts(counts: np.ndarray, first_row: int, n_neighbors: int, leave_one_out: bool) -> None:
    if counts.min() < n_neighbors:
        others = " other than itself" if leave_one_out else ""
        raise ValueError(
            f"n_neighbors={n_neighbors}, but row {first_row + counts.argmin()} of the precomputed graph has only "
            f"{counts.min()} neighbours{others}. Build it with more: {n_neighbors + leave_one_out} a row"
            f"{', as a sample may be its own neighbour' if leave_one_out else ''}. An approximate search may find "
            "fewer than it is asked for, or give -1: ask it for some more, let it look further, or lower n_neighbors."
        )


def _first_of_all(D: np.ndarray, side: np.ndarray, n_neighbors: int) -> Found:
    """The nearest of each row of all training samples, those that tie with the k-th by index."""
    nearer, tied = side < 0, side == 0
    places = n_neighbors - nearer.sum(1, keepdims=True)
    chosen = nearer | (tied & (tied.cumsum(1, dtype=np.int32) <= places))
    shape = len(side), n_neighbors
    return Found(chosen.nonzero()[1].reshape(shape), D[chosen].reshape(shape))


def _first(found: Found, side: np.ndarray, n_neighbors: int) -> Found:
    """The nearest of each row of found neighbours, those that tie with the k-th by index."""
    order = np.lexsort((found.indices, side), axis=1)[:, :n_neighbors]
    return Found(*(np.take_along_axis(each, order, axis=1) for each in found))


def _ranked(found: Found, tolerance: Callable[[np.ndarray], np.ndarray]) -> Found:
    """Neighbours by distance, those that tie with the one before by index."""
    order = found.distances.argsort(axis=1, kind="stable")
    found = Found(*(np.take_along_axis(each, order, axis=1) for each in found))
    with np.errstate(invalid="ignore"):  # among infinite distances
        further = np.diff(found.distances, axis=1) > tolerance(found.distances)[:, 1:]
    step = np.zeros(order.shape, dtype=np.intp)
    further.cumsum(axis=1, out=step[:, 1:])
    return _first(found, step, order.shape[1])


def _side(distances: np.ndarray, kth: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """-1 where a distance is less than the k-th, 0 where it equals it up to the tolerance, 1 where it is more."""
    return (distances > kth + tolerance).astype(np.int8) - (distances < kth - tolerance)


def _without_self(distances: np.ndarray, indices: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each row's own index, or, where duplicates crowded it out, the furthest neighbour."""
    others = indices != rows[:, None]
    others[others.all(1), -1] = False
    shape = (len(rows), indices.shape[1] - 1)
    return distances[others].reshape(shape), indices[others].reshape(shape)


def _on_sphere(X):
    """Unit vectors, whose squared Euclidean distance is twice the cosine distance of the samples.

    A sample of norm 0 is at right angles to all others, of norm 0 too. So it lies on an axis of its own, the pole of
    the training samples, and as a query on another, the pole of the queries: these are the last two columns.
    """
    X = unit_rows(X)
    poles = (row_norms(X) == 0)[:, None] * np.array([1.0, 0.0])
    return sparse.hstack([X, sparse.csr_array(poles)]).tocsr() if sparse.issparse(X) else np.hstack([X, poles])


def _with_pole_of_queries(samples):
    """Training samples on the sphere as queries."""
    order = np.arange(samples.shape[1])
    order[-2:] = order[:-3:-1]
    return samples[:, order]


def _rows_in_memory(width: int, n_numbers: int = 0) -> int:
    """Rows of `width` distances, what sorts them, and samples of `n_numbers`, in half of ``working_memory``."""
    return max(1, int(get_config()["working_memory"] * 2**19 / (64 * width + 24 * n_numbers)))
