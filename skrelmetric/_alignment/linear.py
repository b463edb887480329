"""Linear metric: from samples and targets as they were given to the factor that is kept of it."""

import logging
from typing import Any, NamedTuple

import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import Tensor

from skrelmetric._alignment.coordinates import principal_coordinates
from skrelmetric._alignment.problem import Problem, problem, targets_of_fit
from skrelmetric._alignment.ridge import AlignedMetric, constrained_ridge, predictions_alone, ridge
from skrelmetric._alignment.sampled_pairs import PairSample, kernel_ridge, support_vectors
from skrelmetric._data.read import Options, is_partitioned, read
from skrelmetric._interop.device_lock import exclusive
from skrelmetric._interop.torch import like, resolve_device
from skrelmetric.distributed import Ranks, current_ranks
from skrelmetric.mahalanobis import psd_factor, with_positive_sign
from skrelmetric.relations import Relation

__all__ = ["LinearMetric", "linear_metric"]

_PENALTY = 1.0  # of the regression whose predictions have a part in the metric, in units of the mean variance

_LOGGER = logging.getLogger("skrelmetric")


class LinearMetric(NamedTuple):
    """What is kept of a linear metric that was learned, in arrays of the kind of the samples.

    Attributes
    ----------
    components : ndarray or Tensor of shape (n_components, n_features)
        Factor of the metric, strongest direction first, in the dtype of the samples; 0 beyond its rank.
    explained_distance_ratio : ndarray or Tensor of shape (n_components,)
        Fraction of each component in the mean squared distance.
    offset : float
        Offset of the regression.
    residual : float
        How far from its optimum the solver stopped.
    n_iter : int
        Iterations of the solver.
    rank : int
        Number of directions in which the metric is positive, whether kept or not.
    """

    components: Any
    explained_distance_ratio: Any
    offset: float
    residual: float
    n_iter: int
    rank: int


def linear_metric(estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, *, options: Options) -> LinearMetric:
    """Linear metric of the parameters of a RAMLLinear, which gets the number and the names of the features.

    `X`, `y`, `sample_weight` and `options` are as in :func:`skrelmetric._data.read.read`.

    Raises
    ------
    ValueError
        If parameters exclude one another, or do not suit the samples; or if samples, targets and weights do not.
    """
    with current_ranks().together() as ranks, exclusive(resolve_device(estimator.device, X)) as device:
        _check_solver(estimator, X, ranks)
        needs_all = estimator.solver != "ridge" or isinstance(estimator.relation, Relation)
        data = read(
            estimator,
            X,
            targets_of_fit(X, y, estimator.relation),
            sample_weight,
            options=options,
            device=device,
            ranks=ranks,
            streams=not needs_all,
            with_mean=True,
        )
        _check_n_components(estimator)
        aligned = _aligned(problem(data, estimator.relation), estimator)
        coordinates = aligned.coordinates
        factor = psd_factor(aligned.with_predictions(estimator.prediction_weight, _PENALTY))
        distances = factor.square() @ coordinates.variances
        n_components = estimator.n_components or max(1, len(factor))
        components = with_positive_sign(coordinates.in_features(factor[:n_components]))
        return LinearMetric(
            like(_of_length(components, n_components).to(data.summary.dtype), data.given),
            like(_of_length(distances / distances.sum(), n_components), data.given),
            float(aligned.offset),
            aligned.residual,
            aligned.n_iter,
            len(factor),
        )


def _aligned(problem: Problem, estimator: BaseEstimator) -> AlignedMetric:
    """The relation's metric, by the solver that was asked for."""
    alpha = estimator.alpha
    if estimator.solver == "ridge" and estimator.prediction_weight == 1:
        return predictions_alone(problem, alpha, _PENALTY)
    if estimator.solver == "ridge":
        solve = {"project": ridge, "constrained": constrained_ridge}[estimator.psd]
        options = {"report": _logged} if estimator.verbose else {}
        return solve(problem, alpha, max_iter=estimator.max_iter, tol=estimator.tol, **options)
    rng, coordinates = check_random_state(estimator.random_state), principal_coordinates(problem)
    pairs = PairSample.draw(coordinates, problem.G, estimator.n_pairs, rng)
    if estimator.solver == "krr":
        return kernel_ridge(pairs, alpha)
    return support_vectors(pairs, alpha, estimator.epsilon)


def _logged(n_iter: int, residual: float) -> None:
    """Log an iteration, for which the user asked: on standard error where no handler of theirs is there."""
    message = "RAMLLinear: iteration %d, residual %.1e"
    if _LOGGER.hasHandlers():
        _LOGGER.info(message, n_iter, residual)
    elif logging.lastResort:
        arguments = n_iter, residual
        logging.lastResort.emit(_LOGGER.makeRecord(_LOGGER.name, logging.INFO, __file__, 0, message, arguments, None))


def _check_solver(estimator: BaseEstimator, X: Any, ranks: Ranks) -> None:
    """Refuse what a solver of sampled pairs cannot do."""
    solver = estimator.solver
    if solver == "ridge":
        return
    if is_partitioned(X, ranks, streams=False):
        raise ValueError(
            f"solver={solver!r} draws pairs of all samples, but these come in parts. "
            "Use solver='ridge', which needs nothing but sums over each part."
        )
    if estimator.psd != "project":
        raise ValueError(
            f"psd={estimator.psd!r} is for solver='ridge', but solver={solver!r}. "
            "Use psd='project', which clips eigenvalues as the RAML paper does."
        )
    if estimator.alpha == 0:
        raise ValueError(f"alpha=0, but solver={solver!r} needs a penalty. Use a small alpha, or solver='ridge'.")


def _check_n_components(estimator: BaseEstimator) -> None:
    n_components, n_features = estimator.n_components, estimator.n_features_in_
    if n_components is not None and n_components > n_features:
        raise ValueError(
            f"n_components={n_components} exceeds the number of features, {n_features}. "
            "Pass at most that, or None to keep every useful direction."
        )


def _of_length(rows: Tensor, n_rows: int) -> Tensor:
    """The first rows, and zeros beyond them."""
    missing = rows.new_zeros((max(0, n_rows - len(rows)), *rows.shape[1:]))
    return torch.cat([rows[:n_rows], missing])
