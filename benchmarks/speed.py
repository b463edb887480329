"""Hot paths as ratios to a floor or a peer, measured in one run, on Linux."""

import resource
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

from benchmarks import speed_embeddings, speed_neighbors
from benchmarks.datasets import DATASETS, load
from benchmarks.targets import as_classes
from benchmarks.timing import added, growth, medians, record
from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.encoders import MLP


def measure() -> Iterator[dict[str, Any]]:
    """Records of all hot paths, as they are done."""
    yield _gaussian_fit()  # first, while the peak of the process is its own
    yield from _growth()
    yield _real_labels()
    yield _resampled_fit()
    yield _constrained_fit()
    yield _all_pairs_step()
    yield _growth_of_epochs()
    for name in ("emotions", "yeast", "scene"):
        try:
            load(DATASETS[name])
        except OSError:  # not in the cache, and no network
            continue
        yield _against_nca(name, RAMLLinear())
        yield _against_nca(name, HRAMLTransformer())
    yield from speed_neighbors.measure()
    yield from speed_embeddings.measure()


def _training_part(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, Y, n_train = load(DATASETS[name])
    return StandardScaler().fit_transform(X[:n_train]), Y[:n_train]


def _against_nca(name: str, metric: RAMLLinear | HRAMLTransformer) -> dict[str, Any]:
    X, Y = _training_part(name)
    peer, classes = NeighborhoodComponentsAnalysis(random_state=0), as_classes(Y)
    seconds, floor = medians(lambda: metric.fit(X, Y), lambda: peer.fit(X, classes), repeats=1, rounds=1)
    path = f"{type(metric).__name__} fit, {name} ({X.shape[0]} x {X.shape[1]}, {Y.shape[1]} labels)"
    return record(path, seconds, "NCA on its label powerset", floor)


def _constrained_fit() -> dict[str, Any]:
    X, Y = _training_part("emotions")
    seconds, floor = medians(lambda: RAMLLinear(psd="constrained").fit(X, Y), lambda: RAMLLinear().fit(X, Y), repeats=2)
    return record("RAMLLinear(psd='constrained') fit, emotions", seconds, "RAMLLinear()", floor)


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


def _all_pairs_step(n_samples: int = 100_000, rounds: int = 5) -> dict[str, Any]:
    """An exact step over all pairs against the encoder's own forward and backward pass."""
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
    return record(path, median(steps), "encoder forward and backward", median(floors))


def _growth_of_epochs(sizes: tuple[int, ...] = (10_000, 31_623, 100_000, 316_228)) -> dict[str, Any]:
    X, Y = _gaussian(sizes[-1])
    X = X.astype(np.float32)
    seconds = [_epoch_seconds(X[:n], Y[:n], n_epochs=5) for n in sizes]
    return growth("HRAMLTransformer epoch over all pairs", sizes, seconds)


def _growth(sizes: tuple[int, ...] = (10_000, 31_623, 100_000, 316_228, 1_000_000)) -> Iterator[dict[str, Any]]:
    """In all, and for one iteration: few samples take more of them."""
    X, Y = _gaussian(sizes[-1])
    seconds = np.array([medians(lambda n=n: RAMLLinear().fit(X[:n], Y[:n]), None, 3, rounds=1)[0] for n in sizes])
    iterations = np.array([RAMLLinear().fit(X[:n], Y[:n]).n_iter_ for n in sizes])
    yield growth("RAMLLinear fit, Gaussian", sizes, seconds)
    yield growth("RAMLLinear fit, Gaussian, per iteration", sizes, seconds / iterations)


def _real_labels(n_samples: int = 1_000_000, n_labels: int = 9) -> dict[str, Any]:
    X, _ = _gaussian(n_samples)
    D = np.random.default_rng(1).dirichlet(np.ones(n_labels), n_samples)
    seconds, floor = medians(
        lambda: RAMLLinear(relation="l1").fit(X, D), lambda: RAMLLinear(relation="sqeuclidean").fit(X, D), repeats=2
    )
    path = f"RAMLLinear(relation='l1') fit, Gaussian ({n_samples:,} x 72, {n_labels} real labels)"
    return record(path, seconds, "relation='sqeuclidean', which factors", floor)


def _gaussian(n_samples: int, n_features: int = 72, n_labels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features))
    noise = rng.standard_normal((n_samples, n_labels))
    return X, (X @ rng.standard_normal((n_features, n_labels)) + noise > 0).astype(np.int64)


def _gaussian_fit(n_samples: int = 1_000_000, n_features: int = 72, n_labels: int = 6) -> dict[str, Any]:
    X, Y = _gaussian(n_samples, n_features, n_labels)
    before = _resident_bytes()
    seconds, floor = medians(lambda: RAMLLinear().fit(X, Y), lambda: X.T @ X, repeats=3)
    measured = record(
        f"RAMLLinear fit, Gaussian ({n_samples:,} x {n_features}, {n_labels} labels)", seconds, "one X.T @ X", floor
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        **measured,
        "peak_over_X": 1 + max(0, peak - before) / X.nbytes,
    }  # X, and what fit adds to all that stood before


def _resampled_fit(n_samples: int = 100_000) -> dict[str, Any]:
    X, Y, _ = load(DATASETS["emotions"])
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(X), n_samples)
    X = StandardScaler().fit_transform(X)[rows] + 0.3 * rng.standard_normal((n_samples, X.shape[1]))
    seconds, floor = medians(lambda: RAMLLinear().fit(X, Y[rows]), lambda: X.T @ X, repeats=2)
    path = f"RAMLLinear fit, resampled emotions with noise ({n_samples:,} x 72, 6 labels)"
    return record(path, seconds, "one X.T @ X", floor)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
