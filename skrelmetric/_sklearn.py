"""The only place that touches scikit-learn names without a promise of stability."""

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.metrics._scorer import _Scorer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = ["Interval", "LabelScorer", "StrOptions", "check_sample_weight", "fit_context", "positive_columns"]


class LabelScorer(_Scorer):
    """Scorer of label scores that also reads scikit-learn's lists with one array of probabilities a label.

    Where a label is constant in the training fold, its array has a single column, of ones, and nothing but
    ``classes_`` tells whether everybody had the label or nobody.
    """

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        def call(*args, **options):
            scores = method_caller(*args, **options)
            return positive_columns(scores, estimator.classes_) if isinstance(scores, list) else scores

        return super()._score(call, estimator, X, y_true, **kwargs)


def positive_columns(probabilities, classes):
    """Probability of class 1 of each label, of shape (n_samples, n_labels); 0 where it was never seen."""
    return np.column_stack([p @ (known == 1) for p, known in zip(probabilities, classes, strict=True)])
