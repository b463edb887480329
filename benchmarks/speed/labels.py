"""Hot path of many labels: a metric, its neighbours' posteriors and the most probable labels, all in sparse targets."""

from collections.abc import Iterator
from time import perf_counter

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from benchmarks.compare.memory import watched
from benchmarks.speed.timing import Measurement, measurement
from skrelmetric import MLkNN, RAMLLinear
from skrelmetric.metrics import precision_at_k

_PER_SAMPLE = 5  # labels that are drawn for each sample, and that are asked for


def measure() -> Iterator[Measurement]:
    """Measurement of this path."""
    yield end_to_end()


def with_labels(n_samples: int, n_features: int, n_labels: int) -> tuple[np.ndarray, sparse.csr_array]:
    """Samples about the sum of their labels' centroids, and labels as frequent as Zipf has words."""
    rng = np.random.default_rng(0)
    shares = (1 / np.arange(1, n_labels + 1)).cumsum()
    drawn = np.searchsorted(shares, shares[-1] * rng.random(n_samples * _PER_SAMPLE), side="right")
    starts = np.arange(n_samples + 1) * _PER_SAMPLE
    Y = sparse.csr_array((np.ones(len(drawn), dtype=np.int64), drawn, starts), (n_samples, n_labels))
    Y.sum_duplicates()
    Y.data[:] = 1
    return Y @ rng.standard_normal((n_labels, n_features)) + rng.standard_normal((n_samples, n_features)), Y


def end_to_end(
    n_train: int = 100_000, n_features: int = 64, n_labels: int = 50_000, n_queries: int = 10_000
) -> Measurement:
    """Fit of a metric and of the posteriors behind it, and prediction, against the neighbour searches alone.

    It takes minutes, and so is timed once; a fit to few samples warms up.
    """
    X, Y = with_labels(n_train + n_queries, n_features, n_labels)
    RAMLLinear().fit(X[:100], Y[:100])
    with watched() as memory:
        start = perf_counter()
        metric = RAMLLinear().fit(X[:n_train], Y[:n_train])
        Z = metric.transform(X)
        model = MLkNN(10).fit(Z[:n_train], Y[:n_train])
        top = model.predict_proba(Z[n_train:], n_labels=_PER_SAMPLE)
        seconds = perf_counter() - start
    start = perf_counter()
    search = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(Z[:n_train])
    search.kneighbors()
    search.kneighbors(Z[n_train:])
    floor = perf_counter() - start
    path = (
        f"RAMLLinear + MLkNN fit + predict_proba(n_labels={_PER_SAMPLE}) ({n_train:,} x {n_features}, "
        f"{n_labels:,} labels, {n_queries:,} queries)"
    )
    measured = measurement(path, seconds, "scikit-learn's brute searches", floor)
    measured["precision_at_5"] = precision_at_k(Y[n_train:], top, _PER_SAMPLE)
    if memory:
        measured["peak_over_X"] = 1 + (memory["peak"] - memory["before"]) * 2**20 / X.nbytes
    return measured
