"""Batches of an epoch."""

from collections.abc import Iterator

import numpy as np

__all__ = ["of_pairs", "per_class", "shuffled"]


def shuffled(n_samples: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of nearly one size, in which each sample is once; none is of a single sample, which has no pair."""
    n_batches = max(1, min(-(-n_samples // batch_size), n_samples // 2))
    yield from np.array_split(rng.permutation(n_samples), n_batches)


def per_class(codes: np.ndarray, batch_size: int, n_each: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """As many batches as cover all samples once on average, of equally many samples of some classes each.

    Classes of fewer samples give those that they have.
    """
    of_class = np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])
    n_classes = min(len(of_class), max(1, batch_size // n_each))
    for _ in range(-(-len(codes) // (n_classes * n_each))):
        chosen = rng.choice(len(of_class), n_classes, replace=False)
        yield np.concatenate([rng.permutation(of_class[c])[:n_each] for c in chosen])


def of_pairs(pairs: np.ndarray, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches in which each pair of samples is once, and pairs of one sample are together as far as they fit."""
    n_pairs_of = np.bincount(pairs.reshape(-1))
    turns = rng.permutation(len(n_pairs_of))
    ranks = n_pairs_of + turns / len(turns)  # a pair goes with that of its samples which is in more pairs
    anchors = np.take_along_axis(pairs, ranks[pairs].argmax(1)[:, None], 1)[:, 0]
    pairs = pairs[np.lexsort([rng.permutation(len(pairs)), turns[anchors]])]
    for some in np.array_split(pairs, -(-len(pairs) // (batch_size // 2))):
        yield np.unique(some)
