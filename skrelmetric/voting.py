"""Votes of several estimators on targets of several columns, which scikit-learn's own voting refuses."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.utils import Bunch, get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import like, unwrapped
from skrelmetric._interop.dask import by_blocks, is_dask
from skrelmetric._interop.labels import label_classes, label_probabilities, labels_by_blocks, predicted_labels
from skrelmetric._interop.sklearn import NamedMembers, check_same_namespace, fit_context, routed_to_fit

__all__ = ["MultilabelVotingClassifier", "MultioutputVotingRegressor"]


class _Vote(NamedMembers):
    """Vote: members fitted to the same samples, and the weighted mean of their answers."""

    _parameter_constraints: dict = {
        "estimators": [list],
        "weights": ["array-like", None],
        "n_jobs": [Integral, None],
    }

    def __init__(self, estimators, *, weights=None, n_jobs=None):
        super().__init__(estimators=estimators)
        self.weights = weights
        self.n_jobs = n_jobs

    # Only the members check X, so that its features are those that the first of them knows.
    @property
    def n_features_in_(self):
        """Number of features."""
        return self.estimators_[0].n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features."""
        return self.estimators_[0].feature_names_in_

    def _fit_members(self, X, y, params: dict):
        names, members = self._validate_estimators()
        kept = [member != "drop" for member in members]
        weights = _relative_weights(self.weights, kept)
        routed = routed_to_fit(self, params)
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(_fitted)(clone(member), X, y, routed[name]["fit"])
            for name, member in zip(names, members, strict=True)
            if member != "drop"
        )
        fitted = iter(self.estimators_)
        self.named_estimators_ = Bunch(
            **{name: next(fitted) if keep else "drop" for name, keep in zip(names, kept, strict=True)}
        )
        self._weights = like(weights, X)  # an array, to tell which kind of samples the members were fitted to

    def _mean(self, X, method: str, answer: Callable, outputs: tuple[int, ...]):
        """Weighted mean of the answers of the members, each of shape `outputs` for a sample."""
        check_same_namespace(X, self, attribute="_weights", method=method)
        answers = [answer(member) for member in self.estimators_]
        answers = [each.toarray() if sparse.issparse(each) else unwrapped(each) for each in answers]
        # A column that a member flattened would broadcast.
        answers = [each.reshape((each.shape[0], *outputs)) for each in answers]
        weights = unwrapped(self._weights).tolist()  # as numbers, which keep single precision
        return sum(weight * each for weight, each in zip(weights, answers, strict=True)) / sum(weights)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        try:
            members = [get_tags(member) for _, member in self.estimators if member != "drop"]
        except (TypeError, ValueError, AttributeError):  # no list of named estimators, as fit will say
            return tags
        tags.array_api_support = all(member.array_api_support for member in members)
        tags.input_tags.pairwise = any(member.input_tags.pairwise for member in members)
        return tags


