"""Thresholds of label probabilities, one for each label."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host, like
from skrelmetric._interop.dask import is_dask
from skrelmetric._interop.given import plain_targets
from skrelmetric._interop.labels import label_classes, label_probabilities, labels_by_blocks
from skrelmetric._interop.pickles import VersionedEstimator
from skrelmetric._interop.sklearn import (
    HasMethods,
    StrOptions,
    fit_context,
    params_of_samples,
    routed_to_fit,
    split_samples,
)

__all__ = ["MultilabelThresholdClassifier"]

_NOBODY = 2.0  # threshold that no probability reaches, not even one that rounding takes above 1


def _f1(n_right: np.ndarray, n_predicted: np.ndarray, n_having: int) -> np.ndarray:
    return 2 * n_right / (n_predicted + n_having)


def _closeness(n_right: np.ndarray, n_predicted: np.ndarray, n_having: int) -> np.ndarray:
    return -np.abs(n_predicted - n_having)


# What the threshold of a label maximises: of the samples at or above it, those that have it, and all that have it.
_AIMS: dict[str, Callable] = {"f1": _f1, "frequency": _closeness}


class MultilabelThresholdClassifier(ClassifierMixin, MetaEstimatorMixin, VersionedEstimator):
    """Classifier of label sets that predicts each label from a threshold of its own on.

    The thresholds are chosen on probabilities of samples that the classifier was not fitted to.

    Parameters
    ----------
    estimator : estimator
        Classifier with `predict_proba`, of which clones are fitted.
    thresholds : {"f1", "frequency"}, float or array-like of shape (n_labels,), default="f1"
        "f1" chooses the threshold of each label that maximises its F1. "frequency" chooses the one from which on as
        many samples are predicted to have the label as have it, or as near to that as equal probabilities allow.
        Numbers are thresholds that are known, and no folds are fitted.
    cv : int, cross-validation splitter, iterable or None, default=None
        Folds whose probabilities the thresholds are chosen on. A number, 5 if None, is that of consecutive folds,
        which are stratified for a one-dimensional target only: where samples come in an order, pass
        ``KFold(5, shuffle=True)``. Folds need not cover all samples, and may repeat some.
    n_jobs : int or None, default=None
        Number of folds fitted in parallel.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels, 2) or (2,)
        The classes of each label, [0, 1] even where the training samples are all alike; for a one-dimensional
        target its two classes.
    estimator_ : estimator
        Clone fitted to all samples.
    thresholds_ : ndarray of shape (n_labels,)
        Least probability at which each label is predicted; for a one-dimensional target that of the second class.
        Chosen ones are within [0, 1], but 2 for a label that no sample has, so that it is predicted for none.
    n_features_in_ : int
        Number of features, where the estimator knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the estimator knows them.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : The like for one label, and any score.
    MultilabelVotingClassifier : Mean of the probabilities of several classifiers.

    Notes
    -----
    *Why it helps.* The probabilities of a rare label are low, and few reach 1/2, while F1 counts a sample that is
    missed as much as one that is predicted wrongly. Where probabilities are right, the threshold with the best F1 is
    half that F1, and so at most 1/2 [2]_. "f1" serves F1 averaged over labels ("macro"). Where features say little of
    a label it may predict the label for everybody, by which averages over samples lose; "frequency" keeps to the
    share that has it. Hamming loss is another matter: its best threshold is 1/2 where probabilities are right.
    Rankings, and criteria of rankings, stay as they are.

    *How.* Each label has its own threshold, by out-of-fold probabilities [1]_. Candidates are midway between
    neighbouring probabilities of the label in the folds, and between 0 and the least. All are tried, at the cost of
    sorting them; of several that are equally good, the one nearest 1/2 is taken. Each predicts the label for one
    sample at least. Unknown labels (NaN) are left out, and samples count alike whatever their `sample_weight` in the
    fit.

    *Rare labels.* The threshold of a label that a handful of samples have follows these few and is noisy. Nothing
    guards against it but a vote or a fixed threshold.

    *Formats.* The estimator may answer with one (n_samples, n_labels) array or with a list of arrays, one a label.
    Samples and targets are passed to it as they come.

    References
    ----------
    .. [1] Y. Yang. A study of thresholding strategies for text categorization. SIGIR 2001.
    .. [2] Z. C. Lipton, C. Elkan and B. Naryanaswamy. Optimal thresholding of classifiers to maximize F1 measure.
       ECML PKDD 2014.

    Examples
    --------
    >>> from skrelmetric import MLkNN, MultilabelThresholdClassifier
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.metrics import f1
    >>> X, Y = load_emotions(subset="train", return_X_y=True)
    >>> X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    >>> for thresholds in (0.5, "f1"):
    ...     model = MultilabelThresholdClassifier(MLkNN(), thresholds=thresholds).fit(X, Y)
    ...     print(round(f1(Y_test, model.predict(X_test), average="macro"), 1))
    0.4
    0.6
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "thresholds": [StrOptions(set(_AIMS)), Real, "array-like"],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
    }

    def __init__(self, estimator, *, thresholds="f1", cv=None, n_jobs=None):
        self.estimator = estimator
        self.thresholds = thresholds
        self.cv = cv
        self.n_jobs = n_jobs

    # Only the estimator checks X, so that its features are those that the estimator knows.
    @property
    def n_features_in_(self):
        """Number of features."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features."""
        return self.estimator_.feature_names_in_

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, **params: Any) -> Self:
        """Fit the classifier to all samples, and its clones to all but a fold each, to choose the thresholds.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, of any kind that the estimator takes.
        y : array-like or sparse matrix of shape (n_samples, n_labels)
            Label indicator, 0 or 1, and NaN for unknown labels if the estimator takes it. A one-dimensional target of
            two classes is taken as one label.
        **params : dict
            What the estimator or its steps request, such as `sample_weight`, and the splitter, such as `groups`,
            under ``sklearn.set_config(enable_metadata_routing=True)``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `y` is no label indicator, fixed thresholds do not fit it, there are fewer samples than folds, or
            `params` are passed without metadata routing.
        """
        classes = label_classes(y, type(self).__name__, "the estimator itself, which needs no thresholds")
        n_labels = 1 if classes.ndim == 1 else len(classes)
        chosen = isinstance(self.thresholds, str)
        thresholds = None if chosen else fixed_thresholds(self.thresholds, n_labels)
        routed = routed_to_fit(self, params)
        estimator = clone(self.estimator).fit(X, y, **routed["estimator"]["fit"])
        if chosen:
            thresholds = best_thresholds(*self._out_of_fold(X, y, classes, routed), self.thresholds)
        self.estimator_, self.classes_, self.thresholds_ = estimator, classes, thresholds
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each label, as the estimator has it.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels)
            Probabilities of having each label; for a one-dimensional target those of its two classes.
        """
        check_is_fitted(self)
        if is_dask(X):
            return labels_by_blocks(self.predict_proba, X)
        return label_probabilities(self.estimator_, X, self.classes_)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict labels whose probability is at least their threshold.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels), or (n_samples,) for a one-dimensional target
            Label indicator; for a one-dimensional target classes.
        """
        check_is_fitted(self)
        if is_dask(X):
            return labels_by_blocks(self.predict, X)
        probabilities = _of_labels(as_host(self.predict_proba(X)), self.classes_)
        predicted = (probabilities >= self.thresholds_).astype(np.int64)
        return like(predicted if self.classes_.ndim == 2 else self.classes_[predicted[:, 0]], X)

    def get_metadata_routing(self) -> MetadataRouter:
        """Metadata routing: what is passed to `fit` goes to that of the estimator and to the splitter of folds.

        Returns
        -------
        MetadataRouter
            Requests of both.
        """
        return (
            MetadataRouter(owner=type(self).__name__)
            .add(estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
            .add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        )

    def _out_of_fold(self, X, y, classes: np.ndarray, routed) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of samples by clones that have not seen them, and their labels, both (n, n_labels)."""
        X, y = indexable(X, y)
        folds = check_cv(self.cv, y if classes.ndim == 1 else None, classifier=True)
        splits = list(folds.split(X, y, **routed["splitter"]["split"]))
        probabilities = Parallel(n_jobs=self.n_jobs)(
            delayed(_held_out)(clone(self.estimator), X, y, train, test, routed["estimator"]["fit"], classes)
            for train, test in splits
        )
        labels = _indicator(y, classes)
        return np.concatenate(probabilities), np.concatenate([labels[test] for _, test in splits])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _held_out(estimator, X, y, train, test, params: dict, classes: np.ndarray) -> np.ndarray:
    """Probabilities of each label of the test samples, by the estimator fitted to the training samples."""
    X_train, y_train = split_samples(estimator, X, y, train)
    X_test, _ = split_samples(estimator, X, y, test, train)
    estimator.fit(X_train, y_train, **params_of_samples(X, params, train))
    probabilities = np.asarray(as_host(label_probabilities(estimator, X_test, classes)))  # Dask arrays are lazy
    return _of_labels(probabilities, classes)


def _of_labels(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Probabilities of each label; that of the second class is the one label of a one-dimensional target."""
    return probabilities[:, 1:] if classes.ndim == 1 else probabilities


def _indicator(y: Any, classes: np.ndarray) -> np.ndarray:
    """Labels of shape (n_samples, n_labels): 0, 1, or NaN for unknown ones."""
    y = y.toarray() if sparse.issparse(y) else np.asarray(as_host(plain_targets(y)))
    return (y == classes[1])[:, None].astype(np.float64) if classes.ndim == 1 else y.astype(np.float64)


def fixed_thresholds(thresholds: Any, n_labels: int) -> np.ndarray:
    """One threshold for each label, from as many numbers or from one.

    Raises
    ------
    ValueError
        If they are no numbers, there are any other number of them, or they are not finite.
    """
    try:
        values = np.asarray(thresholds, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"thresholds={thresholds!r} is not known. Pass a number for each label in the order of the columns of y, "
            f"one number for all, or one of {list(_AIMS)}."
        ) from error
    if values.shape not in ((), (n_labels,)):
        raise ValueError(
            f"thresholds has shape {values.shape}, but y has {n_labels} label{'s' * (n_labels != 1)}. Pass one number "
            f"for each of them, one for all, or one of {list(_AIMS)}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"thresholds={values.tolist()} must be finite. To predict a label for no sample, pass a number above 1."
        )
    return np.full(n_labels, values)


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray, aim: str) -> np.ndarray:
    """Threshold of each label that serves an aim best, among the samples for which the label is known.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_labels)
        Probabilities of samples that they were not learned from.
    labels : ndarray of shape (n_samples, n_labels)
        Labels, 0, 1 or NaN.
    aim : {"f1", "frequency"}
        As :class:`MultilabelThresholdClassifier` has them.

    Returns
    -------
    ndarray of shape (n_labels,)
    """
    known = ~np.isnan(labels)
    columns = zip(probabilities.T, labels.T, known.T, strict=True)
    return np.array([_best_threshold(column[use], has[use], _AIMS[aim]) for column, has, use in columns])


def _best_threshold(probabilities: np.ndarray, has: np.ndarray, aim: Callable) -> float:
    """Of the thresholds midway between neighbouring probabilities, the best one, nearest 1/2."""
    n_having = int(has.sum())
    if n_having == 0:
        return _NOBODY
    values, group = np.unique(probabilities, return_inverse=True)
    n_predicted, n_right = (np.bincount(group, weights)[::-1].cumsum()[::-1] for weights in (None, has))
    below = np.concatenate([[0.0], values[:-1]])
    middle = (below + values) / 2
    cuts = np.where(middle > below, middle, values)  # there may be no number between two neighbours
    scores = aim(n_right, n_predicted, n_having)
    best = cuts[scores == scores.max()]
    return float(best[np.abs(best - 0.5).argmin()])
