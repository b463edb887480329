"""Training of DRML: an encoder and losses on batches of samples, judged by neighbours or by retrieval."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from skrelmetric._data.partitions import InMemory, Partitions
from skrelmetric._data.read import Data
from skrelmetric._data.samples import take
from skrelmetric._data.targets import Targets
from skrelmetric._drml.model import Encoder
from skrelmetric._drml.objective import Discrimination, PlainDiscrimination
from skrelmetric._drml.supervision import Supervision, pair_relation
from skrelmetric._interop.randomness import drawing, seed_of
from skrelmetric._search.retrieval import retrieve
from skrelmetric._training.encode import dtype_of, embed
from skrelmetric._training.shards import features_at, own_places, sum_gradients, trained_parameters
from skrelmetric._training.validation import Features, hold_out, judged_places, relation_to_neighbours
from skrelmetric.relations import GivenPairs, Relation

__all__ = ["Chosen", "PairValidation", "Split", "Training", "Validation", "split"]


class Chosen(NamedTuple):
    """Samples at some places of all partitions, of which there is one in the memory of each process.

    Attributes
    ----------
    partitions : Partitions
        Of Subset.
    places : Tensor of int64 of shape (n_samples,)
        Places among all samples.
    """

    partitions: Partitions
    places: Tensor

    def embed(self, encoder: Encoder) -> Tensor:
        """Embeddings, the same in every process."""
        return self.features(encoder, encoder.n_components, dtype_of(encoder.head))

    def features(self, module: nn.Module, width: int, dtype: torch.dtype) -> Tensor:
        """What a module makes of the samples, the same in every process."""
        (own,) = self.partitions.local

        def of_own(index: Tensor) -> Tensor:
            return embed(module, own.some(index), dtype).to(dtype)

        return features_at(self.partitions, self.places, of_own, width, dtype)


class Validation(NamedTuple):
    """Samples to judge an encoder by.

    Attributes
    ----------
    training : Chosen
        Training samples.
    judged : Chosen
        Validation samples.
    truth : Relation or Tensor
        Relation of all targets, or the classes of all samples where whole classes are held out.
    of_training, of_judged : Tensor of int64
        Places of the samples in it.
    """

    training: Chosen
    judged: Chosen
    truth: Relation | Tensor
    of_training: Tensor
    of_judged: Tensor

    def error(self, encoder: Encoder) -> float:
        """Distance of the validation samples' neighbours from what they should be, the lower the better."""
        if isinstance(self.truth, Tensor):
            found = retrieve(self.judged.embed(encoder), self.truth[self.of_judged])
            return 1 - float(found.average_precision[found.n_positives > 0].mean())
        some = judged_places(len(self.of_judged), self.of_judged.device)
        judged = self._features(encoder, self.judged._replace(places=self.judged.places[some]), self.of_judged[some])
        training = self._features(encoder, self.training, self.of_training)
        return relation_to_neighbours(InMemory([training]), judged, self.truth)

    def _features(self, encoder: Encoder, chosen: Chosen, of_truth: Tensor) -> Features:
        assert isinstance(self.truth, Relation)
        Z = chosen.embed(encoder)
        weights = torch.full((len(Z),), 1 / len(Z), dtype=torch.float64, device=Z.device)
        return Features(Z, weights, take(self.truth.rows, of_truth))


class PairValidation(NamedTuple):
    """Given pairs to judge an encoder by.

    Attributes
    ----------
    samples : Chosen
        Samples of the pairs.
    similar, dissimilar : Tensor of int64 of shape (n_pairs, 2)
        Pairs of these samples.
    """

    samples: Chosen
    similar: Tensor
    dissimilar: Tensor

    def error(self, encoder: Encoder) -> float:
        """Fraction of the pairs of pairs whose dissimilar one is nearer than the similar one; ties count one half."""
        Z = self.samples.embed(encoder)
        near, far = ((Z[i] - Z[j]).norm(dim=1) for i, j in (self.similar.T, self.dissimilar.T))
        return float((1 + (near[:, None] - far).sign().mean()) / 2)


