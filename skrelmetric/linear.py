"""The linear aligned metric."""

from numbers import Integral, Real
from typing import Self
from warnings import warn

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skrelmetric._sklearn import Interval, StrOptions, check_not_ragged, fit_context
from skrelmetric._torch import as_tensor, resolve_device
from skrelmetric.alignment import principal_coordinates, ridge
from skrelmetric.mahalanobis import pair_distances, psd_factor
from skrelmetric.relations import make_relation

__all__ = ["RAMLLinear"]


class RAMLLinear(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Relation-aligned linear metric, exact over all pairs of samples.

    Learns a Mahalanobis distance under which samples with similar targets are near: squared distances are fitted
    to a relation g(y_i, y_j) of the targets by ridge regression over all n^2 pairs, and the learned matrix is
    projected onto the positive semi-definite cone.

    Parameters
    ----------
    n_components : int or None, default=None
        Dimension of the transformed samples, at most the number of features. None keeps every direction in which
        the learned metric is positive; beyond those the transformed samples are 0.
    relation : {"auto", "hamming", "l1", "sqeuclidean", "discrete"}, default="auto"
        What to align with; see :func:`skrelmetric.relations.make_relation`. "auto" is "hamming" for label sets,
        "l1" for label distributions and other real targets, "discrete" for classes.
    solver : {"ridge"}, default="ridge"
        "ridge" solves the regression over all pairs by preconditioned conjugate gradients.
    alpha : float, default=1.0
        Weight of the penalty ``alpha / 2 * |M|_F^2``, at least 0, in units of the squared mean variance of the
        features that vary: rescaling all features by one factor changes nothing but the scale of the result.
        Features of different units should be standardised first.
    psd : {"project"}, default="project"
        "project" takes the nearest positive semi-definite matrix to the unconstrained optimum.
    max_iter : int, default=1000
        Most iterations of conjugate gradients.
    tol : float, default=1e-8
        Relative error of the unconstrained optimum, above 0, as estimated by the preconditioned residual, at which to
        stop. Samples in float32 bound what can be reached, to about 1e-6, whatever the estimate says.
    device : str or torch.device, default="auto"
        Where to compute. "auto" stays where the samples live: on the CPU for numpy arrays.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Factor L of the learned metric M = L' L, strongest direction first, in the dtype of the training samples.
    offset_ : float
        Offset b of the regression: a pair at distance 0 is predicted to have relation b before the projection.
    n_iter_ : int
        Iterations of conjugate gradients.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has string names.

    See Also
    --------
    skrelmetric.MLkNN : Multi-label nearest neighbours.
    skrelmetric.AAKNN : Label-distribution nearest neighbours.
    sklearn.neighbors.NeighborhoodComponentsAnalysis : Metric for classes, at quadratic cost.

    Notes
    -----
    Time is O(n d^2) for each of some ten to a hundred iterations, and O(n q d) for q labels once ("l1":
    O(n q d^2)). Memory is that of a copy of X and one or two of y, although the objective sums over n^2 pairs: no pair
    is ever formed (see :mod:`skrelmetric.alignment`). The distance is Euclidean after `transform`. A target that is
    the same for all samples tells nothing: the metric is then 0, with a warning.

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
        "relation": [str],
        "solver": [StrOptions({"ridge"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "psd": [StrOptions({"project"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, 1, closed="right")],
        "device": [str, torch.device],
    }

    def __init__(
        self,
        n_components=None,
        *,
        relation="auto",
        solver="ridge",
        alpha=1.0,
        psd="project",
        max_iter=1000,
        tol=1e-8,
        device="auto",
    ):
        self.n_components = n_components
        self.relation = relation
        self.solver = solver
        self.alpha = alpha
        self.psd = psd
        self.max_iter = max_iter
        self.tol = tol
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the metric.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, at least two.
        y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
            Targets: a 0/1 label indicator, label distributions, numbers or classes.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the input is not finite, of unfitting shapes or too small, if the target does not suit `relation`,
            or if `n_components` exceeds the number of features.
        """
        check_not_ragged(y)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], multi_output=True, ensure_min_samples=2)
        self._check_n_components(X.shape[1])
        device = resolve_device(self.device)
        G = make_relation(y, self.relation, device=device)
        samples = principal_coordinates(as_tensor(X, device))
        solution = ridge(samples.Z, samples.variances, G, alpha=self.alpha, max_iter=self.max_iter, tol=self.tol)
        factor = psd_factor(solution.M, self.n_components) @ samples.axes.T / (samples.scale or 1.0)

        self.components_ = factor.cpu().numpy().astype(X.dtype)
        self.offset_ = solution.offset
        self.n_iter_ = solution.n_iter
        self._warn_of(solution.residual)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map samples so that their Euclidean distance is the learned one.

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
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return X @ self.components_.T.astype(X.dtype, copy=False)

    def get_mahalanobis_matrix(self) -> np.ndarray:
        """Matrix M of the learned metric, sqrt((x - x')' M (x - x')).

        Returns
        -------
        ndarray of shape (n_features, n_features)
            Symmetric and positive semi-definite.
        """
        check_is_fitted(self)
        return self.components_.T @ self.components_

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
            If `pairs` is not of that shape, or not finite.
        """
        check_is_fitted(self)
        pairs = check_array(
            pairs,
            dtype=[np.float64, np.float32],
            allow_nd=True,
            ensure_2d=False,
            ensure_min_samples=0,
            input_name="pairs",
        )
        if pairs.ndim != 3 or pairs.shape[1:] != (2, self.n_features_in_):
            raise ValueError(
                f"pairs has shape {pairs.shape}, but (n_pairs, 2, {self.n_features_in_}) is needed: "
                "two samples a pair, with the features seen in fit."
            )
        return pair_distances(self.components_, pairs)

    def _check_n_components(self, n_features: int) -> None:
        if self.n_components is not None and self.n_components > n_features:
            raise ValueError(
                f"n_components={self.n_components} exceeds the number of features, {n_features}. "
                "Pass at most that, or None to keep every useful direction."
            )

    def _warn_of(self, residual: float) -> None:
        if residual > self.tol:
            warn(
                f"Stopped after max_iter={self.max_iter} iterations at a relative residual of {residual:.1e}, above "
                f"tol={self.tol:.1e}. Raise max_iter or alpha, or standardise the features.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if not self.components_.any():
            warn(
                "The learned metric is 0: no direction of the samples goes along with differences of the targets. "
                "All distances will be 0.",
                UserWarning,
                stacklevel=3,
            )

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
