"""Fits to samples in chunks, memory maps and Dask arrays equal those to the same samples in memory."""

import sys
import threading

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric._interop.torch import as_tensor
from skrelmetric._training import subsets
from skrelmetric.chunks import Chunks
from skrelmetric.encoders import Laplacian
from skrelmetric.relations import _reals as reals
from skrelmetric.relations import make_relation
from tests.ranks import started
from tests.test_distributed import DEEP, TARGETS, problem, targets


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def assert_same_metric(metric, expected, rtol=1e-8):
    M = expected.get_mahalanobis_matrix()
    assert abs(M).max() > 0
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, rtol=0, atol=rtol * abs(M).max())
    np.testing.assert_allclose(metric.offset_, expected.offset_, rtol=1e-6, atol=1e-8)
    assert metric.n_features_in_ == expected.n_features_in_


def dask_rows(array, sizes):
    if sparse.issparse(array):
        array = array.toarray()
    return da.from_array(array, chunks=(tuple(sizes), *array.shape[1:]))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    ("n", "d", "size", "kind"),
    [(90, 5, 17, np.asarray), (90, 5, 40, sparse.csr_array), (25, 40, 4, np.asarray), (12, 4, 1, sparse.csr_array)],
)
def test_chunks_give_the_metric_of_all_samples(name, n, d, size, kind):
    X, *_ = problem(n, d)
    relation, y = targets(n)[name]
    X = kind(np.where(np.random.default_rng(3).random(X.shape) < 0.5, X, 0))
    weights = np.random.default_rng(2).integers(0, 3, n).astype(float)
    metric = RAMLLinear(relation=relation, tol=1e-12)
    expected = RAMLLinear(relation=relation, tol=1e-12).fit(X, y, weights)
    assert_same_metric(metric.fit(Chunks.of(X, y, weights, chunk_size=size)), expected)


@pytest.mark.parametrize("name", TARGETS)
def test_dask_arrays_give_the_metric_of_all_samples(name):
    X, *_ = problem()
    relation, y = targets(90)[name]
    sizes = [30, 20, 40]
    metric = RAMLLinear(relation=relation, tol=1e-12).fit(dask_rows(X, sizes), dask_rows(y, sizes))
    assert_same_metric(metric, RAMLLinear(relation=relation, tol=1e-12).fit(X, y))


def test_dask_arrays_need_not_be_aligned_nor_of_known_sizes():
    X, Y, *_ = problem()
    weights = np.random.default_rng(2).integers(0, 3, 90).astype(float)
    expected = RAMLLinear().fit(X, Y, weights)
    rows = da.from_array(X, chunks=(40, 2))
    assert_same_metric(RAMLLinear().fit(rows, da.from_array(Y, chunks=(25, 4)), da.from_array(weights)), expected, 1e-6)
    assert_same_metric(RAMLLinear().fit(rows, Y, weights), expected, 1e-6)
    even = np.arange(90) % 2 == 0
    mask = da.from_array(even, chunks=40)
    some, of_some = rows[mask], da.from_array(Y, chunks=(40, 4))[mask]
    assert np.isnan(some.shape[0])
    assert_same_metric(RAMLLinear().fit(some, of_some), RAMLLinear().fit(X[even], Y[even]), 1e-6)
    with pytest.raises(ValueError, match="chunks of X are of unknown sizes"):
        RAMLLinear().fit(some, Y[even])
    with pytest.raises(ValueError, match="X has 90 samples, but y 80"):
        RAMLLinear().fit(rows, Y[:80])
    with pytest.raises(ValueError, match="the target y is None"):
        RAMLLinear().fit(rows)


def test_transform_of_a_dask_array_is_lazy():
    X, Y, *_ = problem()
    rows = dask_rows(X, [30, 20, 40])
    for metric in (RAMLLinear(2), HRAMLTransformer(3)):
        Z = metric.fit(X, Y).transform(rows)
        assert isinstance(Z, da.Array)
        assert Z.chunks[0] == (30, 20, 40)
        assert Z.shape == metric.transform(X).shape
        assert Z.dtype == metric.transform(X).dtype
        np.testing.assert_allclose(Z.compute(), metric.transform(X), atol=1e-12)


def test_any_iterable_of_chunks_that_can_be_gone_through_again():
    X, Y, *_ = problem()
    expected = RAMLLinear().fit(X, Y)
    pieces = [(X[rows], Y[rows]) for rows in (slice(0, 0), slice(0, 50), slice(50, 51), slice(51, 90))]
    loader = DataLoader(TensorDataset(as_tensor(X), as_tensor(Y)), batch_size=16)
    for source in (pieces, lambda: iter(pieces), loader):
        assert_same_metric(RAMLLinear().fit(Chunks(source)), expected, 1e-6)
    names = ["a", "b", "c", "d", "e"]
    frames = [(pd.DataFrame(x, columns=names), y) for x, y in pieces]
    assert RAMLLinear().fit(Chunks(frames)).feature_names_in_.tolist() == names
    for once in (iter(pieces), 5):
        with pytest.raises(ValueError, match="only once, or not at all"):
            Chunks(once)
    with pytest.raises(ValueError, match="hold no chunk"):
        RAMLLinear().fit(Chunks([]))
    with pytest.raises(ValueError, match="Arrays of"):
        Chunks.of(X, Y[:3])


