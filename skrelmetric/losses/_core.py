"""Foundations of all losses: the targets of a batch, the protocol of a specification, and means over groups."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from skrelmetric._interop.torch import unit

__all__ = ["Batch", "LossSpec"]


class Batch(NamedTuple):
    """Targets of a batch, in the terms of losses.

    Parameters
    ----------
    similar : Tensor of shape (n, n) or None
        Whether two samples are to be pulled together; False on the diagonal and across groups.
    dissimilar : Tensor of shape (n, n) or None
        Whether two samples are to be pushed apart; False across groups.
    positive : Tensor of shape (n, n_labels) or None
        Degree in which a sample has each label, in [0, 1]; one-hot for classes.
    negative : Tensor of shape (n, n_labels) or None
        One minus `positive`, and 0 where it is unknown whether a sample has a label.
    groups : Tensor of shape (n,)
        Branch of an ensemble that each sample trains, as int64; 0 for a single loss.
    n_groups : int
        Number of groups, of which some may be empty.
    targets : Tensor of shape (n,) or (n, n_outputs), default=None
        Classes, or targets as they came, for losses of the user's own.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import Batch
    >>> Batch.of_classes(torch.tensor([0, 0, 1]), n_labels=2).similar.int().tolist()
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    """

    similar: Tensor | None
    dissimilar: Tensor | None
    positive: Tensor | None
    negative: Tensor | None
    groups: Tensor
    n_groups: int
    targets: Tensor | None = None

    @classmethod
    def of_classes(cls, codes: Tensor, n_labels: int, groups: Tensor | None = None, n_groups: int = 1) -> "Batch":
        """Batch whose samples have one class each.

        Parameters
        ----------
        codes : Tensor of shape (n,)
            Class of each sample, in 0, ..., n_labels - 1.
        n_labels : int
            Number of classes.
        groups : Tensor of shape (n,), optional
            Group of each sample; all of group 0 by default.
        n_groups : int, default=1
            Number of groups.

        Returns
        -------
        Batch
        """
        codes = codes.to(torch.int64)
        same = codes[:, None] == codes
        positive = one_hot(codes, n_labels).to(torch.get_default_dtype())
        similar = same.clone().fill_diagonal_(False)
        whole = cls(similar, ~same, positive, 1 - positive, torch.zeros_like(codes), 1)
        return whole if groups is None else whole.divided(groups.to(torch.int64), n_groups)

    def of(self, samples: Tensor) -> "Batch":
        """Batch of some of the samples, any of them more than once.

        Parameters
        ----------
        samples : Tensor of shape (m,)
            Their places, as int64.

        Returns
        -------
        Batch
        """
        similar, dissimilar = (
            None if mask is None else mask[samples[:, None], samples] for mask in (self.similar, self.dissimilar)
        )
        positive, negative, targets = (
            None if of_samples is None else of_samples[samples]
            for of_samples in (self.positive, self.negative, self.targets)
        )
        return Batch(similar, dissimilar, positive, negative, self.groups[samples], self.n_groups, targets)

    def divided(self, groups: Tensor, n_groups: int) -> "Batch":
        """Batch of the same targets in groups, across which there are no pairs.

        Parameters
        ----------
        groups : Tensor of shape (n,)
            Group of each sample, as int64.
        n_groups : int
            Number of groups.

        Returns
        -------
        Batch
        """
        together = groups[:, None] == groups
        similar, dissimilar = (None if mask is None else mask & together for mask in (self.similar, self.dissimilar))
        return self._replace(similar=similar, dissimilar=dissimilar, groups=groups, n_groups=n_groups)


class LossSpec(Protocol):
    """Specification of a loss, which builds it; pass your own to train on it."""

    @property
    def uses(self) -> frozenset[str]:
        """Fields of a batch that the loss reads, of "pairs" and "labels"; others may be None."""
        ...

    def build(
        self, n_labels: int, width: int, n_groups: int, generator: Generator, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        """Loss with parameters of its own.

        Parameters
        ----------
        n_labels : int
            Number of labels.
        width : int
            Number of components of an embedding.
        n_groups : int
            Number of groups, each with parameters of its own.
        generator : torch.Generator
            Source of the parameters, on the CPU.
        dtype : torch.dtype, default=torch.float32
            Type of the parameters.

        Returns
        -------
        torch.nn.Module
            Maps embeddings of shape (n, width), a `Batch` and a generator to the sum of the losses of the groups.
        """
        ...


class Stateless(nn.Module):
    """Loss without parameters: a function of unit embeddings, a batch and a generator."""

    def __init__(self, loss: Callable[[Tensor, Batch, Generator], Tensor]):
        super().__init__()
        self.loss = loss

    def forward(self, Z: Tensor, batch: Batch, generator: Generator) -> Tensor:
        return self.loss(unit(Z), batch, generator).to(Z.dtype)


def labels_of(batch: Batch, Z: Tensor) -> tuple[Tensor, Tensor]:
    """Degrees of belonging and not belonging, in the dtype of the embeddings."""
    if batch.positive is None or batch.negative is None:
        raise ValueError("This loss needs labels: the batch has no `positive` or no `negative`.")
    return batch.positive.to(Z.dtype), batch.negative.to(Z.dtype)


def grouped_mean(values: Tensor, counts: Tensor, batch: Batch) -> Tensor:
    """Sum over groups of (sum of values) / (sum of counts), both of shape (n,); 0 for a group that counts nothing."""
    zeros = values.new_zeros(batch.n_groups)
    counted = zeros.index_add(0, batch.groups, counts.to(values.dtype))
    totals = zeros.index_add(0, batch.groups, values)
    return (totals / torch.where(counted > 0, counted, 1)).sum()


def check(spec: Any, low: float | None, *names: str, inclusive: bool = False, whole: bool = False) -> None:
    """Raise ValueError unless hyperparameters are finite numbers above `low`."""
    for name in names:
        value = getattr(spec, name)
        fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        fits = fits and float("-inf") < value < float("inf")
        if not fits or (low is not None and (value < low or (value == low and not inclusive))):
            limit = "" if low is None else f" of at least {low:g}" if inclusive else f" above {low:g}"
            kind = "whole" if whole else "finite"
            raise ValueError(f"{name}={value!r} of {type(spec).__name__} must be a {kind} number{limit}.")
