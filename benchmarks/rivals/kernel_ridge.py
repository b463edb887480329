"""Ridge regression on the Laplacian kernel, with its penalty by the exact error of leaving out each sample."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

PENALTIES = tuple(10.0**exponent for exponent in np.arange(-3, 3.5, 0.5))

_BLOCK = 2**24  # entries of a kernel that are computed at once: 128 MiB
_ROUNDING = 1e-12  # part of the largest eigenvalue, below which a direction is rounding


class Directions(NamedTuple):
    """Principal directions of features of mean 0.

    Attributes
    ----------
    scores : ndarray of shape (n_samples, n_directions)
        Orthonormal coordinates of the samples: left singular vectors of the features.
    values : ndarray of shape (n_directions,)
        Squared singular values, above 0.
    """

    scores: np.ndarray
    values: np.ndarray


def mean_distance(X: np.ndarray) -> float:
    """Mean l1 distance of two different samples, from sorted features: n log n in the number of samples; 1 if 0."""
    n_samples = len(X)
    # In sorted order a value is added once for each one below it, and taken away for each one above.
    weights = 2 * np.arange(n_samples) - n_samples + 1
    total = float((np.sort(X, axis=0) * weights[:, None]).sum())
    return 2 * total / (n_samples * (n_samples - 1)) if total > 0 else 1.0


def laplacian_kernel(A: np.ndarray, B: np.ndarray, decay: float) -> np.ndarray:
    """Kernel exp(-decay |a - b|_1), of shape (len(A), len(B))."""
    K = cdist(A, B, "cityblock")
    K *= -decay
    return np.exp(K, out=K)


def eigen_directions(K: np.ndarray) -> Directions:
    """Directions of a kernel among the samples, of shape (n_samples, n_samples), centred."""
    means = K.mean(axis=0)
    values, vectors = eigh(K - means - means[:, None] + means.mean(), overwrite_a=True)
    kept = values > _ROUNDING * values[-1]
    return Directions(vectors[:, kept], values[kept])


def leave_one_out(directions: Directions, Y: np.ndarray, penalty: float) -> np.ndarray:
    """Errors of ridge regression with an intercept at each sample, fitted without it.

    Parameters
    ----------
    directions : Directions
        Directions of the features of all samples.
    Y : ndarray of shape (n_samples, n_outputs)
        Targets of mean 0.
    penalty : float
        Penalty of the squared weights, above 0.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        (y - H y)_i / (1 - H_ii) of the hat matrix H, in which the intercept has 1 / n.
    """
    scores, values = directions
    shrinkage = values / (values + penalty)
    fitted = scores @ (shrinkage[:, None] * (scores.T @ Y))
    leverage = 1 / len(Y) + np.square(scores) @ shrinkage
    return (Y - fitted) / (1 - leverage)[:, None]


class _KernelRidge(BaseEstimator):
    """Ridge regression of columns of numbers on the Laplacian kernel."""

    def __init__(self, gamma=0.5, *, penalties=PENALTIES, max_samples=4000, random_state=None):
        self.gamma = gamma
        self.penalties = penalties
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit(self, X, Y):
        few = len(X) <= self.max_samples
        rows = slice(None) if few else check_random_state(self.random_state).permutation(len(X))[: self.max_samples]
        self.landmarks_ = X[rows]
        self.decay_ = self.gamma / mean_distance(self.landmarks_)
        self.means_ = Y.mean(axis=0)
        solve = self._solve_kernel if few else self._solve_features
        solve(X, Y - self.means_)

    def _choose(self, directions, Y):
        """Weights of the directions, with the penalty of the least error."""
        errors = [np.square(leave_one_out(directions, Y, penalty)).mean() for penalty in self.penalties]
        self.errors_ = np.array(errors)
        self.penalty_ = self.penalties[int(self.errors_.argmin())]
        return (directions.scores.T @ Y) / (directions.values + self.penalty_)[:, None]

    def _solve_kernel(self, X, Y):
        """Weights of the samples, whose kernel is among them all."""
        K = laplacian_kernel(X, X, self.decay_)
        means = K.mean(axis=0)
        directions = eigen_directions(K)
        self.weights_ = directions.scores @ self._choose(directions, Y)
        # Of sum 0, the weights meet the kernel as if it were centred, but for what it has in common.
        self.intercept_ = self.means_ - means @ self.weights_

    def _solve_features(self, X, Y):
        """Weights of the landmarks, whose Nystrom features are ridge regression's."""
        values, vectors = eigh(laplacian_kernel(self.landmarks_, self.landmarks_, self.decay_), overwrite_a=True)
        kept = values > _ROUNDING * values[-1]
        whitening = vectors[:, kept] / np.sqrt(values[kept])
        Z = np.concatenate([K @ whitening for K in self._kernels(X)])
        means = Z.mean(axis=0)
        Z -= means
        # The thin singular value decomposition of tall features, from their second moments.
        values, vectors = eigh(Z.T @ Z, overwrite_a=True)
        kept = values > _ROUNDING * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        directions = Directions(Z @ vectors / np.sqrt(values), values)
        weights = vectors @ (np.sqrt(values)[:, None] * self._choose(directions, Y))
        self.weights_ = whitening @ weights
        self.intercept_ = self.means_ - means @ weights

    def _kernels(self, X) -> Iterator[np.ndarray]:
        """Kernel of the samples and the landmarks, some samples at a time."""
        n_rows = max(1, _BLOCK // len(self.landmarks_))
        for start in range(0, len(X), n_rows):
            yield laplacian_kernel(X[start : start + n_rows], self.landmarks_, self.decay_)

    def _outputs(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.concatenate([K @ self.weights_ + self.intercept_ for K in self._kernels(X)])


class KernelRidgeRegressor(RegressorMixin, _KernelRidge):
    """Ridge regression of numbers on the Laplacian kernel.

    The kernel is exp(-gamma |x - x'|_1 / s), where s is the mean l1 distance of two samples: the kernel of
    :class:`skrelmetric.encoders.Laplacian`, so that only what is learned on it differs. The intercept has no penalty,
    and all outputs have the one whose squared error, with each sample left out in turn, is the least on average.

    Parameters
    ----------
    gamma : float, default=0.5
        Decay of the kernel in units of the mean distance, above 0.
    penalties : sequence of float, default=10 ** (-3, -2.5, ..., 3)
        Penalties to choose from, above 0.
    max_samples : int, default=4000
        Samples up to which the kernel is among all of them. Of more, as many are drawn as landmarks, and the features
        are those of the Nystrom method, in which leaving out is as exact; the landmarks stay.
    random_state : int, RandomState or None, default=None
        Seed of the landmarks.

    Attributes
    ----------
    penalty_ : float
        Chosen penalty.
    errors_ : ndarray of shape (n_penalties,)
        Mean squared error, with each sample left out, of each penalty.
    landmarks_ : ndarray of shape (n_landmarks, n_features)
    weights_ : ndarray of shape (n_landmarks, n_outputs)
    intercept_ : ndarray of shape (n_outputs,)

    """

    def fit(self, X, y):
        """Fit to targets of shape (n_samples,) or (n_samples, n_outputs)."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        self._fit(X, y.reshape(len(y), -1).astype(np.float64))
        self.outputs_ = y.shape[1:]
        return self

    def predict(self, X):
        """Predicted targets."""
        return self._outputs(X).reshape(-1, *self.outputs_)


class KernelRidgeClassifier(ClassifierMixin, _KernelRidge):
    """Ridge regression of classes or labels, as -1 and 1, on the Laplacian kernel.

    Parameters and other attributes are those of :class:`KernelRidgeRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, or the numbers of the labels.
    """

    def fit(self, X, y):
        """Fit to classes of shape (n_samples,), or to label sets, 0 or 1, of shape (n_samples, n_labels)."""
        X, y = validate_data(self, X, y, multi_output=True, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        self.binarizer_ = LabelBinarizer(neg_label=-1)
        self._fit(X, self.binarizer_.fit_transform(y).astype(np.float64))
        self.classes_ = self.binarizer_.classes_
        return self

    def decision_function(self, X):
        """Output of each class or label, of shape (n_samples, n_outputs); of two classes one, (n_samples,)."""
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def predict(self, X):
        """Class of the largest output, or all labels of positive output."""
        return self.binarizer_.inverse_transform(self.decision_function(X), threshold=0)
