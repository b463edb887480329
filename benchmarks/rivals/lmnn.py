"""Large margin nearest neighbours."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from benchmarks.rivals._linear import ClassMetric
from benchmarks.rivals._margin_loss import margin_loss
from benchmarks.rivals._pairs import Pairs, nearest
from benchmarks.rivals._sklearn import Interval

_BETWEEN_SEARCHES = 20  # steps of L-BFGS before impostors are searched for again
_LIFT = 1e-3  # of eigenvalues of the metric, which are 1 at first


class LMNN(ClassMetric):
    """Large margin nearest neighbours.

    Pulls each sample to the nearest of its class, its targets, and pushes samples of other classes that are not
    farther than a target by a margin of 1, its impostors. A sample alone in its class is an impostor only.

    Parameters
    ----------
    n_neighbors : int, default=3
        Targets of each sample: its nearest neighbours of its class before learning.
    mu : float, default=0.5
        Weight of the push, between 0 and 1; the pull has weight 1 - mu.
    max_impostors : int, default=50
        Candidates for impostors that each sample gains in a search, every 20 steps: its nearest of other classes.
        With as many as there are samples, the loss is that of the paper; fewer leave out impostors behind others.
    max_iter : int, default=100
        Most steps of L-BFGS.
    tol : float, default=1e-4
        Relative change of the loss, by the steps between two searches and by a search, at which to stop.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Factor L of the learned metric M = L' L.
    loss_ : float
        Loss, divided by the number of targets, at the last search.
    n_iter_ : int
        Steps of L-BFGS.

    Notes
    -----
    Samples come in units of the root mean square distance to targets, which makes the margin free of scale. A search
    costs O(n^2 d), and a step O(n d) for each candidate of a sample and O(n d^2).

    References
    ----------
    K. Weinberger and L. Saul, "Distance metric learning for large margin nearest neighbor classification", JMLR 10,
    2009.
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "mu": [Interval(Real, 0, 1, closed="neither")],
        "max_impostors": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, *, n_neighbors=3, mu=0.5, max_impostors=50, max_iter=100, tol=1e-4):
        self.n_neighbors = n_neighbors
        self.mu = mu
        self.max_impostors = max_impostors
        self.max_iter = max_iter
        self.tol = tol

    def _learn(self, X: np.ndarray, classes: np.ndarray) -> np.ndarray:
        targets = nearest(X, classes, np.arange(len(X)), self.n_neighbors, similar=True)
        unit = np.sqrt(np.square(targets.differences(X)).sum(axis=1).mean()) or 1.0
        metric = large_margin(
            X / unit, classes, targets, self.mu, self.max_impostors, max_iter=self.max_iter, tol=self.tol
        )

        self.loss_, self.n_iter_ = metric.loss, metric.n_iter
        return metric.L.T @ metric.L / unit**2


class LargeMargin(NamedTuple):
    """Factor and its loss."""

    L: np.ndarray  # of shape (d, d)
    loss: float
    n_iter: int


def large_margin(
    X: np.ndarray, classes: np.ndarray, targets: Pairs, mu: float, max_impostors: int, *, max_iter: int, tol: float
) -> LargeMargin:
    """Minimise the loss over factors L, from the identity, over a growing set of candidates for impostors.

    Parameters
    ----------
    X : ndarray of shape (n_samples, d)
        Samples.
    classes : ndarray of int of shape (n_samples,)
        Class of each sample.
    targets : Pairs
        Samples and their targets, in the order of samples.
    mu : float
        Weight of the push.
    max_impostors : int
        Candidates that each sample gains in a search.
    max_iter : int
        Most steps.
    tol : float
        Relative change of the loss at which to stop.

    Returns
    -------
    LargeMargin
    """
    n, d = X.shape
    anchors = np.unique(targets.i)

    def impostors_under(L):
        found = nearest(X @ L.T, classes, anchors, max_impostors, similar=False)
        return found.i * n + found.j

    def objective(flat, candidates):
        impostors = Pairs(*np.divmod(candidates, n))
        loss, gradient = margin_loss(flat.reshape(d, d), X, targets, impostors, mu)
        return loss, gradient.ravel()

    L, n_iter = np.eye(d), 0
    candidates = np.sort(impostors_under(L))
    loss, converged = objective(L.ravel(), candidates)[0], False
    while n_iter < max_iter and not converged:
        start, options = full_rank(L).ravel(), {"maxiter": min(_BETWEEN_SEARCHES, max_iter - n_iter)}
        found = minimize(objective, start, args=(candidates,), jac=True, method="L-BFGS-B", options=options)
        L, n_iter = found.x.reshape(d, d), n_iter + max(1, found.nit)
        candidates = np.union1d(candidates, impostors_under(L))
        before, loss = loss, objective(L.ravel(), candidates)[0]
        converged = max(before, loss) - found.fun <= tol * before  # neither steps nor new candidates change it
    return LargeMargin(L, float(loss), n_iter)


def full_rank(L: np.ndarray) -> np.ndarray:
    """Factor of L' L with its eigenvalues raised a little: where L is 0, its gradient is, whatever the candidates."""
    eigenvalues, V = np.linalg.eigh(L.T @ L)
    return (V * np.sqrt(np.maximum(eigenvalues, 0) + _LIFT)) @ V.T
