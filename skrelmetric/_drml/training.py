"""What DRML trains: an encoder and losses on batches of samples, judged by neighbours or by retrieval."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from skrelmetric._data.samples import Rows
from skrelmetric._drml.ensemble import RelationalEnsemble
from skrelmetric._drml.objective import Discrimination, PlainDiscrimination, PlainHead
from skrelmetric._hraml.objective import relation_to_neighbours
from skrelmetric._search.retrieval import retrieve
from skrelmetric._training.encode import Part, drawing, dtype_of, embed, n_batches, sum_gradients
from skrelmetric.distributed import Ranks
from skrelmetric.relations import Relation

__all__ = ["Encoder", "SharedTraining", "Split", "Training", "embed_shared", "per_class", "shuffled"]


class Encoder(nn.Module):
    """Samples to embeddings.

    Parameters
    ----------
    trunk : nn.Module
        Samples to features of shape (n, D).
    head : RelationalEnsemble or PlainHead
        Features to nodes and their embedding.
    output : {"embedding", "nodes"}
        Which of them is returned, the nodes side by side.
    normalize : bool
        Whether it is divided by its norm.
    """

    def __init__(self, trunk: nn.Module, head: RelationalEnsemble | PlainHead, output: str, normalize: bool):
        super().__init__()
        self.trunk, self.output, self.normalize = trunk, output, normalize
        self.head: RelationalEnsemble | PlainHead = head

    def forward(self, X: Tensor) -> Tensor:
        """Embeddings, of shape (n, n_components)."""
        ensemble = self.head(self.trunk(X).to(dtype_of(self.head)))
        Z = ensemble.embedding if self.output == "embedding" else ensemble.nodes.flatten(1)
        return functional.normalize(Z, dim=1) if self.normalize else Z

    @property
    def n_components(self) -> int:
        """Width of the embedding."""
        return self.head.nodes.bias.numel()

    @property
    def shape(self) -> tuple[bool, bool, int, int]:
        """Whether there are relations and features are split, and the numbers of branches and of components."""
        split = isinstance(self.head, RelationalEnsemble) and self.head.split_features
        return isinstance(self.head, RelationalEnsemble), split, len(self.head.nodes.bias), self.n_components


class Split(NamedTuple):
    """Samples to train on, and others to judge by."""

    training: Part
    validation: Part
    truth: Relation | Tensor  # of the targets, or the classes where whole ones are held out

    def judge(self, encoder: Encoder, embed: Callable[..., Tensor] = embed) -> float:
        """How far the validation samples' neighbours are from what they should be, the lower the better."""
        embedded = partial(embed, encoder, dtype=dtype_of(encoder.head))
        if isinstance(self.truth, Tensor):
            found = retrieve(embedded(self.validation), self.truth[self.validation.places])
            return 1 - float(found.average_precision[found.n_positives > 0].mean())
        return relation_to_neighbours(embedded(self.training), self.training, embedded, self.validation, self.truth)


