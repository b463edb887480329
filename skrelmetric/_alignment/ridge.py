"""Alignment of a distance with a relation, exactly, over all n^2 pairs of samples.

Relation alignment (RAML) wants the relation of two samples in feature space to be that of their targets (HRAML,
Eq. 1). With f(x_i, x_j) = <M, T_ij> + b, T_ij = (x_i - x_j)(x_i - x_j)' (Eq. 2), this is a linear regression of
G_ij = g(y_i, y_j) on the pairs (Eq. 3), here with a ridge penalty and sample weights p_i of sum 1:

    minimise  1/2 sum_ij p_i p_j (<M, T_ij> + b - G_ij)^2 + alpha/2 |M|_F^2        over M = M', b.

Write z_i for the centred samples, Z for all of them, P = diag(p), S = Z'PZ for their covariance,
q_i = z_i' M z_i and g = G p. Since <M, T_ij> = q_i + q_j - 2 z_i' M z_j, every sum over pairs falls apart into sums
over samples. The offset is b = p'g - 2 <M, S>, and eliminating it leaves one linear equation for M:

    A(M) = 2 Z'P diag(q - p'q) Z + 4 S M S + alpha M  =  2 Z'P diag(g - p'g) Z - 2 Z'P G P Z  = B.

A product with A walks over the samples once, so conjugate gradients solves the problem over all pairs at
O(n d^2) an iteration. If the samples were Gaussian, A(M) would be 8 S M S + alpha M, which is diagonal in the
principal axes of the samples; that is the preconditioner. Over the positive semi-definite cone the same quadratic
is minimised by accelerated projected gradients, in coordinates in which that diagonal is about 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skrelmetric._alignment.problem import Parts, Whole
from skrelmetric._data.samples import Samples
from skrelmetric.relations import Relation

__all__ = [
    "AlignedMetric",
    "NormalEquations",
    "PrincipalCoordinates",
    "constrained_ridge",
    "normal_equations",
    "principal_coordinates",
    "ridge",
]

# With at least so many samples a feature, turning d x d matrices at every product costs less than a turned copy of X.
_MANY_SAMPLES = 16

_TINY = torch.finfo(torch.float64).tiny


class PrincipalCoordinates(NamedTuple):
    """Samples along their principal axes, in units of the root mean variance of their features.

    Attributes
    ----------
    parts : Parts
        The samples, as they came (k features) or turned (k = rank), and their relation.
    rotation : Tensor of shape (k, rank) or None
        What turns a centred row of the samples into coordinates, float64; None where it is turned already.
    variances : Tensor of shape (rank,)
        Variance of each coordinate, float64; their sum is the number of features that vary.
    along_axes : callable
        Turns a factor of shape (k, rank) in units of the features back: its product with the transposed, orthonormal
        axes, of shape (k, n_features), float64.
    scale : float
        The unit: the root of the mean variance of the features that vary; 0 where none does, and rank 0.
    """

    parts: Parts
    rotation: Tensor | None
    variances: Tensor
    along_axes: Callable[[Tensor], Tensor]
    scale: float

    def in_features(self, factor: Tensor) -> Tensor:
        """Factor of a quadratic form of coordinates, as one of the features."""
        return self.along_axes(factor) / (self.scale or 1.0)

    def turned(self, second_moment: Tensor) -> Tensor:
        """Second moment of the samples in principal coordinates."""
        return second_moment if self.rotation is None else self.rotation.T @ second_moment @ self.rotation

    def turned_back(self, M: Tensor) -> Tensor:
        """Matrix of a quadratic form of principal coordinates, as a form of the rows of the samples."""
        return M if self.rotation is None else self.rotation @ M @ self.rotation.T

    @property
    def samples(self) -> Samples:
        """The samples, where they are in memory in one part."""
        return self.parts.gathered().samples

    def differences(self, i: Tensor, j: Tensor) -> Tensor:
        """Coordinates of sample i less those of sample j, of shape (n_pairs, rank), in float64."""
        samples = self.samples
        difference = samples[i].to(torch.float64) - samples[j].to(torch.float64)
        return difference if self.rotation is None else difference @ self.rotation


def principal_coordinates(parts: Parts, covariance: Tensor | None = None) -> PrincipalCoordinates:
    """Principal axes of samples, dropping the directions in which they do not vary.

    Parameters
    ----------
    parts : Parts
        Samples, all of positive weight.
    covariance : Tensor of shape (n_features, n_features) or None, default=None
        Their covariance, if it is known already.

    Returns
    -------
    PrincipalCoordinates

    Raises
    ------
    ValueError
        If the variance of the samples overflows or underflows.

    Notes
    -----
    Costs one pass for the covariance, O(n d^2). Few samples, or ones whose variances differ so
    much that rounding would drown the small ones, are turned in a further pass, into a copy. With more features than
    samples, the decomposition of the n samples, O(n^2 d), takes the place of the covariance.
    """
    n, d = parts.shape
    # What rounding alone leaves: of the mean in every direction, and of the largest variance in the others.
    eps = torch.finfo(torch.float64).eps
    of_mean = (8 * eps * parts.mean).square()
    if n > d:
        if covariance is None:
            (covariance,) = parts.total_of_samples(lambda samples: samples.scatter(samples.weights))
        varies = parts.varying() if parts.stored_sparse else covariance.diagonal() > of_mean
        variances, axes = torch.linalg.eigh(_finite(covariance))
    else:
        parts = parts.gathered()
        samples = parts.samples
        root = samples.weights.sqrt()[:, None]
        if samples.stored_sparse:
            varies = samples.varying()
            variances, directions = torch.linalg.eigh(_finite(root * samples.gram() * root.T))
        else:
            weighted = root * samples[:]
            varies = weighted.square().sum(0) > of_mean
            _, singular, axes_t = torch.linalg.svd(_finite(weighted), full_matrices=False)
            variances, axes = _finite(singular.square()), axes_t.T
    if not (variances > _TINY).any() and parts.varying().any():
        raise ValueError("The samples are too small to square without underflow. Scale the features first.")
    # Sums over sparse rows have their mean taken out at the end, and keep more of its rounding.
    of_means = eps * parts.mean.square().sum() if parts.stored_sparse else of_mean.sum()
    of_largest = d * max(eps, torch.finfo(parts.dtype).eps ** 2) * variances.max()
    kept = variances > torch.maximum(of_largest, of_means)
    variances = variances[kept]
    mean_variance = float(variances.sum()) / max(1, int(varies.sum()))
    scale = mean_variance**0.5
    units = variances / (mean_variance or 1.0)
    if n <= d and parts.stored_sparse:  # the axes, Z' P^1/2 U, are dense and stay unwritten
        directions, singular = directions[:, kept], variances.sqrt()
        Z = (directions * (singular / (scale or 1.0)) / root).to(samples.dtype)
        turned = Whole(Samples(Z, samples.weights, samples.mean.new_zeros(len(variances))), parts.G)
        return PrincipalCoordinates(
            turned, None, units, lambda factor: samples.cross(root * (directions @ (factor / singular).T)), scale
        )
    axes = axes[:, kept]
    rotation = axes / (scale or 1.0)
    stay = n > d and (parts.stored_sparse or (n >= _MANY_SAMPLES * d and _even(variances, parts)))
    if stay and not _representable(variances, parts):
        raise ValueError(
            f"Variances of sparse samples from {float(variances.min()):.0e} to {float(variances.max()):.0e} are out "
            f"of the range of squares in {parts.dtype}. Scale the features, or pass float64."
        )
    return PrincipalCoordinates(
        parts if stay else parts.turned(rotation),
        rotation if stay else None,
        units,
        lambda factor: factor @ axes.T,
        scale,
    )


def _even(variances: Tensor, parts: Parts) -> bool:
    """Whether a rounding of the largest direction, mean included, leaves some digits of the smallest one."""
    if not len(variances) or not _representable(variances, parts):
        return False
    largest = variances.max() + parts.mean.square().sum()
    return bool(largest * torch.finfo(parts.dtype).eps ** 0.5 <= 0.01 * variances.min())


def _representable(variances: Tensor, parts: Parts) -> bool:
    """Whether the squares of the variances are within the range of the samples' dtype."""
    limits = torch.finfo(parts.dtype)
    return not len(variances) or bool((variances.min() > limits.tiny**0.5) & (variances.max() < limits.max**0.5))


