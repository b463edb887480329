"""Fits in several real processes equal those in one."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.ranks import in_ranks
from scipy import sparse

from skrelmetric import RAMLLinear
from skrelmetric.chunks import Chunks
from skrelmetric.distributed import RankError, current_ranks, shards


def problem(n=90, d=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.uniform(0.5, 2, d) + 3
    scores = (X[:, :4] - 3) @ rng.standard_normal((4, 4)) + rng.standard_normal((n, 4))
    return X, (scores > 0.5).astype(int), np.exp(scores) / np.exp(scores).sum(1, keepdims=True), scores


def with_gaps(y, seed=1):
    return np.where(np.random.default_rng(seed).random(y.shape) < 0.2, np.nan, y)


def off_by(Y_a, Y_b):
    return abs(Y_a.sum(1)[:, None] - Y_b.sum(1))


def targets(n):
    _, Y, D, scores = problem(n)
    return {
        "hamming": ("auto", Y),
        "hamming, sparse": ("auto", sparse.csr_array(Y)),
        "hamming, gaps": ("hamming", with_gaps(Y)),
        "l1": ("auto", D),
        "l1, gaps": ("l1", with_gaps(D)),
        "sqeuclidean": ("sqeuclidean", D),
        "sqeuclidean, gaps": ("sqeuclidean", with_gaps(D)),
        "discrete": ("discrete", scores.round()),
        "discrete, gaps": ("discrete", with_gaps(scores.round())),
        "names": ("auto", np.array(["a", "bb", "ccc", "d"])[scores.argmax(1)]),
        "number": ("auto", scores[:, 0]),
        "hellinger": ("hellinger", D),
        "cosine": ("cosine", D),
        "cosine, gaps": ("cosine", with_gaps(D)),
        "jeffreys": ("jeffreys", D),
        "jaccard": ("jaccard", Y),
        "jaccard, gaps": ("jaccard", with_gaps(Y)),
        "callable": (off_by, Y),
    }


TARGETS = list(targets(9))
UNEVEN = {2: [30], 3: [0, 70], 4: [1, 1, 60]}


def shard(array, ranks, cuts):
    return array[slice(*[0, *cuts, array.shape[0]][ranks.rank : ranks.rank + 2])]


def fitted(metric):
    return metric.get_mahalanobis_matrix(), metric.offset_, metric.explained_distance_ratio_, metric.n_iter_


def fit_shards(ranks, cuts, jobs):
    return [fitted(RAMLLinear(**params).fit(*(shard(array, ranks, cuts) for array in data))) for params, *data in jobs]


def assert_same(results, expected, rtol=1e-8):
    M, offset, ratio, _ = expected
    scale = abs(M).max()
    assert scale > 0
    for got in results:
        np.testing.assert_allclose(got[0], M, rtol=0, atol=rtol * scale)
        np.testing.assert_allclose([got[1], *got[2]], [offset, *ratio], rtol=0, atol=rtol * max(1, abs(offset)))


@pytest.mark.parametrize("size", UNEVEN)
@pytest.mark.parametrize("shape", [(90, 5), (25, 40)])
def test_shards_give_the_metric_of_all_samples(size, shape):
    X, *_ = problem(*shape)
    weights = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)
    thin = sparse.csr_array(np.where(np.random.default_rng(3).random(X.shape) < 0.3, X, 0))
    cuts = [min(cut, len(X) - 2) for cut in UNEVEN[size]]
    jobs = [
        ({"relation": relation, "tol": 1e-12}, rows, y, weights)
        for relation, y in targets(len(X)).values()
        for rows in (X, thin)
    ]
    jobs.append(({"psd": "constrained", "tol": 1e-9}, X, targets(len(X))["hamming"][1]))
    jobs.append(({"n_components": 2, "alpha": 10.0, "tol": 1e-12}, X.astype(np.float32), targets(len(X))["l1"][1]))
    results = in_ranks(size, fit_shards, cuts, jobs)
    assert not any(isinstance(result, Exception) for result in results), results
    for job, *of_ranks in zip(jobs, *results, strict=True):
        params, *data = job
        rtol = 1e-4 if data[0].dtype == np.float32 else 1e-7 if "psd" in params else 1e-8
        assert_same(of_ranks, fitted(RAMLLinear(**params).fit(*data)), rtol)
