"""What HRAML trains where samples come in parts: the same sums and gradients, part by part."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skrelmetric._alignment.loss import AllPairs, Moments, PairSums
from skrelmetric._alignment.problem import Bound, Parts
from skrelmetric._data.checks import take
from skrelmetric._data.partitions import Collection
from skrelmetric._data.samples import Rows, Samples
from skrelmetric._hraml.heads import Head, RidgeHead
from skrelmetric._hraml.objective import N_JUDGED, N_NEIGHBORS, Alignment, Schedule
from skrelmetric._search.device import TensorSearch
from skrelmetric._training.encode import Part, embed, encode, sum_gradients, take_gradients, trained_parameters
from skrelmetric._training.shards import Share, Shares, dense, relation_of
from skrelmetric.distributed import Ranks
from skrelmetric.relations import Relation

__all__ = ["AlignmentInParts"]

_LOOK = 256  # samples whose mean feature is the origin of the sums


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
        for chunk in self.schedule.chunks(share.n_samples):
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
        for chunk in self.schedule.chunks(share.n_samples):
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
    shares : Shares
        Training samples.
    G : Relation
        Relation of no samples, with the core of all.
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

    _moments: Moments | None
    _weights: Tensor | None
    _kept: Collection | None

    def __init__(
        self,
        encoder: nn.Module,
        head: Head,
        shares: Shares,
        G: Relation,
        look: Tensor,
        n_components: int,
        schedule: Schedule,
        ranks: Ranks,
        folder: Path,
    ):
        super().__init__(encoder, head, G, n_components, schedule)
        self.look = look[:_LOOK].to(G.device, self.dtype if look.is_floating_point() else None)
        self.ranks, self.folder, self.width = ranks, folder, len(self._origin())
        self.attend(shares)

    @property
    def weights(self) -> Tensor:
        if self._weights is None:
            self._weights = self.shares.weights(torch.arange(self.n_samples, device=self.G.device))
        return self._weights

    def attend(self, samples: Shares) -> None:
        self.shares, self.n_samples = samples, samples.n_samples
        self._moments = self._weights = None
        self.forget()

    def forget(self) -> None:
        self._kept = None

    def features(self) -> Collection:
        """Features, weights and rows of the relation of the training samples, for which an exact head is solved."""
        if self._kept is None:
            encoder, dtype, size, width = self.encoder, self.dtype, self.schedule.chunk_size, self.width
            self._kept = self.shares.collection.map(
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
            self._moments = self.shares.moments(self.G)
        shares, moments = self.shares, self._moments
        if batch is not None:
            shares = shares.among(batch.sort().values)
            moments = shares.moments(self.G, moments.mean_square)
        M, offset = self.head.M.detach(), float(self.head.offset.detach())
        whole = shares.collection.in_memory and self.schedule.chunk_size is None
        kept: dict[int, Tensor] | None = {} if whole else None
        step = _Step(self.encoder, self.schedule, self.dtype, moments, M, offset, self._origin(), seed, kept)
        sums, totals = self._sums(shares, step)
        loss = sums.loss()
        penalty, pull = self.head.penalty(sums.variance)
        take_gradients(self.encoder, shares.collection.total(lambda share: step.gradients(share, totals, pull)))
        self.head.accept(loss)
        return loss.value + penalty

    def _sums(self, shares: Shares, step: _Step) -> tuple[PairSums, list[Tensor]]:
        """Sums over all shares, as the loss and as they go to each share again."""
        totals = shares.collection.total(lambda share: step.sums(share).totals)
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

        Z = self.shares.rows(samples, features, self.width).requires_grad_()
        G = relation_of(self.G, self.shares.relation_rows(samples, self.G))
        total, value = self._sampled_loss(Z[where], G.pairs(*where.split(len(i))))
        total.backward()
        if own and own["z"].requires_grad:
            assert Z.grad is not None
            own["z"].backward(Z.grad[own["here"]].to(own["z"].dtype))
        sum_gradients(self.encoder, self.ranks)
        return value

    def neighbour_error(self, validation: Shares) -> float:
        features, G = self.features(), self.G
        layer = self.head.layer(self.n_components, self.dtype)
        encoder, dtype, size, width = self.encoder, self.dtype, self.schedule.chunk_size, self.width

        def embedded(share: Share, index: Tensor) -> Tensor:
            return layer(_embedded(encoder, share.some(index, 0).part, dtype, size, width))

        with torch.no_grad():
            places = torch.arange(0, validation.n_samples, -(-validation.n_samples // N_JUDGED), device=G.device)
            judged = validation.rows(places, embedded, self.n_components).to(dtype)
            rows, weights = validation.relation_rows(places, G), validation.weights(places)

            def nearest(some: tuple[Tensor, Tensor, Rows]) -> tuple[Tensor, Tensor]:
                return _nearest(layer(some[0]), G.over(some[2]), judged, rows)

            _, relations = features.fold(nearest, _nearer)
        return float(weights @ relations.mean(1) / weights.sum())

    def alignment_error(self, validation: Shares) -> float:
        self.solve()
        moments = validation.moments(self.G)
        M, offset = self.head.M.detach(), float(self.head.offset.detach())
        step = _Step(self.encoder, self.schedule, self.dtype, moments, M, offset, self._origin(), 0)
        return self._sums(validation, step)[0].loss().value


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
    neighbours = relation_of(G, torch.cat([rows, dense(take(G.rows, nearest.reshape(-1))).to(rows)]))
    relations = neighbours.pairs(places, len(judged) + torch.arange(len(places), device=judged.device))
    return distances, relations.to(torch.float64).reshape(-1, k)


def _nearer(some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The nearest among those of two shares, equal ones in their order."""
    distances, relations = (torch.cat(pair, 1) for pair in zip(some, others, strict=True))
    order = distances.sort(dim=1, stable=True).indices[:, :N_NEIGHBORS]
    return distances.gather(1, order), relations.gather(1, order)
