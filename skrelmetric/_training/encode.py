"""Encoders on samples: features in training and in inference."""

from copy import deepcopy

import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn

from skrelmetric._data.subset import Subset
from skrelmetric._interop.notes import noted
from skrelmetric._interop.randomness import drawing

__all__ = ["copied_module", "dtype_of", "embed", "encode", "width_of"]

_CHUNK_OF_INFERENCE = 2048  # of which wide features stay in the cache; large samples are taken fewer at once


def dtype_of(encoder: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """Dtype that an encoder computes in; the default where it has no parameters."""
    return next((p.dtype for p in encoder.parameters() if p.is_floating_point()), default)


def encode(encoder: nn.Module, x: Tensor, dtype: torch.dtype, seed: int, mixed_precision: bool) -> Tensor:
    """Features of samples in training, in a dtype; what the encoder draws depends on the seed alone."""
    with drawing(encoder, seed, x.device), torch.autocast(x.device.type, torch.bfloat16, mixed_precision):
        z = _called(encoder, x)
    return _checked(z, len(x)).to(dtype)


def embed(
    encoder: nn.Module, samples: Subset, dtype: torch.dtype, chunk_size: int | None = None, width: int = 0
) -> Tensor:
    """Features of samples, of shape (n_samples, width), without gradients, of the encoder in evaluation mode.

    It takes at most `chunk_size` samples at once, and never more than some thousand, or than some MiB of them; `width`
    is for no samples, about which no encoder is asked.

    Raises
    ------
    ValueError
        If the encoder returns anything but features.
    FloatingPointError
        If they are not finite.
    """
    encoder.eval()
    if not samples.n_samples:
        return torch.zeros((0, width), dtype=dtype, device=samples.weights.device)
    step = min(chunk_size or _CHUNK_OF_INFERENCE, _CHUNK_OF_INFERENCE, samples.at_once(dtype))
    with torch.no_grad():
        chunks = samples.batches(gen_batches(samples.n_samples, step), dtype)
        features = torch.cat([_checked(_called(encoder, chunk), len(chunk)) for chunk in chunks])
    if not torch.isfinite(features).all():
        raise FloatingPointError("The encoder returned NaN or infinity. Scale the samples, or lower learning_rate.")
    return features


def width_of(encoder: nn.Module, samples: Subset, dtype: torch.dtype) -> int:
    """Number of features that an encoder has.

    Raises
    ------
    ValueError
        If it returns anything but features, or writes into its input.
    """
    some = samples.read(torch.arange(2, device=samples.weights.device), dtype)  # which are copies
    kept = some.clone()
    width = embed(encoder, Subset.alike(some, samples.weights.device), dtype).shape[1]
    if not torch.equal(some, kept):
        raise ValueError("The encoder writes into its input, which would be your samples. Use inplace=False in it.")
    return width


def copied_module(module: nn.Module, name: str) -> nn.Module:
    """Copy of a user's module, to be trained; `name` is that of its parameter.

    Raises
    ------
    ValueError
        If it is neither in single nor in double precision.
    """
    if dtype_of(module) not in (torch.float32, torch.float64):
        raise ValueError(
            f"The {name} has parameters of {dtype_of(module)}, but float32 or float64 is needed. "
            f"Use {name}.float(), and mixed_precision=True for bfloat16."
        )
    copy = deepcopy(module)
    copy.register_forward_pre_hook(_on_copies)  # what works in place would change the user's samples
    return copy


def _on_copies(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.clone() for each in inputs)


def _called(encoder: nn.Module, x: Tensor) -> Tensor:
    with noted(f"The encoder got samples of shape {tuple(x.shape)}, {x.dtype}."):
        return encoder(x)


def _checked(z: Tensor, n_samples: int) -> Tensor:
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != n_samples or not z.is_floating_point():
        what = f"shape {tuple(z.shape)} and {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(
            f"The encoder returned {what} for {n_samples} samples. "
            f"It must return features of shape ({n_samples}, width), as floats."
        )
    return z
