"""Targets of any kind, read once: columns of numbers or classes, with what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import DTypeLike
from scipy import sparse
from torch import Tensor

from skrelmetric._data.samples import Rows, take
from skrelmetric._interop.arrays import canonical
from skrelmetric._interop.given import check_array, plain_targets
from skrelmetric._interop.labels import warn_of_joined_names
from skrelmetric._interop.torch import as_tensor

__all__ = ["Columns", "TargetSummary", "Targets", "less_mean", "read_targets"]

_MOST_LEVELS = 64  # distinct values that are counted


class TargetSummary(NamedTuple):
    """Summary statistics of all targets, which reading any of them may need.

    Attributes
    ----------
    outputs : tuple of int
        Shape of a sample's target.
    numeric : bool
        Whether they are numbers, rather than names of classes.
    fraction : float or None
        Known value that is no whole number; None where there is none.
    missing : bool
        Whether any value is missing.
    stored_sparse : bool
        Whether any targets are sparse, out of which no mean can be taken.
    low, high : Tensor of shape (n_outputs,)
        Least and largest known value of each output, where the targets are; arrays of strings for names of classes.
    known : Tensor of shape (n_outputs,)
        Number of known values.
    mean : Tensor of shape (n_outputs,)
        Their mean, 0 for names of classes.
    levels : tuple of Tensor, default=()
        Distinct known values of each output, up to a few dozen, where they are floats but whole, and not all 0 or 1.
    """

    outputs: tuple[int, ...]
    numeric: bool
    fraction: float | None
    missing: bool
    stored_sparse: bool
    low: Tensor | np.ndarray
    high: Tensor | np.ndarray
    known: Tensor
    mean: Tensor
    levels: tuple[Tensor, ...] = ()

    def merged(self, other: Self) -> Self:
        """Summary of these targets and others.

        Raises
        ------
        ValueError
            If they are of different kinds or shapes.
        """
        if (self.outputs, self.numeric) != (other.outputs, other.numeric):
            kinds = [f"{'numbers' if some.numeric else 'names'} of shape {some.outputs}" for some in (self, other)]
            raise ValueError(f"y holds {kinds[0]} a sample in one part and {kinds[1]} in another. Pass one kind.")
        known = self.known + other.known
        fraction = other.known / known.clamp(min=1)
        return self._replace(
            fraction=other.fraction if self.fraction is None else self.fraction,
            missing=self.missing or other.missing,
            stored_sparse=self.stored_sparse or other.stored_sparse,
            low=_extreme(self.low, other.low, "minimum"),
            high=_extreme(self.high, other.high, "maximum"),
            known=known,
            mean=self.mean + fraction * (other.mean - self.mean),
            levels=_united(self.levels, other.levels),
        )

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.known)

    @property
    def whole(self) -> bool:
        """Whether all known values are whole numbers."""
        return self.fraction is None

    @property
    def kind(self) -> str:
        """Kind of targets, as scikit-learn's ``type_of_target`` tells them: "labels", "classes" or "numbers"."""
        if self.n_outputs > 1 and self.numeric and self.indicator:
            return "labels"
        return "classes" if self.whole else "numbers"

    @property
    def n_levels(self) -> int:
        """Most distinct values of an output, up to a few dozen, where they are floats but whole, and not all 0 or 1."""
        return max(map(len, self.levels), default=0) if self.whole else 0

    @property
    def indicator(self) -> bool:
        """Whether all known values are 0 or 1."""
        return self.whole and self.least >= 0 and self.largest <= 1

    @property
    def least(self) -> float:
        """Least known number, or 0 if it is above."""
        return min(0.0, float(self.low.min())) if self.n_outputs else 0.0

    @property
    def largest(self) -> float:
        """Largest known number, or 0 if it is below."""
        return max(0.0, float(self.high.max())) if self.n_outputs else 0.0

    @property
    def differing(self) -> Tensor:
        """Mask of the outputs in which not all known values are the same."""
        differing = self.high > self.low
        return differing if isinstance(differing, Tensor) else torch.from_numpy(np.asarray(differing, dtype=bool))

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of an array of no targets of this kind."""
        return np.float64 if self.numeric else "U1"


class Columns(NamedTuple):
    """Targets with one column for each of some outputs.

    Attributes
    ----------
    values : Tensor or csr_array of shape (n_samples, n_columns)
        Known values, and 0 where they are missing; codes of the classes where the target is not numeric.
    known : Tensor of bool of shape (n_samples, n_columns) or None
        False where a value is missing; None where none is.
    mean : Tensor of shape (n_columns,)
        Mean of the known values over all samples.
    """

    values: Rows
    known: Tensor | None
    mean: Tensor

    def numbers(self) -> Rows:
        """Values in float64."""
        return self.values.to(torch.float64) if isinstance(self.values, Tensor) else self.values

    def less_mean(self) -> Rows:
        """Numbers less the mean of their column: differences stay, large offsets do not; sparse ones as they are."""
        Y = self.numbers()
        return less_mean(Y, self.known, self.mean) if isinstance(Y, Tensor) else Y

    def dense(self) -> Tensor:
        """Values as a tensor, which a relation that does not factor needs."""
        return self.values if isinstance(self.values, Tensor) else as_tensor(self.values.toarray())


class Targets:
    """Targets that were checked.

    Parameters
    ----------
    y : ndarray, Tensor or csr_array of shape (n_samples,) or (n_samples, n_outputs)
        Targets as they came; those with missing values dense, and numbers that came as objects float64.
    device : torch.device
        Where their values are wanted.
    """

    def __init__(self, y: Any, device: torch.device):
        self.y, self.device = y, device

    def __len__(self) -> int:
        return self.y.shape[0]

    def __getitem__(self, index: Tensor | slice) -> "Targets":
        """Targets of some samples, by indices, a mask or a slice."""
        return Targets(take(self.y, index), self.device)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of a sample's target."""
        return tuple(self.y.shape[1:])

    @property
    def numeric(self) -> bool:
        """Whether they are numbers, rather than names of classes."""
        return not isinstance(self.y, np.ndarray) or self.y.dtype.kind in "biuf"

    @property
    def values(self) -> Rows:
        """Known values with one column an output, 0 where they are missing; codes of classes that have names."""
        return self._read[0]

    @property
    def known(self) -> Tensor | None:
        """Mask of the known values, of shape (n_samples, n_outputs); None where none is missing."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Rows, Tensor | None]:
        y = self.y
        if sparse.issparse(y):
            if self.device.type == "cpu":
                return y, None
            y = y.toarray()  # as samples on an accelerator are
        if not self.numeric:
            return as_tensor(_codes(_columns(y)), self.device), None
        if isinstance(y, np.ndarray) and y.dtype.kind != "b":
            # torch compares no wide unsigned integers, and reads no foreign byte order.
            y = y.astype(np.float64 if y.dtype.kind == "f" else np.int64, copy=False)
        values = _columns(as_tensor(y, self.device))
        missing = values.isnan() if values.is_floating_point() else None
        if missing is None or not missing.any():
            return values, None
        return values.nan_to_num(0.0), ~missing

    def labelled(self) -> Tensor | None:
        """Mask of the samples of which any output is known; None where all are."""
        if sparse.issparse(self.y) or not self.numeric or self.known is None:
            return None
        labelled = self.known.any(1)
        return None if labelled.all() else labelled

    @cached_property
    def summary(self) -> TargetSummary:
        """Summary of these targets, at least one."""
        if not self.numeric:
            names = _columns(self.y)
            with _sorting():
                low, high = (np.array([extreme(column) for column in names.T], dtype=object) for extreme in (min, max))
            zeros = torch.zeros(names.shape[1], dtype=torch.float64)
            return TargetSummary(self.outputs, False, None, False, False, low, high, zeros + len(names), zeros)
        values, known = self.values, self.known
        if not isinstance(values, Tensor):
            low, high = (as_tensor(getattr(values, which)(axis=0).toarray().reshape(-1)) for which in ("min", "max"))
            mean = as_tensor(np.asarray(values.mean(axis=0), dtype=np.float64).reshape(-1))
            entries = torch.from_numpy(values.data)
        elif known is None:
            low, high = values.amin(0), values.amax(0)
            mean, entries = values.mean(0, dtype=torch.float64), values
        else:
            low = torch.where(known, values, torch.inf).amin(0)
            high = torch.where(known, values, -torch.inf).amax(0)
            n_known = known.sum(0).clamp(min=1)
            mean, entries = (values / n_known).sum(0, dtype=torch.float64), values
        n_known = torch.full_like(mean, len(self)) if known is None else known.sum(0)
        fraction = None
        if entries.is_floating_point():
            fractions = entries != entries.round()
            fraction = float(entries[fractions][0]) if fractions.any() else None
        stored_sparse, n_known = sparse.issparse(self.y), n_known.to(torch.float64)
        levels: tuple[Tensor, ...] = ()
        if isinstance(values, Tensor) and values.is_floating_point() and fraction is None:
            columns = (
                values.T if known is None else [column[has] for column, has in zip(values.T, known.T, strict=True)]
            )
            codes = bool(((low == 0) | (low == 1)).all() and ((high == 0) | (high == 1)).all())
            levels = () if codes else tuple(column.unique()[:_MOST_LEVELS] for column in columns)
        return TargetSummary(
            self.outputs, True, fraction, known is not None, stored_sparse, low, high, n_known, mean, levels
        )

    def columns(self, summary: TargetSummary, *, by_output: bool) -> Columns:
        """Columns of the outputs, given the summary of all targets.

        By output, those that never differ add nothing, and are left out. Where none differs all are: leaving out what
        adds nothing makes nothing exact.
        """
        differing = summary.differing
        kept = differing if by_output or not differing.any() else torch.ones_like(differing)
        values, known, mean = self.values, self.known, summary.mean * (not summary.stored_sparse)
        if summary.missing and known is None:
            values = (values if isinstance(values, Tensor) else as_tensor(values.toarray())).to(self.device)
            known = torch.ones_like(values, dtype=torch.bool)
        if not kept.all():
            mean = mean[kept]
            of_values = kept.cpu().numpy() if sparse.issparse(values) else kept.to(self.device)
            values, known = values[:, of_values], None if known is None else known[:, of_values]
        return Columns(values, known, mean.to(self.device))

    def stacked(self, others: "Targets") -> "Targets":
        """These targets, and others below them.

        Raises
        ------
        ValueError
            If they have different outputs.
        """
        y, below = self.y, others.y
        if y.shape[1:] != below.shape[1:]:
            raise ValueError(f"y_val has outputs of shape {below.shape[1:]}, but y of {y.shape[1:]}.")
        if self.numeric != others.numeric:
            raise ValueError(f"y holds {y.dtype} and y_val {below.dtype}: name the classes of both in the same way.")
        if sparse.issparse(y) or sparse.issparse(below):
            return Targets(sparse.csr_array(sparse.vstack([y, below])), self.device)
        if isinstance(y, Tensor) or isinstance(below, Tensor):
            y = as_tensor(y)
            return Targets(torch.cat([y, as_tensor(below).to(y.device)]), self.device)
        return Targets(np.concatenate([y, below]), self.device)

    def host_rows(self) -> np.ndarray:
        """Targets on the host, one row a sample, missing ones and zeros written in one way."""
        y = self.y
        if sparse.issparse(y):
            y = y.toarray()
        elif isinstance(y, Tensor):
            y = y.cpu().numpy()
        y = _columns(y)
        if y.dtype.kind == "O":
            y = y.astype(str)
        return np.where(np.isnan(y), np.nan, y + 0.0) if y.dtype.kind == "f" else y


def read_targets(
    y: Any, device: torch.device | str | None = None, *, ensure_min_samples: int = 1, read_before: bool = False
) -> Targets:
    """Targets as a csr_array, a tensor or an ndarray, of one or two dimensions, without infinity.

    Targets that were read stay as they are. Their values are wanted on a device, None for where they are. If the same
    were read before, their values are not looked at again.

    Raises
    ------
    ValueError
        If `y` is anything else.
    """
    if isinstance(y, Targets):
        return y
    y = _checked(y, ensure_min_samples, read_before)
    if device is None:
        device = y.device if isinstance(y, Tensor) else "cpu"
    return Targets(y, torch.device(device))


def _checked(y: Any, ensure_min_samples: int, read_before: bool) -> Any:
    y = check_array(
        plain_targets(y, some_named=True),
        accept_sparse="csr",
        dtype=None,
        ensure_2d=False,
        ensure_all_finite=False if read_before else "allow-nan",
        ensure_min_samples=ensure_min_samples,
        input_name="y",
    )
    if sparse.issparse(y):
        y = canonical(sparse.csr_array(y, dtype=np.float64))  # values are read entry by entry
        return y.toarray() if np.isnan(y.data).any() else y
    if not isinstance(y, np.ndarray):
        return as_tensor(y)
    if y.dtype.kind == "O":
        with suppress(TypeError, ValueError):  # then they are classes
            return y.astype(np.float64)
    if y.ndim == 1 and not read_before:
        warn_of_joined_names(y)
    return y


def _united(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Levels of two parts; one without any has none but 0 and 1, if its numbers are floats."""
    if not some or not others:
        return some or others
    return tuple(torch.cat(both).unique()[:_MOST_LEVELS] for both in zip(some, others, strict=True))


