"""Problem of relation alignment: samples in partitions, of which it needs sums only, and their relation."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skrelmetric._data.partitions import InMemory, Partitions
from skrelmetric._data.read import Data
from skrelmetric._data.samples import Rows, Samples, shifted
from skrelmetric._data.subset import Subset
from skrelmetric._interop.sklearn import n_samples_of
from skrelmetric._interop.torch import as_tensor
from skrelmetric.chunks import Chunks
from skrelmetric.relations import GivenPairs, Relation, RelationInParts, make_relation

__all__ = ["Problem", "Related", "problem", "targets_of_fit"]

S = TypeVar("S")


class Related(Generic[S]):
    """Some samples, and the relation of their targets, which is made once it is asked for.

    Parameters
    ----------
    samples : Samples or Subset
        The samples.
    relation : callable
        ``relation()`` makes the relation.
    """

    def __init__(self, samples: S, relation: Callable[[], Relation]):
        self.samples, self._relation = samples, relation

    @cached_property
    def G(self) -> Relation:
        """Relation of the targets."""
        return self._relation()


class Problem:
    """Samples and the relation of their targets, ready to be aligned.

    Parameters
    ----------
    partitions : Partitions
        Of Related samples, centred and weighted.
    shape : tuple of int
        Numbers of samples and features.
    mean : Tensor of shape (n_features,)
        Weighted mean of the samples, float64.
    dtype : torch.dtype
        Dtype of the samples.
    stored_sparse : bool
        Whether they are sparse.
    G : Relation
        Relation of any samples, with the core of all.
    """

    def __init__(
        self,
        partitions: Partitions,
        shape: tuple[int, int],
        mean: Tensor,
        dtype: torch.dtype,
        stored_sparse: bool,
        G: Relation,
    ):
        self.partitions, self.shape, self.mean = partitions, shape, mean
        self.dtype, self.stored_sparse, self.G = dtype, stored_sparse, G

    @classmethod
    def of(cls, samples: Samples, G: Any = None) -> "Problem":
        """Problem of samples in memory; their principal coordinates need no relation."""
        partitions = InMemory([Related(samples, lambda: G)])
        return cls(partitions, samples.shape, samples.mean, samples.dtype, samples.stored_sparse, G)

    def quadratic(self) -> Tensor:
        """Z' P G P Z of shape (n_features, n_features), float64."""
        only = self.partitions.only
        if only is not None:  # "l1" has no sums over samples before all are in order, but a faster form of its own
            return only.G.quadratic(only.samples, only.samples.weights)
        (sums,) = self.partitions.total(lambda some: [some.G.sums(some.samples, some.samples.weights)])
        return sums.T @ self.G.core(sums)

    def varying(self) -> Tensor:
        """Mask of the features in which any two samples differ."""
        only = self.partitions.only
        if only is not None:
            return only.samples.varying()
        low, high = self.partitions.fold(_range, _widened)
        return low < high

    def gathered(self) -> "Problem":
        """Problem of the same samples in memory, which are few."""
        if self.partitions.only is not None:
            return self
        X, weights, targets = self.partitions.fold(_contents, _listed)
        return Problem.of(Samples(_stacked(X), torch.cat(weights), self.mean), self.G.over(_stacked(targets)))

    @property
    def samples(self) -> Samples:
        """All samples, in memory."""
        return self.gathered().partitions.only.samples

    def turned(self, rotation: Tensor) -> "Problem":
        """Problem of samples with rows ``z @ rotation``."""
        turned = self.partitions.map(lambda some: Related(some.samples.turned(rotation), lambda: some.G))
        mean = self.mean.new_zeros(rotation.shape[1])
        return Problem(turned, (self.shape[0], rotation.shape[1]), mean, self.dtype, False, self.G)


def targets_of_fit(X: Any, y: Any, relation: Any) -> Any:
    """Targets of a fit: `y`, or zeros at which nobody looks, where it is None and the pairs of samples are given."""
    if y is not None or not isinstance(relation, GivenPairs) or isinstance(X, Chunks):
        return y
    return np.zeros(n_samples_of(X))


def problem(data: Data, relation: Any) -> Problem:
    """Problem of samples that were read with the mean of their features, under a relation of their targets.

    Raises
    ------
    ValueError
        If the targets do not suit the relation.
    """
    summary, device = data.summary, data.device
    assert summary.mean is not None
    assert summary.targets is not None
    shift = summary.shift if summary.stored_sparse else None
    mean = (summary.mean if shift is None else summary.mean - as_tensor(shift)).to(device)
    only: Subset | None = data.partitions.only
    if only is None:
        relations = RelationInParts(relation, summary.targets, device, [data.partitions])
        G, of = relations.empty(), relations.of
    else:
        assert only.targets is not None
        G = make_relation(only.targets, relation)

    def related(subset: Subset) -> Related[Samples]:
        X: Any = subset.stored
        targets = subset.targets
        assert targets is not None
        if shift is None:
            X = as_tensor(X, device).to(summary.dtype)
        else:
            X = shifted(X.astype(str(summary.dtype).removeprefix("torch."), copy=False), shift)
        return Related(Samples(X, subset.weights, mean), lambda: G if only is not None else of(targets))

    shape = summary.n_samples, summary.shape[0]
    return Problem(data.partitions.map(related), shape, mean, summary.dtype, summary.stored_sparse, G)


def _contents(some: Related[Samples]) -> tuple[list, list, list]:
    return [some.samples.X], [some.samples.weights], [some.G.rows]


def _stacked(rows: list[Rows]) -> Rows:
    if all(isinstance(some, Tensor) for some in rows):
        return torch.cat(rows)
    return sparse.csr_array(sparse.vstack([some if sparse.issparse(some) else some.numpy() for some in rows]))


def _listed(some: tuple[list, ...], others: tuple[list, ...]) -> tuple[list, ...]:
    return tuple(a + b for a, b in zip(some, others, strict=True))


def _range(some: Related[Samples]) -> tuple[Tensor, Tensor]:
    """Least and largest value of each feature, 0 among them where a sparse row has no entry."""
    samples = some.samples
    X, n = samples.X, samples.shape[0]
    if not n:
        highest = torch.full((samples.shape[1],), torch.inf, dtype=torch.float64, device=samples.device)
        return highest, -highest
    if isinstance(X, Tensor):
        return X.amin(0).to(torch.float64), X.amax(0).to(torch.float64)
    low, high = (getattr(X, extreme)(axis=0).toarray().reshape(-1).astype(np.float64) for extreme in ("min", "max"))
    return as_tensor(low, samples.device), as_tensor(high, samples.device)


def _widened(some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.minimum(some[0], others[0]), torch.maximum(some[1], others[1])
