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

from skrelmetric._alignment.coordinates import PrincipalCoordinates, finite, may_stay, principal_coordinates
from skrelmetric._alignment.dual import dual_inverse
from skrelmetric._alignment.problem import Problem, Related
from skrelmetric._data.samples import Samples

__all__ = ["AlignedMetric", "NormalEquations", "constrained_ridge", "normal_equations", "predictions_alone", "ridge"]

# Z'P G P Z of a relation that no direction goes along with is what rounding leaves of 0: less than so many units in the
# last place of the mean of the relation, for samples of variance 1.
_ROUNDING = 64 * torch.finfo(torch.float64).eps


class NormalEquations(NamedTuple):
    """The linear equation A(M) = B whose solution aligns the distance with the relation.

    Attributes
    ----------
    coordinates : PrincipalCoordinates
        The samples.
    right : Tensor of shape (rank, rank)
        Right-hand side B, symmetric, float64.
    quadratic : Tensor of shape (rank, rank)
        Z'P G P Z, symmetric, float64.
    relation_mean : Tensor
        Weighted mean of the relation over all pairs, a scalar.
    alpha : float
        Weight of the ridge penalty, at least 0.
    """

    coordinates: PrincipalCoordinates
    right: Tensor
    quadratic: Tensor
    relation_mean: Tensor
    alpha: float

    def product(self, M: Tensor) -> Tensor:
        """A(M) for a symmetric M of shape (rank, rank), in one pass over the samples."""
        coordinates, s = self.coordinates, self.coordinates.variances
        form = coordinates.turned_back(M)
        (forms,) = coordinates.problem.partitions.total(lambda some: [some.samples.scatter_of_forms(form)])
        image = 2 * coordinates.turned(forms) + 4 * s[:, None] * M * s + self.alpha * M
        image.diagonal().sub_(2 * (M.diagonal() @ s) * s)
        return image

    def gaussian(self) -> Tensor:
        """Diagonal that A would have if the samples were Gaussian, of shape (rank, rank)."""
        return 8 * torch.outer(self.coordinates.variances, self.coordinates.variances) + self.alpha

    def offset(self, M: Tensor) -> Tensor:
        """The best offset b for M, a scalar."""
        return self.relation_mean - 2 * M.diagonal() @ self.coordinates.variances