def _extreme(some: Tensor | np.ndarray, others: Tensor | np.ndarray, which: str) -> Tensor | np.ndarray:
    return getattr(torch if isinstance(some, Tensor) else np, which)(some, others)


def _columns(y: Any) -> Any:
    """Targets with one column an output."""
    return y[:, None] if y.ndim == 1 else y


def _codes(y: np.ndarray) -> np.ndarray:
    """Number of the class in each column, as integers from 0."""
    codes = np.empty(y.shape, dtype=np.int64)
    with _sorting():
        for column, classes in zip(codes.T, y.T, strict=True):
            column[:] = np.unique(classes, return_inverse=True)[1]
    return codes


@contextmanager
def _sorting() -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        raise ValueError(
            f"Unknown label type: y holds objects that are neither numbers nor classes that can be sorted ({error}). "
            "Pass classes as strings, without samples of unknown class, or numbers with NaN for what is missing."
        ) from error


def less_mean(Y: Tensor, known: Tensor | None, mean: Tensor | None = None) -> Tensor:
    """Known values less the mean of their column, and 0 for the others: differences stay, large offsets do not."""
    if known is None:
        return Y - (Y.mean(0) if mean is None else mean)
    return torch.where(known, Y - (Y.sum(0) / known.sum(0).clamp(min=1) if mean is None else mean), 0.0)
