"""Everything that a GPU may do differently, for real: run `pytest -m gpu` where there is one.

Every test takes the device for a parameter. With "cpu" it runs everywhere, so that its body is known to work; with
"cuda" it carries the mark `gpu`, and is skipped where torch sees none.
"""

import gc
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from skrelmetric import AAKNN, DRMLTransformer, HRAMLTransformer, MLkNN, RAMLLinear
from skrelmetric.losses import LOSSES, Batch
from skrelmetric.metrics import retrieval_report
from tests.test_devices import needs_dispatch
from tests.test_fake_cuda import CASES, on_device, tensors_of

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no GPU here"),
    ],
)
pytestmark = pytest.mark.parametrize("device", ["cpu", CUDA])

MLP = {"encoder": "mlp", "hidden_layer_sizes": (16,), "max_epochs": 2}
TRANSFORMERS = {
    "RAMLLinear": RAMLLinear(),
    "RAMLLinear, l1, constrained": RAMLLinear(relation="l1", psd="constrained", alpha=0.1),
    "RAMLLinear, jaccard": RAMLLinear(relation="jaccard"),
    "RAMLLinear, krr": RAMLLinear(solver="krr", n_pairs=300),
    "HRAMLTransformer": HRAMLTransformer(8),
    "HRAMLTransformer, tanh": HRAMLTransformer(8, encoder="tanh"),
    "HRAMLTransformer, trained": HRAMLTransformer(8, **MLP, weight_decay=1e-3),
    "HRAMLTransformer, batches": HRAMLTransformer(8, **MLP, head="linear", batch_size=40, chunk_size=16),
    "HRAMLTransformer, pairs": HRAMLTransformer(8, **MLP, head="linear", pairs=200, hard_fraction=0.5),
    "HRAMLTransformer, votes": HRAMLTransformer(8, **MLP, head="linear", loss="neighbors", batch_size=40),
    "HRAMLTransformer, votes behind ridge": HRAMLTransformer(8, **MLP, loss="neighbors"),
    "DRMLTransformer": DRMLTransformer(8, max_epochs=2, batch_size=40),
    "DRMLTransformer, triplet": DRMLTransformer(8, max_epochs=2, batch_size=40, loss="triplet"),
}
TRAINED = {name: each for name, each in TRANSFORMERS.items() if "RAMLLinear" not in name}


@pytest.fixture
def dispatch():
    with config_context(array_api_dispatch=True):
        yield


def samples(rng, n=160, d=12, dtype=np.float64):
    """Samples, label sets and label distributions that go along with one another."""
    X = rng.standard_normal((n, d))
    scores = X[:, :4] @ rng.standard_normal((4, 4)) + 0.3 * rng.standard_normal((n, 4))
    return X.astype(dtype), (scores > 0).astype(int), np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def host(array):
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def distances(embedding):
    """Distances of samples in an embedding, in which the signs of its axes have no part."""
    Z = host(embedding).astype(np.float64)
    return np.linalg.norm(Z[:, None] - Z, axis=2)


