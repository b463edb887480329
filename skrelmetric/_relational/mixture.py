"""Weights of a mean of predictions, at least 0 and of sum 1, under which held-out samples are predicted best."""

import numpy as np
from scipy.optimize import nnls

__all__ = ["likely_weights", "square_weights"]

_N_STEPS = 100
_FLOOR = 1e-6  # likelihood that stands for less, so that one confident error does not rule out a member


def likely_weights(likelihoods: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Weights under which the mean of several likelihoods is largest, in the mean of logarithms.

    Parameters
    ----------
    likelihoods : ndarray of shape (n_members, ...)
        Probability by each member of each outcome that came.
    cells : ndarray of shape (...)
        Weights of the outcomes, at least 0, one of them above.

    Returns
    -------
    ndarray of shape (n_members,)

    Notes
    -----
    Expectation maximisation of the weights of a mixture (Dempster, Laird and Rubin, 1977): the problem is concave, and
    each step raises the likelihood. A hundred steps from equal weights leave some weight to members of some use.
    """
    likelihoods = np.maximum(likelihoods, _FLOOR).reshape(len(likelihoods), -1)
    cells = cells.ravel() / cells.sum()
    weights = np.full(len(likelihoods), 1 / len(likelihoods))
    for _ in range(_N_STEPS):
        weights = weights * (likelihoods @ (cells / (weights @ likelihoods)))
    return weights / weights.sum()


def square_weights(errors: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Weights under which the mean of several errors is least, in the mean square.

    Parameters
    ----------
    errors : ndarray of shape (n_members, ...)
        Errors of each member.
    cells : ndarray of shape (...)
        Weights of the squares, at least 0.

    Returns
    -------
    ndarray of shape (n_members,)
    """
    rooted = (errors * np.sqrt(cells)).reshape(len(errors), -1)
    moments = rooted @ rooted.T
    size = np.trace(moments)
    if not size > 0:
        return np.full(len(errors), 1 / len(errors))
    eigenvalues, eigenvectors = np.linalg.eigh(moments / size)
    root = np.sqrt(eigenvalues.clip(min=0))[:, None] * eigenvectors.T
    # A heavy row stands for the sum of 1.
    weights = nnls(np.vstack([root, np.full(len(errors), 1e4)]), np.append(np.zeros(len(errors)), 1e4))[0]
    return weights / weights.sum()
