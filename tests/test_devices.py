"""Tensors stay where they live: on an accelerator, which need not exist here, and on the CPU.

`Accelerator` plays one. Its tensors say that they are on "cuda" while their memory is the CPU's, and every call that
mixes the two devices, or makes numpy of a tensor that is not on the CPU, fails as with torch. Unlike torch's fake
tensors, to whose verdict on mixtures the first test holds it, they have values: data-dependent code takes its true
path, and results are compared with those of numpy.
"""

import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import sklearn
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_array_api_input
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from skrelmetric import AAKNN, DRMLTransformer, HRAMLTransformer, MLkNN, RAMLLinear
from skrelmetric._alignment import linear as linear_module
from skrelmetric._alignment import problem as problem_module
from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import constrained_ridge, ridge
from skrelmetric._data.samples import Samples
from skrelmetric._interop import randomness
from skrelmetric._search.device import TensorSearch
from skrelmetric._search.host import NeighbourSearch
from skrelmetric.mahalanobis import psd_factor, with_positive_sign
from skrelmetric.relations import GivenPairs, make_relation

needs_dispatch = pytest.mark.skipif(
    [int(number) for number in sklearn.__version__.split(".")[:2]] < [1, 9],
    reason="scikit-learn before 1.9 does not dispatch all of this, or refuses less",
)

STRICT = pytest.param(
    "array_api_strict",
    marks=pytest.mark.skipif(
        np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="its arrays are handed over by numpy 2.1 and later"
    ),
)

FLOATS = [torch.float64, torch.float32]
RELATIONS = ["hamming", "l1", "sqeuclidean", "discrete", "hellinger", "cosine", "jeffreys", "jaccard"]
SHAPES = {"n > d": (40, 6), "n < d": (12, 20), "n >= 16 d": (80, 4)}
METRICS = ["euclidean", "l2", "sqeuclidean", "manhattan", "cityblock", "l1", "chebyshev", "cosine", "precomputed"]
METRICS = [(metric, None) for metric in METRICS] + [("minkowski", {"p": p}) for p in (1, 2, 3)]