def _finite(array: Tensor, what: str = "samples", which: str = "features") -> Tensor:
    if not torch.isfinite(array).all():
        raise ValueError(f"The {what} are too large to square without overflow. Scale the {which} first.")
    return array


class NormalEquations(NamedTuple):
    """The linear equation A(M) = B whose solution aligns the distance with the relation.

    Attributes
    ----------
    coordinates : PrincipalCoordinates
        The samples.
    right : Tensor of shape (rank, rank)
        The right-hand side B, symmetric, float64.
    relation_mean : Tensor
        Weighted mean of the relation over all pairs, a scalar.
    alpha : float
        Weight of the ridge penalty, at least 0.
    """

    coordinates: PrincipalCoordinates
    right: Tensor
    relation_mean: Tensor
    alpha: float

    def product(self, M: Tensor) -> Tensor:
        """A(M) for a symmetric M of shape (rank, rank), in one pass over the samples."""
        coordinates, s = self.coordinates, self.coordinates.variances
        form = coordinates.turned_back(M)
        (forms,) = coordinates.parts.total_of_samples(lambda samples: [samples.scatter_of_forms(form)])
        image = 2 * coordinates.turned(forms) + 4 * s[:, None] * M * s + self.alpha * M
        image.diagonal().sub_(2 * (M.diagonal() @ s) * s)
        return image

    def gaussian(self) -> Tensor:
        """Diagonal that A would have if the samples were Gaussian, of shape (rank, rank)."""
        return 8 * torch.outer(self.coordinates.variances, self.coordinates.variances) + self.alpha

    def offset(self, M: Tensor) -> Tensor:
        """The best offset b for M, a scalar."""
        return self.relation_mean - 2 * M.diagonal() @ self.coordinates.variances


