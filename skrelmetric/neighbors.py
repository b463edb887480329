"""Nearest-neighbour predictors for label sets and label distributions."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skrelmetric._interop.arrays import as_host, check_not_ragged, like, module_of, two_classes, unwrapped
from skrelmetric._interop.dask import is_dask, map_rows
from skrelmetric._interop.sklearn import Interval, StrOptions, check_same_namespace, fit_context, warn_caller
from skrelmetric._search.neighbours import Neighbours, read_queries

__all__ = ["AAKNN", "MLkNN"]

_SEARCH = ("metric", "metric_params", "algorithm", "n_jobs", "device")
"""Names of the parameters of the search, which both predictors have."""

_CONSTRAINTS: dict = {
    "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    "metric": [str, callable],
    "metric_params": [dict, None],
    "algorithm": [StrOptions({"auto", "ball_tree", "kd_tree", "brute"})],
    "n_jobs": [Integral, None],
    "device": "no_validation",  # a str or torch.device, but that is not worth loading torch for
}


class MLkNN(ClassifierMixin, BaseEstimator):
    """Multi-label k nearest neighbours (Zhang and Zhou, 2007).

    Counts, label by label, how many of a sample's neighbours have the label, and applies Bayes' rule to that
    count with frequencies learned on the training samples, each without itself.

    Parameters
    ----------
    n_neighbors : int, default=10
        Number k of neighbours. Where there are fewer other training samples, all of them are taken, with a warning.
    smoothing : float, default=1.0
        Pseudo-count s of the prior and of the likelihoods, at least 0; 1 is Laplace smoothing.
    metric : str or callable, default="euclidean"
        Metric of :class:`sklearn.neighbors.NearestNeighbors`. With "precomputed", `X` holds distances, as a dense
        (n_queries, n_train) array or as a sparse graph with at least k neighbours a row, such as
        :class:`sklearn.neighbors.KNeighborsTransformer` or an approximate search makes; a training sample's entry for
        itself is ignored, and so are entries of index -1, for neighbours that were not found.
    metric_params : dict or None, default=None
        Further arguments of the metric.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default="auto"
        Algorithm of scikit-learn's neighbour search.
    n_jobs : int or None, default=None
        Number of parallel jobs of scikit-learn's neighbour search.
    device : str or torch.device, default="auto"
        Where to search. "auto" is where the samples live: numpy arrays and sparse matrices are searched by
        scikit-learn, under "cpu" as well. Any other device, such as "cuda", gets them block by block and searches by
        brute force, in their precision; predictions are numpy arrays again. Precomputed ones stay where they are.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels, 2) or (2,)
        The classes of each label, [0, 1] even where the training samples are all alike; for a one-dimensional
        target its two classes.
    n_neighbors_ : int
        Number of neighbours taken.
    posterior_ : ndarray of shape (n_labels, n_neighbors_ + 1)
        Probability of having a label, given how many neighbours have it.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has string names.

    See Also
    --------
    AAKNN : The like for label distributions.

    Notes
    -----
    Equal distances are taken in the order of the training samples, as in the authors' Matlab code, whichever
    algorithm searches. Distances count as equal that differ by less than rounding explains: squared Euclidean ones by
    some hundred units in the last place of the squared samples, others by a relative 1e-12. The votes of the last
    query are remembered, so that `predict` and `predict_proba` of the same samples search once.

    *Many samples.* The search goes through blocks that fit into the ``working_memory`` of
    :func:`sklearn.config_context`, beyond a centred copy of the training samples and what is found. A prediction costs
    what scikit-learn's search costs, and `fit` as many queries as there are training samples: with a million of them,
    and no tree that helps, 10^12 distances. There an approximate search pays: a transformer that makes graphs by
    faiss, pynndescent or the like goes before ``MLkNN(metric="precomputed")`` in a pipeline, and should find some
    neighbours more than k + 1, the sample itself being one of them. Or learn from a subset of the samples:
    `posterior_` has only k + 1 probabilities a label. Graphs and distances of training samples are not kept.

    *Dask arrays* are predicted lazily, block of rows by block of rows, by the model as it was when asked.

    *Devices.* Tensors, under ``sklearn.set_config(array_api_dispatch=True)``, and samples on another device than
    the CPU have the metrics "euclidean", "sqeuclidean", "manhattan", "chebyshev", "minkowski", "cosine" and
    "precomputed". What was fitted with ``device="cuda"`` and unpickled where there is none predicts after
    ``set_params(device="cpu")``.

    References
    ----------
    .. [1] M.-L. Zhang and Z.-H. Zhou, "ML-KNN: A lazy learning approach to multi-label learning", Pattern
       Recognition 40(7), 2007.

    Examples
    --------
    >>> from skrelmetric import MLkNN
    >>> X = [[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]]
    >>> Y = [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]
    >>> MLkNN(n_neighbors=2).fit(X, Y).predict([[0.05], [1.05]])
    array([[1, 0],
           [0, 1]])
    """

    _parameter_constraints: dict = {**_CONSTRAINTS, "smoothing": [Interval(Real, 0, None, closed="left")]}

    def __init__(
        self,
        n_neighbors=10,
        *,
        smoothing=1.0,
        metric="euclidean",
        metric_params=None,
        algorithm="auto",
        n_jobs=None,
        device="auto",
    ):
        self.n_neighbors = n_neighbors
        self.smoothing = smoothing
        self.metric = metric
        self.metric_params = metric_params
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the probability of each label from the votes of neighbours.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples) if precomputed
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples, n_labels)
            Label indicator, 0 or 1. A one-dimensional target of two classes is taken as one label.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `y` is no label indicator, if the input is not finite, or if a precomputed graph has too few neighbours.
        """
        check_not_ragged(y)
        given = X
        X, y = read_queries(self, X, y, ensure_min_samples=2)
        classes, Y = _label_indicator(y)
        n_neighbors = _available(self.n_neighbors, X.shape[0] - 1)
        neighbours = Neighbours(X, Y, **{name: getattr(self, name) for name in _SEARCH})
        votes = neighbours.votes(None, n_neighbors, self.device)
        neighbours.forget_distances()

        self.n_neighbors_ = n_neighbors
        self.classes_ = like(classes, given)
        self.posterior_ = like(posterior_table(votes, Y, n_neighbors, self.smoothing), given)
        self._neighbours = neighbours
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probability of each label.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels)
            Probabilities of having each label; for a one-dimensional target those of its two classes.
        """
        if is_dask(X):
            n_columns = len(self.posterior_) if self.classes_.ndim == 2 else 2
            return _by_blocks(self, "predict_proba", X, n_columns, np.float64)
        return like(self._probabilities(X, "predict_proba"), X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict labels of probability 1/2 or more; for a one-dimensional target the more probable class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels), or (n_samples,) for a one-dimensional target
            Label indicator.
        """
        if is_dask(X):
            several = self.classes_.ndim == 2
            dtype = np.int64 if several else as_host(self.classes_).dtype
            return _by_blocks(self, "predict", X, len(self.posterior_) if several else None, dtype)
        probabilities = self._probabilities(X, "predict")
        if self.classes_.ndim == 2:
            return like(module_of(probabilities).asarray(probabilities >= 0.5, dtype=module_of(probabilities).int64), X)
        return like(unwrapped(self.classes_)[probabilities.argmax(1)], X)

    def _probabilities(self, X, method: str):
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="posterior_", method=method)
        table = unwrapped(self.posterior_)
        votes = self._neighbours.remembered_votes(read_queries(self, X), self.n_neighbors_, self.device)
        of_labels = [row[counts] for row, counts in zip(table, votes.T, strict=True)]
        probabilities = module_of(table).stack(of_labels, -1)
        if self.classes_.ndim == 2:
            return probabilities
        return module_of(table).hstack([1 - probabilities, probabilities])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.metric == "precomputed"
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