class OnAccelerator(Tensor):
    """Tensor in the CPU's memory that says it is elsewhere."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: torch.device("cuda", 0))


class Accelerator(TorchFunctionMode):
    """Torch on a machine with a "cuda" device: sees every call of torch, checks devices, computes on the CPU."""

    COPIES = (Tensor.to, Tensor.copy_, Tensor.cpu, Tensor.cuda)
    TO_HOST = (Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = tensors_in((args, *kwargs.values()))
        self._check_devices(func, args, tensors)
        asked = [kwargs.get("device")] + [
            a for a in args[1:] if func is Tensor.to and isinstance(a, str | torch.device)
        ]
        asked = [torch.device(device).type for device in asked if device is not None]
        there = any(is_away(tensor) for tensor in (tensors[:1] if func in self.COPIES else tensors))
        if func in (Tensor.cpu, Tensor.cuda):
            func, args, asked = Tensor.to, (args[0], "cpu"), [func.__name__]
        back = asked[0] == "cuda" if asked else there
        args = tuple("cpu" if func is Tensor.to and isinstance(a, str | torch.device) else a for a in args)
        kwargs = {name: "cpu" if name == "device" else each(value, plain) for name, value in kwargs.items()}
        if func is Tensor.to and there != back:
            kwargs["copy"] = True  # devices share no memory
        result = func(*each(args, plain), **kwargs)
        return each(result, lambda tensor: tensor.as_subclass(OnAccelerator)) if back else result

    def _check_devices(self, func, args, tensors):
        if func in self.TO_HOST and is_away(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func in (Tensor.__getitem__, Tensor.__setitem__):  # an index may come from the CPU, and the value of a slice
            indices = tensors_in(args[1])
            mixed = any(map(is_away, indices)) and not is_away(args[0])
            mixed |= bool(indices) and len({is_away(tensor) for tensor in tensors_in((args[0], *args[2:]))}) == 2
        else:  # numbers may come from the CPU
            mixed = len({is_away(tensor) for tensor in tensors if tensor.dim() or is_away(tensor)}) == 2
        if mixed and func not in self.COPIES:
            raise RuntimeError(f"{func.__name__}: Expected all tensors to be on the same device")


def is_away(tensor):
    return isinstance(tensor, OnAccelerator)


def plain(tensor):
    return tensor.as_subclass(Tensor)


def each(values, change):
    """The values, in tuples and lists, with every tensor changed."""
    if isinstance(values, Tensor):
        return change(values)
    return type(values)([each(value, change) for value in values]) if isinstance(values, tuple | list) else values


def tensors_in(values):
    found = []
    each(values, found.append)
    return found


@pytest.fixture
def cuda():
    """What moves an array to the accelerator; the real one where there is one."""
    if torch.cuda.is_available():
        yield lambda array: torch.as_tensor(array).to("cuda")
        return
    with Accelerator():
        yield lambda array: torch.as_tensor(array).to("cuda")


@pytest.fixture
def dispatch():
    with config_context(array_api_dispatch=True):
        yield


def on_cuda(*arrays):
    return all(isinstance(array, Tensor) and array.device.type == "cuda" for array in arrays)


def host(array):
    return array.cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def assert_close(actual, expected, rtol=1e-9):
    """Equal up to a tolerance relative to the largest entry."""
    actual, expected = host(actual), host(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * max(1e-300, np.abs(expected).max(initial=0)))


def assert_alike(actual, expected):
    """Equal, but for one entry in a hundred in float32, in which a k-th neighbour may be another."""
    actual, expected = host(actual), host(expected)
    assert actual.shape == expected.shape
    assert (np.abs(actual - expected) > 1e-6).mean() <= 0.01


def samples(rng, n=60, d=6, dtype=torch.float64):
    """Samples, label sets and label distributions that go along with one another, as numpy arrays."""
    X = rng.standard_normal((n, d)).astype(str(dtype).removeprefix("torch."))
    scores = X[:, :3] @ rng.standard_normal((3, 3)) + 0.3 * rng.standard_normal((n, 3))
    return X, (scores > 0).astype(int), np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def target_of(relation, Y, D):
    return Y if relation in ("hamming", "jaccard", "discrete") else D


def fitted_arrays(estimator):
    """Arrays that an estimator, or a search within it, keeps."""
    neighbours = getattr(estimator, "_neighbours", object)
    kept = {
        **vars(estimator),
        **vars(neighbours),
        **vars(getattr(neighbours, "search", object)),
        "_neighbours": None,
        "search": None,
    }
    return [value for value in kept.values() if isinstance(value, Tensor | np.ndarray)]


MIXTURES = {
    "add": lambda a, b: a + b,
    "add_": lambda a, b: a.clone().add_(b),
    "matmul": lambda a, b: a.T @ b,
    "where": lambda a, b: torch.where(a > 0, a, b),
    "cat": lambda a, b: torch.cat([a, b]),
    "out": lambda a, b: torch.sub(a, a, out=torch.empty_like(b)),
    "scatter": lambda a, b: a.scatter(1, b.long(), 0.0),
    "addmm_": lambda a, b: a.T.clone().addmm_(a.T, b),
    "kept": lambda a, b: torch.linalg.eigh(a.T @ a).eigenvectors @ a + b,
    "number": lambda a, b: a * 2.0 + b.new_ones(()).cpu(),
    "new": lambda a, b: a + torch.ones(3, 3, device=b.device),
    "moved": lambda a, b: a + b.to(a.device),
    "split": lambda a, b: a.split(2)[0] + b.cpu().unbind(0)[0],
}


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("devices", [("cpu", "cuda:0"), ("cuda:0", "cpu"), ("cuda:0", "cuda:0"), ("cpu", "cpu")])
def test_the_accelerator_refuses_what_torch_refuses(name, devices):
    def outcome():
        try:
            return MIXTURES[name](*(torch.ones(3, 3, device=device) for device in devices)).device.type
        except RuntimeError as error:
            assert "same device" in str(error)  # noqa: PT017
            return "refused"

    with Accelerator():
        played = outcome()
    with FakeTensorMode():
        assert played == outcome()


def test_the_accelerator_is_not_the_host(cuda):
    a = cuda(np.ones(3))
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        a.numpy()
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        np.asarray(a)
    with pytest.raises(RuntimeError):
        torch.ones(3)[a > 0]
    with pytest.raises(RuntimeError):
        torch.ones(3)[a.long()] = 1.0
    assert on_cuda(a[torch.tensor([0, 2])], a[1:], a[a > 0], a.unique(), *a.reshape(1, 3), *a.sort())


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (Problem, "quadratic", lambda self: torch.zeros((20, 20), dtype=torch.float64)),
        (Samples, "turned", lambda self, rotation: Samples(torch.ones(12, 3, dtype=torch.float64), self.weights)),
        (linear_module, "psd_factor", lambda M: psd_factor(M.cpu())),
        (problem_module, "make_relation", lambda targets, relation: make_relation(targets.y.cpu(), relation)),
    ],
)
def test_broken_code_is_caught(owner, name, broken, cuda, dispatch, rng, monkeypatch):
    X, Y, _ = samples(rng, 12, 20)
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises((RuntimeError, TypeError), match="same device"):
        RAMLLinear().fit(cuda(X), cuda(Y))


@needs_dispatch
@pytest.mark.parametrize("host_targets", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_pipelines_stay_on_the_accelerator(dtype, host_targets, cuda, dispatch, rng):
    X, Y, D = samples(rng, 120, dtype=dtype)
    for last, y in ((MLkNN(5), Y), (MLkNN(5), Y[:, 0]), (AAKNN(), D)):
        model = make_pipeline(StandardScaler(), RAMLLinear(), last)
        expected = make_pipeline(StandardScaler(), RAMLLinear(), type(last)(5)).fit(X, y)
        model.fit(cuda(X), y if host_targets else cuda(y))
        for _, step in model.steps:
            assert on_cuda(*fitted_arrays(step))
            assert fitted_arrays(step)
        transformed = model[:-1].transform(cuda(X))
        assert on_cuda(transformed)
        assert transformed.dtype == dtype
        methods = ["predict_proba", "predict"] if isinstance(last, MLkNN) else ["predict"]
        for method in methods:
            predicted = getattr(model, method)(cuda(X))
            assert on_cuda(predicted)
            assert_alike(predicted, getattr(expected, method)(X))


@pytest.mark.filterwarnings("ignore:Stopped after:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("psd", ["project", "constrained"])
@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_and_path(relation, psd, shape, cuda, dispatch, rng):
    # Any two of dtype, weights and missing labels meet, and with every relation, path and shape, in half of the cases.
    half = (RELATIONS.index(relation) + (psd == "project") + [*SHAPES].index(shape)) % 2
    for dtype, weighted, missing in [
        [(torch.float64, False, False), (torch.float64, True, True)],
        [(torch.float32, True, False), (torch.float32, False, True)],
    ][half]:
        X, Y, D = samples(rng, *SHAPES[shape], dtype)
        y = target_of(relation, Y, D).astype(float)
        y[:3, 0] = y[3] = np.nan if missing else 0.0
        weights = rng.integers(0, 3, len(X)) if weighted else None
        metric = RAMLLinear(relation=relation, psd=psd, alpha=0.1, max_iter=5)
        expected = RAMLLinear(**metric.get_params()).fit(X, y, weights)
        metric.fit(cuda(X), cuda(y), weights if weights is None else cuda(weights))
        assert on_cuda(*fitted_arrays(metric), metric.get_mahalanobis_matrix(), metric.transform(cuda(X)))
        pairs = X.reshape(-1, 2, X.shape[1])
        assert on_cuda(metric.pair_score(cuda(pairs)))
        tolerance = 1e-7 if dtype == torch.float64 else 1e-3
        assert_close(metric.get_mahalanobis_matrix(), expected.get_mahalanobis_matrix(), tolerance)
        assert_close(metric.pair_distance(cuda(pairs)), expected.pair_distance(pairs), tolerance)


@pytest.mark.parametrize("solver", ["ridge", "krr", "svr"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_numpy_is_moved_there_and_back(kind, solver, cuda, rng, monkeypatch):
    X, Y, _ = samples(rng)
    X *= rng.random(X.shape) < 0.5
    Y = Y.astype(float)
    Y[:2] = np.nan
    moved = []
    monkeypatch.setattr(linear_module, "psd_factor", lambda M: moved.append(M.device.type) or psd_factor(M))
    metric = RAMLLinear(solver=solver, device="cuda", n_pairs=200, random_state=0).fit(kind(X), Y)
    expected = RAMLLinear(solver=solver, n_pairs=200, random_state=0).fit(X, Y)
    assert moved == ["cuda", "cpu"]
    assert isinstance(metric.components_, np.ndarray)
    assert_close(metric.components_, expected.components_, 1e-7)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("relation", RELATIONS)
def test_operators_of_host_targets(relation, kind, cuda, rng):
    X, Y, D = samples(rng, 30, 4)
    y, Z = kind(target_of(relation, Y, D)), torch.from_numpy(X)
    p = torch.from_numpy(rng.dirichlet(np.ones(30)))
    i, j = torch.from_numpy(rng.integers(0, 30, (2, 50)))
    there, here = make_relation(y, relation, device="cuda"), make_relation(y, relation)
    assert there.device.type == "cuda"
    some = slice(3, 9)
    assert_close(there @ cuda(Z), here @ Z)
    assert_close(there.row_means(cuda(p)), here.row_means(p))
    assert_close(there.pairs(cuda(i), cuda(j)), here.pairs(i, j))
    assert_close(there.block(some, cuda(i)), here.block(some, i))
    for rows in (lambda place: place(Z), lambda place: Samples(place(Z), place(p))):
        assert_close(there.quadratic(rows(cuda), cuda(p)), here.quadratic(rows(lambda array: array), p))
    assert on_cuda(there @ cuda(Z), there.row_means(), there.block(some, some), there.quadratic(cuda(Z)))


@pytest.mark.parametrize("solve", [ridge, constrained_ridge])
@pytest.mark.parametrize("kind", ["dense", "float32", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_and_solvers(shape, kind, solve, cuda, rng):
    X, Y, _ = samples(rng, *SHAPES[shape], torch.float32 if kind == "float32" else torch.float64)
    X *= rng.random(X.shape) < 0.5
    n = len(X)
    p, V = torch.from_numpy(rng.dirichlet(np.ones(n))), torch.from_numpy(rng.standard_normal((n, 2)))
    R, S = (torch.from_numpy(rng.standard_normal((X.shape[1],) * 2)) for _ in range(2))

    def computed(place):
        samples = Samples(sparse.csr_array(X) if kind == "sparse" else place(torch.from_numpy(X)), place(p))
        parts = [
            samples.mean,
            samples.varying(),
            samples[:],
            samples[place(torch.arange(3))],
            samples.cross(place(V)),
        ]
        parts += [*samples.scatter(place(p), place(V[:, 0])), samples.scatter_of_forms(place(S + S.T))]
        parts += [samples.gram()] if kind == "sparse" else []
        aligned = solve(Problem.of(samples, make_relation(Y, device=samples.device)), 0.1, max_iter=4, tol=1e-6)
        coordinates = aligned.coordinates
        axes = with_positive_sign(coordinates.in_features(psd_factor(aligned.M)))
        differences = coordinates.differences(place(torch.arange(3)), place(torch.arange(3, 6)))
        parts += [samples.turned(place(R))[:], differences.square() @ coordinates.variances, aligned.offset, axes]
        return parts

    there = computed(cuda)
    assert on_cuda(*there)
    for actual, expected in zip(there, computed(lambda array: array), strict=True):
        assert_close(actual, expected, 1e-3 if kind == "float32" else 1e-8)


def grid(rng, metric, n, n_queries):
    """Training samples and queries among which equal distances abound, or the distances themselves."""
    X, Q = (rng.integers(1, 4, (m, 3)) / 10 for m in (n, n_queries))
    return (np.abs(X[:, None] - X).sum(-1), np.abs(Q[:, None] - X).sum(-1)) if metric == "precomputed" else (X, Q)


@pytest.mark.parametrize(("metric", "params"), METRICS)
@pytest.mark.parametrize("n", [12, 150])
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_tensor_search_chooses_as_numpy_search(place, n, metric, params, cuda, rng):
    X, Q = grid(rng, metric, n, 40)
    options = {"metric": metric, "metric_params": params}
    move = cuda if place == "cuda" else torch.from_numpy
    tensors, arrays = TensorSearch(move(X), **options), NeighbourSearch(X, **options)
    for k in (1, 4, n - 1, n):
        for queries in [Q, None, Q[:0]] if k < n else [Q]:
            nearest = tensors.nearest(None if queries is None else move(queries), k).indices
            assert nearest.device.type == place
            expected = (
                np.empty((0, k)) if queries is not None and not len(queries) else arrays.nearest(queries, k).indices
            )
            np.testing.assert_array_equal(np.sort(host(nearest)), np.sort(expected))


def test_tensor_search_in_blocks(rng):
    X, Q = map(torch.from_numpy, grid(rng, "euclidean", 3000, 100))
    whole = TensorSearch(X)
    expected = whole.nearest(Q, 5).indices, whole.nearest(None, 5).indices
    with config_context(working_memory=1):
        for actual, indices in zip(
            (whole.nearest(Q, 5).indices, whole.nearest(None, 5).indices), expected, strict=True
        ):
            assert torch.equal(actual.sort().values, indices.sort().values)


@pytest.mark.parametrize("options", [{"metric": "canberra"}, {"metric": max}, {"metric_params": {"w": [1, 2]}}])
def test_metrics_that_tensors_lack_are_refused(options, dispatch, rng):
    X, Y, D = samples(rng)
    for estimator, y in ((MLkNN(**options), Y), (AAKNN(**options), D)):
        with pytest.raises(ValueError, match="not available for tensors.*pass numpy arrays"):
            estimator.fit(torch.from_numpy(X), torch.from_numpy(y))


@needs_dispatch
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("last", [MLkNN(5), AAKNN()])
def test_pipelines_of_host_tensors(last, dtype, dispatch, rng):
    X, Y, D = samples(rng, 120, dtype=dtype)
    y = Y if isinstance(last, MLkNN) else D
    model = make_pipeline(StandardScaler(), RAMLLinear(), last)
    expected = {
        method: getattr(model.fit(X, y), method)(X) for method in ("predict", "predict_proba") if hasattr(model, method)
    }
    X = torch.from_numpy(X)
    model.fit(X, torch.from_numpy(y))
    assert model[:-1].transform(X).dtype == dtype
    for copy in (model, pickle.loads(pickle.dumps(model))):
        for method, values in expected.items():
            predicted = getattr(copy, method)(X)
            assert isinstance(predicted, Tensor)
            assert predicted.device.type == "cpu"
            assert predicted.dtype == torch.from_numpy(values).dtype
            assert_alike(predicted, values)


@pytest.mark.parametrize("estimator", [RAMLLinear(), MLkNN(), AAKNN()])
def test_tensors_without_dispatch_give_numpy(estimator, rng):
    X, Y, D = samples(rng)
    fitted = estimator.fit(torch.from_numpy(X), torch.from_numpy(D if isinstance(estimator, AAKNN) else Y))
    output = fitted.transform if hasattr(fitted, "transform") else fitted.predict
    assert all(isinstance(array, np.ndarray) for array in [*fitted_arrays(fitted), output(torch.from_numpy(X))])
    assert_close(output(torch.from_numpy(X)), output(X))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("estimator", [RAMLLinear(), MLkNN(), AAKNN()], ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize("namespace", ["torch", STRICT])
def test_scikit_learn_array_api_check(namespace, estimator, dtype):
    pytest.importorskip(namespace)
    # scikit-learn's accuracy, a mean of booleans, comes in torch's default dtype, and is compared in that of X.
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        check_array_api_input(type(estimator).__name__, estimator, namespace, dtype_name=dtype, check_values=True)
    finally:
        torch.set_default_dtype(default)


class TrainingAccelerator(Accelerator):
    """An accelerator on which parameters keep who they are, so that torch's modules and optimisers work."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch._has_compatible_shallow_copy_type:
            return is_away(args[0]) == is_away(args[1])
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            memo[id(tensor)] = tensor.detach().clone().as_subclass(type(tensor))
            return memo[id(tensor)]
        if getattr(func, "__name__", "") not in ("__get__", "__set__", "requires_grad_", "backward"):
            return super().__torch_function__(func, types, args, kwargs)
        tensors = tensors_in(args)
        self._check_devices(func, args, tensors)
        result = func(*args, **(kwargs or {}))
        fresh = isinstance(result, Tensor) and result is not args[0]
        return result.as_subclass(OnAccelerator) if fresh and is_away(args[0]) else result


