"""Samples that come in parts, with the relation that their targets have in common."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from skrelmetric._alignment.loss import Moments
from skrelmetric._data.checks import take
from skrelmetric._data.partitions import Collection
from skrelmetric._data.samples import Rows
from skrelmetric._data.summary import Counted, Survey
from skrelmetric._interop.torch import as_tensor
from skrelmetric._training.encode import Part
from skrelmetric.relations import Relation, RelationInParts

__all__ = ["Share", "Shares", "dense", "relation_of"]

_FEW = 2048  # samples whose pairs stand for all where a mean over these has no sum over samples


class Share(NamedTuple):
    """Some of the samples, the relation of their targets, and how many samples there are before them.

    The weights of the samples of all shares sum to 1.
    """

    start: int
    part: Part
    G: Any

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.part.n_samples

    def of(self, places: Tensor) -> slice:
        """Which of the places among all samples, in ascending order, are of these."""
        ends = torch.tensor([self.start, self.start + self.n_samples], device=places.device)
        return slice(*torch.searchsorted(places, ends).tolist())

    def some(self, index: Tensor, start: int, factor: float = 1.0) -> "Share":
        """Some of the samples, whose weights are multiplied by a factor."""
        rows = index if self.part.rows is None else self.part.rows[index]
        part = Part(self.part.X, rows, factor * self.part.weights[index], torch.arange(len(index), device=index.device))
        return Share(start, part, self.G.over(self.relation_rows(index)))

    def relation_rows(self, index: Tensor) -> Rows:
        """Rows of the relation of some samples."""
        return take(self.G.rows, index)  # G[index] may have another core


class Shares(NamedTuple):
    """Shares of some samples, wherever they are.

    Attributes
    ----------
    collection : Collection
        Of Share.
    n_samples : int
        Number of samples of all.
    """

    collection: Collection
    n_samples: int

    @classmethod
    def of(
        cls, collection: Collection, survey: Survey, relations: RelationInParts | None, device: torch.device
    ) -> Self:
        """Shares of samples that were surveyed, with the relation that they have in common, if they need one."""

        def bound(placed: tuple[int, Counted]) -> Share:
            start, (X, y, weights) = placed
            weights = survey.shares(weights).to(device)
            part = Part(X, None, weights, torch.arange(len(weights), device=device))
            return Share(start, part, relations and relations.of(y))

        return cls(collection.placed(lambda part: len(part.weights)).map(bound), survey.n_samples)

    def among(self, chosen: Tensor) -> "Shares":
        """Shares of chosen samples, whose places are given in order; they weigh what they weigh among each other."""

        def weight(share: Share) -> list[Tensor]:
            return [share.part.weights[chosen[share.of(chosen)] - share.start].sum()]

        (total,) = self.collection.total(weight)
        factor = 1 / float(total)

        def among(share: Share) -> Share:
            here = share.of(chosen)
            return share.some(chosen[here] - share.start, here.start, factor)

        return Shares(self.collection.map(among), len(chosen))

    def rows(self, places: Tensor, rows_of: Callable[[Share, Tensor], Rows], width: int) -> Tensor:
        """Rows of some samples, of shape (n_places, width), in float64.

        Parameters
        ----------
        places : Tensor of int64 of shape (n_places,)
            Places of the samples among all, in ascending order.
        rows_of : callable
            ``rows_of(share, index)`` gives rows of some samples of a share, as a tensor or csr_array.
        width : int
            Number of their columns.
        """

        def filled(share: Share) -> list[Tensor]:
            rows = torch.zeros((len(places), width), dtype=torch.float64, device=share.part.weights.device)
            here = share.of(places)
            if here.start < here.stop:
                found = rows_of(share, places[here] - share.start)
                rows[here] = dense(found).to(rows.device, torch.float64)
            return [rows]

        return self.collection.total(filled)[0]

    def weights(self, places: Tensor) -> Tensor:
        """Weights of some samples, of shape (n_places,)."""
        return self.rows(places, lambda share, index: share.part.weights[index][:, None], 1)[:, 0]

    def relation_rows(self, places: Tensor, G: Relation) -> Tensor:
        """Rows of the relation of some samples, for any relation with the core of all."""
        return self.rows(places, Share.relation_rows, G.rows.shape[1])

    def part(self, places: Tensor, survey: Survey) -> Part:
        """Some of the samples in memory; they weigh what they weigh among each other."""

        def read(share: Share, index: Tensor) -> Tensor:
            return share.part.read(index.to(share.part.weights.device), survey.dtype).reshape(len(index), -1)

        rows, weights = self.rows(places, read, math.prod(survey.shape)), self.weights(places)
        X = rows.to(survey.dtype).reshape(-1, *survey.shape)
        return Part(X, None, weights / weights.sum(), torch.arange(len(places), device=weights.device))

    def moments(self, G: Relation, mean_square: float | None = None) -> Moments:
        """What the loss needs of the relation of all samples.

        Parameters
        ----------
        G : Relation
            Relation of no samples, with the core of all.
        mean_square : float or None, default=None
            Mean of its square, where it is known.

        Returns
        -------
        Moments
        """
        (sums,) = self.collection.total(lambda share: [share.G.collect(share.part.weights[:, None])])
        core = G.core(sums)
        if mean_square is None:
            places = torch.arange(0, self.n_samples, -(-self.n_samples // _FEW))
            few, weights = relation_of(G, self.relation_rows(places, G)), self.weights(places)
            mean_square = float(few.mean_square(weights / weights.sum()))
        return Moments(core, float((sums * core).sum()), mean_square)


def relation_of(G: Relation, rows: Tensor) -> Relation:
    """Relation of samples whose rows were brought together, with the core of `G`."""
    return G.over(rows.to(G.rows.dtype) if isinstance(G.rows, Tensor) else rows)


def dense(rows: Rows) -> Tensor:
    """Rows as a tensor."""
    return rows if isinstance(rows, Tensor) else as_tensor(rows.toarray())
