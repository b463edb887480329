"""Hot paths of the neighbour predictors, against their bare search and those of other libraries."""

from collections.abc import Callable, Iterator
from importlib import import_module

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from benchmarks.speed.timing import Measurement, growth, measurement, medians
from skrelmetric import AAKNN, MLkNN

_WIDTH = 64


def measure() -> Iterator[Measurement]:
    """Measurements of these paths; those beside peers where these are installed."""
    yield from against_search()
    yield among_many()
    yield from against_peers()
    yield growing()


def _samples(n_train: int, n_queries: int, n_labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training samples and queries, and label sets and distributions of the first."""
    rng = np.random.default_rng(0)
    X, queries = rng.standard_normal((n_train, _WIDTH)), rng.standard_normal((n_queries, _WIDTH))
    return (
        X,
        queries,
        (rng.random((n_train, n_labels)) < 0.2).astype(np.int64),
        rng.dirichlet(np.ones(n_labels), n_train),
    )


def against_search(n_train: int = 20_000, n_queries: int = 4000, n_labels: int = 20) -> Iterator[Measurement]:
    """Fit and prediction, which add the counting of votes to a search."""
    X, queries, Y, D = _samples(n_train, n_queries, n_labels)

    def leave_one_out_and_query():
        search = NearestNeighbors(n_neighbors=10).fit(X)
        search.kneighbors(return_distance=False)
        search.kneighbors(queries, return_distance=False)

    def query():
        NearestNeighbors(n_neighbors=5).fit(X).kneighbors(queries, return_distance=False)

    size = f"({n_train:,} x {_WIDTH}, {n_labels} labels, {n_queries:,} queries)"
    path = f"MLkNN fit + predict_proba {size}"
    seconds, floor = medians(lambda: MLkNN().fit(X, Y).predict_proba(queries), leave_one_out_and_query, repeats=2)
    yield measurement(path, seconds, "scikit-learn's searches", floor)
    flat = _installed("faiss", "IndexFlatL2")
    if flat is not None:

        def by_faiss():
            index = flat(_WIDTH)
            index.add(X.astype(np.float32))
            index.search(X.astype(np.float32), 11)
            index.search(queries.astype(np.float32), 10)

        seconds, floor = medians(lambda: MLkNN().fit(X, Y).predict_proba(queries), by_faiss, repeats=2)
        yield measurement(path, seconds, "faiss's, in single precision", floor)
    seconds, floor = medians(lambda: AAKNN().fit(X, D).predict(queries), query, repeats=2)
    yield measurement(f"AAKNN fit + predict {size}", seconds, "scikit-learn's search", floor)


def among_many(n_train: int = 1_000_000, n_features: int = 32, n_queries: int = 2500) -> Measurement:
    """Prediction for few among many, for which scikit-learn chooses brute force by itself at that width."""
    rng = np.random.default_rng(0)
    X, queries = rng.standard_normal((n_train, n_features)), rng.standard_normal((n_queries, n_features))
    model, search = AAKNN(10).fit(X, X[:, :5]), NearestNeighbors(n_neighbors=10, algorithm="brute").fit(X)
    seconds, floor = medians(lambda: model.predict(queries), lambda: search.kneighbors(queries), repeats=1)
    path = f"AAKNN predict ({n_train:,} x {n_features}, 5 labels, {n_queries:,} queries, 10 neighbours)"
    return measurement(path, seconds, "scikit-learn's brute search", floor)


def against_peers(n_train: int = 2000, n_queries: int = 1000, n_labels: int = 20) -> Iterator[Measurement]:
    """Fit and prediction against scikit-multilearn-ng and PyLDL."""
    X, queries, Y, D = _samples(n_train, n_queries, n_labels)
    size = f"({n_train} x {_WIDTH}, {n_labels} labels, {n_queries} queries)"
    samples, labels, asked = (sparse.csr_matrix(array) for array in (X, Y, queries))  # as scikit-multilearn wants them
    theirs = _installed("skmultilearn.adapt", "MLkNN")
    if theirs is not None:
        seconds, peer = medians(
            lambda: MLkNN(10).fit(X, Y).predict(queries),
            lambda theirs=theirs: theirs(k=10).fit(samples, labels).predict(asked),
            repeats=1,
        )
        yield measurement(f"MLkNN fit + predict {size}", seconds, "scikit-multilearn-ng", peer)
    theirs = _installed("pyldl.algorithms", "AA_KNN")
    if theirs is not None:
        seconds, peer = medians(
            lambda: AAKNN(5).fit(X, D).predict(queries),
            lambda theirs=theirs: theirs(k=5).fit(X, D).predict(queries),
            repeats=1,
        )
        yield measurement(f"AAKNN fit + predict {size}", seconds, "PyLDL", peer)


def growing(sizes: tuple[int, ...] = (1000, 2000, 4000, 8000)) -> Measurement:
    """Growth with as many queries as training samples; a search without an index goes over all pairs."""
    X, _, Y, _ = _samples(sizes[-1], 1, 20)
    seconds = [medians(lambda n=n: MLkNN().fit(X[:n], Y[:n]), None, repeats=3, rounds=1)[0] for n in sizes]
    return growth("MLkNN fit", sizes, seconds)


def _installed(module: str, name: str) -> Callable | None:
    """Class of another library, where that is installed."""
    try:
        return getattr(import_module(module), name)
    except ImportError:
        return None
