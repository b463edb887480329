"""Criteria of the labels ranked highest, those of extreme classification."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_scalar, gen_batches

from skrelmetric._interop.arrays import canonical
from skrelmetric._interop.given import check_array
from skrelmetric._interop.sklearn import get_chunk_n_rows
from skrelmetric.metrics._rows import labels_and_scores, mean, ranks

# By what labels of equal scores are ranked, higher values first.
_TIES: dict[str, Callable] = {
    "worst": np.negative,
    "best": np.positive,
    "index": lambda gains: np.arange(gains.shape[1]),
}


def precision_at_k(
    y_true: ArrayLike,
    y_score: ArrayLike,
    k: int | Sequence[int] = 1,
    *,
    ties: str = "worst",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Fraction of relevant labels among the k ranked highest; mean over samples.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_score : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays of shape (n_samples, 2)
        Scores, larger for labels that are more likely. Where a sparse matrix has no entry, the score is 0.
    k : int or sequence of int, default=1
        Number of labels, or several; at most n_labels.
    ties : {"worst", "best", "index"}, default="worst"
        Order of equal scores. "worst" ranks irrelevant labels first, "best" relevant ones, "index" a later label
        before an earlier one.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float or ndarray of shape (len(k),)
        In [0, 1]; higher is better. An array if `k` is a sequence.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, a score is not finite, or `k` is not within [1, n_labels].

    See Also
    --------
    propensity_scored_precision_at_k : The like where rare labels count more.
    one_error : One less precision at 1, but for samples without labels.

    Notes
    -----
    The divisor is always k: a sample with fewer than k labels cannot reach 1, and one without any label counts 0.
    The cost is O(n_samples n_labels) for each k.

    *Sparse scores*, such as those of ``MLkNN.predict_proba(X, n_labels=5)``, count as what they are when made dense,
    but are not: the cost is that of their entries. Labels without an entry are ranked behind those of a positive score,
    and, where fewer than k of these are left, among themselves as `ties` says: with "worst" they add nothing unless all
    of them are relevant.

    Examples
    --------
    >>> Y, scores = [[1, 0, 1], [0, 1, 0]], [[0.9, 0.5, 0.1], [0.6, 0.3, 0.1]]
    >>> precision_at_k(Y, scores)
    0.5
    >>> precision_at_k(Y, scores, [1, 2])
    array([0.5, 0.5])
    """
    relevant, scores = labels_and_scores(y_true, y_score, keep_sparse=True)
    ks = _ranks_of(scores, k)
    sums = _top_sums(relevant.astype(np.float64), scores, ks, ties)
    precisions = [mean(of_samples / each, sample_weight) for of_samples, each in zip(sums, ks, strict=True)]
    return precisions[0] if isinstance(k, Integral) else np.array(precisions)


