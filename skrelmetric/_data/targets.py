"""Targets of any kind as columns of numbers or classes, with what is missing."""

from contextlib import suppress
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_array
from torch import Tensor

from skrelmetric._data.samples import Rows, canonical
from skrelmetric._interop.sklearn import check_not_ragged
from skrelmetric._interop.torch import as_tensor

__all__ = ["TargetSurvey", "Targets", "check_targets", "less_mean", "read_part", "read_targets", "unlabelled"]


class TargetSurvey(NamedTuple):
    """What has to be known of all targets before any part of them can be read.

    Attributes
    ----------
    outputs : tuple of int
        Shape of a sample's target.
    numeric : bool
        Whether they are numbers, rather than names of classes.
    indicator, whole : bool
        Whether all values known are 0 or 1, and whether all are whole numbers.
    missing : bool
        Whether any value is missing.
    stored_sparse : bool
        Whether any targets are sparse, out of which no mean can be taken.
    low, high : ndarray of shape (n_outputs,)
        Least and largest value known of each output; of names of classes, which are strings.
    known : Tensor of shape (n_outputs,)
        How many values are known.
    mean : Tensor of shape (n_outputs,)
        Their mean, 0 for names of classes.
    """

    outputs: tuple[int, ...]
    numeric: bool
    indicator: bool
    whole: bool
    missing: bool
    stored_sparse: bool
    low: np.ndarray
    high: np.ndarray
    known: Tensor
    mean: Tensor

    @classmethod
    def of(cls, y: Any) -> Self:
        """Survey of some targets that were checked, at least one."""
        outputs = tuple(y.shape[1:])
        if isinstance(y, np.ndarray) and y.dtype.kind not in "biuf":
            names = _columns(y)
            low, high = (np.array([extreme(column) for column in names.T], dtype=object) for extreme in (min, max))
            nothing = torch.zeros(names.shape[1], dtype=torch.float64)
            return cls(outputs, False, False, False, False, False, low, high, nothing + len(names), nothing)
        targets = read_targets(y, torch.device("cpu"))
        if not isinstance(targets.values, Tensor):
            low, high = (getattr(y, extreme)(axis=0).toarray().reshape(-1) for extreme in ("min", "max"))
            known = torch.full((y.shape[1],), float(y.shape[0]), dtype=torch.float64)
            mean = as_tensor(np.asarray(y.mean(axis=0), dtype=np.float64).reshape(-1))
            missing = False
        elif targets.known is None:
            values, missing = targets.numbers(), False
            low, high, mean = values.amin(0).numpy(), values.amax(0).numpy(), values.mean(0)
            known = torch.full_like(mean, len(values))
        else:
            values, missing, mask = targets.numbers(), True, targets.known
            low = torch.where(mask, values, torch.inf).amin(0).numpy()
            high = torch.where(mask, values, -torch.inf).amax(0).numpy()
            known = mask.sum(0).to(torch.float64)
            mean = (values / known.clamp(min=1)).sum(0)
        return cls(outputs, True, targets.indicator, targets.whole, missing, sparse.issparse(y), low, high, known, mean)

    def merged(self, other: Self) -> Self:
        """Survey of these targets and others.

        Raises
        ------
        ValueError
            If they are of different kinds or shapes.
        """
        if (self.outputs, self.numeric) != (other.outputs, other.numeric):
            kinds = [f"{'numbers' if part.numeric else 'names'} of shape {part.outputs}" for part in (self, other)]
            raise ValueError(f"y holds {kinds[0]} a sample in one part and {kinds[1]} in another. Pass one kind.")
        known = self.known + other.known
        share = other.known / known.clamp(min=1)
        return self._replace(
            indicator=self.indicator and other.indicator,
            whole=self.whole and other.whole,
            missing=self.missing or other.missing,
            stored_sparse=self.stored_sparse or other.stored_sparse,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            known=known,
            mean=self.mean + share * (other.mean - self.mean),
        )

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.known)

    def take(self, columns: Tensor) -> Self:
        """Survey of some of the outputs, by a mask."""
        of_outputs = {name: getattr(self, name)[columns.cpu().numpy()] for name in ("low", "high")}
        return self._replace(**of_outputs, known=self.known[columns.cpu()], mean=self.mean[columns.cpu()])

    @property
    def differing(self) -> Tensor:
        """Mask of the outputs in which not all known values are the same."""
        return torch.from_numpy(np.asarray(self.high > self.low, dtype=bool))


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
    survey : TargetSurvey or None, default=None
        What is known of all targets, where these are a part of them.
    """

    values: Rows
    known: Tensor | None
    numeric: bool
    survey: TargetSurvey | None = None

    def numbers(self) -> Rows:
        """Values in float64."""
        return self.values.to(torch.float64) if isinstance(self.values, Tensor) else self.values

    def entries(self) -> Tensor:
        """All values that may differ from 0, in any shape."""
        return self.values if isinstance(self.values, Tensor) else torch.from_numpy(self.values.data)

    @property
    def _device(self) -> torch.device:
        return self.values.device if isinstance(self.values, Tensor) else torch.device("cpu")

    def less_mean(self) -> Rows:
        """Numbers less the mean of their output: differences stay, large offsets do not; sparse ones as they are."""
        Y = self.numbers()
        if not isinstance(Y, Tensor):
            return Y
        mean = None if self.survey is None else self.survey.mean.to(Y.device) * (not self.survey.stored_sparse)
        return less_mean(Y, self.known, mean)

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.values.shape[1]

    @property
    def indicator(self) -> bool:
        """Whether all values are 0 or 1."""
        values = self.entries()
        return bool(((values == 0) | (values == 1)).all())

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        values = self.entries()
        return not values.is_floating_point() or bool((values == values.round()).all())

    def dense(self) -> Tensor:
        """Values as a tensor, which a relation that does not factor needs."""
        return self.values if isinstance(self.values, Tensor) else as_tensor(self.values.toarray())

    def take(self, columns: Tensor) -> "Targets":
        """Targets of some of the outputs, by a mask."""
        if columns.all():
            return self
        if not isinstance(self.values, Tensor):
            return self._replace(values=self.values[:, columns.numpy()])
        survey = self.survey and self.survey.take(columns)
        known = None if self.known is None else self.known[:, columns]
        return self._replace(values=self.values[:, columns], known=known, survey=survey)

    def differing(self) -> Tensor:
        """Mask of the outputs in which not all known values are the same."""
        if self.survey is not None:
            return self.survey.differing.to(self._device)
        if not isinstance(self.values, Tensor):
            return torch.from_numpy(self.values.max(axis=0).toarray() != self.values.min(axis=0).toarray()).reshape(-1)
        if self.known is None:
            return (self.values != self.values[0]).any(0)
        values = self.numbers()
        return torch.where(self.known, values, -torch.inf).amax(0) > torch.where(self.known, values, torch.inf).amin(0)


def read_part(y: Any, survey: TargetSurvey, device: torch.device) -> Targets:
    """Read some of the targets that were surveyed, as if they were read with all others."""
    targets = read_targets(y, device)
    if survey.missing and targets.known is None:
        values = targets.dense().to(device)
        targets = targets._replace(values=values, known=torch.ones_like(values, dtype=torch.bool))
    return targets._replace(survey=survey)


def check_targets(y: Any, ensure_min_samples: int = 1) -> Any:
    """Targets as a csr_array, a tensor or an ndarray, of one or two dimensions, without infinity.

    Numbers that came as objects are float64, and a sparse target with missing values is dense, as its mask is.

    Raises
    ------
    ValueError
        If `y` is anything else.
    """
    check_not_ragged(y)
    y = check_array(
        y,
        accept_sparse="csr",
        dtype=None,
        ensure_2d=False,
        ensure_all_finite="allow-nan",
        ensure_min_samples=ensure_min_samples,
        input_name="y",
    )
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
    nothing_known = _columns(missing).all(1)
    return nothing_known if nothing_known.any() else None


def read_targets(y: Any, device: torch.device) -> Targets:
    """Read targets that were checked."""
    if sparse.issparse(y):
        if device.type == "cpu":
            return Targets(y, None, numeric=True)
        y = y.toarray()  # as samples on an accelerator are
    if isinstance(y, np.ndarray) and y.dtype.kind not in "biuf":
        return Targets(as_tensor(_codes(_columns(y)), device), None, numeric=False)
    if isinstance(y, np.ndarray) and y.dtype.kind != "b":
        # torch compares no wide unsigned integers, and reads no foreign byte order.
        y = y.astype(np.float64 if y.dtype.kind == "f" else np.int64, copy=False)
    values = _columns(as_tensor(y, device))
    missing = values.isnan() if values.is_floating_point() else None
    if missing is None or not missing.any():
        return Targets(values, None, numeric=True)
    return Targets(values.nan_to_num(0.0), ~missing, numeric=True)


def _columns(y: Any) -> Any:
    """Targets with one column an output."""
    return y[:, None] if y.ndim == 1 else y


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


def less_mean(Y: Tensor, known: Tensor | None, mean: Tensor | None = None) -> Tensor:
    """Known values less the mean of their column, and 0 for the others: differences stay, large offsets do not."""
    if known is None:
        return Y - (Y.mean(0) if mean is None else mean)
    return torch.where(known, Y - (Y.sum(0) / known.sum(0).clamp(min=1) if mean is None else mean), 0.0)