def test_chunks_are_scaled_on_their_way():
    X, Y, *_ = problem()
    chunks, scaler = Chunks.of(X, Y, chunk_size=20), StandardScaler()
    for x, _ in chunks:
        scaler.partial_fit(x)
    assert_same_metric(RAMLLinear().fit(chunks.map(scaler.transform)), RAMLLinear().fit(scaler.transform(X), Y), 1e-6)


def test_bad_chunks_are_told():
    X, Y, *_ = problem()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        RAMLLinear().fit(Chunks([(X, Y), (np.where(X > 3, np.nan, X), Y)]))
    with pytest.raises(ValueError, match=r"dense of shape \(5,\) in one part and dense of shape \(4,\)"):
        RAMLLinear().fit(Chunks([(X, Y), (X[:, :4], Y)]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        RAMLLinear().fit(Chunks([(X, Y), (X, Y[:5])]))
    with pytest.raises(ValueError, match="1 samples of all parts"):
        RAMLLinear().fit(Chunks([(X[:1], Y[:1])]))
    with pytest.raises(ValueError, match="compares label sets"):
        RAMLLinear(relation="jaccard").fit(Chunks([(X, Y), (X, 2 * Y)]))
    with pytest.raises(ValueError, match="bound to all targets at once.*or fit to samples in memory"):
        RAMLLinear(relation=make_relation(Y)).fit(Chunks([(X, Y)]))


def test_targets_that_are_sparse_in_one_part_are_those_of_all():
    X, Y, *_ = problem()
    for relation in ("hamming", "sqeuclidean", "discrete", "l1", "cosine"):
        chunks = Chunks([(X[:30], Y[:30]), (X[30:], sparse.csr_array(Y[30:]))])
        metric = RAMLLinear(relation=relation, tol=1e-12)
        assert_same_metric(clone(metric).fit(chunks), metric.fit(X, Y))


@pytest.mark.parametrize("relation", ["hamming", "sqeuclidean", "discrete", "l1", "cosine"])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_part_of_predictions_in_chunks(weight, relation):
    X, Y, *_ = problem()
    metric = RAMLLinear(relation=relation, prediction_weight=weight, tol=1e-12)
    chunks = Chunks([(X[:30], Y[:30]), (X[30:35], Y[30:35]), (X[35:], Y[35:])])
    assert_same_metric(clone(metric).fit(chunks), clone(metric).fit(X, Y))
    assert (
        abs(
            metric.fit(X, Y).get_mahalanobis_matrix()
            - RAMLLinear(relation=relation, prediction_weight=0).fit(X, Y).get_mahalanobis_matrix()
        ).max()
        > 1e-4
    )


def test_chunks_that_change_are_told():
    X, Y, *_ = problem()
    rng = np.random.default_rng(0)

    def shuffled():
        order = rng.permutation(90)
        return [(X[order[:50]], Y[order[:50]]), (X[order[50:]], Y[order[50:]])]

    def fewer(read=[]):  # noqa: B006
        read.append(1)
        return [(X[:50], Y[:50]), (X[50:], Y[50:])][: 2 if len(read) < 4 else 1]

    for source in (shuffled, fewer):
        with pytest.raises(ValueError, match="differ from those of the last time"):
            RAMLLinear().fit(Chunks(source))


def test_what_is_no_chunk_is_told():
    X, Y, *_ = problem()
    for chunk, message in [
        (X, "A chunk is a ndarray"),
        ((X,), "A chunk is a tuple"),
        ((X, None), "y is None in a part"),
    ]:
        with pytest.raises(ValueError, match=message):
            RAMLLinear().fit(Chunks([chunk]))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        RAMLLinear().fit(Chunks([(Y[:, 0], Y[:, 0])]))
    with pytest.raises(TypeError, match="X is 'part.npy', but what it holds is needed"):
        RAMLLinear().fit(Chunks([("part.npy", Y)]))
    with pytest.raises(ValueError, match="X holds datetime64"):
        RAMLLinear().fit(Chunks([(X, Y), (X.astype("datetime64[s]"), Y)]))
    with pytest.raises(ValueError, match="y is None"):
        Chunks.of(X, None, Y[:, 0])
    with pytest.raises(ValueError, match="chunk_size == 0"):
        Chunks.of(X, Y, chunk_size=0)
    with pytest.raises(TypeError, match="Chunks are for `fit`"):
        RAMLLinear().fit(X, Y).transform(Chunks.of(X, Y))
    names = pd.DataFrame(X, columns=list("abcde"))
    with pytest.raises(ValueError, match="feature names"):
        RAMLLinear().fit(Chunks([(names, Y), (names[list("edcba")], Y)]))


def as_memmap(array, path):
    written = np.memmap(path, dtype=array.dtype, mode="w+", shape=array.shape)
    written[:] = array
    return written


@pytest.mark.parametrize("name", ["laplacian", "tanh", "trained ridge", "trained on the loss", "linear", "lbfgs"])
def test_chunks_give_the_embedding_of_all_samples(name, tmp_path, monkeypatch):
    X, Y, D, _ = problem()
    y = D if DEEP[name].get("relation") == "l1" else Y
    sizes = [30, 20, 40]
    weights = np.random.default_rng(2).integers(0, 3, 90).astype(float)
    expected = HRAMLTransformer(**DEEP[name], random_state=0).fit(X, y, weights)
    monkeypatch.setattr("skrelmetric.chunks._BYTES", 800)  # a memory map of twenty rows a chunk
    mapped = as_memmap(X, tmp_path / "X"), as_memmap(y, tmp_path / "y"), weights
    on_dask = [dask_rows(array, sizes) for array in (X, y, weights)]
    for data in ([Chunks.of(X, y, weights, chunk_size=33)], mapped, on_dask):
        metric = HRAMLTransformer(**DEEP[name], random_state=0).fit(*data)
        scale = abs(expected.transform(X)).max()
        np.testing.assert_allclose(metric.transform(X), expected.transform(X), rtol=0, atol=1e-8 * scale)
        np.testing.assert_allclose(metric.loss_curve_, expected.loss_curve_, rtol=1e-8)
        np.testing.assert_allclose(metric.validation_curve_, expected.validation_curve_, rtol=1e-8)


def test_memory_maps_are_read_in_chunks(tmp_path, monkeypatch):
    X, Y, *_ = problem()
    expected = RAMLLinear(solver="krr", random_state=0).fit(X, Y)
    monkeypatch.setattr("skrelmetric.chunks._BYTES", 800)
    rows = as_memmap(X, tmp_path / "X")
    read = []
    of = Chunks.of.__func__
    monkeypatch.setattr(Chunks, "of", classmethod(lambda cls, *arrays: read.append(1) or of(cls, *arrays)))
    assert_same_metric(RAMLLinear().fit(rows, Y), RAMLLinear().fit(X, Y), 1e-6)
    assert read
    # What needs all samples at once takes the map as an array.
    assert_same_metric(RAMLLinear(solver="krr", random_state=0).fit(rows, Y), expected)


SIZES = 1_000, 3_000, 20_000  # the first for what is loaded and kept once
WIDTH = 120


def held():
    """Anonymous memory of this process in MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def labels(X):
    return (X[:, :6] > 0).astype(np.int8)


def numbers(X):
    return X[:, :2]


def grown_over_fits(told):
    """What fits to ever more samples take at most, a line for each metric; few passes are as large as many."""
    subsets._N_LANDMARKS, reals._MOST_CELLS = 200, 500
    trained = {"encoder": "mlp", "head": "linear", "max_epochs": 1, "early_stopping": False, "random_state": 0}
    lines = []
    for name, metric, targets_of in [
        ("linear", RAMLLinear(tol=0.1), labels),
        ("l1", RAMLLinear(tol=0.1), numbers),
        ("kernel", HRAMLTransformer(8, encoder=Laplacian(50)), labels),
        ("trained", HRAMLTransformer(8, **trained), labels),
    ]:
        grown = []
        for n in SIZES:
            before, peak, done = held(), [0.0], threading.Event()

            def watch(peak=peak, done=done):
                while not done.wait(0.002):
                    peak[0] = max(peak[0], held())

            def chunks(n=n, targets_of=targets_of):
                for seed in range(n // 500):
                    X = np.random.default_rng(seed).standard_normal((500, WIDTH))
                    yield X, targets_of(X)

            thread = threading.Thread(target=watch)
            thread.start()
            metric.fit(Chunks(chunks))
            done.set()
            thread.join()
            grown.append(peak[0] - before)
        lines.append(" ".join([name, *map(str, grown[1:])]))
    told.write_text("\n".join(lines))


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_memory_does_not_grow_with_the_samples(tmp_path):
    told = tmp_path / "grown"
    process = started(grown_over_fits, told)
    process.join()
    assert process.exitcode == 0
    grown = {name: (float(few), float(many)) for name, few, many in map(str.split, told.read_text().splitlines())}
    assert [*grown] == ["linear", "l1", "kernel", "trained"]
    samples = 8 * WIDTH * (SIZES[2] - SIZES[1]) / 2**20  # 16 MiB
    assert {name: of_many for name, (of_few, of_many) in grown.items() if of_many >= of_few + samples / 2} == {}, grown
