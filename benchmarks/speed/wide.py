"""Hot paths of samples with many features: words, few and many of them, dense and sparse."""

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from sklearn.linear_model import Ridge

from benchmarks.speed.timing import Measurement, measurement, medians
from skrelmetric import RAMLLinear

_N_LABELS = 50


def measure() -> Iterator[Measurement]:
    """Measurements of these paths."""
    yield few_words()
    yield from many_words()


def _words(n_samples: int, n_features: int, mean_entries: float) -> tuple[sparse.csr_array, np.ndarray]:
    """Sparse samples in which word k is about as frequent as 1 / (k + 10), of topics, and sets of these topics."""
    rng = np.random.default_rng(0)
    rates = 1 / (np.arange(n_features) + 10.0)
    topics = rng.dirichlet(np.full(n_features, 0.02), _N_LABELS)
    Y = rng.random((n_samples, _N_LABELS)) < 2 / _N_LABELS
    shares = 0.5 * rates / rates.sum() + 0.25 * Y @ topics
    X = sparse.csr_array((rng.random((n_samples, n_features)) < mean_entries * shares).astype(float))
    return X, Y.astype(np.int64)


def few_words(n_samples: int = 5000, n_features: int = 2000) -> Measurement:
    """Fit to as many samples as a text collection has words."""
    X, Y = _words(n_samples, n_features, 70)
    X = X.toarray()
    seconds, floor = medians(lambda: RAMLLinear(relation="cosine").fit(X, Y), lambda: Ridge().fit(X, Y), repeats=2)
    path = f"RAMLLinear(relation='cosine') fit, words ({n_samples:,} x {n_features:,}, {_N_LABELS} labels)"
    return measurement(path, seconds, "Ridge() of its labels", floor)


def many_words(n_samples: int = 100_000, n_features: int = 1000) -> Iterator[Measurement]:
    """Fits to many sparse samples, aligned and by predictions alone."""
    X, Y = _words(n_samples, n_features, 20)
    for weight in (0.3, 1.0):
        metric = RAMLLinear(prediction_weight=weight)
        seconds, floor = medians(lambda metric=metric: metric.fit(X, Y), lambda: Ridge().fit(X, Y), repeats=2)
        size = f"({n_samples:,} x {n_features:,}, {X.nnz / X.shape[0]:.0f} entries a row, {_N_LABELS} labels)"
        yield measurement(f"{metric} fit, sparse words {size}", seconds, "Ridge() of its labels", floor)