class Split(NamedTuple):
    """Samples and pairs to train on, and those to judge by.

    Attributes
    ----------
    training : Chosen
        Training samples.
    relation : str, callable or object
        What tells their similar pairs from dissimilar ones.
    validation : Validation, PairValidation or None
        What epochs are judged by, if by anything.
    """

    training: Chosen
    relation: Any
    validation: Validation | PairValidation | None


def split(data: Data, given: list[Data], relation: Any, *, unit: str | None, fraction: float, seed: int) -> Split:
    """Training samples, and validation samples if there are any.

    These are given, or a fraction of the units, "samples", whole "classes" or given "pairs", that epochs are judged by.
    None judges by none.

    Raises
    ------
    ValueError
        If too few are left for either, the targets are no classes where these are held out, or the relation is of other
        samples.
    """
    n, everything = data.summary.n_samples, torch.arange(data.summary.n_samples, device=data.device)
    _check_unit(unit, relation, given)
    targets = data.targets.stacked(given[0].targets) if given else data.targets
    if isinstance(relation, Relation):
        relation = relation.bind(targets.y, data.device)
    training = Chosen(data.partitions, everything)
    if isinstance(relation, GivenPairs):
        return Split(training, relation, None) if unit is None else _split_pairs(training, relation, fraction, seed)
    if unit is None:
        return Split(training, relation, None)
    truth = _classes(targets) if unit == "classes" else pair_relation(targets, relation, data.device)
    if given:
        of_training, of_judged = everything, n + torch.arange(given[0].summary.n_samples, device=data.device)
        judged = Chosen(given[0].partitions, of_judged - n)
    else:
        units = truth if isinstance(truth, Tensor) else everything
        n_units, fewest = int(units.max()) + 1, 2 if isinstance(truth, Tensor) else 1
        drawn = hold_out(n_units, fraction, least=fewest, fewest=fewest, seed=seed, unit=unit)
        of_training, of_judged = (torch.isin(units, some.to(units.device)).nonzero()[:, 0] for some in drawn)
        training, judged = Chosen(data.partitions, of_training), Chosen(data.partitions, of_judged)
    if isinstance(truth, Tensor) and truth[of_judged].bincount().max() < 2:
        raise ValueError(
            "hold_out='classes' needs two validation samples of one class at least, but there is one of each. "
            "Pass hold_out='samples', or other validation samples."
        )
    of_samples = relation[of_training] if isinstance(relation, Relation) else relation
    return Split(training, of_samples, Validation(training, judged, truth, of_training, of_judged))


def _check_unit(unit: str | None, relation: Any, given: list[Data]) -> None:
    """Refuse to judge given pairs by samples or classes, or other relations by pairs."""
    if not isinstance(relation, GivenPairs):
        if unit == "pairs":
            raise ValueError(
                "hold_out='pairs' holds out some of the pairs of a GivenPairs, but relation is none. Pass "
                "hold_out='samples'."
            )
    elif given:
        raise ValueError("relation holds pairs among X, of which X_val has none. Pass hold_out='pairs' in its place.")
    elif unit in ("samples", "classes"):
        raise ValueError(
            f"hold_out={unit!r} judges by the targets of neighbours, but relation holds pairs. Pass hold_out='pairs', "
            "or early_stopping=False."
        )
    elif unit == "pairs" and not min(len(relation.similar), len(relation.dissimilar)):
        raise ValueError(
            "hold_out='pairs' judges whether similar pairs are nearer than dissimilar ones, but relation has pairs of "
            "one kind only. Pass some of both, or early_stopping=False."
        )


