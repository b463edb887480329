"""Precision on a device, its cost and its gain, for fits, products of relations, losses and retrieval.

Alignment keeps samples as they come, multiplies float32 rows in float32, and adds up in float64 what is small: d x d
matrices, and sums of chunks. The same code is measured here with float64 and with float32 in all places, on the same
samples, against its own values in float64 on the CPU.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, TypedDict

import torch
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.speed.timing import medians
from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.losses import LOSSES, Batch
from skrelmetric.metrics import recall_at_k
from skrelmetric.relations import make_relation

ALPHA = 1.0
"""Penalty of the linear metric that is fitted."""

_MAX_ITER, _TOL = 50, 1e-9  # the solution as exact as its sums allow
_OTHER_PASSES = 4  # over the samples, beside one for each iteration
_N_EPOCHS = 5  # that are timed
_N_DISTANCES = 100  # samples whose distances are compared
_N_RETRIEVED = 5000  # samples among which neighbours are searched


class Problem(NamedTuple):
    """Samples, their label sets and an embedding, drawn on the CPU; all values are exact in float32.

    Attributes
    ----------
    X : Tensor of shape (n_samples, n_features)
        Samples of mean 1 and variance 1, float64.
    Y : Tensor of shape (n_samples, n_labels)
        Label indicator.
    Z : Tensor of shape (n_samples, width)
        Embedding, float64.
    """

    X: Tensor
    Y: Tensor
    Z: Tensor

    @classmethod
    def drawn(cls, n_samples: int = 200_000, n_features: int = 72, n_labels: int = 6, width: int = 32) -> "Problem":
        """Label sets that a linear map of the samples and noise make, and another linear map for the embedding."""
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        X = normal(n_samples, n_features)
        Y = (X @ normal(n_features, n_labels) + normal(n_samples, n_labels) > 0).long()
        Z = X @ normal(n_features, width) / n_features**0.5
        return cls((X + 1).double(), Y, (Z + 1).double())

    def to(self, device: torch.device, rows: torch.dtype) -> "Problem":
        """Problem on a device, with samples and embedding in another dtype."""
        return Problem(self.X.to(device, rows), self.Y.to(device), self.Z.to(device, rows))

    def classes(self) -> Tensor:
        """Label set of each sample, as a class."""
        return self.Y.unique(dim=0, return_inverse=True)[1]


class Float32(TorchFunctionMode):
    """Context of torch without float64: whoever asks for it gets float32."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        args = [torch.float32 if each is torch.float64 else each for each in args]
        kwargs = {name: torch.float32 if each is torch.float64 else each for name, each in (kwargs or {}).items()}
        made = (Tensor.float if func is Tensor.double else func)(*args, **kwargs)
        return made.float() if isinstance(made, Tensor) and made.dtype == torch.float64 else made


