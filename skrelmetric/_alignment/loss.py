"""Alignment losses: how far distances of embeddings are from relations of targets, and the gradient.

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

Only sums over samples appear, so that embeddings may come in chunks and in partitions: once for the sums, which add
up, and once more for the gradients.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skrelmetric._data.samples import slices
from skrelmetric.relations import Relation

__all__ = ["AllPairs", "Distance", "PairLoss", "PairSums", "RelationMoments", "pair_loss", "sampled_pairs"]


class Distance(NamedTuple):
    """Distance of embeddings, (z - z')' M (z - z') + b.

    Attributes
    ----------
    M : Tensor of shape (width, width)
        Symmetric matrix, float64.
    offset : float
        Offset b between distance and relation.
    origin : Tensor of shape (width,)
        Point amid the embeddings, float64, that is taken out of them: the differences of large sums would lose digits.
    """

    M: Tensor
    offset: float
    origin: Tensor


class RelationMoments(NamedTuple):
    """Moments of the relation of all samples, which a loss over their pairs needs of the targets.

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

    @classmethod
    def of(cls, G: Relation, weights: Tensor) -> "RelationMoments":
        """Moments of a relation of samples in memory, under weights of sum 1."""
        sums = G.collect(weights[:, None])
        core = G.core(sums)
        return cls(core, float((sums * core).sum()), float(G.mean_square(weights)))


class PairSums(NamedTuple):
    """Sums over samples of which a loss over all their pairs is made; those of several partitions are added.

    Attributes
    ----------
    first : Tensor of shape (width,)
        Sum of p_i z_i, for weights p and embeddings z less the origin.
    second : Tensor of shape (width, width)
        Sum of p_i z_i z_i'.
    third : Tensor of shape (width,)
        Sum of p_i q_i z_i, for the quadratic forms q_i = z_i' M z_i.
    forms : Tensor of shape (3,)
        Sums of p_i q_i, p_i q_i^2 and p_i q_i g_i, for the row means g of the relation.
    collected : Tensor of shape (k, width)
        Sums C' P Z of the relation.
    """

    first: Tensor
    second: Tensor
    third: Tensor
    forms: Tensor
    collected: Tensor


class PairLoss(NamedTuple):
    """Value of an alignment loss, and all that its gradient needs.

    Attributes
    ----------
    value : float
        The loss J: at least 0, but for rounding, and for a mean square of the relation that was drawn.
    by_scale : float
        Derivative by a factor of all squared distances, at the factor 1.
    by_offset : float
        Derivative by the offset b.
    mean : Tensor of shape (width,)
        Weighted mean of the embeddings, float64.
    variance : float
        Weighted variance of the embeddings, the sum over components.
    product : Tensor of shape (k, width)
        Core of the relation times its sums.
    sums : PairSums
        Sums over all samples.
    """

    value: float
    by_scale: float
    by_offset: float
    mean: Tensor
    variance: float
    product: Tensor
    sums: PairSums


class AllPairs:
    """Samples of a partition in a loss over all pairs: weights and relation.

    Parameters
    ----------
    G : Relation
        Relation of the samples' targets.
    weights : Tensor of shape (n_samples,)
        Weight p_i of each sample, float64; those of all partitions sum to 1.
    moments : RelationMoments
        Moments of the relation of all samples.

    Notes
    -----
    Costs O(n (p^2 + k p)) for width p and a relation of k factors. What is kept between the passes does not grow with
    the samples but for an "l1" relation in memory, which has no sum before the samples are in order: n x p numbers.
    """

    def __init__(self, G: Relation, weights: Tensor, moments: RelationMoments):
        self.G, self.weights = G, weights
        self.row_means = G.spread(moments.core)[:, 0]

    def sums(self, embeddings: Iterable[tuple[slice, Tensor]], distance: Distance) -> PairSums:
        """Sums of embeddings of shape (n_rows, width), of any floating dtype, that come in chunks with their rows."""
        p = len(distance.M)
        first, third, second = (distance.M.new_zeros(shape) for shape in ((p,), (p,), (p, p)))
        forms, collected = distance.M.new_zeros(3), None
        for chunk, Z in embeddings:
            # Products within a block are in the dtype of the embeddings, and what sums them up in float64.
            origin, M = distance.origin.to(Z.dtype), distance.M.to(Z.dtype)
            for block, rows in _blocks(chunk, Z):
                z, weights = Z[block] - origin, self.weights[rows]
                weighted = weights[:, None].to(z.dtype) * z
                q = ((z @ M) * z).sum(1).to(torch.float64)
                pq = weights * q
                first += weighted.sum(0)
                second += weighted.T @ z
                third += pq.to(z.dtype) @ z
                forms += torch.stack([pq.sum(), pq @ q, pq @ self.row_means[rows]])
                collected = self.G.collect(weighted, rows, collected)
        if collected is None:
            collected = self.G.collect(self.weights.new_zeros((0, p)), slice(0, 0))
        return PairSums(first, second, third, forms, collected)

    def gradient(self, chunk: slice, Z: Tensor, distance: Distance, loss: PairLoss, pull: float = 0.0) -> Tensor:
        """Derivative of the loss of all by the embeddings of some rows, the same that were summed.

        The pull adds to it that multiple of p_i times the deviation of embedding i from the mean. The result has the
        shape and the dtype of the embeddings.
        """
        dtype, sums = Z.dtype, loss.sums
        # Nothing is summed over samples here, so that the digits of the embeddings are enough.
        origin, M, second, along_mean, mean_and_third, product = (
            array.to(dtype)
            for array in (
                distance.origin,
                distance.M,
                -2 * sums.second,
                distance.M @ sums.first,
                torch.stack([sums.first, sums.third]),
                loss.product,
            )
        )
        form = float(sums.forms[0])
        gradient = torch.empty_like(Z)
        for block, rows in _blocks(chunk, Z):
            z = Z[block] - origin
            zM = z @ M
            q = (zM * z).sum(1)
            r = (q + form + distance.offset - self.row_means[rows]).to(dtype) - 2 * (z @ along_mean)
            h = torch.stack([q + distance.offset, torch.ones_like(q)], 1) @ mean_and_third
            h.addmm_(zM, second).sub_(self.G.spread(product, rows))
            difference = h.neg_().addcmul_(r[:, None], z).mul_((4 * self.weights[rows, None]).to(dtype))
            torch.mm(difference, M, out=gradient[block])
        if pull:
            gradient += pull * self.weights[chunk, None] * (Z - loss.mean)
        return gradient


def pair_loss(sums: PairSums, distance: Distance, G: Relation, moments: RelationMoments) -> PairLoss:
    """Alignment loss over all pairs of samples, from the sums of all; `G` is any relation with their core."""
    M, m, S, t, b = distance.M, sums.first, sums.second, sums.third, distance.offset
    form, form_square, form_relation = sums.forms
    product = G.core(sums.collected)
    MS = M @ S
    mean_distance = float(2 * (form - m @ M @ m))
    square = float(2 * (form_square + form**2) + 4 * (MS * MS.T).sum() - 8 * t @ M @ m)
    agreement = float(2 * (form_relation - (M * (sums.collected.T @ product)).sum()))
    value = (square + b * b + moments.mean_square) / 2 + b * mean_distance - agreement - b * moments.mean
    by_scale, by_offset = square + b * mean_distance - agreement, mean_distance + b - moments.mean
    variance = float(S.trace() - m @ m)
    return PairLoss(value, by_scale, by_offset, distance.origin + m, variance, product, sums)


def _blocks(chunk: slice, embeddings: Tensor) -> Iterator[tuple[slice, slice]]:
    """Blocks of the embeddings of some rows, and the rows of the samples that each is of."""
    for block in slices(embeddings):
        yield block, slice(chunk.start + block.start, chunk.start + min(block.stop, len(embeddings)))


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
        Fraction of the pairs, with the largest errors, that count, above 0 and at most 1: online hard example mining
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