class Training(nn.Module):
    """Encoder and losses over the epochs.

    Parameters
    ----------
    encoder : Encoder
        What is trained.
    objective : Discrimination or PlainDiscrimination
        Losses of trunk features.
    part : Part
        Training samples.
    batches : callable
        Gives the batches of an epoch, as rows of the part, from a source of randomness.
    mixed_precision : bool
        Whether the trunk computes in bfloat16 where that is safe.
    seed : int
        Seed of all that is drawn.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Discrimination | PlainDiscrimination,
        part: Part,
        batches: Callable[[np.random.Generator], Iterator[np.ndarray]],
        mixed_precision: bool,
        seed: int,
    ):
        super().__init__()
        self.encoder, self.objective = encoder, objective
        self.part, self.batches, self.mixed_precision, self.seed = part, batches, mixed_precision, seed
        self.to(part.weights.device)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that can be trained, of the trunk, the head and the losses."""
        trunk, head = (list(m.parameters()) for m in (self.encoder.trunk, self.encoder.head))
        known = {id(p) for p in (*trunk, *head)}
        of_losses = [p for p in self.parameters() if id(p) not in known]
        named = {"trunk": trunk, "head": head, "loss": of_losses}
        return {name: [p for p in parameters if p.requires_grad] for name, parameters in named.items()}

    def run_epoch(self, epoch: int, optimizer: Optimizer) -> float:
        """Train one epoch, and return the mean loss of its steps."""
        rng = np.random.default_rng([self.seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        self.train()
        losses = [self._step(torch.from_numpy(rows), generator, optimizer) for rows in self.batches(rng)]
        self.eval()
        return float(np.mean(losses))

    def _step(self, rows: Tensor, generator: Generator, optimizer: Optimizer) -> float:
        rows = rows.to(self.part.weights.device)
        optimizer.zero_grad()
        seed = int(torch.randint(2**31, (), generator=generator))
        with drawing(seed, rows.device):
            total = self._backward(rows, generator)
        optimizer.step()
        return total

    def _backward(self, rows: Tensor, generator: Generator) -> float:
        """Loss of a batch with its gradients."""
        total = self.objective(self._features(self.part, rows), rows, generator).total
        total.backward()
        return float(total.detach())

    def _features(self, part: Part, rows: Tensor) -> Tensor:
        """Trunk features of some samples."""
        dtype = dtype_of(self.encoder.head)
        x = part.read(rows, dtype)
        with torch.autocast(x.device.type, torch.bfloat16, self.mixed_precision):
            return self.encoder.trunk(x).to(dtype)


class SharedTraining(Training):
    """Training on the global batches of several processes, each of which runs the trunk on its own samples.

    Head and losses see the features of the whole batch in every process, and so take the same steps.

    Parameters
    ----------
    *args
        Those of Training; rows of the part that are other processes' are -1.
    ranks : Ranks
        The processes.
    width : int
        Number of trunk features.
    """

    def __init__(self, *args: Any, ranks: Ranks, width: int):
        super().__init__(*args)
        self.ranks, self.width = ranks, width

    def _backward(self, rows: Tensor, generator: Generator) -> float:
        dtype, own, y = dtype_of(self.encoder.head), owned(self.part, rows), None
        Y = torch.zeros((len(rows), self.width), dtype=dtype, device=rows.device)
        if own.any():
            y = self._features(self.part, rows[own])
            Y[own] = y.detach()
        Y = self.ranks.total([Y])[0].to(dtype).requires_grad_()
        total = self.objective(Y, rows, generator).total
        total.backward()
        if y is not None and y.requires_grad and Y.grad is not None:
            y.backward(Y.grad[own])
        sum_gradients(self.encoder.trunk, self.ranks)
        return float(total.detach())


def owned(part: Part, some: slice | Tensor = slice(None)) -> Tensor:
    """Mask of the samples of a part, or of some of them, that are this process's."""
    assert part.rows is not None
    return part.rows[some] >= 0


def embed_shared(ranks: Ranks, X: Rows, encoder: Encoder, part: Part, dtype: torch.dtype) -> Tensor:
    """Embeddings of all samples of a part, each from the process whose it is; those of other than X are everybody's."""
    if part.X is not X:
        return embed(encoder, part, dtype)
    own = owned(part)
    Z = torch.zeros((part.n_samples, encoder.n_components), dtype=dtype, device=part.weights.device)
    if own.any():
        Z[own] = embed(encoder, part.some(own.nonzero()[:, 0]), dtype)
    return ranks.total([Z])[0].to(dtype)


def shuffled(n_samples: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of nearly one size, in which each sample is once."""
    yield from np.array_split(rng.permutation(n_samples), n_batches(n_samples, batch_size))


def per_class(codes: np.ndarray, batch_size: int, n_each: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """As many batches as cover all samples once on average, of equally many samples of some classes each.

    Classes of fewer samples give those that they have.
    """
    of_class = np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])
    n_classes = min(len(of_class), max(1, batch_size // n_each))
    for _ in range(-(-len(codes) // (n_classes * n_each))):
        chosen = rng.choice(len(of_class), n_classes, replace=False)
        yield np.concatenate([rng.permutation(of_class[c])[:n_each] for c in chosen])
