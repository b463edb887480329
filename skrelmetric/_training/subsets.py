"""Subsets of the samples of all partitions, with the relation of their targets."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrelmetric._alignment.loss import RelationMoments
from skrelmetric._alignment.problem import Related
from skrelmetric._data.partitions import InMemory, Partitions
from skrelmetric._data.read import Data
from skrelmetric._data.samples import Rows, dense, take
from skrelmetric._data.subset import Subset
from skrelmetric._data.summary import Summary
from skrelmetric._data.targets import Targets, TargetSummary
from skrelmetric._training.validation import hold_out
from skrelmetric.relations import Relation, RelationInParts, make_relation, relation_name

__all__ = ["Subsets", "landmark_places", "landmarks", "related"]

_N_LANDMARKS = 2000
_FEW = 2048  # samples whose pairs stand for all where a mean over these has no sum over samples


class Subsets(NamedTuple):
    """Some of the samples of all partitions, and the relation of their targets.

    Attributes
    ----------
    partitions : Partitions
        Of Related subsets, whose weights sum to 1 over all.
    n_samples : int
        Number of samples of all.
    G : Relation
        Relation of these samples where they are in memory, and otherwise of any samples, with the core of all.
    """

    partitions: Partitions
    n_samples: int
    G: Relation

    def among(self, places: Tensor) -> "Subsets":
        """Chosen samples, by their places in ascending order; they weigh what they weigh among each other."""
        return self._chosen(places, lambda G, index: G.over(take(G.rows, index)))

    def split(self, fraction: float, *, fewest: int, seed: int) -> list["Subsets"]:
        """Training samples, and a fraction that is held out: at least one, and not fewer than can be judged by."""
        places = hold_out(self.n_samples, fraction, least=1, fewest=fewest, seed=seed, unit="samples")
        return [self.among(some.to(self.G.device)) for some in places]

    def batch(self, places: Tensor) -> "Subsets":
        """The same for a step, whose relation, where it is in memory, has a core of its own."""
        return self._chosen(places, lambda G, index: G[index])

    def _chosen(self, places: Tensor, relation: Callable[[Relation, Tensor], Relation]) -> "Subsets":
        def weight(some: Related[Subset]) -> list[Tensor]:
            samples = some.samples
            return [samples.weights[places[samples.here(places)] - samples.start].sum()]

        (total,) = self.partitions.total(weight)
        factor = 1 / float(total)

        def chosen(some: Related[Subset]) -> Related[Subset]:
            here = some.samples.here(places)
            index = places[here] - some.samples.start
            return Related(some.samples.some(index, factor, here.start), lambda: relation(some.G, index))

        partitions = self.partitions.map(chosen)
        return Subsets(partitions, len(places), self.G if partitions.only is None else partitions.only.G)

    def rows(self, places: Tensor, rows_of: Callable[[Related[Subset], Tensor], Rows], width: int) -> Tensor:
        """Rows of some samples, of shape (n_places, width), in float64, by their places in ascending order.

        ``rows_of(some, index)`` gives those of some samples of a partition, as a tensor or csr_array.
        """
        return _gathered(self.partitions, places, lambda some: some.samples, rows_of, width)

    def weights(self, places: Tensor) -> Tensor:
        """Weights of some samples, of shape (n_places,)."""
        if self.partitions.only is not None:
            return self.partitions.only.samples.weights[places]
        return self.rows(places, lambda some, index: some.samples.weights[index][:, None], 1)[:, 0]

    def relation_rows(self, places: Tensor) -> Rows:
        """Rows of the relation of some samples, with the core of all."""
        if self.partitions.only is not None:
            return take(self.partitions.only.G.rows, places)
        return self.rows(places, lambda some, index: take(some.G.rows, index), self.G.rows.shape[1])

    def relation(self, places: Tensor) -> Relation:
        """Relation of some samples, with the core of all."""
        rows = self.relation_rows(places)
        return self.G.over(rows.to(self.G.rows.dtype) if isinstance(self.G.rows, Tensor) else rows)

    def moments(self, mean_square: float | None = None) -> RelationMoments:
        """Moments of the relation, whose mean square may be known."""
        only = self.partitions.only
        if only is not None and mean_square is None:
            return RelationMoments.of(only.G, only.samples.weights)
        (sums,) = self.partitions.total(lambda some: [some.G.collect(some.samples.weights[:, None])])
        core = self.G.core(sums)
        if mean_square is None:
            places = torch.arange(0, self.n_samples, -(-self.n_samples // _FEW))
            weights = self.weights(places)
            mean_square = float(self.relation(places).mean_square(weights / weights.sum()))
        return RelationMoments(core, float((sums * core).sum()), mean_square)


def landmarks(data: Data, seed: int, most: int | None = None) -> tuple[Subset, torch.Generator]:
    """Samples that an encoder is chosen from, all or two thousand of many; and what it draws with.

    They are in memory unless all samples are of one data set. Encoders that are not chosen need fewer, at `most`.
    """
    generator = torch.Generator().manual_seed(seed)
    places, only = landmark_places(data, generator, most), data.partitions.only
    if only is not None and len(places) == data.summary.n_samples:
        return only, generator
    return _read_some(data, places), generator


def landmark_places(data: Data, generator: torch.Generator, most: int | None = None) -> Tensor:
    """Places of the samples that an encoder is chosen from, in ascending order."""
    n, most = data.summary.n_samples, most or _N_LANDMARKS
    return torch.arange(n) if n <= most else torch.randperm(n, generator=generator)[:most].sort().values


def _read_some(data: Data, places: Tensor) -> Subset:
    """Some samples of all partitions; they weigh what they weigh among each other."""
    only, summary = data.partitions.only, data.summary
    if only is not None:
        some = only.some(places.to(data.device))
        return some._replace(weights=some.weights / some.weights.sum())

    def read(samples: Subset, index: Tensor) -> Tensor:
        return samples.read(index.to(samples.weights.device), summary.dtype).reshape(len(index), -1)

    def weigh(samples: Subset, index: Tensor) -> Tensor:
        return samples.weights[index][:, None]

    rows = _gathered(data.partitions, places, lambda samples: samples, read, math.prod(summary.shape))
    weights = _gathered(data.partitions, places, lambda samples: samples, weigh, 1)[:, 0]
    return Subset(rows.to(summary.dtype).reshape(-1, *summary.shape), None, weights / weights.sum(), None)


def _gathered(
    partitions: Partitions, places: Tensor, samples_of: Callable[[Any], Subset], rows_of: Callable, width: int
) -> Tensor:
    """Rows of the samples at some places of all partitions, as :meth:`Subsets.rows` gives them."""

    def filled(some: Any) -> list[Tensor]:
        samples = samples_of(some)
        rows = torch.zeros((len(places), width), dtype=torch.float64, device=samples.weights.device)
        here = samples.here(places)
        if here.start < here.stop:
            rows[here] = dense(rows_of(some, places[here] - samples.start)).to(rows.device, torch.float64)
        return [rows]

    return partitions.total(filled)[0]


def related(relation: Any, data: Data, *others: Data) -> tuple[Any, list[Subsets]]:
    """Relation of all samples of some data, "auto" resolved, and the samples of each with it.

    Raises
    ------
    ValueError
        If the targets do not suit the relation, or one another.
    """
    every = (data, *others)
    auto = isinstance(relation, str) and relation == "auto"
    if data.partitions.only is None:
        summary = reduce(TargetSummary.merged, (_target_summary(each.summary) for each in every))
        relations = RelationInParts(relation, summary, data.device, [each.partitions for each in every])

        def of_partition(samples: Subset) -> Related[Subset]:
            assert samples.targets is not None
            targets = samples.targets
            return Related(samples, lambda: relations.of(targets))

        G = relations.empty()
        found = [Subsets(each.partitions.map(of_partition), each.summary.n_samples, G) for each in every]
        return relations.name if auto else relation, found
    targets = reduce(Targets.stacked, (each.targets for each in every))
    G = make_relation(targets, relation)
    found, start = [], 0
    for each in every:
        own = G.over(G.rows[start : start + each.summary.n_samples]) if others else G
        found.append(_in_memory(each.partitions.only, own))
        start += each.summary.n_samples
    return relation_name(targets) if auto else relation, found


def _in_memory(samples: Subset, G: Relation) -> Subsets:
    return Subsets(InMemory([Related(samples, lambda: G)]), samples.n_samples, G)


def _target_summary(summary: Summary) -> TargetSummary:
    assert summary.targets is not None
    return summary.targets