@pytest.fixture
def training_cuda(monkeypatch):
    """What moves an array to an accelerator that can train."""
    if torch.cuda.is_available():
        yield lambda array: torch.as_tensor(array).to("cuda")
        return
    monkeypatch.setattr(randomness, "Generator", lambda device: torch.Generator())
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    with TrainingAccelerator():
        yield lambda array: torch.as_tensor(array).to("cuda")


SMALL = {"encoder": "mlp", "hidden_layer_sizes": (6,), "max_epochs": 2}
DEEP = {
    "default": {},
    "tanh": {"encoder": "tanh"},
    "ridge": {**SMALL, "weight_decay": 0.01},
    "linear": {**SMALL, "head": "linear", "n_components": 3, "learn_scale": True},
    "batches": {**SMALL, "hidden_layer_sizes": (6, 6), "batch_size": 20, "dropout": 0.2, "criterion": "loss"},
    "drawn": {**SMALL, "head": "linear", "pairs": 50, "hard_fraction": 0.5},
    "lbfgs": {**SMALL, "head": "linear", "optimizer": "lbfgs", "chunk_size": 25, "max_epochs": 1},
    "votes": {**SMALL, "loss": "neighbors", "criterion": "loss"},
    "votes in batches": {**SMALL, "head": "linear", "loss": "neighbors", "batch_size": 20, "dropout": 0.2},
}


