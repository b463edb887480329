"""Losses of pairs and triplets of samples, on one matrix of distances for all groups.

Pairs of a batch stay within groups, so do distances that count; a group's loss is a ratio of sums over its anchors.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize, softplus

from skrelmetric.losses._core import Batch, Stateless, check, grouped_mean

__all__ = ["Circle", "Contrastive", "Margin", "MultiSimilarity", "NPair", "Triplet"]


def _pairs_of(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.similar is None or batch.dissimilar is None:
        raise ValueError("This loss needs pairs: the batch has no `similar` or no `dissimilar`.")
    return batch.similar, batch.dissimilar


def _distances(U: Tensor) -> Tensor:
    """Euclidean distances of rows; those that are rounding are 0, with a gradient of 0."""
    norms = U.square().sum(1)
    squared = norms[:, None] + norms - 2 * U @ U.T
    apart = squared > 4 * torch.finfo(U.dtype).eps
    return torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)


def _similar_of_each(similar: Tensor) -> tuple[Tensor, Tensor]:
    """Similar samples of each as indices of shape (n, most of any), and which of them are there."""
    most = int(similar.sum(1).max()) if len(similar) else 0
    present, index = similar.to(torch.uint8).topk(most, dim=1)
    return index, present > 0


def _drawn(weights: Tensor, n_draws: int, generator: Generator) -> Tensor:
    """Columns drawn in proportion to the weights of each row, (n, n_draws); any where a row has no weight."""
    if not n_draws:
        return torch.zeros((len(weights), 0), dtype=torch.int64, device=weights.device)
    cumulative = weights.to(torch.float64).cumsum(1)
    uniform = torch.rand((len(weights), n_draws), generator=generator, dtype=torch.float64).to(weights.device)
    places = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return places.clamp(max=weights.shape[1] - 1)


class _PairSpec(ABC):
    """A loss of pairs alone, without parameters."""

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
class Triplet(_PairSpec):
    r"""Triplet loss: a dissimilar sample should be farther than a similar one, by a margin.

    Parameters
    ----------
    margin : float, default=0.2
        By how much, in distances of at most 2; above 0.
    mining : {"semi-hard", "all", "random"}, default="semi-hard"
        Triplets: all; those whose dissimilar sample is farther than the similar one but within the margin; or one
        dissimilar sample drawn for each similar pair.

    Notes
    -----
    The mean of :math:`\max(0, d_{ap} - d_{an} + \delta)` over the triplets where it is positive, d being the Euclidean
    distance of normalised embeddings: F. Schroff, D. Kalenichenko and J. Philbin, "FaceNet: A Unified Embedding for
    Face Recognition and Clustering", CVPR 2015. Triplets are never listed: sorted distances tell how many dissimilar
    samples lie in the window of each similar pair. Cost: n^2 log n.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import Batch, Triplet
    >>> generator = torch.Generator()
    >>> loss = Triplet(mining="all").build(n_labels=2, width=2, n_groups=1, generator=generator)
    >>> Z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    >>> round(float(loss(Z, Batch.of_classes(torch.tensor([0, 0, 1]), 2), generator)), 6)
    0.2
    """

    margin: float = 0.2
    mining: str = "semi-hard"

    def _check(self) -> None:
        check(self, 0, "margin")
        if self.mining not in _MINING:
            raise ValueError(f"mining={self.mining!r} of Triplet is not known. Choose one of {list(_MINING)}.")

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = _pairs_of(batch)
        d = _distances(U)
        with torch.no_grad():
            coefficients, counts = _MINING[self.mining](d, similar, dissimilar, self.margin, generator)
        # The loss is linear in distances as long as the same triplets violate the margin.
        violations = (coefficients * d).sum(1, dtype=torch.float64) + self.margin * counts.to(torch.float64)
        return grouped_mean(violations, counts, batch)


def _window(d: Tensor, similar: Tensor, dissimilar: Tensor, margin: float, semi_hard: bool) -> tuple[Tensor, Tensor]:
    """Coefficients of distances in the sum of d_ap - d_an over violating triplets, and how many each anchor has."""
    index, present = _similar_of_each(similar)
    near, order = torch.where(dissimilar, d, torch.inf).sort(1)
    d_ap = d.gather(1, index)
    stop = torch.searchsorted(near, d_ap + margin) * present
    start = torch.searchsorted(near, d_ap, right=True) * present if semi_hard else torch.zeros_like(stop)
    # A window opens at its start and closes at its stop: running sums tell how many are open at each place.
    n, opened = len(d), present.to(torch.int64)
    changes = opened.new_zeros(n, n + 1).scatter_add_(1, start, opened).scatter_add_(1, stop, -opened)
    open_windows = changes.cumsum(1)[:, :n]
    sizes = stop - start
    coefficients = torch.zeros_like(changes[:, :n]).scatter_(1, order, -open_windows).scatter_add_(1, index, sizes)
    return coefficients.to(d.dtype), sizes.sum(1)


def _all(d: Tensor, similar: Tensor, dissimilar: Tensor, margin: float, generator: Generator) -> tuple[Tensor, Tensor]:
    return _window(d, similar, dissimilar, margin, semi_hard=False)


def _semi_hard(
    d: Tensor, similar: Tensor, dissimilar: Tensor, margin: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    return _window(d, similar, dissimilar, margin, semi_hard=True)


def _random(
    d: Tensor, similar: Tensor, dissimilar: Tensor, margin: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    p, present = _similar_of_each(similar)
    n = _drawn(dissimilar, p.shape[1], generator)
    active = present & dissimilar.gather(1, n) & (d.gather(1, p) + margin > d.gather(1, n))
    ones = active.to(d.dtype)
    return torch.zeros_like(d).scatter_add_(1, p, ones).scatter_add_(1, n, -ones), active.sum(1)


_MINING = {"semi-hard": _semi_hard, "all": _all, "random": _random}


@dataclass(frozen=True)
class Margin:
    r"""Margin loss with distance-weighted sampling: distances stay on their side of a learned boundary.

    Parameters
    ----------
    margin : float, default=0.2
        Distance from the boundary at which a pair stops counting, above 0.
    beta : float, default=1.2
        The boundary, or where it starts.
    cutoff : float, default=0.5
        Distances below are drawn as if they were this one; above 0.
    nonzero_loss_cutoff : float, default=1.4
        Samples at least this far are not drawn; above 0.
    learn_beta : bool, default=True
        Whether every group and label learns a boundary.

    Notes
    -----
    For each similar pair one dissimilar sample is drawn, in inverse proportion to the density of distances on the
    sphere, :math:`q(d) \propto d^{D-2} (1 - d^2 / 4)^{(D-3)/2}`. The sum of
    :math:`\max(0, d_{ap} - \beta_a + m) + \max(0, \beta_a - d_{an} + m)` is divided by the number of terms above 0.
    The boundary of a sample is the mean of those of its labels, weighted by degrees; `beta` for a sample of none.
    C.-Y. Wu, R. Manmatha, A. J. Smola and P. Kraehenbuehl, "Sampling Matters in Deep Embedding Learning", ICCV 2017.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import Margin
    >>> loss = Margin().build(n_labels=4, width=3, n_groups=2, generator=torch.Generator())
    >>> tuple(loss.beta.shape)
    (2, 4)
    """

    margin: float = 0.2
    beta: float = 1.2
    cutoff: float = 0.5
    nonzero_loss_cutoff: float = 1.4
    learn_beta: bool = True
    uses: ClassVar[frozenset[str]] = frozenset({"pairs", "labels"})

    def build(
        self, n_labels: int, width: int, n_groups: int, generator: Generator, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        """Loss with boundaries of its own, as `LossSpec.build`.

        Parameters
        ----------
        n_labels : int
            Number of labels, which have a boundary each.
        width : int
            Not used.
        n_groups : int
            Number of groups, which have boundaries of their own.
        generator : torch.Generator
            Not used.
        dtype : torch.dtype, default=torch.float32
            Type of the boundaries.

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ValueError
            If a hyperparameter is out of range.
        """
        check(self, None, "beta")
        check(self, 0, "margin", "cutoff", "nonzero_loss_cutoff")
        return _Margin(self, torch.full((n_groups, n_labels), self.beta, dtype=dtype))


class _Margin(nn.Module):
    def __init__(self, spec: Margin, beta: Tensor):
        super().__init__()
        self.spec = spec
        self.beta = nn.Parameter(beta, requires_grad=spec.learn_beta)  # (n_groups, n_labels)

    def forward(self, Z: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = _pairs_of(batch)
        d = _distances(normalize(Z, dim=1))
        with torch.no_grad():
            weights = _distance_weights(d, dissimilar, Z.shape[1], self.spec.cutoff, self.spec.nonzero_loss_cutoff)
            p, present = _similar_of_each(similar)
            n = _drawn(weights, p.shape[1], generator)
            present = present & (weights.gather(1, n) > 0)
        return self._of_triplets(d, p, n, present, batch).to(Z.dtype)

    def _of_triplets(self, d: Tensor, p: Tensor, n: Tensor, present: Tensor, batch: Batch) -> Tensor:
        """Loss of each anchor's similar and dissimilar samples p and n, of shape (n, n_triplets)."""
        boundary = self._boundaries(batch, d.dtype)[:, None]
        too_far = (d.gather(1, p) - boundary + self.spec.margin).relu() * present
        too_near = (boundary - d.gather(1, n) + self.spec.margin).relu() * present
        counts = (too_far > 0).sum(1) + (too_near > 0).sum(1)
        return grouped_mean((too_far + too_near).sum(1), counts, batch)

    def _boundaries(self, batch: Batch, dtype: torch.dtype) -> Tensor:
        if batch.positive is None:
            raise ValueError("This loss needs labels: the batch has no `positive`.")
        positive = batch.positive.to(dtype)
        total = positive.sum(1)
        mean = (positive * self.beta[batch.groups]).sum(1) / torch.where(total > 0, total, 1)
        return torch.where(total > 0, mean, self.spec.beta)


