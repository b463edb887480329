"""Fits in several real processes equal those in one."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone

from skrelmetric import DRMLTransformer, HRAMLTransformer, RAMLLinear
from skrelmetric.chunks import Chunks
from skrelmetric.datasets import load_emotions
from skrelmetric.distributed import RankError, Ranks, current_ranks, shards
from skrelmetric.relations import GivenPairs, make_relation
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
    fits = []
    for params, *data in jobs:
        last = data[0].shape[0] - 2
        own = (shard(array, ranks, [min(cut, last) for cut in cuts]) for array in data)
        fits.append(fitted(RAMLLinear(**params).fit(*own)))
    return fits


def assert_same(results, expected, rtol=1e-8):
    M, offset, ratio, _ = expected
    scale = abs(M).max()
    assert scale > 0
    for got in results:
        np.testing.assert_allclose(got[0], M, rtol=0, atol=rtol * scale)
        np.testing.assert_allclose([got[1], *got[2]], [offset, *ratio], rtol=0, atol=rtol * max(1, abs(offset)))


@pytest.mark.parametrize("size", UNEVEN)
def test_shards_give_the_metric_of_all_samples(size):
    jobs = []
    # Any two of the number of processes, the targets, the shape of the samples and how they are stored meet.
    for i, name in enumerate(TARGETS):
        n, d = [(90, 5), (25, 40)][(i + size) % 2]
        X, *_ = problem(n, d)
        if (i // 2 + size) % 2:
            X = sparse.csr_array(np.where(np.random.default_rng(3).random(X.shape) < 0.3, X, 0))
        relation, y = targets(n)[name]
        jobs.append(({"relation": relation, "tol": 1e-12}, X, y, np.random.default_rng(2).integers(0, 3, n) * 1.0))
    for n, d in [(90, 5), (25, 40)]:
        X, Y, D, _ = problem(n, d)
        jobs.append(({"psd": "constrained", "tol": 1e-9}, X, Y))
        jobs.append(({"n_components": 2, "alpha": 10.0, "tol": 1e-12}, X.astype(np.float32), D))
    results = in_ranks(size, fit_shards, UNEVEN[size], jobs)
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
    chosen = DEEP if size == 3 else ("laplacian", "batches") if size == 2 else ("tanh", "drawn")
    jobs = [(DEEP[name], np.asarray, X, D if DEEP[name].get("relation") == "l1" else Y, weights, {}) for name in chosen]
    jobs.append((DEEP["laplacian"], sparse.csr_array, X, Y, weights, {}))
    if size == 3:
        jobs += [(DEEP[name], np.asarray, X, Y, weights, given) for name in ("trained ridge", "trained on the loss")]
    results = in_ranks(size, fit_deep_shards, UNEVEN[size], jobs)
    assert not any(isinstance(result, Exception) for result in results), results
    for (params, kind, X, y, weights, given), *of_ranks in zip(jobs, *results, strict=True):
        expected = HRAMLTransformer(**params, random_state=0).fit(kind(X), y, weights, **given)
        Z = expected.transform(X)
        for embedding, losses, scores in of_ranks:
            np.testing.assert_allclose(embedding, Z, rtol=0, atol=1e-8 * abs(Z).max(), err_msg=str(params))
            np.testing.assert_allclose(losses, expected.loss_curve_, rtol=1e-8, err_msg=str(params))
            np.testing.assert_allclose(scores, expected.validation_curve_, rtol=1e-8)


RELATIONAL = {
    "default": {"hidden_layer_sizes": (5,)},
    "triplets": {"loss": "triplet", "samples_per_class": 4},
    "balanced": {"loss": "margin", "assignment": "balanced", "hidden_layer_sizes": (5,)},
    "plain": {"relational": False, "loss": "contrastive", "hidden_layer_sizes": (4,)},
    "classes": {"hold_out": "classes", "validation_fraction": 0.5, "loss": "cosface"},
    "pairs": {
        "relation": GivenPairs(np.arange(20).reshape(-1, 2), np.arange(1, 21).reshape(-1, 2), n_samples=90),
        "hold_out": "pairs",
        "loss": "triplet",
    },
    "no validation": {"early_stopping": False, "loss": "soft_triple", "hidden_layer_sizes": (4,)},
}


def fit_relational_shards(ranks, cuts, jobs):
    fits = []
    for params, kind, X, y, given in jobs:
        rows, targets = (shard(array, ranks, cuts) for array in (X, y))
        metric = DRMLTransformer(8, **params, max_epochs=2, batch_size=20, random_state=0)
        metric.fit(kind(rows), targets, **given)
        fits.append((metric.transform(X), metric.loss_curve_, metric.validation_curve_))
    return fits


def test_relational_metrics_are_trained_on_global_batches():
    X, Y, *_ = problem()
    classes = np.array(list("abcde"))[np.arange(len(X)) % 5]
    jobs = [(params, np.asarray, X, classes, {}) for params in RELATIONAL.values()]
    jobs.append((RELATIONAL["default"], sparse.csr_array, X, Y, {}))
    jobs.append((RELATIONAL["plain"], np.asarray, X, Y, {"X_val": X[:20] + 0.1, "y_val": Y[:20]}))
    results = in_ranks(3, fit_relational_shards, UNEVEN[3], jobs)
    assert not any(isinstance(result, Exception) for result in results), results
    for (params, kind, X, y, given), *of_ranks in zip(jobs, *results, strict=True):
        expected = DRMLTransformer(8, **params, max_epochs=2, batch_size=20, random_state=0).fit(kind(X), y, **given)
        for embedding, losses, scores in of_ranks:
            np.testing.assert_allclose(embedding, expected.transform(X), rtol=0, atol=1e-8, err_msg=str(params))
            np.testing.assert_allclose(losses, expected.loss_curve_, rtol=1e-8)
            np.testing.assert_allclose(scores, expected.validation_curve_, rtol=1e-8)


def fit_watched_shards(ranks, jobs):
    outcomes = []
    for kind, params in jobs:
        X, Y, *_ = problem()
        rows, seen = ranks.rows(len(X)), []

        def stops(epoch, X=X, seen=seen):
            seen.append(epoch.estimator().transform(X))
            return ranks.rank == 1 and epoch.number == 2

        def watches(epoch):
            return epoch.estimator() is None

        metric = kind(**params, callbacks=[stops, watches] if ranks.rank else stops, max_epochs=5, random_state=0)
        metric.fit(X[rows], Y[rows])
        outcomes.append((metric.n_iter_, metric.transform(X), seen))
    return outcomes


def test_a_callback_of_one_process_stops_all():
    jobs = [
        (DRMLTransformer, {"n_components": 8, "hidden_layer_sizes": (4,), "early_stopping": False}),
        (HRAMLTransformer, {"encoder": "mlp", "hidden_layer_sizes": (6,), "early_stopping": False}),
    ]
    results = in_ranks(2, fit_watched_shards, jobs)
    assert not any(isinstance(result, Exception) for result in results), results
    for of_ranks in zip(*results, strict=True):
        for n_iter, embedding, seen in of_ranks:
            assert n_iter == len(seen) == 2
            np.testing.assert_array_equal(seen[-1], embedding)


class Augmented:
    """A data set of images that are moved at random."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, place):
        return torch.from_numpy(self.X[place].reshape(1, 5, 1)) + 0.1 * torch.randn(1, dtype=torch.float64)


