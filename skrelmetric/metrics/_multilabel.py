"""Criteria of predicted label sets and of label rankings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from skrelmetric.metrics._rows import labels_and_scores, mean, row_weights

LAMDA: dict[str, dict[str, Any]] = {
    "hamming_loss": {},
    "ranking_loss": {"ties": "worst", "degenerate": "drop"},
    "one_error": {"ties": "best", "degenerate": "drop"},
    "coverage": {"ties": "index", "degenerate": "keep"},
    "average_precision": {"ties": "index", "degenerate": "drop"},
}
"""Keyword arguments with which each criterion equals Zhang and Zhou's Matlab code."""

# Probabilities may leave [0, 1] by this much.
_ROUNDING = 1e-6

# Scores rank downwards, rankdata upwards: the worst rank downwards is the least upwards.
_UPWARD_METHODS = {"worst": "min", "best": "max", "index": "ordinal"}
_DEGENERATE = ("keep", "drop")

# F1 where there is nothing to predict and nothing predicted: 0/0.
_F1_OF_NOTHING = {"micro": 1.0, "macro": 0.0, "samples": 1.0}


def hamming_loss(
    y_true: ArrayLike, y_pred: ArrayLike, *, threshold: float = 0.5, sample_weight: ArrayLike | None = None
) -> float:
    """Fraction of labels predicted wrongly.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_pred : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays
        Predicted labels, or their probabilities.
    threshold : float, default=0.5
        Least probability at which a label is predicted.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1]; lower is better.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, or `y_pred` leaves [0, 1].

    Examples
    --------
    >>> hamming_loss([[1, 0], [0, 1]], [[1, 1], [0, 1]])
    0.25
    """
    relevant, predicted = _label_sets(y_true, y_pred, threshold, "hamming_loss")
    return mean((relevant != predicted).mean(1), sample_weight)


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    average: str = "micro",
    threshold: float = 0.5,
    zero_division: float | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """F1 of predicted labels: twice the number predicted rightly, over the numbers of true and of predicted ones.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_pred : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays
        Predicted labels, or their probabilities.
    average : {"micro", "macro", "samples"}, default="micro"
        What is counted together. "micro" takes all samples and labels at once, "macro" the mean over labels and
        "samples" the mean over samples.
    threshold : float, default=0.5
        Least probability at which a label is predicted.
    zero_division : float or None, default=None
        What 0/0 is, in [0, 1]. It comes about for a label that no sample has and that is predicted for none, and for
        a sample that has no label and gets none. None takes 0 for a label, which "macro" is commonly reported with
        and which scikit-learn takes too, and 1 elsewhere: no label predicted where there is none is right.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, `y_pred` leaves [0, 1], or `average` or `zero_division` is not
        known.

    See Also
    --------
    sklearn.metrics.f1_score : The like for classes, for which a single column is no label set.

    Examples
    --------
    >>> Y, predicted = [[1, 0], [0, 0]], [[1, 1], [0, 0]]
    >>> [
    ...     round(f1(Y, predicted, average=average), 2)
    ...     for average in ("micro", "macro", "samples")
    ... ]
    [0.67, 0.5, 0.83]
    """
    if average not in list(_F1_OF_NOTHING):
        raise ValueError(f"average={average!r} is not known. Choose one of {list(_F1_OF_NOTHING)}.")
    nothing = _F1_OF_NOTHING[average] if zero_division is None else zero_division
    if not 0 <= nothing <= 1:
        raise ValueError(f"zero_division={zero_division!r} must be between 0 and 1, or None.")
    relevant, predicted = _label_sets(y_true, y_pred, threshold, "f1")
    right = relevant & predicted
    if average == "samples":
        return mean(_f1(right.sum(1), relevant.sum(1), predicted.sum(1), nothing), sample_weight)
    weights = row_weights(sample_weight, right)
    counts = np.stack([weights @ labels for labels in (right, relevant, predicted)])
    if average == "micro":
        counts = counts.sum(1)
    return float(np.mean(_f1(counts[0], counts[1], counts[2], nothing)))


def ranking_loss(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    ties: str = "worst",
    degenerate: str = "keep",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Fraction of pairs of a relevant and an irrelevant label that are ranked the wrong way round.

    With the defaults equal to :func:`sklearn.metrics.label_ranking_loss`.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_score : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays of shape (n_samples, 2)
        Scores, larger for labels that are more likely.
    ties : {"worst", "best", "index"}, default="worst"
        Order of equal scores. "worst" counts a tied pair as an error, "best" does not.
    degenerate : {"keep", "drop"}, default="keep"
        Whether a sample with no label or every label counts 0 or is left out.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1]; lower is better.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, a score is not finite, or no sample is left to average.

    Examples
    --------
    >>> ranking_loss([[1, 0, 0]], [[0.5, 0.7, 0.1]])
    0.5
    """
    relevant, scores = labels_and_scores(y_true, y_score)
    n_relevant = relevant.sum(1)
    n_pairs = n_relevant * (relevant.shape[1] - n_relevant)
    errors = _irrelevant_above(relevant, scores, ties).sum(1, where=relevant)
    return mean(errors / np.maximum(n_pairs, 1), sample_weight, _kept(n_pairs > 0, degenerate))


def one_error(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    ties: str = "worst",
    degenerate: str = "keep",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Fraction of samples whose top-ranked label is not relevant.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_score : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays of shape (n_samples, 2)
        Scores, larger for labels that are more likely.
    ties : {"worst", "best", "index"}, default="worst"
        Which of several labels at the maximum is the top one: "worst" an irrelevant, "best" a relevant one if
        there is any, "index" the last.
    degenerate : {"keep", "drop"}, default="keep"
        Whether a sample with no label or every label counts 0 or is left out.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1]; lower is better.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, a score is not finite, or no sample is left to average.

    Examples
    --------
    >>> one_error([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]])
    0.5
    """
    relevant, scores = labels_and_scores(y_true, y_score)
    above = _irrelevant_above(relevant, scores, ties)
    errors = above.min(1, where=relevant, initial=relevant.shape[1]) > 0
    proper = _proper(relevant)
    return mean(errors & proper, sample_weight, _kept(proper, degenerate))


