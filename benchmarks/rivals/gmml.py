"""Geometric mean metric learning."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from benchmarks.rivals._linear import ClassMetric
from benchmarks.rivals._pairs import draw_pairs
from benchmarks.rivals._sklearn import Interval


class GMML(ClassMetric):
    """Geometric mean metric learning, in closed form.

    The metric is the point at t on the geodesic, among positive definite matrices, from the inverse of the second
    moment S of similar differences to the second moment D of dissimilar ones. At t = 1/2 it minimises
    tr(M S) + tr(M^-1 D).

    Parameters
    ----------
    t : float, default=0.5
        Place on the geodesic, from 0 (S^-1) to 1 (D).
    reg : float, default=0.1
        Weight of the identity as prior: it is added to S and to D, the mean products of differences. At 0, S must have
        full rank.
    n_pairs : int or None, default=None
        Pairs drawn, half of them similar. None draws 40 c (c - 1) for c classes, as the paper does, and at most 100000.
    random_state : int, RandomState or None, default=None
        Seed of the pairs.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Factor L of the learned metric M = L' L.

    References
    ----------
    P. Zadeh, R. Hosseini and S. Sra, "Geometric mean metric learning", ICML 2016.
    """

    _parameter_constraints: dict = {
        "t": [Interval(Real, 0, 1, closed="both")],
        "reg": [Interval(Real, 0, None, closed="left")],
        "n_pairs": [Interval(Integral, 2, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(self, *, t=0.5, reg=0.1, n_pairs=None, random_state=None):
        self.t = t
        self.reg = reg
        self.n_pairs = n_pairs
        self.random_state = random_state

    def _learn(self, X: np.ndarray, classes: np.ndarray) -> np.ndarray:
        c = classes.max() + 1
        n_pairs = self.n_pairs or min(40 * c * (c - 1), 100_000)
        pairs = draw_pairs(classes, n_pairs // 2, check_random_state(self.random_state))
        S, D = (second_moment(kind.differences(X)) + self.reg * np.eye(X.shape[1]) for kind in pairs)
        return inverse_geodesic(S, D, self.t)


def second_moment(differences: np.ndarray) -> np.ndarray:
    """Mean of d d' over the rows d, of shape (n_features, n_features)."""
    return differences.T @ differences / len(differences)


def inverse_geodesic(S: np.ndarray, D: np.ndarray, t: float) -> np.ndarray:
    """S^-1 #_t D = S^-1/2 (S^1/2 D S^1/2)^t S^-1/2, symmetric.

    Raises
    ------
    ValueError
        If S is singular to working precision.
    """
    eigenvalues, V = np.linalg.eigh(S)
    if eigenvalues[0] <= len(S) * np.finfo(np.float64).eps * eigenvalues[-1]:
        raise ValueError(
            f"Differences of similar pairs span fewer than the {len(S)} dimensions, so that their second moment has no "
            "inverse. Pass reg > 0, more pairs or fewer features."
        )
    root, inverse_root = ((V * eigenvalues**power) @ V.T for power in (0.5, -0.5))
    between, W = np.linalg.eigh(root @ D @ root)
    factor = inverse_root @ W * np.maximum(between, 0) ** (t / 2)
    return factor @ factor.T
