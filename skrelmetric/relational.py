"""Estimators that need no thought: metrics, votes of neighbours and ridge regression, weighted by held-out samples."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host, canonical
from skrelmetric._interop.dask import by_blocks, is_dask
from skrelmetric._interop.given import plain_targets, validate_data
from skrelmetric._interop.labels import class_indicator, labels_by_blocks, predicted_labels
from skrelmetric._interop.magnitudes import check_range, largest, limit_of
from skrelmetric._interop.pickles import VersionedEstimator
from skrelmetric._interop.sklearn import HasMethods, StrOptions, fit_context, keep_label_names, relative_weights
from skrelmetric._relational.members import DISTRIBUTIONS, LABELS, NUMBERS, Kind, Recipe
from skrelmetric._relational.mixture import mixture_weights
from skrelmetric._search.soft_vote import are_distributions
from skrelmetric.thresholds import best_thresholds, fixed_thresholds

__all__ = ["RelationalNeighborsClassifier", "RelationalNeighborsRegressor"]


class _RelationalNeighbors(VersionedEstimator):
    """Weighted mean of members behind a linear and a kernel metric."""

    _parameter_constraints: dict = {
        "relation": [str, callable, HasMethods("bind")],
        "forest": ["boolean"],
        "cv": ["cv_object"],
        "device": "no_validation",  # the members do it
        "random_state": ["random_state"],
    }

    def kneighbors(
        self,
        X: ArrayLike | None = None,
        n_neighbors: int = 10,
        return_distance: bool = True,
        *,
        metric: str = "kernel",
    ):
        """Nearest training samples of each sample under a learned metric, nearest first.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or None, default=None
            Samples. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int, default=10
            Number of neighbours.
        return_distance : bool, default=True
            Whether to return distances.
        metric : {"kernel", "linear"}, default="kernel"
            Which of the metrics.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_neighbors)
            Distances, only if `return_distance`.
        indices : ndarray of shape (n_samples, n_neighbors)
            Indices of training samples.

        Raises
        ------
        ValueError
            If there is no such metric, or there are not so many training samples.
        """
        Z, votes = self._voters(X, metric)
        return votes.kneighbors(Z, n_neighbors, return_distance)

    def kneighbors_graph(
        self,
        X: ArrayLike | None = None,
        n_neighbors: int | None = 10,
        mode: str = "connectivity",
        *,
        metric: str = "kernel",
    ) -> sparse.csr_matrix:
        """Graph of the nearest training samples of each sample under a learned metric.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or None, default=None
            Samples. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int or None, default=10
            Number of neighbours. None is as many as vote.
        mode : {"connectivity", "distance", "weight"}, default="connectivity"
            Entries: 1, the distance, or the share that the neighbour has in the soft vote behind that metric, which is
            one of the members.
        metric : {"kernel", "linear"}, default="kernel"
            Which of the metrics.

        Returns
        -------
        csr_matrix of shape (n_samples, n_train)

        Raises
        ------
        ValueError
            If there is no such metric or `mode`, or there are not so many training samples.
        """
        Z, votes = self._voters(X, metric)
        return votes.kneighbors_graph(Z, n_neighbors, mode)

    def _voters(self, X: Any, metric: str) -> tuple[Any, Any]:
        """Samples as a metric makes them, and the soft vote behind it."""
        check_is_fitted(self)
        if metric not in self.metrics_:
            raise ValueError(f"metric={metric!r} is not known. Choose one of {list(self.metrics_)}.")
        Z = None if X is None else self.members_.inputs(self._checked(X))[metric]
        return Z, self.members_.predictors[metric][1]

    def _checked(self, X: Any) -> Any:
        samples = validate_data(self, as_host(X), accept_sparse="csr", dtype=np.float64, reset=False)
        return _in_range(samples, least=False)

    def _fit(self, X: Any, targets: Any, Y: np.ndarray, kind: Kind, sample_weight: Any) -> _HeldOut | None:
        """Fit members to all samples, and weigh them by their predictions of held-out ones, which are returned."""
        weights = None
        if sample_weight is not None:
            weights = relative_weights(as_host(sample_weight), X)
        rng = check_random_state(self.random_state)
        recipe = Recipe(kind, self.relation, self.forest, self.device, int(rng.randint(2**31 - 1)))
        Y = np.asarray(Y, dtype=np.float64)
        folds = self._folds(targets, Y, recipe.seed)
        members = recipe.fitted(X, targets, Y, weights)
        names, held_out = list(members.predictors), None
        shares, losses = np.full(len(names), 1 / len(names)), np.full(len(names), np.nan)
        if folds is not None:
            held_out = _held_out(recipe, X, targets, Y, weights, list(folds.split(X, targets)))
            shares, losses = held_out.shares, held_out.losses(held_out.P)
        self.members_, self.scaler_, self.metrics_ = members, members.scaler, members.metrics
        self.weights_ = dict(zip(names, shares.tolist(), strict=True))
        self.losses_ = dict(zip(names, losses.tolist(), strict=True))
        self.loss_ = np.nan if held_out is None else float(held_out.losses(held_out.mean[None])[0])
        return held_out

    def _folds(self, targets: Any, Y: np.ndarray, seed: int) -> Any:
        """Splitter of the folds, None where members are weighed alike."""
        if self.cv is None:
            return None
        if not isinstance(self.cv, Integral):
            return check_cv(self.cv, targets)
        n_folds = min(int(self.cv), len(Y) // 2)
        if n_folds < 2:
            return None
        return KFold(n_folds, shuffle=True, random_state=seed)

    def _mean(self, X: Any) -> np.ndarray:
        """Weighted mean of the members' predictions, of shape (n_samples, n_outputs)."""
        return np.tensordot(list(self.weights_.values()), self.members_.predictions(self._checked(X)), 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags


def _in_range(X: Any, least: bool = True) -> Any:
    """Samples with one entry a place, none of them out of range."""
    X = canonical(X) if sparse.issparse(X) else X
    check_range(largest(X), "X", limit_of(), least=least)
    return X


class _HeldOut(NamedTuple):
    """Predictions of held-out samples.

    Attributes
    ----------
    P : ndarray of shape (n_members, n_held_out, n_outputs)
        Predictions of each member.
    Y : ndarray of shape (n_held_out, n_outputs)
        Targets.
    sample_weight : ndarray of shape (n_held_out,)
        Weights of the samples.
    kind : Kind
        Kind of targets.
    shares : ndarray of shape (n_members,)
        Weights of the members.
    """

    P: np.ndarray
    Y: np.ndarray
    sample_weight: np.ndarray
    kind: Kind
    shares: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Weighted mean of the members, of shape (n_held_out, n_outputs)."""
        return np.tensordot(self.shares, self.P, 1)

    def losses(self, predictions: np.ndarray) -> np.ndarray:
        """Mean loss of several predictions of shape (n, n_held_out, n_outputs)."""
        return np.array([np.average(self.kind.loss(self.Y, P), weights=self.sample_weight) for P in predictions])


def _held_out(recipe: Recipe, X: Any, targets: Any, Y: np.ndarray, weights: Any, splits: list) -> _HeldOut:
    """Predictions of the samples of each fold by members fitted to the others, and the members' weights by them."""
    folds = []
    for train, test in splits:
        members = recipe.fitted(X[train], targets[train], Y[train], None if weights is None else weights[train])
        folds.append(members.predictions(X[test]))
    P, index = np.concatenate(folds, axis=1), np.concatenate([test for _, test in splits])
    sample_weight = np.ones(len(index)) if weights is None else weights[index]
    shares = mixture_weights((P - Y[index]) / recipe.kind.units(Y), sample_weight)
    return _HeldOut(P, Y[index], sample_weight, recipe.kind, shares)


class RelationalNeighborsClassifier(ClassifierMixin, _RelationalNeighbors):
    """Classifier of label sets and classes by all that relational metrics offer, weighted by held-out samples.

    Its members are soft votes of neighbours behind a linear and a kernel metric, posteriors of one to thirty
    neighbours, and ridge regression on the features of the kernel. Samples are scaled, the metrics learned once, and
    the probabilities of the members averaged with the weights under which those of held-out samples have the least
    squared error.

    Parameters
    ----------
    relation : str, callable or object, default="auto"
        What the metrics are aligned with; see :func:`skrelmetric.relations.make_relation`.
    thresholds : {"f1", "frequency"}, float or array-like of shape (n_labels,), default=0.5
        Probability from which on each label is predicted; chosen on the held-out samples as by
        :class:`MultilabelThresholdClassifier` for "f1" (best macro F1) and "frequency". For label sets.
    forest : bool, default=False
        Whether 300 extremely randomised trees are a member.
    cv : int, cross-validation splitter, iterable or None, default=3
        Folds of the held-out samples; a number is that of shuffled folds, and None weighs the members alike. Where
        samples come in groups, pass splits that keep them whole, as ``list(GroupKFold(3).split(X, y, groups))``.
    device : str or torch.device, default="auto"
        Where to compute.
    random_state : int, RandomState or None, default=None
        Seed of the folds, of the landmarks of many samples, and of the forest.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels, 2) or (n_classes,)
        The classes of each label, [0, 1] even where the training samples are all alike; for a one-dimensional
        target its classes.
    weights_ : dict of str to float
        Weight of each member: "linear" and "kernel" soft votes, "ridge", "posteriors" (label sets without
        `sample_weight`) and "forest".
    losses_ : dict of str to float
        Mean negative log likelihood of the held-out samples by each member; NaN without folds.
    loss_ : float
        That by their weighted mean. The weights were chosen on the same samples, but are few.
    thresholds_ : ndarray of shape (n_labels,)
        Least probability at which each label is predicted.
    metrics_ : dict
        The "linear" :class:`RAMLLinear` and the "kernel" :class:`HRAMLTransformer`.
    scaler_ : transformer
        Scaling of the samples: unit rows where no entry is negative and at most a fifth are not 0, as with words; else
        unit variance, or a largest entry of 1 for sparse samples.
    label_names_ : ndarray of shape (n_labels,)
        Names of the labels, where `y` is a data frame with string names.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    RelationalNeighborsRegressor : The like for label distributions and numbers.
    SoftNeighborsClassifier : Soft vote alone, behind a metric of one's own in a pipeline.

    Notes
    -----
    *Why it helps.* Members that err differently are better together, and which of them is good differs between data
    sets: on words ridge regression, on others the votes. Held-out samples tell; the training samples themselves do not,
    since a metric has seen all their pairs.

    *Cost.* With three folds three to five times that of :class:`HRAMLTransformer` and soft votes. The linear metric of
    more than 300 features is that of predictions alone (``prediction_weight=1``), which needs no solver.

    Examples
    --------
    >>> from skrelmetric import RelationalNeighborsClassifier
    >>> from skrelmetric.datasets import load_emotions
    >>> X, Y = load_emotions(subset="train", return_X_y=True)
    >>> X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    >>> model = RelationalNeighborsClassifier(random_state=0).fit(X, Y)
    >>> model.predict_proba(X_test).shape
    (202, 6)
    """

    _parameter_constraints: dict = {
        **_RelationalNeighbors._parameter_constraints,
        "thresholds": [StrOptions({"f1", "frequency"}), Real, "array-like"],
    }

    def __init__(self, *, relation="auto", thresholds=0.5, forest=False, cv=3, device="auto", random_state=None):
        self.relation = relation
        self.thresholds = thresholds
        self.forest = forest
        self.cv = cv
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the members and their weights.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples, n_labels), or array-like of shape (n_samples,)
            Label indicator, 0 or 1, or classes.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0. None weighs all alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `y` is neither a label indicator nor classes, the input is not finite or cannot be squared, weights are
            negative, thresholds do not fit, or are to be chosen without folds.
        """
        samples, targets = validate_data(
            self,
            as_host(X),
            plain_targets(as_host(y)),
            accept_sparse="csr",
            multi_output=True,
            dtype=np.float64,
            ensure_min_samples=2,
        )
        targets = targets.toarray() if sparse.issparse(targets) else targets
        samples = _in_range(samples)
        classes, Y = class_indicator(targets, "sklearn.neighbors.KNeighborsClassifier")
        kind = LABELS if classes.ndim == 2 else DISTRIBUTIONS
        chosen = isinstance(self.thresholds, str)
        thresholds = None if chosen else fixed_thresholds(self.thresholds, Y.shape[1])
        held_out = self._fit(samples, Y if classes.ndim == 2 else targets, Y, kind, sample_weight)
        if thresholds is None:
            if held_out is None:
                raise ValueError(
                    f"thresholds={self.thresholds!r} are chosen on held-out samples, but there are none: cv={self.cv!r}"
                    f", and {len(Y)} samples. Pass cv=3, or numbers."
                )
            thresholds = best_thresholds(held_out.mean, held_out.Y, self.thresholds)
        self.thresholds_ = thresholds
        self.classes_ = classes
        keep_label_names(self, y)
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each label, or of each class of a one-dimensional target.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels) or (n_samples, n_classes)
            Probabilities.
        """
        check_is_fitted(self)
        return labels_by_blocks(self.predict_proba, X) if is_dask(X) else self._mean(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict labels of at least their threshold; for a one-dimensional target the most probable class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels), or (n_samples,) for a one-dimensional target
            Label indicator, or classes.
        """
        check_is_fitted(self)
        if is_dask(X):
            return labels_by_blocks(self.predict, X)
        probabilities = self._mean(X)
        several = self.classes_.ndim == 2
        return predicted_labels(probabilities, self.classes_, probabilities, self.thresholds_ if several else 0.5)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class RelationalNeighborsRegressor(RegressorMixin, _RelationalNeighbors):
    """Regressor of label distributions and numbers by all that relational metrics offer, weighted by held-out samples.

    Its members are soft votes of neighbours behind a linear and a kernel metric, and ridge regression on the features
    of the kernel. Samples are scaled, the metrics learned once, and the predictions of the members averaged with the
    weights under which those of held-out samples have the least squared error.

    Parameters
    ----------
    relation : str, callable or object, default="l1"
        What the metrics are aligned with; see :func:`skrelmetric.relations.make_relation`.
    forest : bool, default=False
        Whether 300 extremely randomised trees are a member.
    cv : int, cross-validation splitter, iterable or None, default=3
        Folds of the held-out samples; a number is that of shuffled folds, and None weighs the members alike. Where
        samples come in groups, pass splits that keep them whole, as ``list(GroupKFold(3).split(X, y, groups))``.
    device : str or torch.device, default="auto"
        Where to compute.
    random_state : int, RandomState or None, default=None
        Seed of the folds, of the landmarks of many samples, and of the forest.

    Attributes
    ----------
    weights_ : dict of str to float
        Weight of each member: "linear" and "kernel" soft votes, "ridge" and "forest".
    losses_ : dict of str to float
        Mean loss of the held-out samples by each member: cross entropy of label distributions, which are rows of at
        least 0 with sum 1, or else squared errors in units of the variance of each output; NaN without folds.
    loss_ : float
        That by their weighted mean. The weights were chosen on the same samples, but are few.
    metrics_ : dict
        The "linear" :class:`RAMLLinear` and the "kernel" :class:`HRAMLTransformer`.
    scaler_ : transformer
        Scaling of the samples: unit rows where no entry is negative and at most a fifth are not 0, as with words; else
        unit variance, or a largest entry of 1 for sparse samples.
    label_names_ : ndarray of shape (n_outputs,)
        Names of the outputs, where `y` is a data frame with string names.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    RelationalNeighborsClassifier : The like for label sets and classes, with more on its cost.
    SoftNeighborsRegressor : Soft vote alone, behind a metric of one's own in a pipeline.

    Notes
    -----
    Predictions of label distributions are distributions.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skrelmetric import RelationalNeighborsRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RelationalNeighborsRegressor(random_state=0).fit(X[:300], y[:300])
    >>> round(model.score(X[300:], y[300:]), 1)
    0.5
    """

    def __init__(self, *, relation="l1", forest=False, cv=3, device="auto", random_state=None):
        self.relation = relation
        self.forest = forest
        self.cv = cv
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the members and their weights.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples, n_outputs), or array-like of shape (n_samples,)
            Label distributions, or other numeric targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0. None weighs all alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite, not numeric or cannot be squared, or weights are negative.
        """
        samples, targets = validate_data(
            self,
            as_host(X),
            plain_targets(as_host(y), numeric=True),
            accept_sparse="csr",
            multi_output=True,
            y_numeric=True,
            dtype=np.float64,
            ensure_min_samples=2,
        )
        targets = targets.toarray() if sparse.issparse(targets) else targets
        samples, targets = _in_range(samples), np.asarray(targets, dtype=np.float64)
        check_range(largest(targets), "y", limit_of(), least=False)
        Y = targets if targets.ndim == 2 else targets[:, None]
        self._fit(samples, targets, Y, DISTRIBUTIONS if are_distributions(Y) else NUMBERS, sample_weight)
        self._outputs = targets.shape[1:]
        keep_label_names(self, y)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Weighted mean of the members' predictions.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_outputs) or (n_samples,)
            Predicted targets.
        """
        check_is_fitted(self)
        if is_dask(X):
            return by_blocks(self.predict, X, self._n_outputs, np.float64)
        predictions = self._mean(X)
        return predictions if self._outputs else predictions[:, 0]

    @property
    def _n_outputs(self) -> int | None:
        """Number of outputs; None where targets are one-dimensional."""
        return self._outputs[0] if self._outputs else None
