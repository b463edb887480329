"""Weights of a mean of predictions, at least 0 and of sum 1, under which held-out samples are predicted best."""

import numpy as np
from scipy.optimize import nnls

__all__ = ["mixture_weights"]


def mixture_weights(errors: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Weights under which the mean of several errors is least, in the mean square.

    Parameters
    ----------
    errors : ndarray of shape (n_members, n_samples, n_outputs)
        Errors of each member.
    sample_weight : ndarray of shape (n_samples,)
        Weights of the samples, at least 0.

    Returns
    -------
    ndarray of shape (n_members,)

    Notes
    -----
    Stacked regression (Breiman, 1996). Probabilities are judged by the same square, Brier's: by their likelihood a
    member that ranks well and is too sure of itself would have no weight.
    """
    n_members = len(errors)
    rooted = (errors * np.sqrt(sample_weight)[:, None]).reshape(n_members, -1)
    moments = rooted @ rooted.T
    size = np.trace(moments)
    if not size > 0:
        return np.full(n_members, 1 / n_members)
    eigenvalues, eigenvectors = np.linalg.eigh(moments / size)
    root = np.sqrt(eigenvalues.clip(min=0))[:, None] * eigenvectors.T
    heavy = 1e4  # a row of this weight stands for the sum of 1
    weights, _ = nnls(np.vstack([root, np.full(n_members, heavy)]), np.append(np.zeros(n_members), heavy))
    return weights / weights.sum()
