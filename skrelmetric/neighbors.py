"""Nearest-neighbour predictors for label sets and label distributions."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import like, module_of, unwrapped
from skrelmetric._interop.dask import by_blocks, is_dask
from skrelmetric._interop.given import plain_targets
from skrelmetric._interop.labels import label_indicator
from skrelmetric._interop.sklearn import Interval, fit_context, warn_caller
from skrelmetric._search.classifier import NeighborClassifier
from skrelmetric._search.host import Found
from skrelmetric._search.neighbours import read_numbers, read_queries
from skrelmetric._search.predictor import NeighborPredictor, available
from skrelmetric._search.votes import lookup, tallies, votes_of_each, whole

__all__ = ["AAKNN", "MLkNN"]

_N_NEIGHBORS = [Interval(Integral, 1, None, closed="left")]


class MLkNN(NeighborClassifier):
    """Multi-label k nearest neighbours (Zhang and Zhou, 2007).

    Counts, label by label, how many of a sample's neighbours have the label, and applies Bayes' rule to that
    count with frequencies learned on the training samples, each without itself.

    Parameters
    ----------
    n_neighbors : int or sequence of int, default=10
        Number k of neighbours. Where there are fewer other training samples, all of them are taken, with a warning.
        Several numbers, such as ``range(1, 31)``, give the mean of the probabilities of each, from one search.
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
    n_neighbors_ : int or list of int
        Number of neighbours taken, or numbers in ascending order.
    posterior_ : ndarray of shape (n_labels, `n_neighbors_` + 1), or list of them
        Probability of having a label, given how many neighbours have it; one table for each of several numbers.
    label_names_ : ndarray of shape (n_labels,)
        Names of the labels, where `y` is a data frame with string names.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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

    *Several numbers of neighbours.* No one number is safe: few neighbours are noisy, many are far away, and which
    number errs least differs between data sets and labels. The mean of the probabilities of all numbers up to thirty
    had a lower loss than k = 10 on nearly every data set tried, behind any metric.

    *Many samples.* The search goes through blocks that fit into the ``working_memory`` of
    :func:`sklearn.config_context`, beyond copies of the training samples, centred and in single precision, and what is
    found. Where scikit-learn takes brute force, dense samples under "euclidean" and "cosine" are screened by products
    in single precision, and double precision decides: that finds the same in some .6 of its time. All else costs what
    its search costs. `fit` has as many queries as there are training samples: with a million of them, and no tree that
    helps, 10^12 distances. There an approximate search pays: a transformer that makes graphs by
    faiss, pynndescent or the like goes before ``MLkNN(metric="precomputed")`` in a pipeline, and should find some
    neighbours more than k + 1, the sample itself being one of them. Or learn from a subset of the samples:
    `posterior_` has only k + 1 probabilities a label. Graphs and distances of training samples are not kept.

    *Many labels.* A sparse `y` stays sparse, whatever its number of columns. Votes are products of the neighbours'
    graph and `y`, and `posterior_` is that of a dense `y` to the last bit. ``predict_proba(X, n_labels=10)`` finds the
    ten most probable labels of each sample among those with votes and those that are most probable without any. It and
    `predict` return a csr_matrix, in memory of the votes; ``predict_proba(X)`` is dense. Where samples are tensors, `y`
    is made dense.

    *From scikit-multilearn.* Its `k` is `n_neighbors` here, and its `s` is `smoothing`. There a training sample is
    among its own neighbours, unless ``ignore_first_neighbours=1``; here it never is. Answers are dense after a fit to
    dense `y`.

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

    _parameter_constraints: dict = {
        **NeighborPredictor._parameter_constraints,
        "n_neighbors": [*_N_NEIGHBORS, "array-like"],
        "smoothing": [Interval(Real, 0, None, closed="left")],
    }

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
            If `y` is no label indicator, if the input is not finite or cannot be squared, or if a precomputed graph has
            too few neighbours.
        """
        samples, targets = read_queries(self, X, plain_targets(y), ensure_min_samples=2)
        classes, Y = label_indicator(targets, "sklearn.neighbors.KNeighborsClassifier")
        numbers = self._numbers(samples.shape[0] - 1)
        neighbours = self._search(samples, Y)
        tables = [
            like(posterior_table(votes, Y, n_neighbors, self.smoothing), X)
            for n_neighbors, votes in zip(numbers, neighbours.votes_of_each(None, numbers, self.device), strict=True)
        ]
        single = isinstance(self.n_neighbors, Integral)
        self.n_neighbors_ = numbers[0] if single else numbers
        self.posterior_ = tables[0] if single else tables
        self.classes_ = like(classes, X)
        self._keep(neighbours, y, X)
        return self

    def _numbers(self, n_candidates: int) -> list[int]:
        """Numbers of neighbours to take, in ascending order."""
        if isinstance(self.n_neighbors, Integral):
            return [available(self.n_neighbors, n_candidates)]
        numbers = np.asarray(self.n_neighbors)
        if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu" or numbers.min() < 1:
            raise ValueError(
                f"n_neighbors={self.n_neighbors!r}, but a whole number of at least 1 is needed, or a sequence of such, "
                "for example range(1, 31)."
            )
        most = available(int(numbers.max()), n_candidates)
        return [int(number) for number in np.unique(numbers) if number <= most] or [most]

    @property
    def _n_voters(self) -> int:
        return int(np.max(self.n_neighbors_))

    def _shares(self, found: Found) -> Any:
        numbers = np.atleast_1d(self.n_neighbors_)
        ranks = np.arange(1, numbers[-1] + 1)
        shares = ((ranks <= numbers[:, None]) / numbers[:, None]).mean(0)
        return np.broadcast_to(shares[: found.indices.shape[1]], found.indices.shape)

    def _probabilities(self, X: Any, method: str) -> Iterator[Any]:
        queries, neighbours = self._queries(X, method), self._neighbours
        several = isinstance(self.posterior_, list)
        tables = [unwrapped(table) for table in (self.posterior_ if several else [self.posterior_])]
        numbers = np.atleast_1d(self.n_neighbors_).tolist()
        if neighbours.sparse_targets:
            indices = neighbours.remembered(queries, lambda: neighbours.nearest_of_each(queries, numbers, self.device))
            for rows in neighbours.batches(indices):
                yield lookup(tables, votes_of_each(neighbours.Y, indices[rows], numbers))
            return
        probabilities = neighbours.remembered(
            queries, lambda: lookup(tables, neighbours.votes_of_each(queries, numbers, self.device))
        )
        if self.classes_.ndim == 1:
            probabilities = module_of(probabilities).hstack([1 - probabilities, probabilities])
        yield probabilities

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags


class AAKNN(RegressorMixin, NeighborPredictor):
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
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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

    _parameter_constraints: dict = {**NeighborPredictor._parameter_constraints, "n_neighbors": _N_NEIGHBORS}

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
        y : array-like or sparse matrix of shape (n_samples, n_labels), or array-like of shape (n_samples,)
            Label distributions, or other numeric targets. A sparse matrix stays one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite, not numeric, or cannot be squared.
        """
        samples, Y = read_numbers(self, X, y)
        values = Y.data if sparse.issparse(Y) else Y
        if Y.ndim == 2 and ((values == 0) | (values == 1)).all() and (Y.sum(1) != 1).any():
            warn_caller(
                "y holds label sets, 0 and 1 in rows that do not sum to 1, so that the means of neighbours are no "
                "distributions. Use MLkNN or SoftNeighborsClassifier for label sets, or divide rows by their sums.",
                UserWarning,
            )
        neighbours = self._search(samples, Y)
        self.n_neighbors_ = available(self.n_neighbors, neighbours.n_train)
        self._keep(neighbours, y, X)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Mean distribution of the nearest training samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray, csr_matrix or dask.array.Array of shape (n_samples, n_labels), or (n_samples,)
            Predicted distributions; sparse after a fit to sparse `y` unless the samples are a Dask array.
        """
        check_is_fitted(self)
        if is_dask(X):
            return by_blocks(self.predict, X, self._n_outputs, np.float64)
        queries = self._queries(X, "predict")
        return like(whole([self._neighbours.votes(queries, self.n_neighbors_, self.device) / self.n_neighbors_]), X)


def posterior_table(votes: np.ndarray, Y: np.ndarray, n_neighbors: int, smoothing: float) -> np.ndarray:
    """Probability of a label given the number of neighbours that have it by Bayes' rule (Zhang and Zhou, 2007).

    Parameters
    ----------
    votes : ndarray, Tensor or csr_array of int of shape (n_samples, n_labels)
        Number of each training sample's neighbours with each label.
    Y : ndarray, Tensor or csr_array of int of shape (n_samples, n_labels)
        Label indicator of the training samples, sparse if the votes are.
    n_neighbors : int
        Number k of neighbours.
    smoothing : float
        Pseudo-count s. With s = 0 a count that was never seen has the prior probability.

    Returns
    -------
    ndarray of shape (n_labels, n_neighbors + 1)
    """
    seen, seen_with = tallies(votes, Y, n_neighbors)
    xp = module_of(seen)

    def likelihood(frequencies):
        frequencies = smoothing + xp.asarray(frequencies, dtype=xp.float64)
        total = frequencies.sum(1)[:, None]
        return frequencies / xp.where(total > 0, total, 1.0)

    with_label = xp.asarray(seen_with.sum(1), dtype=xp.float64)
    prior = ((smoothing + with_label) / (2 * smoothing + Y.shape[0]))[:, None]
    joint_with = prior * likelihood(seen_with)
    joint_without = (1 - prior) * likelihood(seen - seen_with)
    evidence = joint_with + joint_without
    return xp.where(evidence > 0, joint_with / xp.where(evidence > 0, evidence, 1.0), prior)
