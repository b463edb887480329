"""Pairs of samples, of one class, of two classes or any: drawn at random, or nearest."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import euclidean_distances
from sklearn.utils import gen_batches
from sklearn.utils.random import sample_without_replacement

_BLOCK = 2**24  # distances held at once


class Pairs(NamedTuple):
    """Indices of the two samples of each pair, both of shape (n_pairs,)."""

    i: np.ndarray
    j: np.ndarray

    def differences(self, X: np.ndarray) -> np.ndarray:
        """Differences of the two samples, of shape (n_pairs, n_features)."""
        return X[self.i] - X[self.j]


def draw_pairs(classes: np.ndarray, n_pairs: int, random_state: np.random.RandomState) -> tuple[Pairs, Pairs]:
    """Pairs within classes and pairs between classes, each drawn uniformly without replacement.

    Parameters
    ----------
    classes : ndarray of int of shape (n_samples,)
        Class of each sample; two classes at least, and two samples of one of them.
    n_pairs : int
        Number of pairs of each kind, or all where they are fewer.
    random_state : RandomState
        Source of randomness.

    Returns
    -------
    similar, dissimilar : Pairs

    Notes
    -----
    No pair is listed that is not drawn: O(n log n + n_pairs log n).
    """
    order = np.argsort(classes, kind="stable")
    place = np.arange(len(order))
    # In the order of classes, earlier samples of a sample's own class are in one piece, and all before are of others.
    start = np.searchsorted(classes[order], classes[order])
    i, earlier = _draw(place - start, n_pairs, random_state)
    similar = Pairs(order[i], order[start[i] + earlier])
    i, earlier = _draw(start, n_pairs, random_state)
    return similar, Pairs(order[i], order[earlier])


def any_pairs(n_samples: int, n_pairs: int, random_state: np.random.RandomState) -> Pairs:
    """Pairs of any two samples, or of a sample and itself, drawn uniformly without replacement.

    Parameters
    ----------
    n_samples : int
        Number of samples n.
    n_pairs : int
        Number of pairs, or all n (n + 1) / 2 where they are fewer.
    random_state : RandomState
        Source of randomness.

    Returns
    -------
    Pairs
    """
    return Pairs(*_draw(np.arange(1, n_samples + 1), n_pairs, random_state))


def _draw(counts: np.ndarray, n_pairs: int, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, e) with 0 <= e < counts[i], uniformly without replacement, or all if there are no more."""
    ends = np.cumsum(counts)
    total = int(ends[-1])
    if n_pairs >= total:
        rank = np.arange(total)
    else:
        rank = sample_without_replacement(total, n_pairs, random_state=random_state).astype(np.int64)
    i = np.searchsorted(ends, rank, side="right")
    return i, rank - (ends[i] - counts[i])


def nearest(X: np.ndarray, classes: np.ndarray, anchors: np.ndarray, n_neighbors: int, *, similar: bool) -> Pairs:
    """Pairs of each anchor with its nearest samples of its own class, or of other classes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Samples.
    classes : ndarray of int of shape (n_samples,)
        Class of each sample.
    anchors : ndarray of int of shape (n_anchors,)
        Samples whose neighbours are wanted.
    n_neighbors : int
        Neighbours of each anchor, or as many as there are.
    similar : bool
        Whether of its own class, without itself, or of all others.

    Returns
    -------
    Pairs
        In the order of the anchors.

    Notes
    -----
    O(n_anchors n_samples n_features) in time; distances are held in blocks of bounded size.
    """
    n = len(X)
    k = min(n_neighbors, n - 1)
    found = []
    for rows in gen_batches(len(anchors), max(1, _BLOCK // n)):
        a = anchors[rows]
        distances = euclidean_distances(X[a], X, squared=True)
        distances[(classes[a][:, None] == classes) != similar] = np.inf
        distances[np.arange(len(a)), a] = np.inf
        j = np.argpartition(distances, k - 1, axis=1)[:, :k]
        row, column = np.nonzero(np.isfinite(np.take_along_axis(distances, j, axis=1)))
        found.append((a[row], j[row, column]))
    i, j = (np.concatenate(each) for each in zip(*found, strict=True))
    return Pairs(i, j)