class MultilabelVotingClassifier(ClassifierMixin, _Vote):
    """Soft vote on label sets: the mean of the label probabilities of several classifiers.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Names and classifiers with `predict_proba`, of which clones are fitted. One that is set to "drop", as by
        ``set_params(name="drop")``, is left out.
    weights : array-like of shape (n_estimators,) or None, default=None
        Weight of each classifier in the mean, at least 0, those of dropped ones included. None weighs them alike.
    n_jobs : int or None, default=None
        Number of classifiers fitted in parallel.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels, 2) or (2,)
        The classes of each label, [0, 1] even where the training samples are all alike; for a one-dimensional
        target its two classes.
    estimators_ : list of estimators
        Fitted clones, without the dropped ones.
    named_estimators_ : :class:`~sklearn.utils.Bunch`
        Fitted clones by name; "drop" for those dropped.
    n_features_in_ : int
        Number of features, where the first member knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the first member knows them.

    See Also
    --------
    MultioutputVotingRegressor : The like for label distributions and numbers.
    sklearn.ensemble.VotingClassifier : The like for one output of several classes.

    Notes
    -----
    *Why it helps.* Each posterior is the truth plus an error of its own. By convexity the squared error of the mean is
    at most the mean of the members' squared errors, and it is less by as much as the members differ. Metrics learned
    on different features, and numbers of neighbours, err differently while they are about equally good, which is
    when a mean gains most. The mean of several posteriors of :class:`MLkNN` also has fewer ties than one, which has
    k + 1 values, so that labels are ranked more finely.

    *Ties.* A label of mean probability 1/2 is predicted, as :class:`MLkNN` does: alone in a vote it predicts as ever.

    *Formats.* Members may answer with one (n_samples, n_labels) array or with a list of arrays, one a label, as the
    forests and neighbours of scikit-learn do. Samples and targets are passed to members as they come: data frames,
    sparse matrices or unknown labels are as good here as with each of them. Torch tensors under
    ``sklearn.set_config(array_api_dispatch=True)`` stay on their device where all members keep them there.

    Examples
    --------
    >>> from skrelmetric import MLkNN, MultilabelVotingClassifier
    >>> X = [[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]]
    >>> Y = [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]
    >>> vote = MultilabelVotingClassifier([("few", MLkNN(1)), ("more", MLkNN(2))]).fit(X, Y)
    >>> vote.predict_proba([[0.05]]).round(2)
    array([[0.8, 0.2]])
    >>> vote = vote.set_params(few__n_neighbors=3, weights=[1, 2]).fit(X, Y)
    >>> vote.predict([[0.05], [1.05]])
    array([[1, 0],
           [0, 1]])
    """

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, **params: Any) -> Self:
        """Fit a clone of each classifier to the same label sets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, of any kind that the members take.
        y : array-like or sparse matrix of shape (n_samples, n_labels)
            Label indicator, 0 or 1, and NaN for unknown labels if the members take it. A one-dimensional target of
            two classes is taken as one label.
        **params : dict
            What members or their steps request, such as `sample_weight`, under
            ``sklearn.set_config(enable_metadata_routing=True)``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the estimators are no classifiers with distinct names and `predict_proba`, the weights do not fit them,
            `y` is no label indicator, or `params` are passed without metadata routing.
        """
        classes = label_classes(y, type(self).__name__, "sklearn.ensemble.VotingClassifier(estimators, voting='soft')")
        self._fit_members(X, y, params)
        self.classes_ = like(classes, X)
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Mean of the members' probabilities of each label.

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
        return like(self._probabilities(X, "predict_proba"), X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict labels of probability 1/2 or more; for a one-dimensional target the more probable class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, or a Dask array of them.

        Returns
        -------
        ndarray or dask.array.Array of shape (n_samples, n_labels), or (n_samples,) for a one-dimensional target
            Label indicator.
        """
        check_is_fitted(self)
        if is_dask(X):
            return labels_by_blocks(self.predict, X)
        return predicted_labels(self._probabilities(X, "predict"), self.classes_, X)

    def _validate_estimators(self):
        names, members = super()._validate_estimators()
        for name, member in zip(names, members, strict=True):
            if member != "drop" and not hasattr(member, "predict_proba"):
                raise ValueError(
                    f"The estimator {name!r} ({type(member).__name__}) has no predict_proba, but the vote is the mean "
                    "of probabilities. Calibrate it (sklearn.calibration.CalibratedClassifierCV, for label sets "
                    "in a sklearn.multioutput.MultiOutputClassifier), or drop it."
                )
        return names, members

    def _probabilities(self, X, method: str):
        def answer(member):
            return label_probabilities(member, X, self.classes_)

        return self._mean(X, method, answer, self.classes_.shape[:1])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags


class MultioutputVotingRegressor(RegressorMixin, _Vote):
    """Mean of the predictions of several regressors, for label distributions and other targets of several columns.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Names and regressors, of which clones are fitted. One that is set to "drop", as by
        ``set_params(name="drop")``, is left out.
    weights : array-like of shape (n_estimators,) or None, default=None
        Weight of each regressor in the mean, at least 0, those of dropped ones included. None weighs them alike.
    n_jobs : int or None, default=None
        Number of regressors fitted in parallel.

    Attributes
    ----------
    estimators_ : list of estimators
        Fitted clones, without the dropped ones.
    named_estimators_ : :class:`~sklearn.utils.Bunch`
        Fitted clones by name; "drop" for those dropped.
    n_features_in_ : int
        Number of features, where the first member knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where the first member knows them.

    See Also
    --------
    MultilabelVotingClassifier : The like for label sets, and why a vote helps.
    sklearn.ensemble.VotingRegressor : The like for one output.

    Notes
    -----
    Where the members' predictions are distributions, their mean is one. Samples and targets are passed to members as
    they come. Torch tensors under ``sklearn.set_config(array_api_dispatch=True)`` stay on their device where all
    members keep them there.

    Examples
    --------
    >>> from skrelmetric import AAKNN, MultioutputVotingRegressor
    >>> X = [[0.0], [0.1], [1.0], [1.1]]
    >>> D = [[0.75, 0.25], [0.25, 0.75], [0.0, 1.0], [0.5, 0.5]]
    >>> vote = MultioutputVotingRegressor([("one", AAKNN(1)), ("two", AAKNN(2))]).fit(X, D)
    >>> vote.predict([[0.0], [1.0]])
    array([[0.625, 0.375],
           [0.125, 0.875]])
    """

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, **params: Any) -> Self:
        """Fit a clone of each regressor to the same targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Samples, of any kind that the members take.
        y : array-like or sparse matrix of shape (n_samples, n_outputs), or array-like of shape (n_samples,)
            Label distributions, or other numeric targets.
        **params : dict
            What members or their steps request, such as `sample_weight`, under
            ``sklearn.set_config(enable_metadata_routing=True)``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the estimators are no regressors with distinct names, the weights do not fit them, or `params` are
            passed without metadata routing.
        """
        self._fit_members(X, y, params)
        self._outputs = tuple((y if hasattr(y, "shape") else np.asarray(y)).shape[1:])
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Mean of the members' predictions.

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
        return like(self._mean(X, "predict", lambda member: member.predict(X), self._outputs), X)

    @property
    def _n_outputs(self) -> int | None:
        """Number of outputs; None where targets are one-dimensional."""
        return self._outputs[0] if self._outputs else None


def _fitted(member, X, y, params: dict):
    return member.fit(X, y, **params)


def _relative_weights(weights: Any, kept: list[bool]) -> np.ndarray:
    """Weights of the members that are kept, as fractions of the largest: equal ones are 1, and cause no rounding."""
    weights = np.ones(len(kept)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(kept),):
        raise ValueError(
            f"weights has shape {weights.shape}, but there are {len(kept)} estimators. "
            "Pass one number for each of them, dropped ones included, or None."
        )
    of_kept = weights[kept]
    if not (np.isfinite(weights).all() and weights.min() >= 0 and of_kept.max() > 0):
        raise ValueError(
            f"weights={weights.tolist()}, but they must be finite and at least 0, and one of a member that is not "
            "dropped must be positive. Drop a member by set_params(name='drop'), or give it weight 0."
        )
    return of_kept / of_kept.max()
