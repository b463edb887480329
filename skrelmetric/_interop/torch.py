"""Seam between torch and all other arrays: conversion both ways, devices, and what torch lacks."""

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from skrelmetric._interop.sklearn import stays_on_device

__all__ = [
    "TINY",
    "as_tensor",
    "block_rows",
    "largest_eigenpairs",
    "like",
    "resolve_device",
    "unit",
]

# A child that is forked from this process has none of the threads that torch keeps for sums, and would wait for them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

TINY = 1e-12
"""Norm up to which a vector counts as 0."""

# Elements of a row block. On the CPU a block and its products should stay in the second-level cache;
# on an accelerator a block should be large enough to fill it.
_BLOCK_ELEMENTS = {"cpu": 2**17}
_BLOCK_ELEMENTS_ACCELERATOR = 2**24


def resolve_device(device: str | torch.device, X: Any = None) -> torch.device:
    """Device that `device` names; ``"auto"`` is where the samples `X` live.

    Raises
    ------
    ValueError
        If torch knows no such device, or sees none on this machine.
    """
    if device == "auto":
        return as_tensor(X).device if stays_on_device(X) else torch.device("cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, dtype=torch.float64, device=resolved).item()  # every sum is float64
    except (RuntimeError, AssertionError, ImportError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0].split('. ')[0]}). "
            "Pass 'auto', 'cpu', or a device that torch sees, such as 'cuda' where torch.cuda.is_available()."
        ) from error
    return resolved


def as_tensor(array: Any, device: torch.device | None = None) -> Tensor:
    """Tensor of `array`, sharing its memory where the device allows; it must not be written to."""
    if isinstance(array, np.ndarray):
        if any(stride < 0 for stride in array.strides):
            array = np.ascontiguousarray(array)
        array = torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))
    elif not isinstance(array, Tensor):
        array = torch.from_dlpack(array)
    return array.to(device).detach()


class _Writable:
    """The memory of a read-only array, such as a memory map that joblib hands to its workers, as that of any array.

    torch warns that it could be written to, which nobody does here; to silence that, filters of warnings would have to
    be changed, which belong to all threads.
    """

    def __init__(self, array: np.ndarray):
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def like(tensor: Tensor, X: Any) -> Any:
    """Array of what `tensor` holds, of the kind and on the device of `X`: a tensor for a tensor, numpy otherwise."""
    tensor = as_tensor(tensor)
    if not stays_on_device(X):
        return tensor.cpu().numpy()
    if isinstance(X, Tensor):
        return tensor.to(X.device)
    return X.__array_namespace__().from_dlpack(tensor, device=X.device)


def largest_eigenpairs(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a symmetric matrix, in ascending order, and their eigenvectors."""
    n = len(matrix)
    if matrix.device.type != "cpu" or 2 * k > n:
        eigenvalues, eigenvectors = torch.linalg.eigh(matrix)
        return eigenvalues[n - k :], eigenvectors[:, n - k :]
    # LAPACK finds some of them in less than half of the time; torch has no such function.
    pairs = eigh(matrix.numpy(), subset_by_index=(n - k, n - 1), check_finite=False)
    return as_tensor(pairs[0]), as_tensor(pairs[1])


def unit(vectors: Tensor, dim: int = 1) -> Tensor:
    """Vectors along a dimension divided by their norm; those of norm 0 stay, and pass no gradient on.

    Theirs would be that of the loss divided by next to nothing.
    """
    norms = vectors.norm(dim=dim, keepdim=True)
    return vectors * torch.where(norms <= TINY, torch.inf, norms).reciprocal()


def block_rows(n_columns: int, device: torch.device) -> int:
    """Rows of a block of `n_columns`."""
    return max(64, _BLOCK_ELEMENTS.get(device.type, _BLOCK_ELEMENTS_ACCELERATOR) // max(1, n_columns))
