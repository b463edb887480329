"""Predictions for Dask arrays, block by block."""

import pickle
import threading
from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context, get_config
from sklearn.base import clone

from skrelmetric import AAKNN, MLkNN
from skrelmetric._interop.dask import is_dask, map_rows
from skrelmetric._search.host import NeighbourSearch
from tests.neighbors.problems import continuous, label_sets
from tests.test_devices import Accelerator


@pytest.fixture
def dask_array():
    return pytest.importorskip("dask.array", reason="needs dask: pip install 'skrelmetric[dask]'")


def unknown(blocks):
    """The same blocks of lengths that Dask does not know."""
    return blocks[blocks[:, 0] > -np.inf]


PREDICTIONS = {
    "label sets": (lambda rng, X: label_sets(rng, X), MLkNN(4)),
    "one label": (lambda rng, X: label_sets(rng, X)[:, 0], MLkNN(4)),
    "named classes": (lambda rng, X: np.array(["no", "yes"])[label_sets(rng, X)[:, 0]], MLkNN(4)),
    "distributions": (lambda rng, X: rng.dirichlet(np.ones(3), len(X)), AAKNN()),
    "numbers": (lambda rng, X: rng.random(len(X)), AAKNN()),
}


@pytest.mark.parametrize("cut", ["rows", "features", "unknown", "empty", "one"])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_dask_arrays_are_predicted_block_by_block(name, cut, dask_array, rng, monkeypatch):
    X, queries = continuous(rng, 90, 25)
    targets, model = PREDICTIONS[name]
    model = clone(model).fit(X, targets(rng, X))
    chunks = {"rows": (10, 20), "features": (7, 6), "unknown": (10, 20), "empty": ((0, 12, 0, 13), 20), "one": (25, 20)}
    blocks = dask_array.from_array(queries, chunks=chunks[cut])
    blocks = unknown(blocks) if cut == "unknown" else blocks
    sizes = []
    original = NeighbourSearch.nearest

    def nearest(self, X, *args, **options):
        sizes.append(X.shape)
        return original(self, X, *args, **options)

    monkeypatch.setattr(NeighbourSearch, "nearest", nearest)
    for method in ("predict", "predict_proba") if isinstance(model, MLkNN) else ("predict",):
        predicted = getattr(deepcopy(model), method)(blocks)  # no votes are remembered
        assert is_dask(predicted)
        assert not sizes
        expected = getattr(deepcopy(model), method)(queries)
        sizes.clear()
        np.testing.assert_equal(predicted.chunks[0], blocks.chunks[0])
        assert predicted.shape[1:] == expected.shape[1:]
        assert predicted.dtype == expected.dtype
        computed = predicted.compute()
        assert computed.dtype == expected.dtype
        np.testing.assert_array_equal(computed, expected)
        assert {columns for _, columns in sizes} == {20}
        assert max(rows for rows, _ in sizes) == {"features": 7, "empty": 13, "one": 25}.get(cut, 10)
        sizes.clear()


def test_a_block_is_computed_alone(dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    asked = []

    def load(block, block_id=None):
        asked.append(block_id)
        return block

    blocks = dask_array.from_array(queries, chunks=(10, 20)).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    model = AAKNN().fit(X, X)
    third = model.predict(blocks)[20:].compute()
    np.testing.assert_array_equal(third, model.predict(queries[20:]))
    assert asked == [(2, 0)]


def test_predictions_are_those_of_the_model_as_it_was(dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    Y = label_sets(rng, X)
    blocks = dask_array.from_array(queries, chunks=(10, 20))
    model = MLkNN(5).fit(X, Y)
    expected, other = model.predict_proba(queries), model.predict_proba(-queries)
    lazy, lazy_other = model.predict_proba(blocks), model.predict_proba(-blocks)
    model.fit(X, 1 - Y)
    np.testing.assert_array_equal(lazy.compute(), expected)
    np.testing.assert_array_equal(lazy_other.compute(), other)
    np.testing.assert_array_equal(model.predict_proba(blocks).compute(), model.predict_proba(queries))


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_every_scheduler(scheduler, dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    model = MLkNN(5).fit(X, label_sets(rng, X))
    blocks = dask_array.from_array(queries, chunks=(10, 20))
    predicted = model.predict(blocks).compute(scheduler=scheduler, num_workers=2)
    np.testing.assert_array_equal(predicted, model.predict(queries))


def test_dask_arrays_that_do_not_fit(dask_array, rng):
    X, _ = continuous(rng, 30, 1)
    Y = label_sets(rng, X)
    for model in (MLkNN(3).fit(X, Y), AAKNN().fit(X, X[:, :3])):
        with pytest.raises(ValueError, match="X has 19 features, but .* is expecting 20"):
            model.predict(dask_array.ones((10, 19), chunks=5))
        with pytest.raises(ValueError, match="expecting 20 features"):
            model.predict(dask_array.ones(20, chunks=5))
        with pytest.raises(ValueError, match="contains NaN"):
            model.predict(dask_array.full((10, 20), np.nan, chunks=(5, 20))).compute()


def test_dask_arrays_of_distances_of_sparse_blocks_and_on_a_device(dask_array, rng):
    X, queries = continuous(rng, 60, 30)
    y = rng.random(60)
    expected = AAKNN().fit(X, y).predict(queries)
    blocks = dask_array.from_array(queries, chunks=(10, 20))
    distances = dask_array.from_array(cdist(queries, X), chunks=(10, 20))
    model = AAKNN(metric="precomputed").fit(cdist(X, X), y)
    np.testing.assert_allclose(model.predict(distances).compute(), expected)
    predicted = AAKNN().fit(X, y).predict(blocks.map_blocks(sparse.csr_array))
    np.testing.assert_allclose(predicted.compute(), expected)
    with Accelerator():
        model = AAKNN(device="cuda").fit(X, y)
        np.testing.assert_allclose(model.predict(blocks).compute(scheduler="synchronous"), expected)


def test_rows_of_any_shape_under_the_present_configuration(dask_array):
    images = dask_array.arange(7 * 2 * 3 * 3, chunks=-1).reshape(7, 2, 3, 3).rechunk((3, 1, 3, 2))
    seen = []

    def sums(block):
        seen.append((block.shape[1:], get_config()["working_memory"], threading.current_thread() is main))
        return block.sum((2, 3))

    def total_of(block):
        return block.sum((1, 2, 3))

    main = threading.current_thread()
    with config_context(working_memory=77):
        total, flat = map_rows(sums, images, 2, np.float32), map_rows(total_of, images, None, float)
    assert (total.shape, total.chunks[0], total.dtype) == ((7, 2), (3, 3, 1), np.float32)
    np.testing.assert_array_equal(total.compute(), images.compute().sum((2, 3)))
    np.testing.assert_array_equal(flat.compute(), images.compute().sum((1, 2, 3)))
    assert set(seen) == {((2, 3, 3), 77, False)}


def test_the_function_is_sent_once(dask_array):
    blocks = dask_array.ones((100, 4), chunks=(10, 4))
    result = map_rows(np.ones(1_000_000).__add__, blocks, 4, float)
    graph = dict(result.__dask_graph__())
    sizes = sorted(len(pickle.dumps(task)) for key, task in graph.items())
    assert len(sizes) > 10
    assert sizes[-1] > 8_000_000
    assert sizes[-2] < 10_000


def test_what_is_a_dask_array(dask_array):
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0]})
    assert is_dask(dask_array.ones(3))
    assert not any(is_dask(other) for other in (np.ones(3), [1.0], frame, None, torch.ones(3), sparse.eye_array(3)))
