"""Algebra of a linear metric: the factor of a symmetric matrix, and distances under it."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["pair_distances", "psd_factor"]


def psd_factor(M: Tensor, n_components: int | None = None) -> Tensor:
    """Factor L with L' L the positive semi-definite matrix nearest to M, of limited rank.

    Parameters
    ----------
    M : Tensor of shape (d, d)
        Symmetric matrix.
    n_components : int or None, default=None
        Rows of L: the best rank, by Eckart and Young. None takes one for each positive eigenvalue, at least one.

    Returns
    -------
    Tensor of shape (n_components, d)
        Rows are eigenvectors scaled by the root of their eigenvalue, largest first; the entry of largest modulus
        in each is positive. Rows beyond the rank of the projection are zero.
    """
    if not len(M):
        return M.new_zeros((n_components or 1, 0))
    eigenvalues, eigenvectors = torch.linalg.eigh(M)
    eigenvalues, eigenvectors = eigenvalues.flip(0), eigenvectors.flip(1)
    noise = M.shape[0] * torch.finfo(M.dtype).eps * eigenvalues.abs().max()
    eigenvalues = torch.where(eigenvalues > noise, eigenvalues, 0.0)
    if n_components is None:
        n_components = max(1, int((eigenvalues > 0).sum()))
    factor = (eigenvectors * eigenvalues.sqrt()).T[:n_components]
    largest = factor.gather(1, factor.abs().argmax(1, keepdim=True))
    factor = torch.where(largest < 0, -factor, factor)
    missing = n_components - factor.shape[0]
    return torch.vstack([factor, factor.new_zeros((missing, factor.shape[1]))])


def pair_distances(components: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Distance |L (x - x')| of each pair.

    Parameters
    ----------
    components : ndarray of shape (n_components, n_features)
        Factor L of the metric.
    pairs : ndarray of shape (n_pairs, 2, n_features)
        The pairs.

    Returns
    -------
    ndarray of shape (n_pairs,)
    """
    return np.linalg.norm((pairs[:, 0] - pairs[:, 1]) @ components.T, axis=1)
