"""Adapters by which methods for classes or numbers meet label sets and distributions."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

_N_CLUSTERS = 10
"""Clusters of numbers that count as classes."""


class OnClasses(TransformerMixin, BaseEstimator):
    """Fit a metric that needs classes to any kind of target, at a bounded cost.

    Each label set, the strongest label of each distribution, and each of ten clusters of numbers is a class.

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
    """Class of each sample: its own, its whole label set, the label that describes it most, or a cluster of numbers."""
    if y.ndim == 1 and type_of_target(y) != "continuous":
        return y
    Y = y.reshape(len(y), -1)
    if np.isin(Y, (0, 1)).all():
        return np.unique(Y, axis=0, return_inverse=True)[1].ravel()
    if Y.min() >= 0 and np.allclose(Y.sum(axis=1), 1):
        return Y.argmax(axis=1)
    n_clusters = min(_N_CLUSTERS, len(np.unique(Y, axis=0)))
    return KMeans(n_clusters, random_state=0).fit_predict(Y)


class StandardisedTargets(Pipeline):
    """Pipeline that is fitted to targets of mean 0 and variance 1, and predicts in their own units."""

    def fit(self, X, y):
        """Fit scaling of the targets, and all steps to the scaled ones."""
        columns = y.reshape(len(y), -1)
        self.targets_ = StandardScaler().fit(columns)
        return super().fit(X, self.targets_.transform(columns).reshape(y.shape))

    def predict(self, X):
        """Predicted targets."""
        scaled = super().predict(X)
        return self.targets_.inverse_transform(scaled.reshape(len(scaled), -1)).reshape(scaled.shape)


class EachTarget(RegressorMixin, BaseEstimator):
    """Regressor of its own for each target, of which there may be one alone, in one dimension.

    Parameters
    ----------
    estimator : regressor
        Regressor of one target.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        """Fit a clone to each target."""
        self.outputs_ = y.shape[1:]
        self.model_ = MultiOutputRegressor(self.estimator).fit(X, y.reshape(len(y), -1))
        return self

    def predict(self, X):
        """Predicted targets."""
        return self.model_.predict(X).reshape(-1, *self.outputs_)


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
