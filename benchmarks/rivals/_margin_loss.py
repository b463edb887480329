"""Loss of large margin nearest neighbours."""

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

from benchmarks.rivals._pairs import Pairs

_BLOCK = 2**18  # numbers of the samples of pairs held at once, few enough to stay near


def margin_loss(L: np.ndarray, X: np.ndarray, targets: Pairs, impostors: Pairs, mu: float) -> tuple[float, np.ndarray]:
    """Loss (1 - mu) pull + mu push, divided by the number of targets, and its gradient in L.

    Parameters
    ----------
    L : ndarray of shape (r, d)
        Factor of the metric.
    X : ndarray of shape (n_samples, d)
        Samples.
    targets, impostors : Pairs
        Samples with their targets, and with candidates for impostors, both in the order of samples.
    mu : float
        Weight of the push.

    Returns
    -------
    loss : float
    gradient : ndarray of shape (r, d)
    """
    n = len(X)
    Z = X @ L.T
    near, far = _squared_distances(Z, targets), _squared_distances(Z, impostors)
    pull, push = np.full(len(near), 1 - mu), np.zeros(len(far))
    loss = (1 - mu) * near.sum()
    first, last = np.searchsorted(targets.i, [np.arange(n), np.arange(1, n + 1)])
    for rank in range((last - first).max()):  # each candidate meets the target of that rank of its sample
        target = first[impostors.i] + rank
        meets = np.flatnonzero(target < last[impostors.i])
        target = target[meets]
        hinge = 1 + near[target] - far[meets]
        active = hinge > 0
        loss += mu * hinge[active].sum()
        pull += mu * np.bincount(target[active], minlength=len(near))
        push[meets[active]] += mu
    # The sum of w_ij (x_i - x_j)(x_i - x_j)' is X' (diag of row and column sums of W, less W and W') X.
    rows, columns = np.concatenate([targets.i, impostors.i]), np.concatenate([targets.j, impostors.j])
    weights = np.concatenate([pull, -push])
    W = sparse.csr_array((weights, (rows, columns)), (n, n))
    degrees = np.bincount(rows, weights, n) + np.bincount(columns, weights, n)
    laplacian_X = degrees[:, None] * X - W @ X - W.T @ X
    return loss / len(near), 2 * Z.T @ laplacian_X / len(near)


def _squared_distances(Z: np.ndarray, pairs: Pairs) -> np.ndarray:
    norms = np.square(Z).sum(axis=1)
    products = np.empty(len(pairs.i))
    for rows in gen_batches(len(pairs.i), max(1, _BLOCK // Z.shape[1])):
        products[rows] = np.einsum("ij,ij->i", Z[pairs.i[rows]], Z[pairs.j[rows]])
    return np.maximum(norms[pairs.i] + norms[pairs.j] - 2 * products, 0)
