"""Generated label distributions with a known metric."""

import numpy as np
from sklearn.utils import check_random_state


def make_label_distributions(
    n_samples: int = 100,
    n_features: int = 20,
    n_labels: int = 5,
    *,
    n_informative: int = 2,
    noise: float = 0.0,
    return_metric: bool = False,
    random_state=None,
):
    """Generate label distributions that are linear in a few directions of the features.

    Features are uniform on [-1, 1]. The distribution of a sample is ``1 / n_labels + A x``, where A has rank
    `n_informative`, its columns sum to 0, and its scale takes the least entry of all samples to 0. Without noise the
    squared distance of two distributions is therefore *exactly* ``(x - x')' M (x - x')`` with ``M = A' A``: the
    matrix that a metric learner aligned with squared differences should find.

    Parameters
    ----------
    n_samples, n_features, n_labels : int
        Sizes, by default 100, 20 and 5; at least 1, 1 and 2.
    n_informative : int, default=2
        Rank of A, at most ``min(n_features, n_labels - 1)``.
    noise : float, default=0.0
        Fraction of each distribution, in [0, 1], that is replaced by one drawn uniformly from the simplex.
    return_metric : bool, default=False
        Whether to return M too.
    random_state : int, RandomState instance or None, default=None
        Source of randomness.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Features.
    D : ndarray of shape (n_samples, n_labels)
        Distributions: no entry is negative and every row sums to 1.
    M : ndarray of shape (n_features, n_features)
        The metric of the noise-free distributions; only with ``return_metric=True``.

    Raises
    ------
    ValueError
        If a size, `n_informative` or `noise` is out of range.

    Examples
    --------
    >>> from skrelmetric.datasets import make_label_distributions
    >>> X, D = make_label_distributions(n_samples=3, n_labels=4, random_state=0)
    >>> D.sum(axis=1)
    array([1., 1., 1.])
    """
    if min(n_samples, n_features, n_labels - 1) < 1:
        raise ValueError(
            f"n_samples={n_samples}, n_features={n_features} and n_labels={n_labels} must be at least 1, 1 and 2."
        )
    most = min(n_features, n_labels - 1)
    if not 1 <= n_informative <= most:
        raise ValueError(f"n_informative={n_informative} must be between 1 and min(n_features, n_labels - 1) = {most}.")
    if not 0 <= noise <= 1:
        raise ValueError(f"noise={noise} must be a share between 0 and 1.")
    rng = check_random_state(random_state)
    X = rng.uniform(-1, 1, (n_samples, n_features))
    labels, _ = np.linalg.qr(np.column_stack([np.ones(n_labels), rng.standard_normal((n_labels, n_informative))]))
    A = labels[:, 1:] @ rng.standard_normal((n_informative, n_features))
    A /= -n_labels * (X @ A.T).min()
    D = (1 - noise) * (1 / n_labels + X @ A.T) + noise * rng.dirichlet(np.ones(n_labels), n_samples)
    D = np.maximum(D, 0)  # rounding may leave the one entry that touches 0 below it
    return (X, D, A.T @ A) if return_metric else (X, D)