def normal_equations(parts: Parts, alpha: float) -> NormalEquations:
    """Equations of a relation-aligned ridge regression.

    Parameters
    ----------
    parts : Parts
        The samples, and the relation of their targets.
    alpha : float
        Weight of the ridge penalty, at least 0.

    Returns
    -------
    NormalEquations

    Raises
    ------
    ValueError
        If the samples or the relation overflow.
    """
    n, d = parts.shape
    (sums,) = parts.total(lambda samples, G: [G.collect(samples.weights[:, None])])
    of_all = parts.G.core(sums)
    mean = (sums * of_all).sum()

    def moments(samples: Samples, G: Relation, *others: Tensor) -> list[Tensor]:
        p, g = samples.weights, G.spread(of_all)[:, 0]
        return [g.square().sum(), *samples.scatter(p * (g - mean), *others)]

    if n > d:  # one pass for both
        size, scatter, covariance = parts.total(lambda samples, G: moments(samples, G, samples.weights))
        _finite(size, "targets", "targets")
        coordinates = principal_coordinates(parts, covariance)
    else:
        coordinates = principal_coordinates(parts)
    if coordinates.rotation is None:
        size, scatter = coordinates.parts.total(moments)
        _finite(size, "targets", "targets")
    right = 2 * coordinates.turned(scatter - coordinates.parts.quadratic())
    _finite(right.square().sum(), "targets", "targets")
    return NormalEquations(coordinates, (right + right.T) / 2, mean, alpha)


class AlignedMetric(NamedTuple):
    """A solution in principal coordinates.

    Attributes
    ----------
    M : Tensor of shape (rank, rank)
        Symmetric matrix of the distance.
    offset : Tensor
        The offset b between relation and distance, a scalar.
    n_iter : int
        Iterations of the solver.
    residual : float
        How far from optimal, relative; see the solver.
    """

    M: Tensor
    offset: Tensor
    n_iter: int
    residual: float


