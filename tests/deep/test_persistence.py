"""Copies, pickles and ONNX graphs."""

import pickle
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skrelmetric import HRAMLTransformer
from skrelmetric.encoders import Laplacian
from tests.deep.problems import LINEAR, MLP, SHORT, Words, convolution


def test_copies_of_modules(images):
    X, y = images
    metric = HRAMLTransformer(5, encoder=convolution(), **SHORT, random_state=0)
    for copy in (clone(metric), deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert copy.encoder is not metric.encoder
        np.testing.assert_array_equal(copy.fit(X, y).transform(X), metric.fit(X, y).transform(X))
    fitted = deepcopy(metric)
    fitted.partial_fit(X, y)
    assert np.abs(fitted.transform(X) - metric.transform(X)).max() > 0  # copies do not share weights
    np.testing.assert_array_equal(metric.transform(X), clone(metric).fit(X, y).transform(X))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT, "learn_scale": True}])
def test_states_of_a_gpu_are_read_without_one(samples, parameters, monkeypatch):
    X, Y = samples
    metric = HRAMLTransformer(**parameters).fit(X, Y)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        state = pickle.dumps(metric)
    assert b"cuda:0" in state
    read = pickle.loads(state)
    np.testing.assert_array_equal(read.transform(X), metric.transform(X))
    np.testing.assert_array_equal(read.partial_fit(X, Y).transform(X), metric.partial_fit(X, Y).transform(X))


# ONNX


EXPORTED = {  # parameters, dtype of the samples, dtype of the graph
    "laplacian": ({}, np.float32, np.float32),
    "tanh": ({"encoder": "tanh"}, np.float32, np.float32),
    "ridge": ({**MLP, **SHORT}, np.float64, np.float64),
    "linear": ({**LINEAR, **SHORT, "learn_scale": True, "dropout": 0.5}, np.float32, np.float32),
    "images": ({"encoder": convolution(), **SHORT}, np.float64, np.float32),
    "words": ({"encoder": Words(), **SHORT}, np.int64, np.int64),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graphs_give_the_same_embedding(name, samples, images, tmp_path, rng):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    parameters, dtype, taken = EXPORTED[name]
    if name == "images":
        X, y = images
    elif name == "words":
        X = rng.integers(0, 20, (60, 7))
        y = (X < 10).sum(1)
    else:
        X, y = np.tile(samples[0], 6) + 0.1 * rng.standard_normal((60, 24)), samples[1]
    X = X.astype(dtype)
    metric = HRAMLTransformer(**parameters).fit(X, y)
    expected = metric.transform(X)
    metric.export_onnx(tmp_path / "metric.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["metric.onnx"]
    session = runtime.InferenceSession(tmp_path / "metric.onnx")
    rtol = 1e-9 if taken == np.float64 else 1e-4
    for n in (1, 2, 7):
        (embedding,) = session.run(["Z"], {"X": X[:n].astype(taken)})
        assert embedding.dtype == (np.float64 if taken == np.float64 else np.float32)
        np.testing.assert_allclose(embedding, expected[:n], atol=rtol * np.abs(expected).max())
    np.testing.assert_array_equal(metric.transform(X), expected)


def test_exported_graphs_of_many_landmarks_give_the_same_embedding(tmp_path, rng):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    X = rng.standard_normal((1100, 24)).astype(np.float32)
    metric = HRAMLTransformer(4, encoder=Laplacian(16)).fit(X, X[:, 0] > 0)
    expected = metric.transform(X)
    metric.export_onnx(tmp_path / "metric.onnx")
    (embedding,) = runtime.InferenceSession(tmp_path / "metric.onnx").run(["Z"], {"X": X})
    np.testing.assert_allclose(embedding, expected, atol=1e-4 * np.abs(expected).max())


def test_export_without_onnxscript(samples, tmp_path, monkeypatch):
    with pytest.raises(NotFittedError):
        HRAMLTransformer().export_onnx(tmp_path / "metric.onnx")
    metric = HRAMLTransformer().fit(*samples)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[onnx\]'"):
        metric.export_onnx(tmp_path / "metric.onnx")
    assert list(tmp_path.iterdir()) == []
