"""What HRAML trains: an encoder and a head on samples, with three ways to see their pairs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._alignment.loss import AllPairs, sampled_pairs
from skrelmetric._hraml.heads import Head
from skrelmetric._interop.torch import as_tensor
from skrelmetric._search.device import TensorSearch
from skrelmetric._training.encode import Part, dtype_of, embed, encode, n_batches, trained_parameters
from skrelmetric.relations import Relation

__all__ = [
    "N_JUDGED",
    "N_NEIGHBORS",
    "Alignment",
    "AlignmentInMemory",
    "Schedule",
    "relation_to_neighbours",
]

N_NEIGHBORS = 10
N_JUDGED = 2000  # samples whose neighbours are searched; more would not change the choice of an epoch


class Schedule(NamedTuple):
    """How an epoch goes through the pairs.

    Attributes
    ----------
    n_pairs : int or None
        Number of pairs that an epoch draws; None takes all pairs of each batch of samples.
    batch_size : int or None
        Samples, or drawn pairs, in a step; None puts all into one.
    chunk_size : int or None
        Most samples that the encoder takes at once; None is no limit.
    hard_fraction : float
        Share of the drawn pairs of a step, those with the largest errors, that count.
    weight_decay : float
        Weight lambda of the squared weights and biases in the loss (HRAML, Eq. 5).
    mixed_precision : bool
        Whether the encoder computes in bfloat16 where that is safe.
    seed : int
        Seed of all that is drawn.
    """

    n_pairs: int | None
    batch_size: int | None
    chunk_size: int | None
    hard_fraction: float
    weight_decay: float
    mixed_precision: bool
    seed: int

    def chunks(self, n_samples: int) -> list[slice]:
        """Which of some samples the encoder takes at once, one after the other."""
        return list(gen_batches(n_samples, min(self.chunk_size or n_samples, n_samples))) if n_samples else []


class Alignment(nn.Module, ABC):
    """Encoder and head, and the samples that they are aligned on, wherever these are.

    Parameters
    ----------
    encoder : nn.Module
        Maps samples to features of shape (n, width).
    head : Head
        Distance of features.
    G : Relation
        Relation of the targets.
    n_components : int
        Dimension of the embedding that neighbours are searched in.
    schedule : Schedule
        How an epoch goes.
    """

    n_samples: int

    def __init__(self, encoder: nn.Module, head: Head, G: Relation, n_components: int, schedule: Schedule):
        super().__init__()
        self.encoder, self.head, self.G = encoder, head, G
        self.n_components, self.schedule, self.dtype = n_components, schedule, dtype_of(encoder)

    @property
    @abstractmethod
    def weights(self) -> Tensor:
        """Weight of each training sample, of shape (n_samples,)."""

    @abstractmethod
    def attend(self, samples: Any) -> None:
        """Go on with other samples."""

    @abstractmethod
    def forget(self) -> None:
        """The encoder has changed: features and the exact head are to be found again."""

    @abstractmethod
    def features(self) -> Any:
        """Features of the training samples, for which an exact head is solved."""

    @abstractmethod
    def solve(self) -> None:
        """Find the best head for the encoder as it is, where there is an exact one.

        Raises
        ------
        FloatingPointError
            If the features are not finite.
        """

    @abstractmethod
    def neighbour_error(self, validation: Any) -> float:
        """Mean relation of validation samples to their nearest training samples."""

    @abstractmethod
    def alignment_error(self, validation: Any) -> float:
        """Alignment loss over all pairs of validation samples."""

    @abstractmethod
    def _backward_all(self, batch: Tensor | None, seed: int) -> float:
        """Loss over all pairs of a batch of samples, or of all, with its gradients."""

    @abstractmethod
    def _backward_sampled(self, i: Tensor, j: Tensor, seed: int) -> float:
        """Loss over drawn pairs, with its gradients."""

    def run_epoch(self, epoch: int, optimizer: Optimizer) -> float:
        """Train one epoch, and return the mean loss of its steps.

        The exact head is solved once, on all samples, before the first step; where one step sees all samples, the loss
        and its gradient are therefore those of the best head for each encoder.
        """
        rng = np.random.default_rng([self.schedule.seed, epoch])
        if self.head.exact:
            self.features()
        self.encoder.train()
        losses, sizes = [], []
        for batch in self._batches(rng):
            seed = int(rng.integers(2**31))

            def closure(batch=batch, seed=seed):
                optimizer.zero_grad()
                value = self._backward(batch, seed)
                return torch.tensor(value, dtype=torch.float64)

            losses.append(float(optimizer.step(closure)))
            sizes.append(len(batch[0]) if isinstance(batch, tuple) else 1 if batch is None else len(batch))
        self.encoder.eval()
        self.forget()
        return float(np.average(losses, weights=sizes))

    def _batches(self, rng: np.random.Generator) -> Iterator[Tensor | tuple[Tensor, Tensor] | None]:
        """Samples of each step: all, a batch, or pairs."""
        n, size, device = self.n_samples, self.schedule.batch_size, self.G.device
        if self.schedule.n_pairs is not None:
            p = self.weights.cpu().numpy()
            pairs = as_tensor(rng.choice(n, size=(2, self.schedule.n_pairs), p=p / p.sum()), device)
            yield from zip(*(ends.split(size or len(ends)) for ends in pairs), strict=True)
        elif size is None or size >= n:
            yield None
        else:
            yield from as_tensor(rng.permutation(n), device).tensor_split(n_batches(n, size))

    def _backward(self, batch: Tensor | tuple[Tensor, Tensor] | None, seed: int) -> float:
        """Loss of a step with its gradients."""
        value = self._backward_sampled(*batch, seed) if isinstance(batch, tuple) else self._backward_all(batch, seed)
        return value + self._decay()

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
        if not self.schedule.weight_decay:
            return 0.0
        trained = [p.square().sum() for p in trained_parameters(self.encoder)]
        if not trained:
            return 0.0
        penalty = self.schedule.weight_decay * torch.stack(trained).sum()
        penalty.backward()
        return float(penalty.detach())


class AlignmentInMemory(Alignment):
    """Encoder and head, and samples in memory that they are aligned on.

    Parameters
    ----------
    encoder : nn.Module
        Maps samples to features of shape (n, width).
    head : Head
        Distance of features.
    part : Part
        Training samples.
    G : Relation
        Relation of all targets, of which the training samples are a part.
    n_components : int
        Dimension of the embedding that neighbours are searched in.
    schedule : Schedule
        How an epoch goes.
    """

    _pairs: AllPairs | None
    _features: Tensor | None
    _validation: tuple[Part, AllPairs] | None

    def __init__(self, encoder: nn.Module, head: Head, part: Part, G: Relation, n_components: int, schedule: Schedule):
        super().__init__(encoder, head, G, n_components, schedule)
        self._validation = None
        self.attend(part)

    @property
    def weights(self) -> Tensor:
        return self.part.weights

    def attend(self, samples: Part) -> None:
        self.part, self.n_samples = samples, samples.n_samples
        everything = torch.arange(self.G.n_samples, device=samples.places.device)
        self.G_train = self.G if torch.equal(samples.places, everything) else self.G[samples.places]
        self._pairs = None
        self.forget()

    def forget(self) -> None:
        self._features = None

    def features(self) -> Tensor:
        if self._features is None:
            self._features = self._embed(self.part)
            self.head.solve(self._features, self.G_train, self.part.weights)
        return self._features

    def solve(self) -> None:
        if self.head.exact:
            self.features()
        else:
            self._embed(self.part.some(torch.arange(2, device=self.part.places.device)))

    def _embed(self, part: Part) -> Tensor:
        return embed(self.encoder, part, self.dtype, self.schedule.chunk_size)

    def _all_pairs(self) -> AllPairs:
        if self._pairs is None:
            self._pairs = AllPairs(self.G_train, self.part.weights)
        return self._pairs

    def _backward_all(self, batch: Tensor | None, seed: int) -> float:
        pairs = self._all_pairs()
        if batch is not None:
            weights = self.part.weights[batch]
            pairs = AllPairs(self.G_train[batch], weights / weights.sum(), pairs.mean_square)
        chunks = self.schedule.chunks(len(pairs.weights))
        sums = pairs.of(self.head.M.detach(), float(self.head.offset.detach()))

        def features(chunk: slice) -> Tensor:
            return self._encode(chunk if batch is None else batch[chunk], seed + chunk.start)

        if len(chunks) == 1:  # one pass serves both
            kept = features(chunks[0])
            sums.add(kept.detach(), chunks[0])
        else:
            with torch.no_grad():
                for chunk in chunks:
                    sums.add(features(chunk), chunk)
        loss = sums.loss()
        penalty, pull = self.head.penalty(sums.variance)
        for chunk in chunks:
            z = kept if len(chunks) == 1 else features(chunk)
            gradient = sums.gradient(z.detach(), chunk)
            if pull:
                gradient += pull * pairs.weights[chunk, None] * (z.detach() - sums.mean)
            if z.requires_grad:  # the encoder may be frozen, and the head be trained alone
                z.backward(gradient)
        self.head.accept(loss)
        return loss.value + penalty

    def _backward_sampled(self, i: Tensor, j: Tensor, seed: int) -> float:
        samples, where = torch.cat([i, j]).unique(return_inverse=True)
        ends = self._encode(samples, seed).to(torch.float64)[where]
        total, value = self._sampled_loss(ends, self.G_train.pairs(i, j))
        if total.requires_grad:
            total.backward()
        return value

    def _encode(self, some: slice | Tensor, seed: int) -> Tensor:
        """Features of some training samples; what the encoder draws depends on the seed alone."""
        return encode(self.encoder, self.part.read(some, self.dtype), self.dtype, seed, self.schedule.mixed_precision)

    def neighbour_error(self, validation: Part) -> float:
        features = self.features()
        layer = self.head.layer(self.n_components, self.dtype)
        with torch.no_grad():
            return relation_to_neighbours(
                layer(features), self.part, lambda judged: layer(self._embed(judged)), validation, self.G
            )

    def alignment_error(self, validation: Part) -> float:
        self.solve()
        if self._validation is None or self._validation[0] is not validation:  # every epoch is judged on the same
            self._validation = validation, AllPairs(self.G[validation.places], validation.weights)
        sums = self._validation[1].of(self.head.M.detach(), float(self.head.offset.detach()))
        sums.add(self._embed(validation), slice(0, validation.n_samples))
        return sums.loss().value


def relation_to_neighbours(
    embedding: Tensor, part: Part, embed_others: Callable[[Part], Tensor], validation: Part, G: Relation
) -> float:
    """Mean relation of validation samples to their nearest neighbours among the samples of a part.

    Parameters
    ----------
    embedding : Tensor of shape (n_samples, n_components)
        Where the samples of the part are.
    part : Part
        Samples among which neighbours are searched.
    embed_others : callable
        Gives the same for validation samples.
    validation : Part
        Validation samples, of which 2,000 at most are judged.
    G : Relation
        Relation of all targets.

    Returns
    -------
    float
        Weighted mean over the samples judged.
    """
    n, step = validation.n_samples, -(-validation.n_samples // N_JUDGED)
    judged = validation.some(torch.arange(0, n, step, device=validation.places.device))
    k = min(N_NEIGHBORS, part.n_samples)
    nearest = TensorSearch(embedding).nearest(embed_others(judged), k)
    relations = G.pairs(judged.places.repeat_interleave(k), part.places[nearest.reshape(-1)]).reshape(-1, k)
    return float(judged.weights @ relations.mean(1))
