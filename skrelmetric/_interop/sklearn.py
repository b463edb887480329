"""Seam to scikit-learn: its names without a promise of stability, its formats and its dispatch."""

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._base import _BaseHeterogeneousEnsemble
from sklearn.metrics._scorer import _Scorer
from sklearn.utils._chunking import get_chunk_n_rows
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.metaestimators import _safe_split as split_samples
from sklearn.utils.validation import _check_method_params as params_of_samples
from sklearn.utils.validation import _check_sample_weight, _get_feature_names
from sklearn.utils.validation import _num_samples as n_samples_of

from skrelmetric._interop.given import check_array_like
from skrelmetric._interop.pickles import VersionedEstimator

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn before 1.9 leaves it to the product of the two arrays to fail

    def check_same_namespace(X, estimator, *, attribute, method):
        """Nothing."""


try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing."""

    def with_callbacks(method):
        """The method itself."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "LabelScorer",
    "MetricTransformer",
    "NamedMembers",
    "StrOptions",
    "check_same_columns",
    "check_same_namespace",
    "check_sample_weight",
    "fit_context",
    "get_chunk_n_rows",
    "keep_label_names",
    "label_columns",
    "n_samples_of",
    "params_of_samples",
    "positive_columns",
    "relative_weights",
    "routed_to_fit",
    "split_samples",
    "stays_on_device",
    "warn_caller",
    "with_callbacks",
]

_NOT_CALLERS = {"skrelmetric", "sklearn", "joblib", "contextlib", "torch"}


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable:
    """Context of a method that learns: scikit-learn's, and where it fails the estimator has what it had before.

    Validation would otherwise leave the number and names of other features with the model that is still there.
    """

    def decorated(method: Callable) -> Callable:
        validated = _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)(method)

        @wraps(method)
        def fit(estimator: BaseEstimator, *args: Any, **kwargs: Any) -> Any:
            before = vars(estimator).copy()
            try:
                return validated(estimator, *args, **kwargs)
            except BaseException:
                for name in vars(estimator).keys() - before:
                    delattr(estimator, name)
                vars(estimator).update(before)
                raise

        return fit

    return decorated


def stays_on_device(X: Any) -> bool:
    """Whether results for `X` are arrays of its own kind, on its device: scikit-learn's array API dispatch."""
    return bool(get_config()["array_api_dispatch"]) and not isinstance(X, np.ndarray) and hasattr(X, "device")


class MetricTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, VersionedEstimator):
    """Transformer into a learned metric: of any array, sparse ones too, by targets of any number of outputs."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.two_d_labels = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class LabelScorer(_Scorer):
    """Scorer of label scores that also reads scikit-learn's lists with one array of probabilities a label.

    Where a label is constant in the training fold, its array has a single column, of ones, and nothing but
    ``classes_`` tells whether everybody had the label or nobody. Where all are, scikit-learn takes them for the classes
    of one output. A single label is one to it too, which it answers in one dimension.
    """

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        constant = all(np.size(classes) == 1 for classes in _classes_of_each(estimator))

        def call(estimator, method, X, **options):
            scores = getattr(estimator, method)(X) if constant else method_caller(estimator, method, X, **options)
            return label_columns(scores, estimator)

        return super()._score(call, estimator, X, y_true, **kwargs)


class NamedMembers(VersionedEstimator, _BaseHeterogeneousEnsemble):
    """An ensemble of named estimators: parameters by name, tags, routing of metadata to `fit`, and its picture."""

    get_metadata_routing = VotingClassifier.get_metadata_routing
    _sk_visual_block_ = VotingClassifier._sk_visual_block_


def routed_to_fit(estimator, params: dict):
    """Metadata that the objects within an estimator have requested, by their names, out of the `params` of its fit.

    Raises
    ------
    ValueError
        If there are `params`, but metadata routing is off.
    """
    if params and not get_config()["enable_metadata_routing"]:
        raise ValueError(
            f"{type(estimator).__name__}.fit got {sorted(params)}, but which estimator within it, or which step of it, "
            "they are for is known by metadata routing only. Call sklearn.set_config(enable_metadata_routing=True) and "
            "request them where they are meant, as in RAMLLinear().set_fit_request(sample_weight=True)."
        )
    return process_routing(estimator, "fit", **params)


def check_same_columns(truth, prediction):
    """Refuse data frames that have the same columns in different orders, since columns are compared by place.

    Raises
    ------
    ValueError
        If they do. Columns of other names are taken as they come.
    """
    names, predicted = (list(getattr(each, "columns", ())) for each in (truth, prediction))
    if not all(isinstance(name, str) for name in (*names, *predicted)) or set(names) != set(predicted):
        return
    moved = next((name for name, other in zip(names, predicted, strict=False) if name != other), None)
    if moved is not None:
        raise ValueError(
            f"Truth and prediction are data frames with columns in different orders: {moved!r} has another place. "
            "Pass prediction[truth.columns]."
        )


def keep_label_names(estimator, y):
    """Keep the names of the columns of a data frame of targets as `label_names_`; without any there is none."""
    names = _get_feature_names(y)
    if names is not None:
        estimator.label_names_ = names
    elif hasattr(estimator, "label_names_"):
        del estimator.label_names_


def check_sample_weight(sample_weight, X):
    """Weights of samples, of the kind of array that these are; 1 each for None.

    Raises
    ------
    ValueError
        If they are not finite, or negative.
    """
    if sample_weight is not None:
        check_array_like(sample_weight, "sample_weight")
    if isinstance(sample_weight, list | tuple):
        sample_weight = np.asarray(sample_weight)
    return _check_sample_weight(sample_weight, X, ensure_non_negative=True)


def relative_weights(sample_weight, X):
    """Weights of samples in units of the largest, whatever their range; 1 each for None.

    Raises
    ------
    ValueError
        If they are not finite, or negative.
    """
    weights = check_sample_weight(sample_weight, X)
    return weights / (weights.max() if weights.shape[0] and weights.max() > 0 else 1.0)


def label_columns(scores, estimator):
    """Scores of an estimator in any format, as one array of shape (n_samples, n_labels)."""
    if isinstance(scores, list):
        return positive_columns(scores, estimator.classes_)
    if scores.ndim == 1:
        return scores[:, None]
    if scores.shape[1] == 1 and np.shape(getattr(estimator, "classes_", ())) == (1,):  # a label that is constant
        return positive_columns([scores], [estimator.classes_])
    return scores


def _classes_of_each(estimator):
    """Classes of each label that an estimator was fitted to, (0, 1) where it does not say."""
    classes = getattr(estimator, "classes_", [(0, 1)])
    return classes if np.ndim(classes[0]) else [classes]


def positive_columns(probabilities, classes):
    """Probability of class 1 of each label, of shape (n_samples, n_labels); 0 where it was never seen."""
    return np.column_stack([p @ (known == 1) for p, known in zip(probabilities, classes, strict=True)])


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn of the line that called the package, past the frames of the package, of scikit-learn and of torch."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _NOT_CALLERS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
