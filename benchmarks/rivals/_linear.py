"""Linear metrics learned from classes: their checks, and their transform."""

from abc import abstractmethod
from typing import Self
from warnings import warn

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from benchmarks.rivals._sklearn import fit_context
from skrelmetric.mahalanobis import psd_factor, with_positive_sign


class ClassMetric(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Mahalanobis distance that is learned from the class of each sample."""

    components_: np.ndarray

    @abstractmethod
    def _learn(self, X: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Matrix of the metric, of centred samples and the index of the class of each."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the metric.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Class of each sample.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are no similar or no dissimilar pairs, or if they leave the metric undefined.
        """
        self._set_metric(self._learn(*self._check(X, y)))
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map samples so that Euclidean distance is the learned metric.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Transformed samples.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return X @ self.components_.T

    def _check(self, X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Samples in float64 less their mean, which distances do not see, and the index of the class of each."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        # Not scikit-learn's check of classes, which warns where there are many, as there are of label sets.
        if y.dtype.kind == "f" and (y != np.round(y)).any():
            raise ValueError(
                f"y has fractions, such as {y[y != np.round(y)][0]}, but classes are needed: bin it first."
            )
        _, classes, counts = np.unique(y, return_inverse=True, return_counts=True)
        if len(counts) == 1:
            raise ValueError(
                f"All {len(y)} samples are of one class, but {type(self).__name__} needs dissimilar pairs: "
                "pass samples of two classes or more."
            )
        if counts.max() == 1:
            raise ValueError(
                f"All {len(counts)} classes have one sample only, but {type(self).__name__} needs similar pairs: "
                "pass two samples of a class or more, or fewer and wider classes."
            )
        return X - X.mean(axis=0), classes.ravel()

    def _set_metric(self, M: np.ndarray) -> None:
        """Factor the positive semi-definite matrix nearest to M; a metric of 0 has one component, of zeros."""
        factor = with_positive_sign(psd_factor(torch.from_numpy(M))).numpy()
        if not len(factor):
            warn("The learned metric is 0: all distances will be 0.", UserWarning, stacklevel=4)
            factor = np.zeros((1, len(M)))
        self.components_ = factor

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
