"""Copies, pickles and ONNX graphs."""

import pickle
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from skrelmetric import HRAMLTransformer
from skrelmetric.encoders import ACTIVATIONS, Laplacian
from skrelmetric.encoders import MLP as Perceptron  # noqa: N811  # a test has the name for settings
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


class SideBySide(nn.ModuleList):
    def forward(self, X):
        return torch.cat([module(X) for module in self], 1)


class EveryActivation:
    """Perceptrons side by side, one for each activation."""

    def build(self, *samples):
        return SideBySide(Perceptron((4, 3), name).build(*samples) for name in ACTIVATIONS)


EXPORTED = {  # parameters, dtype of the samples
    "laplacian": ({}, np.float64),
    "tanh": ({"encoder": "tanh"}, np.float32),
    "activations": ({"encoder": EveryActivation(), **SHORT}, np.float64),
    "linear": ({**LINEAR, **SHORT, "learn_scale": True, "dropout": 0.5}, np.float32),
    "images": ({"encoder": convolution(), **SHORT}, np.float64),
    "words": ({"encoder": Words(), **SHORT}, np.int64),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graphs_give_the_same_embedding(name, dtype, samples, images, tmp_path, rng):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    parameters, dtype_of_samples = EXPORTED[name]
    if name == "images":
        X, y = images
    elif name == "words":
        X = rng.integers(0, 20, (60, 7))
        y = (X < 10).sum(1)
    else:
        X, y = np.tile(samples[0], 6) + 0.1 * rng.standard_normal((60, 24)), samples[1]
    X = X.astype(dtype_of_samples)
    metric = HRAMLTransformer(**parameters).fit(X, y)
    expected = metric.transform(X)
    weights = next(metric.encoder_.parameters()).dtype
    metric.export_onnx(tmp_path / "metric.onnx", dtype=None if str(weights) == f"torch.{dtype}" else dtype)
    assert [file.name for file in tmp_path.iterdir()] == ["metric.onnx"]
    if name == "images" and dtype == "float64":
        return  # ONNX Runtime has no convolution in float64; other runtimes may
    session = runtime.InferenceSession(tmp_path / "metric.onnx")
    queries = X if name == "words" else X.astype(dtype)
    rtol = 1e-13 if weights == torch.float64 and dtype == "float64" else 1e-5
    for n in (1, 2, 7):
        (embedding,) = session.run(["Z"], {"X": queries[:n]})
        assert embedding.dtype == dtype
        np.testing.assert_allclose(embedding, expected[:n], rtol=0, atol=rtol * np.abs(expected).max())
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
    for dtype in ("float16", np.float32, torch.float64):
        with pytest.raises(ValueError, match=r"is not known. Choose one of \[None, 'float32', 'float64'\]"):
            metric.export_onnx(tmp_path / "metric.onnx", dtype=dtype)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[onnx\]'"):
        metric.export_onnx(tmp_path / "metric.onnx")
    assert list(tmp_path.iterdir()) == []
