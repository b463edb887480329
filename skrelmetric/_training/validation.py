"""Validation of epochs: samples held out, and the relation to their neighbours."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrelmetric._data.partitions import Partitions
from skrelmetric._data.samples import Rows, dense, take
from skrelmetric._search.device import TensorSearch
from skrelmetric.relations import Relation

__all__ = ["Features", "hold_out", "judged_places", "relation_to_neighbours"]

_N_NEIGHBORS = 10
N_JUDGED = 2000  # samples whose neighbours are searched; more would not change the choice of an epoch


def hold_out(
    n_units: int,
    fraction: float,
    *,
    least: int,
    fewest: int,
    seed: int,
    unit: str,
    instead: str = "X_val and y_val, or early_stopping=False",
) -> tuple[Tensor, Tensor]:
    """Units to train on and units to judge by, samples, whole classes or pairs, each in ascending order.

    A fraction of them is held out, and at `least` so many; `instead` is what an error advises where that cannot be.

    Raises
    ------
    ValueError
        If less than two are left for training, or less than the `fewest` that can be judged by.
    """
    n_validation = max(least, round(fraction * n_units))
    n_training = n_units - n_validation
    if n_validation < fewest or n_training < 2:
        raise ValueError(
            f"validation_fraction={fraction} leaves {max(0, n_training)} of {n_units} {unit} for training and "
            f"{n_validation} for validation; 2 and {fewest} are needed. "
            f"Pass more {unit}, another fraction, {instead}."
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n_units))
    return order[n_validation:].sort().values, order[:n_validation].sort().values


class Features(NamedTuple):
    """Features of the samples of a partition, with what an exact head needs of their targets.

    Attributes
    ----------
    Z : Tensor of shape (n_samples, width)
        Features, or embeddings.
    weights : Tensor of shape (n_samples,)
        Weights of the samples.
    rows : Tensor or csr_array of shape (n_samples, k)
        Rows of their relation.
    """

    Z: Tensor
    weights: Tensor
    rows: Rows


def judged_places(n_samples: int, device: torch.device) -> Tensor:
    """Places of the validation samples that are judged, 2,000 at most, evenly spaced."""
    return torch.arange(0, n_samples, -(-n_samples // N_JUDGED), device=device)


def relation_to_neighbours(embeddings: Partitions, judged: Features, G: Relation) -> float:
    """Weighted mean relation of judged samples to their ten nearest training samples.

    Embeddings are partitions of Features; `G` is a relation of any samples, with the core of all.
    """

    def nearest(some: Features) -> tuple[Tensor, Tensor]:
        return _nearest(some.Z, G.over(some.rows), judged.Z.to(some.Z.dtype), judged.rows)

    _, relations = embeddings.fold(nearest, _nearer)
    return float(judged.weights @ relations.mean(1) / judged.weights.sum())


def _nearest(embedding: Tensor, G: Relation, judged: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Squared distances and relations of judged samples to their nearest of a partition, of shape (n_judged, k)."""
    k = min(_N_NEIGHBORS, len(embedding))
    if not k:
        none = judged.new_zeros((len(judged), 0), dtype=torch.float64)
        return none, none
    nearest = TensorSearch(embedding).nearest(judged, k).indices
    distances = (embedding[nearest] - judged[:, None]).to(torch.float64).square().sum(2)
    both = torch.cat([dense(rows), dense(take(G.rows, nearest.reshape(-1))).to(dense(rows))])
    places = torch.arange(len(judged), device=judged.device).repeat_interleave(k)
    neighbours = len(judged) + torch.arange(len(places), device=judged.device)
    relations = G.over(both.to(dense(G.rows[:0]).dtype)).pairs(places, neighbours)
    return distances, relations.to(torch.float64).reshape(-1, k)


def _nearer(some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The nearest among those of two partitions, equal ones in their order."""
    distances, relations = (torch.cat(pair, 1) for pair in zip(some, others, strict=True))
    order = distances.sort(dim=1, stable=True).indices[:, :_N_NEIGHBORS]
    return distances.gather(1, order), relations.gather(1, order)
