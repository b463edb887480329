"""Objective of HRAML: an encoder and a head on samples, with three ways to see their pairs."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._alignment.loss import (
    AllPairs,
    Distance,
    PairLoss,
    PairSums,
    RelationMoments,
    pair_loss,
    sampled_pairs,
)
from skrelmetric._alignment.problem import Problem, Related
from skrelmetric._data.loaded import Loaded
from skrelmetric._data.partitions import Partitions
from skrelmetric._data.samples import Samples
from skrelmetric._data.subset import Subset
from skrelmetric._hraml.heads import Head
from skrelmetric._hraml.neighbours import Ballots, Vote, squares, vote_loss
from skrelmetric._interop.randomness import seed_of
from skrelmetric._interop.torch import as_tensor
from skrelmetric._training.batches import shuffled
from skrelmetric._training.encode import dtype_of, embed, encode
from skrelmetric._training.shards import features_at, set_gradients, sum_gradients, trained_parameters
from skrelmetric._training.subsets import Subsets
from skrelmetric._training.validation import Features, judged_places, relation_to_neighbours

__all__ = ["N_FOR_ORIGIN", "Objective", "Schedule"]

N_FOR_ORIGIN = 256  # samples whose mean feature is the origin of sums over several partitions
_FEWEST_HALVED = 4  # samples of which one half can vote on itself


class Schedule(NamedTuple):
    """Way of an epoch through the pairs.

    Attributes
    ----------
    n_pairs : int or None
        Number of pairs that an epoch draws; None takes all pairs of each batch of samples.
    batch_size : int or None
        Samples, or drawn pairs, in a step; None puts all into one.
    chunk_size : int or None
        Most samples that the encoder takes at once; None is no limit.
    hard_fraction : float
        Fraction of the drawn pairs of a step, those with the largest errors, that count.
    weight_decay : float
        Weight lambda of the squared weights and biases in the loss (HRAML, Eq. 5).
    mixed_precision : bool
        Whether the encoder computes in bfloat16 where that is safe.
    seed : int
        Seed of all that is drawn.
    loss : {"relation", "neighbors"}, default="relation"
        What is descended: the loss of alignment, or that of the soft votes of the samples of a step.
    """

    n_pairs: int | None
    batch_size: int | None
    chunk_size: int | None
    hard_fraction: float
    weight_decay: float
    mixed_precision: bool
    seed: int
    loss: str = "relation"

    def check(self, exact: bool, *, steady: bool, draws: bool) -> None:
        """Refuse a way that is at odds with itself, or with what it is for.

        That is a head that is solved for exactly, an optimiser that needs a steady loss, an encoder that draws.

        Raises
        ------
        ValueError
            If it is.
        """
        if self.loss == "neighbors" and (self.n_pairs is not None or self.hard_fraction < 1 or self.chunk_size):
            raise ValueError(
                "loss='neighbors' predicts each sample of a step by all the others, but "
                f"pairs={self.n_pairs or 'all'!r}, hard_fraction={self.hard_fraction} and "
                f"chunk_size={self.chunk_size}. "
                "Pass 'all', 1.0 and None, with batch_size for less memory, or loss='relation'."
            )
        if self.n_pairs is None and self.hard_fraction < 1:
            raise ValueError(
                f"hard_fraction={self.hard_fraction} chooses among drawn pairs, but pairs='all'. "
                "Pass a number of pairs, or hard_fraction=1.0."
            )
        if exact and self.hard_fraction < 1:
            raise ValueError(
                f"hard_fraction={self.hard_fraction} is for head='linear': head='ridge' is solved for all pairs, "
                "of which the hardest are no sample. Pass hard_fraction=1.0."
            )
        if self.n_pairs is None and self.batch_size == 1:
            raise ValueError("batch_size=1, but a batch of samples needs two to have a pair. Pass 2 or more, or None.")
        if steady and (self.n_pairs is not None or self.batch_size is not None or draws):
            raise ValueError(
                "optimizer='lbfgs' needs the same loss at every step: pairs='all', batch_size=None and dropout=0. "
                "Use optimizer='adam' for anything drawn."
            )

    def chunks(self, samples: Subset, dtype: torch.dtype) -> list[slice]:
        """Rows of samples that the encoder takes at once, one after the other; all of a data set are too many."""
        n = samples.n_samples
        limited = isinstance(samples.X, Loaded) and self.batch_size is None
        most = self.chunk_size or (samples.at_once(dtype) if limited else n)
        return list(gen_batches(n, min(most, n))) if n else []


class _Pairs(NamedTuple):
    """Samples of a partition in a step over all pairs."""

    samples: Subset
    pairs: AllPairs
    features: Tensor | None = None  # where one pass of the encoder serves both the sums and their gradient, or is all


class _Pass(NamedTuple):
    """Passes of the encoder over the samples of a step.

    What it draws depends on one seed alone, and what loading the samples draws on another, the same in every pass.
    """

    encoder: nn.Module
    schedule: Schedule
    dtype: torch.dtype
    seed: int
    seed_of_loading: int = 0

    def once(self, some: _Pairs) -> _Pairs:
        """Samples with their features, which are kept if the encoder takes them all at once."""
        if len(self.schedule.chunks(some.samples, self.dtype)) != 1:
            return some
        ((_, features),) = self.chunks(some, grad=torch.is_grad_enabled())
        return some._replace(features=features)

    def chunks(self, some: _Pairs, *, grad: bool) -> Iterator[tuple[slice, Tensor]]:
        """Rows of samples and their features, chunk by chunk."""
        if some.features is not None:
            yield slice(0, len(some.features)), some.features
            return
        chunks, mixed_precision = self.schedule.chunks(some.samples, self.dtype), self.schedule.mixed_precision
        read = some.samples.batches(chunks, self.dtype, self.seed_of_loading)
        for chunk, x in zip(chunks, read, strict=True):
            seed = self.seed + some.samples.start + chunk.start
            with torch.set_grad_enabled(grad):
                features = encode(self.encoder, x, self.dtype, seed, mixed_precision)
            yield chunk, features

    def sums(self, some: _Pairs, distance: Distance) -> PairSums:
        """Sums of a partition."""
        chunks = self.chunks(some, grad=False)
        return some.pairs.sums(((chunk, z.detach()) for chunk, z in chunks), distance)

    def gradients(self, some: _Pairs, distance: Distance, loss: PairLoss, pull: float) -> list[Tensor]:
        """Derivatives of the loss by the parameters of the encoder, as far as they come from a partition."""
        trained = trained_parameters(self.encoder)
        gradients = [torch.zeros_like(p) for p in trained]
        for chunk, z in self.chunks(some, grad=True):
            by_features = some.pairs.gradient(chunk, z.detach(), distance, loss, pull)
            if z.requires_grad:
                # Nothing is written to the parameters, which partitions of other threads may read.
                by_parameters = torch.autograd.grad(z, trained, by_features, allow_unused=True)
                for total, gradient in zip(gradients, by_parameters, strict=True):
                    total += 0 if gradient is None else gradient
        return gradients


class Objective(nn.Module):
    """Alignment of an encoder and a head with the relation of training samples, wherever these are.

    Parameters
    ----------
    encoder : nn.Module
        Maps samples to features of shape (n, width).
    head : Head
        Distance of features.
    samples : Subsets
        Training samples and their relation.
    width : int
        Number of features.
    n_components : int or None
        Dimension of the embedding that neighbours are searched in; None is the rank of the metric.
    schedule : Schedule
        Way of an epoch through the pairs. Batches and drawn pairs need the samples of each process in memory.
    few : Tensor or None, default=None
        A few samples, the same in every process and for every partition; samples in one partition need none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: Head,
        samples: Subsets,
        width: int,
        n_components: int | None,
        schedule: Schedule,
        few: Tensor | None = None,
    ):
        super().__init__()
        self.encoder, self.head, self.samples = encoder, head, samples
        self.width, self.n_components, self.schedule, self.dtype = width, n_components, schedule, dtype_of(encoder)
        self._few = None if few is None else few[:N_FOR_ORIGIN].to(samples.G.device)
        self._features: Partitions | None = None
        self._paired: tuple[Partitions, RelationMoments] | None = None
        self._vote: Vote | None = None
        self._seed_of_loading = 0

    def run_epoch(self, epoch: int, optimizer: Optimizer) -> float:
        """Train one epoch, and return the mean loss of its steps.

        The exact head is solved once, on all samples, before the first step; where one step sees all samples, the loss
        and its gradient are therefore those of the best head for each encoder.
        """
        rng = np.random.default_rng([self.schedule.seed, epoch])
        self._vote = self._open_vote(rng) if self.schedule.loss == "neighbors" else None
        if self._vote is None:
            self.solve()
        self.encoder.train()
        self._seed_of_loading = seed_of(self.schedule.seed, epoch)
        n = self.samples.n_samples if self._vote is None else len(self._vote.places)
        batches = list(self._batches(rng, n))
        losses, sizes = [], []
        for batch, x in zip(batches, self._loaded(batches), strict=True):
            seed = int(rng.integers(2**31))

            def closure(batch=batch, x=x, seed=seed):
                optimizer.zero_grad()
                value = self._backward(batch, x, seed)
                return torch.tensor(value, dtype=torch.float64)

            losses.append(float(optimizer.step(closure)))
            sizes.append(len(batch[0]) if isinstance(batch, tuple) else 1 if batch is None else len(batch))
        self.encoder.eval()
        self._features = None  # the encoder has changed
        return float(np.average(losses, weights=sizes))

    def solve(self) -> None:
        """Find the best head for the encoder as it is, where there is an exact one.

        Raises
        ------
        FloatingPointError
            If the features are not finite.
        """
        if self.head.exact:
            self.features()

    def over(self, samples: Subsets) -> "Objective":
        """Objective of the same encoder and head over other samples."""
        return Objective(self.encoder, self.head, samples, self.width, self.n_components, self.schedule, self._few)

    def embedding(self) -> tuple[nn.Module, Tensor, float]:
        """Encoder and head as one module, factor of the metric of features, and offset, as if training ended here."""
        self.solve()
        head, rank = self.head, self.n_components
        module = nn.Sequential(self.encoder, head.layer(rank, self.dtype)).eval()
        return module, head.factor(rank).to(self.dtype), float(head.offset.detach())

    def features(self) -> Partitions:
        """Features of the training samples, for which an exact head is solved."""
        if self._features is None:
            embedder = self._embedder()

            def embedded(some: Related[Subset]) -> Features:
                return Features(embedder(some.samples), some.samples.weights, some.G.rows)

            self._features = self.samples.partitions.map(embedded).persist()
            self.head.solve(self._problem(self._features))
        return self._features

    def error(self, validation: Subsets, criterion: str) -> float:
        """Error on validation samples, of their "neighbors" or the "loss" of their pairs, or of votes on them."""
        loss = self.vote_error if self.schedule.loss == "neighbors" else self.alignment_error
        return {"neighbors": self.neighbour_error, "loss": loss}[criterion](validation)

    def neighbour_error(self, validation: Subsets) -> float:
        """Mean relation of validation samples to their nearest training samples."""
        features, G = self.features(), self.samples.G
        layer = self.head.layer(self.n_components, self.dtype)
        embedder = self._embedder()

        def embedded(some: Related[Subset], index: Tensor) -> Tensor:
            return layer(embedder(some.samples.some(index)))

        with torch.no_grad():
            places = judged_places(validation.n_samples, G.device)
            only = validation.partitions.only
            Z = embedded(only, places) if only else validation.rows(places, embedded, layer.out_features)
            judged = Features(Z, validation.weights(places), validation.relation_rows(places))
            embeddings = features.map(lambda some: some._replace(Z=layer(some.Z)))
            return relation_to_neighbours(embeddings, judged, G)

    def alignment_error(self, validation: Subsets) -> float:
        """Alignment loss over all pairs of validation samples."""
        self.solve()
        embedder = self._embedder()
        partitions, moments = _paired(validation)

        def embedded(some: _Pairs) -> _Pairs:
            return some._replace(features=embedder(some.samples))

        sums, distance = self._sums(partitions.map(embedded), _Pass(self.encoder, self.schedule, self.dtype, 0))
        return pair_loss(sums, distance, validation.G, moments).value

    def vote_error(self, validation: Subsets) -> float:
        """Loss of the soft votes of the training samples on validation samples."""
        own, others = self.samples.partitions.only.samples, validation.partitions.only.samples
        others = others.some(judged_places(others.n_samples, others.weights.device))
        factor = self._tuned_vote(self.features().only.Z, torch.arange(own.n_samples, device=own.weights.device)).factor
        Z, Z_others = (F.to(torch.float64) @ factor.T for F in (self.features().only.Z, self._embedder()(others)))
        ballots = Ballots.of(own.targets.stacked(others.targets), torch.cat([own.weights, others.weights]))
        n = own.n_samples
        return float(vote_loss(squares(Z_others, Z), ballots.at(slice(n, None)), ballots.at(slice(n))))

    def _open_vote(self, rng: np.random.Generator) -> Vote:
        """Soft vote of an epoch.

        An exact head is solved on one half of the samples, drawn anew, and the other half votes. Behind a head that was
        solved for them, samples of equal targets are near because it has seen these: wide features, of a Laplacian
        kernel say, would then predict all targets, and their gradients would have nothing left to learn.
        """
        only: Related[Subset] = self.samples.partitions.only
        n, device = self.samples.n_samples, self.samples.G.device
        features = self._embedder()(only.samples) if self._features is None else self._features.only.Z
        places = torch.arange(n, device=device)
        if self.head.exact:
            halves = as_tensor(rng.permutation(n), device).tensor_split(2)
            half, places = (some.sort().values for some in halves) if n >= _FEWEST_HALVED else (places, places)
            chosen = self.samples.among(half).partitions.only
            self.head.solve(Problem.of(Samples(features[half], chosen.samples.weights), chosen.G))
        return self._tuned_vote(features, places)

    def _tuned_vote(self, features: Tensor, places: Tensor) -> Vote:
        """Soft vote of training samples behind the head as it is, at the best temperature for a step."""
        size = min(self.schedule.batch_size or len(places), len(places))
        return Vote.tuned(features, self.head.factor(self.n_components), self._ballots, places, size)

    @cached_property
    def _ballots(self) -> Ballots:
        """Targets of the training samples as these vote."""
        samples: Subset = self.samples.partitions.only.samples
        assert samples.targets is not None
        return Ballots.of(samples.targets, samples.weights)

    def _embedder(self) -> Callable[[Subset], Tensor]:
        """The encoder as it embeds samples; what goes to other processes takes it along, and not the objective."""
        return partial(embed, self.encoder, dtype=self.dtype, chunk_size=self.schedule.chunk_size, width=self.width)

    def _problem(self, features: Partitions) -> Problem:
        only: Features | None = features.only
        if only is not None:
            return Problem.of(Samples(only.Z, only.weights), self.samples.partitions.only.G)
        G, origin = self.samples.G, self._origin()
        (deviation,) = features.total(lambda some: [some.weights @ (some.Z.to(torch.float64) - origin)])
        mean = origin + deviation

        def related(some: Features) -> Related[Samples]:
            return Related(Samples(some.Z, some.weights, mean), lambda: G.over(some.rows))

        shape = self.samples.n_samples, self.width
        return Problem(features.map(related), shape, mean, self.dtype, False, G)

    def _origin(self) -> Tensor:
        """Mean feature of a few samples, the same for all partitions."""
        assert self._few is not None
        training = self.encoder.training
        self.encoder.eval()
        with torch.no_grad():
            few = self._few.to(self.dtype) if self._few.is_floating_point() else self._few
            origin = self.encoder(few).to(torch.float64).mean(0)
        self.encoder.train(training)
        return origin

    def _batches(self, rng: np.random.Generator, n: int) -> Iterator[Tensor | tuple[Tensor, Tensor] | None]:
        """Samples of each step, of n: all, a batch, or pairs."""
        size, device = self.schedule.batch_size, self.samples.G.device
        if self.schedule.n_pairs is not None:
            p = self.samples.weights(torch.arange(n, device=device)).cpu().numpy()
            pairs = as_tensor(rng.choice(n, size=(2, self.schedule.n_pairs), p=p / p.sum()), device)
            yield from zip(*(ends.split(size or len(ends)) for ends in pairs), strict=True)
        elif size is None or size >= n:
            yield None
        else:
            yield from (as_tensor(batch, device).sort().values for batch in shuffled(n, size, rng))

    def _loaded(self, batches: list[Any]) -> Iterator[Tensor | None]:
        """Samples of each batch of a data set, loaded ahead; None where a step reads them."""
        only: Related[Subset] | None = self.samples.partitions.only
        if only is None or not isinstance(only.samples.X, Loaded) or (batches == [None] and self._vote is None):
            return iter([None] * len(batches))
        return only.samples.batches(map(self._places, batches), self.dtype, self._seed_of_loading)

    def _places(self, batch: Tensor | tuple[Tensor, Tensor] | None) -> Tensor:
        """Places of the samples of a step; all is what votes."""
        if isinstance(batch, tuple):
            return torch.cat(batch).unique()
        if self._vote is not None:
            return self._vote.places if batch is None else self._vote.places[batch]
        assert batch is not None
        return batch

    def _backward(self, batch: Tensor | tuple[Tensor, Tensor] | None, x: Tensor | None, seed: int) -> float:
        """Loss of a step, with its gradients, whose samples may have been loaded."""
        if isinstance(batch, tuple):
            return self._backward_sampled(*batch, x, seed) + self._decay()
        of_step = self._backward_all if self._vote is None else partial(self._backward_vote, self._vote)
        return of_step(batch, x, seed) + self._decay()

    def _backward_vote(self, vote: Vote, batch: Tensor | None, x: Tensor | None, seed: int) -> float:
        """Loss of the soft votes of a batch of samples, or of all, on one another, with its gradients."""
        places = self._places(batch)
        x = self.samples.partitions.only.samples.read(places, self.dtype) if x is None else x
        loss = vote.loss(encode(self.encoder, x, self.dtype, seed, self.schedule.mixed_precision), places)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def _backward_all(self, batch: Tensor | None, x: Tensor | None, seed: int) -> float:
        """Loss over all pairs of a batch of samples, or of all, with its gradients."""
        if self._paired is None:
            self._paired = _paired(self.samples)
        (partitions, moments), samples = self._paired, self.samples
        if batch is not None:
            samples = samples.batch(batch)
            partitions, moments = _paired(samples, moments.mean_square)
        if x is not None:
            partitions = partitions.map(lambda some: some._replace(samples=some.samples._replace(X=x, rows=None)))
        encoder = _Pass(self.encoder, self.schedule, self.dtype, seed, self._seed_of_loading)
        if partitions.in_memory:
            partitions = partitions.map(encoder.once)
        sums, distance = self._sums(partitions, encoder)
        loss = pair_loss(sums, distance, samples.G, moments)
        penalty, pull = self.head.penalty(loss.variance)
        set_gradients(self.encoder, partitions.total(lambda some: encoder.gradients(some, distance, loss, pull)))
        self.head.backward(loss)
        return loss.value + penalty

    def _sums(self, partitions: Partitions, encoder: _Pass) -> tuple[PairSums, Distance]:
        """Sums over all partitions, and the distance under which they are taken."""
        M, offset = self.head.M.detach(), float(self.head.offset.detach())
        only: _Pairs | None = partitions.only
        if only is None:
            distance = Distance(M, offset, self._origin())
            return PairSums(*partitions.total(lambda some: encoder.sums(some, distance))), distance
        chunks = ((chunk, z.detach()) for chunk, z in encoder.chunks(only, grad=False))
        first = next(chunks)
        distance = Distance(M, offset, first[1].mean(0).to(torch.float64))
        return only.pairs.sums(chain([first], chunks), distance), distance

    def _backward_sampled(self, i: Tensor, j: Tensor, loaded: Tensor | None, seed: int) -> float:
        """Loss over drawn pairs, with its gradients."""
        places, where = torch.cat([i, j]).unique(return_inverse=True)
        (own,) = self.samples.partitions.local

        def encode_own(index: Tensor) -> Tensor:
            x = own.samples.read(index, self.dtype, self._seed_of_loading) if loaded is None else loaded
            seed_of_own = seed + own.samples.start
            return encode(self.encoder, x, self.dtype, seed_of_own, self.schedule.mixed_precision)

        samples = self.samples.partitions.map(lambda some: some.samples)
        ends = features_at(samples, places, encode_own, self.width, self.dtype).to(torch.float64)[where]
        relations = self.samples.relation(places).pairs(*where.split(len(i)))
        total, value = self._sampled_loss(ends, relations)
        if total.requires_grad:
            total.backward()
        sum_gradients(self.encoder, samples.ranks)
        return value

    def _sampled_loss(self, ends: Tensor, relations: Tensor) -> tuple[Tensor, float]:
        """Loss of drawn pairs, whose first ends come before the second ones: what is descended, and its value."""
        first, second = ends.split(len(relations))
        fraction = self.schedule.hard_fraction
        relations = relations.to(torch.float64)
        loss = sampled_pairs(first, second, relations, self.head.M, self.head.offset, hard_fraction=fraction)
        # The ends of drawn pairs are a sample of the samples.
        centred = ends - ends.detach().mean(0)
        penalty, pull = self.head.penalty(float(centred.detach().square().sum() / len(ends)))
        return loss + pull / 2 * centred.square().sum() / len(ends), float(loss.detach()) + penalty

    def _decay(self) -> float:
        trained = [p.square().sum() for p in trained_parameters(self.encoder)] if self.schedule.weight_decay else []
        if not trained:
            return 0.0
        penalty = self.schedule.weight_decay * torch.stack(trained).sum()
        penalty.backward()
        return float(penalty.detach())


def _paired(samples: Subsets, mean_square: float | None = None) -> tuple[Partitions, RelationMoments]:
    """Partitions of some samples in a loss over all pairs, and the moments of their relation."""
    moments = samples.moments(mean_square)

    def paired(some: Related[Subset]) -> _Pairs:
        return _Pairs(some.samples, AllPairs(some.G, some.samples.weights, moments))

    return samples.partitions.map(paired), moments
