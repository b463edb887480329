"""Alignment of a distance with a relation, exactly, over all n^2 pairs of samples.

Relation alignment (RAML) fits a symmetric matrix M and an offset b so that the squared distances
D_ij = (x_i - x_j)' M (x_i - x_j) follow the relation of the targets (HRAML, Eqs. 2-3), here by ridge regression:

    minimise  1/2 mean_ij (D_ij + b - G_ij)^2 + alpha/2 |M|_F^2        over M = M', b.

With centred samples z_i, their covariance S, q_i = z_i' M z_i and g = G 1 / n, the offset is
b = mean(g) - 2 <M, S>, and eliminating it leaves one linear equation for M:

    A(M) = 2 Z' diag(q - mean(q)) Z / n + 4 S M S + alpha M  =  2 Z' diag(g - mean(g)) Z / n - 2 Z' G Z / n^2.

A product with A walks over the samples once, so conjugate gradients solves the problem over all pairs at
O(n d^2) an iteration. If the samples were Gaussian, A(M) would be 8 S M S + alpha M, which is diagonal in the
principal axes of the samples; that is the preconditioner.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skrelmetric._torch import cross, row_blocks
from skrelmetric.relations import Relation

__all__ = ["PrincipalCoordinates", "RidgeSolution", "principal_coordinates", "ridge"]


class PrincipalCoordinates(NamedTuple):
    """Samples along their principal axes, in units of the root mean variance of their features.

    Attributes
    ----------
    Z : Tensor of shape (n_samples, rank)
        Centred coordinates, in the dtype of the samples.
    variances : Tensor of shape (rank,)
        Variance of each coordinate, float64; their sum is the number of features that vary.
    axes : Tensor of shape (n_features, rank)
        Orthonormal axes, float64.
    scale : float
        The unit: the root of the mean variance of the features that vary; 0 where none does, and rank 0.
    """

    Z: Tensor
    variances: Tensor
    axes: Tensor
    scale: float


def principal_coordinates(X: Tensor) -> PrincipalCoordinates:
    """Centre, rotate and scale samples, dropping the directions in which they do not vary.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features)
        Samples, float32 or float64.

    Returns
    -------
    PrincipalCoordinates

    Raises
    ------
    ValueError
        If the variance of the samples overflows or underflows.

    Notes
    -----
    Costs one pass for the covariance, O(n d^2), and one for the rotation; with more features than samples a
    singular value decomposition, O(n^2 d), takes their place.
    """
    n, d = X.shape
    mean = X.mean(0, dtype=torch.float64)
    if n > d:
        covariance = mean.new_zeros((d, d))
        for (x,) in row_blocks(X):
            z = x - mean
            covariance += z.T @ z
        of_features = _finite(covariance.diagonal() / n)
        variances, axes = torch.linalg.eigh(covariance / n)
    else:
        of_features = _finite((X - mean).square().mean(0))
        _, singular, axes_t = torch.linalg.svd(X - mean, full_matrices=False)
        variances, axes = singular.square() / n, axes_t.T
    if not of_features.any() and (X[0] != X).any():
        raise ValueError("The samples are too small to square without underflow. Scale the features first.")
    # What rounding alone leaves: of the mean in every direction, and of the largest variance in the others.
    eps = torch.finfo(torch.float64).eps
    of_mean = (8 * eps * mean).square()
    of_largest = d * max(eps, torch.finfo(X.dtype).eps ** 2) * variances.max()
    varying = variances > torch.maximum(of_largest, of_mean.sum())
    variances, axes = variances[varying], axes[:, varying]
    mean_variance = float(variances.sum()) / max(1, int((of_features > of_mean).sum()))
    scale = mean_variance**0.5
    rotation = axes / (scale or 1.0)
    Z = X.new_empty((n, len(variances)))
    for x, z in row_blocks(X, Z) if Z.shape[1] else ():
        torch.mm((x - mean).to(X.dtype), rotation.to(X.dtype), out=z)
    return PrincipalCoordinates(Z, variances / (mean_variance or 1.0), axes, scale)


def _finite(array: Tensor, what: str = "samples", which: str = "features") -> Tensor:
    if not torch.isfinite(array).all():
        raise ValueError(f"The {what} are too large to square without overflow. Scale the {which} first.")
    return array


class RidgeSolution(NamedTuple):
    """Optimum of the aligned ridge regression.

    Attributes
    ----------
    M : Tensor of shape (rank, rank)
        Symmetric matrix of the distance; not necessarily positive semi-definite.
    offset : float
        The offset b between relation and distance.
    n_iter : int
        Iterations of conjugate gradients.
    residual : float
        Norm of the residual relative to that of the right-hand side, both in the metric of the preconditioner:
        an estimate of the relative error of M. In float32 the estimate may fall below what rounding allows.
    """

    M: Tensor
    offset: float
    n_iter: int
    residual: float


def ridge(Z: Tensor, variances: Tensor, G: Relation, *, alpha: float, max_iter: int, tol: float) -> RidgeSolution:
    """Align squared distances with a relation by ridge regression over all pairs.

    Parameters
    ----------
    Z : Tensor of shape (n_samples, rank)
        Centred samples along their principal axes.
    variances : Tensor of shape (rank,)
        Their variances, all positive: Z' Z / n is ``diag(variances)``.
    G : Relation
        Relation of the targets of the same samples.
    alpha : float
        Weight of the ridge penalty, at least 0.
    max_iter : int
        Most iterations of conjugate gradients.
    tol : float
        Relative residual at which to stop.

    Returns
    -------
    RidgeSolution

    Raises
    ------
    ValueError
        If the relation overflows.
    """
    n = Z.shape[0]
    g = G.row_means()
    gaussian = 8 * torch.outer(variances, variances) + alpha
    b = 2 * _weighted_scatter(Z, g - g.mean()) / n - 2 * G.quadratic(Z) / n**2
    _finite(g.square().sum() + b.square().sum(), "targets", "targets")

    M = torch.zeros_like(gaussian)
    residual = b
    preconditioned = direction = residual / gaussian
    energy = initial = (residual * preconditioned).sum()
    n_iter = 0
    while n_iter < max_iter and energy > tol**2 * initial:
        image = curvature(Z, variances, direction, alpha)
        step = energy / (direction * image).sum()
        M = M + step * direction
        residual = residual - step * image
        preconditioned = residual / gaussian
        previous, energy = energy, (residual * preconditioned).sum()
        direction = preconditioned + energy / previous * direction
        n_iter += 1
    offset = g.mean() - 2 * (M.diagonal() * variances).sum()
    relative = (energy / initial).sqrt() if initial > 0 else initial
    return RidgeSolution(M, float(offset), n_iter, float(relative))


def curvature(Z: Tensor, variances: Tensor, M: Tensor, alpha: float) -> Tensor:
    """Product A(M) of the normal equations, in one pass over the samples.

    Parameters
    ----------
    Z : Tensor of shape (n_samples, rank)
        Centred samples along their principal axes.
    variances : Tensor of shape (rank,)
        Their variances.
    M : Tensor of shape (rank, rank)
        Symmetric matrix, float64.
    alpha : float
        Weight of the ridge penalty.

    Returns
    -------
    Tensor of shape (rank, rank)
        ``2 Z' diag(q - mean(q)) Z / n + 4 S M S + alpha M``, float64.
    """
    scatter = torch.zeros_like(M)
    m = M.to(Z.dtype)
    for (z,) in row_blocks(Z):
        q = (z @ m).mul_(z).sum(1, keepdim=True)
        scatter += (z * q).T @ z
    mean_q = (M.diagonal() * variances).sum()
    smoothed = 2 * variances[:, None] * M * variances
    smoothed.diagonal().sub_(mean_q * variances)
    return 2 * (scatter / Z.shape[0] + smoothed) + alpha * M


def _weighted_scatter(Z: Tensor, weights: Tensor) -> Tensor:
    """Z' diag(weights) Z in float64."""
    scatter = Z.new_zeros((Z.shape[1], Z.shape[1]), dtype=torch.float64)
    for z, w in row_blocks(Z, weights.to(Z.dtype)[:, None]):
        scatter += cross(z * w, z)
    return scatter