def test_the_training_accelerator_is_not_the_host(training_cuda):
    weight = torch.nn.Parameter(training_cuda(np.ones((2, 3))))
    (weight * weight).sum().backward()
    assert on_cuda(weight, weight.grad, weight.detach())
    np.testing.assert_array_equal(host(weight.grad), np.full((2, 3), 2.0))
    with pytest.raises(RuntimeError, match="same device"):
        weight @ torch.ones(3, dtype=torch.float64)
    with pytest.raises(RuntimeError):
        weight.grad = torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises((TypeError, RuntimeError)):
        weight.detach().numpy()


@pytest.mark.parametrize(
    ("dtype", "host_targets"), [(torch.float64, False), pytest.param(torch.float32, True, marks=needs_dispatch)]
)
@pytest.mark.parametrize("name", DEEP)
def test_deep_metrics_stay_on_the_accelerator(name, dtype, host_targets, training_cuda, dispatch, rng):
    X, Y, _ = samples(rng, dtype=dtype)
    Y = Y.astype(float)
    Y[:2] = np.nan
    y, weights = (Y, np.arange(60) % 3) if host_targets else (training_cuda(Y), training_cuda(np.arange(60) % 3))
    metric = HRAMLTransformer(**DEEP[name], random_state=0)
    expected = HRAMLTransformer(**metric.get_params()).fit(X, Y, np.arange(60) % 3)
    metric.fit(training_cuda(X), y, weights)
    embedding = metric.transform(training_cuda(X))
    assert on_cuda(embedding, metric.components_, *metric.encoder_.parameters())
    assert embedding.dtype == dtype
    tolerance = 1e-7 if dtype == torch.float64 else 1e-3
    assert_close(embedding, expected.transform(X), tolerance)
    metric.partial_fit(training_cuda(X[5:40]), training_cuda(Y[5:40]))
    assert_close(metric.transform(training_cuda(X)), expected.partial_fit(X[5:40], Y[5:40]).transform(X), tolerance)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("name", DEEP)
