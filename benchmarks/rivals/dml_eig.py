"""Metric learning by eigenvalue optimisation."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.special import logsumexp, softmax
from sklearn.utils import check_random_state

from benchmarks.rivals._linear import ClassMetric
from benchmarks.rivals._pairs import draw_pairs
from benchmarks.rivals._sklearn import Interval


class DMLEig(ClassMetric):
    """DML-eig: the largest minimal distance of dissimilar pairs, while similar ones stay near.

    Maximises the least squared distance over dissimilar pairs subject to a mean of at most 1 over similar ones. With
    the similar pairs whitened, that is a problem on matrices of trace 1 which Frank-Wolfe steps solve.

    Parameters
    ----------
    mu : float, default=0.1
        Smoothing of the minimum, in units of the mean squared distance of similar pairs.
    reg : float, default=0.1
        Fraction of the mean variance that is added to all variances of similar differences before they are whitened.
    n_pairs : int, default=10000
        Pairs drawn, half of them similar.
    max_iter : int, default=200
        Most steps.
    tol : float, default=0.01
        Duality gap, relative to the objective, at which to stop.
    random_state : int, RandomState or None, default=None
        Seed of the pairs.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Factor L of the learned metric M = L' L.
    gap_ : float
        Duality gap: the objective is within it of its optimum.
    n_iter_ : int
        Steps; `max_iter` where the gap stayed above `tol`.

    References
    ----------
    Y. Ying and P. Li, "Distance metric learning with eigenvalue optimization", JMLR 13, 2012.
    """

    _parameter_constraints: dict = {
        "mu": [Interval(Real, 0, None, closed="neither")],
        "reg": [Interval(Real, 0, None, closed="neither")],
        "n_pairs": [Interval(Integral, 2, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, *, mu=0.1, reg=0.1, n_pairs=10_000, max_iter=200, tol=0.01, random_state=None):
        self.mu = mu
        self.reg = reg
        self.n_pairs = n_pairs
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _learn(self, X: np.ndarray, classes: np.ndarray) -> np.ndarray:
        random_state = check_random_state(self.random_state)
        similar, dissimilar = (kind.differences(X) for kind in draw_pairs(classes, self.n_pairs // 2, random_state))
        dissimilar = dissimilar[dissimilar.any(axis=1)]  # no metric separates equal samples
        if not len(dissimilar):
            raise ValueError("All samples of different classes are equal. Pass features that tell classes apart.")
        whitening = inverse_root(similar, self.reg)
        solution = frank_wolfe(dissimilar @ whitening, self.mu, max_iter=self.max_iter, tol=self.tol)

        self.gap_, self.n_iter_ = solution.gap, solution.n_iter
        return whitening @ solution.S @ whitening


class Solution(NamedTuple):
    """Matrix of trace 1 and how far it may be from the optimum."""

    S: np.ndarray  # of shape (d, d)
    gap: float
    n_iter: int


def inverse_root(differences: np.ndarray, reg: float) -> np.ndarray:
    """Inverse root of the second moment of differences, each of its eigenvalues raised by `reg` times their mean."""
    eigenvalues, V = np.linalg.eigh(differences.T @ differences / len(differences))
    ridge = reg * eigenvalues.mean() or 1.0  # similar samples may all be equal
    return V / np.sqrt(np.maximum(eigenvalues, 0) + ridge) @ V.T


def smooth_minimum(distances: np.ndarray, mu: float) -> float:
    """-mu log sum exp(-distances / mu), below the minimum by at most mu log n."""
    return float(-mu * logsumexp(-distances / mu))


def frank_wolfe(differences: np.ndarray, mu: float, *, max_iter: int, tol: float) -> Solution:
    """Maximise the smooth minimum of d' S d over positive semi-definite S of trace 1.

    Parameters
    ----------
    differences : ndarray of shape (n_pairs, n_features)
        Differences d of dissimilar pairs, whitened.
    mu : float
        Smoothing, above 0.
    max_iter : int
        Most steps; each takes the leading eigenvector of one matrix.
    tol : float
        Duality gap at which to stop, relative to the largest mean of the pairs' distances, at the weights of the step.

    Returns
    -------
    Solution
    """
    d = differences.shape[1]
    S = np.eye(d) / d
    distances = np.square(differences).sum(axis=1) / d
    gap, n_iter = np.inf, 0
    for n_iter in range(1, max_iter + 1):
        weights = softmax(-distances / mu)
        weighted = differences * np.sqrt(weights)[:, None]
        gradient = weighted.T @ weighted
        bound, v = (each[..., -1] for each in eigh(gradient, subset_by_index=[d - 1, d - 1]))
        gap = float(bound - weights @ distances)
        if gap <= tol * bound:
            break
        step = 2 / (n_iter + 1)
        S = (1 - step) * S + step * np.outer(v, v)
        distances = (1 - step) * distances + step * np.square(differences @ v)
    return Solution(S, gap, n_iter)
