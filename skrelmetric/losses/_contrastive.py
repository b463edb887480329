"""Supervised contrastive loss: pairs that count by how far their labels overlap."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from skrelmetric.losses._core import Batch, check, grouped_mean, labels_of
from skrelmetric.losses._pairs import PairSpec

__all__ = ["SupervisedContrastive"]


@dataclass(frozen=True)
class SupervisedContrastive(PairSpec):
    r"""Supervised contrastive loss: each sample tells those that share its labels from all others.

    Parameters
    ----------
    temperature : float, default=0.1
        Divisor of the cosines, above 0.

    Notes
    -----
    The mean over samples i that share a label with another of

    .. math:: -\frac{\sum_j w_{ij} \log p_{ij}}{\sum_j w_{ij}},
              \qquad p_{ij} = \frac{e^{s_{ij} / \tau}}{\sum_{k \ne i} e^{s_{ik} / \tau}},
              \qquad w_{ij} = \frac{\sum_c \min(y_{ic}, y_{jc})}{\sum_c \max(y_{ic}, y_{jc})}.

    For classes w is 0 or 1: equation 2 of P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020. For label
    sets w is the Jaccard similarity, 1 where neither sample has a label; that weights are divided by their sum is as X.
    Su, R. Wang and X. Dai have it, who count shared labels: "Contrastive Learning-Enhanced Nearest Neighbor Mechanism
    for Multi-Label Text Classification", ACL 2022. Labels that are unknown of either sample are left out, and so are
    pairs of which no label is known of both.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import Batch, SupervisedContrastive
    >>> generator = torch.Generator()
    >>> loss = SupervisedContrastive(temperature=1.0).build(
    ...     n_labels=2, width=3, n_groups=1, generator=generator
    ... )
    >>> batch = Batch.of_classes(torch.tensor([0, 0, 1]), 2)
    >>> round(float(loss(torch.eye(3), batch, generator)), 6)  # log 2
    0.693147
    """

    temperature: float = 0.1
    uses: ClassVar[frozenset[str]] = frozenset({"labels"})

    def _check(self) -> None:
        check(self, 0, "temperature")

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        positive, negative = labels_of(batch, U)
        weights, comparable = _overlaps(positive, negative)
        together = (batch.groups[:, None] == batch.groups).fill_diagonal_(False) & comparable
        weights = weights * together
        total = weights.sum(1)
        logits = (U @ U.T / self.temperature).masked_fill(~together, torch.finfo(U.dtype).min / 2)
        terms = -(weights * logits.log_softmax(1)).sum(1) / torch.where(total > 0, total, 1)
        return grouped_mean(terms, total > 0, batch)


def _overlaps(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap of the labels of all pairs, in [0, 1], and whether any label is known of both."""
    known = (positive + negative > 0).to(positive.dtype)
    shared = _shared(positive)  # nothing of a label that is unknown of either, whose degree is 0
    either = positive @ known.T + known @ positive.T - shared
    return torch.where(either > 0, shared / torch.where(either > 0, either, 1), 1), known @ known.T > 0


def _shared(degrees: Tensor) -> Tensor:
    """Sum of the minima of the degrees of all pairs, exactly 0 where no label has a degree in both."""
    has = (degrees > 0).to(degrees.dtype)
    n_shared = has @ has.T
    if (degrees == has).all():
        return n_shared
    sums = degrees.sum(1)
    shared = (sums[:, None] + sums - torch.cdist(degrees, degrees, p=1)) / 2
    return torch.where(n_shared > 0, shared.clamp(min=0), 0)