def fit_data_sets(ranks, cuts, X, y, module):
    rows, targets = (shard(array, ranks, cuts) for array in (X, y))
    options = {"max_epochs": 2, "random_state": 0}
    fits = [DRMLTransformer(4, trunk=module, batch_size=3, **options), HRAMLTransformer(4, encoder=module, **options)]
    fits.append(clone(fits[-1]).set_params(batch_size=20))
    return [fit.fit(Augmented(rows), targets).transform(Augmented(X)) for fit in fits]


def test_shards_may_be_data_sets():
    X, Y, *_ = problem()
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(5, 4)).double()
    torch.nn.init.normal_(module[1].weight, generator=torch.Generator().manual_seed(0))
    results = in_ranks(2, fit_data_sets, UNEVEN[2], X, Y, module)
    assert not any(isinstance(result, Exception) for result in results), results
    for expected, *of_ranks in zip(fit_data_sets(Ranks(), [], X, Y, module), *results, strict=True):
        for embedding in of_ranks:
            np.testing.assert_allclose(embedding, expected, rtol=0, atol=1e-8 * abs(expected).max())


def fit_images(ranks, init):
    sent, total = [], type(ranks).total

    def watched(self, tensors):
        sent.extend(tensor.numel() for tensor in tensors)
        return total(self, tensors)

    type(ranks).total = watched
    trunk = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    images = np.random.default_rng(ranks.rank).standard_normal((40, 1, 16, 16))
    DRMLTransformer(4, trunk=trunk, init=init, max_epochs=1, random_state=0).fit(images, np.arange(40) % 2)
    return max(sent)


