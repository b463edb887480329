"""Losses of rankings: each sample ranks the others of its group by similarity."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from skrelmetric.losses._core import Batch, check, grouped_mean
from skrelmetric.losses._pairs import PairSpec, distances, pairs_of

__all__ = ["RankedList", "SmoothAP"]

_CELLS = 2**20


@dataclass(frozen=True)
class SmoothAP(PairSpec):
    r"""Smooth average precision: one less the average precision of each sample's ranking, with ranks made smooth.

    Parameters
    ----------
    temperature : float, default=0.01
        Difference of cosines below which a rank is smooth, above 0.

    Notes
    -----
    The mean over samples q that have a similar one of

    .. math:: 1 - \frac{1}{|P|} \sum_{i \in P} \frac{1 + \sum_{j \in P, j \ne i} \sigma((s_{qj} - s_{qi}) / \tau)}
              {1 + \sum_{j \in P \cup N, j \ne i} \sigma((s_{qj} - s_{qi}) / \tau)},

    P being the samples similar to q and q itself, N those dissimilar to it, and :math:`\sigma` the logistic function:
    A. Brown, W. Xie, V. Kalogeiton and A. Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image
    Retrieval", ECCV 2020, where a sample is a result of its own ranking in their code. Classes need not be of one size.
    Cost: n times all similar pairs, in memory of the order of n^2.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import Batch, SmoothAP
    >>> generator = torch.Generator()
    >>> loss = SmoothAP().build(n_labels=2, width=2, n_groups=1, generator=generator)
    >>> Z = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    >>> round(float(loss(Z, Batch.of_classes(torch.tensor([0, 0, 1]), 2), generator)), 6)
    0.0
    """

    temperature: float = 0.01

    def _check(self) -> None:
        check(self, 0, "temperature")

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = pairs_of(batch)
        s = U @ U.T / self.temperature
        with torch.no_grad():
            precision, slopes = _average_precision(s, similar, dissimilar)
        # As large as the precision, with its gradient: nothing of the triplets is kept for the backward pass.
        precision = precision + (slopes * (s - s.detach())).sum(1)
        anchors = similar.any(1)
        return grouped_mean((1 - precision) * anchors, anchors, batch)


def _average_precision(s: Tensor, similar: Tensor, dissimilar: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth average precision of each row's ranking, itself included, (n,), and its gradient by the row, (n, n)."""
    n = len(s)
    similar = similar | torch.eye(n, dtype=torch.bool, device=s.device)
    counts = similar.sum(1)
    precision, slopes = s.new_zeros(n), torch.zeros_like(s)
    some_pairs = max(1, _CELLS // max(1, n))
    for q, i in zip(*(ends.split(some_pairs) for ends in similar.nonzero(as_tuple=True)), strict=True):
        above = (s[q] - s[q, i][:, None]).sigmoid()  # (n_pairs, n); one half at i itself
        of_similar, of_dissimilar = above * similar[q], above * dissimilar[q]
        right, wrong = of_similar.sum(1, keepdim=True) + 0.5, of_dissimilar.sum(1, keepdim=True)
        share = (right + wrong) * counts[q, None]
        change = (1 - above) * (of_similar * wrong - of_dissimilar * right) / (share * (right + wrong))
        precision.index_add_(0, q, (right / share)[:, 0])
        slopes.index_add_(0, q, change)
        slopes.index_put_((q, i), -change.sum(1), accumulate=True)
    return precision, slopes


@dataclass(frozen=True)
class RankedList(PairSpec):
    r"""Ranked list loss: similar samples within a hypersphere, dissimilar ones beyond a margin, the near ones most.

    Parameters
    ----------
    alpha : float, default=1.2
        Distance up to which dissimilar samples are pushed apart, above 0.
    margin : float, default=0.4
        Amount by which similar samples should be nearer than that, from 0 to `alpha`.
    temperature : float, default=10.0
        Factor T of the violation in the weight of a dissimilar sample, at least 0; 0 weighs all alike.
    balance : float, default=0.5
        Part that dissimilar samples have in the loss, in [0, 1].

    Notes
    -----
    The mean over samples of :math:`(1 - \lambda) L_P + \lambda L_N`, where :math:`L_P` is the mean of the
    :math:`\max(0, d - \alpha + m)` of similar samples that are above 0, and :math:`L_N` that of the
    :math:`v = \max(0, \alpha - d)` of dissimilar ones, weighted by :math:`e^{T v}`, a constant of the gradient: X. Wang
    et al., "Ranked List Loss for Deep Metric Learning", CVPR 2019.

    Examples
    --------
    >>> from skrelmetric.losses import RankedList
    >>> RankedList(margin=0.2)
    RankedList(alpha=1.2, margin=0.2, temperature=10.0, balance=0.5)
    """

    alpha: float = 1.2
    margin: float = 0.4
    temperature: float = 10.0
    balance: float = 0.5

    def _check(self) -> None:
        check(self, 0, "alpha")
        check(self, 0, "margin", "temperature", "balance", inclusive=True)
        for name, most in (("margin", self.alpha), ("balance", 1)):
            if getattr(self, name) > most:
                raise ValueError(f"{name}={getattr(self, name)!r} of RankedList must not exceed {most:g}.")

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = pairs_of(batch)
        d = distances(U)
        far, near = (d - self.alpha + self.margin).relu() * similar, (self.alpha - d).relu() * dissimilar
        pull = far.sum(1) / (far > 0).sum(1).clamp(min=1)
        lowest = torch.finfo(d.dtype).min / 2
        weights = (self.temperature * near.detach()).masked_fill(near <= 0, lowest).softmax(1)
        terms = (1 - self.balance) * pull + self.balance * (weights * near).sum(1)
        return grouped_mean(terms, torch.ones_like(terms), batch)
