"""Samples in parts, of which alignment needs sums only: in memory, in chunks, on Dask, in several processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skrelmetric._samples import Rows, Samples, shifted
from skrelmetric._targets import TargetSurvey
from skrelmetric._torch import as_tensor
from skrelmetric.distributed import Ranks
from skrelmetric.relations import Relation, RelationInParts

__all__ = [
    "Bound",
    "Collection",
    "Counted",
    "InMemory",
    "Lazy",
    "OnDask",
    "Parts",
    "Shared",
    "Survey",
    "Whole",
    "aligned_parts",
    "relation_in_parts",
    "shared",
    "surveyed",
]


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


class Collection(ABC):
    """Parts of samples, wherever they are: a function goes to them, and what it makes of them is merged."""

    in_memory = False
    """Whether the parts are kept in memory here."""

    @abstractmethod
    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        """What `function` makes of each part, merged from the first to the last."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any]) -> "Collection":
        """The parts that `function` makes of these."""

    @abstractmethod
    def placed(self, count: Callable[[Any], int], first: int = 0) -> "Collection":
        """Pairs of a place and a part: how many samples, from the first on, the parts before it have."""

    @abstractmethod
    def kept(self, folder: Path) -> "Collection":
        """The parts, made once and kept: in memory, in files of a folder, or by Dask. They are made of tensors."""

    def total(self, function: Callable[[Any], Sequence[Tensor]]) -> list[Tensor]:
        """Sums over parts of the tensors that `function` makes of each."""
        return self.fold(function, _added)

    def _places(self, count: Callable[[Any], int], first: int) -> list[int]:
        counts = self.fold(lambda part: [count(part)], list.__add__)
        return list(accumulate(counts[:-1], initial=first))


class InMemory(Collection):
    """Parts that are kept."""

    in_memory = True

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, map(function, self.parts))

    def map(self, function: Callable[[Any], Any]) -> "InMemory":
        return InMemory([function(part) for part in self.parts])

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "InMemory":
        return InMemory(list(zip(self._places(count, first), self.parts, strict=True)))

    def kept(self, folder: Path) -> "InMemory":
        return self


class Lazy(Collection):
    """Parts that are made anew each time that they are gone through, one at a time."""

    def __init__(self, parts: Iterable[Any], function: Callable[[Any], Any] = lambda part: part):
        self.parts, self.function = parts, function

    def __iter__(self) -> Iterator[Any]:
        return map(self.function, self.parts)

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, map(function, self))

    def map(self, function: Callable[[Any], Any]) -> "Lazy":
        return Lazy(self, function)

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "Lazy":
        return Lazy(_Zipped(self._places(count, first), self))

    def kept(self, folder: Path) -> "Lazy":
        paths = []
        for number, part in enumerate(self):
            paths.append(folder / f"{number}.pt")
            torch.save(part, paths[-1])
        return Lazy(paths, partial(torch.load, weights_only=False))


class _Zipped:
    """Pairs of the items of two iterables, which can be gone through again as they can."""

    def __init__(self, first: Iterable[Any], second: Iterable[Any]):
        self.first, self.second = first, second

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.first, self.second, strict=True)


class OnDask(Collection):
    """Parts that are Dask's, made anew each time unless they are persisted; only what is merged comes here."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = parts

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        import dask

        merged = [dask.delayed(function, pure=False)(part) for part in self.parts]
        merge = dask.delayed(merge, pure=True)
        while len(merged) > 1:  # a tree, of neighbours, so that the order is kept
            pairs = [merge(*merged[i : i + 2]) for i in range(0, len(merged) - 1, 2)]
            merged = pairs + merged[2 * len(pairs) :]
        return merged[0].compute()

    def map(self, function: Callable[[Any], Any]) -> "OnDask":
        import dask

        function = dask.delayed(function, pure=False)
        return OnDask([function(part) for part in self.parts])

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "OnDask":
        import dask

        pair = dask.delayed(lambda place, part: (place, part), pure=False)
        return OnDask([pair(*each) for each in zip(self._places(count, first), self.parts, strict=True)])

    def kept(self, folder: Path) -> "OnDask":
        import dask

        return OnDask(dask.persist(*self.parts))


class Shared(Collection):
    """The parts of all processes."""

    def __init__(self, own: Collection, ranks: Ranks):
        self.own, self.ranks, self.in_memory = own, ranks, own.in_memory

    def fold(self, function: Callable[[Any], Any], merge: Callable[[Any, Any], Any]) -> Any:
        return reduce(merge, self.ranks.gathered(self.own.fold(function, merge)))

    def map(self, function: Callable[[Any], Any]) -> "Shared":
        return Shared(self.own.map(function), self.ranks)

    def placed(self, count: Callable[[Any], int], first: int = 0) -> "Shared":
        before = self.ranks.gathered(self.own.fold(count, int.__add__))[: self.ranks.rank]
        return Shared(self.own.placed(count, first + sum(before)), self.ranks)

    def kept(self, folder: Path) -> "Shared":
        return Shared(self.own.kept(folder), self.ranks)

    def total(self, function: Callable[[Any], Sequence[Tensor]]) -> list[Tensor]:
        return self.ranks.total(self.own.total(function))


def shared(own: Collection, ranks: Ranks) -> Collection:
    """The parts of all processes, of which this one has its own."""
    return Shared(own, ranks) if ranks.size > 1 else own


def _added(some: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(some, others, strict=True)]


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
    relations = relation_in_parts(relation, survey, device, collection)
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


def relation_in_parts(relation: Any, survey: Survey, device: torch.device, *collections: Collection) -> RelationInParts:
    """The relation of all samples of some collections, with the distinct targets that it needs to know."""
    assert survey.targets is not None
    relations = RelationInParts(relation, survey.targets, device)
    if relations.sums_by_target:
        distinct = (
            collection.fold(lambda part: relations.distinct(part.y), relations.union) for collection in collections
        )
        relations = relations.knowing(reduce(relations.union, distinct))
    return relations


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
