"""Information-theoretic metric learning."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import dsymv, dsyr
from sklearn.utils import check_random_state

from benchmarks.rivals._linear import ClassMetric
from benchmarks.rivals._pairs import any_pairs, draw_pairs
from benchmarks.rivals._sklearn import Interval

_N_FOR_BOUNDS = 20_000  # pairs that tell the distribution of distances


class ITML(ClassMetric):
    """Information-theoretic metric learning: the metric nearest to Euclidean distance that respects pairs.

    Squared distances of similar pairs should be at most u, of dissimilar ones at least l: the 5th and the 95th
    percentile of those of all pairs. Nearness is the LogDet divergence to the identity, and bounds have slack.

    Parameters
    ----------
    gamma : float, default=1.0
        Cost of slack against nearness to the identity.
    n_pairs : int or None, default=None
        Pairs drawn, half of them similar. None draws 20 c^2 for c classes, as the paper does, and at most 5000.
    max_iter : int, default=100
        Most passes over the pairs.
    tol : float, default=1e-3
        Sum of the changes of the duals in a pass, relative to their sum, at which to stop.
    random_state : int, RandomState or None, default=None
        Seed of the pairs and of their order.

    Attributes
    ----------
    components_ : ndarray of shape (n_features, n_features)
        Factor L of the learned metric M = L' L.
    bounds_ : tuple of two floats
        The bounds u and l of squared distances.
    n_iter_ : int
        Passes over the pairs; `max_iter` where the duals did not converge.

    References
    ----------
    J. Davis, B. Kulis, P. Jain, S. Sra and I. Dhillon, "Information-theoretic metric learning", ICML 2007.
    """

    _parameter_constraints: dict = {
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "n_pairs": [Interval(Integral, 2, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, *, gamma=1.0, n_pairs=None, max_iter=100, tol=1e-3, random_state=None):
        self.gamma = gamma
        self.n_pairs = n_pairs
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _learn(self, X: np.ndarray, classes: np.ndarray) -> np.ndarray:
        random_state = check_random_state(self.random_state)
        c = classes.max() + 1
        n_pairs = self.n_pairs or min(20 * c**2, 5000)
        similar, dissimilar = (kind.differences(X) for kind in draw_pairs(classes, n_pairs // 2, random_state))
        upper, lower = distance_bounds(X, random_state)
        differences = np.vstack([similar, dissimilar])
        signs = np.repeat([1.0, -1.0], [len(similar), len(dissimilar)])
        bounds = np.where(signs > 0, upper, lower)
        # Equal samples stay at distance 0 under every metric: no constraint moves them.
        order = random_state.permutation(np.flatnonzero(differences.any(axis=1)))
        projected = logdet_projections(
            differences[order], signs[order], bounds[order], self.gamma, max_iter=self.max_iter, tol=self.tol
        )

        self.bounds_, self.n_iter_ = (upper, lower), projected.n_iter
        return projected.M


class Projected(NamedTuple):
    """Metric after projections onto constraints."""

    M: np.ndarray  # of shape (d, d)
    slack: np.ndarray  # bound of each pair as relaxed, of shape (n_pairs,)
    duals: np.ndarray  # at least 0, of shape (n_pairs,)
    n_iter: int


def distance_bounds(X: np.ndarray, random_state: np.random.RandomState) -> tuple[float, float]:
    """5th and 95th percentile of the squared distances of pairs of samples that differ.

    Raises
    ------
    ValueError
        If none differ.
    """
    differences = any_pairs(len(X), _N_FOR_BOUNDS, random_state).differences(X)
    distances = np.square(differences).sum(axis=1)
    if not distances.any():
        raise ValueError("All samples are equal, but ITML needs distances above 0. Pass features that vary.")
    lowest, highest = np.percentile(distances[distances > 0], [5, 95])
    return float(lowest), float(highest)


def logdet_projections(
    differences: np.ndarray, signs: np.ndarray, bounds: np.ndarray, gamma: float, *, max_iter: int, tol: float
) -> Projected:
    """Minimise D_ld(M, I) + gamma D_ld(diag(slack), diag(bounds)) subject to signs * (d' M d - slack) <= 0.

    Parameters
    ----------
    differences : ndarray of shape (n_pairs, d)
        Differences of the pairs, none 0.
    signs : ndarray of shape (n_pairs,)
        1 for similar pairs, -1 for dissimilar ones.
    bounds : ndarray of shape (n_pairs,)
        Bounds of the squared distances, above 0.
    gamma : float
        Cost of slack, above 0.
    max_iter : int
        Most passes.
    tol : float
        Relative change of the duals in a pass at which to stop.

    Returns
    -------
    Projected

    Notes
    -----
    Algorithm 1 of the paper. Its step delta/2 (1/p - gamma/xi) meets the constraint for gamma = 1 only; the one that
    follows from its updates of M and of the slack for every gamma is delta gamma/(gamma + 1) (1/p - 1/xi).
    Each pass is O(n_pairs d^2).
    """
    M = np.eye(differences.shape[1], order="F")  # its upper triangle: BLAS updates it in place
    slack, duals = bounds.copy(), np.zeros(len(bounds))
    n_iter, change = 0, np.inf
    while n_iter < max_iter and change > tol * duals.sum():
        n_iter += 1
        before = duals.copy()
        for k, (d, delta) in enumerate(zip(differences, signs, strict=True)):
            Md = dsymv(1.0, M, d)
            p = d @ Md
            alpha = min(duals[k], delta * gamma / (gamma + 1) * (1 / p - 1 / slack[k]))
            if alpha == 0:
                continue
            duals[k] -= alpha
            slack[k] *= gamma / (gamma + delta * alpha * slack[k])
            M = dsyr(delta * alpha / (1 - delta * alpha * p), Md, a=M, overwrite_a=1)
        change = np.abs(duals - before).sum()
    return Projected(np.triu(M) + np.triu(M, 1).T, slack, duals, n_iter)