def test_deep_metrics_of_host_samples_are_learned_there(name, kind, training_cuda, rng):
    X, Y, _ = samples(rng)
    X *= rng.random(X.shape) < 0.5
    metric = HRAMLTransformer(**DEEP[name], device="cuda", random_state=0)
    metric.fit(kind(X[10:]), Y[10:], X_val=kind(X[:10]), y_val=Y[:10])
    assert on_cuda(*metric.encoder_.parameters())
    assert isinstance(metric.components_, np.ndarray)
    expected = HRAMLTransformer(**DEEP[name], random_state=0).fit(X[10:], Y[10:], X_val=X[:10], y_val=Y[:10])
    embedding = metric.transform(kind(X))
    assert isinstance(embedding, np.ndarray)
    assert_close(embedding, expected.transform(X), 1e-7)


_PLACES = np.arange(60).reshape(-1, 2)
GIVEN_PAIRS = GivenPairs(_PLACES, np.roll(_PLACES, 1), n_samples=60)
RELATIONAL = {
    "proxy_anchor": {"hidden_layer_sizes": (5,)},
    "triplet": {"loss": "triplet", "samples_per_class": 4},
    "margin": {"loss": "margin", "assignment": "balanced"},
    "circle": {"loss": "circle", "assignment": "all", "score_activation": "softmax"},
    "soft_triple": {"loss": "soft_triple", "embedding_loss": "n_pair"},
    "plain": {"loss": "contrastive", "relational": False},
    "pairs": {"loss": "smooth_ap", "relation": GIVEN_PAIRS, "hold_out": "pairs"},
    "published": DRMLTransformer.PUBLISHED,
    "classes": {"hold_out": "classes", "validation_fraction": 0.5, "loss": "cosface"},
}


