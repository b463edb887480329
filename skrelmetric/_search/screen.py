"""Screen of training samples: the few that may be nearest to a query, by products in single precision."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import frexp
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
from sklearn import get_config
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms
from threadpoolctl import ThreadpoolController

__all__ = ["FEWEST", "Candidates", "Screen", "in_threads"]

# Queries and training samples of a tile of products, which stays in the cache with what it is made of, and training
# samples that are looked through at once.
_BATCH, _TILE, _ROWS = 256, 1024, 2**14

_LARGEST_GROUP = 512

# Queries beyond so many times the largest training sample are left to double precision.
_FARTHEST = 2.0**30

# Fewer training samples, and a larger share or number of them asked for, leave nothing to gain.
FEWEST, _SHARE, _MOST_NEAREST = 2048, 32, 256

_LIMITING = Lock()

T = TypeVar("T")
R = TypeVar("R")

_BLAS = ThreadpoolController().select(user_api="blas")


class Candidates(NamedTuple):
    """Training samples that may be among the nearest of each query.

    Attributes
    ----------
    indices : ndarray of int of shape (n_queries, most)
        Indices of training samples in ascending order, -1 where there are no more of them.
    complete : ndarray of bool of shape (n_queries,)
        Whether these are all; of a query that has too many there are none.
    """

    indices: np.ndarray
    complete: np.ndarray


class Screen:
    """Training samples in single precision.

    Parameters
    ----------
    samples : ndarray of float64 of shape (n_train, n_features)
        Training samples, at least `FEWEST`, around the origin.

    Notes
    -----
    A training sample y is as far from a query x as h = |y|^2 / 2 - x.y says, which is one product of x and y with a
    column more. Training samples are in groups of some dozens. No more than k - 1 groups have a least h below that of
    the k-th group, so that bounds the k-th least h of all, and the nearest are in groups not above it; to find these
    costs little more than reading h while it is in the cache.

    In single precision h errs by less than d 2^-23 (|x| |y| + |y|^2 / 2), where |y| <= |x| + r for a sample at distance
    r. So whatever may be among the nearest is found within twice that of the k-th, and double precision decides.
    """

    def __init__(self, samples: np.ndarray):
        n, d = samples.shape
        self.n_train, self.rounding = n, (d + 8) * 2.0**-23
        # A power of two is no rounding, and keeps squares in range.
        self.scale = 2.0 ** -frexp(np.abs(samples).max())[1]
        scaled = samples * self.scale
        self.rows = np.zeros((-(-n // _LARGEST_GROUP) * _LARGEST_GROUP, d + 1), dtype=np.float32)
        self.rows[:n, :d] = scaled
        self.rows[:n, d] = row_norms(scaled, squared=True) / 2
        self.rows[n:, d] = np.finfo(np.float32).max / 4

    def suits(self, n_nearest: int) -> bool:
        """Whether so many nearest samples are found faster than by looking at all."""
        return n_nearest <= min(self.n_train // _SHARE, _MOST_NEAREST)

    def batches(self, n_queries: int, n_nearest: int) -> list[slice]:
        """Queries to be looked through together, such that all threads keep to half of ``working_memory``."""
        most, at_once = self._most(n_nearest), min(_ROWS, len(self.rows))
        numbers = 6 * at_once + 64 * min(most * self._group(n_nearest), at_once) + 24 * most + 40 * self.rows.shape[1]
        room = get_config()["working_memory"] * 2**19 / _n_threads()
        return list(gen_batches(n_queries, int(np.clip(room / numbers, 1, _BATCH)))) if n_queries else []

    def candidates(self, x: np.ndarray, n_nearest: int) -> Candidates:
        """Whatever may be among the nearest of some queries, and some of what is not.

        Parameters
        ----------
        x : ndarray of float64 of shape (n_queries, n_features)
            Queries, a batch of them, around the same origin.
        n_nearest : int
            Number of nearest samples, which suits.

        Returns
        -------
        Candidates
        """
        most, group = self._most(n_nearest), self._group(n_nearest)
        columns, norms, in_range = self._columns(x)
        counts = np.where(in_range, 0, most + 1)
        smallest = np.full((len(x), n_nearest), np.inf, dtype=np.float32)
        found = []
        for start in range(0, len(self.rows), _ROWS):
            h, least = _products(self.rows[start : start + _ROWS], columns, group)
            kth = smallest.max(1) if start else np.partition(least.T, n_nearest - 1, axis=1)[:, n_nearest - 1]
            limit = self._limit(kth, norms)
            looked_into = (least <= limit).T
            counts[looked_into.sum(1) > most] = most + 1  # each of the groups holds one at least
            looked_into[counts > most] = False
            query, groups = np.nonzero(looked_into)
            members = h[groups, :, query]
            place, member = np.nonzero(members <= limit[query, None])
            query, index, values = query[place], start + groups[place] * group + member, members[place, member]
            counts += np.bincount(query, minlength=len(x))
            smallest = np.hstack([smallest, _in_rows(query, values, len(x), np.inf)])
            smallest = np.partition(smallest, n_nearest - 1, axis=1)[:, :n_nearest]
            found.append((query, index, values))
        query, index, values = map(np.concatenate, zip(*found, strict=True))
        with np.errstate(invalid="ignore"):  # of queries with none
            limit = self._limit(smallest.max(1), norms)
        kept = (counts <= most)[query] & (values <= limit[query])
        query, index = query[kept], index[kept]
        order = query.argsort(kind="stable")
        return Candidates(_in_rows(query[order], index[order], len(x), -1, n_nearest), counts <= most)

    def _columns(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns that the rows are multiplied by, norms of the queries, and which of these are in range."""
        with np.errstate(over="ignore"):
            in_range = np.abs(x).max(1) * self.scale < _FARTHEST
        scaled = np.where(in_range[:, None], x, 0) * self.scale
        columns = np.ones((x.shape[1] + 1, len(x)), dtype=np.float32)
        columns[:-1] = -scaled.T
        return columns, row_norms(scaled), in_range

    def _limit(self, kth: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """Largest h of what may be nearer than the k-th of each query, as rounded."""
        farthest = norms + np.sqrt(np.maximum(norms**2 + 2 * kth.astype(np.float64), 0))
        error = self.rounding * (norms * farthest + farthest**2 / 2) + 2.0**-90
        return (kth + 2 * error).astype(np.float32)

    def _most(self, n_nearest: int) -> int:
        """Candidates of a query beyond which it costs less to look at all training samples in double precision."""
        return 8 * n_nearest + 64 + self.n_train // 64

    def _group(self, n_nearest: int) -> int:
        """Members of a group: as many in the groups that are looked into as there are groups."""
        ideal = np.sqrt(self.n_train / n_nearest)
        return int(2 ** np.clip(np.round(np.log2(ideal)), 4, np.log2(min(_LARGEST_GROUP, _ROWS / (2 * n_nearest)))))


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Results of a function for some items, by as many threads as products of matrices have, which then have one.

    Of callers in several threads one at a time has threads of its own: limits that overlap would not end as they began.
    """
    n_threads = min(_n_threads(), len(items))
    if n_threads <= 1 or not _LIMITING.acquire(blocking=False):
        return list(map(function, items))
    try:
        with _BLAS.limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(function, items))
    finally:
        _LIMITING.release()


def _n_threads() -> int:
    return max((library["num_threads"] for library in _BLAS.info()), default=1)


def _products(rows: np.ndarray, queries: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Products of shape (n_groups, group, n_queries), and the least of each group."""
    h = np.empty((len(rows), queries.shape[1]), dtype=np.float32)
    least = np.empty((len(rows) // group, queries.shape[1]), dtype=np.float32)
    for tile in gen_batches(len(rows), _TILE):
        np.matmul(rows[tile], queries, out=h[tile])
        groups = h[tile].reshape(-1, group, queries.shape[1])
        groups.min(1, out=least[tile.start // group :][: len(groups)])
    return h.reshape(-1, group, queries.shape[1]), least


def _in_rows(row: np.ndarray, values: np.ndarray, n_rows: int, fill: float, width: int = 0) -> np.ndarray:
    """Values in the rows that they belong to, in ascending order, and what fills up the rest, at least to a width."""
    counts = np.bincount(row, minlength=n_rows)
    table = np.full((n_rows, counts.max(initial=width)), fill, dtype=values.dtype)
    table[row, np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)] = values
    return table
