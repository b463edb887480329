"""Alignment losses: embeddings and targets -> how far distances are from relations, and the gradient.

The loss is that of HRAML, Eq. 5, as a weighted mean and for any quadratic form M and offset b,

    J = 1/2 sum_ij p_i p_j (D_ij + b - G_ij)^2,    D_ij = (z_i - z_j)' M (z_i - z_j),

for embeddings z_i. M = I and b = 0 are the paper's; a multiple a I and an offset may be learned along; an exact ridge
head has any symmetric M, signed. Over all pairs it takes no n x n matrix: with q_i = z_i' M z_i, and m, S, t, q the
means of z, z z', q z and q under the weights p,

    E D    = 2 q - 2 m' M m
    E D^2  = 2 E q_i^2 + 2 q^2 + 4 tr(M S M S) - 8 t' M m
    E D G  = 2 E q_i g_i - 2 tr(M Z'P G P Z),    g = G p
    dJ/dz_i = 4 p_i M (r_i z_i - h_i)
    r_i = q_i + q - 2 z_i' M m + b - g_i,    h_i = (q_i + b) m + t - 2 S M z_i - (G P Z)_i.

Only sums over samples appear, so that embeddings may come in chunks: once for the sums, once more for the gradients.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skrelmetric._data.samples import slices
from skrelmetric.relations import Relation

__all__ = ["AllPairs", "Moments", "PairLoss", "PairSums", "sampled_pairs"]


class PairLoss(NamedTuple):
    """Value of an alignment loss and its derivatives by scale and offset.

    Attributes
    ----------
    value : float
        The loss J: at least 0, but for rounding, and for a mean square of the relation that was drawn.
    by_scale : float
        Derivative by a factor of all squared distances, at the factor 1.
    by_offset : float
        Derivative by the offset b.
    """

    value: float
    by_scale: float
    by_offset: float


class Moments(NamedTuple):
    """What of an alignment loss depends on the targets alone, and is the same for all parts of the samples.

    Attributes
    ----------
    core : Tensor of shape (k, 1)
        Row means of the relation, but for what a sample's own row of it adds: ``G.spread(core)`` are the means.
    mean : float
        Mean of the relation over all pairs.
    mean_square : float
        Mean of its square, which only the value of the loss depends on.
    """

    core: Tensor
    mean: float
    mean_square: float


class AllPairs:
    """Alignment loss over all pairs of samples: what of it depends on the targets alone.

    Parameters
    ----------
    G : Relation
        Relation of the samples' targets.
    weights : Tensor of shape (n_samples,)
        Weight p_i of each sample, float64; they sum to 1.
    mean_square : float or None, default=None
        Mean of G_ij^2, where it is known: a batch takes that of all.
    moments : Moments or None, default=None
        What is known of all samples, where these are a part of them, whose weights sum to less.
    """

    def __init__(self, G: Relation, weights: Tensor, mean_square: float | None = None, moments: Moments | None = None):
        self.G, self.weights = G, weights
        if moments is not None:
            self.row_means, self.mean, self.mean_square = (
                G.spread(moments.core)[:, 0],
                moments.mean,
                moments.mean_square,
            )
            return
        self.row_means = G.row_means(weights)
        self.mean = float(weights @ self.row_means)
        self.mean_square = float(G.mean_square(weights)) if mean_square is None else mean_square

    def of(self, M: Tensor, offset: float, origin: Tensor | None = None) -> "PairSums":
        """The loss of a matrix, of shape (width, width), and an offset, for embeddings to be added."""
        return PairSums(self, M, offset, origin)


class PairSums:
    """Alignment loss over all pairs, from embeddings that come in chunks.

    Call `add` with every chunk of embeddings, then `loss`, then `gradient` with every chunk.

    Parameters
    ----------
    pairs : AllPairs
        Relation and weights.
    M : Tensor of shape (width, width)
        Symmetric matrix of the distance, float64.
    offset : float
        Offset b between distance and relation.
    origin : Tensor of shape (width,) or None, default=None
        What is taken out of the embeddings, float64, the same for all parts; None is the mean of the first chunk.

    Notes
    -----
    Costs O(n (p^2 + k p)) for width p and a relation of k factors. Sums are float64, of embeddings less the mean of
    the first chunk, since the differences of large sums would lose digits. What is kept between the passes does not
    grow with the samples but for an "l1" relation, which has no sum before the samples are in order: n x p numbers.
    """

    def __init__(self, pairs: AllPairs, M: Tensor, offset: float, origin: Tensor | None = None):
        self.pairs, self.M, self.offset = pairs, M, offset
        p = len(M)
        self._origin = origin
        self._mean, self._third = M.new_zeros(p), M.new_zeros(p)
        self._second = M.new_zeros((p, p))
        self._form, self._form_square, self._form_relation = M.new_zeros(3)
        self._collected: Tensor | None = None
        self._product: Tensor | None = None

    def add(self, embeddings: Tensor, rows: slice) -> None:
        """Take in the embeddings of the samples of some rows.

        Parameters
        ----------
        embeddings : Tensor of shape (n_rows, width)
            Embeddings, of any floating dtype.
        rows : slice
            Which of the samples they are of.
        """
        if self._origin is None:
            self._origin = embeddings.mean(0).to(torch.float64)
        # Products within a block are in the dtype of the embeddings, and what sums them up in float64.
        origin, M = self._origin.to(embeddings.dtype), self.M.to(embeddings.dtype)
        for part, some in _blocks(embeddings, rows):
            z, p = embeddings[part] - origin, self.pairs.weights[some]
            weighted = p[:, None].to(z.dtype) * z
            q = ((z @ M) * z).sum(1).to(torch.float64)
            pq = p * q
            self._mean += weighted.sum(0)
            self._second += weighted.T @ z
            self._third += pq.to(z.dtype) @ z
            self._form += pq.sum()
            self._form_square += pq @ q
            self._form_relation += pq @ self.pairs.row_means[some]
            self._collected = self.pairs.G.collect(weighted, some, self._collected)

    @property
    def totals(self) -> list[Tensor]:
        """The sums of the embeddings that were added, which add up to those of all parts."""
        nothing = self.pairs.weights.new_zeros((0, len(self.M)))
        collected = self.pairs.G.collect(nothing, slice(0, 0)) if self._collected is None else self._collected
        forms = torch.stack([self._form, self._form_square, self._form_relation])
        return [self._mean, self._third, self._second, forms, collected]

    @totals.setter
    def totals(self, totals: list[Tensor]) -> None:
        self._mean, self._third, self._second, forms, self._collected = totals
        self._form, self._form_square, self._form_relation = forms

    @property
    def mean(self) -> Tensor:
        """Weighted mean of the embeddings, in float64."""
        assert self._origin is not None, "no embeddings were added"
        return self._origin + self._mean

    @property
    def variance(self) -> float:
        """Weighted variance of the embeddings, the sum over components."""
        return float(self._second.trace() - self._mean @ self._mean)

    def loss(self) -> PairLoss:
        """Loss of all embeddings that were added.

        Returns
        -------
        PairLoss
        """
        assert self._collected is not None, "no embeddings were added"
        self._product = self.pairs.G.core(self._collected)
        M, S, m, b = self.M, self._second, self._mean, self.offset
        MS = M @ S
        distance = float(2 * (self._form - m @ M @ m))
        square = float(2 * (self._form_square + self._form**2) + 4 * (MS * MS.T).sum() - 8 * self._third @ M @ m)
        agreement = float(2 * (self._form_relation - (M * (self._collected.T @ self._product)).sum()))
        value = (square + b * b + self.pairs.mean_square) / 2 + b * distance - agreement - b * self.pairs.mean
        return PairLoss(value, square + b * distance - agreement, distance + b - self.pairs.mean)

    def gradient(self, embeddings: Tensor, rows: slice) -> Tensor:
        """Derivative of the loss by the embeddings of some rows, of their shape and dtype.

        Parameters
        ----------
        embeddings : Tensor of shape (n_rows, width)
            The same that were added.
        rows : slice
            Which of the samples they are of.

        Returns
        -------
        Tensor of shape (n_rows, width)
        """
        assert self._origin is not None, "no embeddings were added"
        assert self._product is not None, "the loss comes before its gradient"
        pairs, dtype = self.pairs, embeddings.dtype
        # Nothing is summed over samples here, so that the digits of the embeddings are enough.
        origin, M, second, along_mean, mean_and_third, product = (
            array.to(dtype)
            for array in (
                self._origin,
                self.M,
                -2 * self._second,
                self.M @ self._mean,
                torch.stack([self._mean, self._third]),
                self._product,
            )
        )
        form = float(self._form)
        gradient = torch.empty_like(embeddings)
        for part, some in _blocks(embeddings, rows):
            z = embeddings[part] - origin
            zM = z @ M
            q = (zM * z).sum(1)
            r = (q + form + self.offset - pairs.row_means[some]).to(dtype) - 2 * (z @ along_mean)
            h = torch.stack([q + self.offset, torch.ones_like(q)], 1) @ mean_and_third
            h.addmm_(zM, second).sub_(pairs.G.spread(product, some))
            difference = h.neg_().addcmul_(r[:, None], z).mul_((4 * pairs.weights[some, None]).to(dtype))
            torch.mm(difference, M, out=gradient[part])
        return gradient


def _blocks(embeddings: Tensor, rows: slice) -> Iterator[tuple[slice, slice]]:
    """Blocks of the embeddings of some rows, and which of the samples each is of."""
    for part in slices(embeddings):
        yield part, slice(rows.start + part.start, rows.start + min(part.stop, len(embeddings)))


def sampled_pairs(
    first: Tensor,
    second: Tensor,
    relations: Tensor,
    M: Tensor,
    offset: Tensor | float = 0.0,
    *,
    hard_fraction: float = 1.0,
) -> Tensor:
    """Alignment loss over some pairs, for autograd.

    Parameters
    ----------
    first, second : Tensor of shape (n_pairs, width)
        Embeddings of the two samples of each pair.
    relations : Tensor of shape (n_pairs,)
        Relation of their targets.
    M : Tensor of shape (width, width)
        Symmetric matrix of the distance.
    offset : Tensor or float, default=0.0
        Offset b between distance and relation.
    hard_fraction : float, default=1.0
        Share of the pairs with the largest errors that count, above 0 and at most 1: online hard example mining
        (Shrivastava et al., 2016), as HRAML proposes in section 5.3.

    Returns
    -------
    Tensor
        Half the mean squared error of the pairs that count, a scalar.
    """
    difference = first - second
    squares = (((difference @ M) * difference).sum(1) + offset - relations).square()
    if hard_fraction < 1:
        squares = squares.topk(max(1, round(hard_fraction * len(squares)))).values
    return squares.mean() / 2
