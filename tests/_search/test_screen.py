"""Search by products in single precision finds what a search in double precision finds."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn import config_context
from threadpoolctl import threadpool_limits

from skrelmetric._search.host import NeighbourSearch
from skrelmetric._search.screen import Screen, _n_threads, in_threads

N = 2500


def points(rng, n=N, d=20):
    return rng.standard_normal((n, d))


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


SAMPLES = {
    "normal": points,
    "clusters": lambda rng: rng.integers(0, 9, (N, 1)) * 10.0 + 1e-3 * points(rng),
    "tight clusters": lambda rng: rng.integers(0, 9, (N, 1)) * 10.0 + 1e-9 * points(rng),
    "tight on the sphere": lambda rng: unit(np.eye(20)[rng.integers(0, 5, N)] + 1e-4 * points(rng)),
    "duplicates": lambda rng: points(rng)[rng.integers(0, N, N)],
    "many duplicates": lambda rng: points(rng)[rng.integers(0, 30, N)],
    "all alike": lambda rng: np.ones((N, 20)),
    "integers": lambda rng: rng.integers(0, 3, (N, 20)).astype(float),
    "offset": lambda rng: points(rng) + 1e7,
    "offset of some": lambda rng: points(rng) + 1e6 * (np.arange(N) % 3 == 0)[:, None],
    "outliers": lambda rng: points(rng) * np.where(np.arange(N) % 400 == 7, 1e5, 1)[:, None],
    "far outliers": lambda rng: points(rng) * np.where(np.arange(N) % 400 == 7, 1e60, 1)[:, None],
    "small": lambda rng: points(rng) * 1e-90,
    "large": lambda rng: points(rng) * 1e90,
    "scales": lambda rng: points(rng) * 10.0 ** np.arange(-10, 10),
    "heavy tails": lambda rng: rng.standard_cauchy((N, 20)),
    "wide": lambda rng: points(rng, d=300),
    "one group more": lambda rng: points(rng, 5 * 512 + 1),
    "many": lambda rng: points(rng, 2**14 + 700, 16),
}


def without_screen(X, **options):
    search = NeighbourSearch(X, **options)
    search.screen = None
    return search


def assert_same(found, expected):
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(
        found.distances, expected.distances, rtol=1e-5, atol=1e-7 * expected.distances.max(initial=0)
    )


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", SAMPLES)
def test_same_neighbours(kind, metric, rng):
    X = SAMPLES[kind](rng)
    queries = np.vstack([X[:40], SAMPLES[kind](rng)[:300]])
    search, exact = NeighbourSearch(X, metric=metric), without_screen(X, metric=metric)
    assert search.screen.suits(12)
    for asked in (queries, queries[:1], queries[:0], None):
        for n_neighbors in (1, 10):
            ranked = search.nearest(asked, n_neighbors, ranked=True)
            assert_same(ranked, exact.nearest(asked, n_neighbors, ranked=True))
            unranked = search.nearest(asked, n_neighbors)
            np.testing.assert_array_equal(np.sort(unranked.indices), np.sort(ranked.indices))


def test_queries_far_from_all(rng):
    X = points(rng)
    queries = np.vstack([10.0**power * points(rng, 1) for power in (3, 8, 20, 100, 150)])
    assert_same(NeighbourSearch(X).nearest(queries, 3, ranked=True), without_screen(X).nearest(queries, 3, ranked=True))


@pytest.mark.parametrize("kind", ["normal", "integers", "offset", "outliers", "wide"])
def test_candidates_hold_the_nearest_and_are_few(kind, rng):
    X = SAMPLES[kind](rng)
    X = X - np.median(X, axis=0)
    queries = X[:50] + 0.1 * rng.standard_normal((50, X.shape[1]))
    candidates = Screen(X).candidates(queries, 10)
    assert candidates.complete.mean() > 0.9
    D = np.square(queries[:, None] - X).sum(-1)
    for row, kept, complete in zip(D, candidates.indices, candidates.complete, strict=True):
        kept = kept[kept >= 0]
        assert len(kept) == len(set(kept)) <= 8 * 10 + 64 + N // 64
        assert not complete or set(np.flatnonzero(row <= np.sort(row)[9])) <= set(kept)


def test_threads_and_memory_change_nothing(rng):
    X, queries = points(rng), points(rng, 1200)
    search = NeighbourSearch(X)
    with threadpool_limits(1):
        alone = search.nearest(queries, 5, ranked=True)
    with threadpool_limits(3):
        together = search.nearest(queries, 5, ranked=True)
    np.testing.assert_array_equal(alone.indices, together.indices)
    np.testing.assert_array_equal(alone.distances, together.distances)
    with config_context(working_memory=1):
        np.testing.assert_array_equal(search.nearest(queries, 5, ranked=True).indices, alone.indices)


def test_pickles_leave_the_screen_out(rng):
    X, queries = points(rng), points(rng, 20)
    search = NeighbourSearch(X)
    size = len(pickle.dumps(search))
    found = search.nearest(queries, 5)
    assert len(pickle.dumps(search)) == size
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(search)).nearest(queries, 5).indices, found.indices)


def test_searches_in_several_threads_leave_the_number_of_threads(rng):
    X, queries = points(rng), points(rng, 600)
    search = NeighbourSearch(X)
    expected = search.nearest(queries, 5, ranked=True).indices
    with threadpool_limits(2):
        before = _n_threads()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: search.nearest(queries, 5, ranked=True).indices, range(12)))
        assert _n_threads() == before
    assert all((indices == expected).all() for indices in found)


def test_an_error_in_a_thread_is_raised():
    def fail(item):
        raise ZeroDivisionError(item)

    with pytest.raises(ZeroDivisionError), threadpool_limits(2):
        in_threads(fail, [1, 2, 3])
    assert in_threads(str, []) == []


def test_few_features_stay_with_the_tree(rng):
    assert NeighbourSearch(points(rng, d=15)).screen is None
    assert NeighbourSearch(points(rng, d=15), algorithm="brute").screen is not None
    assert NeighbourSearch(points(rng), algorithm="ball_tree").screen is None
    assert NeighbourSearch(points(rng), metric="manhattan").screen is None
    assert NeighbourSearch(points(rng, 500)).screen is None
    assert not NeighbourSearch(points(rng)).screen.suits(N // 20)
