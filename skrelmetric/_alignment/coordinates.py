"""Principal coordinates of samples, in which alignment is solved."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skrelmetric._alignment.problem import Problem
from skrelmetric._data.samples import Samples
from skrelmetric._interop.torch import as_tensor

__all__ = ["PrincipalCoordinates", "finite", "may_stay", "principal_coordinates"]

# With at least so many samples a feature, turning d x d matrices at every product costs less than a turned copy of X.
_MANY_SAMPLES = 16

_TINY = torch.finfo(torch.float64).tiny


class PrincipalCoordinates(NamedTuple):
    """Samples along their principal axes, in units of the root mean variance of their features.

    Attributes
    ----------
    problem : Problem
        The samples, as they came (k features) or turned (k = rank), and their relation.
    rotation : Tensor of shape (k, rank) or None
        Matrix that turns a centred row of the samples into coordinates, float64; None where it is turned already.
    variances : Tensor of shape (rank,)
        Variance of each coordinate, float64; their sum is the number of features that vary.
    along_axes : callable
        Turns a factor of shape (k, rank) in units of the features back: its product with the transposed, orthonormal
        axes, of shape (k, n_features), float64.
    scale : float
        The unit: the root of the mean variance of the features that vary; 0 where none does, and rank 0.
    """

    problem: Problem
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

    def differences(self, i: Tensor, j: Tensor) -> Tensor:
        """Coordinates of sample i less those of sample j, of shape (n_pairs, rank), in float64."""
        samples = self.problem.samples
        difference = samples[i].to(torch.float64) - samples[j].to(torch.float64)
        return difference if self.rotation is None else difference @ self.rotation


def principal_coordinates(problem: Problem, covariance: Tensor | None = None) -> PrincipalCoordinates:
    """Principal axes of samples, whose covariance may be known, without the directions in which they do not vary.

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
    n, d = problem.shape
    # What rounding alone leaves: of the mean in every direction, and of the largest variance in the others.
    eps = torch.finfo(torch.float64).eps
    of_mean = (8 * eps * problem.mean).square()
    if n > d:
        if covariance is None:
            (covariance,) = problem.partitions.total(lambda some: some.samples.scatter(some.samples.weights))
        varies = covariance.diagonal() > (0.0 if problem.stored_sparse else of_mean)
        if problem.stored_sparse:  # where nothing varies, the mean that was taken out at the end leaves rounding
            varies &= problem.varying()
        variances, axes = torch.linalg.eigh(finite(covariance))
    else:
        problem = problem.gathered()
        samples = problem.samples
        root = samples.weights.sqrt()[:, None]
        if samples.stored_sparse:
            squares = samples.X.astype("float64").power(2).sum(axis=0)
            varies = samples.varying() & (as_tensor(squares, samples.device) > 0)
            variances, directions = torch.linalg.eigh(finite(root * samples.gram() * root.T))
        else:
            weighted = root * samples[:]
            varies = weighted.square().sum(0) > of_mean
            _, singular, axes_t = torch.linalg.svd(finite(weighted), full_matrices=False)
            variances, axes = finite(singular.square()), axes_t.T
    if not (variances > _TINY).any() and problem.varying().any():
        raise ValueError("The samples are too small to square without underflow. Scale the features first.")
    # Sums over sparse rows have their mean taken out at the end, and keep more of its rounding.
    of_means = eps * problem.mean.square().sum() if problem.stored_sparse else of_mean.sum()
    of_largest = d * max(eps, torch.finfo(problem.dtype).eps ** 2) * variances.max()
    kept = (variances > torch.maximum(of_largest, of_means)) & varies.any()  # a shift of sparse ones rounds, too
    variances = variances[kept]
    mean_variance = float(variances.sum()) / max(1, int(varies.sum()))
    scale = mean_variance**0.5
    units = variances / (mean_variance or 1.0)
    if n <= d and problem.stored_sparse:  # the axes, Z' P^1/2 U, are dense and stay unwritten
        directions, singular = directions[:, kept], variances.sqrt()
        Z = (directions * (singular / (scale or 1.0)) / root).to(samples.dtype)
        turned = Problem.of(Samples(Z, samples.weights, samples.mean.new_zeros(len(variances))), problem.G)
        return PrincipalCoordinates(
            turned, None, units, lambda factor: samples.cross(root * (directions @ (factor / singular).T)), scale
        )
    axes = axes[:, kept]
    rotation = axes / (scale or 1.0)
    stay = may_stay(problem) and (problem.stored_sparse or _even(variances, problem))
    if stay and not _representable(variances, problem):
        raise ValueError(
            f"Variances of sparse samples from {float(variances.min()):.0e} to {float(variances.max()):.0e} are out "
            f"of the range of squares in {problem.dtype}. Scale the features, or pass float64."
        )
    return PrincipalCoordinates(
        problem if stay else problem.turned(rotation),
        rotation if stay else None,
        units,
        lambda factor: factor @ axes.T,
        scale,
    )


def may_stay(problem: Problem) -> bool:
    """Whether samples may stay as they came, instead of being turned into a copy."""
    n, d = problem.shape
    return n > d and (problem.stored_sparse or n >= _MANY_SAMPLES * d)


def _even(variances: Tensor, problem: Problem) -> bool:
    """Whether a rounding of the largest direction, mean included, leaves some digits of the smallest one."""
    if not len(variances) or not _representable(variances, problem):
        return False
    largest = variances.max() + problem.mean.square().sum()
    return bool(largest * torch.finfo(problem.dtype).eps ** 0.5 <= 0.01 * variances.min())


def _representable(variances: Tensor, problem: Problem) -> bool:
    """Whether the squares of the variances are within the range of the samples' dtype."""
    limits = torch.finfo(problem.dtype)
    return not len(variances) or bool((variances.min() > limits.tiny**0.5) & (variances.max() < limits.max**0.5))


def finite(array: Tensor, what: str = "samples", which: str = "features") -> Tensor:
    if not torch.isfinite(array).all():
        raise ValueError(f"The {what} are too large to square without overflow. Scale the {which} first.")
    return array