def coverage(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    ties: str = "worst",
    degenerate: str = "keep",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Number of steps down the ranking, from the top label on, until every relevant label is covered.

    With the defaults one less than :func:`sklearn.metrics.coverage_error`, which counts labels and not steps.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_score : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays of shape (n_samples, 2)
        Scores, larger for labels that are more likely.
    ties : {"worst", "best", "index"}, default="worst"
        Rank of equal scores.
    degenerate : {"keep", "drop"}, default="keep"
        What becomes of a sample without any label: "keep" gives it rank 0, which is -1 steps, as scikit-learn and
        the Matlab code both do; "drop" leaves it out. A sample with every label is ordinary here.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [-1, n_labels - 1]; lower is better.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, a score is not finite, or no sample is left to average.

    Examples
    --------
    >>> coverage([[1, 0, 1]], [[0.9, 0.5, 0.1]])
    2.0
    """
    relevant, scores = labels_and_scores(y_true, y_score)
    depth = _ranks(scores, ties).max(1, where=relevant, initial=0)
    return mean(depth - 1.0, sample_weight, _kept(relevant.sum(1) > 0, degenerate))


def average_precision(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    ties: str = "worst",
    degenerate: str = "keep",
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean over relevant labels of the fraction of relevant labels among those ranked at least as high.

    With the defaults equal to :func:`sklearn.metrics.label_ranking_average_precision_score`.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_score : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays of shape (n_samples, 2)
        Scores, larger for labels that are more likely.
    ties : {"worst", "best", "index"}, default="worst"
        Rank of equal scores, among all labels and among the relevant ones alike; a group of several relevant labels
        may therefore gain by "worst".
    degenerate : {"keep", "drop"}, default="keep"
        Whether a sample with no label or every label counts 1 or is left out.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In (0, 1]; higher is better.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, a score is not finite, or no sample is left to average.

    Examples
    --------
    >>> average_precision([[1, 0, 1]], [[0.9, 0.5, 0.1]])
    0.8333333333333333
    """
    relevant, scores = labels_and_scores(y_true, y_score)
    precision = _ranks_among_relevant(relevant, scores, ties) / _ranks(scores, ties)
    proper = _proper(relevant)
    means = precision.sum(1, where=relevant) / np.maximum(relevant.sum(1), 1)
    return mean(np.where(proper, means, 1.0), sample_weight, _kept(proper, degenerate))


def _label_sets(y_true, y_pred, threshold: float, criterion: str) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted labels as booleans, both (n_samples, n_labels)."""
    relevant, scores = labels_and_scores(y_true, y_pred)
    if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
        raise ValueError(
            f"{criterion} needs predicted labels or probabilities, but y_pred spans [{scores.min():g}, "
            f"{scores.max():g}]. Pass the output of predict or predict_proba."
        )
    return relevant, scores >= threshold


def _f1(right, n_relevant, n_predicted, nothing: float) -> np.ndarray:
    """F1 by counts of labels, `nothing` where there are none."""
    either = n_relevant + n_predicted
    return np.where(either > 0, 2 * right / np.where(either > 0, either, 1), nothing)


def _ranks(scores: np.ndarray, ties: str) -> np.ndarray:
    """Rank of each label in its row, from 1 for the highest score."""
    if ties not in list(_UPWARD_METHODS):
        raise ValueError(f"ties={ties!r} is not known. Choose one of {list(_UPWARD_METHODS)}.")
    return scores.shape[1] + 1 - rankdata(scores, method=_UPWARD_METHODS[ties], axis=1)


def _ranks_among_relevant(relevant: np.ndarray, scores: np.ndarray, ties: str) -> np.ndarray:
    """Rank of each relevant label among the relevant labels of its row; others have no meaning."""
    return _ranks(np.where(relevant, scores, -np.inf), ties)


def _irrelevant_above(relevant: np.ndarray, scores: np.ndarray, ties: str) -> np.ndarray:
    """For relevant labels, the number of irrelevant ones before them (equal scores by `ties`)."""
    return _ranks(scores, ties) - _ranks_among_relevant(relevant, scores, ties)


def _proper(relevant: np.ndarray) -> np.ndarray:
    """Whether each row has both relevant and irrelevant labels."""
    n_relevant = relevant.sum(1)
    return (n_relevant > 0) & (n_relevant < relevant.shape[1])


def _kept(proper: np.ndarray, degenerate: str) -> np.ndarray:
    if degenerate not in _DEGENERATE:
        raise ValueError(f"degenerate={degenerate!r} is not known. Choose one of {list(_DEGENERATE)}.")
    kept = proper if degenerate == "drop" else np.ones_like(proper)
    if not kept.any():
        raise ValueError("degenerate='drop' leaves no sample to average: the labels of every one are degenerate.")
    return kept
