"""Samples through encoders: some of the samples, their features, and the gradients of what makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from scipy import sparse
from torch import Tensor, nn

from skrelmetric._data.checks import counted
from skrelmetric._data.samples import Rows, canonical
from skrelmetric._interop.torch import as_tensor
from skrelmetric.distributed import Ranks

__all__ = [
    "Part",
    "alike",
    "counted_part",
    "drawing",
    "dtype_of",
    "embed",
    "encode",
    "n_batches",
    "stored",
    "sum_gradients",
    "take_gradients",
    "trained_parameters",
]

_CHUNK_OF_INFERENCE = 8192


class Part(NamedTuple):
    """Some samples, as they are stored, and their targets.

    Attributes
    ----------
    X : Tensor or csr_array of shape (n, ...)
        Where the samples are, which may be a memory map.
    rows : Tensor of int64 of shape (n_samples,) or None
        Which rows of X they are; None for all.
    weights : Tensor of shape (n_samples,)
        Their weights, of sum 1.
    places : Tensor of int64 of shape (n_samples,)
        Their places in the relation.
    """

    X: Rows
    rows: Tensor | None
    weights: Tensor
    places: Tensor

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.weights)

    @property
    def float_dtype(self) -> torch.dtype:
        """Dtype of the samples, or float32 where they are whole numbers."""
        dtype = self.X.dtype if isinstance(self.X, Tensor) else as_tensor(self.X.data[:0]).dtype
        return dtype if dtype.is_floating_point else torch.float32

    def some(self, index: Tensor) -> "Part":
        """Some of the samples, which weigh what they weighed among each other."""
        weights = self.weights[index]
        rows = index if self.rows is None else self.rows[index]
        return Part(self.X, rows, weights / weights.sum(), self.places[index])

    def example(self) -> Tensor:
        """Two samples of zeros, of the shape and kind that `read` gives."""
        return torch.zeros_like(self.read(slice(0, 2), self.float_dtype))

    def read(self, some: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Some of the samples, on the device of their weights."""
        index = some if self.rows is None else self.rows[some]
        if isinstance(self.X, Tensor):
            rows = self.X[index.to(self.X.device) if isinstance(index, Tensor) else index]
        else:
            rows = as_tensor(self.X[index.cpu().numpy() if isinstance(index, Tensor) else index].toarray())
        return rows.to(self.weights.device, dtype if rows.is_floating_point() else None)


def encode(encoder: nn.Module, x: Tensor, dtype: torch.dtype, seed: int, mixed_precision: bool) -> Tensor:
    """Features of samples in training, in a dtype; what the encoder draws depends on the seed alone."""
    with drawing(seed, x.device), torch.autocast(x.device.type, torch.bfloat16, mixed_precision):
        z = encoder(x)
    return _checked(z, len(x)).to(dtype)


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def sum_gradients(module: nn.Module, ranks: Ranks) -> None:
    """Give every process the sum of the gradients that all have."""
    trained = trained_parameters(module)
    gradients = ranks.total([torch.zeros_like(p) if p.grad is None else p.grad for p in trained])
    take_gradients(module, gradients)


def take_gradients(module: nn.Module, gradients: list[Tensor]) -> None:
    """Give the parameters that are not frozen their gradients."""
    for parameter, gradient in zip(trained_parameters(module), gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)


def n_batches(n_samples: int, batch_size: int) -> int:
    """Number of batches of nearly one size; none is of a single sample, which would have no pair."""
    return max(1, min(-(-n_samples // batch_size), n_samples // 2))


def dtype_of(encoder: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """Dtype that an encoder computes in; the default where it has no parameters."""
    return next((p.dtype for p in encoder.parameters() if p.is_floating_point()), default)


def embed(encoder: nn.Module, part: Part, dtype: torch.dtype, chunk_size: int | None = None) -> Tensor:
    """Features of all samples of a part, of shape (n_samples, width), without gradients.

    Raises
    ------
    ValueError
        If the encoder returns anything but features.
    FloatingPointError
        If they are not finite.
    """
    step = min(chunk_size or _CHUNK_OF_INFERENCE, _CHUNK_OF_INFERENCE)
    encoder.eval()
    starts = range(0, part.n_samples, step)
    with torch.no_grad():
        chunks = (part.read(slice(start, start + step), dtype) for start in starts)
        features = torch.cat([_checked(encoder(chunk), len(chunk)) for chunk in chunks])
    if not torch.isfinite(features).all():
        raise FloatingPointError("The encoder returned NaN or infinity. Scale the samples, or lower learning_rate.")
    return features


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, and leave torch's own generators as they were: dropout takes no other."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _checked(z: Tensor, n_samples: int) -> Tensor:
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != n_samples or not z.is_floating_point():
        what = f"shape {tuple(z.shape)} and {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(
            f"The encoder returned {what} for {n_samples} samples. "
            f"It must return features of shape ({n_samples}, width), as floats."
        )
    return z


def stored(X: Any) -> Rows:
    """Samples where and as they are: a tensor that shares their memory, or a csr_array."""
    return canonical(X) if sparse.issparse(X) else as_tensor(X)


def counted_part(X: Any, y: Any, sample_weight: Any, device: torch.device) -> tuple[Part, Any]:
    """Samples that count, where they are, and their targets."""
    n = X.shape[0]
    rows, y, weights = counted(torch.arange(n), y, sample_weight, X, device)
    places = torch.arange(len(rows), device=device)
    return Part(stored(X), None if len(rows) == n else rows.to(device), weights, places), y


def alike(rows: Rows, device: torch.device) -> Part:
    """All samples, weighted alike."""
    n = rows.shape[0]
    return Part(rows, None, torch.full((n,), 1 / n, device=device), torch.arange(n, device=device))
