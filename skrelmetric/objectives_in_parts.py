"""What HRAML trains where samples come in parts: the same sums and gradients, part by part."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn

from skrelmetric._inputs import take
from skrelmetric._samples import Rows, Samples
from skrelmetric._tensor_search import TensorSearch
from skrelmetric._torch import as_tensor
from skrelmetric.distributed import Ranks
from skrelmetric.heads import Head, RidgeHead
from skrelmetric.objectives import (
    N_JUDGED,
    N_NEIGHBORS,
    Alignment,
    Part,
    Schedule,
    dtype_of,
    embed,
    encode,
    sum_gradients,
    take_gradients,
    trained_parameters,
)
from skrelmetric.parts import Bound, Collection, Counted, Parts, Survey
from skrelmetric.relation_loss import AllPairs, Moments, PairSums
from skrelmetric.relations import Relation, RelationInParts

__all__ = ["AlignmentInParts", "Share", "part_at", "rows_at", "shares_among", "shares_of", "weights_at"]

_FEW = 2048  # samples whose pairs stand for all where a mean over these has no sum over samples
_LOOK = 256  # samples whose mean feature is the origin of the sums


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
        return Share(start, part, self.G.over(relation_rows(self, index)))


def shares_of(
    collection: Collection, survey: Survey, relations: RelationInParts | None, device: torch.device
) -> Collection:
    """Shares of samples that were surveyed, with the relation that they have in common, if they need one."""

    def bound(placed: tuple[int, Counted]) -> Share:
        start, (X, y, weights) = placed
        weights = survey.shares(weights).to(device)
        part = Part(X, None, weights, torch.arange(len(weights), device=device))
        return Share(start, part, relations and relations.of(y))

    return collection.placed(lambda part: len(part.weights)).map(bound)


def part_at(shares: Collection, places: Tensor, survey: Survey) -> Part:
    """Some of the samples, wherever they are, in memory; they weigh what they weigh among each other."""

    def read(share: Share, index: Tensor) -> Tensor:
        return share.part.read(index.to(share.part.weights.device), survey.dtype).reshape(len(index), -1)

    rows = rows_at(shares, places, read, math.prod(survey.shape))
    weights = weights_at(shares, places)
    X = rows.to(survey.dtype).reshape(-1, *survey.shape)
    return Part(X, None, weights / weights.sum(), torch.arange(len(places), device=weights.device))


def rows_at(shares: Collection, places: Tensor, rows_of: Callable[[Share, Tensor], Rows], width: int) -> Tensor:
    """Rows of some samples, wherever they are, of shape (n_places, width), in float64.

    Parameters
    ----------
    shares : Collection
        Of shares.
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
            rows[here] = _dense(found).to(rows.device, torch.float64)
        return [rows]

    return shares.total(filled)[0]


def weights_at(shares: Collection, places: Tensor) -> Tensor:
    """Weights of some samples, wherever they are, of shape (n_places,)."""
    return rows_at(shares, places, lambda share, index: share.part.weights[index][:, None], 1)[:, 0]


def relation_rows(share: Share, index: Tensor) -> Rows:
    """Rows of the relation of some samples."""
    return take(share.G.rows, index)  # G[index] may have another core


def relation_of(G: Relation, rows: Tensor) -> Relation:
    """Relation of samples whose rows were brought together, with the core of `G`."""
    return G.over(rows.to(G.rows.dtype) if isinstance(G.rows, Tensor) else rows)