@needs_dispatch
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", RELATIONAL)
def test_relational_metrics_stay_on_the_accelerator(name, dtype, training_cuda, dispatch, rng):
    X, _, _ = samples(rng, dtype=dtype)
    y = np.arange(60) % 5
    metric = DRMLTransformer(8, **{**RELATIONAL[name], "max_epochs": 2, "batch_size": 20, "random_state": 0})
    expected = DRMLTransformer(**metric.get_params()).fit(X, y)
    metric.fit(training_cuda(X), training_cuda(y))
    embedding = metric.transform(training_cuda(X))
    assert on_cuda(embedding, *metric.encoder_.parameters())
    assert embedding.dtype == dtype
    assert_close(embedding, expected.transform(X), 1e-7 if dtype == torch.float64 else 1e-3)
    assert_close(metric.validation_curve_, expected.validation_curve_, 1e-3)
    with pytest.raises(ValueError, match="same namespace"):
        metric.transform(np.asarray(X))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_relational_metrics_of_host_samples_are_learned_there(kind, training_cuda, rng):
    X, Y, _ = samples(rng)
    Y = Y.astype(float)
    Y[:2] = np.nan
    metric, expected = (
        DRMLTransformer(8, max_epochs=2, device=device, random_state=0).fit(
            kind(X[10:]), Y[10:], X_val=kind(X[:10]), y_val=Y[:10]
        )
        for device in ("cuda", "cpu")
    )
    assert on_cuda(*metric.encoder_.parameters())
    embedding = metric.transform(kind(X))
    assert isinstance(embedding, np.ndarray)
    assert_close(embedding, expected.transform(X), 1e-4)
