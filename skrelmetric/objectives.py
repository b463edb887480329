"""What HRAML trains: an encoder and a head on samples, with three ways to see their pairs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._inputs import counted
from skrelmetric._samples import Rows, canonical
from skrelmetric._tensor_search import TensorSearch
from skrelmetric._torch import as_tensor
from skrelmetric.distributed import Ranks
from skrelmetric.heads import Head
from skrelmetric.relation_loss import AllPairs, sampled_pairs
from skrelmetric.relations import Relation

__all__ = [
    "N_JUDGED",
    "N_NEIGHBORS",
    "Alignment",
    "Part",
    "Schedule",
    "alike",
    "counted_part",
    "drawing",
    "dtype_of",
    "embed",
    "encode",
    "n_batches",
    "relation_to_neighbours",
    "stored",
    "sum_gradients",
    "take_gradients",
    "trained_parameters",
]

N_NEIGHBORS = 10
N_JUDGED = 2000  # samples whose neighbours are searched; more would not change the choice of an epoch
_CHUNK_OF_INFERENCE = 8192


class Part(NamedTuple):
    """Some samples, as they are stored, and their targets.

    Attributes
    ----------
    X : Tensor or csr_array of shape (n, ...)
        Where the samples are, which may be a memory map.
    rows : Tensor of int64 of shape (n_samples,) or None
        Which rows of X they are; None for all.
    weights : Tensor of shape (n_samples,)
        Their weights, of sum 1.
    places : Tensor of int64 of shape (n_samples,)
        Their places in the relation.
    """

    X: Rows
    rows: Tensor | None
    weights: Tensor
    places: Tensor

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.weights)

    @property
    def float_dtype(self) -> torch.dtype:
        """Dtype of the samples, or float32 where they are whole numbers."""
        dtype = self.X.dtype if isinstance(self.X, Tensor) else as_tensor(self.X.data[:0]).dtype
        return dtype if dtype.is_floating_point else torch.float32

    def some(self, index: Tensor) -> "Part":
        """Some of the samples, which weigh what they weighed among each other."""
        weights = self.weights[index]
        rows = index if self.rows is None else self.rows[index]
        return Part(self.X, rows, weights / weights.sum(), self.places[index])

    def example(self) -> Tensor:
        """Two samples of zeros, of the shape and kind that `read` gives."""
        return torch.zeros_like(self.read(slice(0, 2), self.float_dtype))

    def read(self, some: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Some of the samples, on the device of their weights."""
        index = some if self.rows is None else self.rows[some]
        if isinstance(self.X, Tensor):
            rows = self.X[index.to(self.X.device) if isinstance(index, Tensor) else index]
        else:
            rows = as_tensor(self.X[index.cpu().numpy() if isinstance(index, Tensor) else index].toarray())
        return rows.to(self.weights.device, dtype if rows.is_floating_point() else None)


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


