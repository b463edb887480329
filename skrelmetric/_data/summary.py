"""What has to be known of all samples before any part of them can be aligned."""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from skrelmetric._data.partitions import Collection
from skrelmetric._data.samples import Rows, Samples
from skrelmetric._data.targets import TargetSurvey
from skrelmetric._interop.torch import as_tensor

__all__ = ["Counted", "Survey", "surveyed"]


class Counted(NamedTuple):
    """Samples of a part that count.

    Attributes
    ----------
    X : Tensor or csr_array of shape (n_samples, ...)
        The samples.
    y : ndarray, Tensor or csr_array of shape (n_samples, ...)
        Their targets.
    weights : Tensor of shape (n_samples,)
        Their weights, above 0, float64; they need not sum to 1.
    """

    X: Rows
    y: Any
    weights: Tensor


class Survey(NamedTuple):
    """What has to be known of all samples before any part of them can be aligned.

    Attributes
    ----------
    n_samples : int
        Number of samples that count.
    shape : tuple of int
        Shape of a sample.
    dtype : torch.dtype
        Dtype of the samples.
    stored_sparse : bool
        Whether they are sparse.
    largest, weight : float
        Largest weight, and the sum of all in units of it.
    mean : Tensor or None
        Weighted mean of the features, float64; None where samples are no rows of features.
    filled : Tensor or None
        How many samples have an entry of each feature, where they are sparse.
    targets : TargetSurvey or None
        What has to be known of the targets; None where there is no sample.
    """

    n_samples: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    stored_sparse: bool
    largest: float
    weight: float
    mean: Tensor | None
    filled: Tensor | None
    targets: TargetSurvey | None

    @classmethod
    def of(cls, part: Counted) -> Self:
        """Survey of one part."""
        X, y, weights = part
        n, stored_sparse = len(weights), not isinstance(X, Tensor)
        dtype = as_tensor(X.data[:0]).dtype if stored_sparse else X.dtype
        largest = float(weights.max()) if n else 0.0
        weight = float((weights / largest).sum()) if n else 0.0
        mean = filled = None
        if stored_sparse or (X.ndim == 2 and X.is_floating_point()):
            shares = weights / largest / weight
            shares = shares if stored_sparse else shares.to(X.device)
            mean = Samples(X, shares).mean.cpu() if n else torch.zeros(X.shape[1], dtype=torch.float64)
        if stored_sparse:
            filled = as_tensor(np.bincount(X.indices, minlength=X.shape[1]))
        targets = TargetSurvey.of(y) if n else None
        return cls(n, tuple(X.shape[1:]), dtype, stored_sparse, largest, weight, mean, filled, targets)

    def merged(self, other: Self) -> Self:
        """Survey of these samples and others.

        Raises
        ------
        ValueError
            If samples or targets are of different kinds.
        """
        if (self.shape, self.stored_sparse) != (other.shape, other.stored_sparse):
            kinds = [f"{'sparse' if part.stored_sparse else 'dense'} of shape {part.shape}" for part in (self, other)]
            raise ValueError(f"Samples are {kinds[0]} in one part and {kinds[1]} in another. Pass one kind.")
        some = self if self.n_samples else other
        largest = max(self.largest, other.largest)
        own, others = (part.weight * part.largest / (largest or 1.0) for part in (self, other))
        share = others / (own + others or 1.0)
        return self._replace(
            n_samples=self.n_samples + other.n_samples,
            dtype=torch.promote_types(self.dtype, other.dtype) if self.n_samples and other.n_samples else some.dtype,
            largest=largest,
            weight=own + others,
            mean=None if self.mean is None or other.mean is None else self.mean + share * (other.mean - self.mean),
            filled=None if self.filled is None or other.filled is None else self.filled + other.filled,
            targets=_merged(self.targets, other.targets),
        )

    def shares(self, weights: Tensor) -> Tensor:
        """Weights of a part, such that those of all parts sum to 1."""
        return weights / self.largest / self.weight

    @property
    def shift(self) -> np.ndarray:
        """What is taken out of sparse features: the mean of those without a zero."""
        assert self.filled is not None
        assert self.mean is not None
        return torch.where(self.filled == self.n_samples, self.mean, 0.0).numpy()


def _merged(targets: TargetSurvey | None, others: TargetSurvey | None) -> TargetSurvey | None:
    return targets.merged(others) if targets and others else targets or others


def surveyed(collection: Collection) -> Survey:
    """Survey of all samples.

    Raises
    ------
    ValueError
        If fewer than two of them count, or parts are of different kinds.
    """
    survey = collection.fold(Survey.of, Survey.merged)
    if survey.n_samples < 2:
        raise ValueError(
            f"{survey.n_samples} samples of all parts have a positive weight and a known target; "
            "2 are needed to form a pair."
        )
    return survey
