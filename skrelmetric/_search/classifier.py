"""Base of the classifiers by neighbours: their probabilities, dense or of the most probable labels."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host, like
from skrelmetric._interop.dask import is_dask
from skrelmetric._interop.labels import labels_by_blocks, predicted_labels
from skrelmetric._search.predictor import NeighborPredictor
from skrelmetric._search.votes import dense, most_probable, probable, whole

__all__ = ["NeighborClassifier"]


class NeighborClassifier(ClassifierMixin, NeighborPredictor):
    """Classifier that asks the nearest training samples for the probability of each label."""

    classes_: Any

    def predict_proba(self, X: ArrayLike, n_labels: int | None = None) -> Any:
        """Probability of each label, or of each class of a one-dimensional target.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.
        n_labels : int or None, default=None
            Number of labels, from 1 to n_labels in all, if only the most probable ones of each sample are wanted. After
            a fit to sparse `y` nothing of the size of samples times labels is made for these.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels) or (n_samples, n_classes)
            Probabilities of having each label; for a one-dimensional target those of its classes. With `n_labels` a
            csr_matrix of that shape with the `n_labels` most probable ones of each row, of equal ones those of lower
            index. Labels of probability 0 are left out, so that a row may have fewer.

        Raises
        ------
        ValueError
            If `n_labels` is no such number, the target was one-dimensional, or the samples are a Dask array.
        """
        check_is_fitted(self)
        if n_labels is not None:
            self._check_n_labels(n_labels, X)
            blocks = self._probabilities(X, "predict_proba")
            return whole(most_probable(as_host(block), n_labels) for block in blocks)
        if is_dask(X):
            return labels_by_blocks(self.predict_proba, X)
        return like(whole(dense(block) for block in self._probabilities(X, "predict_proba")), X)

    def predict(self, X: ArrayLike) -> Any:
        """Predict labels of probability 1/2 or more; for a one-dimensional target the most probable class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray, csr_matrix or dask.array.Array of shape (n_samples, n_labels), or (n_samples,) for one-dimensional `y`
            Label indicator, sparse after a fit to sparse `y` unless the samples are a Dask array; or classes.
        """
        check_is_fitted(self)
        if is_dask(X):
            return labels_by_blocks(self.predict, X)
        blocks = self._probabilities(X, "predict")
        if self._neighbours.sparse_targets:
            return whole(probable(block) for block in blocks)
        return predicted_labels(whole(blocks), self.classes_, X)

    def _probabilities(self, X: Any, method: str) -> Iterator[Any]:
        """Probabilities of samples that a method was given, in blocks of them: arrays, or sparse or Voted ones."""
        raise NotImplementedError

    def _check_n_labels(self, n_labels: Any, X: Any) -> None:
        if is_dask(X):
            raise ValueError(
                "n_labels is for samples in memory, but X is a Dask array. Leave it out, or pass the blocks one by one."
            )
        if self.classes_.ndim == 1:
            raise ValueError(
                f"n_labels={n_labels!r} is for label sets, but the target was one-dimensional. Leave it out: the "
                f"probabilities of its {len(self.classes_)} classes are all of them."
            )
        most = len(self.classes_)
        if not isinstance(n_labels, Integral) or isinstance(n_labels, bool) or not 1 <= int(n_labels) <= most:
            raise ValueError(
                f"n_labels={n_labels!r}, but there are {most} labels. Pass a whole number from 1 to that, or None for "
                "the probabilities of all."
            )
