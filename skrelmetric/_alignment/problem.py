"""Samples in parts, of which alignment needs sums only."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skrelmetric._data.partitions import Collection, InMemory
from skrelmetric._data.samples import Rows, Samples, shifted
from skrelmetric._data.summary import Counted, surveyed
from skrelmetric._interop.torch import as_tensor
from skrelmetric.relations import Relation, RelationInParts

__all__ = ["Bound", "Parts", "Whole", "aligned_parts"]


class Bound:
    """Samples of a part, and the relation of their targets, which is made once it is asked for."""

    def __init__(self, samples: Samples, relation: Callable[[], Any]):
        self.samples, self._relation = samples, relation

    @cached_property
    def G(self) -> Any:
        """The relation."""
        return self._relation()


class Parts:
    """Samples and their relation in parts, all sums over which go over every part.

    Parameters
    ----------
    collection : Collection
        Of Bound parts.
    shape : tuple of int
        Numbers of samples and features.
    mean : Tensor of shape (n_features,)
        Weighted mean of the samples, float64.
    dtype : torch.dtype
        Dtype of the samples.
    stored_sparse : bool
        Whether they are sparse.
    G : Relation
        The relation of no samples, or any: its core is that of all.
    """

    def __init__(
        self,
        collection: Collection,
        shape: tuple[int, int],
        mean: Tensor,
        dtype: torch.dtype,
        stored_sparse: bool,
        G: Relation | None,
    ):
        self.collection, self.shape, self.mean = collection, shape, mean
        self.dtype, self.stored_sparse = dtype, stored_sparse
        self.G: Any = G

    def total(self, function: Callable[[Samples, Relation], Sequence[Tensor]]) -> list[Tensor]:
        """Sums over parts of the tensors that `function` makes of the samples and the relation of each."""
        return self.collection.total(lambda part: function(part.samples, part.G))

    def total_of_samples(self, function: Callable[[Samples], Sequence[Tensor]]) -> list[Tensor]:
        """Sums over parts of the tensors that `function` makes of the samples of each."""
        return self.collection.total(lambda part: function(part.samples))

    def quadratic(self) -> Tensor:
        """Z' P G P Z of shape (n_features, n_features), float64."""
        (sums,) = self.total(lambda samples, G: [G.sums(samples, samples.weights)])
        return sums.T @ self.G.core(sums)

    def varying(self) -> Tensor:
        """Mask of the features in which any two samples differ."""
        low, high = self.collection.fold(lambda part: _range(part.samples), _widened)
        return low < high

    def gathered(self) -> "Whole":
        """All samples in one part, which are few."""
        X, weights, targets = self.collection.fold(_contents, _listed)
        return Whole(Samples(_stacked(X), torch.cat(weights), self.mean), self.G.over(_stacked(targets)))

    def turned(self, rotation: Tensor) -> "Parts":
        """Samples with rows ``z @ rotation``."""
        turned = self.collection.map(lambda part: Bound(part.samples.turned(rotation), lambda: part.G))
        mean = self.mean.new_zeros(rotation.shape[1])
        return Parts(turned, (self.shape[0], rotation.shape[1]), mean, self.dtype, False, self.G)


class Whole(Parts):
    """Samples and their relation in memory, in a single part.

    Parameters
    ----------
    samples : Samples
        The samples.
    G : Relation or None, default=None
        Relation of their targets; principal coordinates need none.
    """

    def __init__(self, samples: Samples, G: Relation | None = None):
        self.samples = samples
        bound = InMemory([Bound(samples, lambda: G)])
        super().__init__(bound, samples.shape, samples.mean, samples.dtype, samples.stored_sparse, G)

    def quadratic(self) -> Tensor:
        return self.G.quadratic(self.samples, self.samples.weights)

    def varying(self) -> Tensor:
        return self.samples.varying()

    def gathered(self) -> "Whole":
        return self

    def turned(self, rotation: Tensor) -> "Whole":
        return Whole(self.samples.turned(rotation), self.G)


def aligned_parts(collection: Collection, relation: Any, device: torch.device) -> Parts:
    """Samples and their relation, from parts that were read one by one.

    Parameters
    ----------
    collection : Collection
        Of Counted parts, whose samples are rows of features.
    relation : str, callable or object
        As :class:`~skrelmetric.relations.RelationInParts` takes it.
    device : torch.device
        Where to compute.

    Returns
    -------
    Parts

    Raises
    ------
    ValueError
        If there are fewer than two samples that count, parts are of different kinds, or the targets do not suit the
        relation.
    """
    survey = surveyed(collection)
    relations = RelationInParts.across(relation, survey.targets, device, collection)
    assert survey.mean is not None
    shift = survey.shift if survey.stored_sparse else None
    mean = (survey.mean if shift is None else survey.mean - as_tensor(shift)).to(device)

    def bound(part: Counted) -> Bound:
        if shift is None:
            rows = as_tensor(part.X, device).to(survey.dtype)
        else:
            rows = shifted(part.X.astype(str(survey.dtype).removeprefix("torch."), copy=False), shift)
        return Bound(Samples(rows, survey.shares(part.weights).to(device), mean), lambda: relations.of(part.y))

    shape = survey.n_samples, survey.shape[0]
    return Parts(collection.map(bound), shape, mean, survey.dtype, survey.stored_sparse, relations.nothing())


def _contents(part: Bound) -> tuple[list, list, list]:
    return [part.samples.X], [part.samples.weights], [part.G.rows]


def _stacked(rows: list[Rows]) -> Rows:
    if all(isinstance(some, Tensor) for some in rows):
        return torch.cat(rows)
    return sparse.csr_array(sparse.vstack([some if sparse.issparse(some) else some.numpy() for some in rows]))


def _listed(some: tuple[list, ...], others: tuple[list, ...]) -> tuple[list, ...]:
    return tuple(a + b for a, b in zip(some, others, strict=True))


def _range(samples: Samples) -> tuple[Tensor, Tensor]:
    """Least and largest value of each feature, 0 among them where a sparse row has no entry."""
    X, n = samples.X, samples.shape[0]
    if not n:
        nothing = torch.full((samples.shape[1],), torch.inf, dtype=torch.float64, device=samples.device)
        return nothing, -nothing
    if isinstance(X, Tensor):
        return X.amin(0).to(torch.float64), X.amax(0).to(torch.float64)
    low, high = (getattr(X, extreme)(axis=0).toarray().reshape(-1).astype(np.float64) for extreme in ("min", "max"))
    return as_tensor(low, samples.device), as_tensor(high, samples.device)


def _widened(some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.minimum(some[0], others[0]), torch.maximum(some[1], others[1])
