"""Hot paths of the aligned metrics, with those of other modules: ratios to a floor or a peer, measured in one run."""

from collections.abc import Iterator
from statistics import median

import numpy as np
import torch
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

from benchmarks.compare.memory import watched
from benchmarks.compare.targets import as_classes
from benchmarks.data.sources import DATASETS, load
from benchmarks.speed import embeddings, labels, neighbors, start, wide
from benchmarks.speed.timing import Measurement, added, growth, measurement, medians
from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.encoders import MLP


def measure() -> Iterator[Measurement]:
    """Measurements of all hot paths, as they are done."""
    yield gaussian_fit()
    yield from growing_fits()
    yield real_labels()
    yield resampled_fit()
    yield constrained_fit()
    yield kernel_fit()
    yield all_pairs_step()
    yield growing_epochs()
    for name in ("emotions", "yeast", "scene"):
        try:
            load(DATASETS[name])
        except OSError:  # not in the cache, and no network
            continue
        yield against_nca(name, RAMLLinear())
        yield against_nca(name, HRAMLTransformer())
    yield from wide.measure()
    yield from neighbors.measure()
    yield from start.measure()
    yield from labels.measure()
    yield from embeddings.measure()


def _training_part(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, Y, n_train, *_ = load(DATASETS[name])
    return StandardScaler().fit_transform(X[:n_train]), Y[:n_train]


def against_nca(name: str, metric: RAMLLinear | HRAMLTransformer) -> Measurement:
    """Fit to a data set of label sets against that of NCA."""
    X, Y = _training_part(name)
    peer, classes = NeighborhoodComponentsAnalysis(random_state=0), as_classes(Y)
    seconds, floor = medians(lambda: metric.fit(X, Y), lambda: peer.fit(X, classes), repeats=1, rounds=1)
    path = f"{type(metric).__name__} fit, {name} ({X.shape[0]} x {X.shape[1]}, {Y.shape[1]} labels)"
    return measurement(path, seconds, "NCA on its label powerset", floor)


def constrained_fit() -> Measurement:
    """Fit over positive semi-definite matrices against the projected one."""
    X, Y = _training_part("emotions")
    seconds, floor = medians(lambda: RAMLLinear(psd="constrained").fit(X, Y), lambda: RAMLLinear().fit(X, Y), repeats=2)
    return measurement("RAMLLinear(psd='constrained') fit, emotions", seconds, "RAMLLinear()", floor)


def kernel_fit(n_samples: int = 100_000) -> Measurement:
    """Fit behind a Laplacian kernel and embedding of its samples against a product, the work that the distances are."""
    X, Y = _gaussian(n_samples)
    bins, landmarks = torch.ones(n_samples, 320), torch.ones(320, 2000)
    metric = HRAMLTransformer(random_state=0)
    seconds, floor = medians(lambda: metric.fit_transform(X, Y), lambda: bins @ landmarks, repeats=1, rounds=2)
    path = f"HRAMLTransformer fit_transform, Gaussian ({n_samples:,} x 72, 6 labels)"
    return measurement(path, seconds, "one product with 320 x 2,000 in float32", floor)


def _epoch_seconds(X: np.ndarray, Y: np.ndarray, n_epochs: int) -> float:
    """Seconds of an epoch over all pairs: what more of them add to a fit."""
    model = HRAMLTransformer(
        32, encoder="mlp", head="linear", early_stopping=False, n_iter_no_change=n_epochs + 1, tol=0.0, random_state=0
    )
    few, many = (
        medians(lambda n=n: model.set_params(max_epochs=n).fit(X, Y), None, repeats=2, rounds=1)[0]
        for n in (1, 1 + n_epochs)
    )
    return added(few, many, n_epochs)


def all_pairs_step(n_samples: int = 100_000, rounds: int = 5) -> Measurement:
    """Exact step over all pairs against the encoder's own forward and backward pass."""
    X, Y = _gaussian(n_samples)
    X = X.astype(np.float32)
    samples = torch.from_numpy(X)
    encoder = MLP((128, 32)).build(samples, torch.ones(n_samples), torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(encoder.parameters())

    def trivial_step():
        optimizer.zero_grad()
        encoder(samples).sum().backward()
        optimizer.step()

    steps, floors = [], []
    for _ in range(rounds):
        steps.append(_epoch_seconds(X, Y, n_epochs=5))
        floors.append(medians(trivial_step, None, repeats=5, rounds=1)[0])
    path = f"HRAMLTransformer step over all pairs ({n_samples:,} x 72, 128 hidden units, 32 components)"
    return measurement(path, median(steps), "encoder forward and backward", median(floors))


def growing_epochs(sizes: tuple[int, ...] = (10_000, 31_623, 100_000, 316_228)) -> Measurement:
    """Growth of an epoch over all pairs with the number of samples."""
    X, Y = _gaussian(sizes[-1])
    X = X.astype(np.float32)
    seconds = [_epoch_seconds(X[:n], Y[:n], n_epochs=5) for n in sizes]
    return growth("HRAMLTransformer epoch over all pairs", sizes, seconds)


def growing_fits(sizes: tuple[int, ...] = (10_000, 31_623, 100_000, 316_228, 1_000_000)) -> Iterator[Measurement]:
    """Growth of a fit with the number of samples, in all and for one iteration: few samples take more of them."""
    X, Y = _gaussian(sizes[-1])
    seconds = np.array([medians(lambda n=n: RAMLLinear().fit(X[:n], Y[:n]), None, 3, rounds=1)[0] for n in sizes])
    iterations = np.array([RAMLLinear().fit(X[:n], Y[:n]).n_iter_ for n in sizes])
    yield growth("RAMLLinear fit, Gaussian", sizes, seconds)
    yield growth("RAMLLinear fit, Gaussian, per iteration", sizes, seconds / iterations)


def real_labels(n_samples: int = 1_000_000, n_labels: int = 9) -> Measurement:
    """Fit under a relation that sorts against one that factors."""
    X, _ = _gaussian(n_samples)
    D = np.random.default_rng(1).dirichlet(np.ones(n_labels), n_samples)
    seconds, floor = medians(
        lambda: RAMLLinear(relation="l1").fit(X, D), lambda: RAMLLinear(relation="sqeuclidean").fit(X, D), repeats=2
    )
    path = f"RAMLLinear(relation='l1') fit, Gaussian ({n_samples:,} x 72, {n_labels} real labels)"
    return measurement(path, seconds, "relation='sqeuclidean', which factors", floor)


def _gaussian(n_samples: int, n_features: int = 72, n_labels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features))
    noise = rng.standard_normal((n_samples, n_labels))
    return X, (X @ rng.standard_normal((n_features, n_labels)) + noise > 0).astype(np.int64)


def gaussian_fit(n_samples: int = 1_000_000, n_features: int = 72, n_labels: int = 6) -> Measurement:
    """Fit to Gaussian features against one product of them, and its memory."""
    X, Y = _gaussian(n_samples, n_features, n_labels)
    with watched() as memory:
        seconds, floor = medians(lambda: RAMLLinear().fit(X, Y), lambda: X.T @ X, repeats=3)
    path = f"RAMLLinear fit, Gaussian ({n_samples:,} x {n_features}, {n_labels} labels)"
    measured = measurement(path, seconds, "one X.T @ X", floor)
    if memory:
        measured["peak_over_X"] = 1 + (memory["peak"] - memory["before"]) * 2**20 / X.nbytes
    return measured


def resampled_fit(n_samples: int = 100_000) -> Measurement:
    """Fit to heavy-tailed features against one product of them."""
    X, Y, *_ = load(DATASETS["emotions"])
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(X), n_samples)
    X = StandardScaler().fit_transform(X)[rows] + 0.3 * rng.standard_normal((n_samples, X.shape[1]))
    seconds, floor = medians(lambda: RAMLLinear().fit(X, Y[rows]), lambda: X.T @ X, repeats=2)
    path = f"RAMLLinear fit, resampled emotions with noise ({n_samples:,} x 72, 6 labels)"
    return measurement(path, seconds, "one X.T @ X", floor)