def fit_unnamed(ranks):
    class Unnamed(torch.nn.Flatten):
        pass

    X, Y, *_ = problem()
    DRMLTransformer(4, trunk=Unnamed()).fit(X[ranks.rows(90)], Y[ranks.rows(90)])


def test_a_trunk_that_cannot_be_pickled_is_an_error_in_all():
    first, second = in_ranks(2, fit_unnamed)
    assert "local object" in str(first)
    assert isinstance(second, RankError)
    assert f"rank 0 with {type(first).__name__}: {first}" in str(second)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_images_stay_in_their_process_but_for_two(init):
    results = in_ranks(2, fit_images, init)
    assert not any(isinstance(result, Exception) for result in results), results
    assert max(results) == 2 * 16 * 16


def errors_of(ranks, function, *cases):
    """The error that a function raises for each of some cases, one after the other in the same processes."""
    errors = []
    for case in cases:
        try:
            errors.append(function(ranks, case))
        except Exception as error:
            errors.append(error)
    return errors


def with_nan_in(ranks, bad):
    X, Y, *_ = problem()
    if ranks.rank == bad:
        X[ranks.rows(len(X)).start] = np.nan
    rows = ranks.rows(len(X))
    return RAMLLinear().fit(X[rows], Y[rows])


@pytest.fixture(scope="module")
def errors_of_nan():
    return dict(zip([0, 2], zip(*in_ranks(3, errors_of, with_nan_in, 0, 2), strict=True), strict=True))


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_in_one_process_is_an_error_in_all(bad, errors_of_nan):
    for rank, error in enumerate(errors_of_nan[bad]):
        if rank == bad:
            assert isinstance(error, ValueError)
            assert "NaN" in str(error)
        else:
            assert isinstance(error, RankError)
            assert f"rank {bad} with ValueError: Input X contains NaN" in str(error)


def killed(ranks, how):
    X, Y, *_ = problem()
    rows = ranks.rows(len(X))
    metric = RAMLLinear().fit(X[rows], Y[rows])
    if ranks.rank == 1 and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if ranks.rank == 1 and how == "sleeps":
        time.sleep(8)  # past the timeout of the others
        return None
    return metric.fit(X[rows], Y[rows])


@pytest.mark.parametrize("how", ["dies", "sleeps"])
def test_a_process_that_is_gone_is_an_error_in_the_others(how):
    start = time.monotonic()
    results = in_ranks(3, killed, how, timeout=6.0)
    assert time.monotonic() - start < 60  # no hang; each start takes seconds on a busy machine
    for error in (results[0], results[2]):
        assert isinstance(error, RankError)
        assert "Lost contact with another process" in str(error)
    assert not isinstance(results[1], RAMLLinear)