def _split_pairs(training: Chosen, relation: GivenPairs, fraction: float, seed: int) -> Split:
    """Split of the pairs, in the same fraction of both kinds; all samples are trained on."""
    device, left, judged = training.places.device, [], []
    options: dict[str, Any] = {"least": 1, "fewest": 1, "seed": seed, "instead": "or early_stopping=False"}
    for kind, pairs in (("similar", relation.similar), ("dissimilar", relation.dissimilar)):
        kept, held = hold_out(len(pairs), fraction, unit=f"{kind} pairs", **options)
        left.append(pairs[kept.numpy()])
        judged.append(torch.from_numpy(pairs)[held[judged_places(len(held), held.device)]].to(device))
    places, ends = torch.cat(judged).unique(return_inverse=True)
    similar, dissimilar = ends.split([len(pairs) for pairs in judged])
    validation = PairValidation(training._replace(places=places), similar, dissimilar)
    return Split(training, GivenPairs(*left, n_samples=relation.n_samples).bind(training.places, device), validation)


def _classes(targets: Targets) -> Tensor:
    codes = Supervision(targets, "discrete").classes
    if codes is None:
        raise ValueError("hold_out='classes' needs one class a sample. Pass hold_out='samples' for other targets.")
    return codes


class Training(nn.Module):
    """Encoder and losses over the epochs.

    Head and losses see the features of a whole batch in every process, and so take the same steps; each process runs
    the trunk on its own samples of it.

    Parameters
    ----------
    encoder : Encoder
        Encoder to train.
    objective : Discrimination or PlainDiscrimination
        Losses of trunk features.
    samples : Chosen
        Training samples.
    width : int
        Number of trunk features.
    batches : callable
        Gives the batches of an epoch, as rows of the training samples, from a source of randomness.
    mixed_precision : bool
        Whether the trunk computes in bfloat16 where that is safe.
    seed : int
        Seed of all that is drawn.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Discrimination | PlainDiscrimination,
        samples: Chosen,
        width: int,
        batches: Callable[[np.random.Generator], Iterator[np.ndarray]],
        mixed_precision: bool,
        seed: int,
    ):
        super().__init__()
        self.encoder, self.objective, self.samples, self.width = encoder, objective, samples, width
        self.batches, self.mixed_precision, self.seed = batches, mixed_precision, seed
        self.to(samples.places.device)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that can be trained, of the trunk, the head and the losses."""
        trunk, head = trained_parameters(self.encoder.trunk), trained_parameters(self.encoder.head)
        known = {id(p) for p in (*trunk, *head)}
        of_losses = [p for p in trained_parameters(self) if id(p) not in known]
        return {"trunk": trunk, "head": head, "loss": of_losses}

    def run_epoch(self, epoch: int, optimizer: Optimizer) -> float:
        """Train one epoch, and return the mean loss of its steps."""
        rng = np.random.default_rng([self.seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        self.train()
        batches = [torch.from_numpy(rows).to(self.samples.places.device) for rows in self.batches(rng)]
        steps = zip(batches, self._read(batches, epoch), strict=True)
        losses = [self._step(rows, x, generator, optimizer) for rows, x in steps]
        self.eval()
        return float(np.mean(losses))

    def _read(self, batches: list[Tensor], epoch: int) -> Iterator[Tensor]:
        """Samples of each batch that this process has, one batch after the other."""
        (own,) = self.samples.partitions.local
        index = (own_places(self.samples.partitions, self.samples.places[rows]) for rows in batches)
        return own.batches(index, dtype_of(self.encoder.head), seed_of(self.seed, epoch))

    def _step(self, rows: Tensor, x: Tensor, generator: Generator, optimizer: Optimizer) -> float:
        optimizer.zero_grad()
        seed = int(torch.randint(2**31, (), generator=generator))
        with drawing(self, seed, rows.device), torch.enable_grad():
            total = self.objective.total(self._features(rows, x), rows, generator)
            total.backward()
        sum_gradients(self.encoder.trunk, self.samples.partitions.ranks)
        optimizer.step()
        return float(total.detach())

    def _features(self, rows: Tensor, x: Tensor) -> Tensor:
        """Trunk features of some training samples, given those that this process has."""
        dtype, places = dtype_of(self.encoder.head), self.samples.places[rows]

        def of_own(index: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16, self.mixed_precision):
                return self.encoder.trunk(x).to(dtype)

        return features_at(self.samples.partitions, places, of_own, self.width, dtype)
