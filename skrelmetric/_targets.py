"""Targets of any kind as columns of numbers or classes, with what is missing."""

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array
from torch import Tensor

from skrelmetric._samples import Rows, canonical
from skrelmetric._sklearn import check_not_ragged
from skrelmetric._torch import as_tensor

__all__ = ["Targets", "check_targets", "less_mean", "read_targets", "unlabelled"]


class Targets(NamedTuple):
    """Targets with one column an output.

    Attributes
    ----------
    values : Tensor or csr_array of shape (n_samples, n_outputs)
        What is known, and 0 where it is missing; codes of the classes where the target is not numeric.
    known : Tensor of bool of shape (n_samples, n_outputs) or None
        False where a value is missing; None where none is.
    numeric : bool
        Whether the values are numbers, rather than codes of classes.
    """

    values: Rows
    known: Tensor | None
    numeric: bool

    def numbers(self) -> Rows:
        """Values in float64."""
        return self.values.to(torch.float64) if isinstance(self.values, Tensor) else self.values

    def entries(self) -> Tensor:
        """All values that may differ from 0, in any shape."""
        return self.values if isinstance(self.values, Tensor) else torch.from_numpy(self.values.data)

    def dense(self) -> Tensor:
        """Values as a tensor, which a relation that does not factor needs."""
        return self.values if isinstance(self.values, Tensor) else as_tensor(self.values.toarray())

    def take(self, columns: Tensor) -> "Targets":
        """Targets of some of the outputs, by a mask."""
        if columns.all():
            return self
        if not isinstance(self.values, Tensor):
            return self._replace(values=self.values[:, columns.numpy()])
        return self._replace(
            values=self.values[:, columns], known=None if self.known is None else self.known[:, columns]
        )

    def differing(self) -> Tensor:
        """Mask of the outputs in which not all known values are the same."""
        if not isinstance(self.values, Tensor):
            return torch.from_numpy(self.values.max(axis=0).toarray() != self.values.min(axis=0).toarray()).reshape(-1)
        if self.known is None:
            return (self.values != self.values[0]).any(0)
        values = self.numbers()
        return torch.where(self.known, values, -torch.inf).amax(0) > torch.where(self.known, values, torch.inf).amin(0)


def check_targets(y: Any) -> Any:
    """Targets as a csr_array, a tensor or an ndarray, of one or two dimensions, without infinity.

    Numbers that came as objects are float64, and a sparse target with missing values is dense, as its mask is.

    Raises
    ------
    ValueError
        If `y` is anything else.
    """
    check_not_ragged(y)
    y = check_array(y, accept_sparse="csr", dtype=None, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
    if sparse.issparse(y):
        if y.ndim != 2:
            raise ValueError(f"y is sparse of shape {y.shape}, but (n_samples, n_outputs) is needed. Pass y.toarray().")
        y = canonical(sparse.csr_array(y, dtype=np.float64))  # values are read entry by entry
        return y.toarray() if np.isnan(y.data).any() else y
    if not isinstance(y, np.ndarray):
        return as_tensor(y)
    if y.dtype.kind == "O":
        with suppress(TypeError, ValueError):  # then they are classes
            return y.astype(np.float64)
    return y


def unlabelled(y: Any) -> np.ndarray | Tensor | None:
    """Mask of the samples of which no output is known; None where there are none."""
    if sparse.issparse(y) or (isinstance(y, np.ndarray) and y.dtype.kind != "f"):
        return None
    missing = y.isnan() if isinstance(y, Tensor) else np.isnan(y)
    nothing_known = missing.reshape(len(y), -1).all(1)
    return nothing_known if nothing_known.any() else None


def read_targets(y: Any, device: torch.device) -> Targets:
    """Read targets that were checked."""
    if sparse.issparse(y):
        if device.type == "cpu":
            return Targets(y, None, numeric=True)
        y = y.toarray()  # as samples on an accelerator are
    if isinstance(y, np.ndarray) and y.dtype.kind not in "biuf":
        return Targets(as_tensor(_codes(y.reshape(len(y), -1)), device), None, numeric=False)
    if isinstance(y, np.ndarray) and y.dtype.kind != "b":
        # torch compares no wide unsigned integers, and reads no foreign byte order.
        y = y.astype(np.float64 if y.dtype.kind == "f" else np.int64, copy=False)
    values = as_tensor(y, device).reshape(y.shape[0], -1)
    missing = values.isnan() if values.is_floating_point() else None
    if missing is None or not missing.any():
        return Targets(values, None, numeric=True)
    return Targets(values.nan_to_num(0.0), ~missing, numeric=True)


def _codes(y: np.ndarray) -> np.ndarray:
    """Number of the class in each column, as integers from 0."""
    codes = np.empty(y.shape, dtype=np.int64)
    try:
        for column, classes in zip(codes.T, y.T, strict=True):
            column[:] = np.unique(classes, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(
            f"Unknown label type: y holds objects that are neither numbers nor classes that can be sorted ({error}). "
            "Pass classes as strings, or as numbers with NaN for what is missing."
        ) from error
    return codes


def less_mean(Y: Tensor, known: Tensor | None) -> Tensor:
    """Known values less the mean of their column, and 0 for the others: differences stay, large offsets do not."""
    if known is None:
        return Y - Y.mean(0)
    return torch.where(known, Y - Y.sum(0) / known.sum(0).clamp(min=1), 0.0)
