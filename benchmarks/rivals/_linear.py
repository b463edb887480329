"""What all linear metrics learned from classes share: what they accept, and how they transform."""

from warnings import warn

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, validate_data

from skrelmetric.mahalanobis import psd_factor, with_positive_sign


class ClassMetric:
    """Mixin of an estimator that learns a Mahalanobis distance from the class of each sample."""

    components_: np.ndarray

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
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.required = True
        return tags
