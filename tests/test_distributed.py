"""Fits in several real processes equal those in one."""


import numpy as np
import pytest
from scipy import sparse

from skrelmetric import HRAMLTransformer, RAMLLinear
from tests.ranks import in_ranks


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


LINEAR = {"encoder": "mlp", "head": "linear", "n_components": 3, "max_epochs": 2}
DEEP = {
    "laplacian": {"n_components": 4},
    "tanh": {"encoder": "tanh", "relation": "l1"},
    "trained ridge": {"encoder": "mlp", "hidden_layer_sizes": (6,), "max_epochs": 2, "weight_decay": 0.01},
    "trained on the loss": {"encoder": "tanh", "max_epochs": 2, "criterion": "loss", "relation": "discrete"},
    "linear": {**LINEAR, "learn_scale": True},
    "no validation": {"encoder": "mlp", "max_epochs": 2, "early_stopping": False, "relation": "jaccard"},
    "chunks": {"encoder": "mlp", "max_epochs": 2, "chunk_size": 7, "relation": "cosine"},
    "batches": {"encoder": "mlp", "hidden_layer_sizes": (6, 6), "max_epochs": 2, "batch_size": 20},
    "drawn": {**LINEAR, "pairs": 50, "hard_fraction": 0.5},
    "drawn ridge": {"encoder": "mlp", "pairs": 50, "batch_size": 30, "max_epochs": 2},
    "lbfgs": {**LINEAR, "optimizer": "lbfgs", "max_epochs": 1},
}


def fit_deep_shards(ranks, cuts, jobs):
    fits = []
    for params, kind, X, y, weights, given in jobs:
        rows, targets, own = (shard(array, ranks, cuts) for array in (X, y, weights))
        metric = HRAMLTransformer(**params, random_state=0).fit(kind(rows), targets, own, **given)
        fits.append((metric.transform(X), metric.loss_curve_, metric.validation_curve_))
    return fits


@pytest.mark.parametrize("size", UNEVEN)
def test_shards_give_the_embedding_of_all_samples(size):
    X, Y, D, _ = problem()
    weights = np.random.default_rng(2).integers(1, 3, len(X)).astype(float)
    given = {"X_val": problem(20, seed=5)[0], "y_val": problem(20, seed=5)[1]}
    jobs = [
        (params, kind, X, D if params.get("relation") == "l1" else Y, weights, {})
        for params in DEEP.values()
        for kind in (np.asarray, sparse.csr_array)
    ]
    jobs.append((DEEP["trained ridge"], np.asarray, X, Y, weights, given))
    jobs.append((DEEP["trained on the loss"], np.asarray, X, Y, weights, given))
    results = in_ranks(size, fit_deep_shards, UNEVEN[size], jobs)
    assert not any(isinstance(result, Exception) for result in results), results
    for (params, kind, X, y, weights, given), *of_ranks in zip(jobs, *results, strict=True):
        expected = HRAMLTransformer(**params, random_state=0).fit(kind(X), y, weights, **given)
        Z = expected.transform(X)
        for embedding, losses, scores in of_ranks:
            np.testing.assert_allclose(embedding, Z, rtol=0, atol=1e-8 * abs(Z).max(), err_msg=str(params))
            np.testing.assert_allclose(losses, expected.loss_curve_, rtol=1e-8, err_msg=str(params))
            np.testing.assert_allclose(scores, expected.validation_curve_, rtol=1e-8)
