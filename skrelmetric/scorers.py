"""Scorers for the criteria of :mod:`skrelmetric.metrics`, where larger is better.

The dictionaries are ready for the ``scoring`` of :func:`sklearn.model_selection.cross_validate` and
:class:`~sklearn.model_selection.GridSearchCV` (with ``refit`` naming one key). As in scikit-learn, losses carry the
prefix ``neg_``. Ranking criteria read ``predict_proba``, or else ``decision_function``, in either of scikit-learn's
multi-label formats: one (n_samples, n_labels) array, or a list with an array for each label. Scorers of embeddings
read ``transform``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from sklearn.metrics import make_scorer

from skrelmetric import metrics
from skrelmetric._interop.sklearn import LabelScorer

__all__ = [
    "LABEL_DISTRIBUTION_SCORERS",
    "LAMDA_SCORERS",
    "MULTILABEL_SCORERS",
    "RETRIEVAL_SCORERS",
    "precision_at_k_scorer",
    "retrieval_scores",
]

_SCORES = ("predict_proba", "decision_function")


def _multilabel_scorers(choices: dict[str, dict]) -> dict[str, LabelScorer]:
    """Scorer of each multi-label criterion, with the keyword arguments of the criterion."""
    return {
        "neg_hamming_loss": LabelScorer(metrics.hamming_loss, -1, choices["hamming_loss"], "predict"),
        "neg_ranking_loss": LabelScorer(metrics.ranking_loss, -1, choices["ranking_loss"], _SCORES),
        "neg_one_error": LabelScorer(metrics.one_error, -1, choices["one_error"], _SCORES),
        "neg_coverage": LabelScorer(metrics.coverage, -1, choices["coverage"], _SCORES),
        "average_precision": LabelScorer(metrics.average_precision, 1, choices["average_precision"], _SCORES),
    }


MULTILABEL_SCORERS = _multilabel_scorers({criterion: {} for criterion in metrics.LAMDA}) | {
    f"f1_{average}": LabelScorer(metrics.f1, 1, {"average": average}, "predict")
    for average in ("micro", "macro", "samples")
}
"""Scorer of each multi-label criterion, with scikit-learn's handling of ties and degenerate samples.

Keys: ``neg_hamming_loss``, ``neg_ranking_loss``, ``neg_one_error``, ``neg_coverage``, ``average_precision``,
``f1_micro``, ``f1_macro`` and ``f1_samples``. Those of :func:`precision_at_k_scorer` are left out: they fail where
there are fewer than k labels.
"""

LAMDA_SCORERS = _multilabel_scorers(metrics.LAMDA)
"""Scorer of each criterion of :data:`skrelmetric.metrics.LAMDA`, as most published numbers have it.

Keys: ``neg_hamming_loss``, ``neg_ranking_loss``, ``neg_one_error``, ``neg_coverage`` and ``average_precision``.
"""


def precision_at_k_scorer(k: int, *, propensities: ArrayLike | None = None) -> LabelScorer:
    """Scorer of the precision at k, plain or propensity-scored.

    Parameters
    ----------
    k : int
        Number of labels.
    propensities : array-like of shape (n_labels,), default=None
        Propensities of the labels, for :func:`skrelmetric.metrics.propensity_scored_precision_at_k`. None takes
        :func:`skrelmetric.metrics.precision_at_k`.

    Returns
    -------
    LabelScorer
        To be passed as ``scoring``, alone or beside others as in
        ``MULTILABEL_SCORERS | {"precision_at_3": precision_at_k_scorer(3)}``.

    Examples
    --------
    >>> from skrelmetric import MLkNN
    >>> X, Y = [[0.0], [0.1], [1.0], [1.1]], [[1, 0], [1, 0], [0, 1], [0, 1]]
    >>> precision_at_k_scorer(1)(MLkNN(1).fit(X, Y), X, Y)
    1.0
    """
    if propensities is None:
        return LabelScorer(metrics.precision_at_k, 1, {"k": k}, _SCORES)
    choices = {"k": k, "propensities": propensities}
    return LabelScorer(metrics.propensity_scored_precision_at_k, 1, choices, _SCORES)


LABEL_DISTRIBUTION_SCORERS = {
    "neg_chebyshev_distance": make_scorer(metrics.chebyshev_distance, greater_is_better=False),
    "neg_clark_distance": make_scorer(metrics.clark_distance, greater_is_better=False),
    "neg_canberra_distance": make_scorer(metrics.canberra_distance, greater_is_better=False),
    "neg_kl_divergence": make_scorer(metrics.kl_divergence, greater_is_better=False),
    "cosine_similarity": make_scorer(metrics.cosine_similarity),
    "intersection_similarity": make_scorer(metrics.intersection_similarity),
}
"""Scorer of each label-distribution criterion.

Keys: ``neg_chebyshev_distance``, ``neg_clark_distance``, ``neg_canberra_distance``, ``neg_kl_divergence``,
``cosine_similarity`` and ``intersection_similarity``.
"""


class _EmbeddingScorer:
    """Scorer of the embedding that a transformer, or a pipeline that ends in one, makes of samples."""

    def __init__(self, criterion: Callable):
        self.criterion = criterion

    def __call__(self, estimator, X, y):
        """Criterion of the embedded samples, among themselves, and their classes."""
        return self.criterion(estimator.transform(X), y)

    def __repr__(self):
        return f"{type(self).__name__}({self.criterion.__name__}, response_method='transform')"


RETRIEVAL_SCORERS = {
    "recall_at_1": _EmbeddingScorer(metrics.recall_at_k),
    "r_precision": _EmbeddingScorer(metrics.r_precision),
    "map_at_r": _EmbeddingScorer(metrics.mean_average_precision_at_r),
}
"""Scorer of each retrieval criterion; the samples of the test fold are retrieved among themselves.

Keys: ``recall_at_1``, ``r_precision`` and ``map_at_r``.
"""


def retrieval_scores(estimator: Any, X: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """Criteria of retrieval, all from one embedding and one ranking, for ``scoring=retrieval_scores``.

    Parameters
    ----------
    estimator : estimator
        Fitted transformer, or pipeline that ends in one.
    X : array-like
        Samples, which are retrieved among themselves.
    y : array-like of shape (n_samples,)
        Their classes.

    Returns
    -------
    dict of str to float
        :func:`skrelmetric.metrics.retrieval_report` of the embedding.
    """
    return metrics.retrieval_report(estimator.transform(X), y)