def propensity_scored_precision_at_k(
    y_true: ArrayLike,
    y_score: ArrayLike,
    k: int | Sequence[int] = 1,
    *,
    propensities: ArrayLike,
    ties: str = "worst",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Precision at k where a relevant label counts 1 / propensity, as a fraction of the best attainable.

    Both the numerator and the best attainable value are summed over samples before they are divided, as the Extreme
    Classification Repository reports it.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples, n_labels)
        True labels, 0 or 1.
    y_score : array-like or sparse matrix of shape (n_samples, n_labels), or list of arrays of shape (n_samples, 2)
        Scores, larger for labels that are more likely. Where a sparse matrix has no entry, the score is 0.
    k : int or sequence of int, default=1
        Number of labels, or several; at most n_labels.
    propensities : array-like of shape (n_labels,)
        Probability that a label is recorded where it is relevant, in (0, 1], as by :func:`label_propensities` of the
        training samples.
    ties : {"worst", "best", "index"}, default="worst"
        Order of equal scores. "worst" ranks labels that count less first, "best" those that count more, "index" a
        later label before an earlier one.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float or ndarray of shape (len(k),)
        In [0, 1]; higher is better. 0 if no sample has a label. An array if `k` is a sequence.

    Raises
    ------
    ValueError
        If shapes differ, `y_true` is not binary, a score is not finite, a propensity is not within (0, 1], or `k` is
        not within [1, n_labels].

    Notes
    -----
    Samples without labels add 0 to both sums, and so make no difference. Sparse scores are not made dense; see
    :func:`precision_at_k`.

    References
    ----------
    H. Jain, Y. Prabhu and M. Varma. Extreme multi-label loss functions for recommendation, tagging, ranking and other
    missing label applications. KDD 2016.

    Examples
    --------
    >>> Y, scores = [[1, 0, 1], [0, 1, 0]], [[0.9, 0.5, 0.1], [0.3, 0.6, 0.1]]
    >>> round(propensity_scored_precision_at_k(Y, scores, propensities=[0.5, 0.5, 0.25]), 3)
    0.667
    """
    relevant, scores = labels_and_scores(y_true, y_score, keep_sparse=True)
    ks = _ranks_of(scores, k)
    propensities = _checked_propensities(propensities, scores.shape[1])
    if sparse.issparse(relevant):
        gains = sparse.csr_array((1 / propensities[relevant.indices], relevant.indices, relevant.indptr), scores.shape)
    else:
        gains = relevant / propensities
    fractions = []
    for of_best, of_reached in zip(*(_top_sums(gains, each, ks, ties) for each in (gains, scores)), strict=True):
        best, reached = mean(of_best, sample_weight), mean(of_reached, sample_weight)
        fractions.append(reached / best if best else 0.0)
    return fractions[0] if isinstance(k, Integral) else np.array(fractions)


def label_propensities(y_train: ArrayLike, *, a: float = 0.55, b: float = 1.5) -> np.ndarray:
    r"""Propensity of each label, by the number of training samples that have them.

    .. math:: p_l = \frac{1}{1 + C (N_l + b)^{-a}}, \quad C = (\log N - 1) (b + 1)^a

    Parameters
    ----------
    y_train : array-like or sparse matrix of shape (n_samples, n_labels)
        Labels of the training samples, 0 or 1. A sparse matrix stays one.
    a : float, default=0.55
        Exponent, at least 0. The Extreme Classification Repository takes 0.5 for Wikipedia and 0.6 for Amazon.
    b : float, default=1.5
        Number added to the counts, above 0. The repository takes 0.4 for Wikipedia and 2.6 for Amazon.

    Returns
    -------
    ndarray of shape (n_labels,)
        In (0, 1), larger for labels that more samples have.

    Raises
    ------
    ValueError
        If `y_train` is not binary or has fewer than 3 samples, for which C is negative; or `a` or `b` is out of range.

    References
    ----------
    H. Jain, Y. Prabhu and M. Varma. Extreme multi-label loss functions for recommendation, tagging, ranking and other
    missing label applications. KDD 2016.

    Examples
    --------
    >>> label_propensities([[1, 0], [1, 0], [1, 1], [1, 0]]).round(3)
    array([0.8  , 0.721])
    """
    check_scalar(a, "a", Real, min_val=0)
    check_scalar(b, "b", Real, min_val=0, include_boundaries="neither")
    labels = check_array(y_train, accept_sparse="csr", dtype="numeric", input_name="y_train", ensure_min_samples=3)
    labels = canonical(labels) if sparse.issparse(labels) else labels
    values = labels.data if sparse.issparse(labels) else labels
    unexpected = (values != 0) & (values != 1)
    if unexpected.any():
        raise ValueError(f"y_train must be a 0/1 label indicator, but it holds {values[unexpected][0]!r}.")
    n_having = np.asarray(labels.sum(axis=0)).ravel()
    C = (np.log(labels.shape[0]) - 1) * (b + 1) ** a
    return 1 / (1 + C * (n_having + b) ** -a)


def _ranks_of(scores: Any, k) -> list[int]:
    ks = ranks(k, "labels")
    if max(ks) > scores.shape[1]:
        raise ValueError(f"k={max(ks)}, but there are only {scores.shape[1]} labels. Pass at most that many.")
    return ks


def _top_sums(gains: Any, scores: Any, ks: list[int], ties: str) -> np.ndarray:
    """Sums of the gains of the labels ranked highest, so many as each k says, of shape (len(ks), n_samples)."""
    blocks = _candidates(gains, scores, max(ks)) if sparse.issparse(scores) else [(gains, scores)]
    sums = [[_top_gains(some, of_some, k, ties).sum(1) for k in ks] for some, of_some in blocks]
    return np.concatenate(sums, axis=1)


def _candidates(gains: sparse.csr_array, scores: sparse.csr_array, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gains and scores of the labels among which the k ranked highest are, in blocks of samples.

    These are all with an entry, in the order of the labels, and of the others, which are equal, at least the k of
    highest index.
    """
    both = sparse.csr_array(scores + 1j * gains)  # entries at the places of either
    n_labels = both.shape[1]
    widest = int(np.diff(both.indptr).max(initial=0))
    last = min(n_labels, k + widest)  # labels, of which k or all have no entry
    for rows in gen_batches(both.shape[0], get_chunk_n_rows(64 * (last + widest), max_n_rows=both.shape[0])):
        first = both[rows, : n_labels - last]
        counts = np.diff(first.indptr)
        filled = np.arange(counts.max(initial=0)) < counts[:, None]
        candidates = np.full(filled.shape, complex(-np.inf, 0))
        candidates[filled] = first.data
        candidates = np.hstack([candidates, both[rows, n_labels - last :].toarray()])
        yield candidates.imag, candidates.real


def _top_gains(gains: np.ndarray, scores: np.ndarray, k: int, ties: str) -> np.ndarray:
    """Gains of the k labels ranked highest, of shape (n_samples, k), in no order."""
    if ties not in list(_TIES):
        raise ValueError(f"ties={ties!r} is not known. Choose one of {list(_TIES)}.")
    first = scores.shape[1] - k
    least = np.partition(scores, first, axis=1)[:, [first]]
    preference = np.where(scores == least, _TIES[ties](gains), np.where(scores > least, np.inf, -np.inf))
    top = np.argpartition(preference, first, axis=1)[:, first:]
    return np.take_along_axis(gains, top, axis=1)


def _checked_propensities(propensities, n_labels: int) -> np.ndarray:
    propensities = np.asarray(propensities, dtype=np.float64)
    if propensities.shape != (n_labels,):
        raise ValueError(
            f"propensities has shape {propensities.shape}, but there are {n_labels} labels. Pass one number for each, "
            "as from label_propensities(y_train)."
        )
    within = (propensities > 0) & (propensities <= 1)
    if not within.all():
        raise ValueError(
            f"propensities holds {propensities[~within][0]:g}, but they are probabilities above 0 and up to 1. "
            "Pass those of label_propensities(y_train)."
        )
    return propensities