def normal_equations(problem: Problem, alpha: float) -> NormalEquations:
    """Equations of a relation-aligned ridge regression, with a penalty of weight alpha, at least 0.

    Raises
    ------
    ValueError
        If the samples or the relation overflow.
    """
    (sums,) = problem.partitions.total(lambda some: [some.G.collect(some.samples.weights[:, None])])
    of_all = problem.G.core(sums)
    mean = (sums * of_all).sum()

    def moments(some: Related[Samples], *others: Tensor) -> list[Tensor]:
        p, g = some.samples.weights, some.G.spread(of_all)[:, 0]
        return [g.square().sum(), *some.samples.scatter(p * (g - mean), *others)]

    if may_stay(problem):  # one pass for both
        size, scatter, covariance = problem.partitions.total(lambda some: moments(some, some.samples.weights))
        finite(size, "targets", "targets")
        coordinates = principal_coordinates(problem, covariance)
    else:
        coordinates = principal_coordinates(problem)
    if coordinates.rotation is None:
        size, scatter = coordinates.problem.partitions.total(moments)
        finite(size, "targets", "targets")
    quadratic = coordinates.turned(coordinates.problem.quadratic())
    right = 2 * (coordinates.turned(scatter) - quadratic)
    finite(right.square().sum(), "targets", "targets")
    if problem.G.is_zero(sums, of_all):
        mean, quadratic, right = (torch.zeros_like(each) for each in (mean, quadratic, right))
    return NormalEquations(coordinates, (right + right.T) / 2, (quadratic + quadratic.T) / 2, mean, alpha)


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
    coordinates : PrincipalCoordinates
        Principal coordinates of the samples.
    quadratic : Tensor of shape (rank, rank) or None, default=None
        Z'P G P Z in these coordinates; None where it was not needed.
    """

    M: Tensor
    offset: Tensor
    n_iter: int
    residual: float
    coordinates: PrincipalCoordinates
    quadratic: Tensor | None = None

    def with_predictions(self, weight: float, penalty: float) -> Tensor:
        """Positive semi-definite part of M, mixed with the distance of ridge-regression predictions of the targets.

        Parameters
        ----------
        weight : float
            Share w of the predictions in the mean squared distance, in [0, 1].
        penalty : float
            Weight of the penalty of the regression in units of the mean variance, above 0.

        Returns
        -------
        Tensor of shape (rank, rank)
            ``(1 - w) M1 + w M2``, where M1 is the positive part of M, and M2 that of

                -1/2 (S + penalty I)^-1 Z'P G P Z (S + penalty I)^-1,

            in units in which both have the same mean squared distance; M1 alone where M2 is nothing but rounding, as no
            direction goes along with the relation. With G the squared distance of numeric targets,
            M2 is that of their predictions by ridge regression, for -1/2 Z'P G P Z is then Z'P Y Y'P Z.
        """
        M = _on_cone(self.M)
        if not weight or self.quadratic is None:
            return M
        variances = self.coordinates.variances
        relation_mean = self.offset + 2 * self.M.diagonal() @ variances
        predictions = _predicted(self.quadratic, variances, penalty, relation_mean)
        size, size_of_predictions = M.diagonal() @ variances, predictions.diagonal() @ variances
        if not size_of_predictions > 0:
            return M
        return (1 - weight) * M + weight * size / size_of_predictions * predictions


def _predicted(quadratic: Tensor, variances: Tensor, penalty: float, relation_mean: Tensor) -> Tensor:
    """Matrix of the distance of ridge-regression predictions, positive semi-definite; 0 where it is but rounding."""
    shrunk = variances + penalty
    predictions = _on_cone(-quadratic / torch.outer(shrunk, shrunk) / 2)
    rounding = _ROUNDING * relation_mean.abs() * (variances / shrunk).square().sum()
    return predictions if predictions.diagonal() @ variances > rounding else torch.zeros_like(predictions)


def predictions_alone(problem: Problem, alpha: float, penalty: float) -> AlignedMetric:
    """Distance of ridge-regression predictions, in the size that aligns best: nothing to solve, and one pass.

    Parameters
    ----------
    problem, alpha
        As :func:`ridge` has them.
    penalty : float
        As :meth:`AlignedMetric.with_predictions` has it.

    Returns
    -------
    AlignedMetric
        With residual 0, which is not measured.
    """
    equations = normal_equations(problem, alpha)
    M = _predicted(equations.quadratic, equations.coordinates.variances, penalty, equations.relation_mean)
    curvature = (M * equations.product(M)).sum()
    size = ((M * equations.right).sum() / curvature).clamp(min=0) if curvature > 0 else curvature
    return _aligned(equations, size * M, 1, 0.0)


def _silent(n_iter: int, residual: float) -> None:
    """Nothing."""


def ridge(
    problem: Problem, alpha: float, *, max_iter: int, tol: float, report: Callable[[int, float], None] = _silent
) -> AlignedMetric:
    """Unconstrained optimum, by preconditioned conjugate gradients.

    Parameters
    ----------
    problem : Problem
        The samples, and the relation of their targets.
    alpha : float
        Weight of the ridge penalty, at least 0.
    max_iter : int
        Most iterations.
    tol : float
        Residual at which to stop.
    report : callable, default=nothing
        ``report(n_iter, residual)`` is called after each iteration.

    Returns
    -------
    AlignedMetric
        Its matrix need not be positive semi-definite. Its residual is the norm of B - A(M) relative to that of B, both
        in the metric of Gaussian samples: an estimate of the relative error of M. In float32 the estimate may fall
        below what rounding allows.

    Notes
    -----
    The preconditioner is the diagonal that A has for Gaussian samples, or of few samples the inverse of A itself in
    single precision, with which one or two iterations are enough; see :func:`skrelmetric._alignment.dual.dual_inverse`.
    """
    equations = normal_equations(problem, alpha)
    gaussian = equations.gaussian()
    precondition = dual_inverse(equations.coordinates, alpha) or gaussian.reciprocal().mul
    M = direction = previous = torch.zeros_like(gaussian)
    residual = equations.right
    energy = torch.ones_like(equations.relation_mean)
    size = initial = (residual.square() / gaussian).sum()
    n_iter = 0
    while n_iter < max_iter and size > tol**2 * initial:
        preconditioned = precondition(residual)
        # The step of Polak and Ribiere, as a preconditioner may round.
        direction = preconditioned + (preconditioned * (residual - previous)).sum() / energy * direction
        energy = (preconditioned * residual).sum()
        image = equations.product(direction)
        step = energy / (direction * image).sum()
        M = M + step * direction
        previous, residual = residual, residual - step * image
        size = (residual.square() / gaussian).sum()
        n_iter += 1
        report(n_iter, _root_of(size, initial))
    return _aligned(equations, M, n_iter, _root_of(size, initial))


def _root_of(size: Tensor, initial: Tensor) -> float:
    return float((size / initial).sqrt() if initial > 0 else initial)


def constrained_ridge(
    problem: Problem, alpha: float, *, max_iter: int, tol: float, report: Callable[[int, float], None] = _silent
) -> AlignedMetric:
    """Optimum over the cone of positive semi-definite matrices, by accelerated projected gradients.

    Parameters
    ----------
    problem, alpha, max_iter, tol, report
        As :func:`ridge` has them; the residual is reported whenever it is measured.

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
    equations = normal_equations(problem, alpha)
    c = (8**0.5 * equations.coordinates.variances + alpha**0.5).rsqrt()
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
            report(n_iter, residual)
        lipschitz *= 0.9
    M = C * N
    return _aligned(equations, M, n_iter, residual)


def _aligned(equations: NormalEquations, M: Tensor, n_iter: int, residual: float) -> AlignedMetric:
    return AlignedMetric(M, equations.offset(M), n_iter, residual, equations.coordinates, equations.quadratic)


def _on_cone(M: Tensor) -> Tensor:
    """The nearest positive semi-definite matrix."""
    eigenvalues, eigenvectors = torch.linalg.eigh((M + M.T) / 2)
    return (eigenvectors * eigenvalues.clamp(min=0)) @ eigenvectors.T