def moments_of(shares: Collection, G: Relation, n_samples: int, mean_square: float | None = None) -> Moments:
    """What the loss needs of the relation of all samples.

    Parameters
    ----------
    shares : Collection
        Of shares.
    G : Relation
        Relation of no samples, with the same core.
    n_samples : int
        Number of samples.
    mean_square : float or None, default=None
        Mean of its square, where it is known.

    Returns
    -------
    Moments
    """
    (sums,) = shares.total(lambda share: [share.G.collect(share.part.weights[:, None])])
    core = G.core(sums)
    if mean_square is None:
        places = torch.arange(0, n_samples, -(-n_samples // _FEW))
        few = relation_of(G, rows_at(shares, places, relation_rows, G.rows.shape[1]))
        weights = weights_at(shares, places)
        mean_square = float(few.mean_square(weights / weights.sum()))
    return Moments(core, float((sums * core).sum()), mean_square)


class _Step(NamedTuple):
    """One step over all pairs of samples, as it goes to their shares."""

    encoder: nn.Module
    schedule: Schedule
    dtype: torch.dtype
    moments: Moments
    M: Tensor
    offset: float
    origin: Tensor
    seed: int
    kept: dict[int, Tensor] | None = None  # features of each share, where one pass of the encoder serves both

    def sums(self, share: Share) -> PairSums:
        """Sums of a share."""
        sums = self._pairs(share)
        for chunk in self._chunks(share):
            with torch.set_grad_enabled(self.kept is not None):
                z = self._features(share, chunk)
            sums.add(z.detach(), chunk)
            if self.kept is not None:
                self.kept[share.start] = z
        return sums

    def gradients(self, share: Share, totals: list[Tensor], pull: float) -> list[Tensor]:
        """Derivatives of the loss by the parameters of the encoder, as far as they come from a share."""
        trained = trained_parameters(self.encoder)
        gradients = [torch.zeros_like(p) for p in trained]
        sums = self._pairs(share)
        sums.totals = totals
        sums.loss()
        for chunk in self._chunks(share):
            z = self._features(share, chunk) if self.kept is None else self.kept.pop(share.start)
            by_features = sums.gradient(z.detach(), chunk)
            if pull:
                by_features += pull * share.part.weights[chunk, None] * (z.detach() - sums.mean)
            if z.requires_grad:
                # Nothing is written to the parameters, which shares of other threads may read.
                parts = torch.autograd.grad(z, trained, by_features, allow_unused=True)
                for gradient, part in zip(gradients, parts, strict=True):
                    gradient += 0 if part is None else part
        return gradients

    def _pairs(self, share: Share) -> PairSums:
        pairs = AllPairs(share.G, share.part.weights, moments=self.moments)
        return pairs.of(self.M, self.offset, self.origin)

    def _chunks(self, share: Share) -> list[slice]:
        n = share.n_samples
        return list(gen_batches(n, min(self.schedule.chunk_size or n, n))) if n else []

    def _features(self, share: Share, chunk: slice) -> Tensor:
        seed = self.seed + share.start + chunk.start
        mixed = self.schedule.mixed_precision
        return encode(self.encoder, share.part.read(chunk, self.dtype), self.dtype, seed, mixed)


class AlignmentInParts(Alignment):
    """Encoder and head, and samples in parts that they are aligned on.

    Parameters
    ----------
    encoder : nn.Module
        Maps samples to features of shape (n, width).
    head : Head
        Distance of features.
    shares : Collection
        Training samples, as shares.
    G : Relation
        Relation of no samples, with the core of all.
    n_samples : int
        Number of training samples.
    look : Tensor
        A few samples, the same everywhere.
    n_components : int
        Dimension of the embedding that neighbours are searched in.
    schedule : Schedule
        How an epoch goes. Batches and drawn pairs need the samples of each process in memory.
    ranks : Ranks
        Processes that the shares are of.
    folder : Path
        Where features are kept that do not stay in memory.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: Head,
        shares: Collection,
        G: Relation,
        n_samples: int,
        look: Tensor,
        n_components: int,
        schedule: Schedule,
        ranks: Ranks,
        folder: Path,
    ):
        nn.Module.__init__(self)
        self.encoder, self.head, self.n_components = encoder, head, n_components
        self.G, self.schedule, self.dtype = G, schedule, dtype_of(encoder)
        self.look = look[:_LOOK].to(G.device, self.dtype if look.is_floating_point() else None)
        self.ranks, self.folder, self.width = ranks, folder, len(self._origin())
        self.attend_to(shares, n_samples)

    def attend_to(self, shares: Collection, n_samples: int) -> None:
        """Go on with other samples."""
        self.shares, self.n_samples = shares, n_samples
        self._moments: Moments | None = None
        self._weights: Tensor | None = None
        self._kept: Collection | None = None

    def forget(self) -> None:
        self._kept = None

    @property
    def weights(self) -> Tensor:
        if self._weights is None:
            self._weights = weights_at(self.shares, torch.arange(self.n_samples, device=self.G.device))
        return self._weights

    def features(self) -> Any:
        """Collection of the features, weights and rows of the relation of the training samples."""
        if self._kept is None:
            encoder, dtype, size, width = self.encoder, self.dtype, self.schedule.chunk_size, self.width
            self._kept = self.shares.map(
                lambda share: (_embedded(encoder, share.part, dtype, size, width), share.part.weights, share.G.rows)
            ).kept(self.folder)
            if isinstance(self.head, RidgeHead):
                self.head.align(self._parts(self._kept))
        return self._kept

    def _parts(self, features: Collection) -> Parts:
        origin, G = self._origin(), self.G
        (deviation,) = features.total(lambda some: [some[1] @ (some[0].to(torch.float64) - origin)])
        mean = origin + deviation

        def bound(some: tuple[Tensor, Tensor, Rows]) -> Bound:
            return Bound(Samples(some[0], some[1], mean), lambda: G.over(some[2]))

        return Parts(features.map(bound), (self.n_samples, len(mean)), mean, self.dtype, False, G)

    def solve(self) -> None:
        if self.head.exact:
            self.features()

    def _origin(self) -> Tensor:
        """Mean feature of a few samples, the same everywhere."""
        training = self.encoder.training
        self.encoder.eval()
        with torch.no_grad():
            origin = self.encoder(self.look).to(torch.float64).mean(0)
        self.encoder.train(training)
        return origin

    def _backward_all(self, batch: Tensor | None, seed: int) -> float:
        if self._moments is None:
            self._moments = moments_of(self.shares, self.G, self.n_samples)
        shares, moments = self.shares, self._moments
        if batch is not None:
            shares = shares_among(shares, batch.sort().values)
            moments = moments_of(shares, self.G, len(batch), moments.mean_square)
        M, offset = self.head.M.detach(), float(self.head.offset.detach())
        kept: dict[int, Tensor] | None = {} if shares.in_memory and self.schedule.chunk_size is None else None
        step = _Step(self.encoder, self.schedule, self.dtype, moments, M, offset, self._origin(), seed, kept)
        sums, totals = self._sums(shares, step)
        loss = sums.loss()
        penalty, pull = self.head.penalty(sums.variance)
        take_gradients(self.encoder, shares.total(lambda share: step.gradients(share, totals, pull)))
        self.head.accept(loss)
        return loss.value + penalty

    def _sums(self, shares: Collection, step: _Step) -> tuple[PairSums, list[Tensor]]:
        """Sums over all shares, as the loss and as they go to each share again."""
        totals = shares.total(lambda share: step.sums(share).totals)
        sums = AllPairs(self.G, step.M.new_zeros(0), moments=step.moments).of(step.M, step.offset, step.origin)
        sums.totals = totals
        return sums, totals

    def _backward_sampled(self, i: Tensor, j: Tensor, seed: int) -> float:
        samples, where = torch.cat([i, j]).unique(return_inverse=True)
        own: dict[str, Any] = {}

        def features(share: Share, index: Tensor) -> Tensor:
            x = share.part.read(index, self.dtype)
            own["z"] = encode(self.encoder, x, self.dtype, seed + share.start, self.schedule.mixed_precision)
            own["here"] = share.of(samples)
            return own["z"].detach()

        Z = rows_at(self.shares, samples, features, self.width).requires_grad_()
        G = relation_of(self.G, rows_at(self.shares, samples, relation_rows, self.G.rows.shape[1]))
        total, value = self._sampled_loss(Z[where], G.pairs(*where.split(len(i))))
        total.backward()
        if own and own["z"].requires_grad:
            assert Z.grad is not None
            own["z"].backward(Z.grad[own["here"]].to(own["z"].dtype))
        sum_gradients(self.encoder, self.ranks)
        return value

    def neighbour_error(self, validation: Any) -> float:
        """Mean relation of validation samples to their nearest training samples.

        Parameters
        ----------
        validation : tuple of Collection and int
            Shares of the validation samples, and their number.
        """
        shares, n = validation
        features, G = self.features(), self.G
        layer = self.head.layer(self.n_components, self.dtype)
        encoder, dtype, size, width = self.encoder, self.dtype, self.schedule.chunk_size, self.width

        def embedded(share: Share, index: Tensor) -> Tensor:
            return layer(_embedded(encoder, share.some(index, 0).part, dtype, size, width))

        with torch.no_grad():
            places = torch.arange(0, n, -(-n // N_JUDGED), device=G.device)
            judged = rows_at(shares, places, embedded, self.n_components).to(dtype)
            rows, weights = rows_at(shares, places, relation_rows, G.rows.shape[1]), weights_at(shares, places)

            def nearest(some: tuple[Tensor, Tensor, Rows]) -> tuple[Tensor, Tensor]:
                return _nearest(layer(some[0]), G.over(some[2]), judged, rows)

            _, relations = features.fold(nearest, _nearer)
        return float(weights @ relations.mean(1) / weights.sum())

    def alignment_error(self, validation: Any) -> float:
        """Alignment loss over all pairs of validation samples, of which there are shares, and a number."""
        self.solve()
        shares, n = validation
        moments = moments_of(shares, self.G, n)
        M, offset = self.head.M.detach(), float(self.head.offset.detach())
        step = _Step(self.encoder, self.schedule, self.dtype, moments, M, offset, self._origin(), 0)
        return self._sums(shares, step)[0].loss().value


def shares_among(shares: Collection, chosen: Tensor) -> Collection:
    """Shares of chosen samples, whose places are given in order; they weigh what they weigh among each other."""
    (weight,) = shares.total(lambda share: [share.part.weights[chosen[share.of(chosen)] - share.start].sum()])
    return shares.map(lambda share: _among(share, chosen, 1 / float(weight)))


def _among(share: Share, chosen: Tensor, factor: float) -> Share:
    here = share.of(chosen)
    return share.some(chosen[here] - share.start, here.start, factor)


def _embedded(encoder: nn.Module, part: Part, dtype: torch.dtype, size: int | None, width: int) -> Tensor:
    if not part.n_samples:
        return torch.zeros((0, width), dtype=dtype, device=part.weights.device)
    return embed(encoder, part, dtype, size)


def _nearest(embedding: Tensor, G: Relation, judged: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances and relations of judged samples to their nearest of a share, of shape (n_judged, k)."""
    k = min(N_NEIGHBORS, len(embedding))
    if not k:
        nothing = judged.new_zeros((len(judged), 0), dtype=torch.float64)
        return nothing, nothing
    nearest = TensorSearch(embedding).nearest(judged, k)
    distances = (embedding[nearest] - judged[:, None]).to(torch.float64).square().sum(2)
    places = torch.arange(len(judged), device=judged.device).repeat_interleave(k)
    neighbours = relation_of(G, torch.cat([rows, _dense(take(G.rows, nearest.reshape(-1))).to(rows)]))
    relations = neighbours.pairs(places, len(judged) + torch.arange(len(places), device=judged.device))
    return distances, relations.to(torch.float64).reshape(-1, k)


def _nearer(some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The nearest among those of two shares, equal ones in their order."""
    distances, relations = (torch.cat(pair, 1) for pair in zip(some, others, strict=True))
    order = distances.sort(dim=1, stable=True).indices[:, :N_NEIGHBORS]
    return distances.gather(1, order), relations.gather(1, order)


def _dense(rows: Rows) -> Tensor:
    return rows if isinstance(rows, Tensor) else as_tensor(rows.toarray())
