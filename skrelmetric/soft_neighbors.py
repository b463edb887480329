"""Predictors by all neighbours, each with a weight that falls with its distance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host, like, module_of, of_dtype, unwrapped
from skrelmetric._interop.dask import by_blocks, is_dask
from skrelmetric._interop.given import plain_targets
from skrelmetric._interop.labels import class_indicator
from skrelmetric._interop.magnitudes import check_range, largest, limit_of
from skrelmetric._interop.sklearn import Interval, StrOptions, fit_context, relative_weights
from skrelmetric._search.classifier import NeighborClassifier
from skrelmetric._search.host import Found
from skrelmetric._search.neighbours import read_numbers, read_queries
from skrelmetric._search.predictor import NeighborPredictor, available, none_of
from skrelmetric._search.soft_vote import (
    SoftVote,
    are_distributions,
    ballots,
    cross_entropy,
    deviations,
    log_loss,
    squared_error,
    tuned,
)
from skrelmetric._search.votes import dense, whole

__all__ = ["SoftNeighborsClassifier", "SoftNeighborsRegressor"]


class _SoftNeighbors(NeighborPredictor):
    """Predictor whose neighbours vote with weights."""

    _parameter_constraints: dict = {
        **NeighborPredictor._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left"), None],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "scale": [StrOptions({"global", "local"})],
    }

    def __init__(
        self,
        n_neighbors=None,
        *,
        temperature="auto",
        scale="global",
        metric="euclidean",
        metric_params=None,
        algorithm="auto",
        n_jobs=None,
        device="auto",
    ):
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.scale = scale
        self.metric = metric
        self.metric_params = metric_params
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.device = device

    def _fit(self, samples: Any, Y: Any, loss_of: Any, sample_weight: Any, y: Any, given: Any) -> None:
        """Choose the temperature by a loss that targets and weights call for, and keep what was fitted to."""
        xp, n_train = module_of(Y), Y.shape[0]
        Y = of_dtype(Y, xp.float64)
        weights = xp.ones_like(dense(Y[:, :1]))
        if sample_weight is not None:
            checked = relative_weights(sample_weight, given)
            weights = xp.asarray(unwrapped(checked) if xp is not np else as_host(checked), dtype=xp.float64)[:, None]
        n_counted = int((weights > 0).sum())
        if n_counted < 2:
            raise ValueError(
                f"{n_counted} of {n_train} samples has a positive weight, but two are needed: "
                "the temperature is chosen by leaving each sample out."
            )
        if self.metric == "precomputed":  # as distances of samples are
            check_range(largest(samples), "X", limit_of())
        neighbours = self._search(samples, Y)
        vote, self.leave_one_out_loss_ = tuned(
            SoftVote(neighbours, ballots(Y, weights), self.scale == "local"),
            Y,
            loss_of(Y, weights),
            temperature=None if self.temperature == "auto" else self.temperature,
            n_neighbors=None if self.n_neighbors is None else available(self.n_neighbors, n_counted - 1),
            device=self.device,
        )
        self.temperature_, self.scale_, self.n_neighbors_ = vote.temperature, vote.unit, vote.n_neighbors
        self._keep(neighbours, y, given)
        self._vote = vote

    def _predictions(self, X: Any, method: str) -> Iterator[Any]:
        """Predictions for samples that a method was given, in blocks of them: one, but of sparse targets several."""
        queries = self._queries(X, method)
        if self._neighbours.sparse_targets:
            yield from self._vote.blocks(queries, self.device)
        else:
            yield self._neighbours.remembered(queries, lambda: self._vote(queries, self.device))

    @property
    def _n_voters(self) -> int:
        return self._vote.n_asked

    def _shares(self, found: Found) -> Any:
        return self._vote.shares(found)


class SoftNeighborsClassifier(NeighborClassifier, _SoftNeighbors):
    """Soft nearest neighbours for label sets and classes: all vote, the nearer the more.

    The probability of a label is the weighted mean over the training samples, with weights ``exp(-d^2 / (t s))`` for
    the distance d, the unit s and the temperature t at which the training samples, each without itself, are most
    likely.

    Parameters
    ----------
    n_neighbors : int or None, default=None
        Most neighbours that vote. None lets all vote; where only the nearest count, these alone are searched, so many
        that the others weigh less than a millionth of them.
    temperature : float or "auto", default="auto"
        Temperature t, above 0. "auto" chooses it by the likelihood of the training samples, leaving each out: of 30
        temperatures from 64 down to 0.003, each 0.7 times the one before.
    scale : {"global", "local"}, default="global"
        Unit s of squared distances. "global" is the median squared distance of a training sample to its tenth
        neighbour, or the last that may vote if these are fewer; "local" is that of each sample itself, which suits
        samples of uneven density, such as those behind a linear metric. Distances of 0 are left out of the median, and
        where all are 0 the nearest sample elsewhere stands for the tenth.
    metric : str or callable, default="euclidean"
        Metric of :class:`sklearn.neighbors.NearestNeighbors`. With "precomputed", `X` holds distances, as a dense
        (n_queries, n_train) array or as a sparse graph of those of the neighbours that may vote.
    metric_params : dict or None, default=None
        Further arguments of the metric.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default="auto"
        Algorithm of scikit-learn's neighbour search.
    n_jobs : int or None, default=None
        Number of parallel jobs of scikit-learn's neighbour search.
    device : str or torch.device, default="auto"
        Where to compute distances; see :class:`MLkNN`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels, 2) or (n_classes,)
        The classes of each label, [0, 1] even where the training samples are all alike; for a one-dimensional
        target its classes.
    temperature_ : float
        Temperature t.
    scale_ : float
        Median squared distance of a training sample to its tenth neighbour.
    leave_one_out_loss_ : float
        Mean negative log likelihood of the training samples at that temperature, each by all the others: of a label,
        for label sets; of a sample, for classes.
    n_neighbors_ : int
        Number of neighbours that vote.
    label_names_ : ndarray of shape (n_labels,)
        Names of the labels, where `y` is a data frame with string names.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    SoftNeighborsRegressor : The like for label distributions and numbers.
    MLkNN : Votes of k neighbours that count alike.

    Notes
    -----
    *Why it helps.* k equal votes say neither how near the neighbours are nor which of them are. Behind a learned metric
    the distances are what was learned, and votes by distance have a lower loss than any number of equal ones.

    *Cost.* `fit` takes the distances of all training samples to one another twice, and 30 products of weights and
    targets. Of more than 4096 samples it leaves out fewer, at even distances, of as many weights (2^24), but 512 at
    least. A prediction takes the distances to all training samples, in blocks under the ``working_memory`` of
    :func:`sklearn.config_context`, unless so few neighbours weigh anything that a search for these costs less. Then
    each query whose other neighbours might weigh more than a millionth of those found is answered from all.

    *Sample weights* multiply votes, and count in the likelihood; a sample is left out with all its weight.

    *Many labels.* A sparse `y` stays sparse, `predict` and ``predict_proba(X, n_labels=10)`` return a csr_matrix, and
    each of them searches anew. Where all samples vote, each label that any of them has is probable, and blocks of some
    queries are dense; so are some of those that `fit` leaves out.

    Dask arrays, tensors and devices are as with :class:`MLkNN`.

    References
    ----------
    .. [1] E. A. Nadaraya, "On estimating regression", Theory of Probability and its Applications 9(1), 1964.
    .. [2] J. Goldberger, S. Roweis, G. Hinton and R. Salakhutdinov, "Neighbourhood components analysis", NIPS 2004
       (leave-one-out by soft neighbours).

    Examples
    --------
    >>> from skrelmetric import SoftNeighborsClassifier
    >>> X = [[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]]
    >>> Y = [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]
    >>> voters = SoftNeighborsClassifier(temperature=0.5).fit(X, Y)
    >>> voters.predict_proba([[0.05], [0.6]]).round(2)
    array([[0.86, 0.14],
           [0.5 , 0.5 ]])
    """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose the temperature by the likelihood of each training sample without itself.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples) if precomputed
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples, n_labels), or array-like of shape (n_samples,)
            Label indicator, 0 or 1, or classes. A single column of other classes is taken as one-dimensional.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the votes, at least 0. None weighs all alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `y` is neither a label indicator nor classes, the input is not finite or cannot be squared, weights are
            negative, or a sample has no neighbour in a precomputed graph.
        """
        samples, targets = read_queries(self, X, plain_targets(y), ensure_min_samples=2)
        classes, Y = class_indicator(targets, "sklearn.neighbors.KNeighborsClassifier")
        loss = log_loss if classes.ndim == 2 else cross_entropy
        self._fit(samples, Y, lambda Y, weights: loss, sample_weight, y, X)
        self.classes_ = like(classes, X)
        return self

    def _probabilities(self, X: Any, method: str) -> Iterator[Any]:
        return self._predictions(X, method)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class SoftNeighborsRegressor(RegressorMixin, _SoftNeighbors):
    """Soft nearest neighbours for label distributions and numbers: all vote, the nearer the more.

    The prediction is the weighted mean of the targets of the training samples, with weights ``exp(-d^2 / (t s))`` for
    the distance d, the unit s and the temperature t at which the training samples, each without itself, are predicted
    best.

    Parameters
    ----------
    n_neighbors : int or None, default=None
        Most neighbours that vote. None lets all vote; where only the nearest count, these alone are searched, so many
        that the others weigh less than a millionth of them.
    temperature : float or "auto", default="auto"
        Temperature t, above 0. "auto" chooses it by leaving out each training sample: by the divergence of label
        distributions, which are rows of at least 0 with sum 1, or else by the squared error in units of the variance of
        each output; of 30 temperatures from 64 down to 0.003, each 0.7 times the one before.
    scale : {"global", "local"}, default="global"
        Unit s of squared distances. "global" is the median squared distance of a training sample to its tenth
        neighbour, or the last that may vote if these are fewer; "local" is that of each sample itself, which suits
        samples of uneven density, such as those behind a linear metric. Distances of 0 are left out of the median, and
        where all are 0 the nearest sample elsewhere stands for the tenth.
    metric : str or callable, default="euclidean"
        Metric of :class:`sklearn.neighbors.NearestNeighbors`. With "precomputed", `X` holds distances, as a dense
        (n_queries, n_train) array or as a sparse graph of those of the neighbours that may vote.
    metric_params : dict or None, default=None
        Further arguments of the metric.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default="auto"
        Algorithm of scikit-learn's neighbour search.
    n_jobs : int or None, default=None
        Number of parallel jobs of scikit-learn's neighbour search.
    device : str or torch.device, default="auto"
        Where to compute distances; see :class:`MLkNN`.

    Attributes
    ----------
    temperature_ : float
        Temperature t.
    scale_ : float
        Median squared distance of a training sample to its tenth neighbour.
    leave_one_out_loss_ : float
        Mean loss of the training samples at that temperature, each by all the others: cross entropy of distributions,
        or squared error in units of the variance of each output.
    n_neighbors_ : int
        Number of neighbours that vote.
    label_names_ : ndarray of shape (n_outputs,)
        Names of the outputs, where `y` is a data frame with string names.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    SoftNeighborsClassifier : The like for label sets and classes, with more on its cost.
    AAKNN : Mean of k neighbours that count alike.

    Notes
    -----
    Rows that sum to 1 in training give predictions that sum to 1. Sample weights multiply votes, and count in the loss;
    a sample is left out with all its weight. Dask arrays, tensors and devices are as with :class:`MLkNN`.

    References
    ----------
    .. [1] E. A. Nadaraya, "On estimating regression", Theory of Probability and its Applications 9(1), 1964.

    Examples
    --------
    >>> from skrelmetric import SoftNeighborsRegressor
    >>> X = [[0.0], [0.1], [1.0], [1.1]]
    >>> D = [[0.75, 0.25], [0.25, 0.75], [0.0, 1.0], [0.5, 0.5]]
    >>> voters = SoftNeighborsRegressor(2, temperature=1000.0).fit(X, D)
    >>> voters.predict([[0.0], [1.0]]).round(2)
    array([[0.5 , 0.5 ],
           [0.25, 0.75]])
    """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose the temperature by the loss of each training sample without itself.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples) if precomputed
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples, n_outputs), or array-like of shape (n_samples,)
            Label distributions, or other numeric targets. A sparse matrix stays one.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the votes, at least 0. None weighs all alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite, not numeric or cannot be squared, weights are negative, or a sample has no
            neighbour in a precomputed graph.
        """
        samples, Y = read_numbers(self, X, y, ensure_min_samples=2)
        columns = Y if Y.ndim == 2 else Y[:, None]
        self._fit(samples, columns, _loss_of, sample_weight, y, X)
        self._kind = like(none_of(Y), X)
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Weighted mean of the targets of the training samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray, csr_matrix or dask.array.Array of shape (n_samples, n_outputs), or (n_samples,)
            Predicted targets; sparse after a fit to sparse `y` unless the samples are a Dask array. Without
            `n_neighbors` all training samples vote, and few entries are 0.
        """
        check_is_fitted(self)
        if is_dask(X):
            return by_blocks(self.predict, X, self._n_outputs, np.float64)
        blocks = self._predictions(X, "predict")
        if self._neighbours.sparse_targets:
            return whole(sparse.csr_array(block) for block in blocks)
        predictions = whole(blocks)
        return like(predictions if self._kind.ndim == 2 else predictions[:, 0], X)


def _loss_of(Y: Any, weights: Any) -> Any:
    """Loss by which predictions of targets of positive weights are judged."""
    counted = weights[:, 0] > 0
    Y, shares = Y[counted], weights[counted] / weights.sum()
    if are_distributions(Y):
        return cross_entropy
    return partial(_squared_error_in, deviations(Y, shares))


def _squared_error_in(units: Any, Y: Any, P: Any) -> Any:
    return squared_error(Y / units, P / units)