@contextmanager
def tf32() -> Iterator[None]:
    """Products of float32 matrices on tensor cores, with 10 bits of mantissa."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Arithmetic(NamedTuple):
    """Choice of precision.

    Attributes
    ----------
    name : str
        Its name.
    rows : dtype
        Of samples and embedding.
    within : callable
        Makes the context in which everything is computed.
    bound : float or None
        Relative error beyond which a value does not agree with that of the CPU; None where agreement is not promised.
    """

    name: str
    rows: torch.dtype
    within: Callable[[], AbstractContextManager]
    bound: float | None = None


_ARITHMETICS = [
    Arithmetic("float64", torch.float64, nullcontext, 1e-6),
    Arithmetic("float32, float64 sums", torch.float32, nullcontext, 1e-3),
    Arithmetic("float32 throughout", torch.float32, Float32),
]
_TF32 = Arithmetic("TF32, float64 sums", torch.float32, tf32)


def arithmetics(device: torch.device) -> list[Arithmetic]:
    """Choices of precision that a device has."""
    has_tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return [*_ARITHMETICS, _TF32] if has_tf32 else _ARITHMETICS


class Work(NamedTuple):
    """Values of a computation, and the part of it that is timed.

    Attributes
    ----------
    values : dict of str to Tensor
        Values by name.
    again : callable
        Does once more the part that is timed.
    rows : Tensor
        Samples or embedding that it goes through.
    n_reads : int
        Number of times that it reads or writes as many numbers as there are in `rows`, at least.
    """

    values: dict[str, Tensor]
    again: Callable[[], object]
    rows: Tensor
    n_reads: int


def linear_fit(problem: Problem) -> Work:
    """Fit of RAMLLinear: the matrix of the metric."""
    X, Y, _ = problem
    metric = _linear().fit(X, Y)
    M = torch.as_tensor(metric.get_mahalanobis_matrix())
    return Work({"M": M}, lambda: _linear().fit(X, Y), X, metric.n_iter_ + _OTHER_PASSES)


def linear_map(problem: Problem) -> Work:
    """Transform of RAMLLinear: squared distances of the first samples under the metric."""
    X, Y, _ = problem
    metric = _linear().fit(X, Y)
    mapped = torch.as_tensor(metric.transform(X[:_N_DISTANCES]))
    distances = (mapped[:, None] - mapped).square().sum(2)
    return Work({"distances": distances}, lambda: metric.transform(X), X, n_reads=2)


def _linear() -> RAMLLinear:
    return RAMLLinear(alpha=ALPHA, max_iter=_MAX_ITER, tol=_TOL)


def training(problem: Problem) -> Work:
    """Epochs of HRAMLTransformer over all pairs: the loss, and its gradient by the weights of a linear encoder."""
    _, Y, Z = problem
    eye = torch.eye(Z.shape[1], dtype=Z.dtype, device=Z.device)

    def fitted(learning_rate: float, n_epochs: int) -> HRAMLTransformer:
        encoder = nn.utils.skip_init(nn.Linear, *eye.shape, bias=False, device=Z.device, dtype=Z.dtype)
        encoder.weight.data.copy_(eye)
        metric = HRAMLTransformer(
            encoder=encoder,
            head="linear",
            optimizer="sgd",
            learning_rate=learning_rate,
            early_stopping=False,
            max_epochs=n_epochs,
            n_iter_no_change=n_epochs + 1,
            random_state=0,
        )
        return metric.fit(Z, Y)

    trained = fitted(1.0, 1)  # a step of gradient descent, whose length is the gradient
    weights = next(trained.encoder_.parameters()).detach()
    values = {"loss": torch.tensor(trained.loss_curve_[0], dtype=torch.float64), "gradient": eye - weights}
    return Work(values, lambda: fitted(1e-6, _N_EPOCHS), Z, 3 * _N_EPOCHS)


def relation_product(problem: Problem) -> Work:
    """Product of the relation of all label sets with the embedding."""
    _, Y, Z = problem
    G = make_relation(Y, device=Z.device)
    return Work({"product": G @ Z}, lambda: G @ Z, Z, n_reads=2)


def proxy_loss(problem: Problem) -> Work:
    """ProxyAnchor loss of all samples, with label sets as classes, and its gradient by the embedding."""
    classes, Z = problem.classes(), problem.Z.detach().requires_grad_()
    n_classes, generator = int(classes.max()) + 1, torch.Generator().manual_seed(0)
    loss = LOSSES["proxy_anchor"].build(n_classes, Z.shape[1], 1, generator).to(Z.device, Z.dtype)
    batch = Batch.of_classes(classes, n_classes)

    def step() -> tuple[Tensor, Tensor]:
        value = loss(Z, batch, generator)
        return value.detach(), torch.autograd.grad(value, Z)[0]

    value, gradient = step()
    return Work({"loss": value, "gradient": gradient}, step, Z.detach(), n_reads=3)


def retrieval(problem: Problem) -> Work:
    """Recall among the nearest neighbours of some samples, with label sets as classes."""
    classes, Z = problem.classes()[:_N_RETRIEVED], problem.Z[:_N_RETRIEVED]
    recalls = torch.as_tensor(recall_at_k(Z, classes, [1, 10]))
    return Work({"recall": recalls}, lambda: recall_at_k(Z, classes, [1, 10]), Z, n_reads=1)


WORKS: dict[str, Callable[[Problem], Work]] = {
    "RAMLLinear fit": linear_fit,
    "RAMLLinear transform": linear_map,
    f"HRAMLTransformer, {_N_EPOCHS} epochs over all pairs": training,
    "relation @ embedding": relation_product,
    "ProxyAnchor loss and gradient": proxy_loss,
    "recall_at_k": retrieval,
}
"""Works by the name of the path that each measures."""


class Precision(TypedDict):
    """Precision and time of a work in an arithmetic, as a line of JSON.

    `errors` are relative to float64 on the CPU, in the norm of each value, and `agrees` says whether they are within
    bounds; `seconds` is a median, and `ratio` that to X' X for the same rows.
    """

    path: str
    arithmetic: str
    device: str
    shape: list[int]
    n_labels: int
    errors: dict[str, float]
    agrees: bool
    seconds: float
    ratio: float
    rows_per_second: float
    gigabytes_per_second: float


def measure(problem: Problem, device: torch.device, repeats: int = 5) -> Iterator[Precision]:
    """Precision of each work in each arithmetic, as they are done.

    Parameters
    ----------
    problem : Problem
        Samples to compute with.
    device : torch.device
        Device to compute on.
    repeats : int, default=5
        Number of times that each work is timed in each of three rounds.

    Yields
    ------
    Precision
    """
    for path, work in WORKS.items():
        with _on_devices():
            expected = work(problem).values
        for arithmetic in arithmetics(device):
            with _on_devices(), arithmetic.within():
                done = work(problem.to(device, arithmetic.rows))
                seconds, floor = medians(
                    lambda done=done: _finished(done.again, device),
                    lambda done=done: _finished(lambda: done.rows.T @ done.rows, device),
                    repeats,
                )
            errors = {name: _relative_error(value, expected[name]) for name, value in done.values.items()}
            yield {
                "path": path,
                "arithmetic": arithmetic.name,
                "device": _name(device),
                "shape": list(done.rows.shape),
                "n_labels": problem.Y.shape[1],
                "errors": errors,
                "agrees": arithmetic.bound is None or max(errors.values()) < arithmetic.bound,
                "seconds": seconds,
                "ratio": seconds / floor,
                "rows_per_second": len(done.rows) / seconds,
                "gigabytes_per_second": done.n_reads * done.rows.nbytes / seconds / 1e9,
            }


@contextmanager
def _on_devices() -> Iterator[None]:
    """Tensors stay where they are; float32 throughout may not reach the tolerance of a fit."""
    with config_context(array_api_dispatch=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def device_named(name: str | None) -> torch.device:
    """Device of a name, or the GPU where torch sees one, or the CPU.

    Raises
    ------
    ValueError
        If torch knows no such device, or sees none on this machine.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise ValueError(f"--device {name} cannot be used here ({str(error).splitlines()[0]}).") from error
    return device


def _finished(work: Callable[[], object], device: torch.device) -> None:
    """Work, and wait until the device has done it."""
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _relative_error(value: Tensor, expected: Tensor) -> float:
    expected = expected.double()
    return float((value.cpu().double() - expected).norm() / expected.norm())
