"""What DRML trains: an encoder and losses on batches of samples, judged by neighbours or by retrieval."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from skrelmetric._retrieval import retrieve
from skrelmetric.discrimination import Discrimination, PlainDiscrimination, PlainHead
from skrelmetric.objectives import Part, drawing, dtype_of, embed, n_batches, relation_to_neighbours
from skrelmetric.relational import RelationalEnsemble
from skrelmetric.relations import Relation

__all__ = ["Encoder", "Split", "Training", "per_class", "shuffled"]


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

    def judge(self, encoder: Encoder) -> float:
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
        x = self.part.read(rows, dtype_of(self.encoder.head))
        optimizer.zero_grad()
        seed = int(torch.randint(2**31, (), generator=generator))
        with drawing(seed, x.device):
            with torch.autocast(x.device.type, torch.bfloat16, self.mixed_precision):
                y = self.encoder.trunk(x)
            total = self.objective(y.to(dtype_of(self.encoder.head)), rows, generator).total
        total.backward()
        optimizer.step()
        return float(total.detach())


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