def _distance_weights(d: Tensor, dissimilar: Tensor, width: int, cutoff: float, nonzero_loss_cutoff: float) -> Tensor:
    """Chances of drawing each dissimilar sample for each anchor; a row of zeros where none may be drawn."""
    d = d.clamp(min=cutoff)
    logarithms = (2 - width) * d.log() - (width - 3) / 2 * (1 - d.square() / 4).log()
    allowed = dissimilar & (d < nonzero_loss_cutoff) & logarithms.isfinite()
    return logarithms.masked_fill(~allowed, -torch.inf).softmax(1).nan_to_num(0)


@dataclass(frozen=True)
class Contrastive(_PairSpec):
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
        similar, dissimilar = _pairs_of(batch)
        d = _distances(U)
        far, near = (d - self.positive_margin).relu() * similar, (self.negative_margin - d).relu() * dissimilar
        pull, push = (grouped_mean(x.sum(1), (x > 0).sum(1), batch) for x in (far, near))
        return pull + push


@dataclass(frozen=True)
class MultiSimilarity(_PairSpec):
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
        similar, dissimilar = _pairs_of(batch)
        s = U @ U.T - self.base
        pull = _log1p_sum_exp(-self.alpha * s, similar) / self.alpha
        push = _log1p_sum_exp(self.beta * s, dissimilar) / self.beta
        return grouped_mean(pull + push, torch.ones_like(pull), batch)