def ridge(equations: NormalEquations, *, max_iter: int, tol: float) -> AlignedMetric:
    """Unconstrained optimum, by preconditioned conjugate gradients.

    Parameters
    ----------
    equations : NormalEquations
        What to solve.
    max_iter : int
        Most iterations.
    tol : float
        Residual at which to stop.

    Returns
    -------
    AlignedMetric
        Its matrix need not be positive semi-definite. Its residual is the norm of B - A(M) relative to that of B, both
        in the metric of the preconditioner: an estimate of the relative error of M. In float32 the estimate may fall
        below what rounding allows.
    """
    gaussian = equations.gaussian()
    M = torch.zeros_like(gaussian)
    residual = equations.right
    preconditioned = direction = residual / gaussian
    energy = initial = (residual * preconditioned).sum()
    n_iter = 0
    while n_iter < max_iter and energy > tol**2 * initial:
        image = equations.product(direction)
        step = energy / (direction * image).sum()
        M = M + step * direction
        residual = residual - step * image
        preconditioned = residual / gaussian
        previous, energy = energy, (residual * preconditioned).sum()
        direction = preconditioned + energy / previous * direction
        n_iter += 1
    relative = (energy / initial).sqrt() if initial > 0 else initial
    return AlignedMetric(M, equations.offset(M), n_iter, float(relative))


def constrained_ridge(equations: NormalEquations, *, max_iter: int, tol: float) -> AlignedMetric:
    """Optimum over the cone of positive semi-definite matrices, by accelerated projected gradients.

    Parameters
    ----------
    equations : NormalEquations
        What to solve.
    max_iter : int
        Most iterations.
    tol : float
        Residual at which to stop.

    Returns
    -------
    AlignedMetric
        Its residual certifies it: in coordinates N = C^-1 M C^-1, in which the curvature is about 1, it is the distance
        of N from the projection of N - grad(N) onto the cone, relative to the norm of the gradient at 0. It is 0 at
        the optimum and nowhere else (the Karush-Kuhn-Tucker conditions).

    Notes
    -----
    C is diagonal, so that the cone is itself in the new coordinates. A is linear, so extrapolation costs no pass
    over the samples. The momentum starts again whenever it points uphill (O'Donoghue and Candes, 2015), and the step
    grows back after it had to shrink.
    """
    variances = equations.coordinates.variances
    c = (8**0.5 * variances + equations.alpha**0.5).rsqrt()
    C = torch.outer(c, c)
    right = C * equations.right
    unit = right.norm()

    def product(N: Tensor) -> Tensor:
        return C * equations.product(C * N)

    N = previous = torch.zeros_like(right)
    image = previous_image = torch.zeros_like(right)
    momentum, lipschitz, n_iter, residual = 1.0, 1.0, 0, float(unit > 0)
    while n_iter < max_iter and residual > tol:
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = (momentum - 1) / following
        start, start_image = N + ahead * (N - previous), image + ahead * (image - previous_image)
        gradient = start_image - right
        while True:
            candidate = _on_cone(start - gradient / lipschitz)
            candidate_image = product(candidate)
            n_iter += 1
            step = candidate - start
            if n_iter >= max_iter or (step * (candidate_image - start_image)).sum() <= lipschitz * step.square().sum():
                break
            lipschitz *= 2
        uphill = ((start - candidate) * (candidate - N)).sum() > 0
        previous, previous_image, N, image = N, image, candidate, candidate_image
        momentum = 1.0 if uphill else following
        if lipschitz * step.norm() <= tol * unit or n_iter >= max_iter:  # a decomposition is saved while far off
            residual = float((N - _on_cone(N - image + right)).norm() / unit)
        lipschitz *= 0.9
    M = C * N
    return AlignedMetric(M, equations.offset(M), n_iter, residual)


def _on_cone(M: Tensor) -> Tensor:
    """The nearest positive semi-definite matrix."""
    eigenvalues, eigenvectors = torch.linalg.eigh((M + M.T) / 2)
    return (eigenvectors * eigenvalues.clamp(min=0)) @ eigenvectors.T
