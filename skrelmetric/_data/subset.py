"""Subset of the samples, as they are stored."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from skrelmetric._data.samples import Rows, take
from skrelmetric._data.targets import Targets
from skrelmetric._interop.torch import as_tensor

__all__ = ["Subset"]


class Subset(NamedTuple):
    """Some of the samples, as they are stored, and their targets.

    Attributes
    ----------
    X : Tensor or csr_array of shape (n, ...)
        Samples where they are stored, which may be a memory map.
    rows : Tensor of int64 of shape (n_samples,) or None
        Rows of X that are meant; None for all.
    weights : Tensor of shape (n_samples,)
        Weight of each sample, above 0, float64, on the device that computes.
    targets : Targets or None
        Their targets.
    start : int, default=0
        Number of samples before them in other partitions.
    """

    X: Rows
    rows: Tensor | None
    weights: Tensor
    targets: Targets | None
    start: int = 0

    @classmethod
    def alike(cls, X: Rows, device: torch.device) -> Self:
        """All of some samples, weighted alike."""
        n = X.shape[0]
        return cls(X, None, torch.full((n,), 1 / max(1, n), dtype=torch.float64, device=device), None)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.weights)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample."""
        return tuple(self.X.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the samples."""
        return self.X.dtype if isinstance(self.X, Tensor) else as_tensor(self.X.data[:0]).dtype

    @property
    def float_dtype(self) -> torch.dtype:
        """Dtype of the samples, or float32 where they are whole numbers."""
        return self.dtype if self.dtype.is_floating_point else torch.float32

    @property
    def stored(self) -> Rows:
        """Samples as they are stored, without others."""
        return self.X if self.rows is None else take(self.X, self.rows)

    def some(self, index: Tensor, factor: float = 1.0, start: int = 0) -> Self:
        """Some of these samples, by their indices, whose weights are multiplied by a factor."""
        return self._replace(
            rows=index if self.rows is None else self.rows[index],
            weights=factor * self.weights[index],
            targets=None if self.targets is None else self.targets[index],
            start=start,
        )

    def read(self, some: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Some of the samples as a tensor, on the device of their weights; whole numbers as they are."""
        rows = take(self.X, some if self.rows is None else self.rows[some])
        rows = rows if isinstance(rows, Tensor) else as_tensor(rows.toarray())
        return rows.to(self.weights.device, dtype if rows.is_floating_point() else None)

    def example(self) -> Tensor:
        """Two samples of zeros, of the shape and kind that `read` gives."""
        return torch.zeros_like(self.read(slice(0, 2), self.float_dtype))

    def here(self, places: Tensor) -> slice:
        """Slice of some places among all samples, in ascending order, that are of these."""
        ends = torch.tensor([self.start, self.start + self.n_samples], device=places.device)
        return slice(*torch.searchsorted(places, ends).tolist())
