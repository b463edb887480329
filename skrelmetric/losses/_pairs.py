"""Losses of pairs of samples, and functions of pairs that losses of triplets need as well.

One matrix of distances serves all groups. Only pairs within a group count, and the loss of a group is a ratio of sums
over its anchors.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from skrelmetric.losses._core import Batch, Stateless, check, grouped_mean

__all__ = [
    "Circle",
    "Contrastive",
    "MultiSimilarity",
    "NPair",
    "PairSpec",
    "distances",
    "drawn",
    "pairs_of",
    "similar_of_each",
]


def pairs_of(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.similar is None or batch.dissimilar is None:
        raise ValueError("This loss needs pairs: the batch has no `similar` or no `dissimilar`.")
    return batch.similar, batch.dissimilar


def distances(U: Tensor) -> Tensor:
    """Euclidean distances of rows; those that are rounding are 0, with a gradient of 0."""
    norms = U.square().sum(1)
    squared = norms[:, None] + norms - 2 * U @ U.T
    apart = ~(squared <= 4 * torch.finfo(U.dtype).eps)  # so that NaN stays NaN
    return torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)


def similar_of_each(similar: Tensor) -> tuple[Tensor, Tensor]:
    """Similar samples of each as indices of shape (n, most of any), and which of them are there."""
    most = int(similar.sum(1).max()) if len(similar) else 0
    present, index = similar.to(torch.uint8).topk(most, dim=1)
    return index, present > 0


def drawn(weights: Tensor, n_draws: int, generator: Generator) -> Tensor:
    """Columns drawn in proportion to the weights of each row, (n, n_draws); any where a row has no weight."""
    if not n_draws:
        return torch.zeros((len(weights), 0), dtype=torch.int64, device=weights.device)
    cumulative = weights.to(torch.float64).cumsum(1)
    uniform = torch.rand((len(weights), n_draws), generator=generator, dtype=torch.float64).to(weights.device)
    places = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return places.clamp(max=weights.shape[1] - 1)


class PairSpec(ABC):
    """Specification of a loss of pairs, without parameters."""

    uses: ClassVar[frozenset[str]] = frozenset({"pairs"})

    def build(
        self, n_labels: int, width: int, n_groups: int, generator: Generator, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        """Loss without parameters, as `LossSpec.build`.

        Parameters
        ----------
        n_labels, width, n_groups : int
            Not used.
        generator : torch.Generator
            Not used.
        dtype : torch.dtype, default=torch.float32
            Not used.

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ValueError
            If a hyperparameter is out of range.
        """
        self._check()
        return Stateless(self._loss)

    @abstractmethod
    def _check(self) -> None:
        """Refuse hyperparameters out of range."""

    @abstractmethod
    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        """Sum over groups of the loss of unit embeddings."""


@dataclass(frozen=True)
class Contrastive(PairSpec):
    r"""Contrastive loss: similar samples within a distance, dissimilar ones beyond another.

    Parameters
    ----------
    positive_margin : float, default=0.0
        Distance from which similar samples are pulled together, at least 0.
    negative_margin : float, default=1.0
        Distance up to which dissimilar samples are pushed apart, at least 0.

    Notes
    -----
    The mean of the :math:`\max(0, d - m_+)` of similar pairs that are above 0, and that of the
    :math:`\max(0, m_- - d)` of dissimilar ones: R. Hadsell, S. Chopra and Y. LeCun, "Dimensionality Reduction by
    Learning an Invariant Mapping", CVPR 2006, without its squares.

    Examples
    --------
    >>> from skrelmetric.losses import Contrastive
    >>> Contrastive(negative_margin=0.5)
    Contrastive(positive_margin=0.0, negative_margin=0.5)
    """

    positive_margin: float = 0.0
    negative_margin: float = 1.0

    def _check(self) -> None:
        check(self, 0, "positive_margin", "negative_margin", inclusive=True)

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = pairs_of(batch)
        d = distances(U)
        far, near = (d - self.positive_margin).relu() * similar, (self.negative_margin - d).relu() * dissimilar
        pull, push = (grouped_mean(x.sum(1), (x > 0).sum(1), batch) for x in (far, near))
        return pull + push


@dataclass(frozen=True)
class MultiSimilarity(PairSpec):
    r"""Multi-similarity loss: each sample weighs its pairs by how they compare with one another.

    Parameters
    ----------
    alpha : float, default=2.0
        Sharpness for similar samples, above 0.
    beta : float, default=50.0
        Sharpness for dissimilar samples, above 0.
    base : float, default=0.5
        Cosine that similar samples should exceed and dissimilar ones undercut.

    Notes
    -----
    The mean over samples of :math:`\frac{1}{\alpha} \log(1 + \sum_p e^{-\alpha (s_p - \lambda)})
    + \frac{1}{\beta} \log(1 + \sum_n e^{\beta (s_n - \lambda)})`: X. Wang et al., "Multi-Similarity Loss with
    General Pair Weighting for Deep Metric Learning", CVPR 2019, without its mining.

    Examples
    --------
    >>> from skrelmetric.losses import MultiSimilarity
    >>> MultiSimilarity(base=1.0)
    MultiSimilarity(alpha=2.0, beta=50.0, base=1.0)
    """

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5

    def _check(self) -> None:
        check(self, 0, "alpha", "beta")
        check(self, None, "base")

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = pairs_of(batch)
        s = U @ U.T - self.base
        pull = _log1p_sum_exp(-self.alpha * s, similar) / self.alpha
        push = _log1p_sum_exp(self.beta * s, dissimilar) / self.beta
        return grouped_mean(pull + push, torch.ones_like(pull), batch)


def _log1p_sum_exp(x: Tensor, mask: Tensor) -> Tensor:
    """log(1 + sum of e^x) over the masked entries of each row."""
    return torch.cat([x.new_zeros(len(x), 1), x.masked_fill(~mask, -torch.inf)], 1).logsumexp(1)


@dataclass(frozen=True)
class Circle(PairSpec):
    r"""Circle loss: similarities are weighed by how far they are from their optimum.

    Parameters
    ----------
    m : float, default=0.4
        Relaxation: similar samples should have cosines above 1 - m, dissimilar ones below m.
    gamma : float, default=80.0
        Scale, above 0.

    Notes
    -----
    The mean over samples with a similar and a dissimilar one, of terms above 0, of
    :math:`\log(1 + \sum_n e^{\gamma [s_n + m]_+ (s_n - m)} \sum_p e^{-\gamma [1 + m - s_p]_+ (s_p - 1 + m)})`, the
    factors in brackets being constants of the gradient: Y. Sun et al., "Circle Loss: A Unified Perspective of Pair
    Similarity Optimization", CVPR 2020.

    Examples
    --------
    >>> from skrelmetric.losses import Circle
    >>> Circle(m=0.25)
    Circle(m=0.25, gamma=80.0)
    """

    m: float = 0.4
    gamma: float = 80.0

    def _check(self) -> None:
        check(self, None, "m")
        check(self, 0, "gamma")

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = pairs_of(batch)
        s, lowest = U @ U.T, torch.finfo(U.dtype).min / 4
        pull = -self.gamma * (1 + self.m - s.detach()).relu() * (s - 1 + self.m)
        push = self.gamma * (s.detach() + self.m).relu() * (s - self.m)
        both = pull.masked_fill(~similar, lowest).logsumexp(1) + push.masked_fill(~dissimilar, lowest).logsumexp(1)
        terms = softplus(both) * (similar.any(1) & dissimilar.any(1))
        return grouped_mean(terms, terms > 0, batch)


@dataclass(frozen=True)
class NPair(PairSpec):
    r"""N-pair loss: an anchor tells its similar sample from those of the other anchors.

    Notes
    -----
    Every sample with a similar one later in the batch is an anchor a, and one of those is drawn for its partner
    :math:`a^+`. The mean over anchors of :math:`-\log\, e^{s(a, a^+)} / (e^{s(a, a^+)} + \sum_b e^{s(a, b^+)})`, b
    being the other anchors whose partners are dissimilar to a, and s the cosine: K. Sohn, "Improved Deep Metric
    Learning with Multi-class N-pair Loss Objective", NeurIPS 2016, which has two samples of each class.

    Examples
    --------
    >>> from skrelmetric.losses import NPair
    >>> NPair()
    NPair()
    """

    def _check(self) -> None:
        """No hyperparameters to refuse."""

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = pairs_of(batch)
        if not len(U):
            return U.sum()
        later = similar.triu(1)
        partner, anchors = drawn(later, 1, generator)[:, 0], later.any(1)
        s = U @ U[partner].T  # (n, n): of a sample with the partner of another
        others = dissimilar[:, partner] & anchors
        terms = _log1p_sum_exp(s - s.diagonal()[:, None], others)
        return grouped_mean(terms * anchors, anchors, batch)