class AAKNN(RegressorMixin, BaseEstimator):
    """Label-distribution k nearest neighbours: the mean of the neighbours' distributions (Geng, 2016).

    Parameters
    ----------
    n_neighbors : int, default=5
        Number k of neighbours. Where there are fewer training samples, all of them are taken, with a warning.
    metric : str or callable, default="euclidean"
        Metric of :class:`sklearn.neighbors.NearestNeighbors`. With "precomputed", `X` holds distances, as a dense
        (n_queries, n_train) array or as a sparse graph with at least k neighbours a row, such as
        :class:`sklearn.neighbors.KNeighborsTransformer` or an approximate search makes.
    metric_params : dict or None, default=None
        Further arguments of the metric.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default="auto"
        Algorithm of scikit-learn's neighbour search.
    n_jobs : int or None, default=None
        Number of parallel jobs of scikit-learn's neighbour search.
    device : str or torch.device, default="auto"
        Where to search. "auto" is where the samples live: numpy arrays and sparse matrices are searched by
        scikit-learn, under "cpu" as well. Any other device, such as "cuda", gets them block by block and searches by
        brute force, in their precision; predictions are numpy arrays again. Precomputed ones stay where they are.

    Attributes
    ----------
    n_neighbors_ : int
        Number of neighbours taken.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has string names.

    See Also
    --------
    MLkNN : The like for label sets.

    Notes
    -----
    Rows that sum to 1 in training give predictions that sum to 1. Any other numeric target is averaged likewise.
    Equal distances are taken in the order of the training samples. Memory, approximate graphs, Dask arrays and devices
    are as with :class:`MLkNN`; `fit` does not search.

    References
    ----------
    .. [1] X. Geng, "Label distribution learning", IEEE Transactions on Knowledge and Data Engineering 28(7), 2016.

    Examples
    --------
    >>> from skrelmetric import AAKNN
    >>> X = [[0.0], [0.1], [1.0], [1.1]]
    >>> D = [[0.75, 0.25], [0.25, 0.75], [0.0, 1.0], [0.5, 0.5]]
    >>> AAKNN(n_neighbors=2).fit(X, D).predict([[0.0], [1.0]])
    array([[0.5 , 0.5 ],
           [0.25, 0.75]])
    """

    _parameter_constraints: dict = _CONSTRAINTS

    def __init__(
        self, n_neighbors=5, *, metric="euclidean", metric_params=None, algorithm="auto", n_jobs=None, device="auto"
    ):
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.metric_params = metric_params
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Store the training samples in a search structure.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples) if precomputed
            Samples.
        y : array-like of shape (n_samples, n_labels) or (n_samples,)
            Label distributions, or other numeric targets.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite or not numeric.
        """
        check_not_ragged(y)
        given = X
        X, y = read_queries(self, X, y, y_numeric=True)
        y = y.toarray() if sparse.issparse(y) else y
        y = module_of(y).asarray(y, dtype=module_of(y).float64)
        if not module_of(y).isfinite(y).all():  # objects are numbers only now
            raise ValueError("Input y contains NaN or infinity. Leave samples of unknown target out, or fill it in.")
        neighbours = Neighbours(X, y, **{name: getattr(self, name) for name in _SEARCH})
        neighbours.forget_distances()
        self.n_neighbors_ = _available(self.n_neighbors, X.shape[0])
        self._neighbours, self._Y = neighbours, like(y[:0], given)  # an empty array tells kind and number of outputs
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Mean distribution of the nearest training samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels) or (n_samples,)
            Predicted distributions.
        """
        check_is_fitted(self)
        if is_dask(X):
            return _by_blocks(self, "predict", X, self._Y.shape[1] if self._Y.ndim == 2 else None, np.float64)
        check_same_namespace(X, self, attribute="_Y", method="predict")
        sums = self._neighbours.votes(read_queries(self, X), self.n_neighbors_, self.device)
        return like(sums / self.n_neighbors_, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.metric == "precomputed"
        tags.target_tags.multi_output = True
        return tags


def posterior_table(votes: np.ndarray, Y: np.ndarray, n_neighbors: int, smoothing: float) -> np.ndarray:
    """Probability of a label given the number of neighbours that have it by Bayes' rule (Zhang and Zhou, 2007).

    Parameters
    ----------
    votes : ndarray of int of shape (n_samples, n_labels)
        Number of each training sample's neighbours with each label.
    Y : ndarray of int of shape (n_samples, n_labels)
        Label indicator of the training samples.
    n_neighbors : int
        Number k of neighbours.
    smoothing : float
        Pseudo-count s. With s = 0 a count that was never seen has the prior probability.

    Returns
    -------
    ndarray of shape (n_labels, n_neighbors + 1)
    """
    xp, counts = module_of(votes), range(n_neighbors + 1)
    seen = xp.stack([(votes == count).sum(0) for count in counts], -1)
    seen_with = xp.stack([((votes == count) & (Y == 1)).sum(0) for count in counts], -1)

    def likelihood(frequencies):
        frequencies = smoothing + xp.asarray(frequencies, dtype=xp.float64)
        total = frequencies.sum(1)[:, None]
        return frequencies / xp.where(total > 0, total, 1.0)

    with_label = xp.asarray(seen_with.sum(1), dtype=xp.float64)
    prior = ((smoothing + with_label) / (2 * smoothing + len(Y)))[:, None]
    joint_with = prior * likelihood(seen_with)
    joint_without = (1 - prior) * likelihood(seen - seen_with)
    evidence = joint_with + joint_without
    return xp.where(evidence > 0, joint_with / xp.where(evidence > 0, evidence, 1.0), prior)


def _available(n_neighbors: int, n_candidates: int) -> int:
    """Number of neighbours to take, with a warning where there are fewer than asked for."""
    if n_neighbors > n_candidates:
        warn_caller(
            f"n_neighbors={n_neighbors}, but there are only {n_candidates} training samples to choose from; "
            f"using {n_candidates}.",
            UserWarning,
        )
    return min(n_neighbors, n_candidates)


def _by_blocks(estimator: MLkNN | AAKNN, method: str, X: Any, n_columns: int | None, dtype: Any) -> Any:
    """Lazy predictions of a method for the blocks of rows of a Dask array."""
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return map_rows(getattr(estimator, method), X, n_columns, dtype)


def _label_indicator(y) -> tuple[Any, Any]:
    """Classes and 0/1 indicator of a target with one column a label."""
    y = y.toarray() if sparse.issparse(y) else y
    if isinstance(y, np.ndarray):
        check_classification_targets(y)
    if y.ndim == 1:
        return _single_label(y)
    known = (y == 0) | (y == 1)
    if not known.all():
        raise ValueError(
            f"y must be a label indicator of 0 and 1, but it holds {y[~known][0]!r}. "
            "For several classes an output, use sklearn.neighbors.KNeighborsClassifier."
        )
    xp = module_of(y)
    return xp.asarray([[0, 1]] * y.shape[1]), xp.asarray(y, dtype=xp.int32)


def _single_label(y) -> tuple[Any, Any]:
    """Classes and (n_samples, 1) indicator of a one-dimensional target."""
    classes, xp = two_classes(y, "sklearn.neighbors.KNeighborsClassifier"), module_of(y)
    return classes, xp.asarray(y == classes[1], dtype=xp.int32)[:, None]
