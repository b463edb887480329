"""Subset of the samples, as they are stored."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor

from skrelmetric._data.loaded import Loaded
from skrelmetric._data.samples import Rows, rows_at_once, take
from skrelmetric._data.targets import Targets
from skrelmetric._interop.torch import as_tensor

__all__ = ["Subset"]


class Subset(NamedTuple):
    """Some of the samples, as they are stored, and their targets.

    Attributes
    ----------
    X : Tensor, csr_array or Loaded of shape (n, ...)
        Samples where they are stored, which may be a memory map, or a data set.
    rows : Tensor of int64 of shape (n_samples,) or None
        Rows of X that are meant; None for all.
    weights : Tensor of shape (n_samples,)
        Weight of each sample, above 0, float64, on the device that computes.
    targets : Targets or None
        Their targets.
    start : int, default=0
        Number of samples before them in other partitions.
    """

    X: Rows | Loaded
    rows: Tensor | None
    weights: Tensor
    targets: Targets | None
    start: int = 0

    @classmethod
    def alike(cls, X: Rows | Loaded, device: torch.device) -> Self:
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
        return self.X.dtype if isinstance(self.X, Tensor | Loaded) else as_tensor(self.X.data[:0]).dtype

    @property
    def float_dtype(self) -> torch.dtype:
        """Dtype of the samples, or float32 where they are whole numbers."""
        return self.dtype if self.dtype.is_floating_point else torch.float32

    @property
    def stored(self) -> Rows:
        """Samples as they are stored, without others; those of a data set are not."""
        assert not isinstance(self.X, Loaded)
        return self.X if self.rows is None else take(self.X, self.rows)

    def some(self, index: Tensor, factor: float = 1.0, start: int = 0) -> Self:
        """Some of these samples, by their indices, whose weights are multiplied by a factor."""
        return self._replace(
            rows=index if self.rows is None else self.rows[index],
            weights=factor * self.weights[index],
            targets=None if self.targets is None else self.targets[index],
            start=start,
        )

    def read(self, some: slice | Tensor, dtype: torch.dtype, seed: int = 0) -> Tensor:
        """Some of the samples as a tensor, as :meth:`batches` has them."""
        (rows,) = self.batches([some], dtype, seed)
        return rows

    def batches(self, several: Iterable[slice | Tensor], dtype: torch.dtype, seed: int = 0) -> Iterator[Tensor]:
        """Several batches of the samples as tensors, on the device of their weights; whole numbers as they are.

        Those of a data set are loaded ahead where it has workers; what it draws goes by the seed.
        """
        X, places = self.X, (some if self.rows is None else self.rows[some] for some in several)
        found = X.batches(places, seed) if isinstance(X, Loaded) else (take(X, index) for index in places)
        for rows in found:
            rows = rows if isinstance(rows, Tensor) else as_tensor(rows.toarray())
            yield rows.to(self.weights.device, dtype if rows.is_floating_point() else None)

    def at_once(self, dtype: torch.dtype) -> int:
        """Number of samples that may be in memory at once beside what is made of them, at least 1."""
        return rows_at_once(self.shape, dtype)

    def example(self) -> Tensor:
        """Two samples of zeros, of the shape and kind that `read` gives."""
        return torch.zeros((min(2, self.n_samples), *self.shape), dtype=self.dtype, device=self.weights.device)

    def here(self, places: Tensor) -> slice:
        """Slice of some places among all samples, in ascending order, that are of these."""
        ends = torch.tensor([self.start, self.start + self.n_samples], device=places.device)
        return slice(*torch.searchsorted(places, ends).tolist())
