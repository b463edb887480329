"""Linear aligned metric."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host, float_dtypes, like, module_of, of_dtype, unwrapped
from skrelmetric._interop.dask import by_blocks, is_dask
from skrelmetric._interop.given import check_array, validate_data
from skrelmetric._interop.magnitudes import norms
from skrelmetric._interop.sklearn import (
    HasMethods,
    Interval,
    MetricTransformer,
    StrOptions,
    check_same_namespace,
    fit_context,
    warn_caller,
)
from skrelmetric.mahalanobis import Mahalanobis

__all__ = ["RAMLLinear"]


class RAMLLinear(MetricTransformer):
    """Relation-aligned linear metric, exact over all pairs of samples.

    Learns a Mahalanobis distance under which samples with similar targets are near: squared distances are fitted
    to a relation g(y_i, y_j) of the targets by ridge regression over all n^2 pairs, and the learned matrix is
    projected onto the positive semi-definite cone.

    Parameters
    ----------
    n_components : int or None, default=None
        Dimension of the transformed samples, at most the number of features: the best factor of that rank of the
        learned metric. None keeps every direction in which the metric is positive; beyond those the transformed
        samples are 0.
    relation : str, callable or object, default="auto"
        What to align with: "hamming", "l1", "sqeuclidean", "discrete", "hellinger", "cosine", "jeffreys", "jaccard", a
        callable ``g(Y_a, Y_b)`` that returns all pairs, or an object such as
        :class:`~skrelmetric.relations.Jeffreys`; see :func:`skrelmetric.relations.make_relation`. "auto" is
        "hamming" for label sets, "cosine" for those of more than 40 labels, "l1" for label distributions and other real
        targets, "discrete" for classes.
    solver : {"ridge", "svr", "krr"}, default="ridge"
        "ridge" solves the regression over all pairs, exactly, by preconditioned conjugate gradients. "svr" and "krr"
        are the solvers of the RAML paper: support vector and kernel ridge regression on `n_pairs` sampled pairs.
    alpha : float, default=1.0
        Weight of the penalty ``alpha / 2 * |M|_F^2``, at least 0, and above 0 for "svr" and "krr"; in units of the
        squared mean variance of the features that vary: rescaling all features by one factor changes nothing but the
        scale of the result. Features of different units should be standardised first.
    psd : {"project", "constrained"}, default="project"
        "project" takes the nearest positive semi-definite matrix to the unconstrained optimum. "constrained" finds
        the optimum among positive semi-definite matrices, for solver "ridge" only. It fits the relation better and
        finds no better neighbours, at up to ten times the cost.
    prediction_weight : float, default=0.3
        Share w of predicted targets in the squared distances, in [0, 1], for solver "ridge" only. 0 is alignment alone.
        Otherwise the distance of ridge-regression predictions is mixed in, in units in which both have the same mean.
        1 is these alone, with nothing to solve: on wide samples such as words as good, in a fraction of the time.
    n_pairs : int, default=2000
        Number of pairs for "svr" and "krr", whose time grows with its cube and memory with its square. All
        n (n + 1) / 2 are taken where there are no more.
    epsilon : float, default=0.1
        Error of the relation that costs nothing, for "svr", at least 0.
    max_iter : int, default=1000
        Most iterations of "ridge"; for "svr" a thousand times its number of pairs bounds those of libsvm, whose time
        grows as 1 / alpha.
    tol : float, default=1e-4
        Value of `residual_` at which "ridge" stops, above 0 and below 1. Samples in float32 bound what can be
        reached, to about 1e-6, whatever the estimate says.
    device : str or torch.device, default="auto"
        Where to compute. "auto" stays where the samples live: on the CPU for numpy arrays.
    random_state : int, RandomState or None, default=None
        Seed of the pairs that "svr" and "krr" sample.
    verbose : bool, default=False
        Whether "ridge" reports its iterations and their residual: to the logger "skrelmetric" at level INFO, or on
        standard error where `logging` has no handler.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Factor L of the learned metric M = L' L, strongest direction first, the first of the largest entries of each
        row positive, in the dtype of the training samples.
    explained_distance_ratio_ : ndarray of shape (n_components,)
        Fraction of each component in the mean squared distance of two training samples under the whole learned
        metric; they sum to 1 if no direction is left out, and need not fall: components are ordered by strength.
    offset_ : float
        Offset b of the regression: a pair at distance 0 is predicted to have relation b before the projection.
    residual_ : float
        How far from its optimum "ridge" stopped, relative: the norm of the remaining gradient, preconditioned, which
        estimates the relative error of M. With ``psd="constrained"`` it is a certificate: the step that a projected
        gradient would still make, 0 exactly where the Karush-Kuhn-Tucker conditions hold. Not measured, 0, for "svr"
        and "krr".
    n_iter_ : int
        Iterations of the solver.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has string names.

    See Also
    --------
    skrelmetric.MLkNN : Multi-label nearest neighbours.
    skrelmetric.AAKNN : Label-distribution nearest neighbours.
    sklearn.neighbors.NeighborhoodComponentsAnalysis : Metric for classes, at quadratic cost.

    Notes
    -----
    *The method.* Alignment asks that f(x_i, x_j) = g(y_i, y_j) for every pair (HRAML, Eq. 1), with
    f = (x_i - x_j)' M (x_i - x_j) + b = <M, T_ij> + b (Eq. 2). Given g, that is a linear regression on pairs (Eq. 3).
    With sample weights p_i of sum 1 (1/n each without `sample_weight`), "ridge" minimises::

        1/2 sum_ij p_i p_j (<M, T_ij> + b - g(y_i, y_j))^2 + alpha/2 |M|_F^2.

    *The linear cost.* With centred samples z_i, <M, T_ij> = q_i + q_j - 2 z_i' M z_j for q_i = z_i' M z_i, so the
    normal equations need sums over samples only::

        2 Z'P diag(q - p'q) Z + 4 S M S + alpha M  =  2 Z'P diag(g - p'g) Z - 2 Z'P G P Z,

    where S = Z'PZ, g = G p, and Z'PGPZ costs O(n q d) for q labels because G is a product of thin matrices
    ("discrete": sums by class; "l1": prefix sums of sorted targets, O(n q d^2)). Conjugate gradients need one pass over
    the samples, O(n d^2), for each of some five (Gaussian features) to a hundred (heavy tails) iterations. No pair is
    ever formed, and memory beyond X and y is that of at most one copy of X and of two of y. "jaccard" and callables
    cost the square of the number of *distinct* targets. Few samples, at most 16 a feature and 8,192, need two or three
    iterations after some fifteen products of n x n matrices in single precision, O(n^2 d), which are then in memory.

    *Predictions.* The aligned metric knows how targets differ along all directions of the samples, and its estimate of
    each is noisy where few targets differ. With `prediction_weight` w the learned metric is (1 - w) M1 + w M2, where M1
    is the positive part of the solution and M2 that of -1/2 (S + I)^-1 Z'P G P Z (S + I)^-1, in units of the mean
    variance. For "sqeuclidean", and "hamming" of label sets, M2 is the squared distance between predictions of the
    targets by ridge regression, of which "how far apart will these two be?" needs no more. All of it is at hand, and
    both parts together find better neighbours than each.

    *Sparse samples* are not centred in memory, and are made dense only where they are few. A pass over them costs
    the products of any two entries of a row, kept where they are at most 33 million. With more features than samples,
    n x n products take the place of d x d ones; `components_` is dense, of as many rows as are kept.

    *Missing labels* (NaN in y) are left out of each pair, whose relation is that of the labels known of both, not
    rescaled, and 0 where there is no such label; a sample of which no label is known is left out altogether.
    *Sample weights* weigh a pair by p_i p_j: weight 0 leaves a sample out, weight 2 repeats it.

    The distance is Euclidean after `transform`. A target that is the same for all samples tells nothing: the metric is
    then 0, with a warning.

    *Partitions.* Samples in several partitions (chunks, Dask arrays, shards of several processes) need "ridge". The
    partitions have the distinct targets in common for "discrete", "jaccard" and callables, and as many sums of
    samples. For "l1" these are at most 24,578 for each target: of more than 12,288 values, those next to each other are
    summed, which changes the metric by some 1e-8.

    *Tensors.* Under ``sklearn.set_config(array_api_dispatch=True)`` a torch tensor is fitted and transformed on its
    own device, and so are `components_` and what `transform` returns.

    References
    ----------
    .. [1] P. Zhu, R. Qi, Q. Hu, Q. Wang, C. Zhang and L. Yang, "Beyond similar and dissimilar relations: a kernel
       regression formulation for metric learning", IJCAI 2018 (RAML).
    .. [2] "Hierarchical relationship alignment metric learning" (HRAML), Eqs. 1-3 and 11.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrelmetric import MLkNN, RAMLLinear
    >>> from skrelmetric.datasets import load_yeast
    >>> X, Y = load_yeast(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()).fit(X, Y)
    >>> model.predict_proba(X[:2]).shape
    (2, 14)
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "relation": [str, callable, HasMethods("bind")],
        "solver": [StrOptions({"ridge", "svr", "krr"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "psd": [StrOptions({"project", "constrained"})],
        "prediction_weight": [Interval(Real, 0, 1, closed="both")],
        "n_pairs": [Interval(Integral, 1, None, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, 1, closed="neither")],
        "device": "no_validation",  # a str or torch.device, but that is not worth loading torch for
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        relation="auto",
        solver="ridge",
        alpha=1.0,
        psd="project",
        prediction_weight=0.3,
        n_pairs=2000,
        epsilon=0.1,
        max_iter=1000,
        tol=1e-4,
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.n_components = n_components
        self.relation = relation
        self.solver = solver
        self.alpha = alpha
        self.psd = psd
        self.prediction_weight = prediction_weight
        self.n_pairs = n_pairs
        self.epsilon = epsilon
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the metric.

        Parameters
        ----------
        X : array-like, sparse matrix, dask.array.Array or Chunks of shape (n_samples, n_features)
            Samples, at least two. :class:`~skrelmetric.chunks.Chunks`, Dask arrays and large memory maps are read chunk
            by chunk, in every pass anew. Within :func:`skrelmetric.distributed.shards`, those of this process.
        y : array-like, sparse matrix or dask.array.Array of shape (n_samples,) or (n_samples, n_outputs)
            Targets: a 0/1 label indicator, label distributions, numbers or classes. NaN where a number is missing, not
            -1, which counts like any other. None for Chunks, which hold them, and where `relation` is given pairs.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, at least 0. A pair counts by the product of its samples' weights. None weighs all alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the samples are not finite or cannot be squared, of unfitting shapes or fewer than two of weight and
            known target, if the target does not suit `relation`, if weights are negative, or if parameters exclude one
            another.
        """
        # What was learned is unpickled and transforms without torch, which is loaded here, where it is needed.
        from skrelmetric._alignment.linear import linear_metric

        metric = linear_metric(self, X, y, sample_weight, options=_options)
        self.components_, self.explained_distance_ratio_ = metric.components, metric.explained_distance_ratio
        self.offset_, self.residual_, self.n_iter_ = metric.offset, metric.residual, metric.n_iter
        self._warn_of(metric.rank)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map samples so that their Euclidean distance is the learned one.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_components)
            Transformed samples.
        """
        check_is_fitted(self)
        if is_dask(X):
            return by_blocks(self.transform, X, len(self.components_), self.components_.dtype)
        check_same_namespace(X, self, attribute="components_", method="transform")
        X = validate_data(self, X, reset=False, **_options(X))
        with np.errstate(over="ignore", invalid="ignore"):
            mapped = X @ of_dtype(self.components_, X.dtype).T
        return _finite(mapped, "X")

    def get_mahalanobis_matrix(self) -> np.ndarray:
        """Matrix M of the learned metric, sqrt((x - x')' M (x - x')).

        Returns
        -------
        ndarray of shape (n_features, n_features)
            Symmetric and positive semi-definite.
        """
        check_is_fitted(self)
        return self.components_.T @ self.components_

    def get_metric(self) -> Mahalanobis:
        """Learned distance as a function of two samples, independent of the estimator.

        Returns
        -------
        callable
            ``metric(u, v, squared=False)`` for two arrays of shape (n_features,). It can be pickled, and is a
            `metric` of :class:`sklearn.neighbors.NearestNeighbors` and of the like; searching transformed samples
            with the Euclidean metric finds the same neighbours much faster.
        """
        check_is_fitted(self)
        return Mahalanobis(as_host(self.components_).copy())

    def pair_distance(self, pairs: ArrayLike) -> np.ndarray:
        """Learned distance of each pair of samples.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, n_features)
            The pairs.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Distances, not squared.

        Raises
        ------
        ValueError
            If `pairs` is not of that shape, not finite, or too large for the metric.
        """
        check_is_fitted(self)
        check_same_namespace(pairs, self, attribute="components_", method="pair_distance")
        pairs = check_array(
            pairs,
            dtype=float_dtypes(pairs),
            allow_nd=True,
            ensure_2d=False,
            ensure_min_samples=0,
            input_name="pairs",
        )
        if pairs.ndim != 3 or pairs.shape[1:] != (2, self.n_features_in_):
            raise ValueError(
                f"pairs has shape {tuple(pairs.shape)}, but (n_pairs, 2, {self.n_features_in_}) is needed: "
                "two samples a pair, with the features seen in fit."
            )
        samples = unwrapped(pairs)
        components = of_dtype(unwrapped(self.components_), samples.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            distances = norms((samples[:, 0] - samples[:, 1]) @ components.T)
        return like(_finite(distances, "pairs"), pairs)

    def pair_score(self, pairs: ArrayLike) -> np.ndarray:
        """Similarity of each pair of samples: the negative of its learned distance.

        Parameters
        ----------
        pairs : array-like of shape (n_pairs, 2, n_features)
            The pairs.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Scores, at most 0; the higher, the more alike.

        Raises
        ------
        ValueError
            If `pairs` is not of that shape, not finite, or too large for the metric.
        """
        return -self.pair_distance(pairs)

    def _warn_of(self, rank: int) -> None:
        if not self.residual_ <= self.tol:  # not a number, too
            warn_caller(
                f"Stopped after max_iter={self.max_iter} iterations at a relative residual of {self.residual_:.1e}, "
                f"above tol={self.tol:.1e}. Raise max_iter, alpha or tol, or standardise the features.",
                ConvergenceWarning,
            )
        if not rank:
            warn_caller(
                "The learned metric is 0: no direction of the samples goes along with differences of the targets"
                + (", as far as the sampled pairs and epsilon tell. " if self.solver != "ridge" else ". ")
                + "All distances will be 0.",
                UserWarning,
            )

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]


def _finite(mapped: Any, name: str) -> Any:
    """Samples in the learned metric, or their distances.

    Raises
    ------
    ValueError
        If any overflow.
    """
    values = unwrapped(mapped)
    if not module_of(values).isfinite(values).all():
        raise ValueError(
            f"{name} is too large for the learned metric: a distance overflows in {mapped.dtype}. Scale the samples as "
            "those of fit were."
        )
    return mapped


def _options(X: Any) -> dict[str, Any]:
    """Kinds of samples that are taken, as options of ``check_array``."""
    return {"dtype": float_dtypes(X), "accept_sparse": "csr"}
