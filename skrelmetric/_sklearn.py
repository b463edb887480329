"""The only place that touches scikit-learn names without a promise of stability."""

from sklearn.base import _fit_context as fit_context
from sklearn.metrics._scorer import _Scorer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = ["Interval", "LabelScorer", "StrOptions", "check_sample_weight", "fit_context"]


class LabelScorer(_Scorer):
    """Scorer of label scores that also reads scikit-learn's lists of per-label probabilities.

    Where a label is constant in the training fold, such an estimator returns one column for it, of ones, and
    scikit-learn takes that for the probability of the label. ``classes_`` tells whether everybody had it or nobody.
    """

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        def call(*args, **options):
            return with_constant_labels(method_caller(*args, **options), estimator)

        return super()._score(call, estimator, X, y_true, **kwargs)


def with_constant_labels(scores, estimator):
    """Replace the scores of labels of which the estimator saw one class by that class."""
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, list) or all(len(known) == 2 for known in classes):
        return scores
    scores = scores.copy()
    for label, known in enumerate(classes):
        if len(known) == 1:
            scores[:, label] = known[0]
    return scores
