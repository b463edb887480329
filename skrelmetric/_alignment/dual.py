"""Inverse of the normal equations of few samples, in their dual: n x n products in place of iterations."""

from collections.abc import Callable

import torch
from torch import Tensor

from skrelmetric._alignment.coordinates import PrincipalCoordinates

__all__ = ["dual_inverse"]

# Samples of so many a feature, and so many in all, are few: their n x n matrix costs less than the iterations it saves.
_FEW, _MOST = 16, 8192

# Samples of which the n x n matrix is in double precision, so that the order of few of them does not show in a result.
# Single precision is as good a preconditioner.
_DOUBLE = 1024

# Separable terms of the inverse diagonal are left out below such parts of the largest, and sought in so many columns.
_NEGLIGIBLE, _N_COLUMNS = {torch.float32: 1e-6, torch.float64: 1e-12}, 64

_BLOCK = 512  # rows of the n x n matrix that are summed at once, of which those below the diagonal are left out


def dual_inverse(coordinates: PrincipalCoordinates, alpha: float) -> Callable[[Tensor], Tensor] | None:
    """Inverse of A up to single precision, for the preconditioner of an exact solver.

    Parameters
    ----------
    coordinates : PrincipalCoordinates
        Principal coordinates of the samples.
    alpha : float
        Weight of the ridge penalty, at least 0.

    Returns
    -------
    callable or None
        Maps a symmetric matrix of shape (rank, rank) to another. None where samples are many for their coordinates.

    Notes
    -----
    A(M) = D * M + 2 sum_i p_i <W_i, M> W_i for W_i = z_i z_i' - S and the diagonal D = 4 s s' + alpha, so Woodbury's
    identity inverts it with the n x n matrix of <W_i, W_j / D>. That takes n^2 d^2 operations, but 1 / D is a smooth
    function of two variances, and a sum of some ten products f(s_a) f(s_b) of either sign: each adds the square of
    z_i' diag(f) z_j. These are products of matrices. Samples in parts are gathered, as they are few.
    """
    n, rank = coordinates.problem.shape[0], len(coordinates.variances)
    if not 0 < n <= min(_FEW * rank, _MOST):
        return None
    s, samples = coordinates.variances, coordinates.problem.samples
    diagonal = 4 * torch.outer(s, s) + alpha
    Z = samples[:].to(torch.float64)
    Z = Z if coordinates.rotation is None else Z @ coordinates.rotation
    dtype = torch.float64 if n <= _DOUBLE else torch.float32
    # A sample of weight p is within p^-1/2 of the mean, so that p^1/4 keeps fourth powers in the range of float32.
    W = (samples.weights.sqrt().sqrt()[:, None] * Z / s.sqrt()).to(dtype)
    factor = _cholesky(W, samples.weights.sqrt().to(dtype), s, torch.outer(s, s) / diagonal)
    if factor is None:
        return None
    Z, root = Z.to(dtype), samples.weights.sqrt()

    def inverse(R: Tensor) -> Tensor:
        M = R / diagonal
        forms = root * ((Z @ M.to(Z.dtype)).mul_(Z).sum(1).to(R.dtype) - M.diagonal() @ s)
        weights = root * torch.cholesky_solve(forms.to(Z.dtype)[:, None], factor, upper=True)[:, 0]
        scatter = (Z.T @ (weights.to(Z.dtype)[:, None] * Z)).to(R.dtype)
        scatter.diagonal().sub_(weights.sum() * s)
        return M - scatter / diagonal

    return inverse


def _cholesky(W: Tensor, root: Tensor, s: Tensor, whitened: Tensor) -> Tensor | None:
    """Upper factor of the n x n matrix plus 1/2, of whitened samples times p^1/4; None where rounding leaves none."""
    signs, scales = (each.to(W.dtype) for each in _separated(whitened, s, _NEGLIGIBLE[W.dtype]))
    along_mean = W.square() @ whitened.diagonal().to(W.dtype) - root * whitened.trace().to(W.dtype) / 2
    matrix = W.new_zeros((len(W), len(W)))
    for start in range(0, len(W), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = matrix[rows, start:]
        for sign, scale in zip(signs.tolist(), scales, strict=True):
            block.add_((W[rows] * scale @ W[start:].T).square_(), alpha=sign)
        block.addr_(along_mean[rows], root[start:], alpha=-1).addr_(root[rows], along_mean[start:], alpha=-1)
    matrix.diagonal().add_(0.5)
    factor, failed = torch.linalg.cholesky_ex(matrix, upper=True)
    return None if failed or not factor.isfinite().all() else factor


def _separated(matrix: Tensor, s: Tensor, negligible: float) -> tuple[Tensor, Tensor]:
    """Signs and functions f of the terms, sign f f', of a matrix that is a smooth function of log s in both places."""
    logs, order = s.log().sort()
    grid = torch.linspace(float(logs[0]), float(logs[-1]), _N_COLUMNS, dtype=s.dtype, device=s.device)
    places = torch.searchsorted(logs, grid).clamp(max=len(s) - 1).unique()
    basis = torch.linalg.qr(matrix[:, order[places]]).Q
    values, directions = torch.linalg.eigh(basis.T @ matrix @ basis)
    kept = values.abs() > negligible * values.abs().max()
    return values[kept].sign(), (basis @ directions[:, kept] * values[kept].abs().sqrt()).T
