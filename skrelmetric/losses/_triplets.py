"""Losses of triplets: an anchor, a similar sample and a dissimilar one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from skrelmetric._interop.torch import unit
from skrelmetric.losses._core import Batch, check, grouped_mean
from skrelmetric.losses._pairs import PairSpec, distances, drawn, pairs_of, similar_of_each

__all__ = ["Margin", "Triplet"]


@dataclass(frozen=True)
class Triplet(PairSpec):
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
    >>> loss = Triplet(mining="all").build(
    ...     n_labels=2, width=2, n_groups=1, generator=generator
    ... )
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
        similar, dissimilar = pairs_of(batch)
        d = distances(U)
        with torch.no_grad():
            coefficients, counts = _MINING[self.mining](d, similar, dissimilar, self.margin, generator)
        # The loss is linear in distances as long as the same triplets violate the margin.
        violations = (coefficients * d).sum(1, dtype=torch.float64) + self.margin * counts.to(torch.float64)
        return grouped_mean(violations, counts, batch)


def _window(d: Tensor, similar: Tensor, dissimilar: Tensor, margin: float, semi_hard: bool) -> tuple[Tensor, Tensor]:
    """Coefficients of distances in the sum of d_ap - d_an over violating triplets, and how many each anchor has."""
    index, present = similar_of_each(similar)
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
    p, present = similar_of_each(similar)
    n = drawn(dissimilar, p.shape[1], generator)
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
        similar, dissimilar = pairs_of(batch)
        d = distances(unit(Z))
        with torch.no_grad():
            weights = _distance_weights(d, dissimilar, Z.shape[1], self.spec.cutoff, self.spec.nonzero_loss_cutoff)
            p, present = similar_of_each(similar)
            n = drawn(weights, p.shape[1], generator)
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