class Alignment(nn.Module):
    """Encoder and head, and the samples that they are aligned on.

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

    def __init__(self, encoder: nn.Module, head: Head, part: Part, G: Relation, n_components: int, schedule: Schedule):
        super().__init__()
        self.encoder, self.head, self.n_components = encoder, head, n_components
        self.G, self.schedule = G, schedule
        self._pairs: AllPairs | None = None
        self._validation: tuple[Part, AllPairs] | None = None
        self._features: Tensor | None = None
        self.dtype = dtype_of(encoder)
        self.attend(part)

    @property
    def weights(self) -> Tensor:
        """Weight of each training sample, of shape (n_samples,)."""
        return self.part.weights

    def attend(self, part: Part) -> None:
        """Go on with other samples."""
        self.part, self.n_samples = part, part.n_samples
        everything = torch.arange(self.G.n_samples, device=part.places.device)
        self.G_train = self.G if torch.equal(part.places, everything) else self.G[part.places]
        self._pairs = None
        self.forget()

    def forget(self) -> None:
        """The encoder has changed: features and the exact head are to be found again."""
        self._features = None

    def features(self) -> Tensor:
        """Features of the training samples."""
        if self._features is None:
            self._features = self._embed(self.part)
            self.head.solve(self._features, self.G_train, self.part.weights)
        return self._features

    def solve(self) -> None:
        """Find the best head for the encoder as it is, where there is an exact one.

        Raises
        ------
        FloatingPointError
            If the features are not finite.
        """
        if self.head.exact:
            self.features()
        else:
            self._embed(self.part.some(torch.arange(2, device=self.part.places.device)))

    def _embed(self, part: Part) -> Tensor:
        return embed(self.encoder, part, self.dtype, self.schedule.chunk_size)

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

    def _all_pairs(self) -> AllPairs:
        if self._pairs is None:
            self._pairs = AllPairs(self.G_train, self.part.weights)
        return self._pairs

    def _backward_all(self, batch: Tensor | None, seed: int) -> float:
        pairs = self._all_pairs()
        if batch is not None:
            weights = self.part.weights[batch]
            pairs = AllPairs(self.G_train[batch], weights / weights.sum(), pairs.mean_square)
        n = len(pairs.weights)
        step = min(self.schedule.chunk_size or n, n)
        chunks = [slice(start, min(start + step, n)) for start in range(0, n, step)]
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

    def _encode(self, some: slice | Tensor, seed: int) -> Tensor:
        """Features of some training samples; what the encoder draws depends on the seed alone."""
        return encode(self.encoder, self.part.read(some, self.dtype), self.dtype, seed, self.schedule.mixed_precision)

    def _decay(self) -> float:
        if not self.schedule.weight_decay:
            return 0.0
        trained = [p.square().sum() for p in trained_parameters(self.encoder)]
        if not trained:
            return 0.0
        penalty = self.schedule.weight_decay * torch.stack(trained).sum()
        penalty.backward()
        return float(penalty.detach())

    def neighbour_error(self, validation: Part) -> float:
        """Mean relation of validation samples to their nearest training samples."""
        features = self.features()
        layer = self.head.layer(self.n_components, self.dtype)
        with torch.no_grad():
            return relation_to_neighbours(
                layer(features), self.part, lambda judged: layer(self._embed(judged)), validation, self.G
            )

    def alignment_error(self, validation: Part) -> float:
        """Alignment loss over all pairs of validation samples."""
        self.solve()
        if self._validation is None or self._validation[0] is not validation:  # every epoch is judged on the same
            self._validation = validation, AllPairs(self.G[validation.places], validation.weights)
        sums = self._validation[1].of(self.head.M.detach(), float(self.head.offset.detach()))
        sums.add(self._embed(validation), slice(0, validation.n_samples))
        return sums.loss().value


def encode(encoder: nn.Module, x: Tensor, dtype: torch.dtype, seed: int, mixed_precision: bool) -> Tensor:
    """Features of samples in training, in a dtype; what the encoder draws depends on the seed alone."""
    with drawing(seed, x.device), torch.autocast(x.device.type, torch.bfloat16, mixed_precision):
        z = encoder(x)
    return _checked(z, len(x)).to(dtype)


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def sum_gradients(module: nn.Module, ranks: Ranks) -> None:
    """Give every process the sum of the gradients that all have."""
    trained = trained_parameters(module)
    gradients = ranks.total([torch.zeros_like(p) if p.grad is None else p.grad for p in trained])
    take_gradients(module, gradients)


def take_gradients(module: nn.Module, gradients: list[Tensor]) -> None:
    """Give the parameters that are not frozen their gradients."""
    for parameter, gradient in zip(trained_parameters(module), gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)


def n_batches(n_samples: int, batch_size: int) -> int:
    """Number of batches of nearly one size; none is of a single sample, which would have no pair."""
    return max(1, min(-(-n_samples // batch_size), n_samples // 2))


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


def dtype_of(encoder: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """Dtype that an encoder computes in; the default where it has no parameters."""
    return next((p.dtype for p in encoder.parameters() if p.is_floating_point()), default)


def embed(encoder: nn.Module, part: Part, dtype: torch.dtype, chunk_size: int | None = None) -> Tensor:
    """Features of all samples of a part, of shape (n_samples, width), without gradients.

    Raises
    ------
    ValueError
        If the encoder returns anything but features.
    FloatingPointError
        If they are not finite.
    """
    step = min(chunk_size or _CHUNK_OF_INFERENCE, _CHUNK_OF_INFERENCE)
    encoder.eval()
    starts = range(0, part.n_samples, step)
    with torch.no_grad():
        chunks = (part.read(slice(start, start + step), dtype) for start in starts)
        features = torch.cat([_checked(encoder(chunk), len(chunk)) for chunk in chunks])
    if not torch.isfinite(features).all():
        raise FloatingPointError("The encoder returned NaN or infinity. Scale the samples, or lower learning_rate.")
    return features


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, and leave torch's own generators as they were: dropout takes no other."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _checked(z: Tensor, n_samples: int) -> Tensor:
    if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != n_samples or not z.is_floating_point():
        what = f"shape {tuple(z.shape)} and {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(
            f"The encoder returned {what} for {n_samples} samples. "
            f"It must return features of shape ({n_samples}, width), as floats."
        )
    return z


def stored(X: Any) -> Rows:
    """Samples where and as they are: a tensor that shares their memory, or a csr_array."""
    return canonical(X) if sparse.issparse(X) else as_tensor(X)


def counted_part(X: Any, y: Any, sample_weight: Any, device: torch.device) -> tuple[Part, Any]:
    """Samples that count, where they are, and their targets."""
    n = X.shape[0]
    rows, y, weights = counted(torch.arange(n), y, sample_weight, X, device)
    places = torch.arange(len(rows), device=device)
    return Part(stored(X), None if len(rows) == n else rows.to(device), weights, places), y


def alike(rows: Rows, device: torch.device) -> Part:
    """All samples, weighted alike."""
    n = rows.shape[0]
    return Part(rows, None, torch.full((n,), 1 / n, device=device), torch.arange(n, device=device))
