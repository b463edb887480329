"""The seam to scikit-learn: its names without a promise of stability, and the formats of targets it deals in."""

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import _fit_context as fit_context
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._base import _BaseHeterogeneousEnsemble
from sklearn.metrics._scorer import _Scorer
from sklearn.utils._chunking import get_chunk_n_rows
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

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
    "EpochCallbacks",
    "HasMethods",
    "Interval",
    "LabelScorer",
    "NamedMembers",
    "StrOptions",
    "check_not_ragged",
    "check_same_namespace",
    "check_sample_weight",
    "fit_context",
    "get_chunk_n_rows",
    "label_columns",
    "positive_columns",
    "stays_on_device",
    "with_callbacks",
]


class EpochCallbacks:
    """scikit-learn's callbacks of an estimator, told of every epoch; does nothing where there are none.

    Parameters
    ----------
    estimator : estimator
        Estimator in its `fit`.
    n_epochs : int
        Most epochs.
    X, y : object
        What it is fitted to.
    """

    def __init__(self, estimator, n_epochs, X, y):
        self.estimator, self.n_epochs, self.data = estimator, n_epochs, {"X": X, "y": y}
        self.context: Any = None
        self.epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None) and hasattr(estimator, "_init_callback_context"):
            self.context = estimator._init_callback_context(max_subtasks=n_epochs)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
            self.n_begun = 0
            self._begin()

    def _begin(self):
        self.epoch = None
        if self.n_begun < self.n_epochs:
            self.epoch = self.context.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)
            self.n_begun += 1

    def epoch_ended(self, fitted):
        """Call the hooks after an epoch; ``fitted()`` has the attributes of the estimator as it is now.

        Returns
        -------
        bool
            Whether a callback asks to stop.
        """
        if self.epoch is None:
            return False
        stop = self.epoch.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=fitted, **self.data)
        self._begin()
        return bool(stop)

    def fit_ended(self, fitted):
        """Call the hooks at the end of the fit."""
        if self.context is None:
            return
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.estimator)  # an epoch that was not needed
        self.context.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=fitted, **self.data)


class LabelScorer(_Scorer):
    """Scorer of label scores that also reads scikit-learn's lists with one array of probabilities a label.

    Where a label is constant in the training fold, its array has a single column, of ones, and nothing but
    ``classes_`` tells whether everybody had the label or nobody.
    """

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        def call(*args, **options):
            return label_columns(method_caller(*args, **options), estimator)

        return super()._score(call, estimator, X, y_true, **kwargs)


class NamedMembers(_BaseHeterogeneousEnsemble):
    """An ensemble of named estimators: parameters by name, tags, routing of metadata to `fit`, and its picture."""

    get_metadata_routing = VotingClassifier.get_metadata_routing
    _sk_visual_block_ = VotingClassifier._sk_visual_block_


def label_columns(scores, estimator):
    """Scores of an estimator in either multi-label format, as one array of shape (n_samples, n_labels)."""
    return positive_columns(scores, estimator.classes_) if isinstance(scores, list) else scores


def positive_columns(probabilities, classes):
    """Probability of class 1 of each label, of shape (n_samples, n_labels); 0 where it was never seen."""
    return np.column_stack([p @ (known == 1) for p, known in zip(probabilities, classes, strict=True)])


def check_not_ragged(y):
    """Refuse a list of label lists of different lengths, which scikit-learn would hand to numpy.

    Raises
    ------
    ValueError
        If `y` is such a list.
    """
    may_hold_lists = isinstance(y, list | tuple) or (isinstance(y, np.ndarray) and y.dtype.kind == "O")
    rows = [row for row in y if isinstance(row, list | tuple | set | frozenset)] if may_hold_lists else []
    if any(isinstance(row, set | frozenset) for row in rows) or len({len(row) for row in rows}) > 1:
        raise ValueError(
            "y is a list of label sets, or of lists of different lengths, but a (n_samples, n_labels) array is needed. "
            "sklearn.preprocessing.MultiLabelBinarizer turns them into a 0/1 label indicator."
        )


def stays_on_device(X: Any) -> bool:
    """Whether results for `X` are arrays of its own kind, on its device: scikit-learn's array API dispatch."""
    return bool(get_config()["array_api_dispatch"]) and not isinstance(X, np.ndarray) and hasattr(X, "device")
