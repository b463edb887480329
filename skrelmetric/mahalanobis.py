"""Algebra of a linear metric: the factor of a symmetric matrix, and distances under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from skrelmetric._interop.magnitudes import norms

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Mahalanobis", "psd_factor", "with_positive_sign"]


def psd_factor(M: Tensor) -> Tensor:
    """Factor L with L' L the positive semi-definite matrix nearest to M.

    Parameters
    ----------
    M : Tensor of shape (d, d)
        Symmetric matrix.

    Returns
    -------
    Tensor of shape (rank, d)
        One row for each positive eigenvalue: its eigenvector times its root, largest first, so that the first k rows
        are the best factor of rank k (Eckart and Young, 1936).
    """
    import torch

    if not len(M):
        return M
    eigenvalues, eigenvectors = torch.linalg.eigh(M)
    eigenvalues, eigenvectors = eigenvalues.flip(0), eigenvectors.flip(1)
    noise = M.shape[0] * torch.finfo(M.dtype).eps * eigenvalues.abs().max()
    rank = int((eigenvalues > noise).sum())
    return (eigenvectors[:, :rank] * eigenvalues[:rank].sqrt()).T


def with_positive_sign(factor: Tensor) -> Tensor:
    """Rows multiplied by -1 where that makes the first of their largest entries positive.

    Entries within rounding of the largest count as largest, so that rounding does not choose among them.
    """
    size = factor.abs()
    largest = size > (1 - 1e-6) * size.amax(1, keepdim=True) if factor.numel() else size > 0
    first = largest & (largest.cumsum(1) == 1)
    negative = (factor * first).sum(1, keepdim=True) < 0
    return factor * (1 - 2 * negative.to(factor.dtype))


class Mahalanobis:
    """Distance ``|L (u - v)|`` of two samples, a function as scikit-learn's neighbours and metric-learn's users take.

    Parameters
    ----------
    components : ndarray of shape (n_components, n_features)
        Factor L of the metric.

    Examples
    --------
    >>> import numpy as np
    >>> from skrelmetric.mahalanobis import Mahalanobis
    >>> metric = Mahalanobis(np.array([[2.0, 0.0]]))
    >>> float(metric([1, 5], [4, 9])), float(metric([1, 5], [4, 9], squared=True))
    (6.0, 36.0)
    """

    def __init__(self, components: np.ndarray):
        self.components = components

    def __call__(self, u: ArrayLike, v: ArrayLike, squared: bool = False) -> float:
        """Distance of `u` and `v`, each of shape (n_features,).

        Raises
        ------
        ValueError
            If either is of another shape.
        """
        u, v = np.asarray(u, dtype=np.float64), np.asarray(v, dtype=np.float64)
        expected = self.components.shape[1:]
        if u.shape != expected or v.shape != expected:
            raise ValueError(
                f"u and v have shapes {u.shape} and {v.shape}, but two samples of shape {expected} are needed."
            )
        distance = norms((self.components @ (u - v))[None])[0]
        return distance * distance if squared else distance

    def __repr__(self) -> str:
        return f"Mahalanobis(components of shape {self.components.shape})"
