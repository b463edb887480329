"""Alignment on a sample of pairs, by scikit-learn's kernel regressors: RAML as it was published.

With T = d d' for the difference d of two samples, <T, T'> = (d . d')^2. So regression of the relation on T with a
Frobenius-norm penalty (HRAML, Eqs. 2-3) is kernel regression on d with the polynomial kernel of degree 2,
gamma = 1 and coef0 = 0, and the matrix of the distance is M = sum_k beta_k d_k d_k' for the dual coefficients beta.
"""

from typing import Self

import numpy as np
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.svm import SVR
from sklearn.utils.random import sample_without_replacement

from skrelmetric._alignment.coordinates import PrincipalCoordinates
from skrelmetric._alignment.ridge import AlignedMetric
from skrelmetric._interop.torch import as_tensor
from skrelmetric.relations import Relation

__all__ = ["PairSample", "kernel_ridge", "sample_pairs", "support_vectors"]

_KERNEL = {"degree": 2, "gamma": 1.0, "coef0": 0.0}


class PairSample:
    """Sampled pairs: differences of samples, relations of their targets, weights.

    Parameters
    ----------
    coordinates : PrincipalCoordinates
        The samples.
    G : Relation
        Relation of their targets.
    i, j : ndarray of int64 of shape (n_pairs,)
        The two samples of each pair.

    Attributes
    ----------
    differences : ndarray of shape (n_pairs, rank)
        Differences of the samples in principal coordinates.
    relations : ndarray of shape (n_pairs,)
        Relations of the targets.
    weights : ndarray of shape (n_pairs,)
        Weight of each pair; their sum is 1.
    coordinates : PrincipalCoordinates
        The samples.
    device : torch.device
        Where the samples and the targets are.
    """

    def __init__(self, coordinates: PrincipalCoordinates, G: Relation, i: np.ndarray, j: np.ndarray):
        self.coordinates, self.device, p = coordinates, G.device, coordinates.problem.samples.weights
        a, b = as_tensor(i, self.device), as_tensor(j, self.device)
        self.differences = coordinates.differences(a, b).cpu().numpy()
        self.relations = G.pairs(a, b).cpu().numpy()
        # Among all n^2 pairs, two samples meet twice and each meets itself once.
        weights = (p[a] * p[b]).cpu().numpy() * np.where(i == j, 1.0, 2.0)
        self.weights = weights / weights.sum()

    @classmethod
    def draw(
        cls, coordinates: PrincipalCoordinates, G: Relation, n_pairs: int, random_state: np.random.RandomState
    ) -> Self:
        """A uniform sample of the pairs, without replacement."""
        return cls(coordinates, G, *sample_pairs(G.n_samples, n_pairs, random_state))


def sample_pairs(n_samples: int, n_pairs: int, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i <= j of samples, drawn uniformly without replacement and without listing them all.

    Parameters
    ----------
    n_samples : int
        Number of samples n.
    n_pairs : int
        Number of pairs, or all n (n + 1) / 2 if they are fewer.
    random_state : RandomState
        Source of randomness.

    Returns
    -------
    i, j : ndarray of int64 of shape (n_pairs,)
    """
    population = n_samples * (n_samples + 1) // 2
    if n_pairs >= population:
        rank = np.arange(population)
    else:
        rank = sample_without_replacement(population, n_pairs, random_state=random_state).astype(np.int64)
    j = ((np.sqrt(8.0 * rank + 1) - 1) / 2).astype(np.int64)  # the largest j with j (j + 1) / 2 <= rank
    j -= j * (j + 1) // 2 > rank
    j += (j + 1) * (j + 2) // 2 <= rank
    return rank - j * (j + 1) // 2, j


def kernel_ridge(pairs: PairSample, alpha: float) -> AlignedMetric:
    """RAML-KRR: ridge regression on the pairs, in the dual, with an offset that is not penalised.

    The penalty alpha/2 |M|^2, alpha above 0, stands against half the weighted mean squared error.
    """
    if not pairs.differences.shape[1]:
        return _none_varies(pairs)
    w = pairs.weights
    kernel = polynomial_kernel(pairs.differences, **_KERNEL)
    along_mean = kernel @ w
    centred = kernel - along_mean[:, None] - along_mean + w @ along_mean
    mean = w @ pairs.relations
    model = KernelRidge(alpha=alpha, kernel="precomputed").fit(centred, pairs.relations - mean, sample_weight=w)
    beta = model.dual_coef_ - model.dual_coef_.sum() * w  # of the pairs less their mean
    return _aligned(pairs, beta, mean - along_mean @ beta, n_iter=1)


def support_vectors(pairs: PairSample, alpha: float, epsilon: float) -> AlignedMetric:
    """RAML-SVR: regression on the pairs that ignores errors up to epsilon, in units of the relation, at least 0.

    The penalty alpha/2 |M|^2, alpha above 0, stands against the weighted mean of the errors.
    """
    if not pairs.differences.shape[1]:
        return _none_varies(pairs)
    # The tolerance of libsvm is absolute, so relations go to it in units of their spread.
    mean = pairs.weights @ pairs.relations
    spread = (pairs.weights @ (pairs.relations - mean) ** 2) ** 0.5 or 1.0
    # scikit-learn's objective is |M|^2 / 2 + C sum of errors.
    options = {"C": 1 / (alpha * spread), "epsilon": epsilon / spread, "max_iter": 1000 * len(pairs.relations)}
    model = SVR(kernel="poly", **options, **_KERNEL)
    model.random_state = 0  # which libsvm does not use, but scikit-learn draws it, and without a seed from numpy's own
    model.fit(pairs.differences, (pairs.relations - mean) / spread, sample_weight=pairs.weights)
    beta = np.zeros(len(pairs.relations))
    beta[model.support_] = spread * model.dual_coef_[0]
    offset = mean + spread * float(model.intercept_[0])
    return _aligned(pairs, beta, offset, n_iter=int(np.max(model.n_iter_)))


def _none_varies(pairs: PairSample) -> AlignedMetric:
    return _aligned(pairs, np.zeros(len(pairs.relations)), float(pairs.weights @ pairs.relations), n_iter=0)


def _aligned(pairs: PairSample, beta: np.ndarray, offset: float, n_iter: int) -> AlignedMetric:
    M = as_tensor((pairs.differences * beta[:, None]).T @ pairs.differences, pairs.device)
    return AlignedMetric(M, M.new_tensor(offset), n_iter, 0.0, pairs.coordinates)