def assert_close(actual, expected, rtol):
    """Equal up to a tolerance relative to the largest entry."""
    actual, expected = host(actual), host(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.fixture(scope="module")
def frozen():
    """What is there already is left to itself: to go through a million objects takes longer than the fits."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def allocated(device):
    """Bytes of the tensors that are alive: on the GPU as its allocator tells, otherwise as the collector does."""
    gc.collect()
    if device == "cuda":
        return torch.cuda.memory_allocated()
    tensors = (each for each in gc.get_objects() if type(each) in (Tensor, torch.nn.Parameter))
    return sum({each.data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


@pytest.mark.parametrize("name", CASES)
def test_every_numerical_function(name, device):
    there, here = (tensors_of(CASES[name].run(on_device(place))) for place in (device, "cpu"))
    for actual, expected in zip(there, here, strict=True):
        assert actual.device.type == device
        tolerance = 1e-8 if expected.dtype == torch.float64 else 1e-3
        torch.testing.assert_close(actual.cpu(), expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses(name, device):
    def gradient(place):
        generator = torch.Generator().manual_seed(0)
        loss = LOSSES[name].build(4, 5, 2, generator, torch.float64).to(place)
        Z = torch.randn((16, 5), generator=generator, dtype=torch.float64).to(place).requires_grad_()
        classes, groups = torch.arange(16, device=place) % 4, torch.arange(16, device=place) // 8
        loss(Z, Batch.of_classes(classes, 4, groups, 2), generator).backward()
        return [Z.grad, *(parameter.grad for parameter in loss.parameters())]

    for actual, expected in zip(gradient(device), gradient("cpu"), strict=True):
        assert actual.device.type == device
        torch.testing.assert_close(actual.cpu(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_numpy_goes_there_and_back(name, dtype, device, rng):
    X, Y, D = samples(rng, dtype=dtype)
    y = D if "l1" in name else Y
    metric = TRANSFORMERS[name].set_params(device=device, random_state=0).fit(X, y)
    embedding = metric.transform(X)
    assert isinstance(embedding, np.ndarray)
    assert embedding.dtype == dtype
    expected = metric.set_params(device="cpu").fit(X, y).transform(X)
    assert_close(distances(embedding), distances(expected), 1e-6 if dtype == np.float64 else 2e-2)


@pytest.mark.parametrize("name", ["RAMLLinear", "HRAMLTransformer, trained", "DRMLTransformer"])
def test_sparse_samples_and_missing_labels(name, device, rng):
    X, Y, _ = samples(rng)
    X = sparse.csr_array(X * (rng.random(X.shape) < 0.3))
    Y = np.where(rng.random(Y.shape) < 0.1, np.nan, Y)
    metric = TRANSFORMERS[name].set_params(device=device, random_state=0)
    embedding = metric.fit(X, Y).transform(X)
    expected = metric.set_params(device="cpu").fit(X, Y).transform(X)
    embedding, expected = (each.toarray() if sparse.issparse(each) else each for each in (embedding, expected))
    assert_close(distances(embedding), distances(expected), 1e-6)


@needs_dispatch
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("last", [MLkNN(5), AAKNN(5)], ids=["MLkNN", "AAKNN"])
def test_pipelines_of_tensors_stay_on_the_device(last, dtype, device, dispatch, rng):
    X, Y, D = samples(rng, dtype=dtype)
    y = Y if isinstance(last, MLkNN) else D
    model = make_pipeline(StandardScaler(), RAMLLinear(), last)
    method = "predict_proba" if isinstance(last, MLkNN) else "predict"
    expected = getattr(model.fit(X, y), method)(X)
    predicted = getattr(model.fit(torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)), method)(
        torch.from_numpy(X).to(device)
    )
    assert isinstance(predicted, Tensor)
    assert predicted.device.type == device
    # In float32 a k-th neighbour may be another.
    assert (np.abs(host(predicted) - expected) > 1e-6).mean() <= (0 if dtype == np.float64 else 0.02)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chebyshev"])
@pytest.mark.parametrize("last", [MLkNN(4), AAKNN(4)], ids=["MLkNN", "AAKNN"])
def test_neighbours_among_equal_distances(last, metric, device, dispatch, rng):
    X, Y, D = rng.integers(1, 4, (120, 3)) / 4, *samples(rng, 120)[1:]
    y = Y if isinstance(last, MLkNN) else D
    last.set_params(metric=metric)
    expected = last.fit(X, y).predict(X)
    X, y = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
    assert_close(last.fit(X, y).predict(X), expected, 1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_tensors_are_learned_where_they_are(name, device, dispatch, rng):
    X, Y, _ = samples(rng, dtype=np.float32)
    X, Y = torch.from_numpy(X).to(device), torch.from_numpy(Y).to(device)
    metric = TRAINED[name].set_params(device="auto", random_state=0).fit(X, Y)
    embedding = metric.transform(X)
    assert embedding.device.type == next(metric.encoder_.parameters()).device.type == device
    assert embedding.dtype == torch.float32
    expected = metric.fit(X.cpu(), Y.cpu()).transform(X.cpu())
    assert_close(distances(embedding), distances(expected), 2e-2)


@pytest.mark.parametrize("name", ["HRAMLTransformer, trained", "HRAMLTransformer, batches", "DRMLTransformer"])
def test_mixed_precision_agrees_roughly(name, device, rng):
    X, Y, _ = samples(rng, dtype=np.float32)
    metric = TRAINED[name].set_params(device=device, random_state=0)
    expected = metric.fit(X, Y).transform(X)
    embedding = metric.set_params(mixed_precision=True).fit(X, Y).transform(X)
    metric.set_params(mixed_precision=False)
    assert embedding.dtype == np.float32
    assert np.corrcoef(distances(embedding).ravel(), distances(expected).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_memory_does_not_grow_over_fits(name, device, rng, frozen):
    X, Y, D = samples(rng, dtype=np.float32)
    metric = TRANSFORMERS[name].set_params(device=device, random_state=0)
    held = []
    for n_fits in (2, 1):  # the first of all leaves workspaces of libraries behind
        for _ in range(n_fits):
            metric.fit(X, D if "l1" in name else Y).transform(X)
        held.append(allocated(device))
    assert held[0] == held[1]


def test_pickles_load_on_a_machine_without_a_gpu(device, rng, tmp_path):
    X, Y, D = samples(rng, dtype=np.float32)
    fitted = {
        name: metric.set_params(device=device, random_state=0).fit(X, D if "l1" in name else Y)
        for name, metric in TRANSFORMERS.items()
    }
    (tmp_path / "fitted").write_bytes(pickle.dumps((fitted, X)))
    code = """
import pickle
import numpy as np, torch
assert not torch.cuda.is_available()
fitted, X = pickle.load(open("fitted", "rb"))
np.savez("embeddings", **{name: metric.transform(X) for name, metric in fitted.items()})
"""
    without = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=without, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "embeddings.npz") as embeddings:
        for name, metric in fitted.items():
            assert_close(embeddings[name], metric.transform(X), 1e-3)


@pytest.mark.parametrize("name", ["HRAMLTransformer, batches", "DRMLTransformer"])
def test_generators_of_the_device_are_left_as_they_were(name, device, rng):
    X, Y, _ = samples(rng)
    state = torch.cuda.get_rng_state if device == "cuda" else torch.get_rng_state
    before = state()
    TRAINED[name].set_params(device=device, random_state=0).fit(X, Y)
    assert torch.equal(state(), before)


@pytest.mark.parametrize("name", ["HRAMLTransformer, trained", "DRMLTransformer"])
def test_what_was_learned_there_goes_on_here(name, device, rng):
    X, Y, _ = samples(rng)
    metric = TRAINED[name].set_params(device=device, random_state=0).fit(X, Y)
    before = distances(metric.transform(X))
    copy = pickle.loads(pickle.dumps(metric)).set_params(device="cpu", warm_start=True)
    assert_close(distances(copy.transform(X)), before, 1e-6)
    copy.fit(X, Y)
    assert next(copy.encoder_.parameters()).device.type == "cpu"
    assert np.isfinite(copy.transform(X)).all()


def test_retrieval(device, dispatch, rng):
    X, y = rng.standard_normal((300, 8)), np.arange(300) % 7
    expected = retrieval_report(X, y)
    found = retrieval_report(torch.from_numpy(X).to(device), y)
    assert found.keys() == expected.keys()
    for criterion, value in expected.items():
        assert found[criterion] == pytest.approx(value, rel=1e-9)
