"""Summary statistics of partitioned samples."""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skrelmetric._data.loaded import Loaded
from skrelmetric._data.partitions import Partitions
from skrelmetric._data.samples import LIMITS, Samples
from skrelmetric._data.subset import Subset
from skrelmetric._data.targets import TargetSummary
from skrelmetric._interop.magnitudes import check_range, limit_of
from skrelmetric._interop.magnitudes import largest as largest_entry
from skrelmetric._interop.torch import as_tensor

__all__ = ["Summary", "summarised"]


class Summary(NamedTuple):
    """Summary statistics of all samples of positive weight and known target.

    Attributes
    ----------
    n_samples : int
        Number of samples.
    shape : tuple of int
        Shape of a sample.
    dtype : torch.dtype
        Dtype of the samples.
    stored_sparse : bool
        Whether they are sparse.
    size : float
        Largest modulus of an entry of a sample; 0 for those of a data set, which are checked when they are loaded.
    largest, weight : float
        Largest weight, and the sum of all in units of it.
    mean : Tensor or None
        Weighted mean of the features, float64, where it was asked for.
    filled : Tensor or None
        How many samples have an entry of each feature, where they are sparse.
    targets : TargetSummary or None
        Summary of the targets; None where there is no sample.
    """

    n_samples: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    stored_sparse: bool
    size: float
    largest: float
    weight: float
    mean: Tensor | None
    filled: Tensor | None
    targets: TargetSummary | None

    @classmethod
    def of(cls, subset: Subset, with_mean: bool) -> Self:
        """Summary of one partition, and whether it has the mean of its features."""
        X: Any = subset.X if isinstance(subset.X, Loaded) else subset.stored
        weights = subset.weights
        n, stored_sparse = len(weights), sparse.issparse(X)
        largest = float(weights.max()) if n else 0.0
        weight = float((weights / largest).sum()) if n else 0.0
        shape, mean, filled = tuple(X.shape[1:]), None, None
        if with_mean:
            zeros = torch.zeros(shape, dtype=torch.float64)
            mean = Samples(X, weights / largest / weight).mean.cpu() if n else zeros
        if stored_sparse:
            filled = as_tensor(np.bincount(X.indices, minlength=X.shape[1]))
        size = 0.0 if isinstance(X, Loaded) else largest_entry(X)
        targets = subset.targets.summary if subset.targets is not None and n else None
        return cls(n, shape, subset.dtype, stored_sparse, size, largest, weight, mean, filled, targets)

    def merged(self, other: Self) -> Self:
        """Summary of these samples and others.

        Raises
        ------
        ValueError
            If samples or targets are of different kinds.
        """
        if (self.shape, self.stored_sparse) != (other.shape, other.stored_sparse):
            kinds = [f"{'sparse' if some.stored_sparse else 'dense'} of shape {some.shape}" for some in (self, other)]
            raise ValueError(f"Samples are {kinds[0]} in one part and {kinds[1]} in another. Pass one kind.")
        some = self if self.n_samples else other
        largest = max(self.largest, other.largest)
        own, others = (each.weight * (each.largest / (largest or 1.0)) for each in (self, other))
        fraction = others / (own + others or 1.0)
        return self._replace(
            n_samples=self.n_samples + other.n_samples,
            dtype=torch.promote_types(self.dtype, other.dtype) if self.n_samples and other.n_samples else some.dtype,
            size=max(self.size, other.size),
            largest=largest,
            weight=own + others,
            mean=None if self.mean is None or other.mean is None else self.mean + fraction * (other.mean - self.mean),
            filled=None if self.filled is None or other.filled is None else self.filled + other.filled,
            targets=self.targets.merged(other.targets) if self.targets and other.targets else some.targets,
        )

    def normalised(self, weights: Tensor) -> Tensor:
        """Weights of a partition, such that those of all sum to 1."""
        return weights / self.largest / self.weight

    @property
    def shift(self) -> np.ndarray:
        """Number to take out of each sparse feature: the mean of those without a zero.

        Distances are free of such a shift, and rounding is not: sums over sparse rows have their mean taken out at the
        end.
        """
        assert self.filled is not None
        assert self.mean is not None
        return torch.where(self.filled == self.n_samples, self.mean, 0.0).numpy()


def summarised(partitions: Partitions, *, with_mean: bool) -> Summary:
    """Summary of all samples.

    Raises
    ------
    ValueError
        If fewer than two of them count, partitions are of different kinds, or samples cannot be squared.
    """
    summary = partitions.fold(lambda subset: Summary.of(subset, with_mean), Summary.merged)
    check_range(summary.size, "X", LIMITS.get(summary.dtype, limit_of()))
    if summary.n_samples < 2:
        only = partitions.only
        if only is not None and summary.n_samples == only.X.shape[0]:  # a single sample, to judge by
            return summary
        which = " samples of all parts" if only is None else f" of {only.X.shape[0]} samples"
        raise ValueError(
            f"{summary.n_samples}{which} have a positive weight and a known target; 2 are needed to form a pair."
        )
    return summary
