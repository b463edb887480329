"""Criteria of embeddings: retrieval of nearest samples, and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix
from sklearn.utils import column_or_1d

from skrelmetric._interop.given import check_array
from skrelmetric._interop.magnitudes import check_range, largest, limit_of
from skrelmetric.metrics._rows import ranks

if TYPE_CHECKING:
    from skrelmetric._search.retrieval import Retrieved

_FLOATS = [np.float64, np.float32]


def recall_at_k(
    X: ArrayLike,
    y: ArrayLike,
    k: int | Sequence[int] = 1,
    *,
    X_reference: ArrayLike | None = None,
    y_reference: ArrayLike | None = None,
) -> Any:
    """Fraction of queries with a sample of their class among the k nearest.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_samples, n_features)
        Embedded queries.
    y : array-like of shape (n_samples,)
        Their classes.
    k : int or sequence of int, default=1
        Number of neighbours, or several.
    X_reference : array-like or Tensor of shape (n_references, n_features), default=None
        Embedded samples that are searched. None searches each query among all the others.
    y_reference : array-like of shape (n_references,), default=None
        Their classes.

    Returns
    -------
    float or ndarray of shape (len(k),)
        In [0, 1]; higher is better. An array if `k` is a sequence.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, `k` is not a positive integer, `y` is not one class a sample,
        or no query has another sample of its class.

    Notes
    -----
    Distances that are equal up to rounding count against the ranking: samples of other classes come first. An
    embedding that maps every sample to one point therefore scores 0 for every k up to the number of samples of other
    classes, and the order of samples does not matter. Queries without another sample of their class are left out of
    the mean.

    References
    ----------
    H. Oh Song, Y. Xiang, S. Jegelka and S. Savarese. Deep metric learning via lifted structured feature embedding.
    CVPR 2016.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [1.5], [5.0]], ["a", "a", "b", "b"]
    >>> recall_at_k(X, y)
    0.5
    >>> recall_at_k(X, y, [1, 2, 3])
    array([0.5 , 0.75, 1.  ])
    """
    ks = ranks(k, "neighbours")
    recalls = _recalls(_retrieved(X, y, X_reference, y_reference), ks)
    return float(recalls[0]) if isinstance(k, Integral) else recalls


def r_precision(
    X: ArrayLike, y: ArrayLike, *, X_reference: ArrayLike | None = None, y_reference: ArrayLike | None = None
) -> float:
    """Fraction of a query's R nearest samples that are of its class, which R samples are; mean over queries.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_samples, n_features)
        Embedded queries.
    y : array-like of shape (n_samples,)
        Their classes.
    X_reference : array-like or Tensor of shape (n_references, n_features), default=None
        Embedded samples that are searched. None searches each query among all the others.
    y_reference : array-like of shape (n_references,), default=None
        Their classes.

    Returns
    -------
    float
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, `y` is not one class a sample, or no query has another sample
        of its class.

    Notes
    -----
    Distances that are equal up to rounding count against the ranking: samples of other classes come first. An
    embedding that maps every sample to one point therefore scores 0 if no class holds most of the samples, and the
    order of samples does not matter. Queries without another sample of their class are left out of the mean.

    References
    ----------
    K. Musgrave, S. Belongie and S.-N. Lim. A metric learning reality check. ECCV 2020.

    Examples
    --------
    >>> r_precision([[0.0], [1.0], [1.5], [5.0], [6.0]], ["a", "a", "b", "b", "b"])
    0.6
    """
    return float(_retrieved(X, y, X_reference, y_reference).r_precision.double().mean())


def mean_average_precision_at_r(
    X: ArrayLike, y: ArrayLike, *, X_reference: ArrayLike | None = None, y_reference: ArrayLike | None = None
) -> float:
    r"""Average precision of the R nearest samples, where R samples are of the query's class; mean over queries.

    For one query it is :math:`\frac{1}{R} \sum_{i=1}^{R} P(i)`, where P(i) is the fraction of the i nearest
    samples that are of its class if the i-th is, and 0 if not.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_samples, n_features)
        Embedded queries.
    y : array-like of shape (n_samples,)
        Their classes.
    X_reference : array-like or Tensor of shape (n_references, n_features), default=None
        Embedded samples that are searched. None searches each query among all the others.
    y_reference : array-like of shape (n_references,), default=None
        Their classes.

    Returns
    -------
    float
        In [0, 1]; higher is better. Never above :func:`r_precision`.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, `y` is not one class a sample, or no query has another sample
        of its class.

    Notes
    -----
    Distances that are equal up to rounding count against the ranking: samples of other classes come first. An
    embedding that maps every sample to one point therefore scores 0 if no class holds most of the samples, and the
    order of samples does not matter. Queries without another sample of their class are left out of the mean.

    References
    ----------
    K. Musgrave, S. Belongie and S.-N. Lim. A metric learning reality check. ECCV 2020.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [1.5], [5.0], [6.0]], ["a", "a", "b", "b", "b"]
    >>> mean_average_precision_at_r(X, y)
    0.6
    """
    return float(_retrieved(X, y, X_reference, y_reference).average_precision.double().mean())


def retrieval_report(
    X: ArrayLike,
    y: ArrayLike,
    k: int | Sequence[int] = (1, 2, 4, 8),
    *,
    X_reference: ArrayLike | None = None,
    y_reference: ArrayLike | None = None,
) -> dict[str, float]:
    """Criteria of retrieval, all from one ranking and in the time of any of them.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_samples, n_features)
        Embedded queries.
    y : array-like of shape (n_samples,)
        Their classes.
    k : int or sequence of int, default=(1, 2, 4, 8)
        Numbers of neighbours of the recalls.
    X_reference : array-like or Tensor of shape (n_references, n_features), default=None
        Embedded samples that are searched. None searches each query among all the others.
    y_reference : array-like of shape (n_references,), default=None
        Their classes.

    Returns
    -------
    dict of str to float
        "recall_at_1" and so on, :func:`recall_at_k` of each k; "r_precision", :func:`r_precision`; and "map_at_r",
        :func:`mean_average_precision_at_r`.

    Raises
    ------
    ValueError
        As these do.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [1.5], [5.0], [6.0]], ["a", "a", "b", "b", "b"]
    >>> retrieval_report(X, y, k=1)
    {'recall_at_1': 0.6, 'r_precision': 0.6, 'map_at_r': 0.6}
    """
    ks = ranks(k, "neighbours")
    found = _retrieved(X, y, X_reference, y_reference)
    return {
        **{f"recall_at_{rank}": float(recall) for rank, recall in zip(ks, _recalls(found, ks), strict=True)},
        "r_precision": float(found.r_precision.double().mean()),
        "map_at_r": float(found.average_precision.double().mean()),
    }


def clustering_nmi(
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_clusters: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    """Normalised mutual information of classes and the clusters that k-means finds.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_samples, n_features)
        Embedded samples.
    y : array-like of shape (n_samples,)
        Their classes.
    n_clusters : int, default=None
        Number of clusters, that of the classes by default.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts of k-means.

    Returns
    -------
    float
        In [0, 1]; higher is better. Normalised by the arithmetic mean of both entropies.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, `y` is not one class a sample, or `n_clusters` is not within
        [1, n_samples].

    See Also
    --------
    sklearn.metrics.normalized_mutual_info_score : The same of clusters that are at hand.

    References
    ----------
    H. Oh Song, Y. Xiang, S. Jegelka and S. Savarese. Deep metric learning via lifted structured feature embedding.
    CVPR 2016.

    Examples
    --------
    >>> clustering_nmi([[0.0], [1.0], [8.0], [9.0]], ["a", "a", "b", "b"], random_state=0)
    1.0
    """
    classes, clusters = _clusters(X, y, n_clusters, random_state)
    return float(normalized_mutual_info_score(classes, clusters))


def clustering_f1(
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_clusters: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    """Pair F1 of classes and the clusters that k-means finds.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_samples, n_features)
        Embedded samples.
    y : array-like of shape (n_samples,)
        Their classes.
    n_clusters : int, default=None
        Number of clusters, that of the classes by default.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts of k-means.

    Returns
    -------
    float
        In [0, 1]; higher is better.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, `y` is not one class a sample, or `n_clusters` is not within
        [1, n_samples].

    See Also
    --------
    pair_f1 : The same of clusters that are at hand.

    References
    ----------
    H. Oh Song, Y. Xiang, S. Jegelka and S. Savarese. Deep metric learning via lifted structured feature embedding.
    CVPR 2016.

    Examples
    --------
    >>> clustering_f1([[0.0], [1.0], [8.0], [9.0]], ["a", "a", "b", "b"], random_state=0)
    1.0
    """
    return pair_f1(*_clusters(X, y, n_clusters, random_state))


def pair_f1(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """F1 of the pairs of samples that a clustering puts together, where those of one class belong together.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    float
        In [0, 1]; higher is better. 1 if neither puts any two samples together.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> pair_f1([0, 0, 1, 1], [0, 0, 0, 1])
    0.4
    """
    _, fp, fn, tp = pair_confusion_matrix(labels_true, labels_pred).ravel().tolist()
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0


def _recalls(found: Retrieved, ks: list[int]) -> np.ndarray:
    return (found.first.cpu().numpy()[:, None] <= np.array(ks)).mean(0)


def _retrieved(X, y, X_reference, y_reference) -> Retrieved:
    """Results of the queries that have a sample of their class to find."""
    import torch

    from skrelmetric._search.retrieval import Retrieved, retrieve

    if (X_reference is None) != (y_reference is None):
        missing = "X_reference" if X_reference is None else "y_reference"
        raise ValueError(f"{missing} is missing: pass both X_reference and y_reference, or neither.")
    queries, classes = _embedding(X, "X"), _classes(y, "y")
    _check_lengths(queries, classes, "X", "y")
    if X_reference is None:
        codes = torch.as_tensor(np.unique(classes, return_inverse=True)[1], device=queries.device)
        found = retrieve(queries, codes)
    else:
        references, known = _embedding(X_reference, "X_reference"), _classes(y_reference, "y_reference")
        _check_lengths(references, known, "X_reference", "y_reference")
        if references.shape[1] != queries.shape[1]:
            raise ValueError(
                f"X has {queries.shape[1]} features and X_reference {references.shape[1]}: both must come from the "
                "same embedding."
            )
        if (classes.dtype.kind in "OUS") != (known.dtype.kind in "OUS"):
            raise ValueError(
                f"y holds {classes.dtype} and y_reference {known.dtype}: name the classes of both in the same way."
            )
        both = np.unique(np.concatenate([classes, known]), return_inverse=True)[1]
        codes = torch.as_tensor(both, device=queries.device)
        dtype = torch.promote_types(queries.dtype, references.dtype)
        references = references.to(queries.device, dtype)
        found = retrieve(queries.to(dtype), codes[: len(classes)], (references, codes[len(classes) :]))
    kept = found.n_positives > 0
    if not bool(kept.any()):
        among = "y" if X_reference is None else "y_reference"
        raise ValueError(
            f"No query has another sample of its class to find in {among}, so that there is nothing to average. "
            "Pass at least one class of two samples, or references of the classes of the queries."
        )
    return Retrieved(*(each[kept] for each in found))


def _embedding(X, name: str):
    """Embedding as a tensor of single or double precision; one that is a tensor stays where it lives."""
    import torch

    if not isinstance(X, torch.Tensor):
        array = check_array(X, dtype=_FLOATS, input_name=name)
        X = torch.as_tensor(np.array(array))  # a copy, since torch warns of arrays that are read-only
    X = X.detach()
    if X.ndim != 2 or not X.numel() or X.is_complex():
        raise ValueError(
            f"{name} is a {X.dtype} tensor of shape {tuple(X.shape)}, but real numbers of shape "
            "(n_samples, n_features) are needed, with at least one of each."
        )
    if X.dtype not in (torch.float32, torch.float64):
        X = X.to(torch.float32 if X.is_floating_point() else torch.float64)
    if not bool(X.isfinite().all()):
        raise ValueError(f"{name} contains NaN or infinity. Embeddings must be finite.")
    check_range(largest(X), name, limit_of(X.dtype))
    return X


def _classes(y, name: str) -> np.ndarray:
    """Classes as a numpy array of shape (n_samples,)."""
    classes = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if classes.ndim != 1 and not (classes.ndim == 2 and classes.shape[1] == 1):
        raise ValueError(
            f"{name} has shape {classes.shape}, but one class a sample is needed, of shape (n_samples,). "
            "Multi-label targets have no classes to retrieve."
        )
    if classes.dtype.kind == "f" and not np.isfinite(classes).all():
        raise ValueError(f"{name} contains NaN or infinity. Every sample needs a class.")
    classes = column_or_1d(classes)
    try:
        np.unique(classes)
    except TypeError as error:
        raise ValueError(f"{name} holds classes that cannot be sorted: {error}. Every sample needs a class.") from error
    return classes


def _check_lengths(X, y: np.ndarray, name: str, name_of_classes: str) -> None:
    if len(X) != len(y):
        raise ValueError(f"{name} has {len(X)} samples and {name_of_classes} {len(y)}: each sample needs one class.")


def _clusters(X, y, n_clusters, random_state) -> tuple[np.ndarray, np.ndarray]:
    """Classes and clusters of the samples."""
    X = check_array(X.detach().cpu().numpy() if hasattr(X, "detach") else X, dtype=_FLOATS, input_name="X")
    check_range(largest(X), "X", limit_of(X.dtype))
    classes = _classes(y, "y")
    _check_lengths(X, classes, "X", "y")
    n_clusters = len(np.unique(classes)) if n_clusters is None else n_clusters
    if not isinstance(n_clusters, Integral) or not 1 <= int(n_clusters) <= len(X):
        raise ValueError(
            f"n_clusters={n_clusters!r} is not a number of clusters of {len(X)} samples. Pass an integer from 1 to "
            f"{len(X)}, or None for the number of classes."
        )
    n_clusters = min(int(n_clusters), len(np.unique(X, axis=0)))  # k-means warns of clusters that must stay empty
    return classes, KMeans(n_clusters, n_init=10, random_state=random_state).fit_predict(X)