def _log1p_sum_exp(x: Tensor, mask: Tensor) -> Tensor:
    """log(1 + sum of e^x) over the masked entries of each row."""
    return torch.cat([x.new_zeros(len(x), 1), x.masked_fill(~mask, -torch.inf)], 1).logsumexp(1)


@dataclass(frozen=True)
class Circle(_PairSpec):
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
        similar, dissimilar = _pairs_of(batch)
        s, lowest = U @ U.T, torch.finfo(U.dtype).min / 4
        pull = -self.gamma * (1 + self.m - s.detach()).relu() * (s - 1 + self.m)
        push = self.gamma * (s.detach() + self.m).relu() * (s - self.m)
        both = pull.masked_fill(~similar, lowest).logsumexp(1) + push.masked_fill(~dissimilar, lowest).logsumexp(1)
        terms = softplus(both) * (similar.any(1) & dissimilar.any(1))
        return grouped_mean(terms, terms > 0, batch)


@dataclass(frozen=True)
class NPair(_PairSpec):
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
        """There are none."""

    def _loss(self, U: Tensor, batch: Batch, generator: Generator) -> Tensor:
        similar, dissimilar = _pairs_of(batch)
        if not len(U):
            return U.sum()
        later = similar.triu(1)
        partner, anchors = _drawn(later, 1, generator)[:, 0], later.any(1)
        s = U @ U[partner].T  # (n, n): of a sample with the partner of another
        others = dissimilar[:, partner] & anchors
        terms = _log1p_sum_exp(s - s.diagonal()[:, None], others)
        return grouped_mean(terms * anchors, anchors, batch)
