"""Criteria of predicted label distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from skrelmetric._interop.magnitudes import MOST, check_range, largest, unit_rows
from skrelmetric._interop.sklearn import check_same_columns
from skrelmetric.metrics._rows import check_same_shape, dense, mean


def chebyshev_distance(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Largest absolute difference of two label distributions, ``max_l |u_l - v_l|``.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        True and predicted distributions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1] for distributions; lower is better.

    Examples
    --------
    >>> chebyshev_distance([[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]])
    0.25
    """
    u, v = _distributions(y_true, y_pred)
    return mean(np.abs(u - v).max(1), sample_weight)


def clark_distance(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Clark distance of two label distributions, sqrt(sum_l (u_l - v_l)^2 / (u_l + v_l)^2).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        True and predicted distributions. A label that both give 0 adds 0; a negative prediction enters the
        denominator with its modulus.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, sqrt(n_labels)]; lower is better.

    Examples
    --------
    >>> round(clark_distance([[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]]), 5)
    1.49071
    """
    u, v = _distributions(y_true, y_pred)
    return mean(np.sqrt(np.square(_relative_difference(u, v)).sum(1)), sample_weight)


def canberra_distance(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Canberra distance of two label distributions, ``sum_l |u_l - v_l| / (u_l + v_l)``.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        True and predicted distributions. A label that both give 0 adds 0; a negative prediction enters the
        denominator with its modulus.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, n_labels]; lower is better.

    Examples
    --------
    >>> round(canberra_distance([[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]]), 5)
    2.66667
    """
    u, v = _distributions(y_true, y_pred)
    return mean(_relative_difference(u, v).sum(1), sample_weight)


def kl_divergence(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    eps: float = float(np.finfo(np.float64).eps),
    sample_weight: ArrayLike | None = None,
) -> float:
    """Kullback-Leibler divergence of the prediction from the truth, sum_l u_l ln(u_l / v_l), in nats.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        True distribution u and predicted distribution v.
    eps : float, default=2.2e-16
        Predictions below `eps` are raised to it. Where a prediction is 0 and the truth is not, this value *is* the
        score: state it with the result. A label of true value 0 adds 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        At least 0 for distributions; lower is better.

    Raises
    ------
    ValueError
        If `y_true` is negative anywhere, or `eps` is not between 0 and 1.

    Examples
    --------
    >>> round(kl_divergence([[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]]), 5)
    0.69315
    """
    u, v = _distributions(y_true, y_pred)
    if u.min() < 0:
        raise ValueError(f"kl_divergence needs distributions, but y_true holds {u.min():g}.")
    if not 0 < eps < 1:
        raise ValueError(f"eps={eps!r} must be between 0 and 1: it bounds the score where a prediction is 0.")
    return mean(rel_entr(u, np.maximum(v, eps)).sum(1), sample_weight)


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Cosine of the angle between two label distributions, sample by sample.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        True and predicted distributions. A row of zeros has similarity 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1] for distributions; higher is better.

    Examples
    --------
    >>> round(cosine_similarity([[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]]), 5)
    0.70711
    """
    u, v = _distributions(y_true, y_pred)
    return mean((unit_rows(u) * unit_rows(v)).sum(1), sample_weight)


def intersection_similarity(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Common mass of two label distributions, sum_l min(u_l, v_l).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, n_labels)
        True and predicted distributions.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples.

    Returns
    -------
    float
        In [0, 1] for distributions; higher is better.

    Examples
    --------
    >>> intersection_similarity([[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]])
    0.5
    """
    u, v = _distributions(y_true, y_pred)
    return mean(np.minimum(u, v).sum(1), sample_weight)


def _distributions(y_true, y_pred) -> tuple[np.ndarray, np.ndarray]:
    check_same_columns(y_true, y_pred)
    u = dense(y_true, "y_true").astype(np.float64, copy=False)
    v = dense(y_pred, "y_pred").astype(np.float64, copy=False)
    check_same_shape(u, v)
    for array, name in ((u, "y_true"), (v, "y_pred")):
        check_range(largest(array), name, MOST, least=False)
    return u, v


def _relative_difference(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _divide(np.abs(u - v), np.abs(u) + np.abs(v))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient with 0 / 0 = 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
