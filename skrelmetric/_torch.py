"""The seam between numpy and torch: tensors of arrays, devices, and sums over samples in row blocks."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

# Elements of a row block. On the CPU a block and its products should stay in the second-level cache;
# on an accelerator a block should be large enough to fill it.
_BLOCK_ELEMENTS = {"cpu": 2**17}
_BLOCK_ELEMENTS_ACCELERATOR = 2**24


def resolve_device(device: str | torch.device) -> torch.device:
    """Device that `device` names; ``"auto"`` is the CPU, where numpy arrays live.

    Raises
    ------
    ValueError
        If torch knows no such device, or sees none on this machine.
    """
    if device == "auto":
        return torch.device("cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).item()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0]}). "
            "Pass 'auto', 'cpu', or a device that torch sees, such as 'cuda' where torch.cuda.is_available()."
        ) from error
    return resolved


def as_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Tensor of `array`, sharing its memory where the device allows; it must not be written to."""
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        # joblib hands read-only memory maps to its workers; torch warns of writing, which nobody does here.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
        tensor = torch.from_numpy(array)
    return tensor.to(device)


def block_rows(X: Tensor) -> int:
    """Rows of `X` that make one block."""
    elements = _BLOCK_ELEMENTS.get(X.device.type, _BLOCK_ELEMENTS_ACCELERATOR)
    return max(64, elements // max(1, X.shape[1]))


def row_blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Walk through the rows of several tensors together, in blocks sized by the widest."""
    rows = min(block_rows(tensor) for tensor in tensors)
    yield from zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def cross(A: Tensor, B: Tensor) -> Tensor:
    """``A.T @ B`` of tall thin matrices, accumulated in float64 whatever their dtype."""
    if A.dtype == B.dtype == torch.float64:
        return A.T @ B
    total = A.new_zeros((A.shape[1], B.shape[1]), dtype=torch.float64)
    for a, b in row_blocks(A, B):
        total += a.T.to(torch.float64) @ b.to(torch.float64)
    return total
