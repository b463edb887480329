"""Adapters by which methods for classes or numbers meet label sets and distributions."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state


class OnClasses(TransformerMixin, BaseEstimator):
    """Fit a metric that needs classes to any kind of target, at a bounded cost.

    Each label set, and the strongest label of each distribution, is a class.

    Parameters
    ----------
    metric : transformer
        Metric to fit.
    max_samples : int, default=4000
        Samples drawn to fit it to, where there are more.
    max_features : int, default=100
        Principal components it is fitted on, where there are more features.
    random_state : int, RandomState or None, default=None
        Seed of the draw.
    """

    def __init__(self, metric, *, max_samples=4000, max_features=100, random_state=None):
        self.metric = metric
        self.max_samples = max_samples
        self.max_features = max_features
        self.random_state = random_state

    def fit(self, X, y):
        """Fit the metric to the classes of the targets."""
        rows = check_random_state(self.random_state).permutation(len(X))[: self.max_samples]
        X, classes = X[rows], as_classes(y)[rows]
        steps = [("metric", clone(self.metric))]
        if X.shape[1] > self.max_features:
            steps.insert(0, ("components", PCA(min(self.max_features, len(X)), random_state=0)))
        self.pipeline_ = Pipeline(steps).fit(X, classes)
        return self

    def transform(self, X):
        """Transform with the fitted metric."""
        return self.pipeline_.transform(X)


def as_classes(y: np.ndarray) -> np.ndarray:
    """Class of each sample: its own, its whole label set, or the label that describes it most."""
    if y.ndim == 1:
        return y
    if np.isin(y, (0, 1)).all():
        return np.unique(y, axis=0, return_inverse=True)[1].ravel()
    return y.argmax(axis=1)


class MaximumEntropy(RegressorMixin, BaseEstimator):
    """Softmax regression of label distributions: least Kullback-Leibler divergence.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the penalty's strength.
    """

    def __init__(self, C=1.0):
        self.C = C

    def fit(self, X, y):
        """Fit logistic regression to every sample once for each label, weighted by how much that describes it."""
        n_samples, n_labels = y.shape
        labels = np.tile(np.arange(n_labels), n_samples)
        model = LogisticRegression(C=self.C, max_iter=1000)
        self.model_ = model.fit(np.repeat(X, n_labels, axis=0), labels, sample_weight=y.ravel())
        return self

    def predict(self, X):
        """Predicted distributions."""
        return self.model_.predict_proba(X)


def positive_parts(Y: np.ndarray) -> np.ndarray:
    """Distribution near to each row: its positive entries, as fractions of their sum."""
    positive = np.clip(Y, 1e-6, None)
    return positive / positive.sum(axis=1, keepdims=True)
