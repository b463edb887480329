"""Samples and targets that the tests of neighbours at scale share."""

import numpy as np


def first_neighbours(D, k, leave_one_out):
    """First k by distance, equal ones by index, never the sample itself."""
    D = D.copy()
    if leave_one_out:
        np.fill_diagonal(D, np.inf)
    return np.sort(np.argsort(D, axis=1, kind="stable")[:, :k])


def continuous(rng, n, n_queries):
    return rng.standard_normal((n, 20)), rng.standard_normal((n_queries, 20))


def tied(rng, n, n_queries):
    """Samples on a grid of few places, each of which is the k-th distance of very many."""
    return rng.integers(1, 3, (n, 3)).astype(float), rng.integers(1, 3, (n_queries, 3)).astype(float)


def label_sets(rng, X):
    Y = (rng.random((X.shape[0], 3)) < 0.4).astype(int)
    Y[:3] = np.eye(3, dtype=int)
    return Y