def at_odds(ranks, what):
    X, Y, *_ = problem()
    rows = ranks.rows(len(X))
    odd = ranks.rank == 1
    if what == "features":
        return RAMLLinear().fit(X[rows, : 4 if odd else 5], Y[rows])
    if what == "estimator":
        return (HRAMLTransformer() if odd else RAMLLinear()).fit(X[rows], Y[rows])
    if what == "parameters":
        return RAMLLinear(alpha=2.0 if odd else 1.0).fit(X[rows], Y[rows])
    if what == "validation":
        return HRAMLTransformer(encoder="mlp").fit(X[rows], Y[rows], X_val=X[rows], y_val=Y[rows])
    if what == "kind":
        return RAMLLinear().fit(sparse.csr_array(X[rows]) if odd else X[rows], Y[rows])
    if what == "targets":
        return RAMLLinear().fit(X[rows], Y[rows, : 2 if odd else 4])
    return RAMLLinear().fit(X[:1] if ranks.rank == 0 else X[:0], Y[:1] if ranks.rank == 0 else Y[:0])


MESSAGES = {
    "features": "dense of shape (5,) in one part and dense of shape (4,)",
    "estimator": "estimator is 'RAMLLinear' in rank 0 and 'HRAMLTransformer' in rank 1",
    "parameters": "alpha is 1.0 in rank 0 and 2.0 in rank 1",
    "validation": "X_val or y_val differ between processes",
    "kind": "dense of shape (5,) in one part and sparse",
    "targets": "numbers of shape (4,) a sample in one part",
    "few": "1 samples of all parts have a positive weight",
}


@pytest.fixture(scope="module")
def errors_at_odds():
    return dict(zip(MESSAGES, zip(*in_ranks(2, errors_of, at_odds, *MESSAGES), strict=True), strict=True))


@pytest.mark.parametrize("what", MESSAGES)
def test_processes_at_odds_are_told(what, errors_at_odds):
    for error in errors_at_odds[what]:
        assert isinstance(error, ValueError | RankError), error
        assert MESSAGES[what] in str(error)


def test_what_needs_all_samples_says_so():
    X, Y, *_ = problem(40)
    chunks = Chunks.of(X, Y, chunk_size=10)
    with pytest.raises(ValueError, match="solver='krr' draws pairs"):
        RAMLLinear(solver="krr").fit(chunks)
    with pytest.raises(ValueError, match="Chunks hold the targets"):
        RAMLLinear().fit(chunks, Y)
    with pytest.raises(ValueError, match="use partial_fit chunk by chunk"):
        HRAMLTransformer(encoder="mlp", batch_size=4).fit(chunks)
    with pytest.raises(ValueError, match="checkpoint"):
        HRAMLTransformer(checkpoint="folder").fit(chunks)
    with pytest.raises(ValueError, match="X comes in Chunks"):
        DRMLTransformer().fit(chunks)
    with pytest.raises(ValueError, match="bound to all targets at once"):
        RAMLLinear(relation=make_relation(Y)).fit(chunks)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    X, Y, *_ = problem(30)
    with shards() as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        assert current_ranks() is ranks
        assert ranks.rows(7) == slice(0, 7)
        assert ranks.gathered("a") == ["a"]
        metric = RAMLLinear().fit(X[ranks.rows(30)], Y[ranks.rows(30)])
    np.testing.assert_array_equal(metric.components_, RAMLLinear().fit(X, Y).components_)


def test_torchrun_starts_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
from skrelmetric import RAMLLinear
from skrelmetric.datasets import load_emotions
from skrelmetric.distributed import shards

X, Y = load_emotions(return_X_y=True)
with shards() as ranks:
    rows = ranks.rows(len(X))
    metric = RAMLLinear().fit(X[rows], Y[rows])
print(f"rank {ranks.rank} of {ranks.size}: {metric.offset_:.6f}", flush=True)
"""
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    X, Y = load_emotions(return_X_y=True)
    expected = RAMLLinear().fit(X, Y).offset_
    said = sorted(re.findall(r"rank \d of 2: \d+\.\d{6}", run.stdout))  # maybe in one line
    assert said == [f"rank {rank} of 2: {expected:.6f}" for rank in range(2)]
